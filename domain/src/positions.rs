//! Which frame comes next, by source. Frames may arrive twice (a batch that ran again, a sink that forwarded
//! and crashed before its checkpoint), and this is what keeps them from counting twice.

use std::collections::BTreeMap;

use crate::event_id::Source;
use crate::wire::{DeltaFrame, Header};

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is the next one: apply it.
    Apply,
    /// It has been applied before: skip it.
    Seen,
    /// Something before it is missing: stop.
    Gap(Position),
}

/// How far a source has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Offset of the first line that is not applied.
    pub next_offset: u64,
    /// The part that comes next, of the batch that begins at `next_offset`.
    pub next_part: u32,
}

/// The position of every source.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Positions(pub BTreeMap<Source, Position>);

impl Positions {
    /// What to do with a part of a batch's counts. Does not move the position.
    pub fn admit(&self, frame: &DeltaFrame) -> Admission {
        let header = &frame.header;
        let Some(&position) = self.0.get(&header.source) else {
            let first = Position { next_offset: header.base_offset, next_part: 0 };
            return if frame.part == 0 { Admission::Apply } else { Admission::Gap(first) };
        };
        if header.last_offset < position.next_offset {
            Admission::Seen
        } else if header.base_offset != position.next_offset || frame.part > position.next_part {
            Admission::Gap(position)
        } else if frame.part < position.next_part {
            Admission::Seen
        } else {
            Admission::Apply
        }
    }

    /// Moves past a frame that was admitted.
    pub fn advance(&mut self, frame: &DeltaFrame) {
        let Header { source, base_offset, last_offset, .. } = frame.header;
        let next_part = frame.part + 1;
        let position = if next_part == frame.parts {
            Position { next_offset: last_offset + 1, next_part: 0 }
        } else {
            Position { next_offset: base_offset, next_part }
        };
        self.0.insert(source, position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Delta;

    fn frame(base_offset: u64, last_offset: u64, part: u32, parts: u32) -> DeltaFrame {
        let header = Header { base_offset, last_offset, ..Header::default() };
        DeltaFrame { header, part, parts, delta: Delta::default() }
    }

    #[test]
    fn frames_apply_once_and_in_order() {
        let mut positions = Positions::default();
        let in_order = [frame(0, 9, 0, 1), frame(10, 19, 0, 2), frame(10, 19, 1, 2), frame(20, 20, 0, 1)];
        for (index, next) in in_order.iter().enumerate() {
            assert_eq!(positions.admit(next), Admission::Apply, "{index}");
            positions.advance(next);
            for before in &in_order[..=index] {
                assert_eq!(positions.admit(before), Admission::Seen, "{index}");
            }
        }
    }

    #[test]
    fn a_gap_stops() {
        let mut positions = Positions::default();
        assert!(matches!(positions.admit(&frame(0, 9, 1, 2)), Admission::Gap(_)));
        positions.advance(&frame(0, 9, 0, 1));
        let expected = Admission::Gap(Position { next_offset: 10, next_part: 0 });
        for wrong in [frame(11, 12, 0, 1), frame(5, 14, 0, 1), frame(10, 19, 1, 2)] {
            assert_eq!(positions.admit(&wrong), expected);
        }
    }
}
