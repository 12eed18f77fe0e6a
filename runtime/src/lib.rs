//! A partitioned, durable log with chains of SmartModules: what the pipeline needs of Fluvio, behind one
//! small trait, and its implementations.
//!
//! - [`embedded`]: topics in a local store, chains in Fluvio's own engine; one process, one machine
//! - [`cluster`]: topics of a Fluvio cluster, chains in its SPUs
//! - [`contract`]: the tests that every implementation passes
//! - [`lease`]: who may write, among several processes

pub mod cluster;
pub mod contract;
pub mod embedded;
pub mod lease;
mod mark;
pub mod retry;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

pub use cluster::Cluster;
pub use embedded::Embedded;
pub use mark::ModuleMark;

/// Where topics live.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// The topic, created when it is not there. An existing topic keeps its partitions.
    ///
    /// # Errors
    /// When the topic can be neither opened nor created, or its partitions differ from `spec`.
    async fn topic(&self, spec: &TopicSpec) -> Result<Arc<dyn Topic>>;
}

/// A partitioned log. Offsets of a partition are contiguous.
#[async_trait]
pub trait Topic: Send + Sync {
    /// What the topic is and how far it reaches now.
    ///
    /// # Errors
    /// When the topic cannot be reached.
    async fn state(&self) -> Result<TopicState>;

    /// Stores batches, each together with its note: all or nothing of each, and all when it returns. Waits
    /// while the topic is full or away. A process that ends meanwhile may leave some of them stored.
    ///
    /// # Errors
    /// When a batch can never be stored; then none is, unless another one failed on its way.
    async fn append(&self, batches: Vec<Batch>, stored_at_ms: i64) -> Result<()>;

    /// The last note of every key. Whoever asks is about to append: where several processes could, this one
    /// waits until it is the only one.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn notes(&self) -> Result<BTreeMap<String, Vec<u8>>>;

    /// The partition's stored batches from the one that holds offset `start`, each run through `chain` once
    /// it is there, for ever.
    ///
    /// # Errors
    /// When the chain cannot be built, or `start` is trimmed away or beyond the end.
    async fn open(&self, partition: u32, start: u64, chain: Vec<Module>) -> Result<BatchStream>;

    /// Says that the batches of a partition that end below `offset` are not needed any more: the embedded
    /// topic forgets them, a cluster's keeps them for as long as it is told to.
    ///
    /// # Errors
    /// When the topic cannot be reached.
    async fn trim(&self, partition: u32, offset: u64) -> Result<()>;
}

/// How a topic is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name: lower-case letters, digits and hyphens.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Most bytes kept by the embedded runtime; what is full pushes back on producers.
    pub bytes_max: u64,
    /// Who appends to it.
    pub writers: Writers,
    /// How a cluster keeps it.
    pub storage: Storage,
}

/// Who appends to a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// One process at a time, each batch exactly once.
    One,
    /// Any number of them, each batch at least once: readers know what they have seen.
    Many,
}

/// How a cluster keeps a topic; the embedded runtime does not need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// How many SPUs keep each partition.
    pub replication: u32,
    /// How long batches are kept at least, in seconds.
    pub retention_s: u32,
    /// Size of a file of a partition, in bytes; retention removes whole files.
    pub segment_bytes: u32,
    /// Most bytes of a partition; beyond it the oldest files go before their time.
    pub partition_bytes_max: u64,
    /// What the cluster takes, and how this project's producers compress.
    pub compression: Compression,
}

/// How batches are compressed in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As each producer likes; this project's do not.
    #[default]
    Any,
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

impl Default for Storage {
    /// Fluvio's own defaults, but for segments of 64 MiB, since retention frees nothing smaller.
    fn default() -> Self {
        Self {
            replication: 1,
            retention_s: 7 * 24 * 60 * 60,
            segment_bytes: 64 << 20,
            partition_bytes_max: 100 << 30,
            compression: Compression::Any,
        }
    }
}

/// What a topic is and how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Random, given at creation: a topic created anew under the same name has another.
    pub id: String,
    /// By partition.
    pub partitions: Vec<Bounds>,
}

/// How far a partition reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Bounds {
    /// Offset of the first record that is still there.
    pub start: u64,
    /// Offset that the next record will get.
    pub end: u64,
}

/// Records to store in one partition, as one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where.
    pub partition: u32,
    /// What; without any, only the note is stored.
    pub records: Vec<Record>,
    /// What its producer wants to find again with it.
    pub note: Option<Note>,
}

/// A key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What decides on the partition, if anything.
    pub key: Option<Bytes>,
    /// The line or frame.
    pub value: Bytes,
}

/// A small text that a producer commits with its batches, such as how far it has read its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whose note.
    pub key: String,
    /// The note.
    pub value: Vec<u8>,
}

/// A SmartModule in a chain.
#[derive(Clone, Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its code.
    pub wasm: Arc<[u8]>,
    /// What its `init` gets.
    pub params: BTreeMap<String, String>,
    /// The initial accumulator of a module of kind `aggregate`.
    pub accumulator: Option<Vec<u8>>,
}

/// What came out of the chain for one stored batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Offset of the stored batch's first record.
    pub base_offset: u64,
    /// Offset of its last record.
    pub last_offset: u64,
    /// The chain's records; the stored ones where the chain is empty.
    pub values: Vec<Vec<u8>>,
    /// Memory of the chain's modules together, in bytes, as the last of them tells it.
    pub memory_bytes: Option<u64>,
}

/// What a record of a chain tells of the chain's memory, in its key.
fn memory_bytes(record: &fluvio_protocol::record::Record) -> Option<u64> {
    str::from_utf8(record.key()?.as_ref()).ok()?.parse().ok()
}

/// Why a stream of a module with an accumulator ended: it broke, and a new one must begin with a state and an
/// offset that belong together, which only its reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateLost;

impl std::fmt::Display for StateLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the stream broke, and with it the state of its SmartModule")
    }
}

impl std::error::Error for StateLost {}

/// Outputs of one partition, in order, without end. Dropping it ends the reading.
#[derive(Debug)]
pub struct BatchStream {
    outputs: mpsc::Receiver<Result<Vec<Output>>>,
    /// What has come with the one before.
    ready: VecDeque<Output>,
    /// Nanoseconds in the chain, where this process runs it.
    chain_nanos: Option<Arc<AtomicU64>>,
}

impl BatchStream {
    fn new(outputs: mpsc::Receiver<Result<Vec<Output>>>) -> Self {
        Self { outputs, ready: VecDeque::new(), chain_nanos: None }
    }

    /// The nanoseconds that batches have been in the chain, as they grow; `None` where another process runs
    /// it, or there is none.
    pub fn chain_nanos(&self) -> Option<Arc<AtomicU64>> {
        self.chain_nanos.clone()
    }

    /// The next output; waits for it.
    ///
    /// # Errors
    /// When reading or the chain failed; the stream is then at its end.
    pub async fn next(&mut self) -> Result<Output> {
        loop {
            if let Some(output) = self.ready.pop_front() {
                return Ok(output);
            }
            self.ready.extend(self.outputs.recv().await.context("the stream has ended")??);
        }
    }

    /// The next output if it is there already.
    ///
    /// # Errors
    /// As [`BatchStream::next`].
    pub fn try_next(&mut self) -> Result<Option<Output>> {
        if self.ready.is_empty() {
            match self.outputs.try_recv() {
                Ok(outputs) => self.ready.extend(outputs?),
                Err(mpsc::error::TryRecvError::Empty) => {}
                Err(mpsc::error::TryRecvError::Disconnected) => bail!("the stream has ended"),
            }
        }
        Ok(self.ready.pop_front())
    }
}
