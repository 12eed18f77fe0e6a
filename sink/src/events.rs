//! Job `events`: log lines, already turned into documents and counts by the SmartModules, go to
//! `access_events`, or the collection of its day, and `access_rejects`; the counts go on to `access-rollups`,
//! and so do [`ticks`](crate::ticks). Where events are not stored ([`Sink::store_events`]) all the rest is.
//!
//! # Delivery
//! Insert, forward, checkpoint, in this order. After a crash the lines since the checkpoint come again: the
//! ids stored meanwhile are looked up and skipped, and counts that were forwarded twice are known downstream
//! by their place in the log. When `access-rollups` was created anew, the counts that nobody had taken out of
//! the old one are missing: then everything from there on is read, and forwarded, again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use domain::bson::{Element, documents, elements};
use domain::event_id::{EventId, OFFSETS_MAX, Source};
use domain::params::{FilterMapSettings, settings_hash};
use domain::wire::{Delta, DeltaFrame, EventsFrame};
use domain::{CODE_HASH, MINUTE_MS};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::ReadConcern;
use runtime::{Batch, BatchStream, Output, Record};

use crate::checkpoint::Checkpoint;
use crate::routes::Routes;
use crate::schema::daily::stored_in;
use crate::schema::{REJECTS, Retention};
use crate::write::{insert, insert_commands};
use crate::{Logs, Sink, fatal, module, now_ms, rollups, signed};

/// The job's name.
pub const JOB: &str = "events";
/// How its checkpoints are named, before the topic and the partition.
pub(crate) const CHECKPOINT: &str = "events|access-logs";
/// Most frames that are written together.
const GATHERED_FRAMES_MAX: usize = 64;
/// Bytes of frames from which on no more are gathered.
const GATHERED_BYTES_MAX: usize = 2 << 20;
/// Longest time between checkpoints while lines come in.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);

/// Runs one partition for ever.
///
/// # Errors
/// When the log or MongoDB fails for good.
pub async fn run(sink: &Sink, logs: &Logs, partition: u32) -> Result<()> {
    Partition::start(sink, logs, partition).await?.run().await
}

/// Appends frames to `access-rollups`.
pub(crate) async fn forward(sink: &Sink, frames: Vec<Vec<u8>>) -> Result<()> {
    let records = frames.into_iter().map(|value| Record { key: None, value: value.into() }).collect();
    sink.rollups.append(vec![Batch { partition: 0, records, note: None }], now_ms()).await
}

/// A partition of this incarnation of the log.
pub(crate) fn source(logs: &Logs, partition: u32) -> Result<Source> {
    Source::new(logs.epoch, partition).with_context(|| format!("partition {partition} is out of range"))
}

/// One partition's job.
struct Partition<'a> {
    sink: &'a Sink,
    logs: &'a Logs,
    source: Source,
    checkpoint: Checkpoint,
    /// First offset that is not forwarded.
    next: u64,
    /// First offset that is not covered by the checkpoint.
    saved: u64,
    saved_at: Instant,
    /// Settings under which the lines from `next` on are read.
    params: BTreeMap<String, String>,
    /// Up to which offset; from there on the configured ones hold.
    params_until: Option<u64>,
    /// Lines before this offset are stored.
    stored_until: u64,
    /// Offsets from there on that an earlier run has stored.
    stored: HashSet<u64>,
    /// Where events go.
    routes: Routes,
    /// The incarnation of `access-rollups` that the counts go to.
    rollups_id: String,
    /// Whether it was said that lines are older than what is kept.
    warned_of_age: bool,
}

impl<'a> Partition<'a> {
    async fn start(sink: &'a Sink, logs: &'a Logs, partition: u32) -> Result<Self> {
        let state = logs.topic.state().await?;
        let bounds = *state.partitions.get(partition as usize).context("there is no such partition")?;
        let (checkpoint, document) =
            Checkpoint::load(&sink.database, CHECKPOINT, &state.id, partition, bounds.start).await?;
        let next = u64::try_from(document.get_i64("next").context("a checkpoint without a position")?)?;
        if next < bounds.start {
            bail!(
                "lines {next} to {} of partition {partition} were removed from the log before they were stored: they \
                 are lost",
                bounds.start - 1
            );
        }
        ensure!(
            next <= bounds.end,
            "the log of partition {partition} ends at {}, but lines before {next} are stored already: the log is \
             older than the database; use a new data directory, or on a cluster a new topic",
            bounds.end
        );
        let source = source(logs, partition)?;
        let before = params(&document);
        let zones = zones(before.iter().chain([&sink.params.filter_map]))?;
        let stored = stored_offsets(sink, source, next, zones).await?;
        let saved = next;
        let rollups_id = sink.rollups.state().await?.id;
        let next = match document.get_str("rollups") {
            Ok(before) if before != rollups_id => {
                next.min(rollups::applied(&sink.database, source).await?.unwrap_or(0))
            }
            _ => next,
        };
        if next < saved {
            ensure!(
                next >= bounds.start,
                "the counts of lines {next} to {} of partition {partition} were in an access-rollups that is gone, and \
                 lines before {} are gone too: these counts are lost",
                saved - 1,
                bounds.start
            );
            tracing::warn!(
                partition,
                from = next,
                until = saved,
                "access-rollups was created anew: counting again what nobody had read from the old one"
            );
        }
        let configured = sink.params.filter_map.clone();
        // What was stored but not read is read with the settings that held when it came in.
        let (params, params_until) = match before {
            Some(before) if settings_hash(&before) != settings_hash(&configured) && next < bounds.end => {
                tracing::info!(
                    partition,
                    until = bounds.end,
                    "reading the backlog with its old settings first"
                );
                (before, Some(bounds.end))
            }
            _ => (configured, None),
        };
        let progress = &sink.progress;
        progress.events_next[partition as usize].store(next, Ordering::Release);
        progress.events_checkpoint[partition as usize].store(next, Ordering::Release);
        let saved_at = Instant::now();
        let mut this = Self {
            sink,
            logs,
            source,
            checkpoint,
            next,
            saved,
            saved_at,
            params,
            params_until,
            stored_until: saved,
            stored,
            routes: Routes::new(&sink.retention),
            rollups_id,
            warned_of_age: false,
        };
        this.save(false).await?;
        Ok(this)
    }

    async fn run(mut self) -> Result<()> {
        let mut stream = self.open().await?;
        self.sink.progress.begin(JOB, self.source.partition);
        loop {
            while self.params_until.is_none_or(|until| self.next < until) {
                let gathered = self.gather(&mut stream).await?;
                if !gathered.is_empty() {
                    self.write(&gathered).await?;
                }
                if self.next > self.saved
                    && (gathered.is_empty() || self.saved_at.elapsed() >= CHECKPOINT_EVERY)
                {
                    self.save(true).await?;
                }
            }
            self.params = self.sink.params.filter_map.clone();
            self.params_until = None;
            self.save(true).await?;
            stream = self.open().await?;
        }
    }

    async fn open(&self) -> Result<BatchStream> {
        let Sink { modules, params, .. } = self.sink;
        let mut filter_map = self.params.clone();
        filter_map.insert("output".to_owned(), "frame".to_owned());
        filter_map.insert("epoch".to_owned(), self.source.epoch.to_string());
        filter_map.insert("partition".to_owned(), self.source.partition.to_string());
        let chain = vec![
            module("access-filter-map", &modules.filter_map, filter_map),
            module("access-window-aggregate", &modules.window_aggregate, params.window_aggregate.clone()),
        ];
        let stream = self.logs.topic.open(self.source.partition, self.next, chain).await?;
        self.sink.progress.count_chain(JOB, self.source.partition, stream.chain_nanos());
        Ok(stream)
    }

    /// What is there to write; empty when the checkpoint is behind and nothing came for a while, or when
    /// nothing is there after the end of the input.
    async fn gather(&self, stream: &mut BatchStream) -> Result<Vec<Output>> {
        let first = if self.next == self.saved {
            stream.next().await?
        } else {
            tokio::select! {
                biased;
                output = stream.next() => output?,
                () = tokio::time::sleep(CHECKPOINT_EVERY) => return Ok(Vec::new()),
                () = self.sink.progress.input_ended.cancelled() => return Ok(Vec::new()),
            }
        };
        let size = |output: &Output| output.values.iter().map(Vec::len).sum::<usize>();
        let mut bytes = size(&first);
        let mut gathered = vec![first];
        while gathered.len() < GATHERED_FRAMES_MAX && bytes < GATHERED_BYTES_MAX {
            let before = gathered.last().map_or(self.next, |output| output.last_offset + 1);
            if self.params_until == Some(before) {
                break;
            }
            let Some(output) = stream.try_next()? else { break };
            bytes += size(&output);
            gathered.push(output);
        }
        Ok(gathered)
    }

    async fn write(&mut self, gathered: &[Output]) -> Result<()> {
        let expected_settings = settings_hash(&self.params);
        let mut frames = Vec::with_capacity(gathered.len());
        for output in gathered {
            let frame = frame(output)?;
            let expected = frames.last().map_or(self.next, |last: &EventsFrame| last.header.last_offset + 1);
            self.check(&frame, expected, expected_settings)?;
            frames.push(frame);
        }
        let began = Instant::now();
        self.insert(&frames).await?;
        let lines = frames.last().map_or(0, |last| last.header.last_offset + 1 - self.next);
        self.sink.progress.writes.observe(JOB, lines, began.elapsed());
        self.sink.progress.tell_memory(JOB, self.source.partition, gathered.last());
        let mut parts = Vec::new();
        for frame in &frames {
            self.sink.progress.count_lines(frame.accepted, &frame.rejected);
            let delta = Delta::decode(frame.delta).context("a frame without counts")?;
            self.sink.progress.count_minutes(&delta);
            self.warn_of_age(&delta);
            parts.extend(encode_parts(frame, delta)?);
        }
        forward(self.sink, parts).await?;
        if let Some(last) = frames.last() {
            self.next = last.header.last_offset + 1;
            self.sink.progress.events_next[self.source.partition as usize]
                .store(self.next, Ordering::Release);
        }
        Ok(())
    }

    /// Says once that MongoDB will remove lines as soon as they are stored.
    fn warn_of_age(&mut self, delta: &Delta) {
        let Retention { events_days, minutes_days, .. } = self.sink.retention;
        let events_days = events_days.filter(|_| self.sink.store_events);
        let (Some(event_time_ms), Some(days)) =
            (delta.event_time_ms, events_days.into_iter().chain(minutes_days).min())
        else {
            return;
        };
        if !self.warned_of_age && event_time_ms < now_ms() - i64::from(days.get()) * 24 * 60 * MINUTE_MS {
            self.warned_of_age = true;
            tracing::warn!(
                partition = self.source.partition,
                "lines are older than the {days} days that documents are kept: MongoDB removes what comes of them \
                 within a minute (`[mongodb.retention]`)"
            );
        }
    }

    fn check(&self, frame: &EventsFrame, expected_offset: u64, expected_settings: u64) -> Result<()> {
        let header = &frame.header;
        ensure!(
            header.code_hash == CODE_HASH,
            "the SmartModules in use were built from other sources than this sink; deploy those of this version"
        );
        ensure!(header.source == self.source, "a frame of {} came from {}", header.source, self.source);
        ensure!(
            header.settings_hash == expected_settings,
            "a frame was made with other settings than were asked for"
        );
        ensure!(
            header.base_offset == expected_offset,
            "lines from {expected_offset} on are missing in {}: the next batch begins at {}",
            self.source,
            header.base_offset
        );
        Ok(())
    }

    async fn insert(&mut self, frames: &[EventsFrame<'_>]) -> Result<()> {
        let Sink { database, progress, .. } = self.sink;
        let all_new = self.next >= self.stored_until && self.stored.is_empty();
        let is_stored = |offset| offset < self.stored_until || self.stored.contains(&offset);
        let new = |document: &&[u8]| all_new || !offset(document).is_some_and(is_stored);
        let events = frames.iter().flat_map(|frame| documents(frame.documents)).filter(new);
        let rejects = frames.iter().flat_map(|frame| documents(frame.rejects)).filter(new);
        let rejects = insert_commands(REJECTS, rejects)?;
        if self.sink.store_events {
            let events = self.routes.insert_commands(database, progress, now_ms(), events).await?;
            let written = insert(database, progress, events).await?;
            let accepted: u64 = frames.iter().map(|frame| u64::from(frame.accepted)).sum();
            progress.stored.fetch_add(written.n, Ordering::Relaxed);
            progress.duplicates.fetch_add(accepted - written.n, Ordering::Relaxed);
        }
        insert(database, progress, rejects).await?;
        if !self.stored.is_empty() {
            let last = frames.last().map_or(0, |frame| frame.header.last_offset);
            self.stored.retain(|offset| *offset > last);
        }
        Ok(())
    }

    /// Writes the checkpoint, and then allows the log to forget what it covers.
    async fn save(&mut self, trim: bool) -> Result<()> {
        let params: Document =
            self.params.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let now = mongodb::bson::DateTime::now();
        let fields = doc! { "params": params, "rollups": &self.rollups_id, "at": now };
        self.checkpoint.commit(&self.sink.progress, (self.saved, self.next), fields, &[]).await?;
        self.saved = self.next;
        self.saved_at = Instant::now();
        let partition = self.source.partition;
        self.sink.progress.events_checkpoint[partition as usize].store(self.saved, Ordering::Release);
        self.sink.progress.cover(JOB, partition);
        if trim {
            self.logs.topic.trim(partition, self.saved).await?;
        }
        Ok(())
    }
}

/// The one frame that a stored batch becomes.
fn frame(output: &Output) -> Result<EventsFrame<'_>> {
    let [value] = output.values.as_slice() else {
        bail!(
            "{} records instead of one frame for the batch at offset {}",
            output.values.len(),
            output.base_offset
        );
    };
    let frame = EventsFrame::decode(value)?;
    ensure!(frame.header.last_offset == output.last_offset, "a frame does not cover its batch");
    Ok(frame)
}

fn encode_parts(frame: &EventsFrame, delta: Delta) -> Result<Vec<Vec<u8>>> {
    let parts = delta.into_parts();
    let count = u32::try_from(parts.len())?;
    let encode = |(part, delta)| {
        let mut value = Vec::new();
        DeltaFrame { header: frame.header, part, parts: count, delta }.encode(&mut value);
        value
    };
    Ok((0..).zip(parts).map(encode).collect())
}

/// The settings in a checkpoint; `None` when it is new.
fn params(checkpoint: &Document) -> Option<BTreeMap<String, String>> {
    let params = checkpoint.get_document("params").ok()?;
    Some(params.iter().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
}

fn offset(document: &[u8]) -> Option<u64> {
    match elements(document).next() {
        Some(("_id", Element::Int64(id))) => EventId::from_number(id).map(EventId::offset),
        _ => None,
    }
}

/// The zones in which lines that were read with any of these settings can lie.
fn zones<'p>(settings: impl Iterator<Item = &'p BTreeMap<String, String>>) -> Result<BTreeSet<u8>> {
    let mut zones = BTreeSet::new();
    for params in settings {
        let settings = FilterMapSettings::parse(params).map_err(anyhow::Error::msg)?;
        zones.extend(settings.zones.numbers());
    }
    Ok(zones)
}

/// The offsets from `next` on that are stored although the checkpoint does not cover them.
async fn stored_offsets(sink: &Sink, source: Source, next: u64, zones: BTreeSet<u8>) -> Result<HashSet<u64>> {
    const LOOK_UP: &str = "cannot look up which events are stored";
    let mut stored = HashSet::new();
    let mut collections = stored_in(&sink.database).await.context(LOOK_UP)?;
    collections.push(REJECTS.to_owned());
    for zone in zones {
        let id = |offset| EventId::new(u32::from(zone), source, offset).map(EventId::get);
        let first = id(next).ok_or_else(|| fatal(format!("{source} has used up its offsets")))?;
        let range = doc! { "_id": { "$gte": first, "$lte": id(OFFSETS_MAX - 1) } };
        for collection in &collections {
            let documents = sink.database.collection::<RawDocumentBuf>(collection);
            let found = documents.find(range.clone()).projection(doc! { "_id": 1 });
            // What an election could take back has to be inserted again.
            let mut found = found.read_concern(ReadConcern::majority()).await.context(LOOK_UP)?;
            while let Some(document) = found.try_next().await.context(LOOK_UP)? {
                stored.extend(offset(document.as_bytes()));
            }
        }
    }
    if !stored.is_empty() {
        tracing::info!(%source, from = signed(next), stored = stored.len(), "skipping lines stored before the last stop");
    }
    Ok(stored)
}
