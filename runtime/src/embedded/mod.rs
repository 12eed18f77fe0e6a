//! The embedded runtime: topics in a local crash-safe store, batches in Fluvio's own encoding, chains in
//! Fluvio's own engine. It survives `kill -9` at any moment; it is for one process on one machine.

mod chain;
mod store;

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use fluvio_smartengine::SmartEngine;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::{Batch, BatchStream, Module, Runtime, Topic, TopicSpec, TopicState};
pub use chain::Chain;
use store::Store;

/// Gatherings of outputs that are made ahead of the reader of a stream.
const AHEAD_MAX: usize = 2;
/// Bytes of outputs from which on no more are gathered.
const GATHERED_BYTES_MAX: usize = 256 << 10;

/// Topics under one folder, which one process may have open at a time.
#[derive(Debug)]
pub struct Embedded {
    dir: PathBuf,
    engine: SmartEngine,
    topics: Mutex<BTreeMap<String, Arc<EmbeddedTopic>>>,
}

impl Embedded {
    /// Topics under `dir`, which is created when it is not there, for its owner alone.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub fn open(dir: &Path) -> Result<Self> {
        create_private_dir(dir).with_context(|| {
            format!("cannot create the folder {} for topics; choose another with --data-dir", dir.display())
        })?;
        Ok(Self { dir: dir.to_owned(), engine: SmartEngine::new(), topics: Mutex::default() })
    }
}

/// Makes a folder for log lines, in which people are named: only its owner looks into it. One that is there
/// stays as it is.
///
/// # Errors
/// When it cannot be made.
pub fn create_private_dir(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

#[async_trait]
impl Runtime for Embedded {
    async fn topic(&self, spec: &TopicSpec) -> Result<Arc<dyn Topic>> {
        let mut topics = self.topics.lock().expect("no holder of this lock panics");
        if let Some(topic) = topics.get(&spec.name) {
            return Ok(topic.clone());
        }
        if spec.name.is_empty()
            || !spec.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            bail!("{:?} is no topic name: only a-z, 0-9 and hyphens", spec.name);
        }
        let path = self.dir.join(format!("{}.redb", spec.name));
        let store = Store::open(&path, spec)
            .with_context(|| format!("cannot open the topic at {}", path.display()))?;
        let topic = Arc::new(EmbeddedTopic { store: Arc::new(store), engine: self.engine.clone() });
        topics.insert(spec.name.clone(), topic.clone());
        Ok(topic)
    }
}

#[derive(Debug)]
struct EmbeddedTopic {
    store: Arc<Store>,
    engine: SmartEngine,
}

#[async_trait]
impl Topic for EmbeddedTopic {
    async fn state(&self) -> Result<TopicState> {
        Ok(self.store.state())
    }

    async fn append(&self, batches: Vec<Batch>, stored_at_ms: i64) -> Result<()> {
        let encoded = store::encode(batches, stored_at_ms)?;
        self.store.room(&encoded).await?;
        let store = self.store.clone();
        spawn_blocking(move || store.append(encoded)).await?
    }

    async fn notes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let store = self.store.clone();
        spawn_blocking(move || store.notes()).await?
    }

    async fn open(&self, partition: u32, start: u64, chain: Vec<Module>) -> Result<BatchStream> {
        let bounds = self.store.bounds(partition)?;
        if start < bounds.start || start > bounds.end {
            bail!(
                "offset {start} of partition {partition} is not there: it holds {} to before {}",
                bounds.start,
                bounds.end
            );
        }
        let engine = self.engine.clone();
        let nanos = (!chain.is_empty()).then(Arc::<AtomicU64>::default);
        let chain = spawn_blocking(move || Chain::new(&engine, chain)).await??;
        let (sender, outputs) = mpsc::channel(AHEAD_MAX);
        let (store, counted) = (self.store.clone(), nanos.clone().unwrap_or_default());
        // A thread of its own, because reading and WASM both block and never end.
        std::thread::Builder::new()
            .name(format!("stream-{partition}"))
            .spawn(move || read(&store, (partition, start), chain, &counted, &sender))
            .context("cannot start a thread")?;
        Ok(BatchStream { chain_nanos: nanos, ..BatchStream::new(outputs) })
    }

    async fn trim(&self, partition: u32, offset: u64) -> Result<()> {
        let store = self.store.clone();
        spawn_blocking(move || store.trim(partition, offset)).await?
    }
}

/// Reads batches, runs them through the chain and hands them over, until nobody listens or something fails.
/// While the reader is busy, outputs of small batches are gathered, so that it gets them all at once.
fn read(
    store: &Store,
    (partition, start): (u32, u64),
    mut chain: Chain,
    nanos: &AtomicU64,
    sender: &mpsc::Sender<Result<Vec<crate::Output>>>,
) {
    let (mut next, mut ready, mut bytes) = (start, Vec::new(), 0);
    while !sender.is_closed() {
        let output = match store.wait_for(partition, next) {
            Ok(Some(batch)) => {
                let began = Instant::now();
                let output = chain.run(batch);
                let took = began.elapsed().as_nanos();
                nanos.fetch_add(u64::try_from(took).unwrap_or(u64::MAX), Ordering::Relaxed);
                output
            }
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match output {
            Ok(output) => {
                next = output.last_offset + 1;
                bytes += output.values.iter().map(Vec::len).sum::<usize>();
                ready.push(output);
            }
            Err(error) => {
                // What came before the error is handed over before it.
                if ready.is_empty() || sender.blocking_send(Ok(ready)).is_ok() {
                    let _ = sender.blocking_send(Err(error));
                }
                return;
            }
        }
        let has_more = || bytes < GATHERED_BYTES_MAX && store.bounds(partition).is_ok_and(|is| is.end > next);
        if sender.capacity() == 0 && has_more() {
            continue;
        }
        bytes = 0;
        if sender.blocking_send(Ok(std::mem::take(&mut ready))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
