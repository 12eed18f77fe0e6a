//! Which devices are used, and what is watched where?

use domain::vocabulary::Vocabulary;
use serde_json::{Value, json};

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, names, whole};
use crate::queries::{Scope, by_content_and_country, by_device, content_over_time, devices_over_time};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-audience",
        title: "Audience",
        description: "Which devices are used most, and which content type is watched in which country",
        from: "now-24h",
        narrows: true,
    };
    let bars = |stacking: &str| -> Value {
        json!({
            "orientation": "horizontal", "xField": "country", "stacking": stacking, "showValue": "never",
            "barWidth": 0.8, "groupWidth": 0.7, "fullHighlight": false, "xTickLabelRotation": 0,
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        })
    };
    let content_types = names(Vocabulary::content_types);
    let columns: Vec<&str> =
        std::iter::once("country").chain(content_types.iter().map(String::as_str)).collect();
    let share = "Share of content types by country";
    let panels = vec![
        Panel::pie(
            (8, 9),
            "Devices",
            "Accesses of the period by device",
            &by_device(Scope::Asked),
            &["name", "percent"],
        ),
        Panel::stacked(
            (16, 9),
            "Devices over time",
            "Accesses of each bucket by device",
            &devices_over_time(),
        ),
        Panel::new(
            "barchart",
            (12, 12),
            "Content types by country",
            "Accesses of the period in the busiest countries",
            &by_content_and_country(),
        )
        .options(bars("normal"))
        .in_order(&columns),
        Panel::new(
            "barchart",
            (12, 12),
            share,
            "What part of a country's accesses each content type has, in the busiest countries",
            &by_content_and_country(),
        )
        .options(bars("percent"))
        .in_order(&columns),
        Panel::stacked(
            (24, 9),
            "Content types over time",
            "Accesses of each bucket by content type",
            &content_over_time(),
        ),
    ];
    ("audience", whole(&head, laid_out(panels)))
}
