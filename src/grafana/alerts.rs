//! What was alerted?

use serde_json::json;

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, whole};
use crate::queries::{accesses, alerts_by_kind, limit, newest_alerts, open_alerts};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-alerts",
        title: "Alerts",
        description: "Minutes above the limit and what else was alerted",
        from: "now-24h",
        narrows: false,
    };
    let colored = |colors: &[(&str, &str)]| {
        let mappings: serde_json::Map<String, serde_json::Value> = colors
            .iter()
            .zip(0..)
            .map(|((value, color), index)| ((*value).to_owned(), json!({ "color": color, "index": index })))
            .collect();
        [
            ("mappings", json!([{ "type": "value", "options": mappings }])),
            ("custom.cellOptions", json!({ "type": "color-text" })),
            ("custom.width", json!(90)),
        ]
    };
    let at_the_time = json!([{
        "title": "The minutes around it",
        "url": "/d/streampulse-overview?from=${__value.raw}&time=${__value.raw}&time.window=3600000",
    }]);
    let panels = vec![
        Panel::stat((6, 8), "Alerts", "Of the period: still open, and all", &open_alerts())
            .thresholds(1.0, 100.0)
            .in_order(&["open", "all"]),
        Panel::stacked((18, 8), "Alerts by kind", "How many alerts of each kind began", &alerts_by_kind()),
        Panel::over_time((24, 8), "Accesses per minute", "With the limit; marks are alerts", &accesses())
            .and("B", &limit())
            .unit("cpm", 0)
            .field("limit", &[("color", json!({ "mode": "fixed", "fixedColor": "red" }))]),
        Panel::table(
            (24, 12),
            "Newest alerts",
            "The newest hundred of the period; a click on the time shows the hour around it",
            &newest_alerts(),
            &["ts", "severity", "status", "kind", "observed", "limit", "expected", "text"],
        )
        .field(
            "ts",
            &[("unit", json!("dateTimeAsIso")), ("links", at_the_time), ("custom.width", json!(170))],
        )
        .field("severity", &colored(&[("info", "blue"), ("warning", "orange"), ("critical", "red")]))
        .field("status", &colored(&[("open", "red"), ("closed", "green")]))
        .default("noValue", json!("-")),
    ];
    ("alerts", whole(&head, laid_out(panels)))
}
