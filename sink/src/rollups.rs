//! Job `rollups`: counts from `access-rollups` go into the windows of `access_rollups_*`, `access_minutes`
//! and `access_users_*`.
//!
//! # Delivery
//! Frames are gathered for up to a second, then applied in one transaction that also moves the checkpoint.
//! Frames are known by their place in the log: one that came before is skipped, a missing one stops the job.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::event_id::Source;
use domain::positions::Position;
use domain::wire::{self, Cell, Delta, DeltaFrame, Kind};
use domain::{Admission, MINUTE_MS, Positions};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use runtime::{BatchStream, Output};
use tokio::time::Instant;

use crate::checkpoint::Checkpoint;
use crate::schema::{Level, MINUTES, STATE};
use crate::sketch::{SketchError, Sketches, Window, date};
use crate::write::Retry;
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
/// Cells from which on no more are gathered.
const GATHERED_CELLS_MAX: usize = 2_000;
/// Users (by minute) from which on no more are gathered.
const GATHERED_USERS_MAX: usize = 200_000;
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
}

/// Minute since 1970, zone, country and city.
type Place = (u32, u8, [u8; 2], String);

/// Counts of several frames together.
#[derive(Default)]
struct Gathered {
    cells: BTreeMap<Place, BTreeMap<(String, String), u64>>,
    users: BTreeMap<u32, BTreeSet<u64>>,
    user_count: usize,
    /// Rejects and late lines by the minute in which their batch was stored.
    stored: BTreeMap<u32, (u64, u64)>,
}

impl Rollups<'_> {
    /// Takes in frames until a second has passed since the first one with counts, or there are many.
    async fn gather(&mut self) -> Result<Gathered> {
        let mut gathered = Gathered::default();
        let first = self.stream.next().await?;
        self.take(&first, &mut gathered)?;
        let until = Instant::now() + GATHER_MAX;
        while !gathered.is_empty() && !gathered.is_full() {
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
                Kind::Tick => {}
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
            match self.sketches.add(database, &gathered.users).await {
                Ok(sketches) => break sketches,
                Err(SketchError::MongoDb(error)) => retry.after(error).await?,
                Err(SketchError::Stored(error)) => return Err(error),
            }
        };
        retry.done();
        let writes = gathered.statements(&sketches);
        let fields =
            doc! { "positions": write_positions(&self.positions), "at": mongodb::bson::DateTime::now() };
        self.checkpoint.commit(progress, (self.saved, self.next), fields, &writes).await?;
        self.saved = self.next;
        self.saved_at = Instant::now();
        progress.rollups_checkpoint.store(self.saved, Ordering::Release);
        trim(self.sink).await
    }
}

/// Lets `access-rollups` forget what both of its readers have covered with a checkpoint.
pub(crate) async fn trim(sink: &Sink) -> Result<()> {
    let Progress { rollups_checkpoint, alerts_checkpoint, .. } = sink.progress.as_ref();
    let covered = rollups_checkpoint.load(Ordering::Acquire).min(alerts_checkpoint.load(Ordering::Acquire));
    sink.rollups.trim(0, covered).await
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.stored.is_empty()
    }

    fn is_full(&self) -> bool {
        self.cells.len() >= GATHERED_CELLS_MAX || self.user_count >= GATHERED_USERS_MAX
    }

    fn add(&mut self, delta: Delta, stored_at_ms: i64) -> Result<()> {
        let Delta { devices, content_types, cells, users, rejected, late, .. } = delta;
        for Cell { minute, zone, country, city, counts } in cells {
            let cell = self.cells.entry((minute, zone, country, city)).or_default();
            for (device, content_type, n) in counts {
                let pair =
                    (devices[usize::from(device)].clone(), content_types[usize::from(content_type)].clone());
                *cell.entry(pair).or_default() += u64::from(n);
            }
        }
        for (minute, hashes) in users {
            self.user_count += hashes.len();
            self.users.entry(minute).or_default().extend(hashes);
        }
        let rejected: u64 = rejected.iter().map(|count| u64::from(*count)).sum();
        if rejected > 0 || late > 0 {
            let minute = u32::try_from(stored_at_ms / MINUTE_MS).context("a batch was stored before 1970")?;
            let stored = self.stored.entry(minute).or_default();
            stored.0 += rejected;
            stored.1 += u64::from(late);
        }
        Ok(())
    }

    /// Update statements by collection, in the order of their `_id`s.
    fn statements(
        &self,
        sketches: &BTreeMap<Window, (i64, mongodb::bson::Binary)>,
    ) -> Vec<(&'static str, Vec<Document>)> {
        let mut writes: Vec<_> =
            Level::ALL.into_iter().map(|level| (level.rollups(), self.rollup_statements(level))).collect();
        writes.push((MINUTES, self.minute_statements(sketches)));
        for level in [Level::Hour, Level::Day] {
            let of_level = sketches.iter().filter(|((window_level, _), _)| *window_level == level);
            let statement = |((_, window), (users, sketch)): (&Window, &(i64, mongodb::bson::Binary))| {
                let ts = date(*window);
                upsert(
                    ts,
                    doc! { "$set": { "users": users, "sketch": sketch }, "$setOnInsert": { "ts": ts } },
                )
            };
            writes.push((level.users(), of_level.map(statement).collect()));
        }
        writes
    }

    fn rollup_statements(&self, level: Level) -> Vec<Document> {
        let mut windows = BTreeMap::<String, (Document, BTreeMap<String, i64>)>::new();
        for ((minute, zone, country, city), counts) in &self.cells {
            let window = level.window(*minute);
            let (_, increments) =
                windows.entry(rollup_id(*zone, country, window, city)).or_insert_with(|| {
                    (
                        doc! { "ts": date(window), "country": country_text(country), "city": city },
                        BTreeMap::new(),
                    )
                });
            for ((device, content_type), n) in counts {
                *increments.entry(format!("x.{device}.{content_type}")).or_default() += signed(*n);
                *increments.entry("n".to_owned()).or_default() += signed(*n);
            }
        }
        let statement = |(id, (first, increments)): (String, (Document, BTreeMap<String, i64>))| {
            let increments: Document = increments.into_iter().map(|(key, n)| (key, Bson::Int64(n))).collect();
            upsert(id, doc! { "$inc": increments, "$setOnInsert": first })
        };
        windows.into_iter().map(statement).collect()
    }

    fn minute_statements(&self, sketches: &BTreeMap<Window, (i64, mongodb::bson::Binary)>) -> Vec<Document> {
        let mut minutes = BTreeMap::<u32, [u64; 3]>::new();
        for ((minute, _, _, _), counts) in &self.cells {
            minutes.entry(*minute).or_default()[0] += counts.values().sum::<u64>();
        }
        for (minute, (rejected, late)) in &self.stored {
            let counts = minutes.entry(*minute).or_default();
            counts[1] += rejected;
            counts[2] += late;
        }
        let statement = |(minute, [n, rejected, late]): (u32, [u64; 3])| {
            let ts = date(minute);
            let increments = doc! { "n": signed(n), "rejected": signed(rejected), "late": signed(late) };
            match sketches.get(&(Level::Minute, minute)) {
                Some((users, sketch)) => {
                    let set = doc! { "users": users, "sketch": sketch };
                    upsert(ts, doc! { "$inc": increments, "$set": set, "$setOnInsert": { "ts": ts } })
                }
                None => upsert(ts, doc! { "$inc": increments, "$setOnInsert": { "ts": ts, "users": 0_i64 } }),
            }
        };
        minutes.into_iter().map(statement).collect()
    }
}

fn upsert(id: impl Into<Bson>, change: Document) -> Document {
    doc! { "q": { "_id": id.into() }, "u": change, "upsert": true }
}

/// Sorts by zone, country and window; the city is last, so that it may hold any character.
fn rollup_id(zone: u8, country: &[u8; 2], window: u32, city: &str) -> String {
    format!("{zone}|{}|{window:09}|{city}", country_text(country))
}

fn country_text(country: &[u8; 2]) -> &str {
    domain::normalize::country_text(country)
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
    let mut checkpoints = database.collection::<Document>(STATE).find(ids).await.context(READ)?;
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
    fn ids_sort_by_zone_country_and_window() {
        let ids = [
            rollup_id(0, b"BR", 9, "Rio"),
            rollup_id(0, b"BR", 29_664_725, "Recife"),
            rollup_id(0, b"BR", 29_664_726, "A"),
            rollup_id(1, b"DE", 1, "A|B"),
        ];
        assert!(ids.is_sorted());
        assert_eq!(ids[1], "0|BR|029664725|Recife");
    }

    #[test]
    fn positions_survive_a_checkpoint() {
        let mut positions = Positions::default();
        let source = Source::new(1, 2).expect("in range");
        positions.0.insert(source, Position { next_offset: 30, next_part: 4 });
        let checkpoint = doc! { "positions": write_positions(&positions) };
        assert_eq!(read_positions(&checkpoint).expect("just written"), positions);
        assert_eq!(read_positions(&doc! {}).expect("a new checkpoint"), Positions::default());
    }

    #[test]
    fn counts_of_all_levels_come_from_the_same_cells() {
        let cell = |minute| Cell {
            minute,
            zone: 0,
            country: *b"BR",
            city: "Rio".to_owned(),
            counts: vec![(0, 0, 2), (0, 1, 1)],
        };
        let delta = Delta {
            devices: vec!["tv".to_owned()],
            content_types: vec!["movie".to_owned(), "live".to_owned()],
            cells: vec![cell(59), cell(60)],
            ..Delta::default()
        };
        let mut gathered = Gathered::default();
        gathered.add(delta.clone(), 0).expect("valid");
        gathered.add(delta, 0).expect("valid");
        let numbers: Vec<Vec<i64>> = Level::ALL
            .map(|level| {
                let statements = gathered.rollup_statements(level);
                statements
                    .iter()
                    .map(|s| s.get_document("u").and_then(|u| u.get_document("$inc")?.get_i64("n")))
                    .map(|n| n.expect("n"))
                    .collect()
            })
            .to_vec();
        assert_eq!(numbers, [vec![6, 6], vec![6, 6], vec![12]]);
    }
}
