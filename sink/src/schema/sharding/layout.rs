//! Which shard takes the coming documents of each partition, and the moves that bring it about. An `_id` ends
//! with the offset, so a partition's documents are appended at one point: where that point lies decides who
//! takes the writes. Only the empty range behind it is moved; what is stored stays, for the balancer to even
//! out by size.

use std::collections::BTreeMap;

use domain::event_id::EPOCHS_MAX;
use domain::zones::ZONE_OTHER;
use mongodb::bson::{Bson, doc};

use super::found::{Chunk, Found, number};
use super::{Change, REJECTS, Step, Wanted, eligible, id, partition_ids};

/// Where the coming documents of one partition and zone go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The zone.
    pub zone: u8,
    /// The incarnation of the log topic.
    pub epoch: u32,
    /// The partition.
    pub partition: u32,
    /// The first `_id` that is not stored.
    pub open: i64,
    /// One past the last `_id` of the partition.
    pub end: i128,
    /// Whether there are documents of it.
    pub live: bool,
    /// The shard that should take it.
    pub shard: String,
}

/// The newest offset of a zone and partition of the epoch in use.
pub type Newest = BTreeMap<(u8, u32), u64>;

/// The zones whose documents a collection can have. A reject has no country.
pub fn zones_of(wanted: &Wanted, collection: &str) -> Vec<u8> {
    let others = wanted.zones.values().map(|zone| zone.number);
    match collection {
        REJECTS => vec![ZONE_OTHER],
        _ => std::iter::once(ZONE_OTHER).chain(others).collect(),
    }
}

/// Gives every partition of a sharded collection a shard, for the epoch in use and the one after it, which a
/// topic that is created anew will have. A shard keeps what it has as long as no shard of the zone gets more
/// than its share.
pub fn assign(found: &Found, wanted: &Wanted, collection: &str, newest: &Newest) -> Vec<Assignment> {
    let Some(sharded) = found.collections.get(&wanted.namespace(collection)) else { return Vec::new() };
    let mut load = BTreeMap::<String, u32>::new();
    let mut all = Vec::new();
    let epochs = wanted.epoch..(wanted.epoch + 2).min(EPOCHS_MAX);
    for (zone, epoch) in
        zones_of(wanted, collection).into_iter().flat_map(|z| epochs.clone().map(move |e| (z, e)))
    {
        let shards = eligible(found, wanted, zone);
        if shards.is_empty() {
            continue;
        }
        let ranges: Vec<_> = (0..wanted.partitions)
            .map(|partition| {
                let (first, end) = partition_ids(zone, epoch, partition);
                let last = newest.get(&(zone, partition)).filter(|_| epoch == wanted.epoch);
                let open = last.map_or(first, |offset| id(u32::from(zone), epoch, partition, *offset) + 1);
                (open, end, last.is_some())
            })
            .collect();
        let owners: Vec<_> = ranges.iter().map(|(open, ..)| sharded.shard_of(*open)).collect();
        let chosen = spread(&owners, &shards, &mut load);
        for ((partition, (open, end, live)), shard) in (0..).zip(ranges).zip(chosen) {
            all.push(Assignment { zone, epoch, partition, open, end, live, shard });
        }
    }
    all
}

/// Chooses a shard for each of the partitions of one zone and epoch: as few change theirs as possible, no
/// shard gets more than one above the others, and of two that have the same the one with less `load` comes
/// first.
fn spread(owners: &[Option<&str>], shards: &[String], load: &mut BTreeMap<String, u32>) -> Vec<String> {
    let (share, mut larger_shares) = (owners.len() / shards.len(), owners.len() % shards.len());
    let mut taken: BTreeMap<&str, usize> = shards.iter().map(|shard| (shard.as_str(), 0)).collect();
    let mut chosen: Vec<Option<String>> = Vec::new();
    for owner in owners {
        let keeps = owner.filter(|owner| match taken.get(owner) {
            Some(taken) => *taken < share || *taken == share && larger_shares > 0,
            None => false,
        });
        if let Some(taken) = keeps.and_then(|owner| taken.get_mut(owner)) {
            *taken += 1;
            larger_shares -= usize::from(*taken > share);
        }
        chosen.push(keeps.map(str::to_owned));
    }
    // Neighbours go to the same shard where they can: fewer moves, and fewer chunks.
    let mut last: Option<&str> = None;
    for shard in chosen.iter_mut().filter(|shard| shard.is_none()) {
        let same = last.filter(|last| taken[last] < share);
        let emptiest = || {
            taken
                .iter()
                .min_by_key(|(name, taken)| (**taken, load.get(**name).copied()))
                .map(|(name, _)| *name)
        };
        let next = same.or_else(emptiest).expect("there is a shard");
        *taken.entry(next).or_default() += 1;
        *shard = Some(next.to_owned());
        last = Some(next);
    }
    let chosen: Vec<String> = chosen.into_iter().flatten().collect();
    chosen.iter().for_each(|shard| *load.entry(shard.clone()).or_default() += 1);
    chosen
}

/// The steps that bring the coming documents to their shards. Those of partitions that have documents are
/// repairs: writes go on meanwhile.
pub fn layout(found: &Found, wanted: &Wanted, collection: &str, assignments: &[Assignment]) -> Vec<Step> {
    let namespace = wanted.namespace(collection);
    let chunks = found.collections.get(&namespace).map_or(&[][..], |sharded| &sharded.chunks);
    let follows = |a: &Assignment, b: &Assignment| {
        a.shard == b.shard && a.live == b.live && a.end == i128::from(b.open)
    };
    let mut steps = Vec::new();
    for run in assignments.chunk_by(follows) {
        let (first, last) = (&run[0], &run[run.len() - 1]);
        let wrong = |chunk: &&Chunk| {
            chunk.shard != first.shard
                && number(&chunk.min) < last.end
                && i128::from(first.open) < number(&chunk.max)
        };
        let commands: Vec<_> = chunks
            .iter()
            .filter(wrong)
            .map(|chunk| {
                let min = number(&chunk.min).max(i128::from(first.open));
                let max = number(&chunk.max).min(last.end);
                let (min, max) = (doc! { "_id": bound(min) }, doc! { "_id": bound(max) });
                doc! { "moveRange": &namespace, "min": min, "max": max, "toShard": &first.shard }
            })
            .collect();
        let change = match commands.as_slice() {
            [] => Change::Keep,
            _ if first.live => Change::Repair { how: "its writes go to another shard".to_owned(), commands },
            _ => Change::Create(commands),
        };
        let partitions = match run.len() {
            1 => format!("partition {}", first.partition),
            _ => format!("partitions {} to {}", first.partition, last.partition),
        };
        let (zone, epoch, shard) = (first.zone, first.epoch, &first.shard);
        let what = format!("{collection} of zone {zone}, epoch {epoch}, {partitions} on {shard}");
        steps.push(Step { what, change });
    }
    steps
}

/// A bound of a range; the one behind the largest `_id` is the end of the key space.
fn bound(id: i128) -> Bson {
    i64::try_from(id).map_or(Bson::MaxKey, Bson::Int64)
}
