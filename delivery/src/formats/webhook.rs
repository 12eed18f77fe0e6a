//! Our own JSON, which docs/alerts.md describes.

use serde_json::{Value, json};

use super::{Notification, time};

/// Grows when a field changes its meaning or goes.
const VERSION: u32 = 1;

pub fn payload(notification: &Notification<'_>) -> Value {
    let Notification { key, event, incident, .. } = notification;
    json!({
        "version": VERSION,
        "key": key,
        "event": event,
        "incident": {
            "id": incident.id,
            "kind": incident.kind,
            "severity": incident.state.severity,
            "status": incident.state.status,
            "entity": incident.entity,
            "first_minute": time(incident.ts_ms),
            "last_minute": time(incident.last_ms),
            "opened_at": time(incident.opened_at_ms),
            "closed_at": incident.closed_at_ms.map(time),
            "alerts": incident.alerts,
            "observed": incident.observed,
            "expected": incident.expected,
            "limit": incident.limit,
            "score": incident.score,
            "text": incident.text,
        },
    })
}
