//! Questions about the whole platform over time, from the totals of minutes and the sketches of users.

use mongodb::bson::{Bson, Document, doc};
use sink::schema::{Level, MINUTES};

use super::period::{between, bucket, minutes_in_bucket, newest_minute, within};
use super::{Query, Slot, top};

const DAY_MS: i64 = 24 * 60 * 60_000;
const BUSIEST: i32 = 10;

/// Accesses a minute over time: `ts`, `mean` and `peak`, the busiest minute of the bucket.
pub fn accesses() -> Query {
    let per_minute = doc! { "$divide": ["$n", minutes_in_bucket("$_id")] };
    Query::on(
        MINUTES,
        [
            within("_id"),
            doc! { "$group": { "_id": bucket("$_id"), "n": { "$sum": "$n" }, "peak": { "$max": "$n" } } },
            doc! { "$sort": { "_id": 1 } },
            doc! { "$project": {
                "_id": 0, "ts": "$_id", "mean": { "$round": [per_minute, 2] }, "peak": "$peak",
            } },
        ],
    )
}

/// The days that the present is compared with, and what their columns are called.
const BEFORE: [(&str, i64); 3] = [("now", 0), ("a day before", DAY_MS), ("a week before", 7 * DAY_MS)];

/// Runs the pipelines of [`BEFORE`] over the minutes, and hands on all that comes of them.
fn beside([now, day, week]: [Vec<Document>; 3]) -> impl Iterator<Item = Document> {
    let union = |pipeline: Vec<Document>| doc! { "$unionWith": { "coll": MINUTES, "pipeline": pipeline } };
    now.into_iter().chain([union(day), union(week)])
}

/// Accesses a minute over time, beside those of a day and of a week before: `ts` and a column each.
pub fn compared() -> Query {
    let of = |(name, ago): (&str, i64)| {
        let at = |slot: Slot| doc! { "$subtract": [slot, ago] };
        vec![
            doc! { "$match": between("_id", at(Slot::From), at(Slot::To)) },
            doc! { "$project": { "_id": 0, "ts": { "$add": ["$_id", ago] }, "n": "$n" } },
            doc! { "$group": { "_id": bucket("$ts"), "n": { "$sum": "$n" } } },
            doc! { "$project": { "_id": 0, "ts": "$_id", "k": { "$literal": name }, "n": {
                "$round": [{ "$divide": ["$n", minutes_in_bucket("$_id")] }, 2],
            } } },
        ]
    };
    Query::on(MINUTES, beside(BEFORE.map(of)).chain(super::pivot("ts", "$ts", "$k")))
}

/// The newest whole minute, and the same minute a day and a week before: a column each.
pub fn compared_now() -> Query {
    let of = |(name, ago): (&str, i64)| {
        let minute = doc! { "$subtract": [newest_minute(), ago] };
        vec![
            doc! { "$match": { "$expr": { "$eq": ["$_id", minute] } } },
            doc! { "$project": { "_id": 0, "k": { "$literal": name }, "n": "$n" } },
        ]
    };
    let row = [
        doc! { "$group": { "_id": null, "columns": { "$push": { "k": "$k", "v": "$n" } } } },
        doc! { "$replaceWith": { "$arrayToObject": "$columns" } },
    ];
    Query::on(MINUTES, beside(BEFORE.map(of)).chain(row))
}

/// Sums over the period: `accesses`, `rejected`, `late`, and `peak`, its busiest minute.
pub fn totals() -> Query {
    let sum = |field: &str| doc! { "$sum": field };
    let group = doc! {
        "_id": null, "accesses": sum("$n"), "rejected": sum("$rejected"), "late": sum("$late"), "peak": { "$max": "$n" },
    };
    Query::on(MINUTES, [within("_id"), doc! { "$group": group }, doc! { "$project": { "_id": 0 } }])
}

/// The busiest minutes: `minute` and `accesses`.
pub fn busiest_minutes() -> Query {
    let busiest = top(BUSIEST, doc! { "n": -1, "_id": 1 }, doc! { "minute": "$_id", "accesses": "$n" });
    Query::on(MINUTES, std::iter::once(within("_id")).chain(busiest))
}

/// Distinct users of the newest day and the newest hour that began before the end of the period: `day` and
/// `hour`.
pub fn users() -> Query {
    let newest = |name: &str| {
        vec![
            doc! { "$match": { "_id": { "$lt": Slot::To } } },
            doc! { "$sort": { "_id": -1 } },
            doc! { "$limit": 1 },
            doc! { "$project": { "_id": 0, name: "$users" } },
        ]
    };
    let hour = doc! { "$unionWith": { "coll": Level::Hour.users(), "pipeline": newest("hour") } };
    let one = [
        doc! { "$group": { "_id": null, "day": { "$max": "$day" }, "hour": { "$max": "$hour" } } },
        doc! { "$project": { "_id": 0 } },
    ];
    Query::on(Level::Day.users(), newest("day").into_iter().chain([hour]).chain(one))
}

/// Distinct users by hour over time: `ts` and `users`; by day where the period is longer than two weeks.
pub fn users_over_time() -> Query {
    const IN_HOURS_MAX_MS: i64 = 14 * DAY_MS;
    let is_long = doc! { "$gt": [{ "$subtract": [Slot::To, Slot::From] }, IN_HOURS_MAX_MS] };
    let of = |end: Bson| {
        [
            doc! { "$match": between("_id", Slot::From, end) },
            doc! { "$project": { "_id": 0, "ts": "$_id", "users": "$users" } },
        ]
    };
    let hours = of(doc! { "$cond": [is_long.clone(), Slot::From, Slot::To] }.into());
    let days = of(doc! { "$cond": [is_long, Slot::To, Slot::From] }.into());
    let days = doc! { "$unionWith": { "coll": Level::Day.users(), "pipeline": days.to_vec() } };
    let sorted = doc! { "$sort": { "ts": 1 } };
    Query::on(Level::Hour.users(), hours.into_iter().chain([days, sorted]))
}
