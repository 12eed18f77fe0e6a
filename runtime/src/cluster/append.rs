//! Appending to a topic. A request to the leader holds one batch, which is stored as it is. When the
//! connection breaks before the answer, the batch is in doubt: then the partition's tail is read to see
//! whether it is there, by a mark in its header, before it is sent again.
//!
//! # Delivery
//! With [`Writers::One`], each batch exactly once: one process at a time holds the topic's lease, and what it
//! is about to send with a note stands in the ledger, so the next one finds out what became of it. Between
//! the check of the lease and the arrival of a batch lies a moment; a process that is stopped exactly there,
//! for longer than the lease, can store a batch that its successor also stores. With [`Writers::Many`], at
//! least once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use fluvio::Compression as Codec;
use fluvio_protocol::link::ErrorCode;
use fluvio_protocol::record::{Batch as FluvioBatch, RawRecords, Record as FluvioRecord, RecordSet};
use fluvio_spu_schema::Isolation;
use fluvio_spu_schema::produce::{DefaultPartitionRequest, DefaultProduceRequest, DefaultTopicRequest};
use futures_util::future::try_join_all;
use mongodb::Database;
use tokio::sync::Mutex;

use super::Cluster;
use super::connection::{Connection, Failure, Tries};
use super::fetch::{Fetch, Place};
use super::identity::Identity;
use super::ledger::{Ledger, Pending};
use crate::lease::{Holder, Lease};
use crate::{Batch, Compression, TopicSpec, Writers};

/// How long the leader may wait for the other replicas of a partition before it says so.
const REPLICATED_WITHIN: Duration = Duration::from_secs(10);
/// How long a tail must be silent to count as read to its end, and how long a batch may be under way.
const TAIL_SILENCE: Duration = Duration::from_secs(2);
/// Size limit of a response while only headers are looked at.
const TAIL_BYTES: u32 = 1 << 20;

/// Appends to one topic.
pub struct Appender {
    connection: Arc<Connection>,
    database: Database,
    holder: Holder,
    topic: String,
    writers: Writers,
    codec: Codec,
    identity: Arc<Identity>,
    /// Where the next batch of a partition will lie, or before.
    ends: std::sync::Mutex<BTreeMap<u32, u64>>,
    /// `None` until something is appended, and while it is.
    producer: Mutex<Option<Producer>>,
}

/// The one producer of a topic.
struct Producer {
    lease: Lease,
    ledger: Ledger,
    /// What this holding of the lease marks its batches with.
    id: i64,
    sequence: i32,
}

/// What tells a batch in the log: the producer's number and the batch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Random, one for each holding of the lease.
    pub producer: i64,
    /// Counts the batches.
    pub sequence: i32,
}

/// Why a batch may not be stored.
enum Doubt {
    /// It is not.
    NotStored(Failure),
    /// It may be.
    InDoubt(anyhow::Error),
}

impl Appender {
    /// Nothing is reached yet.
    pub fn new(cluster: &Cluster, spec: &TopicSpec, identity: Arc<Identity>) -> Self {
        let codec = match spec.storage.compression {
            Compression::Any | Compression::None => Codec::None,
            Compression::Gzip => Codec::Gzip,
            Compression::Snappy => Codec::Snappy,
            Compression::Lz4 => Codec::Lz4,
            Compression::Zstd => Codec::Zstd,
        };
        Self {
            connection: cluster.connection.clone(),
            database: cluster.database.clone(),
            holder: cluster.holder.clone(),
            topic: spec.name.clone(),
            writers: spec.writers,
            codec,
            identity,
            ends: std::sync::Mutex::default(),
            producer: Mutex::new(None),
        }
    }

    /// See [`crate::Topic::append`].
    ///
    /// # Errors
    /// See there, and when another process has taken over.
    pub async fn append(&self, batches: Vec<Batch>, stored_at_ms: i64) -> Result<()> {
        if self.writers == Writers::Many {
            let encode = |batch: &Batch| Ok((batch.partition, self.encode(batch, stored_at_ms, None)?));
            let encoded = batches.iter().map(encode).collect::<Result<Vec<_>>>()?;
            let stored = encoded.iter().map(|(partition, batch)| self.store(*partition, batch, None));
            return try_join_all(stored).await.map(|_| ());
        }
        let mut held = self.producer.lock().await;
        // Taken out meanwhile: whoever gives up in the middle leaves what is in doubt to the ledger.
        let mut producer = match held.take() {
            Some(producer) => producer,
            None => self.produce_alone().await?,
        };
        producer.lease.check()?;
        self.append_alone(&mut producer, batches, stored_at_ms).await?;
        *held = Some(producer);
        Ok(())
    }

    /// See [`crate::Topic::notes`].
    ///
    /// # Errors
    /// See there.
    pub async fn notes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut held = self.producer.lock().await;
        if held.is_none() {
            *held = Some(self.produce_alone().await?);
        }
        Ok(held.as_ref().map(|producer| producer.ledger.notes()).unwrap_or_default())
    }

    /// Waits until this is the topic's one producer, and finds out what became of the last one's batches.
    async fn produce_alone(&self) -> Result<Producer> {
        let name = format!("producing into {}|{}", self.topic, self.identity.id());
        let lease = Lease::acquire(&self.database, &name, &self.holder).await?;
        let (mut ledger, pending) = Ledger::load(&self.database, self.identity.id(), &lease).await?;
        for Pending { partition, from, mark, note } in pending {
            if self.was_stored(partition, from, mark).await? {
                ledger.confirm(note);
            }
        }
        let id =
            i64::from_le_bytes(*uuid::Uuid::new_v4().as_bytes().first_chunk().expect("16 bytes")) & i64::MAX;
        Ok(Producer { lease, ledger, id, sequence: 0 })
    }

    async fn append_alone(
        &self,
        producer: &mut Producer,
        batches: Vec<Batch>,
        stored_at_ms: i64,
    ) -> Result<()> {
        let (mut pending, mut encoded) = (Vec::new(), Vec::new());
        for mut batch in batches {
            let note = batch.note.take();
            if batch.records.is_empty() {
                note.into_iter().for_each(|note| producer.ledger.confirm(note));
                continue;
            }
            let partition = batch.partition;
            producer.sequence = producer.sequence.checked_add(1).context("2^31 batches; start again")?;
            let mark = Mark { producer: producer.id, sequence: producer.sequence };
            let from = match self.known_end(partition) {
                Some(end) => end,
                None => self.bounds(partition).await?.end,
            };
            encoded.push((partition, from, mark, self.encode(&batch, stored_at_ms, Some(mark))?));
            pending.extend(note.map(|note| Pending { partition, from, mark, note }));
        }
        producer.ledger.begin(&producer.lease, &pending).await?;
        let stored = encoded
            .iter()
            .map(|(partition, from, mark, batch)| self.store(*partition, batch, Some((*mark, *from))));
        try_join_all(stored).await?;
        pending.into_iter().for_each(|pending| producer.ledger.confirm(pending.note));
        Ok(())
    }

    fn encode(
        &self,
        batch: &Batch,
        stored_at_ms: i64,
        mark: Option<Mark>,
    ) -> Result<FluvioBatch<RawRecords>> {
        let records: Vec<_> = batch
            .records
            .iter()
            .map(|record| match &record.key {
                Some(key) => FluvioRecord::new_key_value(key.clone(), record.value.clone()),
                None => FluvioRecord::new(record.value.clone()),
            })
            .collect();
        let mut encoded: FluvioBatch = records.into();
        encoded.header.first_timestamp = stored_at_ms;
        encoded.header.max_time_stamp = stored_at_ms;
        encoded.header.set_compression(self.codec);
        if let Some(mark) = mark {
            encoded.header.producer_id = mark.producer;
            encoded.header.first_sequence = mark.sequence;
        }
        encoded.try_into().context("cannot encode a batch")
    }

    fn known_end(&self, partition: u32) -> Option<u64> {
        self.ends.lock().expect("no holder of this lock panics").get(&partition).copied()
    }

    /// Stores one batch. With a mark, and where to look for it, it is stored once.
    ///
    /// # Errors
    /// When the log ends before what it is known to have held, and when trying again cannot help.
    async fn store(
        &self,
        partition: u32,
        batch: &FluvioBatch<RawRecords>,
        mark: Option<(Mark, u64)>,
    ) -> Result<()> {
        let before = self.known_end(partition);
        let base = self.try_to_store(partition, batch, mark).await?;
        if let Some(end) = before
            && base < end
        {
            bail!(
                "the topic {} was created anew, or has lost its end: partition {partition} had {end} records and goes on \
                 at {base}; start again",
                self.topic
            );
        }
        let end = base + batch.records_len() as u64;
        {
            let mut ends = self.ends.lock().expect("no holder of this lock panics");
            let known = ends.entry(partition).or_default();
            *known = end.max(*known);
        }
        self.identity.witness(partition, end).await;
        Ok(())
    }

    /// Stores one batch, as often as it takes. Gives the offset of its first record.
    async fn try_to_store(
        &self,
        partition: u32,
        batch: &FluvioBatch<RawRecords>,
        mark: Option<(Mark, u64)>,
    ) -> Result<u64> {
        let what = format!("append to partition {partition} of {}", self.topic);
        let (mut tries, mut in_doubt) = (Tries::default(), false);
        loop {
            if let (true, Some((mark, from))) = (in_doubt, mark)
                && let Some(base) = self.find(partition, from, mark).await?
            {
                tries.done(&what);
                return Ok(base);
            }
            match self.send(partition, batch).await {
                Ok(base) => {
                    tries.done(&what);
                    return Ok(base);
                }
                Err(Doubt::NotStored(failure)) => tries.after(failure, &what).await?,
                Err(Doubt::InDoubt(error)) => {
                    in_doubt = true;
                    self.connection.forget(&self.topic, partition).await;
                    tries.after(Failure::Away(error), &what).await?;
                }
            }
        }
    }

    async fn send(&self, partition: u32, batch: &FluvioBatch<RawRecords>) -> Result<u64, Doubt> {
        let socket = match self.connection.socket(&self.topic, partition).await {
            Ok(socket) => socket,
            Err(failure) => return Err(Doubt::NotStored(failure)),
        };
        let request = DefaultProduceRequest {
            isolation: Isolation::ReadCommitted,
            timeout: REPLICATED_WITHIN,
            topics: vec![DefaultTopicRequest {
                name: self.topic.clone(),
                partitions: vec![DefaultPartitionRequest {
                    partition_index: partition,
                    records: RecordSet { batches: vec![batch.clone()] },
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = socket.send_receive(request).await.map_err(|error| Doubt::InDoubt(error.into()))?;
        let stored = answer.responses.into_iter().flat_map(|topic| topic.partitions).next();
        let stored = stored.ok_or_else(|| Doubt::InDoubt(anyhow!("the SPU gave an empty answer")))?;
        let what = format!("partition {partition} of {} refuses a batch", self.topic);
        match stored.error_code {
            ErrorCode::None => Ok(u64::try_from(stored.base_offset).unwrap_or(0)),
            code @ (ErrorCode::NotLeaderForPartition | ErrorCode::TopicNotFound) => {
                self.connection.forget(&self.topic, partition).await;
                Err(Doubt::NotStored(Failure::Away(anyhow!("{what}: {code}"))))
            }
            code @ (ErrorCode::MessageTooLarge
            | ErrorCode::CompressionError
            | ErrorCode::PermissionDenied) => Err(Doubt::NotStored(Failure::of(code, &what))),
            // What Fluvio says of it (`Partition is short-circuited`) tells nobody what to do.
            ErrorCode::PartitionShortCircuited => Err(Doubt::InDoubt(anyhow!(
                "{what}, as it does all after one that could not be written: make room on its SPU's disk, and start \
                 the SPU again"
            ))),
            code => Err(Doubt::InDoubt(anyhow!("{what}: {code}"))),
        }
    }

    /// Whether a batch that an earlier process has sent is stored, or was and is removed since.
    async fn was_stored(&self, partition: u32, from: u64, mark: Mark) -> Result<bool> {
        let bounds = self.bounds(partition).await?;
        Ok(bounds.start > from || self.find(partition, from, mark).await?.is_some())
    }

    /// The offset of the first record of a marked batch that lies at `from` or later, once all replicas have
    /// it. `None` when it is not there.
    async fn find(&self, partition: u32, from: u64, mark: Mark) -> Result<Option<u64>> {
        let what = format!("look for a batch in partition {partition} of {}", self.topic);
        let mut tries = Tries::default();
        let (base, end) = loop {
            match self.search(partition, from, mark).await {
                Ok(Some(found)) => break found,
                Ok(None) => return Ok(None),
                Err(failure) => {
                    self.connection.forget(&self.topic, partition).await;
                    tries.after(failure, &what).await?;
                }
            }
        };
        while self.bounds(partition).await?.end < end {
            tries.after(Failure::Away(anyhow!("not all replicas have it")), &what).await?;
        }
        Ok(Some(base))
    }

    async fn search(&self, partition: u32, from: u64, mark: Mark) -> Result<Option<(u64, u64)>, Failure> {
        let place = Place { topic: &self.topic, partition };
        let isolation = Isolation::ReadUncommitted;
        let mut fetch = Fetch::open(&self.connection, place, from, isolation, TAIL_BYTES, &[]).await?;
        let began = Instant::now();
        let mut until = None;
        loop {
            // The leader answers at once while there is more.
            let Ok(batches) = tokio::time::timeout(TAIL_SILENCE, fetch.next()).await else { return Ok(None) };
            let batches = batches?;
            let is_it = |batch: &&FluvioBatch<RawRecords>| {
                batch.header.producer_id == mark.producer && batch.header.first_sequence == mark.sequence
            };
            if let Some(found) = batches.iter().find(is_it) {
                let base = found.base_offset.cast_unsigned();
                return Ok(Some((base, found.get_last_offset().cast_unsigned() + 1)));
            }
            // Where others go on appending it is never silent; what comes now is not the batch any more.
            if until.is_none() && began.elapsed() >= TAIL_SILENCE {
                until = Some(self.connection.bounds(&self.topic, partition).await?.end);
            }
            let reached = batches.last().map_or(from, |batch| batch.get_last_offset().cast_unsigned() + 1);
            if until.is_some_and(|until| reached >= until) {
                return Ok(None);
            }
        }
    }

    async fn bounds(&self, partition: u32) -> Result<crate::Bounds> {
        super::bounds(&self.connection, &self.topic, partition, u32::MAX).await
    }
}
