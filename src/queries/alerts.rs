//! Questions about alerts.

use mongodb::bson::doc;
use sink::schema::ALERTS;

use super::period::{bucket, within};
use super::{Query, pivot};

/// Alerts that are listed, and marked on a time line.
const LISTED_MAX: i32 = 100;
const MARKED_MAX: i32 = 200;

/// The newest alerts of the period, newest first: `ts`, `severity`, `kind`, `status`, `observed`, `expected`,
/// `limit`, `text`.
pub fn newest_alerts() -> Query {
    let number = |field: &str| doc! { "$toDouble": field };
    Query::on(
        ALERTS,
        [
            within("ts"),
            doc! { "$sort": { "ts": -1, "_id": -1 } },
            doc! { "$limit": LISTED_MAX },
            doc! { "$project": {
                "_id": 0, "ts": "$ts", "severity": "$severity", "kind": "$kind", "status": "$status",
                "observed": number("$observed"), "expected": number("$expected"), "limit": number("$limit"),
                "text": "$text",
            } },
        ],
    )
}

/// How many alerts of the period are still open: `open`, and how many there are: `all`.
pub fn open_alerts() -> Query {
    let is_open = doc! { "$cond": [{ "$eq": ["$status", "open"] }, 1, 0] };
    Query::on(
        ALERTS,
        [
            within("ts"),
            doc! { "$group": { "_id": null, "open": { "$sum": is_open }, "all": { "$sum": 1 } } },
            doc! { "$project": { "_id": 0 } },
        ],
    )
}

/// Alerts over time: `ts`, and a column for each kind.
pub fn alerts_by_kind() -> Query {
    let key = doc! { "ts": bucket("$ts"), "kind": "$kind" };
    let count = doc! { "$group": { "_id": key, "n": { "$sum": 1 } } };
    Query::on(ALERTS, [within("ts"), count].into_iter().chain(pivot("ts", "$_id.ts", "$_id.kind")))
}

/// The alerts of the period as marks on a time line, as long as they are: `time`, `timeEnd`, `text`, `tags`.
pub fn annotations() -> Query {
    Query::on(
        ALERTS,
        [
            within("ts"),
            doc! { "$sort": { "ts": -1, "_id": -1 } },
            doc! { "$limit": MARKED_MAX },
            doc! { "$project": {
                "_id": 0, "time": "$ts", "timeEnd": {
                    "$add": ["$ts", { "$multiply": [60_000, { "$ifNull": ["$minutes", 1] }] }],
                }, "text": "$text",
                "tags": { "$concat": ["$kind", ",", "$severity"] },
            } },
        ],
    )
}
