//! Questions about the pipeline itself.

use mongodb::bson::{Document, doc};
use sink::heartbeat;
use sink::schema::{MINUTES, REJECTS, STATE};

use super::period::{bucket, minutes_in_bucket, within};
use super::{Query, Slot};

/// Processes and jobs that are shown.
const SHOWN_MAX: i32 = 50;

/// What came in, a minute: `ts`, `accepted`, `rejected`, `late`.
pub fn ingest() -> Query {
    let sum = |field: &str| doc! { "$sum": field };
    let mean = |field: &str| doc! { "$round": [{ "$divide": [field, minutes_in_bucket("$_id")] }, 2] };
    Query::on(
        MINUTES,
        [
            within("_id"),
            doc! { "$group": {
                "_id": bucket("$_id"), "accepted": sum("$n"), "rejected": sum("$rejected"), "late": sum("$late"),
            } },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$project": {
                "_id": 0, "ts": "$_id", "accepted": mean("$accepted"), "rejected": mean("$rejected"),
                "late": mean("$late"),
            } },
        ],
    )
}

/// Why lines were rejected, by when they were stored: `reason`, `lines`.
pub fn rejects_by_reason() -> Query {
    Query::on(
        REJECTS,
        [
            within("seen_at"),
            doc! { "$group": { "_id": "$reason", "lines": { "$sum": 1 } } },
            doc! { "$project": { "_id": 0, "reason": "$_id", "lines": "$lines" } },
        ],
    )
}

/// Seconds since the newest minute that has accesses: `seconds`.
pub fn freshness() -> Query {
    Query::on(
        MINUTES,
        [
            doc! { "$match": { "n": { "$gt": 0 } } },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$limit": 1 },
            doc! { "$project": { "_id": 0, "seconds": seconds_since("$_id") } },
        ],
    )
}

fn seconds_since(instant: &str) -> Document {
    doc! { "$dateDiff": { "startDate": instant, "endDate": "$$NOW", "unit": "second" } }
}

fn heartbeats() -> Document {
    // `}` follows `|`.
    doc! { "$match": { "_id": { "$gte": heartbeat::PREFIX, "$lt": "heartbeat}" } } }
}

/// The processes that work on this database, or have: `process`, `runtime`, `state`, `memory` in bytes,
/// `retries` of commands to MongoDB, `seconds` since their last sign.
pub fn processes() -> Query {
    let state = doc! { "$cond": [{ "$eq": ["$ended", true] }, "ended", {
        "$cond": [{ "$gt": [seconds_since("$at"), 30] }, "gone", "runs"],
    }] };
    Query::on(
        STATE,
        [
            heartbeats(),
            doc! { "$limit": SHOWN_MAX },
            doc! { "$project": {
                "_id": 0, "process": { "$arrayElemAt": [{ "$split": ["$_id", "|"] }, 1] }, "runtime": "$runtime",
                "state": state, "memory": { "$ifNull": ["$memory_bytes", 0] },
                "retries": { "$ifNull": ["$retries", 0] }, "seconds": seconds_since("$at"),
            } },
        ],
    )
}

/// How far each job has come: `job`, `topic`, `partition`, `high watermark`, `checkpoint`, `lag`, and for how
/// many seconds the checkpoint has not moved although there is more, `standstill`.
pub fn jobs() -> Query {
    let key = doc! { "$concat": ["$jobs.job", "|", "$jobs.topic", "|", "$jobs.topic_id", "|", {
        "$toString": "$jobs.partition",
    }] };
    Query::on(
        STATE,
        [
            heartbeats(),
            doc! { "$limit": SHOWN_MAX },
            doc! { "$match": { "ended": { "$ne": true } } },
            doc! { "$unwind": "$jobs" },
            doc! { "$project": { "key": key, "jobs": 1 } },
            doc! { "$lookup": { "from": STATE, "localField": "key", "foreignField": "_id", "as": "at" } },
            doc! { "$set": { "next": { "$ifNull": [{ "$arrayElemAt": ["$at.next", 0] }, 0] } } },
            doc! { "$project": {
                "_id": 0, "job": "$jobs.job", "topic": "$jobs.topic", "partition": "$jobs.partition",
                "high watermark": "$jobs.end", "checkpoint": "$next",
                "lag": { "$max": [{ "$subtract": ["$jobs.end", "$next"] }, 0] },
                "standstill": { "$ifNull": ["$jobs.checkpoint_age_s", 0] },
            } },
        ],
    )
}

/// The limit of accesses a minute that alerts are raised above, at both ends of the period: `ts`, `limit`.
pub fn limit() -> Query {
    Query::on(
        STATE,
        [
            heartbeats(),
            doc! { "$limit": SHOWN_MAX },
            doc! { "$match": { "limit_per_minute": { "$exists": true } } },
            doc! { "$group": { "_id": null, "newest": { "$top": {
                "sortBy": { "at": -1 }, "output": "$limit_per_minute",
            } } } },
            doc! { "$project": { "_id": 0, "limit": "$newest", "ts": [Slot::From, Slot::To] } },
            doc! { "$unwind": "$ts" },
        ],
    )
}
