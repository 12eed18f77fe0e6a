//! How is it going?

use serde_json::json;

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, whole};
use crate::queries::{
    Scope, accesses, by_country, by_device, compared, compared_now, limit, open_alerts, totals, users,
    users_over_time,
};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-overview",
        title: "Overview",
        description: "How many accesses there are, against the limit, yesterday and last week",
        from: "now-6h",
        narrows: false,
    };
    let panels = vec![
        Panel::stat(
            (6, 4),
            "Accesses in the newest minute",
            "The newest whole minute, and the same minute a day and a week before",
            &compared_now(),
        )
        .in_order(&["now", "a day before", "a week before"]),
        Panel::stat((4, 4), "Accesses", "All of the period", &totals())
            .options(json!({
                "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "/^accesses$/" },
                "graphMode": "none", "colorMode": "value", "textMode": "value",
            })),
        Panel::stat(
            (4, 4),
            "Distinct users",
            "Of the newest day (UTC) and the newest hour, as estimates within 1%",
            &users(),
        )
        .in_order(&["day", "hour"]),
        Panel::first((4, 4), "Top device", "The device with most accesses in the period", &by_device(Scope::Platform)),
        Panel::first((3, 4), "Top country", "The country with most accesses in the period", &by_country(Scope::Platform)),
        Panel::stat((3, 4), "Open alerts", "Alerts of the period that are still open, of all", &open_alerts())
            .options(json!({
                "reduceOptions": { "values": false, "calcs": ["lastNotNull"], "fields": "/^open$/" },
                "graphMode": "none", "colorMode": "background", "textMode": "value",
            }))
            .thresholds(1.0, 5.0)
            .default("noValue", json!("0")),
        Panel::over_time(
            (24, 9),
            "Accesses per minute",
            "Mean and busiest minute of each bucket, with the limit that alerts are raised above; marks are alerts",
            &accesses(),
        )
        .and("B", &limit())
        .unit("cpm", 0)
        .field("peak", &[("custom.fillOpacity", json!(0)), ("custom.lineWidth", json!(1))])
        .field(
            "limit",
            &[
                ("color", json!({ "mode": "fixed", "fixedColor": "red" })),
                ("custom.lineStyle", json!({ "fill": "dash", "dash": [10, 10] })),
                ("custom.fillOpacity", json!(0)),
            ],
        ),
        Panel::over_time(
            (14, 8),
            "Against a day and a week before",
            "Accesses per minute now, and at the same time a day and a week before",
            &compared(),
        )
        .unit("cpm", 0)
        .field("a day before", &[("custom.fillOpacity", json!(0))])
        .field("a week before", &[("custom.fillOpacity", json!(0))]),
        Panel::over_time(
            (10, 8),
            "Distinct users over time",
            "By hour, and by day where the period is longer than two weeks; estimates within 1%",
            &users_over_time(),
        ),
    ];
    ("overview", whole(&head, laid_out(panels)))
}
