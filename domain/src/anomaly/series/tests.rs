//! Tests of the detector of a series.

use super::*;

const MINUTE_MS: i64 = 60_000;

/// A day of counts with noise.
fn value(minute: i64) -> f64 {
    let noise = (minute * 7_919 % 31) as f64 - 15.0;
    let hours = (minute % 1_440) as f64 / 60.0;
    200.0 + 10.0 * hours * (24.0 - hours) / 12.0 + noise
}

fn series(minutes: i64, scale: f64) -> Series {
    let mut series = Series::default();
    (0..minutes).for_each(|minute| {
        series.point(minute * MINUTE_MS, scale * value(minute));
    });
    series
}

#[test]
fn causes_are_told() {
    let usual = series(5_000, 1.0);
    let next = |factor: f64| usual.clone().point(5_000 * MINUTE_MS, factor * value(5_000));
    assert_eq!(next(1.0).alarm, None);
    assert_eq!(next(10.0).alarm, Some(Cause::Spike));
    assert!(matches!(next(0.0).alarm, Some(Cause::Hole | Cause::Drop)));
    assert!((next(1.0).expected / value(5_000) - 1.0).abs() < 0.1);
}

#[test]
fn an_alarm_is_followed_by_quiet() {
    let mut series = series(5_000, 1.0);
    assert!(series.point(5_000 * MINUTE_MS, 5_000.0).alarm.is_some());
    for minute in 5_001..5_001 + i64::from(REFRACTORY_POINTS) {
        assert_eq!(series.point(minute * MINUTE_MS, 5_000.0).score, 0.0);
    }
}

#[test]
fn the_unit_does_not_matter() {
    let (one, other) = (series(5_000, 1.0), series(5_000, 1.0 / 1_024.0));
    let score = |mut series: Series, scale: f64| series.point(5_000 * MINUTE_MS, scale * 2_000.0).score;
    let (one, other) = (score(one, 1.0), score(other, 1.0 / 1_024.0));
    assert!((one - other).abs() < 0.1, "{one} {other}");
}

#[test]
fn any_number_is_taken() {
    let mut series = Series::default();
    for (i, value) in (0..)
        .zip([0.0, -0.0, 1e300, -1e300, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE, 5e-324, 0.0].repeat(50))
    {
        let verdict = series.point(i * MINUTE_MS, value);
        assert!(verdict.score.is_finite() && verdict.expected.is_finite(), "{verdict:?}");
    }
    let mean = series.season.mean();
    assert!(mean.is_finite());
    series.point(400 * MINUTE_MS, f64::NAN);
    assert_eq!(series.season.mean(), mean);
}

#[test]
fn its_state_is_bounded() {
    assert!(size_of::<Series>() <= 2_048, "{} bytes", size_of::<Series>());
}
