//! What the detector remembers, and its bytes in a checkpoint.

use std::collections::BTreeMap;

use super::limit::{Alert, Minute, Minutes};
use crate::event_id::Source;
use crate::positions::{Position, Positions};

/// Version of the bytes.
const VERSION: u64 = 1;

/// Everything the detector remembers.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct State {
    pub positions: Positions,
    pub partitions: Partitions,
    pub minutes: Minutes,
    /// Wall time of the first of the last ticks that found every partition drained.
    pub drained_since_ms: Option<i64>,
    /// Wall time of the tick at which the state was last handed out.
    pub handed_out_ms: i64,
}

/// Event time and progress of every partition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Partitions(pub BTreeMap<Source, Partition>);

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Partition {
    /// Its event time, in milliseconds, once a line has told it.
    pub event_time_ms: Option<i64>,
    /// The last tick found nothing more to read in it.
    pub drained: bool,
}

impl Partitions {
    /// A partition's entry.
    pub fn entry(&mut self, source: Source) -> std::collections::btree_map::Entry<'_, Source, Partition> {
        self.0.entry(source)
    }

    /// The event time of the slowest partition that has lines to read, or of the fastest where none has.
    pub fn watermark_ms(&self) -> Option<i64> {
        let behind = || self.0.values().filter(|partition| !partition.drained);
        match behind().next() {
            // `None`, a partition without a time yet, is the smallest: it holds the watermark back.
            Some(_) => behind().map(|partition| partition.event_time_ms).min().flatten(),
            None => self.0.values().filter_map(|partition| partition.event_time_ms).max(),
        }
    }
}

impl State {
    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut words = Words(out);
        words.put(VERSION);
        words.option(self.drained_since_ms);
        words.time(self.handed_out_ms);
        words.time(self.minutes.watermark_ms);
        words.put(self.positions.0.len() as u64);
        for (source, position) in &self.positions.0 {
            words.source(*source);
            words.put(position.next_offset);
            words.put(u64::from(position.next_part));
        }
        words.put(self.partitions.0.len() as u64);
        for (source, partition) in &self.partitions.0 {
            words.source(*source);
            words.option(partition.event_time_ms);
            words.put(u64::from(partition.drained));
        }
        words.put(self.minutes.by_minute.len() as u64);
        for (&minute, state) in &self.minutes.by_minute {
            words.put(
                u64::from(minute) << 2 | u64::from(state.closed) << 1 | u64::from(state.alert.is_some()),
            );
            words.put(state.n);
            if let Some(alert) = &state.alert {
                words.put(u64::from(alert.incident));
                words.time(alert.opened_at_ms);
                words.option(alert.closed_at_ms);
            }
        }
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// When they are not a state, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut words = bytes.chunks(8).map(|word| word.try_into().map(u64::from_le_bytes));
        let mut next = || match words.next() {
            Some(Ok(word)) => Ok(word),
            _ => Err("the detector's state is cut".to_owned()),
        };
        match next()? {
            VERSION => {}
            version => {
                return Err(format!(
                    "the detector's state is of version {version}, this build reads {VERSION}"
                ));
            }
        }
        let mut state = Self { drained_since_ms: option(&mut next)?, ..Self::default() };
        state.handed_out_ms = next()?.cast_signed();
        state.minutes.watermark_ms = next()?.cast_signed();
        for _ in 0..next()? {
            let source = source(next()?)?;
            let position = Position { next_offset: next()?, next_part: small(next()?)? };
            state.positions.0.insert(source, position);
        }
        for _ in 0..next()? {
            let source = source(next()?)?;
            let partition = Partition { event_time_ms: option(&mut next)?, drained: next()? != 0 };
            state.partitions.0.insert(source, partition);
        }
        for _ in 0..next()? {
            let word = next()?;
            let n = next()?;
            let alert = if word & 1 == 0 {
                None
            } else {
                let (incident, opened_at_ms) = (small(next()?)?, next()?.cast_signed());
                Some(Alert { incident, opened_at_ms, closed_at_ms: option(&mut next)? })
            };
            state.minutes.by_minute.insert(small(word >> 2)?, Minute { n, closed: word & 2 != 0, alert });
        }
        match next() {
            Ok(_) => Err("the detector's state is longer than what it holds".to_owned()),
            Err(_) => Ok(state),
        }
    }
}

/// Appends 64-bit little-endian words.
struct Words<'a>(&'a mut Vec<u8>);

impl Words<'_> {
    fn put(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_le_bytes());
    }

    fn time(&mut self, millis: i64) {
        self.put(millis.cast_unsigned());
    }

    fn option(&mut self, millis: Option<i64>) {
        self.put(u64::from(millis.is_some()));
        self.time(millis.unwrap_or(0));
    }

    fn source(&mut self, source: Source) {
        self.put(u64::from(source.epoch) << 32 | u64::from(source.partition));
    }
}

fn option(next: &mut impl FnMut() -> Result<u64, String>) -> Result<Option<i64>, String> {
    let known = next()? != 0;
    Ok(Some(next()?.cast_signed()).filter(|_| known))
}

fn small(word: u64) -> Result<u32, String> {
    u32::try_from(word).map_err(|_| "the detector's state holds a number out of range".to_owned())
}

fn source(word: u64) -> Result<Source, String> {
    let (epoch, partition) = (small(word >> 32)?, small(word & u64::from(u32::MAX))?);
    Source::new(epoch, partition).ok_or_else(|| "the detector's state holds a source out of range".to_owned())
}
