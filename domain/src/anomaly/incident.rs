//! The life of an incident: it opens once, is followed while it lasts, and closes when things are back to
//! normal or when it has become the new normal.

use crate::anomaly::bytes::{Reader, Writer};

/// Minutes after the end of an incident in which a new one is taken for its continuation.
pub const REOPEN_MINUTES: u32 = 30;
/// After so many minutes a level that stays is adopted as the new normal, and its incident ends.
pub const ADOPT_MINUTES: u32 = 360;
/// The same for a broken season.
pub const ADOPT_SEASON_MINUTES: u32 = 1_440;
/// An incident that lasts longer is a shift of the level.
pub const SHIFT_MINUTES: u32 = 60;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Far more than usual.
    Surge = 1,
    /// Far less than usual.
    Drop = 2,
    /// About nothing where there is usually something.
    Outage = 3,
    /// More than usual for long.
    ShiftUp = 4,
    /// Less than usual for long.
    ShiftDown = 5,
    /// For long more than at this hour of the week, though the last hour was no different.
    SeasonAbove = 6,
    /// For long less than at this hour of the week, though the last hour was no different.
    SeasonBelow = 7,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Surge,
        Self::Drop,
        Self::Outage,
        Self::ShiftUp,
        Self::ShiftDown,
        Self::SeasonAbove,
        Self::SeasonBelow,
    ];

    /// Whether there is more than usual.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Surge | Self::ShiftUp | Self::SeasonAbove)
    }

    /// Whether it is against other weeks and not against the last hour.
    pub fn is_season(self) -> bool {
        matches!(self, Self::SeasonAbove | Self::SeasonBelow)
    }

    /// As alerts name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Surge => "surge",
            Self::Drop => "drop",
            Self::Outage => "outage",
            Self::ShiftUp => "shift_up",
            Self::ShiftDown => "shift_down",
            Self::SeasonAbove => "season_above",
            Self::SeasonBelow => "season_below",
        }
    }

    fn adopt_minutes(self) -> u32 {
        match self {
            Self::SeasonAbove | Self::SeasonBelow => ADOPT_SEASON_MINUTES,
            _ => ADOPT_MINUTES,
        }
    }

    fn lasting(self) -> Self {
        match self {
            Self::Surge => Self::ShiftUp,
            Self::Drop => Self::ShiftDown,
            other => other,
        }
    }
}

/// One incident of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// What happens.
    pub kind: Kind,
    /// The minute with the first evidence, in milliseconds since 1970.
    pub began_ms: i64,
    /// The minute that was enough.
    pub opened_ms: i64,
    /// The minute that is furthest from what was expected.
    pub peak_ms: i64,
    /// Counted in that minute.
    pub peak: f64,
    /// Expected in that minute.
    pub peak_expected: f64,
    /// Counted and expected since it opened.
    pub counted: f64,
    /// See `counted`.
    pub expected: f64,
    /// Minutes that it has been open.
    pub minutes: u32,
}

/// What a minute changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new incident.
    Opened,
    /// An incident that had closed goes on.
    Reopened,
    /// Back to normal.
    Closed,
    /// The incident is the new normal.
    Adopted,
}

/// Follows the incidents of one series, one after the other.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Tracker {
    last: Option<Incident>,
    open: bool,
    /// Minutes since it closed.
    closed_minutes: u32,
}

/// A minute as an incident sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Minute {
    pub ts_ms: i64,
    /// How many minutes it stands for.
    pub minutes: u32,
    pub counted: f64,
    pub expected: f64,
}

impl Tracker {
    /// The incident that is open.
    pub fn open(&self) -> Option<&Incident> {
        self.last.as_ref().filter(|_| self.open)
    }

    /// The last incident, open or not.
    pub fn last(&self) -> Option<&Incident> {
        self.last.as_ref()
    }

    /// Takes in a minute: `found` is what enough evidence says, with the minute it began in; `normal` that
    /// no evidence is left.
    pub(crate) fn step(
        &mut self,
        minute: Minute,
        found: Option<(Kind, i64)>,
        normal: bool,
    ) -> Option<Change> {
        if self.open {
            return self.follow(minute, normal);
        }
        if self.last.is_some() {
            self.closed_minutes = (self.closed_minutes + minute.minutes).min(REOPEN_MINUTES + 1);
        }
        let (kind, began_ms) = found?;
        self.open = true;
        if let Some(last) = &mut self.last
            && self.closed_minutes <= REOPEN_MINUTES
            && last.kind.is_up() == kind.is_up()
        {
            last.follow(minute);
            return Some(Change::Reopened);
        }
        let Minute { ts_ms, minutes, counted, expected } = minute;
        let (opened_ms, peak_ms) = (ts_ms, ts_ms);
        let (peak, peak_expected) = (counted, expected);
        self.last = Some(Incident {
            kind,
            began_ms,
            opened_ms,
            peak_ms,
            peak,
            peak_expected,
            counted,
            expected,
            minutes,
        });
        Some(Change::Opened)
    }

    fn follow(&mut self, minute: Minute, normal: bool) -> Option<Change> {
        let incident = self.last.as_mut()?;
        let adopted = incident.minutes >= incident.kind.adopt_minutes();
        if normal || adopted {
            self.open = false;
            self.closed_minutes = 0;
            return Some(if normal { Change::Closed } else { Change::Adopted });
        }
        incident.follow(minute);
        None
    }

    pub(crate) fn encode(&self, out: &mut Writer) {
        let Some(incident) = &self.last else {
            out.u8(0);
            return;
        };
        out.u8(incident.kind as u8 | u8::from(self.open) << 7);
        out.u8(self.closed_minutes as u8);
        out.i64(incident.began_ms);
        out.i64(incident.opened_ms);
        out.i64(incident.peak_ms);
        for number in [incident.peak, incident.peak_expected, incident.counted, incident.expected] {
            out.f64(number);
        }
        out.u32(incident.minutes);
    }

    pub(crate) fn decode(bytes: &mut Reader) -> Option<Self> {
        let flags = bytes.u8()?;
        if flags == 0 {
            return Some(Self::default());
        }
        let kind = *Kind::ALL.iter().find(|kind| **kind as u8 == flags & 0x7f)?;
        let closed_minutes = bytes.u8()?.into();
        let incident = Incident {
            kind,
            began_ms: bytes.i64()?,
            opened_ms: bytes.i64()?,
            peak_ms: bytes.i64()?,
            peak: bytes.f64()?,
            peak_expected: bytes.f64()?,
            counted: bytes.f64()?,
            expected: bytes.f64()?,
            minutes: bytes.u32()?,
        };
        Some(Self { last: Some(incident), open: flags & 0x80 != 0, closed_minutes })
    }
}

impl Incident {
    /// By how much a minute of it is off on average.
    pub fn mean_deviation(&self) -> f64 {
        (self.counted - self.expected) / f64::from(self.minutes.max(1))
    }

    fn follow(&mut self, minute: Minute) {
        self.minutes = self.minutes.saturating_add(minute.minutes);
        self.counted += minute.counted;
        self.expected += minute.expected;
        let by = if self.kind.is_up() { 1.0 } else { -1.0 };
        if by * (minute.counted - minute.expected) > by * (self.peak - self.peak_expected) {
            self.peak_ms = minute.ts_ms;
            self.peak = minute.counted;
            self.peak_expected = minute.expected;
        }
        if self.minutes > SHIFT_MINUTES {
            self.kind = self.kind.lasting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(tracker: &mut Tracker, minute: i64, found: bool, normal: bool) -> Option<Change> {
        let minute = Minute { ts_ms: minute * 60_000, minutes: 1, counted: 300.0, expected: 100.0 };
        tracker.step(minute, found.then_some((Kind::Surge, minute.ts_ms)), normal)
    }

    #[test]
    fn an_incident_opens_once_and_closes() {
        let mut tracker = Tracker::default();
        assert_eq!(step(&mut tracker, 0, false, true), None);
        assert_eq!(step(&mut tracker, 1, true, false), Some(Change::Opened));
        assert_eq!(step(&mut tracker, 2, true, false), None);
        assert_eq!(step(&mut tracker, 3, false, true), Some(Change::Closed));
        assert_eq!(tracker.open(), None);
        assert_eq!(tracker.last().map(|incident| incident.minutes), Some(2));
    }

    #[test]
    fn soon_after_it_goes_on_and_later_it_is_new() {
        let mut tracker = Tracker::default();
        step(&mut tracker, 0, true, false);
        step(&mut tracker, 1, false, true);
        assert_eq!(step(&mut tracker, 2, true, false), Some(Change::Reopened));
        step(&mut tracker, 3, false, true);
        for minute in 0..i64::from(REOPEN_MINUTES) {
            assert_eq!(step(&mut tracker, 4 + minute, false, true), None);
        }
        assert_eq!(step(&mut tracker, 99, true, false), Some(Change::Opened));
    }

    #[test]
    fn what_lasts_is_a_shift_and_then_adopted() {
        let mut tracker = Tracker::default();
        step(&mut tracker, 0, true, false);
        for minute in 1..i64::from(ADOPT_MINUTES) {
            assert_eq!(step(&mut tracker, minute, true, false), None);
        }
        assert_eq!(tracker.open().map(|incident| incident.kind), Some(Kind::ShiftUp));
        assert_eq!(step(&mut tracker, 999, true, false), Some(Change::Adopted));
        assert_eq!(tracker.open(), None);
    }

    #[test]
    fn the_peak_is_where_it_is_furthest_in_its_direction() {
        let mut tracker = Tracker::default();
        for (ts_ms, counted) in [(0, 60.0), (1, 20.0), (2, 300.0)] {
            let minute = Minute { ts_ms, minutes: 1, counted, expected: 100.0 };
            tracker.step(minute, Some((Kind::Drop, 0)), false);
        }
        assert_eq!(tracker.open().map(|incident| (incident.peak_ms, incident.peak)), Some((1, 20.0)));
    }

    #[test]
    fn bytes_go_both_ways() {
        let mut tracker = Tracker::default();
        for found in [false, true, false] {
            let mut bytes = Vec::new();
            tracker.encode(&mut Writer(&mut bytes));
            assert_eq!(Tracker::decode(&mut Reader(&bytes)), Some(tracker.clone()));
            step(&mut tracker, 0, found, true);
        }
    }
}
