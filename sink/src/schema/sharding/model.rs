//! What our own commands make of a cluster, without one: to show what `mongodb init --sharded` would do, and
//! to foretell how documents spread. A test holds it against real shards.

use mongodb::bson::{Bson, Document};

use super::found::{Chunk, Found, Sharded, ZoneRange, number};

impl Found {
    /// The cluster after `command`. Of an empty collection that is sharded, the server itself chooses where
    /// each chunk begins; here they take turns.
    pub fn apply(&mut self, command: &Document) {
        let text = |key: &str| command.get_str(key).unwrap_or_default().to_owned();
        let bound = |key: &str| command.get_document(key).ok()?.get("_id").cloned();
        let (min, max) = (bound("min").unwrap_or(Bson::MinKey), bound("max").unwrap_or(Bson::MaxKey));
        match command.keys().next().map(String::as_str) {
            Some("enableSharding") => self.has_database = true,
            Some("addShardToZone") => {
                self.shards.entry(text("addShardToZone")).or_default().zones.insert(text("zone"));
            }
            Some("removeShardFromZone") => {
                self.shards.entry(text("removeShardFromZone")).or_default().zones.remove(&text("zone"));
            }
            Some("updateZoneKeyRange") => {
                let (namespace, zone) = (text("updateZoneKeyRange"), text("zone"));
                let range = ZoneRange { min, max, zone };
                self.ranges.retain(|(known, there)| *known != namespace || !there.overlaps(&range));
                if !range.zone.is_empty() {
                    self.ranges.push((namespace, range));
                }
            }
            Some("shardCollection") => {
                let namespace = text("shardCollection");
                let chunks = self.first_chunks(&namespace);
                let key = command.get_document("key").cloned().unwrap_or_default();
                self.collections.insert(namespace, Sharded { key, chunks });
            }
            Some("moveRange") => {
                if let Some(sharded) = self.collections.get_mut(&text("moveRange")) {
                    sharded.move_range(&min, &max, &text("toShard"));
                }
            }
            _ => {}
        }
    }

    /// One chunk a range of a zone, and one a gap between them.
    fn first_chunks(&self, namespace: &str) -> Vec<Chunk> {
        let all: Vec<&String> = self.shards.keys().collect();
        let mut turn = 0;
        let mut next = |shards: &[&String]| {
            turn += 1;
            shards.get((turn - 1) % shards.len().max(1)).map(|shard| (*shard).clone()).unwrap_or_default()
        };
        let mut ranges: Vec<_> = self.ranges.iter().filter(|(known, _)| known == namespace).collect();
        ranges.sort_by(|(_, a), (_, b)| compare(&a.min, &b.min));
        let (mut chunks, mut from) = (Vec::new(), Bson::MinKey);
        for (_, ZoneRange { min, max, zone }) in ranges {
            if *min != from {
                chunks.push(Chunk { min: from, max: min.clone(), shard: next(&all), jumbo: false });
            }
            let carries = |shard: &&String| self.shards[*shard].zones.contains(zone);
            let shards: Vec<&String> = self.shards.keys().filter(carries).collect();
            chunks.push(Chunk { min: min.clone(), max: max.clone(), shard: next(&shards), jumbo: false });
            from = max.clone();
        }
        if from != Bson::MaxKey {
            chunks.push(Chunk { min: from, max: Bson::MaxKey, shard: next(&all), jumbo: false });
        }
        chunks
    }
}

impl Sharded {
    /// A range of numbers goes to a shard; it lies within one chunk.
    pub(super) fn move_range(&mut self, min: &Bson, max: &Bson, shard: &str) {
        let holds = |chunk: &Chunk| number(&chunk.min) <= number(min) && number(max) <= number(&chunk.max);
        let Some(index) = self.chunks.iter().position(holds) else { return };
        let whole = self.chunks.remove(index);
        let piece = |min: &Bson, max: &Bson, shard: &str| Chunk {
            min: min.clone(),
            max: max.clone(),
            shard: shard.to_owned(),
            jumbo: false,
        };
        let pieces = [
            piece(&whole.min, min, &whole.shard),
            piece(min, max, shard),
            piece(max, &whole.max, &whole.shard),
        ];
        let pieces = pieces.into_iter().filter(|piece| piece.min != piece.max);
        self.chunks.splice(index..index, pieces);
    }

    /// The shard of the document with this `_id`.
    pub fn shard_of(&self, id: i64) -> Option<&str> {
        let id = i128::from(id);
        let chunk = self.chunks.iter().find(|chunk| number(&chunk.min) <= id && id < number(&chunk.max));
        chunk.map(|chunk| chunk.shard.as_str())
    }
}

/// The order of texts or numbers; the ends of the key space lie outside of both.
fn compare(a: &Bson, b: &Bson) -> std::cmp::Ordering {
    match (a, b) {
        (Bson::String(a), Bson::String(b)) => a.cmp(b),
        _ => number(a).cmp(&number(b)),
    }
}
