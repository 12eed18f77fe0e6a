//! Tests of the watch over a count.

use super::*;

const LIMIT: f64 = 16.0;
/// Most bytes of an encoded watch: 10,000 of them fit into a document of MongoDB.
const ENCODED_BYTES_MAX: usize = 1_408;

fn value(minute: i64) -> u64 {
    100 + (minute * 7_919 % 21) as u64
}

fn next(watch: &mut Watch, minute: i64, count: u64) -> Judgement {
    watch.minute(minute * 60_000, count, LIMIT, false)
}

fn watch(minutes: i64) -> Watch {
    let mut watch = Watch::default();
    for minute in 0..minutes {
        assert_eq!(next(&mut watch, minute, value(minute)).sudden, None);
    }
    watch
}

#[track_caller]
fn check(counts: u64, minutes_max: i64, kind: Kind) {
    let mut watch = watch(3_000);
    let opened = (3_000..3_000 + minutes_max)
        .any(|minute| next(&mut watch, minute, counts).sudden == Some(Change::Opened));
    assert!(opened);
    assert_eq!(watch.open().map(|incident| incident.kind), Some(kind));
}

#[test]
fn sudden_changes_are_told_soon() {
    check(330, 1, Kind::Surge);
    check(220, 3, Kind::Surge);
    check(30, 2, Kind::Drop);
    check(0, 1, Kind::Outage);
}

#[test]
fn nothing_is_told_before_something_is_known() {
    let mut watch = watch(i64::from(WARM_UP_MINUTES) - 1);
    assert_eq!(next(&mut watch, 59, 1_000).sudden, None);
}

#[test]
fn what_begins_with_an_attack_is_no_outage_when_that_ends() {
    let mut watch = Watch::default();
    for minute in 0..600 {
        let count = if minute < 40 { 500 } else { 0 };
        assert_eq!(next(&mut watch, minute, count).sudden, None, "minute {minute}");
    }
}

#[test]
fn an_attack_does_not_become_normal_but_a_lasting_level_does() {
    let mut watch = watch(3_000);
    for minute in 3_000..3_180 {
        next(&mut watch, minute, 500);
    }
    assert!((80.0..160.0).contains(&watch.expected(3_180 * 60_000)));
    let adopted = (3_180..3_400).any(|minute| next(&mut watch, minute, 500).sudden == Some(Change::Adopted));
    assert!(adopted);
    let quiet = (3_400..3_700).all(|minute| next(&mut watch, minute, 500).sudden.is_none());
    assert!(quiet);
}

#[test]
fn it_closes_when_all_is_normal() {
    let mut watch = watch(3_000);
    next(&mut watch, 3_000, 500);
    let closed = (3_001..3_010).any(|minute| next(&mut watch, minute, 105).sudden == Some(Change::Closed));
    assert!(closed);
}

/// A day with a peak at noon and a greater one in the evening.
fn of_day(minute: i64) -> f64 {
    let hour = (minute % 1_440) as f64 / 60.0;
    let peak = |at: f64, width: f64| {
        let far = (hour - at).abs().min(24.0 - (hour - at).abs());
        (-far * far / width).exp()
    };
    60.0 + 160.0 * peak(21.0, 8.0) + 65.0 * peak(13.0, 6.0)
}

#[test]
fn a_broken_season_is_told_and_ends() {
    let mut watch = Watch::default();
    let weeks = 4 * 10_080;
    let mut told = Vec::new();
    for minute in 0..weeks + 3 * 1_440 {
        let has_no_evening = (weeks + 990..weeks + 1_440).contains(&minute);
        let count = if has_no_evening { of_day(minute).min(100.0) } else { of_day(minute) };
        let judgement = next(&mut watch, minute, count as u64);
        told.extend(judgement.season.map(|change| (minute - weeks, change)));
        assert_eq!(judgement.sudden, None, "minute {minute}");
    }
    let [(opened, Change::Opened), (closed, Change::Closed)] = told[..] else { panic!("{told:?}") };
    assert!((1_080..1_320).contains(&opened), "{told:?}");
    assert!((1_440..1_640).contains(&closed), "{told:?}");
}

#[test]
fn bytes_go_both_ways_and_are_bounded() {
    let mut watch = watch(3_000);
    next(&mut watch, 3_000, 500);
    let mut bytes = Vec::new();
    watch.encode(&mut Writer(&mut bytes));
    let both = bytes.len() + 62;
    assert!(both <= ENCODED_BYTES_MAX, "{both} with the incident of a season");
    assert!(size_of::<Watch>() <= 2_048, "{} bytes", size_of::<Watch>());
    assert_eq!(Watch::decode(&mut Reader(&bytes)), Some(watch));
    assert_eq!(Watch::decode(&mut Reader(&bytes[..bytes.len() - 1])), None);
}
