//! Which incarnation of a topic this is. A cluster gives a topic no identity of its own, and one that is
//! deleted and created anew under its name begins at offset 0 again. So the first who opens it gives it a
//! random id, and of each partition an early and a late batch are remembered (their offsets and times). Where
//! the log holds another batch in such a place, the topic is another one; where it ends between the two, the
//! cluster has lost the end of it.

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

    /// Remembers the batch of a partition that ends at `offset`: the first one before it returns, so that no
    /// checkpoint is ahead of what is remembered, later ones every now and then, in the background. What is
    /// not remembered this time is the next time.
    pub async fn witness(self: &Arc<Self>, partition: u32, offset: u64) {
        let Some(last) = offset.checked_sub(1) else { return };
        let is_first = {
            let mut witnessed = self.witnessed.lock().expect("no holder of this lock panics");
            if witnessed.get(&partition).is_some_and(|at| at.elapsed() < WITNESS_EVERY) {
                return;
            }
            witnessed.insert(partition, Instant::now()).is_none()
        };
        let this = self.clone();
        let remembering = async move {
            if let Err(error) = this.remember(partition, last).await {
                tracing::debug!("cannot remember a batch of {}: {error:#}", this.topic);
            }
        };
        if is_first {
            remembering.await;
        } else {
            tokio::spawn(remembering);
        }
    }

    async fn remember(&self, partition: u32, offset: u64) -> Result<()> {
        let seen =
            look(&self.connection, &self.topic, partition, offset).await.map_err(Failure::into_error)?;
        let Some(seen) = seen else { return Ok(()) };
        let key = key(&self.topic);
        let early = doc! { "id": &self.id, format!("seen.{partition}.early"): { "$exists": false } };
        let filter = doc! { "_id": &key, "incarnations": { "$elemMatch": early } };
        let set = doc! { "$set": { format!("incarnations.$.seen.{partition}.early"): seen.write() } };
        self.states.update_one(filter, set).await?;
        let this = vec![doc! { "this.id": &self.id }];
        let set = doc! { "$set": { format!("incarnations.$[this].seen.{partition}.late"): seen.write() } };
        self.states.update_one(doc! { "_id": key }, set).array_filters(this).await?;
        Ok(())
    }
}

impl Seen {
    fn write(self) -> Document {
        doc! { "base": self.base_offset, "last": self.last_offset, "at": self.stored_at_ms }
    }

    fn read(document: &Document) -> Result<Self> {
        let number = |key: &str| document.get_i64(key).context("a remembered batch is incomplete");
        Ok(Self { base_offset: number("base")?, last_offset: number("last")?, stored_at_ms: number("at")? })
    }
}

fn key(topic: &str) -> String {
    format!("cluster|{topic}")
}

/// The newest incarnation that the log does not contradict. One of which no batch is remembered is recognized
/// only if it is the last.
///
/// # Errors
/// When the cluster has lost the end of the topic, or does not answer.
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
        let (mut is_other, mut lost) = (false, None);
        for (partition, batches) in seen {
            let partition: u32 = partition.parse()?;
            let batches = batches.as_document().context("a remembered batch is no document")?;
            let (early, late) = (Seen::read(batches.get_document("early")?)?, batches.get_document("late"));
            let late = late.map_or(Ok(early), Seen::read)?;
            if partition >= partitions {
                is_other = true;
                break;
            }
            let early = compare(connection, topic, partition, early).await?;
            let compared = (early, compare(connection, topic, partition, late).await?);
            is_other |= matches!(compared, (Found::Other | Found::Beyond(_), _) | (_, Found::Other));
            if let (Found::Same | Found::Removed, Found::Beyond(end)) = compared {
                lost = Some((partition, end, late.last_offset));
            }
        }
        match lost {
            _ if is_other => {}
            None => return Ok(Some(id.to_owned())),
            Some((partition, end, last)) => bail!(
                "the cluster has lost the end of partition {partition} of {topic}: it ends at {end}, but \
                 records up to {last} were there; what is left is stored as far as `streampulse status` \
                 says: save the rest, delete the topic, run `streampulse deploy`, and produce again what is \
                 missing (docs/fluvio.md, section 6)"
            ),
        }
    }
    Ok(None)
}

/// What the log holds in the place of a remembered batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// That batch.
    Same,
    /// Another one.
    Other,
    /// Nothing any more: retention has removed it.
    Removed,
    /// Nothing: it ends before, at this offset.
    Beyond(u64),
}

async fn compare(connection: &Connection, topic: &str, partition: u32, batch: Seen) -> Result<Found> {
    let bounds = super::bounds(connection, topic, partition, super::TRIES_AT_START_MAX).await?;
    let last = batch.last_offset.cast_unsigned();
    if bounds.end <= last {
        return Ok(Found::Beyond(bounds.end));
    }
    if bounds.start > batch.base_offset.cast_unsigned() {
        return Ok(Found::Removed);
    }
    let found = look(connection, topic, partition, last).await.map_err(Failure::into_error)?;
    Ok(if found == Some(batch) { Found::Same } else { Found::Other })
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
