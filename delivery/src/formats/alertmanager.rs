//! Alerts for Alertmanager's API (v2). It forgets what is not sent again: an open incident ends there a few
//! minutes after we fall silent, so it is sent every minute. Its notifications come from Alertmanager itself.

use serde_json::{Map, Value, json};

use super::{Notification, time};
use crate::incident::{Incident, Severity, Status};

/// How often open incidents are sent again, in milliseconds.
pub const REFRESH_EVERY_MS: i64 = 60_000;
/// For how long Alertmanager takes an incident for open that was not sent again, in milliseconds.
const HOLDS_MS: i64 = 5 * 60_000;

/// An alert; and, since its labels are what Alertmanager knows it by, the end of the one with the severity
/// that it had before.
pub fn payload(notification: &Notification<'_>) -> Value {
    let &Notification { incident, severity_before, now_ms, .. } = notification;
    let before = severity_before.filter(|before| *before != incident.state.severity);
    let ended = before.map(|before| alert(incident, before, Status::Closed, now_ms));
    let current = alert(incident, incident.state.severity, incident.state.status, now_ms);
    Value::Array(ended.into_iter().chain([current]).collect())
}

/// Open incidents once more, with the severity that was told.
pub fn refresh<'a>(incidents: impl IntoIterator<Item = (&'a Incident, Severity)>, now_ms: i64) -> Value {
    let again = |(incident, severity)| alert(incident, severity, Status::Open, now_ms);
    Value::Array(incidents.into_iter().map(again).collect())
}

fn alert(incident: &Incident, severity: Severity, status: Status, now_ms: i64) -> Value {
    let ends_at_ms = match status {
        Status::Open => now_ms + HOLDS_MS,
        // An end that lies ahead would be one that is still to come.
        Status::Closed => incident.closed_at_ms.unwrap_or(now_ms).min(now_ms).max(incident.opened_at_ms),
    };
    let mut labels = Map::new();
    labels.insert("alertname".to_owned(), format!("streampulse_{}", incident.kind).into());
    labels.insert("severity".to_owned(), severity.name().into());
    labels.insert("kind".to_owned(), incident.kind.as_str().into());
    labels.insert("incident".to_owned(), incident.id.as_str().into());
    labels.extend(incident.entity.iter().map(|(key, value)| (key.clone(), value.as_str().into())));
    json!({
        "labels": labels,
        "annotations": { "summary": incident.text },
        "startsAt": time(incident.opened_at_ms),
        "endsAt": time(ends_at_ms),
    })
}
