//! Accesses over time, in few enough stretches to be drawn.

use chrono::{FixedOffset, Offset, TimeZone};

use super::peaks::MinuteCount;
use super::period::{Span, instant_of};
use super::{Stretch, TIMELINE_MAX};

/// Lengths that people read easily, in minutes; a longer period takes whole weeks.
const LENGTHS: [i64; 12] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440];
const WEEK: i64 = 7 * 1_440;

/// The length of a stretch, so that at most [`TIMELINE_MAX`] make up the span.
fn length(span: Span) -> i64 {
    let longest = i64::try_from(TIMELINE_MAX).expect("a few hundred") - 1;
    let fits = |length: &i64| (span.to - span.from) / length < longest;
    LENGTHS.into_iter().find(fits).unwrap_or_else(|| {
        let weeks = (span.to - span.from) / WEEK / longest + 1;
        weeks * WEEK
    })
}

/// Cuts a span into stretches; `minutes` are those that have accesses, in order.
pub(crate) fn timeline(minutes: &[MinuteCount], span: Span, timezone: chrono_tz::Tz) -> Vec<Stretch> {
    if span.minutes() == 0 {
        return Vec::new();
    }
    let length = length(span);
    let first = span.from.div_euclid(length);
    let last = (span.to - 1).div_euclid(length);
    let mut stretches: Vec<Stretch> = (first..=last)
        .map(|index| {
            let (start, end) = (index * length, (index + 1) * length);
            let ts = instant_of(start);
            let offset: FixedOffset = timezone.offset_from_utc_datetime(&ts.naive_utc()).fix();
            let within = Span { from: start.max(span.from), to: end.min(span.to) };
            Stretch { ts, local: ts.with_timezone(&offset), n: 0, minutes: within.minutes(), peak: 0 }
        })
        .collect();
    for minute in minutes {
        let index = usize::try_from(minute.minute.div_euclid(length) - first).ok();
        if let Some(stretch) = index.and_then(|index| stretches.get_mut(index)) {
            stretch.n += minute.n;
            stretch.peak = stretch.peak.max(minute.n);
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_hold_every_minute_once_and_are_few() {
        for minutes in [1, 2, 59, 299, 300, 301, 1_440, 43_200, 525_600, 5_256_000] {
            let span = Span { from: 29_000_007, to: 29_000_007 + minutes };
            let counts: Vec<MinuteCount> = (0..minutes)
                .step_by(7)
                .map(|at| MinuteCount { minute: span.from + at, n: 1 + at.cast_unsigned() % 5 })
                .collect();
            let stretches = timeline(&counts, span, chrono_tz::America::Sao_Paulo);
            assert!(stretches.len() <= TIMELINE_MAX, "{minutes}: {}", stretches.len());
            assert_eq!(stretches.iter().map(|stretch| stretch.minutes).sum::<u64>(), span.minutes());
            let sum: u64 = counts.iter().map(|minute| minute.n).sum();
            assert_eq!(stretches.iter().map(|stretch| stretch.n).sum::<u64>(), sum);
            assert!(stretches.iter().all(|stretch| stretch.peak <= 5 && stretch.n >= stretch.peak));
        }
        assert!(timeline(&[], Span { from: 5, to: 5 }, chrono_tz::UTC).is_empty());
    }
}
