//! A partitioned, durable log with chains of SmartModules: what the pipeline needs of Fluvio, behind one
//! small trait, and its implementations.
//!
//! - [`embedded`]: topics in a local store, chains in Fluvio's own engine; one process, one machine
//! - [`contract`]: the tests that every implementation passes

pub mod contract;
pub mod embedded;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use tokio::sync::mpsc;

pub use embedded::Embedded;

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

    /// Stores batches and the note together: all or nothing, and durable when it returns. Waits while the
    /// topic is full.
    ///
    /// # Errors
    /// When nothing was stored.
    async fn append(&self, batches: Vec<Batch>, stored_at_ms: i64, note: Option<Note>) -> Result<()>;

    /// The partition's stored batches from the one that holds offset `start`, each run through `chain` once
    /// it is there, for ever.
    ///
    /// # Errors
    /// When the chain cannot be built, or `start` is trimmed away or beyond the end.
    async fn open(&self, partition: u32, start: u64, chain: Vec<Module>) -> Result<BatchStream>;

    /// Allows to forget the batches of a partition that end below `offset`.
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
    /// Most bytes kept; what is full pushes back on producers.
    pub bytes_max: u64,
}

/// What a topic is and how far it reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicState {
    /// Random, given at creation: a topic created anew under the same name has another.
    pub id: String,
    /// By partition.
    pub partitions: Vec<Bounds>,
    /// The last note of every key.
    pub notes: BTreeMap<String, Vec<u8>>,
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
    /// What; not empty.
    pub records: Vec<Record>,
}

/// A key and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What decides on the partition, if anything.
    pub key: Option<Vec<u8>>,
    /// The line or frame.
    pub value: Vec<u8>,
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
}

/// Outputs of one partition, in order, without end. Dropping it ends the reading.
#[derive(Debug)]
pub struct BatchStream {
    outputs: mpsc::Receiver<Result<Output>>,
}

impl BatchStream {
    /// Most outputs that are made ahead of the reader.
    pub const AHEAD_MAX: usize = 2;

    /// The next output; waits for it.
    ///
    /// # Errors
    /// When reading or the chain failed; the stream is then at its end.
    pub async fn next(&mut self) -> Result<Output> {
        match self.outputs.recv().await {
            Some(output) => output,
            None => Err(anyhow::anyhow!("the stream has ended")),
        }
    }

    /// The next output if it is there already.
    ///
    /// # Errors
    /// As [`BatchStream::next`].
    pub fn try_next(&mut self) -> Result<Option<Output>> {
        match self.outputs.try_recv() {
            Ok(output) => output.map(Some),
            Err(mpsc::error::TryRecvError::Empty) => Ok(None),
            Err(mpsc::error::TryRecvError::Disconnected) => Err(anyhow::anyhow!("the stream has ended")),
        }
    }
}
