//! The alerts of one count a minute. A minute is unusual only if it is far from both what the last half hour
//! and what the hour of the week would have it, and only as far as its own history has shown to be rare.

pub(super) mod evidence;

use evidence::{Dispersion, Sum, evidence, variance, within};

use super::incident::{Change, Incident, Kind, Minute, Tracker};
use super::season::{Expectation, Learn, Season};
use crate::anomaly::bytes::{Reader, Writer};

/// Minutes before the first alert.
pub const WARM_UP_MINUTES: u32 = 60;
/// Weeks that an hour of the week must have been seen before a break of the season is told.
pub const SEASON_WEEKS_MIN: u8 = 3;

/// Factors that surges and drops are tested for; what lies beyond the middle counts as evidence.
const SURGE_FACTOR: f64 = 2.0;
const DROP_FACTOR: f64 = 0.4;
const OUTAGE_FACTOR: f64 = 0.1;
const SEASON_FACTORS: [f64; 2] = [1.7, 0.6];
/// Accesses that are allowed for on top of every expectation, so that a single one is never a surge.
const SURGE_MEAN_MIN: f64 = 0.5;
/// By what factor a count of an incident may be off and still be learned as it is.
const NORMAL_FACTOR: f64 = 1.25;
/// How far what is usual may be above and below the expectation, when weeks, days or nothing is known.
const WEEK_MARGINS: (f64, f64) = (1.0, 0.9);
const DAY_MARGINS: (f64, f64) = (1.1, 0.8);
const FIRST_MARGINS: (f64, f64) = (1.2, 0.6);
/// Span of the level of the last half hour, in minutes.
const LEVEL_SPAN: f64 = 20.0;
/// The same while it is unsettled.
const UNSETTLED_LEVEL_SPAN: f64 = 5.0;
/// Share of the evidence needed from which on the level is no longer learned.
const SUSPICION_MAX: f64 = 0.3;
/// Most that the level follows the profile in a minute, as a factor.
const CHANGE_MAX: f64 = 1.25;
/// What is left after a minute of evidence for a sudden change: half after 34 minutes.
const KEPT: f64 = 0.98;
/// Minutes near the level before alerts, at the beginning and after an incident of the first day.
const SETTLE_MINUTES: u8 = 30;
/// Standard deviations that are near.
const NEAR_DEVIATIONS: f64 = 3.0;
/// Minutes that dispersion is measured over, for sudden and for slow changes.
const BLOCK_MINUTES: u32 = 16;
const SEASON_BLOCK_MINUTES: u32 = 32;

/// The evidence, in nats, that keeps false alerts of `series` series below `false_alerts_per_week`.
pub fn evidence_min(series: usize, false_alerts_per_week: f64) -> f64 {
    const TESTS: f64 = 3.0;
    libm::log(series.max(1) as f64 * TESTS * 7.0 * 1_440.0 / false_alerts_per_week)
}

/// The watch over one series.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Watch {
    usual: Season,
    /// Level of the last half hour; during an incident it follows the profile.
    level: f64,
    profile_before: f64,
    /// What the profile came from: nothing, days, weeks.
    profile_known: u8,
    settle_minutes: u8,
    surge: Sum,
    drop: Sum,
    outage: Sum,
    above: Sum,
    below: Sum,
    began_ms: i64,
    dispersion: Dispersion,
    season_dispersion: Dispersion,
    sudden: Tracker,
    season: Tracker,
}

/// What a minute brings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// What was expected.
    pub expected: f64,
    /// What changed for the incident of sudden change.
    pub sudden: Option<Change>,
    /// What changed for the incident of a broken season.
    pub season: Option<Change>,
}

impl Watch {
    /// Takes in a closed minute. Minutes come in order and without gaps: a minute without accesses has 0.
    /// Nothing is learned from the minute where `is_disturbed` says that an incident elsewhere reaches here.
    pub fn minute(&mut self, ts_ms: i64, count: u64, evidence_min: f64, is_disturbed: bool) -> Judgement {
        let count = count as f64;
        let season = self.usual.expect(ts_ms);
        let minutes = self.usual.points();
        if minutes == 0 {
            (self.level, self.profile_before) = (count, season.value);
        }
        self.follow_season(season);
        let high = self.level.max(season.value);
        let low = self.level.min(season.value);
        let is_unsettled = self.is_unsettled(count, season, is_disturbed);
        if (is_disturbed || is_unsettled) && self.sudden.open().is_none() {
            self.clear();
        } else {
            let (above, below) = margins(season);
            let none_below = if season.days > 0 { low } else { below * low };
            self.weigh(ts_ms, count, above * high, (none_below, below * low), evidence_min);
        }
        let expected = if count > high { high } else { count.max(low) };
        let minute = Minute { ts_ms, minutes: 1, counted: count, expected };
        let sudden = self.follow_sudden(minute, evidence_min);
        let is_open = self.sudden.open().is_some() || is_disturbed;
        self.learn_dispersion(count, (high + low) / 2.0, is_open);
        let season_change = if season.weeks >= SEASON_WEEKS_MIN {
            self.weigh_season(minute, season.value, evidence_min, is_open)
        } else {
            None
        };
        let known = is_open || self.season.open().is_some();
        let learn = match known {
            false => Learn::All,
            true if season.days == 0 => Learn::Nothing(self.level),
            true => Learn::Profile(within(count, season.value / NORMAL_FACTOR, season.value * NORMAL_FACTOR)),
        };
        let phases = self.usual.enter(ts_ms, count, learn);
        self.usual.leave(phases, count, learn);
        if !is_open && self.suspicion() < SUSPICION_MAX * evidence_min {
            let step = 0.5 * self.level + 3.0 * (self.level + 1.0).sqrt();
            let span = if is_unsettled { UNSETTLED_LEVEL_SPAN } else { LEVEL_SPAN };
            let weight = (1.0 / span).max(1.0 / (f64::from(minutes) + 1.0));
            self.level += weight * within(count - self.level, -step, step);
        }
        if sudden == Some(Change::Adopted) || season_change == Some(Change::Adopted) {
            self.usual.adopt_level(ts_ms);
            self.level = self.usual.recent();
            self.clear();
        }
        Judgement { expected, sudden, season: season_change }
    }

    /// What is expected at `ts_ms`, the next minute: the mean of what the level and the season say.
    pub fn expected(&self, ts_ms: i64) -> f64 {
        (self.level + self.usual.expect(ts_ms).value) / 2.0
    }

    /// The mean of a minute in the long run.
    pub fn mean(&self) -> f64 {
        self.usual.mean()
    }

    /// The incident of sudden change that is open.
    pub fn sudden(&self) -> &Tracker {
        &self.sudden
    }

    /// The incident of a broken season that is open.
    pub fn season(&self) -> &Tracker {
        &self.season
    }

    /// The incident that is open, the sudden one first.
    pub fn open(&self) -> Option<&Incident> {
        self.sudden.open().or(self.season.open())
    }

    /// Lets the level follow the profile, where that goes on from what it was.
    fn follow_season(&mut self, season: Expectation) {
        let known = u8::from(season.days > 0) + u8::from(season.weeks >= 2);
        if known == self.profile_known {
            let change = (season.value + 1.0) / (self.profile_before + 1.0);
            self.level *= change.clamp(1.0 / CHANGE_MAX, CHANGE_MAX);
        }
        (self.profile_before, self.profile_known) = (season.value, known);
    }

    /// Whether the level cannot be trusted, at the beginning or after a disturbance of the first day, which
    /// no profile bridges. What begins with an attack and is then gone was never usual.
    fn is_unsettled(&mut self, count: f64, season: Expectation, is_disturbed: bool) -> bool {
        let is_new = self.usual.points() < WARM_UP_MINUTES - u32::from(SETTLE_MINUTES);
        let is_far = (count - self.level).abs() > NEAR_DEVIATIONS * variance(self.level).sqrt();
        self.settle_minutes = match season.days {
            0 if is_disturbed || self.sudden.open().is_some() => SETTLE_MINUTES,
            0 if is_new || is_far && self.settle_minutes > 0 => SETTLE_MINUTES,
            _ => self.settle_minutes.saturating_sub(1),
        };
        self.settle_minutes > 0
    }

    /// The strongest evidence, in nats.
    fn suspicion(&self) -> f64 {
        self.surge.0.max(self.drop.0).max(self.outage.0)
    }

    fn weigh(&mut self, ts_ms: i64, count: f64, high: f64, (none_below, low): (f64, f64), limit: f64) {
        let dispersion = self.dispersion.value();
        let was = self.surge.0 + self.drop.0 + self.outage.0;
        self.surge.add(evidence(count, high + SURGE_MEAN_MIN, SURGE_FACTOR) / dispersion, KEPT, limit, limit);
        self.drop.add(evidence(count, low, DROP_FACTOR) / dispersion, KEPT, limit, limit);
        let of_none = self.dispersion.of_none();
        self.outage.add(evidence(count, none_below, OUTAGE_FACTOR) / of_none, KEPT, limit, limit);
        if was == 0.0 && self.surge.0 + self.drop.0 + self.outage.0 > 0.0 {
            self.began_ms = ts_ms;
        }
    }

    fn follow_sudden(&mut self, minute: Minute, limit: f64) -> Option<Change> {
        let found = if self.surge.0 >= limit {
            Some(Kind::Surge)
        } else if self.outage.0 >= limit && minute.counted <= 0.1 * minute.expected {
            Some(Kind::Outage)
        } else if self.drop.0.max(self.outage.0) >= limit {
            Some(Kind::Drop)
        } else {
            None
        };
        let normal = match self.sudden.open() {
            Some(incident) if incident.kind.is_up() => self.surge.0 == 0.0,
            _ => self.drop.0.max(self.outage.0) == 0.0,
        };
        self.sudden.step(minute, found.map(|kind| (kind, self.began_ms)), normal)
    }

    fn learn_dispersion(&mut self, count: f64, expected: f64, is_open: bool) {
        if is_open {
            self.dispersion.skip();
        } else if let Some(block) = self.dispersion.add(count, expected, BLOCK_MINUTES) {
            self.dispersion.learn(block);
        }
    }

    fn weigh_season(&mut self, minute: Minute, expected: f64, limit: f64, is_open: bool) -> Option<Change> {
        if is_open {
            self.season_dispersion.skip();
            return None;
        }
        let block = self.season_dispersion.add(minute.counted, expected, SEASON_BLOCK_MINUTES)?;
        let dispersion = self.season_dispersion.value();
        let weigh = |factor| evidence(block.0, block.1, factor) / dispersion;
        self.above.add(weigh(SEASON_FACTORS[0]), 1.0, limit / 2.0, limit);
        self.below.add(weigh(SEASON_FACTORS[1]), 1.0, limit / 2.0, limit);
        let found = if self.above.0 >= limit {
            Some(Kind::SeasonAbove)
        } else {
            (self.below.0 >= limit).then_some(Kind::SeasonBelow)
        };
        let normal = match self.season.open() {
            Some(incident) if incident.kind.is_up() => self.above.0 == 0.0,
            _ => self.below.0 == 0.0,
        };
        let minutes = SEASON_BLOCK_MINUTES;
        let minute = Minute { minutes, counted: block.0, expected: block.1, ..minute };
        if self.season.open().is_none() && found.is_none() {
            self.season_dispersion.learn(block);
        }
        let began_ms = minute.ts_ms - i64::from(minutes - 1) * 60_000;
        self.season.step(minute, found.map(|kind| (kind, began_ms)), normal)
    }

    fn clear(&mut self) {
        [self.surge, self.drop, self.outage, self.above, self.below] = [Sum(0.0); 5];
    }
}

/// What to multiply the greater and the smaller expectation with, as little is known yet.
fn margins(season: Expectation) -> (f64, f64) {
    match season {
        Expectation { weeks: 2.., .. } => WEEK_MARGINS,
        Expectation { days: 1.., .. } => DAY_MARGINS,
        _ => FIRST_MARGINS,
    }
}

impl Watch {
    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Writer) {
        self.usual.encode(out);
        for number in [
            self.level,
            self.profile_before,
            self.surge.0,
            self.drop.0,
            self.outage.0,
            self.above.0,
            self.below.0,
        ] {
            out.f64(number);
        }
        out.u8(self.profile_known);
        out.u8(self.settle_minutes);
        out.i64(self.began_ms);
        self.dispersion.encode(out);
        self.season_dispersion.encode(out);
        self.sudden.encode(out);
        self.season.encode(out);
    }

    /// Reads the bytes that [`Watch::encode`] wrote; `None` when they are cut.
    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let usual = Season::decode(bytes)?;
        let mut watch = Self { usual, level: bytes.f64()?, ..Self::default() };
        watch.profile_before = bytes.f64()?;
        for sum in [&mut watch.surge, &mut watch.drop, &mut watch.outage, &mut watch.above, &mut watch.below]
        {
            sum.0 = bytes.f64()?;
        }
        watch.profile_known = bytes.u8()?;
        watch.settle_minutes = bytes.u8()?;
        watch.began_ms = bytes.i64()?;
        watch.dispersion = Dispersion::decode(bytes)?;
        watch.season_dispersion = Dispersion::decode(bytes)?;
        watch.sudden = Tracker::decode(bytes)?;
        watch.season = Tracker::decode(bytes)?;
        Some(watch)
    }
}

#[cfg(test)]
mod tests;
