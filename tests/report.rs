//! The report against a real MongoDB: rollups are computed from random accesses, and every answer is compared
//! with one computed from those accesses directly.

mod sample;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use streampulse::report::{ALERTS_LISTED_MAX, Lang, Report, ReportSpec, answer, render_json, render_text};

use sample::{Access, DAYS, at, date, fill, floor, random_accesses, users};

/// A database of its own for each test, dropped at the end.
async fn database(name: &str) -> Database {
    let client = Client::with_uri_str(crate::support::mongodb_uri()).await.unwrap();
    let db = client.database(&format!("report_test_{name}_{}", std::process::id()));
    db.drop().await.unwrap();
    db
}

fn by_count_then_name<K: Ord>(counts: BTreeMap<K, u64>) -> Vec<(K, u64)> {
    let mut sorted: Vec<(K, u64)> = counts.into_iter().collect();
    sorted.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    sorted
}

fn count_by<'a, K: Ord>(accesses: &[&'a Access], key: impl Fn(&'a Access) -> K) -> Vec<(K, u64)> {
    let mut counts = BTreeMap::new();
    for a in accesses {
        *counts.entry(key(a)).or_insert(0) += 1;
    }
    by_count_then_name(counts)
}

/// Compares every answer with the accesses themselves.
fn assert_answers(report: &Report, spec: &ReportSpec, accesses: &[Access]) {
    let (from, to) = (report.period.from.unwrap(), report.period.to.unwrap());
    let inside: Vec<&Access> = accesses
        .iter()
        .filter(|a| from <= a.ts && a.ts < to && spec.country.as_deref().is_none_or(|c| c == a.country))
        .collect();
    assert_eq!(report.totals.accesses, inside.len() as u64);
    assert_eq!(report.period.minutes, (to - from).num_minutes() as u64);

    let devices: Vec<(&str, u64)> = report.devices.iter().map(|d| (d.device.as_str(), d.n)).collect();
    assert_eq!(devices, count_by(&inside, |a| a.device));
    let countries: Vec<(&str, u64)> = report.countries.iter().map(|c| (c.country.as_str(), c.n)).collect();
    assert_eq!(countries, count_by(&inside, |a| a.country));
    for country in &report.content_by_country {
        let there: Vec<&Access> = inside.iter().copied().filter(|a| a.country == country.country).collect();
        let contents: Vec<(&str, u64)> =
            country.contents.iter().map(|c| (c.content_type.as_str(), c.n)).collect();
        assert_eq!(contents, count_by(&there, |a| a.content_type), "{}", country.country);
        assert_eq!(country.n, there.len() as u64);
    }
    assert_eq!(report.content_by_city.is_some(), spec.cities);
    if let Some(cities) = &report.content_by_city {
        let listed: Vec<((&str, &str), u64)> =
            cities.iter().map(|c| ((c.country.as_str(), c.city.as_str()), c.n)).collect();
        assert_eq!(listed, count_by(&inside, |a| (a.country, a.city)));
        assert_eq!(report.cities_total, Some(listed.len() as u64));
        for city in cities {
            let there = inside.iter().copied().filter(|a| (a.country, a.city) == (&city.country, &city.city));
            let contents: Vec<(&str, u64)> =
                city.contents.iter().map(|c| (c.content_type.as_str(), c.n)).collect();
            assert_eq!(contents, count_by(&there.collect::<Vec<_>>(), |a| a.content_type));
        }
    }
    assert_peaks(report, spec, &inside);
}

fn assert_peaks(report: &Report, spec: &ReportSpec, inside: &[&Access]) {
    let (from, to) = (report.period.from.unwrap(), report.period.to.unwrap());
    let minutes = count_by(inside, |a| floor(a.ts, 1));
    let busiest: Vec<(DateTime<Utc>, u64)> =
        report.peaks.busiest_minutes.iter().map(|m| (m.ts, m.n)).collect();
    assert_eq!(busiest, minutes[..spec.top.min(minutes.len())]);

    let local = |a: &Access| a.ts.with_timezone(&spec.timezone);
    let hours = count_by(inside, |a| {
        let local = local(a);
        let into_hour = TimeDelta::seconds(i64::from(local.minute() * 60 + local.second()));
        floor((local - into_hour).with_timezone(&Utc), 1)
    });
    let busiest: Vec<(DateTime<Utc>, u64)> = report.peaks.busiest_hours.iter().map(|h| (h.ts, h.n)).collect();
    assert_eq!(busiest, hours[..spec.top.min(hours.len())]);

    let mut week = [[0; 24]; 7];
    for a in inside {
        week[local(a).weekday().num_days_from_monday() as usize][local(a).hour() as usize] += 1;
    }
    assert_eq!(report.peaks.hours_by_weekday, week);

    let n_of: BTreeMap<DateTime<Utc>, u64> = minutes.into_iter().collect();
    let n_at = |ts| n_of.get(&ts).copied().unwrap_or(0);
    let mut sharp = BTreeMap::new();
    for (&ts, &n) in &n_of {
        let around = (-30..=30).map(|m| ts + TimeDelta::minutes(m));
        let mut others: Vec<u64> = around.filter(|&o| o != ts && o >= from && o < to).map(n_at).collect();
        others.sort();
        if !others.is_empty() && n > others[(others.len() - 1) / 2] + others[others.len() / 2] {
            sharp.insert(ts, n);
        }
    }
    assert_eq!(report.peaks.sharp_total, sharp.len() as u64);
    assert!(report.peaks.sharp.iter().all(|s| sharp.get(&s.ts) == Some(&s.n)));
}

fn assert_users(report: &Report, accesses: &[Access]) {
    let (from, to) = (report.period.from.unwrap(), report.period.to.unwrap());
    let inside = accesses.iter().filter(|a| from <= a.ts && a.ts < to);
    let exact = inside.map(|a| a.user).collect::<BTreeSet<_>>().len() as u64;
    let users = report.totals.users_estimate.unwrap();
    assert!(users.at_least <= exact && exact <= users.at_most, "{users:?} {exact}");
    let per_day = users_of_days(accesses, from, to);
    let listed: Vec<(String, u64)> =
        report.totals.users_by_day.iter().map(|d| (d.day.to_string(), d.users)).collect();
    assert_eq!(listed, per_day);
}

fn users_of_days(accesses: &[Access], from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(String, u64)> {
    users(accesses, 1440)
        .into_iter()
        .filter(|(day, _)| *day + TimeDelta::days(1) > from && *day < to)
        .map(|(day, users)| (day.date_naive().to_string(), users.len() as u64))
        .collect()
}

#[tokio::test]
async fn answers_equal_those_computed_from_the_accesses() {
    let db = database("answers").await;
    let accesses = random_accesses(1);
    fill(&db, &accesses).await;
    let spec = |from: Option<&str>, to: Option<&str>, timezone: Tz| ReportSpec {
        from: from.map(at),
        to: to.map(at),
        timezone,
        cities: true,
        ..ReportSpec::default()
    };
    let specs = [
        spec(None, None, Tz::UTC),
        spec(None, Some("2026-11-01T00:00:00Z"), Tz::America__Sao_Paulo),
        spec(Some("2026-11-01T00:00:00Z"), None, Tz::America__New_York),
        spec(Some("2026-10-31T00:00:00Z"), Some("2026-11-02T00:00:00Z"), Tz::Asia__Kolkata),
        spec(Some("2026-10-30T23:59:00Z"), Some("2026-11-02T13:01:00Z"), Tz::Asia__Kathmandu),
        spec(Some("2026-11-01T10:29:30Z"), Some("2026-11-01T12:31:10Z"), Tz::Australia__Lord_Howe),
        spec(Some("2020-01-01T00:00:00Z"), Some("2030-01-01T00:00:00Z"), Tz::UTC),
    ];
    for mut spec in specs {
        let report = answer(&db, &spec).await.unwrap();
        assert_answers(&report, &spec, &accesses);
        assert_users(&report, &accesses);
        for country in ["BR", "BO"] {
            spec.country = Some(country.to_owned());
            spec.top = 3;
            let report = answer(&db, &spec).await.unwrap();
            assert_answers(&report, &spec, &accesses);
            assert_eq!((report.totals.rejected, report.totals.users_estimate), (None, None));
        }
    }
    let whole = answer(&db, &ReportSpec::default()).await.unwrap();
    let minutes = users(&accesses, 1).len() as u64;
    assert_eq!(whole.period.from, accesses.iter().map(|a| floor(a.ts, 1)).min());
    assert_eq!(whole.totals.rejected, Some(2 * minutes + 1_000));
    assert_eq!(whole.totals.late, Some(minutes));
    assert_eq!(whole.cities_total, None);
    assert!(whole.peaks.sharp_total >= DAYS as u64);
    db.drop().await.unwrap();
}

#[tokio::test]
async fn an_empty_database_and_an_empty_period_have_no_accesses() {
    let db = database("empty").await;
    let mut spec = ReportSpec { cities: true, ..ReportSpec::default() };
    let nothing = answer(&db, &spec).await.unwrap();
    assert_eq!((nothing.totals.accesses, nothing.period.from), (0, None));
    assert!(render_text(&nothing, Lang::En, false, 80).contains("No accesses in this period."));

    fill(&db, &random_accesses(2)).await;
    spec.country = Some("ZZ".to_owned());
    assert_eq!(answer(&db, &spec).await.unwrap().totals.accesses, 0);
    spec.country = None;
    (spec.from, spec.to) = (Some(at("1999-01-01T00:00:00Z")), Some(at("1999-01-02T00:00:00Z")));
    let quiet = answer(&db, &spec).await.unwrap();
    assert_eq!((quiet.totals.accesses, quiet.period.minutes), (0, 1440));
    spec.to = spec.from;
    let refused = answer(&db, &spec).await.unwrap_err();
    assert!(refused.to_string().starts_with("the period is empty"), "{refused}");
    db.drop().await.unwrap();
}

#[tokio::test]
async fn the_newest_alerts_of_the_period_are_listed_newest_last() {
    let db = database("alerts").await;
    let start = Utc.with_ymd_and_hms(2026, 11, 22, 10, 0, 0).unwrap();
    let minute = |i: usize| start + TimeDelta::minutes(i as i64);
    let alerts = (0..ALERTS_LISTED_MAX + 3).map(|i| {
        let ts = date(minute(i));
        doc! {
            "_id": format!("limit|platform|{i:05}"), "kind": "limit", "severity": "warning",
            "entity": { "scope": "platform" }, "ts": ts, "incident": "i0", "observed": 1_500_i64 + i as i64,
            "expected": null, "limit": 1_000_i64, "score": 1.5, "status": "closed", "opened_at": ts,
            "closed_at": ts, "text": "above the limit",
        }
    });
    db.collection::<Document>("access_alerts").insert_many(alerts).await.unwrap();
    let spec = ReportSpec { from: Some(minute(1)), ..ReportSpec::default() };
    let report = answer(&db, &spec).await.unwrap();
    assert_eq!(report.alerts_total, ALERTS_LISTED_MAX as u64 + 2);
    assert_eq!(report.alerts.len(), ALERTS_LISTED_MAX);
    assert_eq!(report.alerts[0].ts, minute(3));
    assert_eq!(report.alerts[ALERTS_LISTED_MAX - 1].ts, minute(ALERTS_LISTED_MAX + 2));
    let json: serde_json::Value = serde_json::from_str(&render_json(&report)).unwrap();
    assert_eq!(json["alerts"][0]["observed"], 1_503);
    assert_eq!(json["alerts"][0]["ts"], "2026-11-22T10:03:00Z");
    db.drop().await.unwrap();
}
