//! The detector of one series of numbers: seven residual streams, each ranked against its own past, in two
//! groups that each have an alarm budget. One pass, bounded state, no unit, no clock but the points' own.

mod surprise;

use super::season::profile::Profile;
use super::season::{DAY_BINS, DAY_WEIGHT_MIN, Learn, Level, Season, move_mean};
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

/// Spans of the moving means, in points.
const SMOOTH_SPAN: f64 = 3.0;
const FAST_SPAN: f64 = 10.0;
const LONG_SPAN: f64 = 2_000.0;
const RECENT_SPAN: f64 = 300.0;
/// Span of the faster level against which the count group measures, in points.
const LEVEL_SPAN: f64 = 60.0;
/// Points before the count group measures.
const LEVEL_POINTS_MIN: u32 = 5;
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

/// The detector of one series.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Series {
    season: Season,
    fast: f64,
    long: f64,
    smooth: f64,
    magnitude_recent: f64,
    day_slow: Profile<DAY_BINS>,
    level: Level,
    expected_smooth: f64,
    histograms: [Histogram; STREAMS],
    budgets: [f64; 2],
    since_alarm: u32,
}

impl Series {
    /// Takes in the point `value` at `ts_ms`, in milliseconds since 1970. Points come in order of time. What
    /// is no number is left out, and what is beyond [`VALUE_MAX`] is cut.
    pub fn point(&mut self, ts_ms: i64, value: f64) -> Verdict {
        if value.is_nan() {
            return Verdict { score: 0.0, alarm: None, expected: self.season.expect(ts_ms).value };
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        self.move_means(value);
        let (day, week) = self.season.enter(ts_ms, value, Learn::All);
        self.day_slow.move_to(day.bin, DAY_WEIGHT_MIN);
        let mut residuals = [None; STREAMS];
        self.pattern_residuals(value, day.bin, week.bin, &mut residuals);
        let profile = self.season.profile(day, week);
        let expected = self.count_residuals(value, profile, &mut residuals);
        self.level.learn(value, profile, LEVEL_SPAN, self.season.points());
        let zero = 1e-9 * self.season.mean();
        let zeros = [zero, zero, zero, zero, 1e-9, 1e-9 * zero.sqrt(), 1e-9 * zero.sqrt()];
        let mut surprises = [0.0; STREAMS];
        for stream in 0..STREAMS {
            if let Some(residual) = residuals[stream] {
                surprises[stream] = self.histograms[stream].surprise(f64::abs(residual), zeros[stream]);
            }
        }
        self.day_slow.add(self.season.recent());
        self.season.leave((day, week), value, Learn::All);
        let score = self.decide(&surprises);
        Verdict { score, alarm: (score > 0.0).then(|| cause(&surprises, &residuals)), expected }
    }

    fn move_means(&mut self, value: f64) {
        let n = self.season.points();
        if n == 0 {
            [self.fast, self.long, self.smooth] = [value; 3];
            self.magnitude_recent = value;
            self.since_alarm = REFRACTORY_POINTS;
        }
        for (mean, span, value) in [
            (&mut self.fast, FAST_SPAN, value),
            (&mut self.long, LONG_SPAN, value),
            (&mut self.smooth, SMOOTH_SPAN, value),
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
        let Season { day, week, .. } = &self.season;
        let floor = 0.05 * self.season.mean() + f64::MIN_POSITIVE;
        let day_known = day.visits(day_bin) >= 1;
        residuals[0] = day_known.then(|| value - day.mean(day_bin));
        residuals[1] = Some(self.fast - self.long);
        residuals[2] = day_known.then(|| self.season.recent() - self.day_slow.mean(day_bin));
        residuals[3] = (week.visits(week_bin) >= 1).then(|| value - week.mean(week_bin));
        let drop = libm::log((self.magnitude_recent + floor) / (value.abs() + floor));
        residuals[4] = Some(drop.max(0.0));
    }

    /// Residuals against the profile at the level of the recent past, on a square root scale: the noise of a
    /// count is the same there whatever its mean. Gives what was expected.
    fn count_residuals(&mut self, value: f64, profile: f64, residuals: &mut [Option<f64>; STREAMS]) -> f64 {
        let n = self.season.points();
        if n == 0 {
            self.expected_smooth = profile;
        } else {
            move_mean(&mut self.expected_smooth, profile, SMOOTH_SPAN, n);
        }
        let epsilon = self.season.epsilon();
        let expected = profile * self.level.ratio(epsilon);
        if n >= LEVEL_POINTS_MIN {
            let slow = self.expected_smooth * self.season.level_ratio();
            residuals[5] = Some(signed_sqrt(value) - signed_sqrt(expected));
            residuals[6] = Some(signed_sqrt(self.smooth) - signed_sqrt(slow));
        }
        expected
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

#[cfg(test)]
mod tests;
