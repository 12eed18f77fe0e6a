//! What lies where in a sharded cluster, and where it grows.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use serde::Serialize;

use super::found::Found;
use super::{Assignment, Wanted, partition_ids};
use crate::schema::EVENTS;

/// What one shard has of one collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Holding {
    /// Documents, with those that a move has left behind and that will be removed.
    pub documents: u64,
    /// Their size as BSON, in bytes.
    pub bytes: u64,
    /// On disk, without indexes, in bytes.
    pub bytes_on_disk: u64,
    /// Chunks.
    pub chunks: u64,
    /// Chunks that are too large to be moved.
    pub jumbo: u64,
    /// Documents that came while it was looked at.
    pub new: u64,
}

/// What each shard has, by collection and shard; the collections of events are one.
pub type Holdings = BTreeMap<String, BTreeMap<String, Holding>>;

/// Reads what each shard has of the sharded collections.
///
/// # Errors
/// When MongoDB refuses.
pub async fn holdings(database: &Database, found: &Found, wanted: &Wanted<'_>) -> Result<Holdings> {
    let mut all = Holdings::new();
    for name in wanted.collections() {
        let Some(sharded) = found.collections.get(&wanted.namespace(name)) else { continue };
        let label = if wanted.events.all.iter().any(|events| events == name) { EVENTS } else { name };
        let by_shard: &mut BTreeMap<String, Holding> = all.entry(label.to_owned()).or_default();
        for shard in found.shards.keys() {
            by_shard.entry(shard.clone()).or_default();
        }
        let pipeline = [doc! { "$collStats": { "storageStats": {} } }];
        let stats = database.collection::<Document>(name).aggregate(pipeline).await;
        let stats = stats.with_context(|| format!("cannot read the size of {name}"))?;
        for stats in stats.try_collect::<Vec<_>>().await? {
            let holding = by_shard.entry(stats.get_str("shard").unwrap_or_default().to_owned()).or_default();
            let stats = stats.get_document("storageStats").context("a shard tells no size")?;
            holding.documents += count(stats, "count");
            holding.bytes += count(stats, "size");
            holding.bytes_on_disk += count(stats, "storageSize");
        }
        for chunk in &sharded.chunks {
            let holding = by_shard.entry(chunk.shard.clone()).or_default();
            holding.chunks += 1;
            holding.jumbo += u64::from(chunk.jumbo);
        }
    }
    Ok(all)
}

fn count(stats: &Document, key: &str) -> u64 {
    match stats.get(key) {
        Some(Bson::Int32(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Int64(n)) => u64::try_from(*n).unwrap_or(0),
        Some(Bson::Double(n)) => *n as u64,
        _ => 0,
    }
}

/// Counts the documents of `collection` that came since `assignments` were made, by the shard that took them.
///
/// # Errors
/// When MongoDB refuses.
pub async fn count_new(
    database: &Database,
    found: &Found,
    wanted: &Wanted<'_>,
    collection: &str,
    assignments: &[Assignment],
) -> Result<BTreeMap<String, u64>> {
    let mut new = BTreeMap::new();
    let Some(sharded) = found.collections.get(&wanted.namespace(collection)) else { return Ok(new) };
    let documents = database.collection::<Document>(collection);
    for Assignment { zone, epoch, partition, open, .. } in
        assignments.iter().filter(|assignment| assignment.epoch == wanted.epoch)
    {
        let Some(shard) = sharded.shard_of(*open) else { continue };
        let (_, end) = partition_ids(*zone, *epoch, *partition);
        let last = i64::try_from(end - 1).context("an _id has 63 bits")?;
        let counted = documents.count_documents(doc! { "_id": { "$gte": open, "$lte": last } }).await;
        *new.entry(shard.to_owned()).or_default() += counted.context("cannot count new documents")?;
    }
    Ok(new)
}
