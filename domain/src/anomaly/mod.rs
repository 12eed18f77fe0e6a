//! The work of `access-anomaly` on one stored batch of `access-rollups`: counts and ticks go in, alerts come
//! out as they happen, and from time to time the state that the next run can go on from.
//!
//! - [`limit`]: fixed limits, judged while a minute is being counted
//! - [`open`]: the minutes that are judged by what is learned once event time has passed them
//! - [`learned`]: incidents and bots as alerts, which [`platform`], [`watch`], [`season`], [`incident`] and
//!   [`bots`] find
//! - [`series`]: the score of any series of numbers, for `streampulse detect --csv`
//!
//! It is a pure function of its state and the log: time comes from ticks, and no batch is believed that says
//! it is later. Every frame is known by its source position, and a batch that is run again on a live instance
//! gives its last output again, byte for byte.

mod alert;
mod bots;
mod bytes;
mod incident;
mod learned;
mod limit;
mod open;
mod platform;
mod season;
pub mod series;
mod state;
mod users;
mod watch;

use std::collections::BTreeMap;

use crate::params::AnomalySettings;
use crate::positions::Admission;
use crate::wire::{self, AlertsFrame, DeltaFrame, Kind, Tick};
use crate::{CODE_HASH, MINUTE_MS, MINUTES_END};

pub use bots::KNOWN_USERS_MAX;
pub use limit::{CLOSE_AFTER_MS, JUDGED_MS, MINUTES_MAX};
use limit::{Changes, Minutes};
pub use open::{GAP_MINUTES_MAX, OPEN_BYTES_MAX, OPEN_MINUTES_MAX};
pub use platform::{FALSE_ALERTS_PER_WEEK, SLICES_MAX, Slice};
use state::State;

/// Longest time between two hand-outs of the state while nothing closes, in milliseconds.
pub const STATE_EVERY_MS: i64 = 60_000;
/// Shortest time between two hand-outs, in milliseconds: what is learned is much to write.
pub const STATE_EVERY_MS_MIN: i64 = 5_000;
/// How far the newest line may be behind the wall clock when lines stop to come, so that what is missing from
/// then on is a silence, in milliseconds.
pub const LIVE_MS: i64 = 10 * 60_000;

/// Watches the platform's accesses.
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
        let mut changes = Altered::default();
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
        changes.write(&self.settings, &mut alerts);
        let mut state = Vec::new();
        if hand_out && fault.is_empty() {
            self.state.encode(&mut state);
        }
        let mut output = Vec::new();
        let last_offset = base_offset.saturating_add(u64::saturating_sub(count, 1));
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
    fn step(&mut self, frame: &[u8], changes: &mut Altered) -> Result<bool, String> {
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

    fn take_delta(&mut self, frame: &DeltaFrame, changes: &mut Altered) -> Result<(), String> {
        let present_ms = self.state.present_ms();
        let present = minute_of(present_ms);
        let State { positions, partitions, minutes, slices, open, .. } = &mut self.state;
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
        partitions.entry(frame.header.source).or_default().tell(frame.delta.event_time_ms, present_ms);
        let sums = open::sums(&frame.delta);
        let stored_at_ms = frame.header.stored_at_ms;
        let minutes_max = MINUTES_MAX / (1 + self.settings.limits.len());
        let count = |slice: &Slice, minutes: &mut Minutes, limit: Option<u64>, changes: &mut Changes| {
            for (&minute, sums) in &sums {
                if let Some(&n) = sums.get(slice) {
                    minutes.add(minute, n, changes);
                }
            }
            if let Some(limit) = limit {
                minutes.judge(limit, stored_at_ms, changes);
            }
            minutes.bound(minutes_max, present, stored_at_ms, changes);
        };
        count(&Slice::Total, minutes, self.settings.limit_per_minute, &mut changes.platform);
        for (slice, &limit) in &self.settings.limits {
            let minutes = slices.entry(slice.clone()).or_default();
            count(slice, minutes, Some(limit), changes.slices.entry(slice.clone()).or_default());
        }
        if self.settings.false_alerts_per_week > 0.0 {
            open.add(&sums, &frame.delta, stored_at_ms);
            open.make_room(present);
            while self.state.open.is_full() && self.judge_next(i64::MAX, stored_at_ms, changes) {}
        }
        Ok(())
    }

    fn take_tick(&mut self, tick: &Tick, changes: &mut Altered) -> bool {
        self.state.clock_ms = Some(tick.wall_ms);
        let present_ms = self.state.present_ms();
        let State { partitions, minutes, slices, rests, open, .. } = &mut self.state;
        open.forget_after(minute_of(present_ms));
        partitions.0.values_mut().for_each(|partition| partition.confirm(present_ms));
        for position in &tick.positions {
            partitions.entry(position.source).or_default().drained =
                position.next_offset == position.end_offset;
            let rest = rests.entry(position.source).or_insert((position.next_offset, tick.wall_ms));
            if rest.0 != position.next_offset {
                *rest = (position.next_offset, tick.wall_ms);
            }
        }
        let watermark_ms = partitions.watermark_ms().unwrap_or(i64::MIN).max(minutes.watermark_ms);
        let all_drained = partitions.0.values().all(|partition| partition.drained);
        // Lines that are read as they come leave every partition drained at every tick.
        let at_rest_since_ms = rests.values().map(|(_, since_ms)| *since_ms).max();
        let is_long = |since_ms: i64| tick.wall_ms.saturating_sub(since_ms) >= CLOSE_AFTER_MS;
        let silent_since_ms = at_rest_since_ms.filter(|since_ms| all_drained && is_long(*since_ms));
        let all = silent_since_ms.is_some() || tick.end_of_input;
        let mut closed = minutes.close(watermark_ms, all, tick.wall_ms, &mut changes.platform);
        for (slice, minutes) in slices {
            let changes = changes.slices.entry(slice.clone()).or_default();
            closed |= minutes.close(watermark_ms, all, tick.wall_ms, changes);
        }
        closed |= self.judge_learned(tick, silent_since_ms, changes);
        let waited_ms = tick.wall_ms.saturating_sub(self.state.handed_out_ms);
        let hand_out = tick.end_of_input
            || waited_ms >= STATE_EVERY_MS
            || closed && !(0..STATE_EVERY_MS_MIN).contains(&waited_ms);
        if hand_out {
            self.state.handed_out_ms = tick.wall_ms;
        }
        hand_out
    }

    /// Judges the minutes that are over by what is learned; says whether there were any.
    fn judge_learned(&mut self, tick: &Tick, silent_since_ms: Option<i64>, changes: &mut Altered) -> bool {
        let mut event_time_ms = self.state.settled_ms(tick.wall_ms).unwrap_or(i64::MIN);
        if let Some(since_ms) = silent_since_ms
            && since_ms.saturating_sub(event_time_ms) < LIVE_MS
        {
            // In a silence event time goes on with the clock.
            event_time_ms = event_time_ms.saturating_add(tick.wall_ms.saturating_sub(since_ms));
        }
        let mut end_ms_max = event_time_ms.saturating_sub(self.settings.lateness_ms_allowed);
        if tick.end_of_input {
            // The last minute may go on in lines that are appended later.
            end_ms_max = end_ms_max.max(self.state.open.last_ms().unwrap_or(i64::MIN));
        }
        let mut any = false;
        while self.judge_next(end_ms_max, tick.wall_ms, changes) {
            any = true;
        }
        any
    }

    /// Judges the next minute by what is learned, if it ends at or before `end_ms_max`.
    fn judge_next(&mut self, end_ms_max: i64, at_ms: i64, changes: &mut Altered) -> bool {
        let State { open, learned, .. } = &mut self.state;
        let Some((minute, counts)) = open.take(end_ms_max) else { return false };
        for alert in learned.minute(minute, &counts, at_ms, self.settings.false_alerts_per_week) {
            changes.learned.insert(alert.id.clone(), alert);
        }
        true
    }
}

/// The minute of a time; that of one before 1970 is the first, and there is a last one.
fn minute_of(ms: i64) -> u32 {
    u32::try_from(ms.div_euclid(MINUTE_MS).clamp(0, MINUTES_END.into())).unwrap_or(MINUTES_END)
}

/// What one batch changed.
#[derive(Debug, Default)]
struct Altered {
    platform: Changes,
    slices: BTreeMap<Slice, Changes>,
    /// Alerts of what is learned, by id, as they stand after it.
    learned: BTreeMap<String, alert::Alert>,
}

impl Altered {
    /// Appends the documents of `access_alerts` to `out`.
    fn write(&self, settings: &AnomalySettings, out: &mut Vec<u8>) {
        let platform = settings.limit_per_minute.iter().map(|limit| (&Slice::Total, &self.platform, limit));
        let slices = self.slices.iter();
        let slices =
            slices.filter_map(|(slice, changes)| Some((slice, changes, settings.limits.get(slice)?)));
        for (slice, changes, &limit) in platform.chain(slices) {
            changes.alerts(slice, limit).for_each(|alert| alert.write(out));
        }
        self.learned.values().for_each(|alert| alert.write(out));
    }
}

impl Minutes {
    /// Closes what event time has passed and forgets what is no longer judged, or closes everything: no more
    /// input comes, or none has come for long. Says whether anything closed.
    fn close(&mut self, watermark_ms: i64, all: bool, now_ms: i64, changes: &mut Changes) -> bool {
        self.watermark_ms = self.watermark_ms.max(watermark_ms);
        if all {
            return self.close_until(i64::MAX, now_ms, changes);
        }
        let closed = self.close_until(self.watermark_ms.saturating_sub(CLOSE_AFTER_MS), now_ms, changes);
        self.forget();
        closed
    }
}

#[cfg(test)]
mod tests;
