//! Which incarnation of a topic this is. A cluster gives a topic no identity of its own, and one that is
//! deleted and created anew under its name begins at offset 0 again. So the first who opens it gives it a
//! random id, and of each partition a batch is remembered (its offsets and its time): where the log holds
//! another batch in that place, or ends before it, the topic is another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fluvio_spu_schema::Isolation;
use mongodb::bson::{Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};

use super::connection::{Connection, Failure};
use super::fetch::{Fetch, Place};

const COLLECTION: &str = "pipeline_state";
/// How often a batch is remembered, in each partition.
const WITNESS_EVERY: Duration = Duration::from_secs(10);
/// Bytes that hold the header of a batch.
const HEADER_BYTES: u32 = 4 << 10;
/// How long a batch that is there may take to come.
const HEADER_WITHIN: Duration = Duration::from_secs(10);
/// Most incarnations of one topic that are told apart; as many as there are epochs.
const INCARNATIONS_MAX: usize = domain::event_id::EPOCHS_MAX as usize;

/// A topic's identity.
pub struct Identity {
    connection: Arc<Connection>,
    states: Collection<Document>,
    topic: String,
    id: String,
    witnessed: Mutex<BTreeMap<u32, Instant>>,
}

/// A batch that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    base_offset: i64,
    last_offset: i64,
    stored_at_ms: i64,
}

impl Identity {
    /// The id that the topic got before, or a new one.
    ///
    /// # Errors
    /// When the cluster or MongoDB does not answer, or all ids are used up.
    pub async fn find(
        connection: Arc<Connection>,
        database: &Database,
        topic: &str,
        partitions: u32,
    ) -> Result<Arc<Self>> {
        let states = database.collection::<Document>(COLLECTION);
        let key = key(topic);
        let id = loop {
            let first = doc! { "$setOnInsert": { "incarnations": [] } };
            let found = states.find_one_and_update(doc! { "_id": &key }, first).upsert(true);
            let found = found.return_document(ReturnDocument::After).await;
            let found = found.context("cannot read pipeline_state")?.unwrap_or_default();
            let known: Vec<_> =
                found.get_array("incarnations")?.iter().filter_map(|i| i.as_document()).collect();
            if let Some(id) = recognize(&connection, topic, partitions, &known).await? {
                break id;
            }
            if known.len() >= INCARNATIONS_MAX {
                bail!("this database has seen {INCARNATIONS_MAX} topics {topic}; use another --database");
            }
            if !known.is_empty() {
                tracing::warn!("the topic {topic} was created anew: its lines are new ones");
            }
            let id = uuid::Uuid::new_v4().simple().to_string();
            let filter = doc! { "_id": &key, "incarnations": { "$size": i64::try_from(known.len())? } };
            let push = doc! { "$push": { "incarnations": { "id": &id, "seen": {} } } };
            if states.update_one(filter, push).await?.modified_count == 1 {
                break id;
            }
        };
        let topic = topic.to_owned();
        Ok(Arc::new(Self { connection, states, topic, id, witnessed: Mutex::default() }))
    }

    /// The random id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Remembers the batch of a partition that ends at `offset`, every now and then, in the background. What is not remembered this
    /// time is the next time.
    pub fn witness(self: &Arc<Self>, partition: u32, offset: u64) {
        let Some(last) = offset.checked_sub(1) else { return };
        {
            let mut witnessed = self.witnessed.lock().expect("no holder of this lock panics");
            if witnessed.get(&partition).is_some_and(|at| at.elapsed() < WITNESS_EVERY) {
                return;
            }
            witnessed.insert(partition, Instant::now());
        }
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.remember(partition, last).await {
                tracing::debug!("cannot remember a batch of {}: {error:#}", this.topic);
            }
        });
    }

    async fn remember(&self, partition: u32, offset: u64) -> Result<()> {
        let seen =
            look(&self.connection, &self.topic, partition, offset).await.map_err(Failure::into_error)?;
        let Some(Seen { base_offset, last_offset, stored_at_ms }) = seen else { return Ok(()) };
        let seen = doc! { "base": base_offset, "last": last_offset, "at": stored_at_ms };
        let place = format!("incarnations.$[this].seen.{partition}");
        let this = vec![doc! { "this.id": &self.id }];
        let set = doc! { "$set": { place: seen } };
        self.states.update_one(doc! { "_id": key(&self.topic) }, set).array_filters(this).await?;
        Ok(())
    }
}

fn key(topic: &str) -> String {
    format!("cluster|{topic}")
}

/// The newest incarnation that the log does not contradict. One without a batch is recognized only if it is
/// the last: nothing was ever seen of it.
async fn recognize(
    connection: &Connection,
    topic: &str,
    partitions: u32,
    known: &[&Document],
) -> Result<Option<String>> {
    for (age, incarnation) in known.iter().rev().enumerate() {
        let id = incarnation.get_str("id")?;
        let seen = incarnation.get_document("seen")?;
        if seen.is_empty() && age > 0 {
            continue;
        }
        let mut same = true;
        for (partition, batch) in seen {
            let partition: u32 = partition.parse()?;
            let batch = batch.as_document().context("a remembered batch is no document")?;
            let batch = Seen {
                base_offset: batch.get_i64("base")?,
                last_offset: batch.get_i64("last")?,
                stored_at_ms: batch.get_i64("at")?,
            };
            if partition >= partitions || !is_there(connection, topic, partition, batch).await? {
                same = false;
                break;
            }
        }
        if same {
            return Ok(Some(id.to_owned()));
        }
    }
    Ok(None)
}

/// Whether the log holds a batch, or held it: one that retention has removed cannot be told.
async fn is_there(connection: &Connection, topic: &str, partition: u32, batch: Seen) -> Result<bool> {
    let bounds = super::bounds(connection, topic, partition, super::TRIES_AT_START_MAX).await?;
    let last = batch.last_offset.cast_unsigned();
    if bounds.end <= last {
        return Ok(false);
    }
    if bounds.start > batch.base_offset.cast_unsigned() {
        return Ok(true);
    }
    let found = look(connection, topic, partition, last).await.map_err(Failure::into_error)?;
    Ok(found == Some(batch))
}

/// The batch that holds an offset.
async fn look(
    connection: &Connection,
    topic: &str,
    partition: u32,
    offset: u64,
) -> Result<Option<Seen>, Failure> {
    let place = Place { topic, partition };
    let mut fetch =
        Fetch::open(connection, place, offset, Isolation::ReadCommitted, HEADER_BYTES, &[]).await?;
    let Ok(batches) = tokio::time::timeout(HEADER_WITHIN, fetch.next()).await else { return Ok(None) };
    Ok(batches?.first().map(|batch| Seen {
        base_offset: batch.base_offset,
        last_offset: batch.get_last_offset(),
        stored_at_ms: batch.get_base_timestamp(),
    }))
}
