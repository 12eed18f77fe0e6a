//! How many lines there are and when: the platform's volume over the week, and the instants of a back-fill.
//! A back-fill is a Poisson process whose rate follows the volume and the incidents, so the same seed gives
//! the same history at whatever speed it is produced.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::conditions::{Conditions, NOW_MS_MAX, NOW_MS_MIN};
use crate::incident::Incident;

/// Undisturbed traffic of the whole platform at `now_ms`, against a mean of 1.0 over a week.
/// It sums the local day curves of all cities, so it follows weekends and the changes of clocks.
pub fn volume_factor(now_ms: i64) -> f64 {
    let mut conditions = Conditions::new(Vec::new());
    conditions.move_to(now_ms);
    conditions.volume_factor()
}

/// The instants, in milliseconds since the epoch and never decreasing, at which lines were written in a
/// stretch of history. It ends when the stretch does.
pub struct Backfill {
    conditions: Conditions,
    rng: ChaCha8Rng,
    mean_rate_per_ms: f64,
    now_ms: f64,
    /// The current piece of constant rate ends here.
    piece_end_ms: f64,
    end_ms: i64,
}

impl Backfill {
    /// Covers `start_ms..end_ms` with `mean_rate_per_second` lines (a mean over the week, without incidents).
    /// Nothing comes if the rate is not a positive finite number or the range is empty; the range is kept
    /// between [`NOW_MS_MIN`] and [`NOW_MS_MAX`].
    pub fn new(start_ms: i64, end_ms: i64, mean_rate_per_second: f64, seed: u64) -> Backfill {
        let start_ms = start_ms.clamp(NOW_MS_MIN, NOW_MS_MAX);
        let is_rate = mean_rate_per_second.is_finite() && mean_rate_per_second > 0.0;
        let end_ms = if is_rate { end_ms.min(NOW_MS_MAX) } else { start_ms };
        Backfill {
            conditions: Conditions::new(Vec::new()),
            rng: ChaCha8Rng::seed_from_u64(seed ^ BACKFILL_STREAM),
            mean_rate_per_ms: mean_rate_per_second / 1_000.0,
            now_ms: start_ms as f64,
            piece_end_ms: start_ms as f64,
            end_ms,
        }
    }

    /// Lets incidents raise and lower the rate; give the generator the same ones.
    pub fn with_incidents(mut self, incidents: Vec<Incident>) -> Backfill {
        self.conditions = Conditions::new(incidents);
        self
    }
}

impl Iterator for Backfill {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        // A unit-rate exponential wait is used up by the pieces at their own rates.
        let mut wait = -(1.0 - self.rng.random::<f64>()).ln();
        loop {
            if self.now_ms >= self.end_ms as f64 {
                return None;
            }
            if self.now_ms >= self.piece_end_ms {
                self.conditions.move_to(self.now_ms as i64);
                self.piece_end_ms = self.conditions.valid_until_ms().min(self.end_ms) as f64;
            }
            let factor = self.conditions.volume_factor() * self.conditions.rate_factor();
            let rate_per_ms = self.mean_rate_per_ms * factor;
            let expected = rate_per_ms * (self.piece_end_ms - self.now_ms);
            if wait < expected {
                self.now_ms += wait / rate_per_ms;
                return Some(self.now_ms as i64);
            }
            wait -= expected;
            self.now_ms = self.piece_end_ms;
        }
    }
}

/// Keeps the chance of the instants apart from the chance of the traffic under the same seed.
const BACKFILL_STREAM: u64 = 0x6261_636b_6669_6c6c;

#[cfg(test)]
mod tests {
    use super::*;

    const START_MS: i64 = 1_795_392_000_000; // Monday 2026-11-23T00:00:00Z
    const HOUR_MS: i64 = 3_600_000;
    const WEEK_MS: i64 = 7 * 24 * HOUR_MS;

    #[track_caller]
    fn assert_near(actual: f64, expected: f64, tolerance: f64) {
        assert!((actual - expected).abs() <= tolerance * expected, "{actual} is not near {expected}");
    }

    fn mean_volume(start_ms: i64, end_ms: i64) -> f64 {
        let minutes = (end_ms - start_ms) / 60_000;
        (0..minutes).map(|minute| volume_factor(start_ms + minute * 60_000)).sum::<f64>() / minutes as f64
    }

    #[test]
    fn the_volume_has_mean_one_over_a_week() {
        assert_near(mean_volume(START_MS, START_MS + WEEK_MS), 1.0, 1e-9);
    }

    #[test]
    fn the_volume_peaks_in_the_evening_of_the_home_market() {
        let evening = volume_factor(START_MS + 24 * HOUR_MS);
        let night = volume_factor(START_MS + 8 * HOUR_MS);
        assert!(evening > 2.0 * night, "{evening} {night}");
    }

    #[test]
    fn a_backfill_follows_the_volume() {
        let instants: Vec<i64> = Backfill::new(START_MS, START_MS + WEEK_MS, 1.0, 1).collect();
        assert_near(instants.len() as f64, WEEK_MS as f64 / 1_000.0, 0.01);
        assert!(instants.is_sorted());
        assert!(instants.iter().all(|now_ms| (START_MS..START_MS + WEEK_MS).contains(now_ms)));
        for hour in 0..48 {
            let (from, to) = (START_MS + hour * HOUR_MS, START_MS + (hour + 1) * HOUR_MS);
            let count = instants.iter().filter(|now_ms| (from..to).contains(now_ms)).count();
            assert_near(count as f64, 3_600.0 * mean_volume(from, to), 0.10);
        }
    }

    #[test]
    fn a_backfill_is_seeded() {
        let take =
            |seed| Backfill::new(START_MS, START_MS + WEEK_MS, 50.0, seed).take(1_000).collect::<Vec<_>>();
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn incidents_change_the_density() {
        let count = |spec: &str| {
            let incidents = vec![Incident::parse(spec, START_MS).unwrap()];
            let backfill = Backfill::new(START_MS, START_MS + 2 * HOUR_MS, 20.0, 3).with_incidents(incidents);
            let instants: Vec<i64> = backfill.collect();
            let during = |now_ms: &&i64| (HOUR_MS..HOUR_MS + 600_000).contains(&(**now_ms - START_MS));
            instants.iter().filter(during).count() as f64
        };
        let normal = count("drop@+3d/1m");
        assert_near(count("viral@+1h/10m*2"), 3.0 * normal, 0.05);
        assert_near(count("bot@+1h/10m*4"), 5.0 * normal, 0.05);
        assert_near(count("drop@+1h/10m*0.5"), 0.5 * normal, 0.05);
        assert_eq!(count("drop@+1h/10m*0"), 0.0);
        assert!(count("outage@+1h/10m:BR") < 0.8 * normal);
    }

    #[test]
    fn nothing_comes_from_nothing() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Backfill::new(START_MS, START_MS + WEEK_MS, rate, 1).next(), None);
        }
        assert_eq!(Backfill::new(START_MS, START_MS, 1.0, 1).next(), None);
        assert_eq!(Backfill::new(START_MS, i64::MIN, 1.0, 1).next(), None);
        assert_eq!(Backfill::new(i64::MAX, i64::MAX, 1.0, 1).next(), None);
    }
}
