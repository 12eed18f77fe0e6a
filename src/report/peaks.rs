//! When the peaks are: the busiest minutes and clock hours and the hours of the week; the minutes that stand
//! out are [`super::sharp`]. Pure; the work grows with the minutes that have accesses, never with the period.

use chrono::{DateTime, Datelike, FixedOffset, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use super::period::{Span, instant_of};
use super::sharp::sharp_peaks;
use super::{BusyTime, Peaks, WeekdayHour};

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// The accesses of one minute, more than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MinuteCount {
    /// Since the Unix epoch.
    pub minute: i64,
    pub n: u64,
}

/// Computes the peaks of `minutes`, which are in order of time, each once and inside `span`.
pub(crate) fn peaks(minutes: &[MinuteCount], span: Span, timezone: Tz, top: usize) -> Peaks {
    let span_minutes = span.minutes();
    let accesses: u64 = minutes.iter().map(|m| m.n).sum();
    let average_per_minute = (span_minutes > 0).then(|| accesses as f64 / span_minutes as f64);
    let average = average_per_minute.unwrap_or(0.0);
    let (sharp, sharp_total) = sharp_peaks(minutes, span, timezone);
    let (busiest_hours, hours_by_weekday) = clock_hours(minutes, timezone, top, average);
    Peaks {
        busiest_minutes: busiest_minutes(minutes, timezone, top, average),
        busiest_hours,
        sharp,
        sharp_total,
        busiest_weekday_hour: busiest_weekday_hour(&hours_by_weekday),
        hours_by_weekday,
        average_per_minute,
        median_per_minute: median_per_minute(minutes, span_minutes),
    }
}

/// Keeps the items that rank highest, ties in the order they came, in memory bounded by the length it keeps.
pub(crate) struct Ranking<T> {
    kept_max: usize,
    ranked: Vec<(u64, T)>,
}

impl<T> Ranking<T> {
    pub fn new(kept_max: usize) -> Self {
        Self { kept_max, ranked: Vec::new() }
    }

    pub fn push(&mut self, rank: u64, item: T) {
        self.ranked.push((rank, item));
        // Sorting only when as many came as are kept makes the cost of a push that of a sort step.
        if self.ranked.len() >= 2 * self.kept_max.max(32) {
            self.shrink();
        }
    }

    /// The sort is stable and what was kept stands before what came later, so ties stay in the order they
    /// came.
    fn shrink(&mut self) {
        self.ranked.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        self.ranked.truncate(self.kept_max);
    }

    pub fn into_items(mut self) -> impl Iterator<Item = T> {
        self.shrink();
        self.ranked.into_iter().map(|(_, item)| item)
    }
}

fn offset_at(instant: DateTime<Utc>, timezone: Tz) -> FixedOffset {
    timezone.offset_from_utc_datetime(&instant.naive_utc()).fix()
}

pub(crate) fn local_at(instant: DateTime<Utc>, timezone: Tz) -> DateTime<FixedOffset> {
    instant.with_timezone(&offset_at(instant, timezone))
}

fn busiest_minutes(minutes: &[MinuteCount], timezone: Tz, top: usize, average: f64) -> Vec<BusyTime> {
    let mut ranking = Ranking::new(top);
    for minute in minutes {
        ranking.push(minute.n, *minute);
    }
    ranking
        .into_items()
        .map(|MinuteCount { minute, n }| {
            let ts = instant_of(minute);
            BusyTime { ts, local: local_at(ts, timezone), n, times_average: n as f64 / average }
        })
        .collect()
}

/// The busiest hours and the hours of the week, both on the clock of the time zone. They are built from
/// minutes, because an hour of a zone such as Asia/Kolkata begins at half past by UTC.
fn clock_hours(
    minutes: &[MinuteCount],
    timezone: Tz,
    top: usize,
    average: f64,
) -> (Vec<BusyTime>, [[u64; 24]; 7]) {
    let mut by_weekday = [[0_u64; 24]; 7];
    let mut ranking = Ranking::new(top);
    let mut current: Option<(DateTime<FixedOffset>, u64)> = None;
    for &MinuteCount { minute, n } in minutes {
        let local = local_at(instant_of(minute), timezone);
        by_weekday[local.weekday().num_days_from_monday() as usize][local.hour() as usize] += n;
        let into_hour = chrono::TimeDelta::seconds(i64::from(local.minute() * 60 + local.second()));
        let hour = local - into_hour;
        match &mut current {
            // Two hours of the same clock time but of different offsets differ as instants.
            Some((start, sum)) if *start == hour => *sum += n,
            _ => {
                if let Some((start, sum)) = current.replace((hour, n)) {
                    ranking.push(sum, (start, sum));
                }
            }
        }
    }
    if let Some((start, sum)) = current {
        ranking.push(sum, (start, sum));
    }
    let busiest = ranking
        .into_items()
        .map(|(local, n)| BusyTime {
            ts: local.with_timezone(&Utc),
            local,
            n,
            times_average: n as f64 / (60.0 * average),
        })
        .collect();
    (busiest, by_weekday)
}

fn busiest_weekday_hour(by_weekday: &[[u64; 24]; 7]) -> Option<WeekdayHour> {
    let mut busiest: Option<WeekdayHour> = None;
    for (weekday, hours) in WEEKDAYS.iter().zip(by_weekday) {
        for (hour, &n) in (0..).zip(hours) {
            if n > busiest.as_ref().map_or(0, |b| b.n) {
                busiest = Some(WeekdayHour { weekday, hour, n });
            }
        }
    }
    busiest
}

fn median_per_minute(minutes: &[MinuteCount], span_minutes: u64) -> Option<f64> {
    let zeros = span_minutes.checked_sub(minutes.len() as u64).filter(|_| span_minutes > 0)?;
    let mut counts: Vec<u64> = minutes.iter().map(|m| m.n).collect();
    counts.sort_unstable();
    Some(twice_median(zeros, counts.len(), |i| counts[i]) as f64 / 2.0)
}

/// Twice the median of `zeros` zeros and the `len` ascending values behind `value`: twice, so that it is
/// whole. There must be at least one of either.
pub(crate) fn twice_median(zeros: u64, len: usize, value: impl Fn(usize) -> u64) -> u64 {
    let total = zeros + len as u64;
    let at = |i: u64| i.checked_sub(zeros).map_or(0, |i| value(i as usize));
    at((total - 1) / 2) + at(total / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn minute(ts: &str) -> i64 {
        ts.parse::<DateTime<Utc>>().unwrap().timestamp() / 60
    }

    fn counts(list: &[(i64, u64)]) -> Vec<MinuteCount> {
        list.iter().map(|&(minute, n)| MinuteCount { minute, n }).collect()
    }

    #[track_caller]
    fn check_hours(timezone: Tz, minutes: &[(&str, u64)], expected: Expect) {
        let minutes: Vec<MinuteCount> =
            minutes.iter().map(|&(ts, n)| MinuteCount { minute: minute(ts), n }).collect();
        let span = Span { from: minutes[0].minute, to: minutes[minutes.len() - 1].minute + 1 };
        let found = peaks(&minutes, span, timezone, 10);
        let total: u64 = minutes.iter().map(|m| m.n).sum();
        assert_eq!(found.hours_by_weekday.iter().flatten().sum::<u64>(), total);
        assert_eq!(found.busiest_hours.iter().map(|h| h.n).sum::<u64>(), total);
        let hours: Vec<String> =
            found.busiest_hours.iter().map(|h| format!("{} {}", h.local.to_rfc3339(), h.n)).collect();
        let week = found.busiest_weekday_hour.map(|w| format!("{} {} {}", w.weekday, w.hour, w.n));
        expected.assert_eq(&format!("{}; {}", hours.join(", "), week.unwrap()));
    }

    #[test]
    fn hours_are_clock_hours_of_the_zone() {
        let night = [("2026-11-22T23:29:00Z", 1), ("2026-11-22T23:30:00Z", 2), ("2026-11-23T00:29:00Z", 4)];
        check_hours(
            Tz::UTC,
            &night,
            expect!["2026-11-23T00:00:00+00:00 4, 2026-11-22T23:00:00+00:00 3; monday 0 4"],
        );
        check_hours(
            Tz::Asia__Kolkata,
            &night,
            expect!["2026-11-23T05:00:00+05:30 6, 2026-11-23T04:00:00+05:30 1; monday 5 6"],
        );
        check_hours(
            Tz::Asia__Kathmandu,
            &[("2026-11-22T18:14:00Z", 1), ("2026-11-22T18:15:00Z", 1)],
            expect!["2026-11-22T23:00:00+05:45 1, 2026-11-23T00:00:00+05:45 1; monday 0 1"],
        );
    }

    #[test]
    fn an_hour_that_the_clock_shows_twice_is_two_and_a_skipped_one_is_none() {
        let back = [("2026-11-01T05:59:00Z", 5), ("2026-11-01T06:00:00Z", 7)];
        check_hours(
            Tz::America__New_York,
            &back,
            expect!["2026-11-01T01:00:00-05:00 7, 2026-11-01T01:00:00-04:00 5; sunday 1 12"],
        );
        let forth = [("2026-03-08T06:59:00Z", 5), ("2026-03-08T07:00:00Z", 7)];
        check_hours(
            Tz::America__New_York,
            &forth,
            expect!["2026-03-08T03:00:00-04:00 7, 2026-03-08T01:00:00-05:00 5; sunday 3 7"],
        );
        // Lord Howe turns its clock by half an hour.
        let half = [("2026-04-04T14:30:00Z", 1), ("2026-04-04T15:00:00Z", 2)];
        check_hours(
            Tz::Australia__Lord_Howe,
            &half,
            expect!["2026-04-05T01:00:00+10:30 2, 2026-04-05T01:00:00+11:00 1; sunday 1 3"],
        );
    }

    #[test]
    fn busiest_are_ordered_by_count_then_time_and_cut_to_the_top() {
        let list: Vec<(i64, u64)> = (0..1000).map(|i| (i, if i % 100 == 7 { 9 } else { 3 })).collect();
        let found = peaks(&counts(&list), Span { from: 0, to: 2000 }, Tz::UTC, 12);
        let minutes: Vec<i64> = found.busiest_minutes.iter().map(|m| m.ts.timestamp() / 60).collect();
        assert_eq!(minutes, [7, 107, 207, 307, 407, 507, 607, 707, 807, 907, 0, 1]);
        assert_eq!(found.average_per_minute, Some(1.53));
        assert_eq!(found.median_per_minute, Some(1.5));
        assert_eq!(found.busiest_minutes[0].times_average, 9.0 / 1.53);
        assert_eq!(
            peaks(&counts(&list), Span { from: 0, to: 1999 }, Tz::UTC, 0).median_per_minute,
            Some(3.0)
        );
    }

    #[test]
    fn nothing_has_no_peaks() {
        let none = peaks(&[], Span::default(), Tz::UTC, 10);
        assert_eq!((none.average_per_minute, none.median_per_minute, none.sharp_total), (None, None, 0));
        assert!(none.busiest_minutes.is_empty() && none.busiest_hours.is_empty());
        assert_eq!(none.busiest_weekday_hour, None);
        let quiet = peaks(&[], Span { from: 0, to: 60 }, Tz::UTC, 10);
        assert_eq!((quiet.average_per_minute, quiet.median_per_minute), (Some(0.0), Some(0.0)));
    }
}
