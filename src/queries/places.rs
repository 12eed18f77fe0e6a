//! Questions about devices, content types, countries, cities and hours, from the rollups.

use mongodb::bson::{Document, doc};
use sink::schema::Level;

use super::period::{Scope, bucket_over_time, over_pieces, over_time, unfold, within};
use super::{Query, Slot, pivot, top};

/// Countries and cities that are shown.
const COUNTRIES_MAX: i32 = 15;
const CITIES_MAX: i32 = 25;
const HOURS_MAX: i32 = 10;
/// No more countries than there are.
const ALL_COUNTRIES: i32 = 249;

fn sums(scope: Scope, key: Document) -> Vec<Document> {
    let kept: Vec<&str> = ["country", "city"].into_iter().filter(|field| key.contains_key(*field)).collect();
    let mut stages = unfold(scope, &kept);
    stages.push(doc! { "$group": { "_id": key, "n": { "$sum": "$n" } } });
    stages
}

fn again() -> Document {
    doc! { "$group": { "_id": "$_id", "n": { "$sum": "$n" } } }
}

/// Accesses by device, most first: `device`, `accesses`.
pub fn by_device(scope: Scope) -> Query {
    let mut after = vec![again()];
    after.extend(top(
        16,
        doc! { "n": -1, "_id.device": 1 },
        doc! { "device": "$_id.device", "accesses": "$n" },
    ));
    over_pieces(scope, &sums(scope, doc! { "device": "$device" }), after)
}

/// Accesses by country, most first: `country`, `accesses`.
pub fn by_country(scope: Scope) -> Query {
    let mut after = vec![again()];
    let output = doc! { "country": "$_id.country", "accesses": "$n" };
    after.extend(top(ALL_COUNTRIES, doc! { "n": -1, "_id.country": 1 }, output));
    over_pieces(scope, &sums(scope, doc! { "country": "$country" }), after)
}

/// What is watched in the busiest countries: `country`, and a column for each content type.
pub fn by_content_and_country() -> Query {
    let mut after = vec![
        again(),
        doc! { "$group": {
            "_id": "$_id.country", "n": { "$sum": "$n" }, "columns": { "$push": { "k": "$_id.content", "v": "$n" } },
        } },
    ];
    let output = doc! { "$mergeObjects": [{ "country": "$_id" }, { "$arrayToObject": "$columns" }] };
    after.extend(top(COUNTRIES_MAX, doc! { "n": -1, "_id": 1 }, output));
    let key = doc! { "country": "$country", "content": "$content" };
    over_pieces(Scope::Asked, &sums(Scope::Asked, key), after)
}

/// The busiest cities: `country`, `city`, `accesses`.
pub fn cities() -> Query {
    let mut after = vec![again()];
    let output = doc! { "country": "$_id.country", "city": "$_id.city", "accesses": "$n" };
    after.extend(top(CITIES_MAX, doc! { "n": -1, "_id.country": 1, "_id.city": 1 }, output));
    let key = doc! { "country": "$country", "city": "$city" };
    over_pieces(Scope::Asked, &sums(Scope::Asked, key), after)
}

/// Accesses by device over time: `ts`, and a column for each device.
pub fn devices_over_time() -> Query {
    series("$device")
}

/// Accesses by content type over time: `ts`, and a column for each content type.
pub fn content_over_time() -> Query {
    series("$content")
}

fn series(by: &str) -> Query {
    let mut stages = unfold(Scope::Asked, &["ts"]);
    let key = doc! { "ts": bucket_over_time("$ts"), "k": by };
    stages.push(doc! { "$group": { "_id": key, "n": { "$sum": "$n" } } });
    let mut after = vec![again()];
    after.extend(pivot("ts", "$_id.ts", "$_id.k"));
    over_time(&stages, after)
}

/// Accesses of each hour that begins in the period, grouped by `key`.
fn hours(key: Document, after: Vec<Document>) -> Query {
    let mut within = within("ts");
    if let Ok(matching) = within.get_document_mut("$match") {
        matching.insert("country", doc! { "$in": Slot::Countries });
    }
    let stages = std::iter::once(within).chain(unfold(Scope::Asked, &["ts"]));
    let group = doc! { "$group": { "_id": key, "n": { "$sum": "$n" } } };
    Query::on(Level::Hour.rollups(), stages.chain([group]).chain(after))
}

/// The busiest hours: `hour`, `accesses`.
pub fn busiest_hours() -> Query {
    let output = doc! { "hour": "$_id.ts", "accesses": "$n" };
    hours(doc! { "ts": "$ts" }, top(HOURS_MAX, doc! { "n": -1, "_id.ts": 1 }, output))
}

/// Accesses by day and hour of the day (UTC): `ts`, the day, and a column for each hour, `0` to `23`.
pub fn hours_by_day() -> Query {
    let key = doc! {
        "day": { "$dateTrunc": { "date": "$ts", "unit": "day" } }, "hour": { "$toString": { "$hour": "$ts" } },
    };
    hours(key, pivot("ts", "$_id.day", "$_id.hour"))
}

/// Accesses by weekday and hour of the day (UTC), as the mean of such hours: `day`, and a column for each
/// hour, `0` to `23`.
pub fn hours_by_weekday() -> Query {
    let mean = vec![
        doc! { "$group": {
            "_id": { "day": { "$isoDayOfWeek": "$_id.ts" }, "hour": { "$hour": "$_id.ts" } },
            "n": { "$avg": "$n" },
        } },
        doc! { "$group": { "_id": "$_id.day", "columns": { "$push": {
            "k": { "$toString": "$_id.hour" }, "v": { "$round": ["$n", 0] },
        } } } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$replaceWith": { "$mergeObjects": [
            { "day": { "$arrayElemAt": [["", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], "$_id"] } },
            { "$arrayToObject": "$columns" },
        ] } },
    ];
    hours(doc! { "ts": "$ts" }, mean)
}
