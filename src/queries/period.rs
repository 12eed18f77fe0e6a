//! The period of a query, as conditions that the server reduces to constants before it looks at an index.

use mongodb::bson::{Bson, Document, doc};
use sink::schema::Level;

use super::{ALL, Query, Slot};

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// A longer period is shown in hours, and then in days.
const IN_MINUTES_MAX_MS: i64 = 2 * DAY_MS;
const IN_HOURS_MAX_MS: i64 = 60 * DAY_MS;

/// Documents whose `field` lies in the period.
pub(super) fn within(field: &str) -> Document {
    doc! { "$match": { field: { "$gte": Slot::From, "$lt": Slot::To } } }
}

/// The same for expressions as bounds, which the server computes once.
pub(super) fn between(field: &str, from: impl Into<Bson>, to: impl Into<Bson>) -> Document {
    let field = format!("${field}");
    doc! { "$expr": { "$and": [{ "$gte": [&field, from.into()] }, { "$lt": [field, to.into()] }] } }
}

fn unit(level: Level) -> &'static str {
    match level {
        Level::Minute => "minute",
        Level::Hour => "hour",
        Level::Day => "day",
    }
}

/// The start of the window that an instant lies in.
fn floor(instant: impl Into<Bson>, level: Level) -> Bson {
    doc! { "$dateTrunc": { "date": instant.into(), "unit": unit(level) } }.into()
}

/// The start of the first window that begins at an instant or after it.
fn ceil(instant: impl Into<Bson>, level: Level) -> Bson {
    let last_ms = i64::from(level.size_minutes()) * MINUTE_MS - 1;
    floor(doc! { "$add": [instant.into(), last_ms] }, level)
}

fn min(a: &Bson, b: &Bson) -> Bson {
    doc! { "$min": [a, b] }.into()
}

fn max(a: &Bson, b: &Bson) -> Bson {
    doc! { "$max": [a, b] }.into()
}

/// The windows that begin in the period, from the coarsest that lie wholly inside of it: days, hours at its
/// edges, minutes at theirs. Empty ranges are no work for the server.
fn pieces() -> [(Level, Bson, Bson); 5] {
    use Level::{Day, Hour, Minute};
    let (from, to) = (ceil(Slot::From, Minute), ceil(Slot::To, Minute));
    let (first_hour, last_hour) = (ceil(Slot::From, Hour), floor(to.clone(), Hour));
    let (first_day, last_day) = (ceil(Slot::From, Day), floor(to.clone(), Day));
    let minutes_end = min(&first_hour, &to);
    let hours_end = min(&first_day, &last_hour);
    [
        (Day, first_day.clone(), last_day.clone()),
        (Hour, first_hour, hours_end.clone()),
        (Hour, max(&last_day, &hours_end), last_hour.clone()),
        (Minute, from, minutes_end.clone()),
        (Minute, max(&last_hour, &minutes_end), to),
    ]
}

/// Whether a query is narrowed to what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All countries, devices and content types.
    Platform,
    /// Those that are asked for.
    Asked,
}

/// Runs `stages` over the rollups of the period and hands on all that comes of them.
pub(super) fn over_pieces(scope: Scope, stages: &[Document], after: Vec<Document>) -> Query {
    union(scope, pieces().into_iter(), stages, after)
}

/// The level in which a period is shown over time: the one whose windows make a picture, not a carpet.
fn is_shown_in(level: Level) -> Bson {
    let length = doc! { "$subtract": [Slot::To, Slot::From] };
    match level {
        Level::Minute => doc! { "$lte": [length, IN_MINUTES_MAX_MS] },
        Level::Hour => doc! { "$and": [
            { "$gt": [length.clone(), IN_MINUTES_MAX_MS] }, { "$lte": [length, IN_HOURS_MAX_MS] },
        ] },
        Level::Day => doc! { "$gt": [length, IN_HOURS_MAX_MS] },
    }
    .into()
}

/// Runs `stages` over the rollups of the period in the level that it is shown in.
pub(super) fn over_time(stages: &[Document], after: Vec<Document>) -> Query {
    let ranges = Level::ALL.into_iter().map(|level| {
        let end = doc! { "$cond": [is_shown_in(level), Slot::To, Slot::From] };
        (level, Bson::from(Slot::From), Bson::from(end))
    });
    union(Scope::Asked, ranges, stages, after)
}

fn union(
    scope: Scope,
    ranges: impl Iterator<Item = (Level, Bson, Bson)>,
    stages: &[Document],
    after: Vec<Document>,
) -> Query {
    let mut parts = ranges.map(|(level, from, to)| {
        let mut matching = between("ts", from, to);
        if scope == Scope::Asked {
            matching.insert("country", doc! { "$in": Slot::Countries });
        }
        let first = doc! { "$match": matching };
        (level.rollups(), std::iter::once(first).chain(stages.iter().cloned()).collect::<Vec<_>>())
    });
    let (collection, mut pipeline) = parts.next().expect("a period has pieces");
    pipeline.extend(parts.map(|(coll, part)| doc! { "$unionWith": { "coll": coll, "pipeline": part } }));
    pipeline.extend(after);
    Query { collection, pipeline }
}

/// Turns `x.<device>.<content_type>` of rollups into documents with `device`, `content` and `n`, and keeps
/// `fields`.
pub(super) fn unfold(scope: Scope, fields: &[&str]) -> Vec<Document> {
    let keep = |more: Document| {
        let mut kept: Document = fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))).collect();
        kept.extend(more);
        doc! { "$project": kept }
    };
    let mut stages = vec![
        keep(doc! { "x": { "$objectToArray": "$x" } }),
        doc! { "$unwind": "$x" },
        keep(doc! { "device": "$x.k", "x": { "$objectToArray": "$x.v" } }),
        doc! { "$unwind": "$x" },
        keep(doc! { "device": 1, "content": "$x.k", "n": "$x.v" }),
    ];
    if scope == Scope::Asked {
        let is_asked = |field: &str, slot: Slot| {
            doc! { "$or": [{ "$in": [ALL, slot] }, { "$in": [field, slot] }] }
        };
        let both = [is_asked("$device", Slot::Devices), is_asked("$content", Slot::ContentTypes)];
        stages.push(doc! { "$match": { "$expr": { "$and": both } } });
    }
    stages
}

/// The size of a bucket in milliseconds: Grafana's, but no smaller than `least_ms`.
fn step(least_ms: impl Into<Bson>) -> Document {
    doc! { "$max": [Slot::IntervalMs, least_ms.into()] }
}

/// The bucket of minutes that `field` lies in.
pub(super) fn bucket(field: &str) -> Document {
    truncated(field, MINUTE_MS)
}

/// The bucket of the windows that [`over_time`] reads.
pub(super) fn bucket_over_time(field: &str) -> Document {
    let least = doc! { "$switch": {
        "branches": [
            { "case": is_shown_in(Level::Minute), "then": MINUTE_MS },
            { "case": is_shown_in(Level::Hour), "then": 60 * MINUTE_MS },
        ],
        "default": DAY_MS,
    } };
    truncated(field, least)
}

fn truncated(field: &str, least_ms: impl Into<Bson>) -> Document {
    let ms = doc! { "$toLong": field };
    doc! { "$toDate": { "$subtract": [ms.clone(), { "$mod": [ms, step(least_ms)] }] } }
}

/// How many minutes of the period, up to now, lie in the bucket that begins at `field`; at least one.
pub(super) fn minutes_in_bucket(field: &str) -> Document {
    let end = doc! { "$min": [{ "$add": [field, step(MINUTE_MS)] }, Slot::To, "$$NOW"] };
    let begin = doc! { "$max": [field, Slot::From] };
    doc! { "$max": [{ "$divide": [{ "$subtract": [end, begin] }, MINUTE_MS] }, 1] }
}

/// The newest minute that is over, at the end of the period or now.
pub(super) fn newest_minute() -> Bson {
    let end = doc! { "$min": [Slot::To, "$$NOW"] };
    floor(doc! { "$subtract": [end, MINUTE_MS] }, Level::Minute)
}
