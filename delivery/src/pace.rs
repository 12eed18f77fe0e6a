//! How fast a receiver is told: pauses after failures, and a rate that is kept. Pure.

use std::collections::VecDeque;

/// Pause after the first failure, in milliseconds.
const BACKOFF_MS_MIN: i64 = 1_000;
/// Longest pause between two tries, in milliseconds.
pub const BACKOFF_MS_MAX: i64 = 30_000;
/// Longest time that a receiver can ask to be left alone, in milliseconds.
pub const RETRY_AFTER_MS_MAX: i64 = 60 * 60 * 1_000;
/// What the rate counts over, in milliseconds.
const MINUTE_MS: i64 = 60_000;

/// When a receiver may be tried again.
#[derive(Debug)]
pub struct Pace {
    rate_per_minute: usize,
    /// Times of the tries of the last minute, at most as many as the rate.
    tried_ms: VecDeque<i64>,
    failures: u32,
    not_before_ms: i64,
}

impl Pace {
    /// So many tries a minute, none of them made yet.
    pub fn new(rate_per_minute: usize) -> Self {
        Self { rate_per_minute, tried_ms: VecDeque::new(), failures: 0, not_before_ms: 0 }
    }

    /// When the next try may be made, which can have passed.
    pub fn next_ms(&self) -> i64 {
        let oldest = self.tried_ms.front().filter(|_| self.tried_ms.len() >= self.rate_per_minute);
        oldest.map_or(self.not_before_ms, |oldest| self.not_before_ms.max(oldest + MINUTE_MS))
    }

    /// Counts a try.
    pub fn tried(&mut self, now_ms: i64) {
        self.tried_ms.push_back(now_ms);
        while self.tried_ms.len() > self.rate_per_minute {
            self.tried_ms.pop_front();
        }
    }

    /// The receiver has answered, whatever it thinks of what it was sent. Gives how often it had not.
    pub fn answered(&mut self) -> u32 {
        self.not_before_ms = 0;
        std::mem::take(&mut self.failures)
    }

    /// The receiver could not be told: it is left alone for a while, or for as long as it asked to be.
    /// `chance` is drawn from 0 to 1. Gives how often it has failed in a row.
    pub fn failed(&mut self, now_ms: i64, retry_after_ms: Option<i64>, chance: f64) -> u32 {
        let asked_ms = retry_after_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MS_MAX);
        self.not_before_ms = now_ms + asked_ms.max(backoff_ms(self.failures, chance));
        self.failures += 1;
        self.failures
    }
}

/// The pause after failure number `failure` (from 0): a second, doubled each time up to half a minute, and of
/// that between a half and all, so that many who wait do not come at once.
fn backoff_ms(failure: u32, chance: f64) -> i64 {
    let whole = (BACKOFF_MS_MIN << failure.min(10)).min(BACKOFF_MS_MAX);
    whole / 2 + (whole as f64 / 2.0 * chance.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_differ_by_chance() {
        assert_eq!([0, 1, 4, 5, 100].map(|n| backoff_ms(n, 1.0)), [1_000, 2_000, 16_000, 30_000, 30_000]);
        assert_eq!([0, 5].map(|n| backoff_ms(n, 0.0)), [500, 15_000]);
    }

    #[test]
    fn what_a_receiver_asks_for_is_kept_within_bounds() {
        let mut pace = Pace::new(10);
        assert_eq!(pace.failed(1_000, Some(20_000), 1.0), 1);
        assert_eq!(pace.next_ms(), 21_000);
        assert_eq!(pace.failed(21_000, Some(0), 1.0), 2, "never sooner than we would");
        assert_eq!(pace.next_ms(), 23_000);
        pace.failed(23_000, Some(i64::MAX), 1.0);
        assert_eq!(pace.next_ms(), 23_000 + RETRY_AFTER_MS_MAX);
        assert_eq!((pace.answered(), pace.next_ms()), (3, 0));
    }

    #[test]
    fn no_minute_has_more_tries_than_the_rate() {
        let mut pace = Pace::new(2);
        for now_ms in [5, 6] {
            assert!(pace.next_ms() <= now_ms);
            pace.tried(now_ms);
        }
        assert_eq!(pace.next_ms(), 60_005);
        pace.tried(60_005);
        assert_eq!(pace.next_ms(), 60_006);
    }
}
