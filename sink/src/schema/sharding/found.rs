//! What a sharded cluster is like, read from its database `config`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use domain::event_id::EventId;
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};

use super::{Newest, Wanted, partition_ids, zones_of};

/// A cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Its shards by name.
    pub shards: BTreeMap<String, Shard>,
    /// Whether it knows our database.
    pub has_database: bool,
    /// Sharded collections of our database by `database.collection`.
    pub collections: BTreeMap<String, Sharded>,
    /// The ranges of zones, with their `database.collection`.
    pub ranges: Vec<(String, ZoneRange)>,
}

/// A shard.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// The zones that it carries.
    pub zones: BTreeSet<String>,
    /// Whether it is being removed.
    pub draining: bool,
}

/// A sharded collection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sharded {
    /// Its shard key.
    pub key: Document,
    /// Its chunks, in order.
    pub chunks: Vec<Chunk>,
}

/// The documents from one `_id` on, up to another, which lie on one shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// First `_id`.
    pub min: Bson,
    /// One past the last.
    pub max: Bson,
    /// Where it lies.
    pub shard: String,
    /// Whether it is too large to be moved.
    pub jumbo: bool,
}

/// A range of `_id` that belongs to a zone.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneRange {
    /// First `_id`.
    pub min: Bson,
    /// One past the last.
    pub max: Bson,
    /// Name of the zone.
    pub zone: String,
}

impl ZoneRange {
    /// Whether some `_id` lies in both; both are ranges of numbers, or both of texts.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (&self.min, &self.max, &other.min, &other.max) {
            (Bson::String(min), Bson::String(max), Bson::String(from), Bson::String(to)) => {
                min < to && from < max
            }
            _ => number(&self.min) < number(&other.max) && number(&other.min) < number(&self.max),
        }
    }
}

/// Where a bound lies among the numbers: before all of them, at one, or behind.
pub(super) fn number(bound: &Bson) -> i128 {
    match bound {
        Bson::Int64(number) => i128::from(*number),
        Bson::Int32(number) => i128::from(*number),
        Bson::MinKey | Bson::Null => i128::MIN,
        _ => i128::MAX,
    }
}

impl Found {
    /// Reads `config`, as far as it speaks of `database`.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn read(config: &Database, database: &str) -> Result<Self> {
        let mut found = Self::default();
        for shard in all(config, "shards", doc! {}, "_id").await? {
            let zones = shard.get_array("tags").into_iter().flatten();
            let zones = zones.filter_map(|zone| zone.as_str().map(str::to_owned)).collect();
            let draining = shard.get_bool("draining").unwrap_or(false);
            found.shards.insert(shard.get_str("_id")?.to_owned(), Shard { zones, draining });
        }
        found.has_database = !all(config, "databases", doc! { "_id": database }, "_id").await?.is_empty();
        let of_database = doc! { "$gte": format!("{database}."), "$lt": format!("{database}/") };
        for collection in all(config, "collections", doc! { "_id": of_database.clone() }, "_id").await? {
            let name = collection.get_str("_id")?.to_owned();
            let mut chunks = Vec::new();
            for chunk in all(config, "chunks", doc! { "uuid": collection.get("uuid") }, "min").await? {
                chunks.push(Chunk {
                    min: bound(&chunk, "min")?,
                    max: bound(&chunk, "max")?,
                    shard: chunk.get_str("shard")?.to_owned(),
                    jumbo: chunk.get_bool("jumbo").unwrap_or(false),
                });
            }
            let key = collection.get_document("key")?.clone();
            found.collections.insert(name, Sharded { key, chunks });
        }
        for range in all(config, "tags", doc! { "ns": of_database }, "min").await? {
            let (min, max) = (bound(&range, "min")?, bound(&range, "max")?);
            let zone = range.get_str("tag")?.to_owned();
            found.ranges.push((range.get_str("ns")?.to_owned(), ZoneRange { min, max, zone }));
        }
        Ok(found)
    }
}

async fn all(config: &Database, name: &str, filter: Document, sort: &str) -> Result<Vec<Document>> {
    let found = config.collection::<Document>(name).find(filter).sort(doc! { sort: 1 }).await;
    let found = found.with_context(|| format!("cannot read config.{name}"))?;
    found.try_collect().await.with_context(|| format!("cannot read config.{name}"))
}

/// Of a collection with another key than `_id`, the whole bound.
fn bound(document: &Document, key: &str) -> Result<Bson> {
    let bound = document.get_document(key)?;
    Ok(bound.get("_id").cloned().unwrap_or_else(|| bound.clone().into()))
}

/// The newest offsets in `collection` of the epoch in use; none for zones and partitions without documents.
///
/// # Errors
/// When MongoDB refuses.
pub async fn newest(database: &Database, wanted: &Wanted<'_>, collection: &str) -> Result<Newest> {
    let documents = database.collection::<Document>(collection);
    let mut newest = Newest::new();
    for (zone, partition) in
        zones_of(wanted, collection).into_iter().flat_map(|z| (0..wanted.partitions).map(move |p| (z, p)))
    {
        let (first, end) = partition_ids(zone, wanted.epoch, partition);
        let last = i64::try_from(end - 1).expect("the last id of a partition is a number of 63 bits");
        let range = doc! { "_id": { "$gte": first, "$lte": last } };
        let found = documents.find_one(range).sort(doc! { "_id": -1 }).projection(doc! { "_id": 1 }).await;
        let found = found.with_context(|| format!("cannot read {collection}"))?;
        if let Some(id) = found.and_then(|document| EventId::from_number(document.get_i64("_id").ok()?)) {
            newest.insert((zone, partition), id.offset());
        }
    }
    Ok(newest)
}
