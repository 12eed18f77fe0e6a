//! A period as whole minutes, and how to cover it with the fewest rollup windows: whole UTC days where they
//! fit, hours at the ragged edges, minutes at what is left. Pure.

use chrono::{DateTime, Utc};
use sink::schema::Level;

/// Whole minutes since the Unix epoch, `from` inclusive, `to` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub from: i64,
    pub to: i64,
}

impl Span {
    /// How many minutes the span holds, 0 when it ends before it begins.
    pub fn minutes(self) -> u64 {
        u64::try_from(self.to.saturating_sub(self.from)).unwrap_or(0)
    }
}

/// A part of a period, to be read from the windows of one level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub level: Level,
    pub span: Span,
}

/// A cover has at most this many pieces: minutes, hours, days, hours, minutes.
pub(crate) const PIECES_MAX: usize = 5;

/// Cuts a span into the coarsest windows that lie wholly inside it, in order of time, without gap or overlap.
pub(crate) fn cover(span: Span) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(PIECES_MAX);
    cover_from(Level::Day, span, &mut pieces);
    pieces
}

fn cover_from(level: Level, span: Span, pieces: &mut Vec<Piece>) {
    if span.minutes() == 0 {
        return;
    }
    let size = i64::from(level.size_minutes());
    let whole = Span { from: -(-span.from).div_euclid(size) * size, to: span.to.div_euclid(size) * size };
    match level.finer() {
        Some(finer) if whole.minutes() == 0 => cover_from(finer, span, pieces),
        Some(finer) => {
            cover_from(finer, Span { from: span.from, to: whole.from }, pieces);
            pieces.push(Piece { level, span: whole });
            cover_from(finer, Span { from: whole.to, to: span.to }, pieces);
        }
        None => pieces.push(Piece { level, span }),
    }
}

/// The minute that an instant lies in.
pub(crate) fn minute_floor(instant: DateTime<Utc>) -> i64 {
    instant.timestamp().div_euclid(60)
}

/// The first minute that begins at an instant or after it.
pub(crate) fn minute_ceil(instant: DateTime<Utc>) -> i64 {
    let floor = minute_floor(instant);
    if instant_of(floor) < instant { floor + 1 } else { floor }
}

/// The instant at which a minute begins. Minutes beyond what chrono can hold become its last instant.
pub(crate) fn instant_of(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(minute.saturating_mul(60), 0).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    const DAY: i64 = 24 * 60;

    #[track_caller]
    fn check(from: i64, to: i64, expected: Expect) {
        let pieces = cover(Span { from, to });
        let text: Vec<String> =
            pieces.iter().map(|p| format!("{:?} {}..{}", p.level, p.span.from, p.span.to)).collect();
        expected.assert_eq(&text.join(", "));
    }

    #[test]
    fn whole_days_come_from_days_alone() {
        check(DAY, 3 * DAY, expect!["Day 1440..4320"]);
        check(-DAY, DAY, expect!["Day -1440..1440"]);
    }

    #[test]
    fn ragged_edges_come_from_hours_then_minutes() {
        let all = "Minute 1379..1380, Hour 1380..1440, Day 1440..4320, Hour 4320..4380, Minute 4380..4381";
        let found: Vec<String> = cover(Span { from: DAY - 61, to: 3 * DAY + 61 })
            .iter()
            .map(|p| format!("{:?} {}..{}", p.level, p.span.from, p.span.to))
            .collect();
        assert_eq!(found.len(), PIECES_MAX);
        assert_eq!(found.join(", "), all);
        check(DAY - 1, DAY + 1, expect!["Minute 1439..1441"]);
        check(30, DAY + 30, expect!["Minute 30..60, Hour 60..1440, Minute 1440..1470"]);
        check(-61, 60, expect!["Minute -61..-60, Hour -60..60"]);
        check(7, 8, expect!["Minute 7..8"]);
        check(8, 8, expect![""]);
        check(9, 8, expect![""]);
    }

    #[test]
    fn every_cover_is_without_gap_or_overlap() {
        for from in (-3000..3000).step_by(131) {
            for to in (from..from + 6000).step_by(97) {
                let pieces = cover(Span { from, to });
                let mut at = from;
                for piece in &pieces {
                    let size = i64::from(piece.level.size_minutes());
                    assert_eq!(piece.span.from, at);
                    assert_eq!((piece.span.from.rem_euclid(size), piece.span.to.rem_euclid(size)), (0, 0));
                    at = piece.span.to;
                }
                assert_eq!(at, to);
                assert!(pieces.len() <= PIECES_MAX);
            }
        }
    }

    #[test]
    fn instants_round_to_minutes() {
        let instant = |s: &str| s.parse::<DateTime<Utc>>().unwrap();
        assert_eq!(minute_ceil(instant("1970-01-01T00:01:00Z")), 1);
        assert_eq!(minute_ceil(instant("1970-01-01T00:01:00.001Z")), 2);
        assert_eq!(minute_floor(instant("1969-12-31T23:59:59.999Z")), -1);
        assert_eq!(minute_ceil(instant("1969-12-31T23:59:59.999Z")), 0);
        assert_eq!(instant_of(i64::MAX), DateTime::<Utc>::MAX_UTC);
    }
}
