//! Reading a partition without losing or repeating anything, although the protocol does both: a response is
//! cut at its size limit and counts as read whole, a SmartModule's output over the limit is skipped, and a
//! stream can fall silent while there is more. So every output must begin where the one before ended; where
//! one does not, or none comes although the partition goes on, the stream is opened anew at the right place,
//! with a larger limit where that is the reason.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fluvio_protocol::record::{Batch, RawRecords};
use fluvio_spu_schema::Isolation;
use tokio::sync::mpsc;

use super::connection::{Connection, Failure, Tries};
use super::fetch::{Fetch, Place, records};
use crate::retry::backoff;
use crate::{Bounds, Module, Output, StateLost, memory_bytes};

/// Size limit of a response at first. What the SPU gives at once is in memory here, twice at most.
const RESPONSE_BYTES: u32 = 4 << 20;
/// The same where a SmartModule keeps state: its outputs are small, and its stream is not opened anew here.
const STATEFUL_RESPONSE_BYTES: u32 = 64 << 20;
/// Size limit of a response at most: above what SmartModules make of the largest batch that an SPU stores.
const RESPONSE_BYTES_MAX: u32 = 512 << 20;
/// How long a stream may be silent before it is asked whether there is more.
const SILENCE: Duration = Duration::from_secs(3);
/// How often a stream may fall silent, gap or break off at the same place before its limit is raised.
const STALLS_MAX: u32 = 1;
/// Every how many of them it is said in the log.
const STALLS_PER_WARNING: u32 = 10;
/// How often a SmartModule may be missing or break off at one place before it is given up: half a minute.
const BREAKS_MAX: u32 = 20;

/// Reads one partition, and hands its outputs over.
pub struct Reader {
    /// Where.
    pub connection: Arc<Connection>,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// What the SPU runs each batch through; each batch comes out as one frame.
    pub chain: Vec<Module>,
    /// The offset that comes next.
    pub next: u64,
    /// Whether something has been handed over.
    pub started: bool,
}

/// Why a stream has to be opened anew.
enum Reopen {
    /// Something is missing or silent.
    Stalled(String),
    /// The cluster is away.
    Failed(Failure),
    /// Nobody listens any more.
    Gone,
}

impl From<Failure> for Reopen {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Reader {
    /// Runs until nobody listens, or something fails for good, which is handed over too.
    pub async fn run(mut self, sender: mpsc::Sender<Result<Vec<Output>>>) {
        if let Err(error) = self.read(&sender).await
            && sender.send(Err(error)).await.is_err()
        {
            tracing::debug!("nobody hears why a stream ended");
        }
    }

    async fn read(&mut self, sender: &mpsc::Sender<Result<Vec<Output>>>) -> Result<()> {
        let what = format!("read partition {} of {}", self.partition, self.topic);
        let is_stateful = self.chain.iter().any(|module| module.accumulator.is_some());
        let bytes_min = if is_stateful { STATEFUL_RESPONSE_BYTES } else { RESPONSE_BYTES };
        let (mut bytes_max, mut tries) = (bytes_min, Tries::default());
        let (mut stalls, mut breaks, mut reached) = (0, 0, self.next);
        loop {
            let ended = self.read_stream(bytes_max, &what, sender, &mut tries).await;
            if self.next > reached {
                (reached, stalls, breaks, bytes_max) = (self.next, 0, 0, bytes_min);
            }
            match ended {
                Reopen::Gone => return Ok(()),
                Reopen::Failed(Failure::Fatal(error)) => return Err(error),
                // A new stream would begin with the state of the first one, which is of another place by now.
                _ if is_stateful && self.started => return Err(StateLost.into()),
                Reopen::Stalled(why) => {
                    self.check_evicted().await?;
                    tracing::debug!(bytes_max, "{what}: {why}; opening it anew at {}", self.next);
                    stalls += 1;
                    if stalls % STALLS_PER_WARNING == 0 {
                        tracing::warn!(
                            "cannot {what} from {}: {why}; trying again, nothing is lost",
                            self.next
                        );
                    }
                    if stalls > STALLS_MAX {
                        backoff(stalls).await;
                    }
                    if stalls > STALLS_MAX {
                        bytes_max = bytes_max.saturating_mul(4).min(RESPONSE_BYTES_MAX);
                    }
                }
                Reopen::Failed(failure) => {
                    breaks += 1;
                    if matches!(failure, Failure::Module(_)) && breaks > BREAKS_MAX {
                        return Err(failure.into_error());
                    }
                    self.connection.forget(&self.topic, self.partition).await;
                    tries.after(failure, &what).await?;
                }
            }
        }
    }

    /// Reads one stream to its end.
    async fn read_stream(
        &mut self,
        bytes_max: u32,
        what: &str,
        sender: &mpsc::Sender<Result<Vec<Output>>>,
        tries: &mut Tries,
    ) -> Reopen {
        let opened = self.open(bytes_max).await;
        let mut fetch = match opened {
            Ok(fetch) => fetch,
            Err(failure) => return failure.into(),
        };
        loop {
            let batches = tokio::select! {
                batches = self.wait(&mut fetch) => batches,
                () = sender.closed() => return Reopen::Gone,
            };
            let batches = match batches {
                Ok(batches) => batches,
                Err(reopen) => return reopen,
            };
            tries.done(what);
            let mut outputs = Vec::new();
            let taken = batches.iter().try_for_each(|batch| self.take(batch, &mut outputs));
            if !outputs.is_empty() && sender.send(Ok(outputs)).await.is_err() {
                return Reopen::Gone;
            }
            if let Err(reopen) = taken {
                return reopen;
            }
        }
    }

    async fn open(&self, bytes_max: u32) -> Result<Fetch, Failure> {
        let place = Place { topic: &self.topic, partition: self.partition };
        let isolation = Isolation::ReadCommitted;
        Fetch::open(&self.connection, place, self.next, isolation, bytes_max, &self.chain).await
    }

    /// The next response. When none comes, the partition is asked whether there is more.
    async fn wait(&self, fetch: &mut Fetch) -> Result<Vec<Batch<RawRecords>>, Reopen> {
        let mut silences = 0;
        let mut patience = SILENCE;
        loop {
            match tokio::time::timeout(patience, fetch.next()).await {
                Ok(batches) => return Ok(batches?),
                Err(_) => {
                    let end = self.connection.bounds(&self.topic, self.partition).await?.end;
                    if end <= self.next {
                        silences = 0;
                        continue;
                    }
                    // It may just be slow: a long chain on a busy machine.
                    silences += 1;
                    patience *= 2;
                    if silences > STALLS_MAX {
                        return Err(Reopen::Stalled(format!("it is silent although it reaches {end}")));
                    }
                }
            }
        }
    }

    /// Takes in one batch of a response: a stored one, or what the chain made of several.
    fn take(&mut self, batch: &Batch<RawRecords>, outputs: &mut Vec<Output>) -> Result<(), Reopen> {
        let stalled = |error: anyhow::Error| Reopen::Stalled(format!("{error:#}"));
        if self.chain.is_empty() {
            let values =
                records(batch).map_err(stalled)?.into_iter().map(|record| record.into_value().into_vec());
            return self.admit(
                Output {
                    base_offset: batch.base_offset.cast_unsigned(),
                    last_offset: batch.get_last_offset().cast_unsigned(),
                    values: values.collect(),
                    memory_bytes: None,
                },
                outputs,
            );
        }
        // Its header speaks of the lines that went in, its records are the frames that came out.
        for record in batch.memory_records().map_err(|error| stalled(error.into()))? {
            let memory_bytes = memory_bytes(&record);
            let value = record.into_value().into_vec();
            let (base_offset, last_offset) = domain::wire::span(&value).map_err(|error| {
                Reopen::Failed(Failure::Fatal(anyhow!(
                    "the SmartModules {} of the cluster give no frames that this version reads ({error}); run \
                     `streampulse deploy`",
                    self.chain.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(", ")
                )))
            })?;
            self.admit(Output { base_offset, last_offset, values: vec![value], memory_bytes }, outputs)?;
        }
        Ok(())
    }

    /// Hands an output over if it is the next one. The first one is given whole although it may begin before.
    fn admit(&mut self, output: Output, outputs: &mut Vec<Output>) -> Result<(), Reopen> {
        if output.last_offset < self.next {
            return Ok(());
        }
        let begins_right =
            if self.started { output.base_offset == self.next } else { output.base_offset <= self.next };
        if !begins_right {
            return Err(Reopen::Stalled(format!(
                "what comes after {} begins at {}",
                self.next, output.base_offset
            )));
        }
        self.next = output.last_offset + 1;
        self.started = true;
        outputs.push(output);
        Ok(())
    }

    /// Tells what is lost when the partition no longer holds what comes next.
    async fn check_evicted(&self) -> Result<()> {
        match self.connection.bounds(&self.topic, self.partition).await {
            Ok(Bounds { start, .. }) if start > self.next => {
                Err(evicted(&self.topic, self.partition, self.next, start))
            }
            Ok(_) => Ok(()),
            Err(Failure::Away(_) | Failure::Module(_)) => Ok(()),
            Err(Failure::Fatal(error)) => Err(error).context("cannot ask how far the partition reaches"),
        }
    }
}

/// The error for records that retention removed before they were read.
pub fn evicted(topic: &str, partition: u32, next: u64, start: u64) -> anyhow::Error {
    anyhow!(
        "records {next} to {} of partition {partition} of {topic} were removed by retention before they were \
         read: they are lost; make the topic's retention longer than this job is ever away",
        start - 1
    )
}

#[cfg(test)]
mod tests {
    use fluvio::FluvioClusterConfig;

    use super::*;

    fn reader(next: u64) -> Reader {
        let connection = Arc::new(Connection::new(FluvioClusterConfig::new("nowhere:1")));
        Reader { connection, topic: "t".to_owned(), partition: 0, chain: Vec::new(), next, started: false }
    }

    #[test]
    fn only_what_comes_next_is_handed_over() {
        let output = |base_offset, last_offset| Output {
            base_offset,
            last_offset,
            values: Vec::new(),
            memory_bytes: None,
        };
        let (mut reader, mut outputs) = (reader(5), Vec::new());
        let mut admit = |base, last| reader.admit(output(base, last), &mut outputs).is_ok();
        assert!(admit(0, 4), "what was read before is left out");
        assert!(!admit(6, 9), "a gap at the beginning");
        assert!(admit(3, 9), "the first batch is given whole");
        assert!(admit(3, 9), "it comes again");
        assert!(!admit(8, 12), "another batch that overlaps");
        assert!(!admit(11, 12), "a gap");
        assert!(admit(10, 12));
        let handed: Vec<_> = outputs.iter().map(|output| (output.base_offset, output.last_offset)).collect();
        assert_eq!(handed, [(3, 9), (10, 12)]);
        assert_eq!(reader.next, 13);
    }
}
