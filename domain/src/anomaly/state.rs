//! What the detector remembers, and its bytes in a checkpoint.

use std::collections::BTreeMap;

use super::learned::Learned;
use super::limit::{Alert, CLOSE_AFTER_MS, Minute, Minutes};
use super::open::Open;
use super::platform::Slice;
use crate::MINUTES_END;
use crate::anomaly::bytes::{Reader, Writer};
use crate::event_id::Source;
use crate::positions::{Position, Positions};
use crate::window::EVENT_TIME_AHEAD_MS_MAX;

/// Version of the bytes.
const VERSION: u64 = 4;
/// The version that believed every batch what it said of its time.
const WITHOUT_CLOCK: u64 = 3;
/// The version that learned in another way; what it learned is forgotten.
const LEARNED_OTHERWISE: u64 = 2;
/// The version that knew the limit of the platform alone.
const LIMIT_ONLY: u64 = 1;

/// Everything the detector remembers.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct State {
    pub positions: Positions,
    pub partitions: Partitions,
    /// The minutes that are judged against the platform's limit, and those of slices that have one.
    pub minutes: Minutes,
    pub slices: BTreeMap<Slice, Minutes>,
    /// The minutes that what is learned has not judged yet.
    pub open: Open,
    pub learned: Learned,
    /// How far each partition was at the last tick, and the wall time of the tick that found it there first.
    pub rests: BTreeMap<Source, (u64, i64)>,
    /// Wall time of the tick at which the state was last handed out.
    pub handed_out_ms: i64,
    /// Wall time of the last tick; `None` before the first.
    pub clock_ms: Option<i64>,
}

/// Event time and progress of every partition.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Partitions(pub BTreeMap<Source, Partition>);

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Partition {
    /// Its event time, in milliseconds, once a line has told it that was not ahead of the clock.
    pub event_time_ms: Option<i64>,
    /// What a batch since the last tick has told that is ahead of that tick.
    pub unconfirmed_ms: Option<i64>,
    /// The last tick found nothing more to read in it.
    pub drained: bool,
}

impl Partition {
    /// Takes in a batch's event time, which the next tick must confirm if it is after `present_ms`.
    pub fn tell(&mut self, event_time_ms: Option<i64>, present_ms: i64) {
        if event_time_ms.is_some_and(|event_time_ms| event_time_ms > present_ms) {
            // Of several the last: one that can't be is replaced by what comes after it.
            self.unconfirmed_ms = event_time_ms;
        } else {
            self.event_time_ms = self.event_time_ms.max(event_time_ms);
        }
    }

    /// Forgets what was told unless the clock confirms it.
    pub fn confirm(&mut self, present_ms: i64) {
        let confirmed = self.unconfirmed_ms.take().filter(|event_time_ms| *event_time_ms <= present_ms);
        self.event_time_ms = self.event_time_ms.max(confirmed);
    }
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
    /// The last millisecond that can be now, as the last tick has told the time.
    pub fn present_ms(&self) -> i64 {
        self.clock_ms.map_or(i64::MAX, |clock_ms| clock_ms.saturating_add(EVENT_TIME_AHEAD_MS_MAX))
    }

    /// The event time of the slowest partition that has lines to read or had some lately, or of the fastest
    /// where none has. A partition at rest may be one whose producer has not sent yet what others have.
    pub fn settled_ms(&self, wall_ms: i64) -> Option<i64> {
        let is_idle = |source: &Source, partition: &Partition| {
            let rest = self.rests.get(source);
            let is_long = |since_ms: i64| wall_ms.saturating_sub(since_ms) >= CLOSE_AFTER_MS;
            partition.drained && rest.is_some_and(|(_, since_ms)| is_long(*since_ms))
        };
        let times = || self.partitions.0.iter();
        let busy = times().filter(|(source, partition)| !is_idle(source, partition));
        match busy.map(|(_, partition)| partition.event_time_ms).min() {
            Some(slowest) => slowest,
            None => times().filter_map(|(_, partition)| partition.event_time_ms).max(),
        }
    }

    /// Appends the bytes to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut out = Writer(out);
        out.u64(VERSION);
        out.i64(self.handed_out_ms);
        out.option(self.clock_ms);
        out.i64(self.minutes.watermark_ms);
        out.u64(self.positions.0.len() as u64);
        for (source, position) in &self.positions.0 {
            put_source(*source, &mut out);
            out.u64(position.next_offset);
            out.u64(u64::from(position.next_part));
        }
        out.u64(self.partitions.0.len() as u64);
        for (source, partition) in &self.partitions.0 {
            put_source(*source, &mut out);
            out.option(partition.event_time_ms);
            out.option(partition.unconfirmed_ms);
            out.u64(u64::from(partition.drained));
        }
        put_minutes(&self.minutes, &mut out);
        out.count(self.slices.len());
        for (slice, minutes) in &self.slices {
            slice.encode(out.0);
            out.i64(minutes.watermark_ms);
            put_minutes(minutes, &mut out);
        }
        out.count(self.rests.len());
        for (source, (next_offset, since_ms)) in &self.rests {
            put_source(*source, &mut out);
            out.u64(*next_offset);
            out.i64(*since_ms);
        }
        self.open.encode(&mut out);
        self.learned.encode(&mut out);
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// When they are not a state, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let mut bytes = Reader(bytes);
        let version = bytes.u64().ok_or("the detector's state is cut")?;
        if ![VERSION, WITHOUT_CLOCK, LEARNED_OTHERWISE, LIMIT_ONLY].contains(&version) {
            let error = format!("the detector's state is of version {version}, this build reads {VERSION}");
            return Err(error);
        }
        let state = Self::decode_from(&mut bytes, version).ok_or("the detector's state is cut or damaged")?;
        match bytes.0 {
            [] => Ok(state),
            _ => Err("the detector's state is longer than what it holds".to_owned()),
        }
    }

    fn decode_from(bytes: &mut Reader, version: u64) -> Option<Self> {
        if version < WITHOUT_CLOCK {
            // Since when everything was drained, which is now told of each partition.
            bytes.option()?;
        }
        let mut state = Self { handed_out_ms: bytes.i64()?, ..Self::default() };
        let has_clock = version > WITHOUT_CLOCK;
        if has_clock {
            state.clock_ms = bytes.option()?;
        }
        let watermark_ms = bytes.i64()?;
        let count = bytes.u64()?;
        state.positions.0 = bytes.map(count, |bytes| {
            let source = take_source(bytes)?;
            Some((source, Position { next_offset: bytes.u64()?, next_part: small(bytes.u64()?)? }))
        })?;
        let count = bytes.u64()?;
        state.partitions.0 = bytes.map(count, |bytes| {
            let source = take_source(bytes)?;
            let event_time_ms = bytes.option()?;
            let unconfirmed_ms = if has_clock { bytes.option()? } else { None };
            Some((source, Partition { event_time_ms, unconfirmed_ms, drained: bytes.u64()? != 0 }))
        })?;
        state.minutes = take_minutes(bytes, watermark_ms)?;
        if version == LIMIT_ONLY {
            return Some(state);
        }
        let count = bytes.u32()?.into();
        state.slices = bytes.map(count, |bytes| {
            let (slice, watermark_ms) = (Slice::decode(bytes)?, bytes.i64()?);
            Some((slice, take_minutes(bytes, watermark_ms)?))
        })?;
        let count = bytes.u32()?.into();
        state.rests = bytes.map(count, |bytes| Some((take_source(bytes)?, (bytes.u64()?, bytes.i64()?))))?;
        if version == LEARNED_OTHERWISE {
            bytes.0 = &[];
            return Some(state);
        }
        state.open = Open::decode(bytes)?;
        state.learned = Learned::decode(bytes)?;
        Some(state)
    }
}

fn put_minutes(minutes: &Minutes, out: &mut Writer) {
    out.u64(minutes.by_minute.len() as u64);
    for (&minute, state) in &minutes.by_minute {
        out.u64(u64::from(minute) << 2 | u64::from(state.closed) << 1 | u64::from(state.alert.is_some()));
        out.u64(state.n);
        if let Some(alert) = &state.alert {
            out.u64(u64::from(alert.incident));
            out.i64(alert.opened_at_ms);
            out.option(alert.closed_at_ms);
        }
    }
}

fn take_minutes(bytes: &mut Reader, watermark_ms: i64) -> Option<Minutes> {
    let count = bytes.u64()?;
    let by_minute = bytes.map(count, |bytes| {
        let (word, n) = (bytes.u64()?, bytes.u64()?);
        let alert = if word & 1 == 0 {
            None
        } else {
            let (incident, opened_at_ms) = (minute(bytes.u64()?)?, bytes.i64()?);
            Some(Alert { incident, opened_at_ms, closed_at_ms: bytes.option()? })
        };
        Some((minute(word >> 2)?, Minute { n, closed: word & 2 != 0, alert }))
    })?;
    Some(Minutes { watermark_ms, by_minute })
}

fn put_source(source: Source, out: &mut Writer) {
    out.u64(u64::from(source.epoch) << 32 | u64::from(source.partition));
}

fn take_source(bytes: &mut Reader) -> Option<Source> {
    let word = bytes.u64()?;
    Source::new(small(word >> 32)?, small(word & u64::from(u32::MAX))?)
}

fn small(word: u64) -> Option<u32> {
    u32::try_from(word).ok()
}

/// A minute in which events can lie.
fn minute(word: u64) -> Option<u32> {
    small(word).filter(|minute| *minute < MINUTES_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_at_rest_counts_until_it_is_idle() {
        let source = |partition| Source::new(0, partition).expect("in range");
        let mut state = State::default();
        for (partition, event_time_ms) in [(0, 9_000), (1, 5_000)] {
            let drained = partition == 1;
            let event_time_ms = Some(event_time_ms);
            state
                .partitions
                .0
                .insert(source(partition), Partition { event_time_ms, drained, ..Partition::default() });
            state.rests.insert(source(partition), (7, 100));
        }
        assert_eq!(state.settled_ms(100 + CLOSE_AFTER_MS - 1), Some(5_000));
        assert_eq!(state.settled_ms(100 + CLOSE_AFTER_MS), Some(9_000));
    }
}
