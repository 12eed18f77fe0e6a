//! A sample of each format.

use expect_test::{Expect, expect};
use mongodb::bson::doc;

use super::*;
use crate::incident::group;
use crate::incident::tests::alert;

fn incident(observed: i64, closed_at_ms: Option<i64>) -> Incident {
    let mut alert = alert(29_000_000, 29_000_000, observed, closed_at_ms);
    alert.insert("entity", doc! { "scope": "country", "country": "BR" });
    alert.insert("text", "<b> & more");
    group([alert]).into_values().next().expect("one")
}

#[track_caller]
fn check(format: Format, event: Event, incident: &Incident, expected: Expect) {
    let key = key(&incident.id, 2, event);
    let before = (event != Event::Opened).then_some(Severity::Warning);
    let now_ms = 29_000_010 * 60_000;
    let notification = Notification { key: &key, event, incident, severity_before: before, now_ms };
    let shown = serde_json::to_string_pretty(&payload(format, &notification)).expect("JSON");
    expected.assert_eq(&shown);
}

#[test]
fn webhook() {
    check(
        Format::Webhook,
        Event::Closed,
        &incident(150, Some(29_000_002 * 60_000)),
        expect![[r#"
        {
          "event": "closed",
          "incident": {
            "alerts": 1,
            "closed_at": "2025-02-19T21:22:00Z",
            "entity": {
              "country": "BR",
              "scope": "country"
            },
            "expected": null,
            "first_minute": "2025-02-19T21:20:00Z",
            "id": "limit|platform|29000000",
            "kind": "limit",
            "last_minute": "2025-02-19T21:20:00Z",
            "limit": 100,
            "observed": 150,
            "opened_at": "2025-02-19T21:20:30Z",
            "score": 1.5,
            "severity": "warning",
            "status": "closed",
            "text": "<b> & more"
          },
          "key": "limit|platform|29000000#3/closed",
          "version": 1
        }"#]],
    );
    let open = incident(150, None);
    let key = key(&open.id, 0, Event::Opened);
    let notification =
        Notification { key: &key, event: Event::Opened, incident: &open, severity_before: None, now_ms: 0 };
    assert_eq!(payload(Format::Webhook, &notification)["incident"]["closed_at"], Value::Null);
    assert_eq!(payload(Format::Stdout, &notification), payload(Format::Webhook, &notification));
}

#[test]
fn slack() {
    check(
        Format::Slack,
        Event::Opened,
        &incident(150, None),
        expect![[r##"
        {
          "attachments": [
            {
              "blocks": [
                {
                  "text": {
                    "text": "*Opened: limit, country BR* (warning)\n&lt;b&gt; &amp; more",
                    "type": "mrkdwn"
                  },
                  "type": "section"
                },
                {
                  "elements": [
                    {
                      "text": "opened 2025-02-19T21:20:30Z | limit|platform|29000000",
                      "type": "mrkdwn"
                    }
                  ],
                  "type": "context"
                }
              ],
              "color": "#e0a100"
            }
          ],
          "text": "Opened: limit, country BR, warning"
        }"##]],
    );
    check(
        Format::Slack,
        Event::Closed,
        &incident(250, Some(29_000_002 * 60_000)),
        expect![[r##"
        {
          "attachments": [
            {
              "blocks": [
                {
                  "text": {
                    "text": "*Closed: limit, country BR* (critical)\n&lt;b&gt; &amp; more",
                    "type": "mrkdwn"
                  },
                  "type": "section"
                },
                {
                  "elements": [
                    {
                      "text": "opened 2025-02-19T21:20:30Z, closed 2025-02-19T21:22:00Z | limit|platform|29000000",
                      "type": "mrkdwn"
                    }
                  ],
                  "type": "context"
                }
              ],
              "color": "#2e8540"
            }
          ],
          "text": "Closed: limit, country BR, critical"
        }"##]],
    );
}

#[test]
fn alertmanager() {
    check(
        Format::Alertmanager,
        Event::Opened,
        &incident(150, None),
        expect![[r#"
        [
          {
            "annotations": {
              "summary": "<b> & more"
            },
            "endsAt": "2025-02-19T21:35:00Z",
            "labels": {
              "alertname": "streampulse_limit",
              "country": "BR",
              "incident": "limit|platform|29000000",
              "kind": "limit",
              "scope": "country",
              "severity": "warning"
            },
            "startsAt": "2025-02-19T21:20:30Z"
          }
        ]"#]],
    );
    check(
        Format::Alertmanager,
        Event::Escalated,
        &incident(250, None),
        expect![[r#"
        [
          {
            "annotations": {
              "summary": "<b> & more"
            },
            "endsAt": "2025-02-19T21:30:00Z",
            "labels": {
              "alertname": "streampulse_limit",
              "country": "BR",
              "incident": "limit|platform|29000000",
              "kind": "limit",
              "scope": "country",
              "severity": "warning"
            },
            "startsAt": "2025-02-19T21:20:30Z"
          },
          {
            "annotations": {
              "summary": "<b> & more"
            },
            "endsAt": "2025-02-19T21:35:00Z",
            "labels": {
              "alertname": "streampulse_limit",
              "country": "BR",
              "incident": "limit|platform|29000000",
              "kind": "limit",
              "scope": "country",
              "severity": "critical"
            },
            "startsAt": "2025-02-19T21:20:30Z"
          }
        ]"#]],
    );
    check(
        Format::Alertmanager,
        Event::Closed,
        &incident(150, Some(29_000_002 * 60_000)),
        expect![[r#"
        [
          {
            "annotations": {
              "summary": "<b> & more"
            },
            "endsAt": "2025-02-19T21:22:00Z",
            "labels": {
              "alertname": "streampulse_limit",
              "country": "BR",
              "incident": "limit|platform|29000000",
              "kind": "limit",
              "scope": "country",
              "severity": "warning"
            },
            "startsAt": "2025-02-19T21:20:30Z"
          }
        ]"#]],
    );
    let open = incident(150, None);
    let again = refresh([(&open, Severity::Critical), (&open, Severity::Warning)], 0);
    assert_eq!(again.as_array().map(Vec::len), Some(2));
    assert_eq!(again[0]["endsAt"], "1970-01-01T00:05:00Z");
    assert_eq!(again[0]["labels"]["severity"], "critical");
}
