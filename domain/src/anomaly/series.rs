//! The detector of one series of numbers: seven residual streams, each ranked against its own past, in two
//! groups that each have an alarm budget. One pass, bounded state, no unit, no clock but the points' own.

mod profile;
mod surprise;

use crate::anomaly::bytes::{Reader, Writer};
use profile::{Phase, Profile};
use surprise::Histogram;

/// Score, in decades, from which on a group alarms.
const THRESHOLD: f64 = 3.5;
/// By how much less the pattern group needs, in decades.
const PATTERN_LEAD: f64 = 0.3;
/// Points after an alarm in which there is no other.
const REFRACTORY_POINTS: u32 = 120;
/// By how much each alarm in its recent past raises a group's threshold, in decades.
const BUDGET_WEIGHT: f64 = 0.3;
/// What is left of an alarm's weight after a point: `exp(-1/8000)`.
const BUDGET_DECAY: f64 = 0.999_875_007_812_174_5;

const DAY_MS: i64 = 86_400_000;
const DAY_BINS: usize = 48;
const WEEK_BINS: usize = 168;
/// Least weight of a new day, and of a new week, in their profiles.
const DAY_WEIGHT_MIN: f64 = 0.10;
const WEEK_WEIGHT_MIN: f64 = 0.20;

/// Spans of the moving means, in points.
const SMOOTH_SPAN: f64 = 3.0;
const FAST_SPAN: f64 = 10.0;
const SLOW_SPAN: f64 = 30.0;
const LONG_SPAN: f64 = 2_000.0;
const RECENT_SPAN: f64 = 300.0;
/// Spans of the level against which the count group measures, in points.
const LEVEL_SPANS: [f64; 2] = [60.0, 200.0];
/// Points before the count group measures.
const LEVEL_POINTS_MIN: u32 = 5;
/// Points are told apart up to here: far beyond the longest span.
const POINTS_MAX: u32 = 1 << 20;

/// The greatest magnitude of a value; a profile keeps it as an `f32`.
pub const VALUE_MAX: f64 = 1e30;

const STREAMS: usize = 7;
const PATTERN_STREAMS: usize = 5;

/// Why a point is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Far above what is usual now.
    Spike,
    /// Far below what is usual now.
    Hole,
    /// The level has moved up.
    ShiftUp,
    /// The level has moved down.
    ShiftDown,
    /// Usual, but not at this hour of the week.
    SeasonBreak,
    /// A small part of what came before.
    Drop,
}

/// What the detector says of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The score of an alarm, in decades; 0 where there is none.
    pub score: f64,
    /// The cause of an alarm.
    pub alarm: Option<Cause>,
    /// What was expected.
    pub expected: f64,
}

/// What is expected of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The value.
    pub value: f64,
    /// How many days have shown this time of the day.
    pub days: u8,
    /// How many weeks have shown this hour of the week.
    pub weeks: u8,
}

/// What of a point is learned as usual.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Learn {
    /// All of it.
    All,
    /// The profiles learn what could be usual at this time instead, and the level nothing: an incident is on.
    Profile(f64),
    /// The profiles learn nothing either, as they know nothing yet; this is about what would be usual.
    Nothing(f64),
}

/// The detector of one series.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    points: u32,
    fast: f64,
    slow: f64,
    long: f64,
    smooth: f64,
    /// Mean of the magnitude, over the long and the recent past.
    magnitude: f64,
    magnitude_recent: f64,
    day: Profile<DAY_BINS>,
    day_slow: Profile<DAY_BINS>,
    week: Profile<WEEK_BINS>,
    levels: [Level; 2],
    expected_smooth: f64,
    histograms: [Histogram; STREAMS],
    budgets: [f64; 2],
    since_alarm: u32,
}

/// Recent means of a series and of what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
struct Level {
    seen: f64,
    expected: f64,
}

impl Level {
    /// What to multiply an expectation with.
    fn ratio(&self, epsilon: f64) -> f64 {
        let expected = self.expected + epsilon;
        if expected > 0.0 { ((self.seen + epsilon) / expected).max(0.0) } else { 1.0 }
    }
}

impl Series {
    /// Takes in the point `value` at `ts_ms`, in milliseconds since 1970. Points come in order of time.
    pub fn point(&mut self, ts_ms: i64, value: f64) -> Verdict {
        self.point_in(ts_ms, value, Learn::All)
    }

    /// Takes in the point `value`, where not all of it is worth learning. What is no number is left out, and
    /// what is beyond [`VALUE_MAX`] is cut.
    pub fn point_in(&mut self, ts_ms: i64, value: f64, learn: Learn) -> Verdict {
        if value.is_nan() {
            return Verdict { score: 0.0, alarm: None, expected: self.expect(ts_ms).value };
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let normal = match learn {
            Learn::All => value,
            Learn::Profile(normal) | Learn::Nothing(normal) => normal,
        };
        let (day, week) = phases(ts_ms);
        self.day.move_to(day.bin, DAY_WEIGHT_MIN);
        self.day_slow.move_to(day.bin, DAY_WEIGHT_MIN);
        self.week.move_to(week.bin, WEEK_WEIGHT_MIN);
        self.move_means(value, normal);

        let mut residuals = [None; STREAMS];
        self.pattern_residuals(value, day.bin, week.bin, &mut residuals);
        let expected = self.count_residuals(value, day, week, &mut residuals);
        let profile = self.profile(day, week);
        if learn == Learn::All {
            self.move_levels(value, profile);
        }
        let zero = 1e-9 * self.magnitude;
        let zeros = [zero, zero, zero, zero, 1e-9, 1e-9 * zero.sqrt(), 1e-9 * zero.sqrt()];
        let mut surprises = [0.0; STREAMS];
        for stream in 0..STREAMS {
            if let Some(residual) = residuals[stream] {
                surprises[stream] = self.histograms[stream].surprise(f64::abs(residual), zeros[stream]);
            }
        }
        if !matches!(learn, Learn::Nothing(_)) {
            self.day.add(normal);
            self.day_slow.add(self.slow);
            self.week.add(normal);
        }
        self.points = (self.points + 1).min(POINTS_MAX);
        let score = self.decide(&surprises);
        Verdict { score, alarm: (score > 0.0).then(|| cause(&surprises, &residuals)), expected }
    }

    fn move_means(&mut self, value: f64, normal: f64) {
        if self.points == 0 {
            [self.fast, self.slow, self.long, self.smooth] = [value; 4];
            self.magnitude_recent = value;
            self.since_alarm = REFRACTORY_POINTS;
        }
        let n = self.points;
        for (mean, span, value) in [
            (&mut self.fast, FAST_SPAN, value),
            (&mut self.slow, SLOW_SPAN, value),
            (&mut self.long, LONG_SPAN, normal),
            (&mut self.smooth, SMOOTH_SPAN, value),
            (&mut self.magnitude, LONG_SPAN, normal.abs()),
            (&mut self.magnitude_recent, RECENT_SPAN, value.abs()),
        ] {
            move_mean(mean, value, span, n);
        }
    }

    /// Residuals against the time of day and of week, and of the means against each other.
    fn pattern_residuals(
        &self,
        value: f64,
        day_bin: usize,
        week_bin: usize,
        residuals: &mut [Option<f64>; STREAMS],
    ) {
        let floor = 0.05 * self.magnitude + f64::MIN_POSITIVE;
        let day_known = self.day.visits(day_bin) >= 1;
        residuals[0] = day_known.then(|| value - self.day.mean(day_bin));
        residuals[1] = Some(self.fast - self.long);
        residuals[2] = day_known.then(|| self.slow - self.day_slow.mean(day_bin));
        residuals[3] = (self.week.visits(week_bin) >= 1).then(|| value - self.week.mean(week_bin));
        let drop = libm::log((self.magnitude_recent + floor) / (value.abs() + floor));
        residuals[4] = Some(drop.max(0.0));
    }

    /// Residuals against the profile at the level of the recent past, on a square root scale: the noise of a
    /// count is the same there whatever its mean. Gives what was expected.
    fn count_residuals(
        &mut self,
        value: f64,
        day: Phase,
        week: Phase,
        residuals: &mut [Option<f64>; STREAMS],
    ) -> f64 {
        let profile = self.profile(day, week);
        if self.points == 0 {
            self.expected_smooth = profile;
        } else {
            move_mean(&mut self.expected_smooth, profile, SMOOTH_SPAN, self.points);
        }
        let epsilon = self.epsilon();
        let expected = profile * self.levels[0].ratio(epsilon);
        if self.points >= LEVEL_POINTS_MIN {
            let slow = self.expected_smooth * self.levels[1].ratio(epsilon);
            residuals[5] = Some(signed_sqrt(value) - signed_sqrt(expected));
            residuals[6] = Some(signed_sqrt(self.smooth) - signed_sqrt(slow));
        }
        expected
    }

    fn move_levels(&mut self, value: f64, profile: f64) {
        for (level, span) in self.levels.iter_mut().zip(LEVEL_SPANS) {
            move_mean(&mut level.seen, value, span, self.points);
            move_mean(&mut level.expected, profile, span, self.points);
        }
    }

    /// What keeps the ratio of two levels finite.
    fn epsilon(&self) -> f64 {
        0.02 * self.magnitude + f64::MIN_POSITIVE
    }

    /// What is expected at `ts_ms` from the profile and the level of the last hours, before that point is
    /// taken in.
    pub fn expect(&self, ts_ms: i64) -> Expectation {
        let (day, week) = phases(ts_ms);
        let value = self.profile(day, week) * self.levels[1].ratio(self.epsilon());
        Expectation { value, days: self.day.visits(day.bin), weeks: self.week.visits(week.bin) }
    }

    /// Takes the recent mean for the level from now on.
    pub fn adopt_level(&mut self, ts_ms: i64) {
        let (day, week) = phases(ts_ms);
        let profile = self.profile(day, week);
        for level in &mut self.levels {
            *level = Level { seen: self.slow, expected: profile };
        }
    }

    /// The mean magnitude in the long run.
    pub fn mean(&self) -> f64 {
        self.magnitude
    }

    /// The mean of the last half hour, in points.
    pub fn recent(&self) -> f64 {
        self.slow
    }

    /// The usual value at a time: of the week once a bin was seen twice, else of the day, else the mean.
    fn profile(&self, day: Phase, week: Phase) -> f64 {
        if self.week.visits(week.bin) >= 2 {
            self.week.value(week)
        } else if self.day.visits(day.bin) >= 1 {
            self.day.value(day)
        } else {
            self.magnitude
        }
    }

    /// The score of the alarm, or 0.
    fn decide(&mut self, surprises: &[f64; STREAMS]) -> f64 {
        let norm = |part: &[f64]| libm::cbrt(part.iter().map(|s| s * s * s).sum());
        let scores =
            [norm(&surprises[..PATTERN_STREAMS]) + PATTERN_LEAD, norm(&surprises[PATTERN_STREAMS..])];
        self.since_alarm = (self.since_alarm + 1).min(REFRACTORY_POINTS + 1);
        let mut fired = [0.0; 2];
        for ((fired, score), budget) in fired.iter_mut().zip(scores).zip(&mut self.budgets) {
            *budget *= BUDGET_DECAY;
            if score >= THRESHOLD + BUDGET_WEIGHT * *budget {
                *fired = score;
            }
        }
        let score = fired[0].max(fired[1]);
        if score == 0.0 || self.since_alarm <= REFRACTORY_POINTS {
            return 0.0;
        }
        self.since_alarm = 0;
        for (budget, fired) in self.budgets.iter_mut().zip(fired) {
            *budget += f64::from(u8::from(fired > 0.0));
        }
        score
    }
}

fn phases(ts_ms: i64) -> (Phase, Phase) {
    (Phase::of(ts_ms, DAY_MS, DAY_BINS), Phase::of(ts_ms, 7 * DAY_MS, WEEK_BINS))
}

/// Moves a mean over the last `span` points, or over all where there were fewer.
pub(super) fn move_mean(mean: &mut f64, value: f64, span: f64, points_before: u32) {
    *mean += (1.0 / span).max(1.0 / (f64::from(points_before) + 1.0)) * (value - *mean);
}

fn signed_sqrt(value: f64) -> f64 {
    value.abs().sqrt().copysign(value)
}

/// The cause told by the stream with the greatest surprise.
fn cause(surprises: &[f64; STREAMS], residuals: &[Option<f64>; STREAMS]) -> Cause {
    let mut first = 0;
    for stream in 1..STREAMS {
        if surprises[stream] > surprises[first] {
            first = stream;
        }
    }
    let up = residuals[first].is_some_and(|residual| residual > 0.0);
    match first {
        1 | 2 => {
            if up {
                Cause::ShiftUp
            } else {
                Cause::ShiftDown
            }
        }
        3 => Cause::SeasonBreak,
        4 => Cause::Drop,
        _ => {
            if up {
                Cause::Spike
            } else {
                Cause::Hole
            }
        }
    }
}

/// Version of the bytes.
const VERSION: u8 = 1;

impl Series {
    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut out = Writer(out);
        out.u8(VERSION);
        out.u32(self.points);
        out.u32(self.since_alarm);
        for number in [self.fast, self.slow, self.long, self.smooth, self.magnitude, self.magnitude_recent] {
            out.f64(number);
        }
        for level in &self.levels {
            out.f64(level.seen);
            out.f64(level.expected);
        }
        out.f64(self.expected_smooth);
        self.budgets.iter().for_each(|&budget| out.f64(budget));
        self.day.encode(&mut out);
        self.day_slow.encode(&mut out);
        self.week.encode(&mut out);
        self.histograms.iter().for_each(|histogram| histogram.encode(&mut out));
    }

    /// Reads the bytes that [`Series::encode`] wrote; `None` when they are not of this version or cut.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader(bytes);
        let series = Self::decode_from(&mut bytes)?;
        bytes.0.is_empty().then_some(series)
    }

    pub(super) fn decode_from(bytes: &mut Reader) -> Option<Self> {
        if bytes.u8()? != VERSION {
            return None;
        }
        let mut series = Self { points: bytes.u32()?, since_alarm: bytes.u32()?, ..Self::default() };
        for number in [
            &mut series.fast,
            &mut series.slow,
            &mut series.long,
            &mut series.smooth,
            &mut series.magnitude,
            &mut series.magnitude_recent,
        ] {
            *number = bytes.f64()?;
        }
        for level in &mut series.levels {
            *level = Level { seen: bytes.f64()?, expected: bytes.f64()? };
        }
        series.expected_smooth = bytes.f64()?;
        for budget in &mut series.budgets {
            *budget = bytes.f64()?;
        }
        series.day = Profile::decode(bytes)?;
        series.day_slow = Profile::decode(bytes)?;
        series.week = Profile::decode(bytes)?;
        for histogram in &mut series.histograms {
            *histogram = Histogram::decode(bytes)?;
        }
        Some(series)
    }
}

#[cfg(test)]
mod tests;
