//! What is usual for a series at a time: means by half-hour of the day and by hour of the week, at the level
//! of the last hours.

pub(super) mod profile;

use crate::anomaly::bytes::{Reader, Writer};
use profile::{Phase, Profile};

const DAY_MS: i64 = 86_400_000;
pub(super) const DAY_BINS: usize = 48;
const WEEK_BINS: usize = 168;
/// Least weight of a new day, and of a new week, in their profiles.
pub(super) const DAY_WEIGHT_MIN: f64 = 0.10;
const WEEK_WEIGHT_MIN: f64 = 0.20;

/// Spans of the moving means, in points.
const SLOW_SPAN: f64 = 30.0;
const LONG_SPAN: f64 = 2_000.0;
const LEVEL_SPAN: f64 = 200.0;
/// Points are told apart up to here: far beyond the longest span.
const POINTS_MAX: u32 = 1 << 20;

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
pub(super) enum Learn {
    /// All of it.
    All,
    /// The profiles learn what could be usual at this time instead, and the level nothing: an incident is on.
    Profile(f64),
    /// The profiles learn nothing either, as they know nothing yet; this is about what would be usual.
    Nothing(f64),
}

/// The usual values of one series.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Season {
    points: u32,
    slow: f64,
    /// Mean of the magnitude in the long run.
    magnitude: f64,
    pub day: Profile<DAY_BINS>,
    pub week: Profile<WEEK_BINS>,
    level: Level,
}

/// Recent means of a series and of what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Level {
    seen: f64,
    expected: f64,
}

impl Level {
    /// What to multiply an expectation with.
    pub fn ratio(&self, epsilon: f64) -> f64 {
        let expected = self.expected + epsilon;
        if expected > 0.0 { ((self.seen + epsilon) / expected).max(0.0) } else { 1.0 }
    }

    pub fn learn(&mut self, value: f64, profile: f64, span: f64, points_before: u32) {
        move_mean(&mut self.seen, value, span, points_before);
        move_mean(&mut self.expected, profile, span, points_before);
    }
}

impl Season {
    /// Lets time reach the point `value` at `ts_ms` and moves the means of all points; gives where that is in
    /// the day and the week.
    pub fn enter(&mut self, ts_ms: i64, value: f64, learn: Learn) -> (Phase, Phase) {
        let (day, week) = phases(ts_ms);
        self.day.move_to(day.bin, DAY_WEIGHT_MIN);
        self.week.move_to(week.bin, WEEK_WEIGHT_MIN);
        if self.points == 0 {
            self.slow = value;
        }
        move_mean(&mut self.slow, value, SLOW_SPAN, self.points);
        move_mean(&mut self.magnitude, learn.normal(value).abs(), LONG_SPAN, self.points);
        (day, week)
    }

    /// Learns the point that was entered.
    pub fn leave(&mut self, (day, week): (Phase, Phase), value: f64, learn: Learn) {
        if learn == Learn::All {
            self.level.learn(value, self.profile(day, week), LEVEL_SPAN, self.points);
        }
        if !matches!(learn, Learn::Nothing(_)) {
            self.day.add(learn.normal(value));
            self.week.add(learn.normal(value));
        }
        self.points = self.points.saturating_add(1).min(POINTS_MAX);
    }

    /// What is expected at `ts_ms` from the profile and the level of the last hours, before that point is
    /// taken in.
    pub fn expect(&self, ts_ms: i64) -> Expectation {
        let (day, week) = phases(ts_ms);
        let value = self.profile(day, week) * self.level_ratio();
        Expectation { value, days: self.day.visits(day.bin), weeks: self.week.visits(week.bin) }
    }

    /// Takes the recent mean for the level from now on.
    pub fn adopt_level(&mut self, ts_ms: i64) {
        let (day, week) = phases(ts_ms);
        self.level = Level { seen: self.slow, expected: self.profile(day, week) };
    }

    /// By what factor the last hours differ from the profile.
    pub fn level_ratio(&self) -> f64 {
        self.level.ratio(self.epsilon())
    }

    /// What keeps the ratio of two levels finite.
    pub fn epsilon(&self) -> f64 {
        0.02 * self.magnitude + f64::MIN_POSITIVE
    }

    /// How many points there were, up to a million.
    pub fn points(&self) -> u32 {
        self.points
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
    pub fn profile(&self, day: Phase, week: Phase) -> f64 {
        if self.week.visits(week.bin) >= 2 {
            self.week.value(week)
        } else if self.day.visits(day.bin) >= 1 {
            self.day.value(day)
        } else {
            self.magnitude
        }
    }
}

impl Learn {
    /// What could be usual of a value.
    fn normal(self, value: f64) -> f64 {
        match self {
            Self::All => value,
            Self::Profile(normal) | Self::Nothing(normal) => normal,
        }
    }
}

fn phases(ts_ms: i64) -> (Phase, Phase) {
    (Phase::of(ts_ms, DAY_MS, DAY_BINS), Phase::of(ts_ms, 7 * DAY_MS, WEEK_BINS))
}

/// Moves a mean over the last `span` points, or over all where there were fewer.
pub(super) fn move_mean(mean: &mut f64, value: f64, span: f64, points_before: u32) {
    *mean += (1.0 / span).max(1.0 / (f64::from(points_before) + 1.0)) * (value - *mean);
}

impl Season {
    pub fn encode(&self, out: &mut Writer) {
        out.u32(self.points);
        for number in [self.slow, self.magnitude, self.level.seen, self.level.expected] {
            out.f64(number);
        }
        self.day.encode(out);
        self.week.encode(out);
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let (points, slow, magnitude) = (bytes.u32()?, bytes.f64()?, bytes.f64()?);
        let level = Level { seen: bytes.f64()?, expected: bytes.f64()? };
        let (day, week) = (Profile::decode(bytes)?, Profile::decode(bytes)?);
        Some(Self { points, slow, magnitude, day, week, level })
    }
}
