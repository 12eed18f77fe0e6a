//! What the events say that a panel should show, counted here and not by the pipeline.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::grafana::frames::Frame;
use crate::sample::Sample;

pub const MINUTE_MS: i64 = 60_000;
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// A row as texts, by column; what is null is not there.
pub type Row = BTreeMap<String, String>;

/// An access of a sample, or several that are alike.
pub struct Access<'s> {
    pub minute: i64,
    pub country: &'s str,
    pub city: &'s str,
    pub device: &'s str,
    pub content: &'s str,
    pub n: i64,
}

/// The accesses of a period.
pub fn accesses(sample: &Sample, from: i64, to: i64) -> impl Iterator<Item = Access<'_>> {
    sample.cells.iter().filter(move |((minute, ..), _)| (from..to).contains(minute)).map(
        |((minute, country, city, device, content), n)| Access {
            minute: *minute,
            country,
            city,
            device,
            content,
            n: *n,
        },
    )
}

/// Rows of a frame, in its order.
pub fn rows(frame: &Frame) -> Vec<Row> {
    (0..frame.rows())
        .map(|row| {
            let cell = |value: &Option<Value>| match value.as_ref()? {
                Value::String(text) => Some(text.clone()),
                // A whole number, whether it came as a double or not.
                number => number.as_f64().map(|number| number.to_string()),
            };
            let fields = frame.fields.iter();
            fields.filter_map(|field| Some((field.name.clone(), cell(&field.values[row])?))).collect()
        })
        .collect()
}

fn row<const N: usize>(cells: [(&str, String); N]) -> Row {
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Sums by a key, most first, equal ones by key.
fn ranked<K: Ord + Clone>(sums: BTreeMap<K, i64>) -> Vec<(K, i64)> {
    let mut ranked: Vec<_> = sums.into_iter().collect();
    ranked.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    ranked
}

/// Sums of accesses by what `key` gives.
fn sums<'s, K: Ord>(
    accesses: impl Iterator<Item = Access<'s>>,
    key: impl Fn(&Access<'s>) -> K,
) -> BTreeMap<K, i64> {
    let mut sums = BTreeMap::new();
    accesses.for_each(|access| *sums.entry(key(&access)).or_default() += access.n);
    sums
}

/// `name` and accesses, most first.
pub fn by<'s>(
    name: &str,
    accesses: impl Iterator<Item = Access<'s>>,
    key: fn(&Access<'s>) -> &'s str,
) -> Vec<Row> {
    let sums = ranked(sums(accesses, key));
    sums.into_iter().map(|(key, n)| row([(name, key.to_owned()), ("accesses", n.to_string())])).collect()
}

/// Country, city and accesses, most first.
pub fn by_city<'s>(accesses: impl Iterator<Item = Access<'s>>) -> Vec<Row> {
    let sums = ranked(sums(accesses, |access| (access.country, access.city)));
    let cells = |((country, city), n): ((&str, &str), i64)| {
        row([("country", country.to_owned()), ("city", city.to_owned()), ("accesses", n.to_string())])
    };
    sums.into_iter().map(cells).collect()
}

/// A row for each first key, with a column for each second.
pub fn pivot<'s>(
    name: &str,
    accesses: impl Iterator<Item = Access<'s>>,
    first: impl Fn(&Access<'s>) -> String,
    second: impl Fn(&Access<'s>) -> String,
) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::<String, Row>::new();
    for ((first, second), n) in sums(accesses, |access| (first(access), second(access))) {
        let of_first = rows.entry(first.clone()).or_insert_with(|| row([(name, first)]));
        of_first.insert(second, n.to_string());
    }
    rows
}

/// `name`, the start of each window of `size_ms`, and accesses: the ten with most.
pub fn busiest<'s>(name: &str, accesses: impl Iterator<Item = Access<'s>>, size_ms: i64) -> Vec<Row> {
    let sums = ranked(sums(accesses, |access| access.minute - access.minute % size_ms));
    let cells = |(start, n): (i64, i64)| row([(name, start.to_string()), ("accesses", n.to_string())]);
    sums.into_iter().take(10).map(cells).collect()
}

/// Mean accesses by weekday and hour.
pub fn by_weekday<'s>(accesses: impl Iterator<Item = Access<'s>>) -> Vec<Row> {
    // The first day of 1970 was a Thursday.
    const WEEK: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let mut hours = BTreeMap::<(i64, i64), Vec<i64>>::new();
    for (hour, n) in sums(accesses, |access| access.minute / HOUR_MS) {
        // Monday comes first.
        hours.entry(((hour / 24 + 3) % 7, hour % 24)).or_default().push(n);
    }
    let mut rows = BTreeMap::<i64, Row>::new();
    for ((day, hour), counts) in hours {
        let mean = counts.iter().sum::<i64>() as f64 / counts.len() as f64;
        let name = WEEK[usize::try_from((day + 4) % 7).expect("a weekday")].to_owned();
        let of_day = rows.entry(day).or_insert_with(|| row([("day", name)]));
        of_day.insert(hour.to_string(), mean.round_ties_even().to_string());
    }
    rows.into_values().collect()
}
