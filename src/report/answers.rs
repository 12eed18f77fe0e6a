//! From what was read to what is answered: shares of devices, content types and countries, the period, and
//! the peaks of [`super::peaks`]. Pure, so that every answer is tested as data.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};

use super::peaks::{MinuteCount, peaks};
use super::period::{Span, instant_of, minute_ceil, minute_floor};
use super::timeline::timeline;
use super::{
    Alert, CityContent, ContentShare, CountryContent, CountryShare, DeviceShare, Period, Report, ReportSpec,
    TOP_MAX, Totals, UsersEstimate, UsersOfDay,
};

/// What was read of MongoDB for one report.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// `None` when an end was not given and there is no data to take it from.
    pub span: Option<Span>,
    /// In order of time, only those with accesses.
    pub minutes: Vec<MinuteCount>,
    pub rejected: Option<u64>,
    pub late: Option<u64>,
    pub users_estimate: Option<UsersEstimate>,
    /// In order of time.
    pub users_by_day: Vec<(DateTime<Utc>, u64)>,
    /// Each combination once.
    pub cells: Vec<CellCount>,
    pub cities: Option<Cities>,
    /// In order of time.
    pub alerts: Vec<Alert>,
    pub alerts_total: u64,
}

/// The accesses of a country on a device to a content type.
#[derive(Debug, Clone)]
pub(crate) struct CellCount {
    pub country: String,
    pub device: String,
    pub content_type: String,
    pub n: u64,
}

/// The busiest cities, most accesses first, and how many cities there are.
#[derive(Debug, Default)]
pub(crate) struct Cities {
    pub listed: Vec<CityCount>,
    pub total: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct CityCount {
    pub country: String,
    pub city: String,
    pub n: u64,
    /// Content types, each once.
    pub contents: Vec<(String, u64)>,
}

/// The start of the period as a minute, if it was given.
pub(crate) fn from_minute(spec: &ReportSpec) -> Option<i64> {
    spec.from.map(minute_ceil)
}

/// The end of the period as a minute, if it was given.
pub(crate) fn to_minute(spec: &ReportSpec) -> Option<i64> {
    spec.to.map(minute_ceil)
}

/// Answers `spec` from what was read for it.
pub(crate) fn report(spec: &ReportSpec, collected: Collected) -> Report {
    let span = collected.span.unwrap_or_default();
    let instant = |minute: Option<i64>| minute.map(instant_of);
    let (from, to) = match collected.span {
        Some(span) => (Some(span.from), Some(span.to)),
        None => (from_minute(spec), to_minute(spec)),
    };
    let cells = &collected.cells;
    let cities_total = collected.cities.as_ref().map(|cities| cities.total);
    Report {
        period: Period {
            from: instant(from),
            to: instant(to),
            timezone: spec.timezone.name().to_owned(),
            minutes: span.minutes(),
        },
        country: spec.country.clone(),
        totals: Totals {
            accesses: collected.minutes.iter().map(|m| m.n).sum(),
            rejected: collected.rejected,
            late: collected.late,
            users_estimate: collected.users_estimate,
            users_by_day: users_by_day(&collected.users_by_day, span),
        },
        timeline: timeline(&collected.minutes, span, spec.timezone),
        peaks: peaks(&collected.minutes, span, spec.timezone, spec.top.min(TOP_MAX)),
        devices: shares(cells.iter().map(|c| (c.device.as_str(), c.n)))
            .map(|(device, n, share)| DeviceShare { device, n, share })
            .collect(),
        content_types: contents(cells.iter().map(|c| (c.content_type.as_str(), c.n))),
        countries: shares(cells.iter().map(|c| (c.country.as_str(), c.n)))
            .map(|(country, n, share)| CountryShare { country, n, share })
            .collect(),
        content_by_country: content_by_country(cells),
        content_by_city: collected.cities.map(content_by_city),
        cities_total,
        alerts: collected.alerts,
        alerts_total: collected.alerts_total,
    }
}

/// Sums by name, with the share of the whole; most first, ties by name. What has no accesses is left out.
fn shares<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> impl Iterator<Item = (String, u64, f64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, n) in counts {
        *sums.entry(name).or_default() += n;
    }
    let total: u64 = sums.values().sum();
    let mut ranked: Vec<(String, u64)> =
        sums.into_iter().filter(|&(_, n)| n > 0).map(|(name, n)| (name.to_owned(), n)).collect();
    // The sort is stable and the map gave the names in order.
    ranked.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
    ranked.into_iter().map(move |(name, n)| (name, n, n as f64 / total as f64))
}

fn contents<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> Vec<ContentShare> {
    shares(counts).map(|(content_type, n, share)| ContentShare { content_type, n, share }).collect()
}

fn top_of(contents: &[ContentShare]) -> Option<String> {
    contents.first().map(|first| first.content_type.clone())
}

fn content_by_country(cells: &[CellCount]) -> Vec<CountryContent> {
    let mut by_country: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for cell in cells {
        by_country.entry(&cell.country).or_default().push((&cell.content_type, cell.n));
    }
    let mut countries: Vec<CountryContent> = by_country
        .into_iter()
        .map(|(country, counts)| {
            let contents = contents(counts.into_iter());
            CountryContent {
                country: country.to_owned(),
                n: contents.iter().map(|c| c.n).sum(),
                top_content_type: top_of(&contents),
                contents,
            }
        })
        .filter(|country| country.n > 0)
        .collect();
    countries.sort_by_key(|country| std::cmp::Reverse(country.n));
    countries
}

fn content_by_city(cities: Cities) -> Vec<CityContent> {
    cities
        .listed
        .into_iter()
        .map(|CityCount { country, city, n, contents: counts }| {
            let contents = contents(counts.iter().map(|(name, n)| (name.as_str(), *n)));
            CityContent { country, city, n, top_content_type: top_of(&contents), contents }
        })
        .collect()
}

fn users_by_day(days: &[(DateTime<Utc>, u64)], span: Span) -> Vec<UsersOfDay> {
    const DAY_MINUTES: i64 = 24 * 60;
    let whole = |day: DateTime<Utc>| {
        let start = minute_floor(day);
        span.from <= start && start + DAY_MINUTES <= span.to
    };
    let day_of = |day: DateTime<Utc>| -> NaiveDate { day.date_naive() };
    days.iter().map(|&(day, users)| UsersOfDay { day: day_of(day), users, whole: whole(day) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn cell(country: &str, device: &str, content_type: &str, n: u64) -> CellCount {
        let [country, device, content_type] = [country, device, content_type].map(str::to_owned);
        CellCount { country, device, content_type, n }
    }

    fn sample() -> Collected {
        Collected {
            span: Some(Span { from: 0, to: 1500 }),
            cells: vec![
                cell("BR", "tv", "series", 30),
                cell("BR", "smartphone", "movie", 20),
                cell("BR", "smartphone", "live", 20),
                cell("AR", "tv", "movie", 15),
                cell("AR", "tv", "live", 15),
                cell("ZA", "other", "other", 0),
            ],
            users_by_day: vec![(instant_of(0), 7), (instant_of(1440), 2)],
            ..Collected::default()
        }
    }

    #[test]
    fn shares_are_ordered_by_count_then_name_and_leave_out_what_has_none() {
        let report = report(&ReportSpec::default(), sample());
        let devices: Vec<String> =
            report.devices.iter().map(|d| format!("{} {} {}", d.device, d.n, d.share)).collect();
        expect!["tv 60 0.6, smartphone 40 0.4"].assert_eq(&devices.join(", "));
        let countries: Vec<String> = report
            .content_by_country
            .iter()
            .map(|c| {
                let contents: Vec<String> =
                    c.contents.iter().map(|s| format!("{} {}", s.content_type, s.n)).collect();
                format!("{} {} {:?} [{}]", c.country, c.n, c.top_content_type, contents.join(", "))
            })
            .collect();
        expect![[r#"
            BR 70 Some("series") [series 30, live 20, movie 20]
            AR 30 Some("live") [live 15, movie 15]"#]]
        .assert_eq(&countries.join("\n"));
        assert_eq!(report.countries[0].share, 0.7);
        assert_eq!(report.content_types[0].content_type, "live");
        let total = |shares: &[f64]| shares.iter().sum::<f64>();
        assert!((total(&report.devices.iter().map(|d| d.share).collect::<Vec<_>>()) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_day_that_the_period_cuts_is_marked() {
        let report = report(&ReportSpec::default(), sample());
        let days: Vec<String> =
            report.totals.users_by_day.iter().map(|d| format!("{} {} {}", d.day, d.users, d.whole)).collect();
        expect!["1970-01-01 7 true, 1970-01-02 2 false"].assert_eq(&days.join(", "));
    }

    #[test]
    fn without_data_the_period_is_what_was_asked() {
        let spec = ReportSpec {
            from: Some("2026-11-22T00:00:30Z".parse().unwrap()),
            top: usize::MAX,
            ..ReportSpec::default()
        };
        let period = report(&spec, Collected::default()).period;
        assert_eq!(period.from, Some("2026-11-22T00:01:00Z".parse().unwrap()));
        assert_eq!((period.to, period.minutes), (None, 0));
    }
}
