//! The periods that the page answers for.

use std::time::Duration;

use crate::report::words::Words;

const HOUR: Duration = Duration::from_secs(60 * 60);
/// What can be chosen besides the period that was typed.
const OFFERED: [Duration; 4] =
    [HOUR, HOUR.saturating_mul(24), HOUR.saturating_mul(7 * 24), HOUR.saturating_mul(30 * 24)];
/// The answers are renewed so many times in their period: every 5 seconds for a day, every 150 for a month,
/// which costs more.
const RENEWED: u32 = 17_280;
const RENEWED_EVERY_MIN: Duration = Duration::from_secs(5);

/// A period that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// How far it reaches back.
    pub length: Duration,
}

impl Period {
    /// A day.
    pub const DAY: Self = Self { length: OFFERED[1] };

    /// All that can be chosen, `first` first.
    pub(super) fn offered(first: Self) -> impl Iterator<Item = Self> {
        let others = OFFERED.into_iter().map(|length| Self { length }).filter(move |other| *other != first);
        std::iter::once(first).chain(others)
    }

    /// How often its answers are computed anew.
    pub(super) fn answered_every(self) -> Duration {
        (self.length / RENEWED).max(RENEWED_EVERY_MIN)
    }

    fn in_units(self) -> (u64, char) {
        match self.length.as_secs() {
            seconds if seconds.is_multiple_of(24 * 3_600) && seconds > 24 * 3_600 => {
                (seconds / (24 * 3_600), 'd')
            }
            seconds if seconds.is_multiple_of(3_600) => (seconds / 3_600, 'h'),
            seconds if seconds.is_multiple_of(60) => (seconds / 60, 'm'),
            seconds => (seconds, 's'),
        }
    }

    /// As it is typed, e.g. `7d`.
    pub(super) fn name(self) -> String {
        let (n, unit) = self.in_units();
        format!("{n}{unit}")
    }

    /// As it is said, e.g. `7 days`.
    pub(super) fn told(self, words: Words) -> String {
        let (n, unit) = self.in_units();
        words.duration(n, unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Lang;

    #[test]
    fn each_period_is_offered_once_and_has_a_name() {
        let names = |seconds| -> Vec<String> {
            Period::offered(Period { length: Duration::from_secs(seconds) }).map(Period::name).collect()
        };
        assert_eq!(names(86_400), ["24h", "1h", "7d", "30d"]);
        assert_eq!(names(90 * 60), ["90m", "1h", "24h", "7d", "30d"]);
        assert_eq!(names(61)[0], "61s");
        let week = Period { length: 7 * 24 * HOUR };
        assert_eq!(
            (week.told(Words(Lang::En)), week.told(Words(Lang::Pt))),
            ("7 days".into(), "7 dias".into())
        );
        assert_eq!(week.answered_every(), Duration::from_secs(35));
        assert_eq!(Period { length: HOUR }.answered_every(), RENEWED_EVERY_MIN);
    }
}
