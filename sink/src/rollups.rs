//! Job `rollups`: counts from `access-rollups` go into the windows of `access_rollups_*`, `access_minutes`
//! and `access_users_*`.
//!
//! # Delivery
//! Frames are gathered for up to a second, then applied in one transaction that also moves the checkpoint.
//! Frames are known by their place in the log: one that came before is skipped, a missing one stops the job.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::event_id::Source;
use domain::positions::Position;
use domain::wire::{self, DeltaFrame, Kind, Tick};
use domain::{Admission, Positions};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use mongodb::options::ReadConcern;
use runtime::{BatchStream, Output};
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::gathered::{Gathered, Windows};
use crate::schema::STATE;
use crate::sketch::{SketchError, Sketches};
use crate::windows::{KnownWindows, WindowIds};
use crate::write::{Retry, is_duplicate};
use crate::{Progress, Sink, signed};

/// The job's name.
pub const JOB: &str = "rollups";
/// What the ids of its checkpoints begin with; the topic's id follows.
const CHECKPOINT: &str = "rollups|access-rollups";
/// Longest time that counts are gathered.
const GATHER_MAX: Duration = Duration::from_secs(1);
/// What to do about frames of another version.
const UNREADABLE: &str = "access-rollups holds what this version cannot read; what another version left in it has to \
                          be drained with that version";
/// Longest time between checkpoints while only ticks come in.
const IDLE_CHECKPOINT_EVERY: Duration = Duration::from_secs(30);

/// Runs for ever.
///
/// # Errors
/// When the topic or MongoDB fails for good, or counts are missing.
pub async fn run(sink: &Sink) -> Result<()> {
    let state = sink.rollups.state().await?;
    let bounds = *state.partitions.first().context("access-rollups has no partition")?;
    let (checkpoint, document) =
        Checkpoint::load(&sink.database, CHECKPOINT, &state.id, 0, bounds.start).await?;
    let next = u64::try_from(document.get_i64("next").context("a checkpoint without a position")?)?;
    // What was applied from an earlier incarnation of the topic still is.
    let positions = all_positions(&sink.database).await?;
    sink.progress.rollups_next.store(next, Ordering::Release);
    sink.progress.rollups_checkpoint.store(next, Ordering::Release);
    sink.progress.cover(JOB, 0);
    let stream = sink.rollups.open(0, next, Vec::new()).await?;
    sink.progress.begin(JOB, 0);
    let mut job = Rollups {
        sink,
        checkpoint,
        stream,
        next,
        saved: next,
        saved_at: Instant::now(),
        positions,
        sketches: Sketches::default(),
        known: KnownWindows::default(),
    };
    loop {
        let gathered = job.gather().await?;
        if !gathered.is_empty() || job.saved_at.elapsed() >= IDLE_CHECKPOINT_EVERY {
            job.flush(&gathered).await?;
        }
        sink.progress.rollups_next.store(job.next, Ordering::Release);
    }
}

struct Rollups<'a> {
    sink: &'a Sink,
    checkpoint: Checkpoint,
    stream: BatchStream,
    /// First offset that is not taken in.
    next: u64,
    /// First offset that is not covered by the checkpoint.
    saved: u64,
    saved_at: Instant,
    positions: Positions,
    sketches: Sketches,
    known: KnownWindows,
}

impl Rollups<'_> {
    /// Takes in frames until a second has passed since the first one with counts, there are many, or the
    /// input has ended.
    async fn gather(&mut self) -> Result<Gathered> {
        let mut gathered = Gathered::default();
        let first = self.stream.next().await?;
        self.take(&first, &mut gathered)?;
        let until = Instant::now() + GATHER_MAX;
        while !gathered.is_empty() && !gathered.is_full() && !gathered.is_last {
            match tokio::time::timeout_at(until, self.stream.next()).await {
                Ok(output) => self.take(&output?, &mut gathered)?,
                Err(_) => break,
            }
        }
        Ok(gathered)
    }

    fn take(&mut self, output: &Output, gathered: &mut Gathered) -> Result<()> {
        if output.base_offset > self.next {
            bail!("access-rollups lacks the frames {} to {}", self.next, output.base_offset - 1);
        }
        for (offset, value) in (output.base_offset..).zip(&output.values) {
            if offset < self.next {
                continue;
            }
            match wire::kind(value).context(UNREADABLE)? {
                Kind::Tick => gathered.is_last = Tick::decode(value)?.end_of_input,
                Kind::Delta => self.take_delta(DeltaFrame::decode(value)?, gathered)?,
                kind => bail!("a frame of kind {kind:?} does not belong into access-rollups"),
            }
        }
        self.next = output.last_offset + 1;
        Ok(())
    }

    fn take_delta(&mut self, frame: DeltaFrame, gathered: &mut Gathered) -> Result<()> {
        match self.positions.admit(&frame) {
            Admission::Seen => return Ok(()),
            Admission::Gap(expected) => bail!(
                "counts of {} begin at offset {} part {}, expected offset {} part {}: some are missing",
                frame.header.source,
                frame.header.base_offset,
                frame.part,
                expected.next_offset,
                expected.next_part
            ),
            Admission::Apply => self.positions.advance(&frame),
        }
        gathered.add(frame.delta, frame.header.stored_at_ms)
    }

    async fn flush(&mut self, gathered: &Gathered) -> Result<()> {
        let Sink { database, progress, .. } = self.sink;
        let mut retry = Retry::new(progress, "read user sketches");
        let sketches = loop {
            match self.sketches.add(database, gathered.users()).await {
                Ok(sketches) => break sketches,
                Err(SketchError::MongoDb(error)) => retry.after(error).await?,
                Err(SketchError::Stored(error)) => return Err(error),
            }
        };
        retry.done();
        let windows = gathered.windows();
        let began = Instant::now();
        loop {
            let absent = self.absent(&windows).await?;
            let writes = gathered.writes(&sketches, &windows, &absent);
            let fields =
                doc! { "positions": write_positions(&self.positions), "at": mongodb::bson::DateTime::now() };
            match self.checkpoint.commit(progress, (self.saved, self.next), fields, &writes).await {
                Ok(()) => break,
                // A server that has just lost its place as the primary can answer without the newest windows.
                Err(error) if is_duplicate(&error) => {
                    tracing::warn!("windows were there that a look-up did not find; looking again");
                }
                Err(error) => return Err(error),
            }
        }
        progress.writes.observe(JOB, self.next - self.saved, began.elapsed());
        self.known.written(windows);
        self.saved = self.next;
        self.saved_at = Instant::now();
        progress.rollups_checkpoint.store(self.saved, Ordering::Release);
        progress.cover(JOB, 0);
        trim(self.sink).await
    }

    async fn absent(&self, windows: &Windows<'_>) -> Result<WindowIds> {
        let mut retry = Retry::new(&self.sink.progress, "look up windows");
        let absent = loop {
            match self.known.absent(&self.sink.database, windows).await {
                Ok(absent) => break absent,
                Err(error) => retry.after(error).await?,
            }
        };
        retry.done();
        Ok(absent)
    }
}

/// Lets `access-rollups` forget what both of its readers have covered with a checkpoint.
pub(crate) async fn trim(sink: &Sink) -> Result<()> {
    let Progress { rollups_checkpoint, alerts_checkpoint, .. } = sink.progress.as_ref();
    let covered = rollups_checkpoint.load(Ordering::Acquire).min(alerts_checkpoint.load(Ordering::Acquire));
    sink.rollups.trim(0, covered).await
}

/// The offset of the first line of `source` whose counts are not applied; `None` when none ever were.
///
/// # Errors
/// When MongoDB refuses.
pub(crate) async fn applied(database: &Database, source: Source) -> Result<Option<u64>> {
    Ok(all_positions(database).await?.0.get(&source).map(|position| position.next_offset))
}

/// How far each source has been applied, from whichever incarnation of `access-rollups`.
async fn all_positions(database: &Database) -> Result<Positions> {
    const READ: &str = "cannot read pipeline_state";
    let mut all = Positions::default();
    let ids = doc! { "_id": { "$gte": format!("{CHECKPOINT}|"), "$lt": format!("{CHECKPOINT}}}") } };
    let states = database.collection::<Document>(STATE);
    let found = states.find(ids).read_concern(ReadConcern::majority()).await;
    let mut checkpoints = found.context(READ)?;
    while let Some(checkpoint) = checkpoints.try_next().await.context(READ)? {
        for (source, position) in read_positions(&checkpoint)?.0 {
            let furthest = all.0.entry(source).or_default();
            *furthest = position.max(*furthest);
        }
    }
    Ok(all)
}

fn write_positions(positions: &Positions) -> Vec<Document> {
    let document = |(source, position): (&Source, &Position)| {
        doc! {
            "epoch": i64::from(source.epoch),
            "partition": i64::from(source.partition),
            "next": signed(position.next_offset),
            "part": i64::from(position.next_part),
        }
    };
    positions.0.iter().map(document).collect()
}

fn read_positions(checkpoint: &Document) -> Result<Positions> {
    let mut positions = Positions::default();
    for entry in checkpoint.get_array("positions").into_iter().flatten() {
        let entry = entry.as_document().context("a position is no document")?;
        let number = |key: &str| entry.get_i64(key).context("a position is incomplete");
        let source = Source::new(u32::try_from(number("epoch")?)?, u32::try_from(number("partition")?)?);
        let position = Position {
            next_offset: u64::try_from(number("next")?)?,
            next_part: u32::try_from(number("part")?)?,
        };
        positions.0.insert(source.context("a position is out of range")?, position);
    }
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_a_checkpoint() {
        let mut positions = Positions::default();
        let source = Source::new(1, 2).expect("in range");
        positions.0.insert(source, Position { next_offset: 30, next_part: 4 });
        let checkpoint = doc! { "positions": write_positions(&positions) };
        assert_eq!(read_positions(&checkpoint).expect("just written"), positions);
        assert_eq!(read_positions(&doc! {}).expect("a new checkpoint"), Positions::default());
    }
}
