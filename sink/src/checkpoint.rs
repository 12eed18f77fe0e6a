//! Positions in `pipeline_state`, beside the data they speak of: how far each job has come in which topic,
//! and which incarnations of a topic there have been.
//!
//! # Elections and successors
//! What a job believes of its position lets the log forget lines, so it must be what no election takes back:
//! positions are read linearizably, or come from a write that a majority has. Whoever loads a checkpoint
//! counts up its `writer`, and every commit compares it: a process that was stopped, was followed by another
//! one and goes on, writes nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use domain::event_id::{EPOCHS_MAX, EventId, OFFSETS_MAX, PARTITIONS_MAX, Source, ZONES_MAX};
use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::{ReadConcern, ReturnDocument, WriteConcern};
use mongodb::{ClientSession, Collection, Database};

use crate::schema::daily::stored_in;
use crate::schema::{REJECTS, STATE};
use crate::write::{Retry, Write, conflict, update};
use crate::{Progress, fatal, signed};

/// How long a linearizable read may wait for a majority of the members before it is tried again.
const MAJORITY_WAIT: Duration = Duration::from_secs(5);

/// The epoch of the topic `name` with the random `id`: the one it got before, or a new one.
///
/// # Errors
/// When MongoDB refuses, or all epochs of this database are used up.
pub async fn epoch(database: &Database, name: &str, id: &str) -> Result<u32> {
    let states = states(database);
    let key = format!("topic|{name}");
    loop {
        let known = find_for_good(&states, &key).await.context("cannot read pipeline_state")?;
        let ids: Vec<Bson> =
            known.as_ref().and_then(|topic| topic.get_array("ids").ok()).cloned().unwrap_or_default();
        if let Some(epoch) = ids.iter().position(|known| known.as_str() == Some(id)) {
            return Ok(u32::try_from(epoch)?);
        }
        let epoch = u32::try_from(ids.len())?;
        if epoch >= EPOCHS_MAX {
            bail!(
                "this database has seen {EPOCHS_MAX} log topics, which is all it can tell apart; use another --database"
            );
        }
        // An epoch that has events although nobody registered it would lend its ids to new lines.
        let entry = if has_events(database, epoch).await? { "taken" } else { id };
        let grown = doc! { "$push": { "ids": entry } };
        let unchanged = doc! { "_id": &key, "ids": { "$size": i64::from(epoch) } };
        let pushed = if known.is_none() {
            let first = doc! { "_id": &key, "ids": [entry] };
            states.insert_one(first).await.map(|_| ())
        } else {
            states.update_one(unchanged, grown).await.map(|_| ())
        };
        match pushed {
            Ok(()) => {}
            Err(error) if error.to_string().contains("E11000") => {}
            Err(error) => return Err(error).context("cannot write pipeline_state"),
        }
    }
}

/// The epoch of the newest incarnation of the topic `name`; 0 before the first one.
///
/// # Errors
/// When MongoDB refuses.
pub async fn newest_epoch(database: &Database, name: &str) -> Result<u32> {
    let known = states(database).find_one(doc! { "_id": format!("topic|{name}") }).await;
    let known = known.context("cannot read pipeline_state")?;
    let epochs = known.and_then(|topic| Some(topic.get_array("ids").ok()?.len())).unwrap_or(0);
    Ok(u32::try_from(epochs)?.saturating_sub(1))
}

async fn has_events(database: &Database, epoch: u32) -> Result<bool> {
    let mut collections = stored_in(database).await.context("cannot list the collections of events")?;
    collections.push(REJECTS.to_owned());
    for zone in 0..ZONES_MAX {
        let id = |source, offset| EventId::new(zone, source, offset).map(EventId::get);
        let first = Source::new(epoch, 0).and_then(|source| id(source, 0));
        let last = Source::new(epoch, PARTITIONS_MAX - 1).and_then(|source| id(source, OFFSETS_MAX - 1));
        let range = doc! { "_id": { "$gte": first, "$lte": last } };
        for collection in &collections {
            let found = database.collection::<Document>(collection).find_one(range.clone()).await;
            if found.context("cannot read events")?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Another process has loaded or moved the checkpoint.
#[derive(Debug)]
pub struct Followed {
    checkpoint: String,
    from: u64,
}

impl std::fmt::Display for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the checkpoint {} is not ours at {} any more: another process writes to this database from the same \
             topic; stop one of them",
            self.checkpoint, self.from
        )
    }
}

impl std::error::Error for Followed {}

/// Why a try did not commit.
enum Failure {
    /// Another process has the checkpoint.
    Followed,
    /// Trying again may help.
    MongoDb(mongodb::error::Error),
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Self::MongoDb(error)
    }
}

/// One job's position in one partition of one topic, as a document with `next` and whatever the job adds.
pub struct Checkpoint {
    database: Database,
    key: String,
    /// How often the checkpoint had been loaded when we loaded it.
    writer: i64,
    /// The one session of this job's transactions, once there was one.
    session: Option<ClientSession>,
}

impl Checkpoint {
    /// The checkpoint of `job` in a partition of the topic with the random `id`, and its document; a new one
    /// begins at `start`. From now on nobody who loaded it before can commit.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn load(
        database: &Database,
        job: &str,
        id: &str,
        partition: u32,
        start: u64,
    ) -> Result<(Self, Document)> {
        const READ: &str = "cannot read pipeline_state";
        let key = key(job, id, partition);
        let states = states(database);
        // An open transaction of the process before would hold up the update for a minute.
        let before = states.find_one(doc! { "_id": &key }).await.context(READ)?;
        if let Some(session) = before.as_ref().and_then(|before| before.get_document("session").ok()) {
            end_session(database, session).await;
        }
        let begin = doc! { "$setOnInsert": { "next": signed(start) }, "$inc": { "writer": 1_i64 } };
        let found = states.find_one_and_update(doc! { "_id": &key }, begin).upsert(true);
        let found = found.return_document(ReturnDocument::After).write_concern(WriteConcern::majority());
        let document = found.await.context(READ)?;
        let document = document.ok_or_else(|| fatal(format!("MongoDB gave no checkpoint {key}")))?;
        let writer = document.get_i64("writer").with_context(|| format!("{key} has no writer"))?;
        Ok((Self { database: database.clone(), key, writer, session: None }, document))
    }

    /// The documents of a job's checkpoints in some partitions of a topic, where there are any. Who only
    /// looks ends nobody.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn look(
        database: &Database,
        job: &str,
        id: &str,
        partitions: &[u32],
    ) -> Result<Vec<(u32, Document)>> {
        const LOOK: &str = "cannot look how far other processes are";
        let keys: Vec<String> = partitions.iter().map(|partition| key(job, id, *partition)).collect();
        let found = states(database).find(doc! { "_id": { "$in": &keys } }).await.context(LOOK)?;
        let found: Vec<Document> = found.try_collect().await.context(LOOK)?;
        let partition = |found: &Document| {
            let index = keys.iter().position(|key| found.get_str("_id").is_ok_and(|id| id == key))?;
            partitions.get(index).copied()
        };
        Ok(found.into_iter().filter_map(|found| Some((partition(&found)?, found))).collect())
    }

    /// Moves from `from` to `to` together with `writes`, in one transaction where there are any, as often as
    /// it takes; exactly one of many tries takes effect. Where `to` is `from`, several may: then `writes`
    /// must be such that doing them again changes nothing. `fields` are set in the checkpoint's document.
    ///
    /// # Errors
    /// [`Followed`] when another process has loaded or moved the checkpoint; else when MongoDB refuses for
    /// good.
    pub async fn commit(
        &mut self,
        progress: &Progress,
        (from, to): (u64, u64),
        fields: Document,
        writes: &[Write],
    ) -> Result<()> {
        let mut retry = Retry::new(progress, "move a checkpoint");
        let mut set = fields;
        set.insert("next", signed(to));
        // The counter makes each commit a change, so that it meets whoever loads the checkpoint meanwhile.
        let change = doc! { "$set": set, "$inc": { "commits": 1_i64 } };
        let filter = doc! { "_id": &self.key, "next": signed(from), "writer": self.writer };
        let moved = doc! { "q": filter, "u": change };
        while let Err(error) = self.try_commit((from, to), &moved, writes).await {
            match error {
                Failure::Followed => return Err(Followed { checkpoint: self.key.clone(), from }.into()),
                Failure::MongoDb(error) => retry.after(error).await?,
            }
        }
        retry.done();
        Ok(())
    }

    async fn try_commit(
        &mut self,
        (from, to): (u64, u64),
        moved: &Document,
        writes: &[Write],
    ) -> Result<(), Failure> {
        let done = if writes.iter().all(Write::is_empty) {
            update(&self.database, STATE, vec![moved.clone()], None).await?.n == 1
        } else {
            self.transact(moved, writes).await?
        };
        if done {
            return Ok(());
        }
        let state = find_for_good(&states(&self.database), &self.key).await?.unwrap_or_default();
        let is = |key: &str, value: i64| state.get_i64(key).is_ok_and(|stored| stored == value);
        if !is("writer", self.writer) {
            return Err(Failure::Followed);
        }
        // Where the position moves, it tells of an earlier try that was committed without its answer
        // reaching us.
        if from != to && is("next", signed(to)) {
            return Ok(());
        }
        // What refused us was taken back by an election: a load by somebody who has not got it.
        if is("next", signed(from)) {
            return Err(Failure::MongoDb(conflict("the checkpoint was another's for a moment")));
        }
        Err(Failure::Followed)
    }

    async fn transact(&mut self, moved: &Document, writes: &[Write]) -> Result<bool, mongodb::error::Error> {
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(start_session(&self.database, &self.key, self.writer).await?),
        };
        let done = transact(&self.database, session, moved, writes).await;
        if !matches!(done, Ok(true))
            && let Err(error) = session.abort_transaction().await
        {
            tracing::debug!(%error, "cannot abort a transaction; the server does so on the session's next one");
        }
        done
    }
}

/// One transaction: the checkpoint moves first, so that a second writer is stopped before it writes.
async fn transact(
    database: &Database,
    session: &mut ClientSession,
    moved: &Document,
    writes: &[Write],
) -> Result<bool, mongodb::error::Error> {
    let options = session.start_transaction().read_concern(ReadConcern::local());
    options.write_concern(WriteConcern::majority()).await?;
    if update(database, STATE, vec![moved.clone()], Some(session)).await?.n != 1 {
        return Ok(false);
    }
    for write in writes {
        write.run(database, session).await?;
    }
    session.commit_transaction().await.map(|()| true)
}

/// A session whose id is written down first: a process that is killed leaves its transaction open, and the
/// next one ends it by this id instead of waiting for a minute until the server does.
async fn start_session(
    database: &Database,
    key: &str,
    writer: i64,
) -> Result<ClientSession, mongodb::error::Error> {
    let session = database.client().start_session().await?;
    let id = doc! { "$set": { "session": session.id().clone() } };
    states(database).update_one(doc! { "_id": key, "writer": writer }, id).await?;
    Ok(session)
}

async fn end_session(database: &Database, session: &Document) {
    let session = doc! { "id": session.get("id") };
    if let Err(error) = database.run_command(doc! { "killSessions": [session] }).await {
        tracing::debug!(%error, "cannot end the session of the process before");
    }
}

/// A document of `pipeline_state` as no election can take it back.
async fn find_for_good(
    states: &Collection<Document>,
    key: &str,
) -> Result<Option<Document>, mongodb::error::Error> {
    let found = states.find_one(doc! { "_id": key }).read_concern(ReadConcern::linearizable());
    found.max_time(MAJORITY_WAIT).await
}

fn key(job: &str, id: &str, partition: u32) -> String {
    format!("{job}|{id}|{partition}")
}

fn states(database: &Database) -> Collection<Document> {
    database.collection(STATE)
}
