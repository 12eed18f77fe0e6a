//! Does the pipeline keep up?

use serde_json::json;

use super::panel::{Panel, laid_out};
use super::{Dashboard, Head, whole};
use crate::queries::{freshness, ingest, jobs, processes, rejects_by_reason, totals};

pub(super) fn dashboard() -> Dashboard {
    let head = Head {
        uid: "streampulse-health",
        title: "Pipeline health",
        description: "Whether lines come in, are understood and are stored in time",
        from: "now-6h",
        narrows: false,
    };
    let red_from = |value: f64| json!({ "mode": "absolute", "steps": [{ "color": "green", "value": null }, { "color": "red", "value": value }] });
    let text_color = ("custom.cellOptions", json!({ "type": "color-text" }));
    let panels = vec![
        Panel::stat((6, 5), "Age of the newest access", "Since the newest minute that has accesses", &freshness())
            .unit("s", 0)
            .thresholds(120.0, 300.0)
            .default("noValue", json!("nothing yet")),
        Panel::stat(
            (18, 5),
            "Lines",
            "Of the period: accepted, the busiest minute, rejected, and accepted long after they happened",
            &totals(),
        )
        .in_order(&["accesses", "peak", "rejected", "late"]),
        Panel::over_time((14, 9), "Lines per minute", "Mean of each bucket, by event time", &ingest()).unit("cpm", 1),
        Panel::pie(
            (10, 9),
            "Rejected lines",
            "By reason, from when they were stored",
            &rejects_by_reason(),
            &["name"],
        )
        .default("noValue", json!("none")),
        Panel::table(
            (14, 9),
            "Jobs",
            "How far each job of a process that has not ended has come; the high watermark is at most five seconds old; standstill: since when the checkpoint has not moved although there is more",
            &jobs(),
            &["job", "topic", "partition", "high watermark", "checkpoint", "lag", "standstill"],
        )
        .field("standstill", &[("unit", json!("s")), ("thresholds", red_from(180.0)), text_color.clone()])
        .field("lag", &[("thresholds", red_from(10_000.0)), text_color.clone()]),
        Panel::table(
            (10, 9),
            "Processes",
            "Those that work on this database, or have",
            &processes(),
            &["process", "runtime", "state", "memory", "retries", "seconds"],
        )
        .field("memory", &[("unit", json!("bytes"))])
        .field("seconds", &[("unit", json!("s")), ("custom.width", json!(90))])
        .field(
            "state",
            &[
                text_color,
                ("custom.width", json!(80)),
                (
                    "mappings",
                    json!([{ "type": "value", "options": {
                        "runs": { "color": "green", "index": 0 }, "ended": { "color": "blue", "index": 1 },
                        "gone": { "color": "red", "index": 2 },
                    } }]),
                ),
            ],
        ),
    ];
    ("pipeline-health", whole(&head, laid_out(panels)))
}
