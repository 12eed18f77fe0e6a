//! A message for Slack's incoming webhooks: a line for lists and notices, and an attachment whose color is
//! the severity.

use serde_json::{Value, json};

use super::{Notification, place, time};
use crate::due::Event;
use crate::incident::{Severity, Status};

const RED: &str = "#c4314b";
const AMBER: &str = "#e0a100";
const GREEN: &str = "#2e8540";
/// Longest text of a section, in characters; Slack takes 3,000 with what stands around it.
const TEXT_CHARS_MAX: usize = 2_000;

pub fn payload(notification: &Notification<'_>) -> Value {
    let Notification { event, incident, .. } = notification;
    let (title, severity) = (title(*event, incident.state.status), incident.state.severity);
    let color = match (incident.state.status, severity) {
        (Status::Closed, _) => GREEN,
        (Status::Open, Severity::Warning) => AMBER,
        (Status::Open, Severity::Critical) => RED,
    };
    let (kind, place) = (escaped(&incident.kind), escaped(&place(incident)));
    let text: String = escaped(&incident.text).chars().take(TEXT_CHARS_MAX).collect();
    let closed = incident.closed_at_ms.map(|ms| format!(", closed {}", time(ms))).unwrap_or_default();
    let times = format!("opened {}{closed} | {}", time(incident.opened_at_ms), escaped(&incident.id));
    json!({
        "text": format!("{title}: {kind}, {place}, {}", severity.name()),
        "attachments": [{
            "color": color,
            "blocks": [
                { "type": "section", "text": { "type": "mrkdwn",
                    "text": format!("*{title}: {kind}, {place}* ({})\n{text}", severity.name()) } },
                { "type": "context", "elements": [{ "type": "mrkdwn", "text": times }] },
            ],
        }],
    })
}

fn title(event: Event, status: Status) -> &'static str {
    match (event, status) {
        (_, Status::Closed) => "Closed",
        (Event::Escalated, _) => "Worse",
        (Event::Updated, _) => "Goes on",
        _ => "Opened",
    }
}

/// The three characters that have a meaning to Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
