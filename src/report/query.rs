//! Reads the rollups of MongoDB into plain data. The server does the summing, over the coarsest windows that
//! lie wholly in the period, so a month costs little more than a day; only the minutes, which the peaks are
//! made of, come one by one, without their sketches.

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use mongodb::Database;
use mongodb::bson::{self, Document, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use serde_json::Number;
use sink::schema::Level;

use super::answers::{Cities, Collected, from_minute, to_minute};
use super::peaks::MinuteCount;
use super::period::{Span, cover, minute_floor};
use super::rollups::{Country, cells, cities, country_minutes, zones};
use super::{ALERTS_LISTED_MAX, Alert, MINUTES_READ_MAX, ReportSpec, USERS_DAYS_LISTED_MAX, UsersEstimate};

/// Minutes that the server sends at once.
pub(crate) const MINUTES_BATCH: u32 = 20_000;

/// Reads everything that the report of `spec` is made of.
pub(crate) async fn collect(db: &Database, spec: &ReportSpec) -> anyhow::Result<Collected> {
    let asked = Asked { from: from_minute(spec), to: to_minute(spec) };
    let span = extent(db, asked).await?;
    let country = match &spec.country {
        Some(code) => Some(Country { code: code.clone(), zones: zones(db).await? }),
        None => None,
    };
    let country = country.as_ref();
    let mut collected = Collected { span, ..Collected::default() };
    (collected.alerts, collected.alerts_total) = alerts(db, asked).await?;
    match country {
        // A refused line and a user's minute belong to the platform, no rollup knows their country.
        Some(country) => collected.minutes = country_minutes(db, country, span.unwrap_or_default()).await?,
        None => {
            let totals = minutes(db, asked).await?;
            collected.minutes = totals.minutes;
            (collected.rejected, collected.late) = (Some(totals.rejected), Some(totals.late));
        }
    }
    let Some(span) = span else {
        collected.cities = spec.cities.then(Cities::default);
        return Ok(collected);
    };
    if country.is_none() {
        (collected.users_estimate, collected.users_by_day) =
            tokio::try_join!(users_estimate(db, span), users_by_day(db, span))?;
    }
    collected.cells = cells(db, span, country).await?;
    if spec.cities {
        collected.cities = Some(cities(db, span, country).await?);
    }
    Ok(collected)
}

/// The period as it was asked, in minutes; an end that was not given is open.
#[derive(Clone, Copy)]
struct Asked {
    from: Option<i64>,
    to: Option<i64>,
}

impl Asked {
    fn filter(self, field: &str) -> Document {
        let mut range = Document::new();
        if let Some(from) = self.from {
            range.insert("$gte", date(from));
        }
        if let Some(to) = self.to {
            range.insert("$lt", date(to));
        }
        if range.is_empty() {
            doc! {}
        } else {
            doc! { field: range }
        }
    }
}

pub(crate) fn within(field: &str, span: Span) -> Document {
    Asked { from: Some(span.from), to: Some(span.to) }.filter(field)
}

fn date(minute: i64) -> bson::DateTime {
    bson::DateTime::from_millis(minute.saturating_mul(60_000))
}

/// The period with its open ends closed by the first and the last minute that has accesses.
async fn extent(db: &Database, asked: Asked) -> anyhow::Result<Option<Span>> {
    if let Asked { from: Some(from), to: Some(to) } = asked {
        return Ok(Some(Span { from, to }));
    }
    let mut filter = asked.filter("_id");
    filter.insert("n", doc! { "$gt": 0 });
    let minutes = db.collection::<RawDocumentBuf>("access_minutes");
    let mut ends = Vec::with_capacity(2);
    for direction in [1, -1] {
        let found =
            minutes.find_one(filter.clone()).sort(doc! { "_id": direction }).projection(doc! { "_id": 1 });
        match found.await? {
            Some(end) => ends.push(minute_floor(instant(&end, "_id")?)),
            None => return Ok(None),
        }
    }
    Ok(Some(Span { from: asked.from.unwrap_or(ends[0]), to: asked.to.unwrap_or(ends[1] + 1) }))
}

#[derive(Default)]
struct MinuteTotals {
    minutes: Vec<MinuteCount>,
    rejected: u64,
    late: u64,
}

async fn minutes(db: &Database, asked: Asked) -> anyhow::Result<MinuteTotals> {
    let mut cursor = db
        .collection::<RawDocumentBuf>("access_minutes")
        .find(asked.filter("_id"))
        .projection(doc! { "n": 1, "rejected": 1, "late": 1 })
        .sort(doc! { "_id": 1 })
        .batch_size(MINUTES_BATCH)
        .await?;
    let mut totals = MinuteTotals::default();
    while cursor.advance().await? {
        let raw = cursor.current();
        totals.rejected += count(raw, "rejected")?;
        totals.late += count(raw, "late")?;
        push_minute(&mut totals.minutes, raw)?;
    }
    Ok(totals)
}

/// Adds a document with a minute as its `_id`, unless it has no accesses.
pub(crate) fn push_minute(minutes: &mut Vec<MinuteCount>, raw: &RawDocument) -> anyhow::Result<()> {
    let n = count(raw, "n")?;
    if n > 0 {
        ensure!(
            minutes.len() < MINUTES_READ_MAX,
            "the period holds more than {MINUTES_READ_MAX} minutes with accesses, ask for a shorter one"
        );
        minutes.push(MinuteCount { minute: minute_floor(instant(raw, "_id")?), n });
    }
    Ok(())
}

async fn users_estimate(db: &Database, span: Span) -> anyhow::Result<Option<UsersEstimate>> {
    let mut estimate = UsersEstimate { at_least: 0, at_most: 0 };
    for piece in cover(span) {
        let pipeline = [
            doc! { "$match": within("_id", piece.span) },
            doc! { "$group": {
                "_id": null, "at_least": { "$max": "$users" }, "at_most": { "$sum": "$users" },
            } },
        ];
        let mut cursor = db.collection::<RawDocumentBuf>(piece.level.users()).aggregate(pipeline).await?;
        while cursor.advance().await? {
            let raw = cursor.current();
            estimate.at_least = estimate.at_least.max(count(raw, "at_least")?);
            estimate.at_most += count(raw, "at_most")?;
        }
    }
    Ok((estimate.at_most > 0).then_some(estimate))
}

/// The users of every UTC day that the period touches, oldest first.
async fn users_by_day(db: &Database, span: Span) -> anyhow::Result<Vec<(DateTime<Utc>, u64)>> {
    let size = i64::from(Level::Day.size_minutes());
    let touched = Span { from: span.from.div_euclid(size) * size, to: span.to };
    let mut cursor = db
        .collection::<RawDocumentBuf>(Level::Day.users())
        .find(within("_id", touched))
        .projection(doc! { "users": 1 })
        .sort(doc! { "_id": -1 })
        .limit(USERS_DAYS_LISTED_MAX as i64)
        .await?;
    let mut days = Vec::new();
    while cursor.advance().await? {
        let raw = cursor.current();
        days.push((instant(raw, "_id")?, count(raw, "users")?));
    }
    days.reverse();
    Ok(days)
}

/// The newest alerts of the period, newest last, and how many there are.
async fn alerts(db: &Database, asked: Asked) -> anyhow::Result<(Vec<Alert>, u64)> {
    let collection = db.collection::<RawDocumentBuf>("access_alerts");
    let mut filter = asked.filter("ts");
    if filter.is_empty() {
        // So that they are counted on the index.
        filter = doc! { "ts": { "$gte": bson::DateTime::MIN } };
    }
    let total = collection.count_documents(filter.clone()).await?;
    let mut cursor =
        collection.find(filter).sort(doc! { "ts": -1, "_id": -1 }).limit(ALERTS_LISTED_MAX as i64).await?;
    let mut alerts = Vec::new();
    while cursor.advance().await? {
        alerts.push(alert(cursor.current())?);
    }
    alerts.reverse();
    Ok((alerts, total))
}

fn alert(raw: &RawDocument) -> anyhow::Result<Alert> {
    let text = |name: &str| -> anyhow::Result<String> {
        raw.get_str(name).map(str::to_owned).with_context(|| format!("alert field {name} is not text"))
    };
    Ok(Alert {
        id: text("_id")?,
        kind: text("kind")?,
        severity: text("severity")?,
        ts: instant(raw, "ts")?,
        observed: number(raw, "observed")?,
        expected: number(raw, "expected")?,
        limit: number(raw, "limit")?,
        // An alert that does not say so is about its one minute.
        minutes: count(raw, "minutes")?.max(1),
        status: text("status")?,
        incident: text("incident")?,
        text: text("text")?,
    })
}

fn instant(raw: &RawDocument, name: &str) -> anyhow::Result<DateTime<Utc>> {
    let date = raw.get_datetime(name).with_context(|| format!("field {name} is not a date"))?;
    DateTime::from_timestamp_millis(date.timestamp_millis())
        .with_context(|| format!("field {name} is a date beyond the years that can be shown"))
}

/// A count, 0 when the field is absent. Sums over no documents and tools that know only doubles are let pass.
pub(crate) fn count(raw: &RawDocument, name: &str) -> anyhow::Result<u64> {
    let n = match raw.get(name)? {
        None | Some(RawBsonRef::Null) => Some(0),
        Some(RawBsonRef::Int64(n)) => u64::try_from(n).ok(),
        Some(RawBsonRef::Int32(n)) => u64::try_from(n).ok(),
        Some(RawBsonRef::Double(n)) if n >= 0.0 && n.fract() == 0.0 => Some(n as u64),
        Some(_) => None,
    };
    n.with_context(|| format!("field {name} is not a count"))
}

fn number(raw: &RawDocument, name: &str) -> anyhow::Result<Option<Number>> {
    Ok(match raw.get(name)? {
        Some(RawBsonRef::Int64(n)) => Some(n.into()),
        Some(RawBsonRef::Int32(n)) => Some(n.into()),
        Some(RawBsonRef::Double(n)) => Number::from_f64(n),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_every_number_and_nothing_else() {
        let raw = |value: bson::Bson| RawDocumentBuf::try_from(&doc! { "n": value }).unwrap();
        let read = |value: bson::Bson| count(&raw(value), "n").map_err(|e| e.to_string());
        assert_eq!(read(7_i64.into()), Ok(7));
        assert_eq!(read(7_i32.into()), Ok(7));
        assert_eq!(read(7.0.into()), Ok(7));
        assert_eq!(read(bson::Bson::Null), Ok(0));
        for wrong in [bson::Bson::from(-1_i64), 0.5.into(), f64::NAN.into(), "7".into()] {
            assert_eq!(read(wrong), Err("field n is not a count".to_owned()));
        }
    }
}
