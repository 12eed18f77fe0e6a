//! What receivers are sent, by format. Pure; each is compared with a sample.

mod alertmanager;
mod slack;
mod webhook;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::due::Event;
use crate::incident::{Incident, Severity};
use crate::settings::Format;

pub use alertmanager::{REFRESH_EVERY_MS, refresh};

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// The same when it is sent again.
    pub key: &'a str,
    /// Why it is sent.
    pub event: Event,
    /// What it is about.
    pub incident: &'a Incident,
    /// The severity that the receiver knows.
    pub severity_before: Option<Severity>,
    /// When it is sent, in milliseconds.
    pub now_ms: i64,
}

/// What is sent in a format.
pub fn payload(format: Format, notification: &Notification<'_>) -> Value {
    match format {
        Format::Webhook | Format::Stdout => webhook::payload(notification),
        Format::Slack => slack::payload(notification),
        Format::Alertmanager => alertmanager::payload(notification),
    }
}

/// The key of a notification: the receiver's count and what has happened make it the same when it is sent
/// again, and another one for all that comes later.
pub fn key(incident: &str, count: i64, event: Event) -> String {
    format!("{incident}#{}/{}", count + 1, event.name())
}

/// A time as RFC 3339, in UTC.
fn time(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// What an incident is about, for people.
fn place(incident: &Incident) -> String {
    let named = incident.entity.iter().filter(|(key, _)| *key != "scope");
    let named: Vec<String> = named.map(|(key, value)| format!("{} {value}", key.replace('_', " "))).collect();
    match named.is_empty() {
        true => incident.entity.get("scope").cloned().unwrap_or_default(),
        false => named.join(", "),
    }
}
