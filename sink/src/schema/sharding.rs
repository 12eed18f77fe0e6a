//! How the collections lie on the shards of a cluster: which zones there are, by which key a collection is
//! sharded, and where each partition's events go. All but reading is pure; the commands are for the database
//! `admin` of a mongos.

mod distribution;
mod found;
mod layout;
mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use domain::event_id::{EventId, OFFSETS_MAX, PARTITIONS_MAX, Source, ZONES_MAX};
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;

pub use distribution::{Holding, Holdings, count_new, holdings};
pub use found::{Chunk, Found, Shard, Sharded, ZoneRange, newest};
pub use layout::{Assignment, Newest, assign, layout, zones_of};

use super::daily::Parts;
use super::plan::{Change, Step};
use super::{ALERTS, EVENTS, Level, MINUTES, REJECTS};

/// Countries whose events and rollups stay on some shards.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// What the `_id`s of its documents begin with, 1 to 31. It must not change while documents exist.
    pub number: u8,
    /// ISO 3166-1 alpha-2.
    pub countries: Vec<String>,
    /// The shards that carry it; none named: those that the cluster says.
    #[serde(default)]
    pub shards: Vec<String>,
}

/// Zones by name.
pub type Zones = BTreeMap<String, Zone>;

/// Says so in the log when a cluster keeps one of the collections of events that are written to on one shard.
pub(super) async fn warn_unless_sharded(database: &Database, events: &[String]) {
    if !is_mongos(&database.client().database("admin")).await.unwrap_or(false) {
        return;
    }
    for name in events {
        if let Ok(stats) = database.run_command(doc! { "collStats": name }).await
            && !stats.get_bool("sharded").unwrap_or(false)
        {
            tracing::warn!(
                "{name} lies on one shard of this cluster; `streampulse mongodb init --sharded` spreads it over all"
            );
        }
    }
}

async fn is_mongos(admin: &Database) -> Result<bool> {
    let hello = admin.run_command(doc! { "hello": 1 }).await.context("cannot ask the server what it is")?;
    Ok(hello.get_str("msg").is_ok_and(|message| message == "isdbgrid"))
}

/// Makes sure that the server is a mongos that knows every command that is needed.
///
/// # Errors
/// When it is not.
pub async fn require_mongos(admin: &Database) -> Result<()> {
    ensure!(
        is_mongos(admin).await?,
        "this server is no mongos: a sharded cluster is reached through one; name one in the URI"
    );
    let build =
        admin.run_command(doc! { "buildInfo": 1 }).await.context("cannot read the server's version")?;
    let version = build.get_str("version").unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    ensure!(major >= 6, "this mongos is of version {version}; moveRange needs 6.0 or later");
    Ok(())
}

/// The countries by the number of their zone, as `access-filter-map` takes them.
///
/// # Errors
/// When two zones have one number.
pub fn countries_by_number(zones: &Zones) -> Result<BTreeMap<u8, Vec<String>>, String> {
    let mut by_number = BTreeMap::new();
    for (name, zone) in zones {
        if by_number.insert(zone.number, zone.countries.clone()).is_some() {
            return Err(format!("zone {name} has number {}, like another one", zone.number));
        }
    }
    Ok(by_number)
}

/// What a sharded cluster should be like.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Name of the database.
    pub database: &'a str,
    /// Its zones.
    pub zones: &'a Zones,
    /// How many partitions the log topic has.
    pub partitions: u32,
    /// Which incarnation of the log topic is in use, or will be first.
    pub epoch: u32,
    /// The collections of events.
    pub events: Parts,
}

impl Wanted<'_> {
    /// The full name of a collection.
    pub fn namespace(&self, collection: &str) -> String {
        format!("{}.{collection}", self.database)
    }

    /// The sharded collections: all but `pipeline_state`, a few documents that every job writes, and
    /// `access_deliveries`, which grows with incidents and not with lines.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.events.all.iter().map(String::as_str).chain(BESIDE_EVENTS)
    }

    /// The collections of which each partition's coming documents are given a shard.
    pub fn laid_out(&self) -> impl Iterator<Item = &str> {
        self.events.coming.iter().map(String::as_str).chain([REJECTS])
    }
}

/// The sharded collections beside those of events.
const BESIDE_EVENTS: [&str; 8] = [
    REJECTS,
    Level::Minute.rollups(),
    Level::Hour.rollups(),
    Level::Day.rollups(),
    MINUTES,
    Level::Hour.users(),
    Level::Day.users(),
    ALERTS,
];

/// The one shard key.
pub fn shard_key() -> Document {
    doc! { "_id": 1 }
}

/// What is to be done before documents are spread: zones, and sharding the collections.
pub fn define(found: &Found, wanted: &Wanted) -> Vec<Step> {
    let mut steps = shards_of_zones(found, wanted);
    steps.extend(zone_ranges(found, wanted));
    let enabled = match found.has_database {
        true => Change::Keep,
        false => Change::Create(vec![doc! { "enableSharding": wanted.database }]),
    };
    steps.push(Step { what: format!("database {}", wanted.database), change: enabled });
    for name in wanted.collections() {
        steps.push(Step { what: format!("shard key of {name}"), change: shard(found, wanted, name) });
    }
    steps
}

fn shard(found: &Found, wanted: &Wanted, name: &str) -> Change {
    let namespace = wanted.namespace(name);
    match found.collections.get(&namespace) {
        None => {
            let command = doc! { "shardCollection": namespace, "key": shard_key(), "unique": true };
            Change::Create(vec![command])
        }
        Some(sharded) if sharded.key == shard_key() => Change::Keep,
        Some(sharded) => Change::Differs(format!(
            "it is {}, not {}; stop the pipeline and reshard it (docs/mongodb.md)",
            sharded.key,
            shard_key()
        )),
    }
}

/// Zones whose shards cannot share the partitions evenly, for people.
pub fn uneven(found: &Found, wanted: &Wanted) -> Vec<String> {
    let partitions = wanted.partitions as usize;
    let told = |number: u8| {
        let shards = eligible(found, wanted, number).len();
        (shards > 0 && !partitions.is_multiple_of(shards)).then(|| {
            format!(
                "{partitions} partitions of access-logs cannot spread evenly over the {shards} shards of zone {number}; \
                 {} would",
                partitions.next_multiple_of(shards)
            )
        })
    };
    zones_of(wanted, EVENTS).into_iter().filter_map(told).collect()
}

/// Which shards carry which zone.
fn shards_of_zones(found: &Found, wanted: &Wanted) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, zone) in wanted.zones {
        for shard in &zone.shards {
            let change = match found.shards.get(shard) {
                None => Change::Differs(format!(
                    "there is no such shard; there are {}",
                    found.shards.keys().cloned().collect::<Vec<_>>().join(", ")
                )),
                Some(there) if there.zones.contains(name) => Change::Keep,
                Some(_) => Change::Create(vec![doc! { "addShardToZone": shard, "zone": name }]),
            };
            steps.push(Step { what: format!("zone {name} on {shard}"), change });
        }
        let carries = |(_, shard): &(&String, &Shard)| shard.zones.contains(name);
        for (shard, _) in found.shards.iter().filter(carries) {
            if !zone.shards.is_empty() && !zone.shards.contains(shard) {
                let commands = vec![doc! { "removeShardFromZone": shard, "zone": name }];
                let how = "it carries the zone, and is not named for it".to_owned();
                let change = Change::Repair { how, commands };
                steps.push(Step { what: format!("zone {name} on {shard}"), change });
            }
        }
        if eligible(found, wanted, zone.number).is_empty() {
            let how = format!("no shard carries it: name some in [mongodb.zones.{name}]");
            steps.push(Step { what: format!("zone {name}"), change: Change::Differs(how) });
        }
    }
    steps
}

/// The shards that documents of a zone may go to. Those of no zone go to shards without one, or to all.
fn eligible(found: &Found, wanted: &Wanted, number: u8) -> Vec<String> {
    let usable = found.shards.iter().filter(|(_, shard)| !shard.draining).map(|(name, _)| name);
    let usable: Vec<String> = usable.cloned().collect();
    let mut chosen = usable.clone();
    match wanted.zones.iter().find(|(_, zone)| zone.number == number) {
        Some((name, zone)) => {
            let carriers = carriers(found, name, zone);
            chosen.retain(|shard| carriers.contains(shard));
        }
        None => {
            let taken: BTreeSet<_> =
                wanted.zones.iter().flat_map(|(name, zone)| carriers(found, name, zone)).collect();
            chosen.retain(|shard| !taken.contains(shard));
            if chosen.is_empty() {
                return usable;
            }
        }
    }
    chosen
}

/// The shards that carry a zone: those that are named for it, or else those that the cluster says.
fn carriers<'f>(found: &'f Found, name: &str, zone: &Zone) -> BTreeSet<&'f String> {
    let carries = |(shard, there): &(&String, &Shard)| match zone.shards.as_slice() {
        [] => there.zones.contains(name),
        named => named.contains(shard),
    };
    found.shards.iter().filter(carries).map(|(shard, _)| shard).collect()
}

/// The ranges of `_id` that belong to zones.
fn zone_ranges(found: &Found, wanted: &Wanted) -> Vec<Step> {
    let mut ours = BTreeMap::new();
    for (name, zone) in wanted.zones {
        let number = u32::from(zone.number);
        let range = ZoneRange { min: zone_start(number), max: zone_start(number + 1), zone: name.clone() };
        for events in &wanted.events.all {
            ours.insert((wanted.namespace(events), zone.number), range.clone());
        }
        for level in Level::ALL {
            // `}` follows `|`.
            let (min, max) = (format!("{number}|").into(), format!("{number}}}").into());
            let range = ZoneRange { min, max, zone: name.clone() };
            ours.insert((wanted.namespace(level.rollups()), zone.number), range);
        }
    }
    let set = |namespace: &str, range: &ZoneRange, zone: Bson| {
        let (min, max) = (doc! { "_id": range.min.clone() }, doc! { "_id": range.max.clone() });
        doc! { "updateZoneKeyRange": namespace, "min": min, "max": max, "zone": zone }
    };
    let what = |namespace: &str, range: &ZoneRange| {
        format!("zone {} of {namespace}: {} to {}", range.zone, range.min, range.max)
    };
    let mut steps = Vec::new();
    for (namespace, range) in &found.ranges {
        let is_ours = wanted.collections().any(|name| *namespace == wanted.namespace(name));
        if is_ours && !ours.iter().any(|((known, _), ours)| known == namespace && ours == range) {
            let how = "it is not in [mongodb.zones]".to_owned();
            let commands = vec![set(namespace, range, Bson::Null)];
            let change = Change::Repair { how, commands };
            steps.push(Step { what: what(namespace, range), change });
        }
    }
    for ((namespace, _), range) in &ours {
        let is_there = found.ranges.iter().any(|(known, there)| known == namespace && there == range);
        let overlaps = |(known, there): &&(String, ZoneRange)| known == namespace && there.overlaps(range);
        let create = set(namespace, range, Bson::from(&range.zone));
        let change = match found.ranges.iter().find(overlaps) {
            _ if is_there => Change::Keep,
            None => Change::Create(vec![create]),
            Some((_, other)) => Change::Repair {
                how: format!("there lies zone {} from {} to {}", other.zone, other.min, other.max),
                commands: vec![create],
            },
        };
        steps.push(Step { what: what(namespace, range), change });
    }
    steps
}

/// The first `_id` of a zone; what comes after the last zone is the end of the key space.
fn zone_start(number: u32) -> Bson {
    match number {
        ZONES_MAX => Bson::MaxKey,
        _ => Bson::Int64(id(number, 0, 0, 0)),
    }
}

/// The number of an `_id`. The parts are in range: they come from counting up to their bounds.
fn id(zone: u32, epoch: u32, partition: u32, offset: u64) -> i64 {
    let source = Source::new(epoch, partition).expect("epoch and partition are in range");
    EventId::new(zone, source, offset).expect("zone and offset are in range").get()
}

/// The `_id`s that events of a partition can have: the first one, and one past the last.
fn partition_ids(zone: u8, epoch: u32, partition: u32) -> (i64, i128) {
    debug_assert!(partition < PARTITIONS_MAX);
    let first = id(u32::from(zone), epoch, partition, 0);
    (first, i128::from(first) + i128::from(OFFSETS_MAX))
}
