//! Events in a collection a day, which a retention drops whole: what the collections are called, which of
//! them there should be, and the view that shows them as one. All but reading and growing is pure.

use std::collections::BTreeSet;

use chrono::DateTime;
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::error::Error;

use super::EVENTS;
use super::definition::{DAY_S, events};
use super::plan::{NAMESPACE_EXISTS, is_code};

/// Events of no day that is kept: older ones, and those from the future. It ends them by TTL, after the days
/// that the others are kept.
pub const OTHER: &str = "access_events_other";
/// What the collections of days begin with; the date follows.
const PREFIX: &str = "access_events_";
/// For how many days to come there are collections before anything happens on them.
pub const AHEAD_DAYS: u32 = 7;
/// Most days that are kept in collections of their own: each is a stage of the view, which may have 1,000.
pub const KEPT_DAYS_MAX: u32 = 400;
/// For how many days a collection stays after its last event has become too old, so that no clock that is
/// slow still writes to it.
const DROP_AFTER_DAYS: i64 = 1;
/// How often the view is set anew while other processes do so too.
const VIEW_TRIES_MAX: u32 = 20;

/// A day of UTC, as days since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    /// The day of a time in milliseconds since 1970.
    pub fn of_ms(ms: i64) -> Self {
        Self(ms.div_euclid(DAY_S * 1_000))
    }

    /// The name of its collection. All days that have one lie around today, so they can be written.
    pub fn collection(self) -> String {
        let start = DateTime::from_timestamp(self.0 * DAY_S, 0).expect("a day around today");
        format!("{PREFIX}{}", start.format("%Y%m%d"))
    }

    /// The day whose collection has this name.
    pub fn of_collection(name: &str) -> Option<Self> {
        let date = name.strip_prefix(PREFIX)?;
        let date = chrono::NaiveDate::parse_from_str(date, "%Y%m%d").ok()?;
        let day = Self::of_ms(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_millis());
        (day.collection() == name).then_some(day)
    }
}

/// The days whose events go to collections of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    first: Day,
    last: Day,
    today: Day,
}

impl Kept {
    /// Those at a time in milliseconds since 1970, when events are kept for `days`.
    pub fn at(now_ms: i64, days: u32) -> Self {
        let today = Day::of_ms(now_ms);
        let ahead = Day(today.0 + i64::from(AHEAD_DAYS));
        Self { first: Day(today.0 - i64::from(days)), last: ahead, today }
    }

    /// The day whose collection takes an event with this time; none: [`OTHER`] takes it.
    pub fn day_of(self, ts_ms: i64) -> Option<Day> {
        Some(Day::of_ms(ts_ms)).filter(|day| (self.first..=self.last).contains(day))
    }

    /// Today and the days to come.
    pub fn ahead(self) -> impl Iterator<Item = Day> {
        (self.today.0..=self.last.0).map(Day)
    }

    /// Whether everything that happened on a day has been too old for a while.
    pub fn is_over(self, day: Day) -> bool {
        day.0 + DROP_AFTER_DAYS < self.first.0
    }
}

/// The collections that events lie in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// All of them.
    pub all: Vec<String>,
    /// Those that the events of today and of the days to come go to.
    pub coming: Vec<String>,
}

impl Parts {
    /// One collection.
    pub fn one() -> Self {
        Self { all: vec![EVENTS.to_owned()], coming: vec![EVENTS.to_owned()] }
    }

    /// One for each of `days`, and [`OTHER`].
    pub fn daily(days: &BTreeSet<Day>, kept: Kept) -> Self {
        let named = |days: &mut dyn Iterator<Item = Day>| {
            std::iter::once(OTHER.to_owned()).chain(days.map(Day::collection)).collect()
        };
        Self { all: named(&mut days.iter().copied()), coming: named(&mut kept.ahead()) }
    }

    /// Whether there is one for each day.
    pub fn are_daily(&self) -> bool {
        self.all != [EVENTS]
    }
}

/// What the view [`EVENTS`] is made of; the newest day comes first.
pub fn view(days: &BTreeSet<Day>) -> Document {
    let unions: Vec<Document> =
        days.iter().rev().map(|day| doc! { "$unionWith": day.collection() }).collect();
    doc! { "viewOn": OTHER, "pipeline": unions }
}

/// Whether options as `listCollections` gives them are those of our view, over whichever days.
pub fn is_view(options: &Document) -> bool {
    options.get_str("viewOn").is_ok_and(|on| on == OTHER)
}

/// The command that sets the view.
pub fn set_view(days: &BTreeSet<Day>) -> Document {
    let mut command = doc! { "collMod": EVENTS };
    command.extend(view(days));
    command
}

/// The collections that hold events, whichever way they came to be.
///
/// # Errors
/// As the driver's.
pub async fn stored_in(database: &Database) -> Result<Vec<String>, Error> {
    let is_ours = |name: &str| name == EVENTS || name == OTHER || Day::of_collection(name).is_some();
    let found = listed(database).await?.into_iter().filter(|(name, kind, _)| is_ours(name) && kind != "view");
    Ok(found.map(|(name, ..)| name).collect())
}

/// Makes the collection of a day, and lets the view show it.
///
/// # Errors
/// As the driver's.
pub async fn grow(database: &Database, day: Day) -> Result<(), Error> {
    match database.run_command(events(&day.collection(), None).create()).await {
        Err(error) if !is_code(&error, NAMESPACE_EXISTS) => return Err(error),
        _ => {}
    }
    for _ in 0..VIEW_TRIES_MAX {
        let found = listed(database).await?;
        let days = found.iter().filter_map(|(name, ..)| Day::of_collection(name)).collect();
        let shows = found.iter().find(|(name, ..)| name == EVENTS).map(|(.., options)| options);
        if shows == Some(&view(&days)) {
            return Ok(());
        }
        // Another process may have listed before and set after us; then the next round finds it out.
        database.run_command(set_view(&days)).await?;
    }
    tracing::warn!("the view {EVENTS} is being changed by others; `streampulse mongodb init` sets it right");
    Ok(())
}

/// Name, kind and options of the collections that can be of events.
async fn listed(database: &Database) -> Result<Vec<(String, String, Document)>, Error> {
    let filter = doc! { "name": { "$regex": "^access_events" } };
    let command = doc! { "listCollections": 1, "filter": filter };
    let found: Vec<Document> = database.run_cursor_command(command).await?.try_collect().await?;
    let text = |entry: &Document, key: &str| entry.get_str(key).unwrap_or_default().to_owned();
    let options = |entry: &Document| entry.get_document("options").cloned().unwrap_or_default();
    Ok(found.iter().map(|entry| (text(entry, "name"), text(entry, "type"), options(entry))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = DAY_S * 1_000;

    #[test]
    fn a_day_gives_its_collection_and_back() {
        let leap = Day::of_ms(1_709_164_800_000);
        assert_eq!(leap.collection(), "access_events_20240229");
        assert_eq!(Day::of_ms(1_709_164_800_000 + DAY_MS - 1), leap);
        assert_eq!(Day::of_collection("access_events_20240229"), Some(leap));
        for other in
            [OTHER, EVENTS, "access_events_20230229", "access_events_2024029", "access_events_ 2024229"]
        {
            assert_eq!(Day::of_collection(other), None, "{other}");
        }
    }

    #[test]
    fn no_day_that_takes_events_is_dropped() {
        let noon = 20_000 * DAY_MS + DAY_MS / 2;
        let kept = Kept::at(noon, 30);
        // An event as old as that is just kept, and so is the rest of its day.
        let oldest = noon - 30 * DAY_MS;
        assert_eq!(kept.day_of(oldest), Some(Day(19_970)));
        assert_eq!(kept.day_of(19_970 * DAY_MS), Some(Day(19_970)));
        assert_eq!(kept.day_of(19_970 * DAY_MS - 1), None);
        assert_eq!(kept.day_of(noon + 7 * DAY_MS), Some(Day(20_007)));
        assert_eq!(kept.day_of(noon + 8 * DAY_MS), None);
        assert_eq!(kept.day_of(i64::MAX), None);
        assert_eq!(kept.day_of(i64::MIN), None);
        assert!(kept.is_over(Day(19_968)) && !kept.is_over(Day(19_969)) && !kept.is_over(Day(19_970)));
    }

    #[test]
    fn coming_events_go_to_today_and_the_days_after() {
        let kept = Kept::at(20_000 * DAY_MS, 30);
        let parts = Parts::daily(&(19_999..20_009).map(Day).collect(), kept);
        assert_eq!(parts.all.len(), 11);
        assert_eq!(parts.coming.len(), 9);
        let [other, today] = [&parts.coming[0], &parts.coming[1]];
        assert_eq!([other.as_str(), today.as_str()], ["access_events_other", "access_events_20241004"]);
        assert!(parts.are_daily() && !Parts::one().are_daily());
    }

    #[test]
    fn the_view_begins_with_the_newest_day() {
        let days = BTreeSet::from([Day(19_782), Day(19_783)]);
        let unions = [
            doc! { "$unionWith": "access_events_20240301" },
            doc! { "$unionWith": "access_events_20240229" },
        ];
        assert_eq!(view(&days), doc! { "viewOn": "access_events_other", "pipeline": unions });
        assert!(is_view(&view(&days)) && !is_view(&doc! { "viewOn": "x" }));
    }
}
