//! The sharp peaks: minutes above twice the median of the hour around them. Pure; one pass over the minutes
//! that have accesses, with the at most 61 counts around the current one kept in order.

use chrono_tz::Tz;

use super::peaks::{MinuteCount, Ranking, local_at, twice_median};
use super::period::{Span, instant_of};
use super::{SHARP_LISTED_MAX, SharpPeak};

/// The hour around a minute reaches this far to both sides.
const AROUND_MINUTES: i64 = 30;

/// The sharp peaks, furthest above their median first, and how many there are.
pub(crate) fn sharp_peaks(minutes: &[MinuteCount], span: Span, timezone: Tz) -> (Vec<SharpPeak>, u64) {
    let mut ranking = Ranking::new(SHARP_LISTED_MAX);
    let mut total = 0;
    // The counts of the minutes around the current one, itself too, ascending: at most 61.
    let mut around: Vec<u64> = Vec::new();
    let (mut entering, mut leaving) = (0, 0);
    for &MinuteCount { minute, n } in minutes {
        while let Some(next) = minutes.get(entering).filter(|m| m.minute <= minute + AROUND_MINUTES) {
            around.insert(around.partition_point(|&other| other < next.n), next.n);
            entering += 1;
        }
        while minutes[leaving].minute < minute - AROUND_MINUTES {
            around.remove(around.partition_point(|&other| other < minutes[leaving].n));
            leaving += 1;
        }
        let first = span.from.max(minute - AROUND_MINUTES);
        let last = (span.to - 1).min(minute + AROUND_MINUTES);
        let others = u64::try_from(last - first).unwrap_or(0);
        if others == 0 {
            continue;
        }
        let own = around.partition_point(|&other| other < n);
        let zeros = others - (around.len() as u64 - 1);
        let doubled = twice_median(zeros, around.len() - 1, |i| around[if i < own { i } else { i + 1 }]);
        if n > doubled {
            total += 1;
            // Twice the distance to the median orders like the distance and is whole.
            ranking.push(2 * n - doubled, (minute, n, doubled));
        }
    }
    let sharp = ranking.into_items().map(|(minute, n, doubled)| {
        let ts = instant_of(minute);
        let median_of_hour = doubled as f64 / 2.0;
        let ratio = (doubled > 0).then(|| n as f64 / median_of_hour);
        SharpPeak { ts, local: local_at(ts, timezone), n, median_of_hour, ratio }
    });
    (sharp.collect(), total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn counts(list: &[(i64, u64)]) -> Vec<MinuteCount> {
        list.iter().map(|&(minute, n)| MinuteCount { minute, n }).collect()
    }

    /// The definition, computed without any cleverness.
    fn sharp_by_definition(minutes: &[MinuteCount], span: Span) -> Vec<i64> {
        let n_of = |t: i64| minutes.iter().find(|m| m.minute == t).map_or(0, |m| m.n);
        let is_sharp = |t: i64| {
            let others = (t - 30..=t + 30).filter(|&o| o != t && o >= span.from && o < span.to);
            let mut others: Vec<u64> = others.map(n_of).collect();
            others.sort();
            let k = others.len();
            k > 0 && n_of(t) as f64 > (others[(k - 1) / 2] + others[k / 2]) as f64
        };
        (span.from..span.to).filter(|&t| n_of(t) > 0 && is_sharp(t)).collect()
    }

    #[test]
    fn sharp_peaks_equal_their_definition_everywhere() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let shapes =
            [(1, 1.0), (2, 1.0), (31, 0.9), (61, 1.0), (62, 0.5), (200, 0.3), (300, 1.0), (400, 0.05)];
        for (length, density) in shapes {
            let span = Span { from: -20, to: length - 20 };
            let mut minutes = Vec::new();
            for minute in span.from..span.to {
                if rng.random_bool(density) {
                    let n = if rng.random_bool(0.1) { 40 } else { rng.random_range(8..20) };
                    minutes.push(MinuteCount { minute, n });
                }
            }
            let (sharp, total) = sharp_peaks(&minutes, span, Tz::UTC);
            let mut found: Vec<i64> = sharp.iter().map(|s| s.ts.timestamp().div_euclid(60)).collect();
            found.sort();
            assert_eq!(found, sharp_by_definition(&minutes, span), "length {length}, density {density}");
            assert_eq!(total, found.len() as u64);
        }
    }

    #[test]
    fn a_sharp_peak_is_above_twice_the_median_and_sees_no_further_than_the_period() {
        let flat = |len: i64, at: i64, n: u64| -> Vec<MinuteCount> {
            (0..len).map(|minute| MinuteCount { minute, n: if minute == at { n } else { 10 } }).collect()
        };
        let total = |minutes: &[MinuteCount], span| sharp_peaks(minutes, span, Tz::UTC).1;
        let hundred = Span { from: 0, to: 100 };
        for at in [0, 30, 50, 99] {
            assert_eq!(total(&flat(100, at, 20), hundred), 0, "exactly twice is not above, at {at}");
            assert_eq!(total(&flat(100, at, 21), hundred), 1, "at {at}");
        }
        assert_eq!(total(&counts(&[(5, 9)]), Span { from: 5, to: 6 }), 0, "no other minute, no median");
        let alone = sharp_peaks(&counts(&[(5, 9)]), Span { from: 0, to: 60 }, Tz::UTC).0;
        assert_eq!((alone.len(), alone[0].median_of_hour, alone[0].ratio), (1, 0.0, None));
        // Ten minutes of 10 and twenty of silence: the median of the hour is 0 only if the silence counts.
        let burst = counts(&(0..10).map(|m| (m, 10)).collect::<Vec<_>>());
        assert_eq!(total(&burst, Span { from: 0, to: 10 }), 0);
        assert_eq!(total(&burst, Span { from: 0, to: 30 }), 10);
    }

    #[test]
    fn only_so_many_sharp_peaks_are_listed_but_all_are_counted() {
        let some = |extra: i64| -> Vec<MinuteCount> {
            let peaks = SHARP_LISTED_MAX as i64 + extra;
            (0..peaks).map(|i| MinuteCount { minute: i * 100, n: 1 + i as u64 }).collect()
        };
        for extra in [0, 1] {
            let minutes = some(extra);
            let to = minutes.len() as i64 * 100;
            let (sharp, total) = sharp_peaks(&minutes, Span { from: 0, to }, Tz::UTC);
            assert_eq!((sharp.len(), total), (SHARP_LISTED_MAX, minutes.len() as u64));
            assert_eq!(sharp[0].n, minutes.len() as u64);
        }
    }
}
