//! What the one producer of a topic writes down in MongoDB: the last note of every key, and the notes of the
//! batches that it is about to send. A note counts when its batch is found in the log.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};

use super::append::Mark;
use crate::Note;
use crate::lease::Lease;
use crate::retry::{backoff, is_transient};

const COLLECTION: &str = "pipeline_state";

/// A batch that was about to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Where.
    pub partition: u32,
    /// From where on it can lie.
    pub from: u64,
    /// What tells it.
    pub mark: Mark,
    /// What counts once it is stored.
    pub note: Note,
}

/// The notes of one topic.
pub struct Ledger {
    database: Database,
    prefix: String,
    notes: BTreeMap<String, Vec<u8>>,
    /// Notes that count and are not written down as such.
    unwritten: BTreeMap<String, Vec<u8>>,
}

impl Ledger {
    /// The notes of the topic with the random `id`, and what the last holder of the lease left in doubt.
    ///
    /// # Errors
    /// When MongoDB refuses, or holds what nobody wrote.
    pub async fn load(database: &Database, id: &str, lease: &Lease) -> Result<(Self, Vec<Pending>)> {
        let states = database.collection::<Document>(COLLECTION);
        let prefix = format!("note|{id}|");
        let mut notes = BTreeMap::new();
        let range = doc! { "_id": { "$gte": &prefix, "$lt": format!("note|{id}}}") } };
        let mut found = states.find(range).await.context("cannot read the notes of a topic")?;
        while let Some(note) = found.try_next().await? {
            let key = note.get_str("_id")?.trim_start_matches(&prefix).to_owned();
            notes.insert(key, note.get_binary_generic("value")?.clone());
        }
        let held = states.find_one(doc! { "_id": lease.key() }).await.context("cannot read a lease")?;
        let held = held.unwrap_or_default();
        let pending = held.get_array("pending").into_iter().flatten();
        let pending = pending.map(|entry| read(entry.as_document().context("no document")?));
        let pending = pending.collect::<Result<_>>().context("a note in doubt is damaged")?;
        Ok((Self { database: database.clone(), prefix, notes, unwritten: BTreeMap::new() }, pending))
    }

    /// The last note of every key.
    pub fn notes(&self) -> BTreeMap<String, Vec<u8>> {
        self.notes.clone()
    }

    /// A note counts from now on: its batch is stored.
    pub fn confirm(&mut self, note: Note) {
        self.unwritten.insert(note.key.clone(), note.value.clone());
        self.notes.insert(note.key, note.value);
    }

    /// Writes down what counts, and then what is about to be sent, in one command. Tries for as long as
    /// MongoDB is away.
    ///
    /// # Errors
    /// When another process holds the lease, or MongoDB refuses.
    pub async fn begin(&mut self, lease: &Lease, pending: &[Pending]) -> Result<()> {
        if pending.is_empty() && self.unwritten.is_empty() {
            return Ok(());
        }
        let mut attempt = 0;
        while let Err(error) = self.write(lease, pending).await? {
            if !is_transient(&error) {
                return Err(error).context("cannot write down what is about to be produced");
            }
            if attempt == 2 {
                tracing::warn!(%error, "MongoDB is away; producing waits for it, nothing is lost");
            }
            backoff(attempt).await;
            attempt += 1;
        }
        self.unwritten.clear();
        Ok(())
    }

    async fn write(&self, lease: &Lease, pending: &[Pending]) -> Result<Result<(), mongodb::error::Error>> {
        let mut updates: Vec<_> = self
            .unwritten
            .iter()
            .map(|(key, value)| {
                let id = format!("{}{key}", self.prefix);
                doc! { "q": { "_id": id }, "u": { "$set": { "value": binary(value) } }, "upsert": true }
            })
            .collect();
        let pending: Vec<_> = pending.iter().map(write).collect();
        updates.push(doc! {
            "q": { "_id": lease.key(), "token": lease.token() },
            "u": { "$set": { "pending": pending } },
        });
        let expected = i32::try_from(updates.len())?;
        let command = doc! {
            "update": COLLECTION, "updates": updates, "ordered": true, "writeConcern": { "w": "majority" },
        };
        let answer = match self.database.run_command(command).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(error) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            bail!("cannot write down what is about to be produced: {error}");
        }
        if answer.get_i32("n").unwrap_or(0) != expected {
            bail!("another process has taken over {}", lease.name());
        }
        Ok(Ok(()))
    }
}

fn binary(bytes: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() }
}

fn write(pending: &Pending) -> Document {
    let Pending { partition, from, mark, note } = pending;
    doc! {
        "partition": i64::from(*partition),
        "from": from.cast_signed(),
        "producer": mark.producer,
        "sequence": mark.sequence,
        "key": &note.key,
        "value": binary(&note.value),
    }
}

fn read(entry: &Document) -> Result<Pending> {
    let key = entry.get_str("key")?.to_owned();
    let value = entry.get_binary_generic("value")?.clone();
    Ok(Pending {
        partition: u32::try_from(entry.get_i64("partition")?)?,
        from: u64::try_from(entry.get_i64("from")?)?,
        mark: Mark { producer: entry.get_i64("producer")?, sequence: entry.get_i32("sequence")? },
        note: Note { key, value },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_doubt_is_read_as_it_was_written() {
        let note = Note { key: "file|0|1".to_owned(), value: vec![0, 255] };
        let mark = Mark { producer: i64::MAX, sequence: 7 };
        let pending = Pending { partition: 1023, from: 1 << 41, mark, note };
        assert_eq!(read(&write(&pending)).expect("just written"), pending);
        assert!(read(&doc! { "partition": 1_i64 }).is_err());
    }
}
