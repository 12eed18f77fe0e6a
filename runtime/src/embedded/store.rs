//! One topic in a redb file: encoded batches by (partition, base offset), notes, and how far each partition
//! reaches. An append is one transaction, synced to disk when it returns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use fluvio_protocol::core::EncoderVarInt;
use fluvio_protocol::record::{Batch as FluvioBatch, RawRecords};
use fluvio_protocol::{Decoder, Encoder};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::Notify;

use crate::{Batch, Bounds, Note, Record, TopicSpec, TopicState};

const BATCHES: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("batches");
const BOUNDS: TableDefinition<u32, (u64, u64)> = TableDefinition::new("bounds");
const NOTES: TableDefinition<&str, &[u8]> = TableDefinition::new("notes");
const TOPIC: TableDefinition<&str, &str> = TableDefinition::new("topic");

/// Memory that the store may use to cache its file, in bytes.
const CACHE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a record beside its key and value.
const RECORD_HEAD_BYTES: usize = 32;
/// Longest wait for a new batch before a reader looks whether anybody still listens.
const WAIT_MAX: Duration = Duration::from_millis(200);

/// A topic's file.
#[derive(Debug)]
pub struct Store {
    database: Database,
    id: String,
    bytes_max: u64,
    live: Mutex<Live>,
    appended: Condvar,
    trimmed: Notify,
}

/// What is known without looking into the file.
#[derive(Debug, Default)]
struct Live {
    bounds: Vec<Bounds>,
    /// Bytes of all batches.
    bytes: u64,
}

/// A batch encoded but for its base offset; without records, it has no bytes.
#[derive(Debug)]
pub struct Encoded {
    partition: u32,
    records: u64,
    bytes: Vec<u8>,
    note: Option<Note>,
}

impl Store {
    /// Opens the file, or creates it as `spec` says.
    ///
    /// # Errors
    /// When another process has it open, it is damaged, or its partitions differ from `spec`.
    pub fn open(path: &Path, spec: &TopicSpec) -> Result<Self> {
        let database =
            Database::builder().set_cache_size(CACHE_BYTES_MAX).create(path).map_err(
                |error| match error {
                    redb::DatabaseError::DatabaseAlreadyOpen => anyhow::anyhow!(
                        "another process uses this data directory; stop it, or choose another with --data-dir"
                    ),
                    error => error.into(),
                },
            )?;
        let write = database.begin_write()?;
        let id = {
            write.open_table(NOTES)?;
            let mut topic = write.open_table(TOPIC)?;
            let known = topic.get("id")?.map(|id| id.value().to_owned());
            let id = known.unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
            topic.insert("id", id.as_str())?;
            let mut bounds = write.open_table(BOUNDS)?;
            if bounds.first()?.is_none() {
                for partition in 0..spec.partitions {
                    bounds.insert(partition, (0, 0))?;
                }
            }
            id
        };
        let live = {
            let batches = write.open_table(BATCHES)?;
            let bounds = write.open_table(BOUNDS)?;
            let mut live = Live::default();
            for entry in bounds.iter()? {
                let (start, end) = entry?.1.value();
                live.bounds.push(Bounds { start, end });
            }
            for entry in batches.iter()? {
                live.bytes += entry?.1.value().len() as u64;
            }
            live
        };
        write.commit()?;
        let found = live.bounds.len();
        ensure!(
            found == spec.partitions as usize,
            "the topic has {found} partitions, the configuration says {}; use the configuration it was created \
             with, or a new data directory",
            spec.partitions
        );
        let (appended, trimmed) = (Condvar::new(), Notify::new());
        Ok(Self { database, id, bytes_max: spec.bytes_max, live: Mutex::new(live), appended, trimmed })
    }

    /// See [`crate::Topic::state`].
    pub fn state(&self) -> TopicState {
        TopicState { id: self.id.clone(), partitions: self.live().bounds.clone() }
    }

    /// See [`crate::Topic::notes`].
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn notes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut notes = BTreeMap::new();
        for entry in self.database.begin_read()?.open_table(NOTES)?.iter()? {
            let (key, value) = entry?;
            notes.insert(key.value().to_owned(), value.value().to_owned());
        }
        Ok(notes)
    }

    /// How far a partition reaches.
    ///
    /// # Errors
    /// When there is no such partition.
    pub fn bounds(&self, partition: u32) -> Result<Bounds> {
        let bounds = self.live().bounds.get(partition as usize).copied();
        bounds.with_context(|| format!("there is no partition {partition}"))
    }

    /// Waits until `batches` fit.
    ///
    /// # Errors
    /// When they never will, or go to a partition that is not there.
    pub async fn room(&self, batches: &[Encoded]) -> Result<()> {
        for batch in batches {
            self.bounds(batch.partition)?;
        }
        let bytes: u64 = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
        ensure!(bytes <= self.bytes_max, "{bytes} bytes never fit into a topic of {} bytes", self.bytes_max);
        loop {
            let trimmed = self.trimmed.notified();
            if self.live().bytes + bytes <= self.bytes_max {
                return Ok(());
            }
            trimmed.await;
        }
    }

    /// Stores batches and their notes in one transaction.
    ///
    /// # Errors
    /// When nothing was stored, for example because the disk is full.
    pub fn append(&self, batches: Vec<Encoded>) -> Result<()> {
        let write = self.database.begin_write()?;
        let mut ends = BTreeMap::new();
        let mut bytes = 0;
        {
            let mut table = write.open_table(BATCHES)?;
            let mut bounds = write.open_table(BOUNDS)?;
            let mut notes = write.open_table(NOTES)?;
            for mut batch in batches {
                if let Some(note) = batch.note {
                    notes.insert(note.key.as_str(), note.value.as_slice())?;
                }
                if batch.records == 0 {
                    continue;
                }
                // Offsets come from the table, not from memory: transactions run one at a time.
                let (start, end) =
                    bounds.get(batch.partition)?.context("there is no such partition")?.value();
                batch.bytes[..8].copy_from_slice(&end.to_be_bytes());
                table.insert((batch.partition, end), batch.bytes.as_slice())?;
                bounds.insert(batch.partition, (start, end + batch.records))?;
                ends.insert(batch.partition, end + batch.records);
                bytes += batch.bytes.len() as u64;
            }
        }
        write.commit().context("cannot write to the data directory; is its disk full?")?;
        let mut live = self.live();
        live.bytes += bytes;
        for (partition, end) in ends {
            let known = &mut live.bounds[partition as usize].end;
            *known = end.max(*known);
        }
        self.appended.notify_all();
        Ok(())
    }

    /// The batch that holds offset `next`; `None` when it was not there within a short while.
    ///
    /// # Errors
    /// When the file cannot be read, or the batch is gone.
    pub fn wait_for(&self, partition: u32, next: u64) -> Result<Option<FluvioBatch<RawRecords>>> {
        let live = self.live();
        let missing = |live: &mut Live| live.bounds[partition as usize].end <= next;
        let (live, timeout) =
            self.appended.wait_timeout_while(live, WAIT_MAX, missing).expect("no holder of this lock panics");
        drop(live);
        if timeout.timed_out() {
            return Ok(None);
        }
        let read = self.database.begin_read()?;
        let batches = read.open_table(BATCHES)?;
        let Some(entry) = batches.range((partition, 0)..=(partition, next))?.next_back() else {
            bail!("offset {next} of partition {partition} has been trimmed");
        };
        let bytes = entry?.1;
        let batch = decode(bytes.value())?;
        ensure!(
            batch.get_last_offset().cast_unsigned() >= next,
            "offset {next} of partition {partition} is missing"
        );
        Ok(Some(batch))
    }

    /// Removes the batches of a partition that end below `offset`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn trim(&self, partition: u32, offset: u64) -> Result<()> {
        let bounds = self.bounds(partition)?;
        if offset <= bounds.start {
            return Ok(());
        }
        let mut write = self.database.begin_write()?;
        // What is not trimmed for good is only trimmed again; the next append makes it durable.
        write.set_durability(Durability::None)?;
        let (mut bytes, mut start) = (0, bounds.start);
        {
            let mut batches = write.open_table(BATCHES)?;
            let range = (partition, bounds.start)..(partition, offset);
            let below = |value: &[u8]| last_offset(value) < offset;
            for entry in batches.extract_from_if(range, |_, value| below(value))? {
                let (_, value) = entry?;
                bytes += value.value().len() as u64;
                start = start.max(last_offset(value.value()) + 1);
            }
            let mut table = write.open_table(BOUNDS)?;
            let end = table.get(partition)?.context("there is no such partition")?.value().1;
            table.insert(partition, (start, end))?;
        }
        write.commit()?;
        let mut live = self.live();
        live.bytes -= bytes;
        live.bounds[partition as usize].start = start;
        drop(live);
        self.trimmed.notify_waiters();
        Ok(())
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no holder of this lock panics")
    }
}

/// Encodes batches as Fluvio does, but for their base offsets.
///
/// # Errors
/// When a record cannot be encoded.
pub fn encode(batches: Vec<Batch>, stored_at_ms: i64) -> Result<Vec<Encoded>> {
    batches
        .into_iter()
        .map(|batch| {
            let Batch { partition, records, note } = batch;
            let count = records.len() as u64;
            if count == 0 {
                return Ok(Encoded { partition, records: 0, bytes: Vec::new(), note });
            }
            let mut encoded = FluvioBatch::<RawRecords>::default();
            encoded.mut_records().0 = encode_records(&records)?.into();
            encoded.header.last_offset_delta = i32::try_from(count - 1)?;
            encoded.header.first_timestamp = stored_at_ms;
            encoded.header.max_time_stamp = stored_at_ms;
            let mut bytes = Vec::new();
            encoded.encode(&mut bytes, 0)?;
            Ok(Encoded { partition, records: count, bytes, note })
        })
        .collect()
}

/// Records as Fluvio's own encoder writes them, which goes over their bytes one by one.
fn encode_records(records: &[Record]) -> Result<Vec<u8>> {
    let bytes_of = |record: &Record| record.value.len() + record.key.as_ref().map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(records.iter().map(|record| bytes_of(record) + RECORD_HEAD_BYTES).sum());
    out.extend_from_slice(&u32::try_from(records.len())?.to_be_bytes());
    let mut head = Vec::with_capacity(RECORD_HEAD_BYTES);
    for (offset_delta, record) in (0_i64..).zip(records) {
        let Record { key, value } = record;
        head.clear();
        // No attributes, and the batch's time.
        head.extend_from_slice(&[0, 0]);
        offset_delta.encode_varint(&mut head)?;
        head.push(u8::from(key.is_some()));
        if let Some(key) = key {
            i64::try_from(key.len())?.encode_varint(&mut head)?;
            head.extend_from_slice(key);
        }
        i64::try_from(value.len())?.encode_varint(&mut head)?;
        // No headers: one byte behind the value.
        i64::try_from(head.len() + value.len() + 1)?.encode_varint(&mut out)?;
        out.extend_from_slice(&head);
        out.extend_from_slice(value);
        out.push(0);
    }
    Ok(out)
}

fn decode(bytes: &[u8]) -> Result<FluvioBatch<RawRecords>> {
    let mut batch = FluvioBatch::<RawRecords>::default();
    batch.decode(&mut &*bytes, 0).context("a stored batch is damaged")?;
    Ok(batch)
}

/// The last offset of an encoded batch, read from its header: base offset, length, leader epoch, magic, CRC
/// and attributes come before the last offset's delta.
fn last_offset(bytes: &[u8]) -> u64 {
    let number = |at: usize, size: usize| {
        bytes
            .get(at..at + size)
            .map_or(0, |bytes| bytes.iter().fold(0_u64, |sum, &byte| sum << 8 | u64::from(byte)))
    };
    number(0, 8) + number(8 + 4 + 4 + 1 + 4 + 2, 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvio_protocol::record::Record as FluvioRecord;

    #[test]
    fn a_batch_is_what_fluvio_itself_writes() {
        let record = |key: Option<&[u8]>, length: usize| {
            let key = key.map(Bytes::copy_from_slice);
            Record { key, value: vec![b'x'; length].into() }
        };
        let mut records = vec![record(None, 0), record(Some(b""), 1), record(Some(b"user"), 70_000)];
        records.extend((0..200).map(|length| record(Some(b"u"), length)));
        let fluvio: Vec<_> = records
            .iter()
            .map(|Record { key, value }| match key {
                Some(key) => FluvioRecord::new_key_value(key.clone(), value.clone()),
                None => FluvioRecord::new(value.clone()),
            })
            .collect();
        let mut reference: FluvioBatch = fluvio.into();
        reference.header.first_timestamp = 7;
        reference.header.max_time_stamp = 7;
        let mut expected = Vec::new();
        reference.encode(&mut expected, 0).expect("a Vec takes all");
        let encoded = encode(vec![Batch { partition: 0, records, note: None }], 7).expect("valid");
        assert!(encoded[0].bytes == expected, "the bytes differ");
    }
}
