//! What happens now: a row of numbers, and the last hour by minute with the limit.

use anyhow::Result;
use chrono::{DateTime, FixedOffset, Offset, TimeZone, Utc};
use maud::{Markup, html};
use mongodb::Database;
use mongodb::bson::{Bson, Document};

use super::{Shown, Texts};
use crate::queries::{self, Asked, Query};
use crate::report::Stretch;
use crate::report::html::charts;
use crate::report::words::Words;

pub(super) const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Minutes of the picture.
const HOUR: i64 = 60;
/// Age of the newest access from which on it is said loudly, in seconds.
const STALE_S: u64 = 300;

/// The row of numbers, and the picture of the hour.
pub(super) async fn parts(database: &Database, shown: Shown, at: DateTime<Utc>) -> Result<(String, String)> {
    let now_ms = at.timestamp_millis();
    let (hour, day) = (
        Asked::period(now_ms - HOUR * MINUTE_MS, now_ms, MINUTE_MS),
        Asked::period(now_ms - DAY_MS, now_ms, MINUTE_MS),
    );
    let one = async |query: Query, asked: &Asked| -> Result<Document> {
        Ok(query.ask(database, asked).await?.into_iter().next().unwrap_or_default())
    };
    let (compared, users) = (one(queries::compared_now(), &hour).await?, one(queries::users(), &hour).await?);
    let (open, age) = (one(queries::open_alerts(), &day).await?, one(queries::freshness(), &hour).await?);
    let limit = number(&one(queries::limit(), &hour).await?, "limit");
    let minutes = queries::accesses().ask(database, &hour).await?;
    let (words, texts) = (Words(shown.lang), Texts::of(shown.lang));
    let told =
        |document: &Document, key: &str| number(document, key).map_or("–".to_owned(), |n| words.int(n));
    let open_now = number(&open, "open").unwrap_or(0);
    let seconds = number(&age, "seconds");
    let is_over = number(&compared, "now").zip(limit).is_some_and(|(n, limit)| n > limit);
    let card = |value: String, label: &str, is_bad: bool| -> Markup {
        html! { div.card.bad[is_bad] { strong { (value) } span { (label) } } }
    };
    let now = html! {
        div.cards {
            (card(told(&compared, "now"), texts.minute, is_over))
            (card(told(&compared, "a day before"), texts.day_before, false))
            (card(told(&compared, "a week before"), texts.week_before, false))
            (card(told(&users, "day"), texts.users_today, false))
            (card(words.int(open_now), texts.open_alerts, open_now > 0))
            (card(seconds.map_or("–".to_owned(), |s| format!("{} s", words.int(s))), texts.age, seconds.is_none_or(|s| s > STALE_S)))
        }
    };
    let stretches = by_minute(&minutes, now_ms, shown.timezone);
    let hour = html! { section { h2 { (texts.hour) } (charts::timeline(&stretches, limit, words)) } };
    Ok((now.into_string(), hour.into_string()))
}

/// The minutes up to now, also those without accesses.
fn by_minute(found: &[Document], now_ms: i64, timezone: chrono_tz::Tz) -> Vec<Stretch> {
    let last = now_ms.div_euclid(MINUTE_MS);
    let minute_of = |document: &Document| {
        document.get_datetime("ts").map(|ts| ts.timestamp_millis().div_euclid(MINUTE_MS)).ok()
    };
    (last - HOUR + 1..=last)
        .filter_map(|minute| {
            let ts = DateTime::from_timestamp(minute * 60, 0)?;
            let offset: FixedOffset = timezone.offset_from_utc_datetime(&ts.naive_utc()).fix();
            let counted = found.iter().find(|document| minute_of(document) == Some(minute));
            let n = counted.and_then(|document| number(document, "peak")).unwrap_or(0);
            Some(Stretch { ts, local: ts.with_timezone(&offset), n, minutes: 1, peak: n })
        })
        .collect()
}

/// A number that is not negative.
pub(super) fn number(document: &Document, key: &str) -> Option<u64> {
    match document.get(key)? {
        Bson::Int32(n) => u64::try_from(*n).ok(),
        Bson::Int64(n) => u64::try_from(*n).ok(),
        Bson::Double(n) => Some(*n as u64),
        _ => None,
    }
}
