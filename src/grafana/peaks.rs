//! When are the peaks?

use serde_json::{Value, json};

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, whole};
use crate::queries::{accesses, busiest_hours, busiest_minutes, hours_by_day, hours_by_weekday};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-peaks",
        title: "Peaks",
        description: "The busiest minutes and hours, and the hours of the week",
        from: "now-7d",
        narrows: true,
    };
    let hours: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
    let after =
        |first: &str| -> Vec<String> { std::iter::once(first.to_owned()).chain(hours.clone()).collect() };
    let (by_weekday, by_day) = (after("day"), after("ts"));
    let (by_weekday, by_day): (Vec<&str>, Vec<&str>) =
        (by_weekday.iter().map(String::as_str).collect(), by_day.iter().map(String::as_str).collect());
    let gauge = json!({ "type": "gauge", "mode": "basic", "valueDisplayMode": "text" });
    let bars: [(&str, Value); 2] =
        [("custom.cellOptions", gauge), ("color", json!({ "mode": "continuous-BlPu" }))];
    let colored =
        json!({ "align": "center", "cellOptions": { "type": "color-background", "mode": "basic" } });
    let panels = vec![
        Panel::over_time(
            (24, 8),
            "Accesses per minute",
            "Mean and busiest minute of each bucket, over the whole platform",
            &accesses(),
        )
        .unit("cpm", 0),
        Panel::table(
            (10, 9),
            "Busiest minutes",
            "Over the whole platform",
            &busiest_minutes(),
            &["minute", "accesses"],
        )
        .field("accesses", &bars)
        .field("minute", &[("unit", json!("dateTimeAsIso"))]),
        Panel::table(
            (14, 9),
            "Busiest hours",
            "Of the countries, devices and content types that are chosen",
            &busiest_hours(),
            &["hour", "accesses"],
        )
        .field("accesses", &bars)
        .field("hour", &[("unit", json!("dateTimeAsIso"))]),
        Panel::table(
            (24, 8),
            "Hours of the week (UTC)",
            "Mean accesses of such an hour in the period; a period of whole weeks is fair to all days",
            &hours_by_weekday(),
            &by_weekday,
        )
        .default("color", json!({ "mode": "continuous-BlYlRd" }))
        .default("custom", colored)
        .default("noValue", json!("-"))
        .field("day", &[("custom.cellOptions", json!({ "type": "auto" })), ("custom.width", json!(60))]),
        Panel::new("heatmap", (24, 10), "Hours of each day (UTC)", "Accesses of each hour", &hours_by_day())
            .in_order(&by_day)
            .options(json!({
                "calculate": false, "cellGap": 1, "rowsFrame": { "layout": "auto" },
                "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64, "fill": "dark-orange", "exponent": 0.5, "reverse": false },
                "yAxis": { "axisPlacement": "left", "reverse": true, "unit": "short" },
                "tooltip": { "mode": "single", "yHistogram": false }, "legend": { "show": true },
                "cellValues": { "unit": "short" }, "showValue": "never", "filterValues": { "le": 1e-9 },
            })),
    ];
    ("peaks", whole(&head, laid_out(panels)))
}
