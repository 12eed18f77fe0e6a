//! The work of `access-anomaly` on one stored batch of `access-rollups`: counts and ticks go in, alerts come
//! out as they happen, and from time to time the state that the next run can go on from.
//!
//! It is a pure function of its state and the log: time comes from ticks, every frame is known by its source
//! position, and a batch that is run again on a live instance gives its last output again, byte for byte.

mod limit;
mod state;

use crate::CODE_HASH;
use crate::params::AnomalySettings;
use crate::positions::Admission;
use crate::wire::{self, AlertsFrame, DeltaFrame, Kind, Tick};

pub use limit::{CLOSE_AFTER_MS, JUDGED_MS, MINUTES_MAX};
use limit::{Changes, Minutes};
use state::State;

/// Longest time between two hand-outs of the state while nothing closes, in milliseconds.
pub const STATE_EVERY_MS: i64 = 60_000;

/// Watches the whole platform's accesses per minute.
#[derive(Debug)]
pub struct Detector {
    settings: AnomalySettings,
    state: State,
    last_run: Option<LastRun>,
}

/// What the last batch gave, for the case that it is run again.
#[derive(Debug)]
struct LastRun {
    base_offset: u64,
    output: Vec<u8>,
}

impl Detector {
    /// A detector that goes on from `state`, as handed out by an earlier run; empty bytes are a fresh start.
    ///
    /// # Errors
    /// When `state` is not one, or is of another version.
    pub fn new(settings: AnomalySettings, state: &[u8]) -> Result<Self, String> {
        let state = if state.is_empty() { State::default() } else { State::decode(state)? };
        Ok(Self { settings, state, last_run: None })
    }

    /// Runs one stored batch: the offset of its first record in `access-rollups`, and its frames. Gives the
    /// bytes of an [`AlertsFrame`].
    pub fn run<'a>(&mut self, base_offset: u64, frames: impl Iterator<Item = &'a [u8]>) -> &[u8] {
        let again = self.last_run.as_ref().is_some_and(|last| last.base_offset == base_offset);
        if !again {
            let output = self.output(base_offset, frames);
            self.last_run = Some(LastRun { base_offset, output });
        }
        self.last_run.as_ref().map_or(&[], |last| &last.output)
    }

    fn output<'a>(&mut self, base_offset: u64, frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut changes = Changes::default();
        let (mut count, mut fault, mut hand_out) = (0, String::new(), false);
        for frame in frames {
            count += 1;
            match self.step(frame, &mut changes) {
                Ok(worth_a_checkpoint) => hand_out |= worth_a_checkpoint,
                Err(reason) => {
                    fault = reason;
                    break;
                }
            }
        }
        let mut alerts = Vec::new();
        if let Some(limit) = self.settings.limit_per_minute {
            changes.write(limit, &mut alerts);
        }
        let mut state = Vec::new();
        if hand_out && fault.is_empty() {
            self.state.encode(&mut state);
        }
        let mut output = Vec::new();
        let last_offset = base_offset + u64::saturating_sub(count, 1);
        let frame = AlertsFrame {
            code_hash: CODE_HASH,
            base_offset,
            last_offset,
            alerts: &alerts,
            state: &state,
            fault: &fault,
        };
        frame.encode(&mut output);
        output
    }

    /// Takes in one frame; says whether the state is now worth a checkpoint.
    fn step(&mut self, frame: &[u8], changes: &mut Changes) -> Result<bool, String> {
        match wire::kind(frame) {
            Ok(Kind::Delta) => {
                let frame = DeltaFrame::decode(frame).map_err(|error| error.to_string())?;
                self.take_delta(&frame, changes).map(|()| false)
            }
            Ok(Kind::Tick) => {
                let tick = Tick::decode(frame).map_err(|error| error.to_string())?;
                Ok(self.take_tick(&tick, changes))
            }
            Ok(kind) => Err(format!("a frame of kind {kind:?} does not belong into access-rollups")),
            Err(error) => Err(error.to_string()),
        }
    }

    fn take_delta(&mut self, frame: &DeltaFrame, changes: &mut Changes) -> Result<(), String> {
        let State { positions, partitions, minutes, .. } = &mut self.state;
        match positions.admit(frame) {
            Admission::Seen => return Ok(()),
            Admission::Gap(expected) => {
                let header = &frame.header;
                return Err(format!(
                    "counts of {} begin at offset {} part {}, expected offset {} part {}",
                    header.source, header.base_offset, frame.part, expected.next_offset, expected.next_part
                ));
            }
            Admission::Apply => positions.advance(frame),
        }
        let partition = partitions.entry(frame.header.source).or_default();
        partition.event_time_ms = partition.event_time_ms.max(frame.delta.event_time_ms);
        for cell in &frame.delta.cells {
            let n = cell.counts.iter().map(|&(_, _, n)| u64::from(n)).sum();
            minutes.add(cell.minute, n, changes);
        }
        if let Some(limit) = self.settings.limit_per_minute {
            minutes.judge(limit, frame.header.stored_at_ms, changes);
        }
        Ok(())
    }

    fn take_tick(&mut self, tick: &Tick, changes: &mut Changes) -> bool {
        let State { partitions, minutes, drained_since_ms, handed_out_ms, .. } = &mut self.state;
        for position in &tick.positions {
            partitions.entry(position.source).or_default().drained =
                position.next_offset == position.end_offset;
        }
        if let Some(watermark_ms) = partitions.watermark_ms() {
            minutes.watermark_ms = minutes.watermark_ms.max(watermark_ms);
        }
        let all_drained = partitions.0.values().all(|partition| partition.drained);
        *drained_since_ms = all_drained.then(|| drained_since_ms.unwrap_or(tick.wall_ms));
        let silent = drained_since_ms.is_some_and(|since_ms| tick.wall_ms - since_ms >= CLOSE_AFTER_MS);
        let closed = if silent || tick.end_of_input {
            minutes.close_all(tick.wall_ms, changes)
        } else {
            minutes.close_passed(tick.wall_ms, changes)
        };
        let hand_out = closed || tick.end_of_input || tick.wall_ms - *handed_out_ms >= STATE_EVERY_MS;
        if hand_out {
            *handed_out_ms = tick.wall_ms;
        }
        hand_out
    }
}

impl Minutes {
    /// Closes what event time has passed and forgets what is no longer judged.
    fn close_passed(&mut self, now_ms: i64, changes: &mut Changes) -> bool {
        let closed = self.close_until(self.watermark_ms.saturating_sub(CLOSE_AFTER_MS), now_ms, changes);
        self.forget();
        closed
    }

    /// Closes everything: no more input comes, or none has come for long.
    fn close_all(&mut self, now_ms: i64, changes: &mut Changes) -> bool {
        self.close_until(i64::MAX, now_ms, changes)
    }
}

#[cfg(test)]
mod tests;
