//! The answers in words, section by section, as every form of the report says them.

use chrono::{DateTime, FixedOffset, Offset, TimeZone, Utc};

use super::table::printable;
use super::words::Words;
use super::{BusyTime, Report};

/// In the sentence of first places, at most this many countries are named per content type.
const COUNTRIES_NAMED_MAX: usize = 5;
/// From one day on, the hours of the week say something.
const WEEK_SHOWN_MINUTES_MIN: u64 = 24 * 60;

/// An instant on the clock of the report's time zone.
pub(crate) fn local(at: DateTime<Utc>, report: &Report) -> DateTime<FixedOffset> {
    let timezone: chrono_tz::Tz = report.period.timezone.parse().unwrap_or(chrono_tz::UTC);
    at.with_timezone(&timezone.offset_from_utc_datetime(&at.naive_utc()).fix())
}

/// Whether the hours of the week are shown.
pub(crate) fn shows_week(report: &Report) -> bool {
    report.period.minutes >= WEEK_SHOWN_MINUTES_MIN
}

/// What the report is about.
pub(crate) fn title(report: &Report, words: Words) -> String {
    let period = &report.period;
    let end = |at: Option<DateTime<Utc>>| at.map(|at| words.moment(local(at, report)));
    let country = report.country.as_deref().map(printable);
    let (from, to) = (end(period.from), end(period.to));
    words.title(from.as_deref(), to.as_deref(), &period.timezone, country.as_deref())
}

/// The sums of the period.
pub(crate) fn totals(report: &Report, words: Words) -> Vec<String> {
    let totals = &report.totals;
    let mut said = vec![match totals.accesses {
        0 => words.labels().nothing.to_owned(),
        accesses => words.total(accesses, report.period.minutes),
    }];
    if let (Some(rejected), Some(late)) = (totals.rejected, totals.late)
        && rejected + late > 0
    {
        said.push(words.arrivals(rejected, late));
    }
    said.extend(totals.users_estimate.map(|users| words.users(users.at_least, users.at_most)));
    said
}

/// When the peaks are.
pub(crate) fn peaks(report: &Report, words: Words) -> Vec<String> {
    let peaks = &report.peaks;
    // Against an average of itself, a single minute says nothing.
    let several = report.period.minutes > 1;
    let mut said = Vec::new();
    if let Some(BusyTime { local, n, times_average, .. }) = peaks.busiest_minutes.first() {
        let times = several.then_some(*times_average);
        said.push(words.busiest_minute(&words.moment(*local), &report.period.timezone, *n, times));
    }
    if let Some(BusyTime { local, n, times_average, .. }) = peaks.busiest_hours.first().filter(|_| several) {
        let times = (peaks.busiest_hours.len() > 1).then_some(*times_average);
        said.push(words.busiest_hour(*local, *n, times));
    }
    if let (true, Some(busiest)) = (shows_week(report), &peaks.busiest_weekday_hour) {
        said.push(words.busiest_weekday_hour(busiest.weekday, busiest.hour, busiest.n));
    }
    if let (true, Some(average), Some(median)) = (several, peaks.average_per_minute, peaks.median_per_minute)
    {
        said.push(words.usual_minute(average, median));
        let sharpest = peaks.sharp.first().map(|sharp| (words.moment(sharp.local), sharp.ratio));
        let sharpest = sharpest.as_ref().map(|(at, ratio)| (at.as_str(), *ratio));
        said.push(words.sharp(peaks.sharp_total, sharpest));
    }
    said
}

/// Which devices are used most.
pub(crate) fn devices(report: &Report, words: Words) -> Vec<String> {
    let second = report.devices.get(1).map(|device| (device.device.as_str(), device.share));
    let first = report.devices.first().map(|first| words.most_used((&first.device, first.share), second));
    first.into_iter().collect()
}

/// What is watched where.
pub(crate) fn contents(report: &Report, words: Words) -> Vec<String> {
    let Some(first) = report.content_types.first() else { return Vec::new() };
    vec![words.most_watched(&first.content_type, first.share), words.first_by_country(&first_places(report))]
}

/// The content types that come first somewhere, by the number of countries, with some of those.
fn first_places(report: &Report) -> Vec<(&str, usize, String)> {
    let mut firsts: Vec<(&str, Vec<&str>)> = Vec::new();
    for country in &report.content_by_country {
        let Some(top) = country.top_content_type.as_deref() else {
            continue;
        };
        match firsts.iter_mut().find(|(name, _)| *name == top) {
            Some((_, countries)) => countries.push(&country.country),
            None => firsts.push((top, vec![&country.country])),
        }
    }
    firsts.sort_by_key(|(_, countries)| std::cmp::Reverse(countries.len()));
    firsts
        .into_iter()
        .map(|(name, countries)| {
            let mut named = countries[..countries.len().min(COUNTRIES_NAMED_MAX)].join(", ");
            if countries.len() > COUNTRIES_NAMED_MAX {
                named.push_str(", …");
            }
            (name, countries.len(), printable(&named))
        })
        .collect()
}
