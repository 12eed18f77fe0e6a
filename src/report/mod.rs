//! The report: when are the peaks, which devices are used most, what is watched where, and which alerts there
//! were. [`answer`] reads MongoDB's rollups (never the events) into plain data, computes the answers in pure
//! code and gives a [`Report`], which [`render_text`] and [`render_html`] show to people and
//! [`render_json`] to a program.
//! While a pipeline is writing, the collections are read one after the other, so their sums may differ by
//! what was stored in between.

mod answers;
pub(crate) mod html;
mod labels;
mod numbers;
mod peaks;
mod period;
mod query;
mod rollups;
mod sentences;
mod sharp;
pub(crate) mod table;
mod text;
mod text_alerts;
#[cfg(test)]
mod text_tests;
mod timeline;
pub(crate) mod words;

use anyhow::Context;
use chrono::{DateTime, FixedOffset, NaiveDate, Utc};
use serde::Serialize;
use serde_json::Number;

pub use html::render_html;
pub use text::render_text;

/// Length of the "busiest" lists when nothing else is asked for.
pub const TOP_DEFAULT: usize = 10;
/// Length of the "busiest" lists at most; a longer wish is cut to it.
pub const TOP_MAX: usize = 1_000;
/// A report lists at most this many sharp peaks, those furthest above their median; `sharp_total` counts all.
pub const SHARP_LISTED_MAX: usize = 1_000;
/// A report lists at most this many alerts, the newest; `alerts_total` counts all.
pub const ALERTS_LISTED_MAX: usize = 1_000;
/// A report lists at most this many cities, the busiest; `cities_total` counts all.
pub const CITIES_LISTED_MAX: usize = 10_000;
/// A report lists the users of at most this many days, the newest.
pub const USERS_DAYS_LISTED_MAX: usize = 1_000;
/// The timeline has at most this many stretches.
pub const TIMELINE_MAX: usize = 300;
/// A report reads at most this many minutes with accesses (ten years without a gap, 84 MB).
pub const MINUTES_READ_MAX: usize = 10 * 366 * 24 * 60;

/// The language of the text report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Lang {
    #[default]
    En,
    Pt,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct ReportSpec {
    /// Start of the period, inclusive, rounded up to a whole minute; `None` is the first minute with
    /// accesses.
    pub from: Option<DateTime<Utc>>,
    /// End of the period, exclusive, rounded up to a whole minute; `None` is after the last minute with
    /// accesses.
    pub to: Option<DateTime<Utc>>,
    /// The clock that hours and weekdays are read from.
    pub timezone: chrono_tz::Tz,
    /// Length of the "busiest" lists, at most [`TOP_MAX`].
    pub top: usize,
    pub lang: Lang,
    /// Whether to answer "what is watched where" by city too.
    pub cities: bool,
    /// Only this country (ISO 3166-1 alpha-2, capitals). Alerts stay those of the whole platform.
    pub country: Option<String>,
}

impl Default for ReportSpec {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            timezone: chrono_tz::UTC,
            top: TOP_DEFAULT,
            lang: Lang::En,
            cities: false,
            country: None,
        }
    }
}

/// The answers. The field names are the JSON names and stay as they are; times are RFC 3339, shares 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub period: Period,
    /// The country that was asked for, `null` for all.
    pub country: Option<String>,
    pub totals: Totals,
    /// Accesses over time, in order, without gaps: at most [`TIMELINE_MAX`] stretches of the same length.
    pub timeline: Vec<Stretch>,
    pub peaks: Peaks,
    /// By accesses, most first; ties by name. So are the five lists below.
    pub devices: Vec<DeviceShare>,
    pub content_types: Vec<ContentShare>,
    pub countries: Vec<CountryShare>,
    pub content_by_country: Vec<CountryContent>,
    /// `null` unless asked for; at most [`CITIES_LISTED_MAX`].
    pub content_by_city: Option<Vec<CityContent>>,
    /// How many cities had accesses, listed or not; `null` unless asked for.
    pub cities_total: Option<u64>,
    /// Newest last; the newest [`ALERTS_LISTED_MAX`] of the period.
    pub alerts: Vec<Alert>,
    pub alerts_total: u64,
}

/// A stretch of time. The first and the last one may lie partly outside of the period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stretch {
    /// Its start.
    pub ts: DateTime<Utc>,
    /// Its start on the clock of the time zone.
    pub local: DateTime<FixedOffset>,
    /// Accesses of its minutes that lie in the period.
    pub n: u64,
    /// How many minutes of it lie in the period.
    pub minutes: u64,
    /// Accesses of its busiest minute.
    pub peak: u64,
}

/// The period that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Period {
    /// Inclusive; `null` when it was not given and there is no data.
    pub from: Option<DateTime<Utc>>,
    /// Exclusive; `null` when it was not given and there is no data.
    pub to: Option<DateTime<Utc>>,
    /// IANA name of the time zone.
    pub timezone: String,
    /// Minutes between `from` and `to`, with and without accesses.
    pub minutes: u64,
}

/// Sums over the period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Totals {
    pub accesses: u64,
    /// Lines that were refused, by the minute in which they arrived. Where `from` or `to` was not given, that
    /// side is open, since an old log is refused today. `null` with a country: a refused line has none.
    pub rejected: Option<u64>,
    /// Accesses that arrived late, counted like `rejected`.
    pub late: Option<u64>,
    /// `null` with a country, or when no window of the period has an estimate.
    pub users_estimate: Option<UsersEstimate>,
    /// Distinct users of each UTC day that touches the period, oldest first, at most
    /// [`USERS_DAYS_LISTED_MAX`].
    pub users_by_day: Vec<UsersOfDay>,
}

/// Distinct users of the period, as bounds: the estimates of single windows are not merged, so a user of two
/// windows is known to be at least one and at most two. Each window's estimate has the error of its sketch,
/// about 1%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct UsersEstimate {
    /// The users of the window (day, hour or minute inside the period) that had most.
    pub at_least: u64,
    /// The sum over the fewest windows that make up the period.
    pub at_most: u64,
}

/// Distinct users of one UTC day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UsersOfDay {
    pub day: NaiveDate,
    /// Estimate over the whole day, also where the period holds only a part of it.
    pub users: u64,
    /// Whether the whole day lies in the period.
    pub whole: bool,
}

/// When the peaks are. Minutes without accesses count as 0 in every average and median.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peaks {
    /// Most accesses first, ties by time.
    pub busiest_minutes: Vec<BusyTime>,
    /// Clock hours of the time zone, most accesses first, ties by time. An hour that the clock shows twice is
    /// two.
    pub busiest_hours: Vec<BusyTime>,
    /// Minutes above twice the median of the hour around them, furthest above that median first, ties by
    /// time; at most [`SHARP_LISTED_MAX`].
    pub sharp: Vec<SharpPeak>,
    pub sharp_total: u64,
    /// Accesses by weekday (Monday first) and hour of the day on the clock of the time zone.
    pub hours_by_weekday: [[u64; 24]; 7],
    pub busiest_weekday_hour: Option<WeekdayHour>,
    /// `null` when the period has no minute.
    pub average_per_minute: Option<f64>,
    pub median_per_minute: Option<f64>,
}

/// A busy minute or hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BusyTime {
    /// Its start.
    pub ts: DateTime<Utc>,
    /// Its start on the clock of the time zone.
    pub local: DateTime<FixedOffset>,
    pub n: u64,
    /// Against the average of as many minutes of the period.
    pub times_average: f64,
}

/// A minute that stands out from the hour around it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SharpPeak {
    pub ts: DateTime<Utc>,
    pub local: DateTime<FixedOffset>,
    pub n: u64,
    /// Median of the other minutes from 30 before to 30 after that lie in the period.
    pub median_of_hour: f64,
    /// `n / median_of_hour`, `null` when the median is 0.
    pub ratio: Option<f64>,
}

/// An hour of the week.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WeekdayHour {
    /// `monday` to `sunday`.
    pub weekday: &'static str,
    /// 0 to 23.
    pub hour: u8,
    pub n: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceShare {
    pub device: String,
    pub n: u64,
    pub share: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ContentShare {
    pub content_type: String,
    pub n: u64,
    pub share: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountryShare {
    pub country: String,
    pub n: u64,
    pub share: f64,
}

/// What a country watches; the shares of `contents` are of the country.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountryContent {
    pub country: String,
    pub n: u64,
    pub top_content_type: Option<String>,
    pub contents: Vec<ContentShare>,
}

/// What a city watches; the shares of `contents` are of the city.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CityContent {
    pub country: String,
    pub city: String,
    pub n: u64,
    pub top_content_type: Option<String>,
    pub contents: Vec<ContentShare>,
}

/// An alert as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Alert {
    pub id: String,
    pub kind: String,
    pub severity: String,
    /// Start of the minute it is about, or that it opened in.
    pub ts: DateTime<Utc>,
    pub observed: Option<Number>,
    /// What was expected, where that is known.
    pub expected: Option<Number>,
    /// The limit, where there is one.
    pub limit: Option<Number>,
    /// How many minutes it reaches.
    pub minutes: u64,
    pub status: String,
    /// Adjacent minutes share one.
    pub incident: String,
    pub text: String,
}

/// Reads the rollups of `db` and answers `spec`.
///
/// # Errors
/// When the period is empty or holds more than [`MINUTES_READ_MAX`] minutes with accesses, and when MongoDB
/// cannot be read.
pub async fn answer(db: &mongodb::Database, spec: &ReportSpec) -> anyhow::Result<Report> {
    if let (Some(from), Some(to)) = (spec.from, spec.to)
        && from >= to
    {
        anyhow::bail!(
            "the period is empty: its start {from} is not before its end {to}, give an earlier start"
        );
    }
    let collected = query::collect(db, spec).await.context("could not read the rollups from mongodb")?;
    Ok(answers::report(spec, collected))
}

/// The report as pretty JSON, with a line end.
pub fn render_json(report: &Report) -> String {
    let mut text =
        serde_json::to_string_pretty(report).expect("a report has only text keys and finite numbers");
    text.push('\n');
    text
}
