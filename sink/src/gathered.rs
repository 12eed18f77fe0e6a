//! Counts of several frames together, and the statements that add them to their windows.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use domain::MINUTE_MS;
use domain::bson::Writer;
use domain::normalize::country_text;
use domain::wire::{Cell, Delta, stored_at};
use mongodb::bson::{Bson, Document, doc};

use crate::schema::{Level, MINUTES};
use crate::signed;
use crate::sketch::{Window, date};
use crate::windows::WindowIds;
use crate::write::Write;

/// Cells from which on no more are gathered.
const CELLS_MAX: usize = 8_000;
/// Users (by minute) from which on no more are gathered.
const USERS_MAX: usize = 200_000;

/// Sketches of windows, and their estimates.
pub type Sketches = BTreeMap<Window, (i64, mongodb::bson::Binary)>;

/// Minute since 1970, zone, country and city.
type Place = (u32, u8, [u8; 2], String);
/// Accesses by device and content type, as indexes of their names; ascending.
type Counts = BTreeMap<(u8, u8), u64>;

/// Counts of several frames together.
#[derive(Default)]
pub struct Gathered {
    devices: Vec<String>,
    content_types: Vec<String>,
    cells: BTreeMap<Place, Counts>,
    /// Hashes of users by minute, as often as they come.
    users: BTreeMap<u32, Vec<u64>>,
    user_count: usize,
    /// Rejects and late lines by the minute in which their batch was stored.
    stored: BTreeMap<u32, (u64, u64)>,
    /// No more will come.
    pub is_last: bool,
}

/// The windows of each size, by their ids.
pub type Windows<'g> = BTreeMap<Level, BTreeMap<String, Rollup<'g>>>;

/// One window of one city.
pub struct Rollup<'g> {
    window: u32,
    country: &'g [u8; 2],
    city: &'g str,
    counts: Counts,
}

impl Gathered {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.stored.is_empty()
    }

    /// Whether it is time to write.
    pub fn is_full(&self) -> bool {
        self.cells.len() >= CELLS_MAX || self.user_count >= USERS_MAX
    }

    /// The users seen in each minute, by their hashes, as often as they came.
    pub fn users(&self) -> &BTreeMap<u32, Vec<u64>> {
        &self.users
    }

    /// Adds the counts of a batch that was stored at `stored_at_ms`.
    ///
    /// # Errors
    /// When there are more names than a vocabulary has.
    pub fn add(&mut self, delta: Delta, stored_at_ms: i64) -> Result<()> {
        let Delta { devices, content_types, cells, users, rejected, late, .. } = delta;
        let devices = indexes(&mut self.devices, devices)?;
        let content_types = indexes(&mut self.content_types, content_types)?;
        for Cell { minute, zone, country, city, counts } in cells {
            let cell = self.cells.entry((minute, zone, country, city)).or_default();
            for (device, content_type, n) in counts {
                let pair = (devices[usize::from(device)], content_types[usize::from(content_type)]);
                *cell.entry(pair).or_default() += u64::from(n);
            }
        }
        for (minute, hashes) in users {
            self.user_count += hashes.len();
            self.users.entry(minute).or_default().extend(hashes);
        }
        let rejected: u64 = rejected.iter().map(|count| u64::from(*count)).sum();
        if rejected > 0 || late > 0 {
            let minute = u32::try_from(stored_at(stored_at_ms) / MINUTE_MS).expect("from 1970 to 2099");
            let stored = self.stored.entry(minute).or_default();
            stored.0 += rejected;
            stored.1 += u64::from(late);
        }
        Ok(())
    }

    /// The windows of rollups that are to be written.
    pub fn windows(&self) -> Windows<'_> {
        Level::ALL.into_iter().map(|level| (level, self.windows_of(level))).collect()
    }

    fn windows_of(&self, level: Level) -> BTreeMap<String, Rollup<'_>> {
        let mut windows = BTreeMap::<String, Rollup>::new();
        for ((minute, zone, country, city), counts) in &self.cells {
            let window = level.window(*minute);
            let id = rollup_id(*zone, country, window, city);
            let rollup =
                windows.entry(id).or_insert_with(|| Rollup { window, country, city, counts: Counts::new() });
            counts.iter().for_each(|(pair, n)| *rollup.counts.entry(*pair).or_default() += n);
        }
        windows
    }

    /// What is to be written, by collection, in the order of `_id`s. Of `windows`, those that are `absent`
    /// are inserted, which costs the server a fifth of an update that finds nothing.
    pub fn writes(&self, sketches: &Sketches, windows: &Windows, absent: &WindowIds) -> Vec<Write> {
        let mut writes: Vec<_> =
            windows.iter().flat_map(|(level, of)| self.rollup_writes(*level, of, absent)).collect();
        writes.push(Write::Update(MINUTES, self.minute_statements(sketches)));
        for level in [Level::Hour, Level::Day] {
            let of_level = sketches.iter().filter(|((window_level, _), _)| *window_level == level);
            let statement = |((_, window), (users, sketch)): (&Window, &(i64, mongodb::bson::Binary))| {
                let ts = date(*window);
                upsert(
                    ts,
                    doc! { "$set": { "users": users, "sketch": sketch }, "$setOnInsert": { "ts": ts } },
                )
            };
            writes.push(Write::Update(level.users(), of_level.map(statement).collect()));
        }
        writes
    }

    fn rollup_writes(
        &self,
        level: Level,
        windows: &BTreeMap<String, Rollup>,
        absent: &WindowIds,
    ) -> [Write; 2] {
        let absent = absent.get(&level);
        let is_absent = |id: &String| absent.is_some_and(|absent| absent.contains(id));
        let (new, known): (Vec<_>, Vec<_>) = windows.iter().partition(|(id, _)| is_absent(id));
        let mut documents = Vec::new();
        new.iter().for_each(|(id, rollup)| self.write_document(id, rollup, &mut documents));
        let updates = known.iter().map(|(id, rollup)| self.update(id, rollup)).collect();
        [Write::Insert(level.rollups(), documents), Write::Update(level.rollups(), updates)]
    }

    /// Appends the document of a window that is not there yet.
    fn write_document(&self, id: &str, rollup: &Rollup, out: &mut Vec<u8>) {
        let mut document = Writer::new(out);
        document.string("_id", id);
        document.date("ts", date(rollup.window).timestamp_millis());
        document.string("country", country_text(rollup.country));
        document.string("city", rollup.city);
        document.int64("n", signed(rollup.counts.values().sum()));
        document.document("x", |x| {
            let pairs: Vec<_> = rollup.counts.iter().collect();
            for of_device in pairs.chunk_by(|((a, _), _), ((b, _), _)| a == b) {
                x.document(&self.devices[usize::from(of_device[0].0.0)], |device| {
                    for ((_, content_type), n) in of_device {
                        device.int64(&self.content_types[usize::from(*content_type)], signed(**n));
                    }
                });
            }
        });
        document.finish();
    }

    /// The statement that adds to a window, which makes it where something has removed it meanwhile.
    fn update(&self, id: &str, rollup: &Rollup) -> Document {
        let mut increments = doc! { "n": signed(rollup.counts.values().sum()) };
        for ((device, content_type), n) in &rollup.counts {
            let (device, content_type) =
                (&self.devices[usize::from(*device)], &self.content_types[usize::from(*content_type)]);
            increments.insert(format!("x.{device}.{content_type}"), signed(*n));
        }
        let country = country_text(rollup.country);
        let first = doc! { "ts": date(rollup.window), "country": country, "city": rollup.city };
        upsert(id, doc! { "$inc": increments, "$setOnInsert": first })
    }

    fn minute_statements(&self, sketches: &Sketches) -> Vec<Document> {
        let mut minutes = BTreeMap::<u32, [u64; 3]>::new();
        for ((minute, _, _, _), counts) in &self.cells {
            minutes.entry(*minute).or_default()[0] += counts.values().sum::<u64>();
        }
        for (minute, (rejected, late)) in &self.stored {
            let counts = minutes.entry(*minute).or_default();
            counts[1] += rejected;
            counts[2] += late;
        }
        let statement = |(minute, [n, rejected, late]): (u32, [u64; 3])| {
            let ts = date(minute);
            let increments = doc! { "n": signed(n), "rejected": signed(rejected), "late": signed(late) };
            match sketches.get(&(Level::Minute, minute)) {
                Some((users, sketch)) => {
                    let set = doc! { "users": users, "sketch": sketch };
                    upsert(ts, doc! { "$inc": increments, "$set": set, "$setOnInsert": { "ts": ts } })
                }
                None => upsert(ts, doc! { "$inc": increments, "$setOnInsert": { "ts": ts, "users": 0_i64 } }),
            }
        };
        minutes.into_iter().map(statement).collect()
    }
}

/// The indexes of `names` in `known`, to which new ones are appended.
fn indexes(known: &mut Vec<String>, names: Vec<String>) -> Result<Vec<u8>> {
    let index = |name: String| {
        let index = known.iter().position(|known| *known == name).unwrap_or_else(|| {
            known.push(name);
            known.len() - 1
        });
        u8::try_from(index).context("more names than vocabularies have")
    };
    names.into_iter().map(index).collect()
}

fn upsert(id: impl Into<Bson>, change: Document) -> Document {
    doc! { "q": { "_id": id.into() }, "u": change, "upsert": true }
}

/// Sorts by zone, country and window; the city is last, so that it may hold any character.
fn rollup_id(zone: u8, country: &[u8; 2], window: u32, city: &str) -> String {
    format!("{zone}|{}|{window:09}|{city}", country_text(country))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::bson::documents;
    use mongodb::bson::RawDocument;

    #[test]
    fn ids_sort_by_zone_country_and_window() {
        let ids = [
            rollup_id(0, b"BR", 9, "Rio"),
            rollup_id(0, b"BR", 29_664_725, "Recife"),
            rollup_id(0, b"BR", 29_664_726, "A"),
            rollup_id(1, b"DE", 1, "A|B"),
        ];
        assert!(ids.is_sorted());
        assert_eq!(ids[1], "0|BR|029664725|Recife");
    }

    fn delta(minutes: &[u32], devices: &[&str]) -> Delta {
        let cell = |&minute| Cell {
            minute,
            zone: 0,
            country: *b"BR",
            city: "Rio".to_owned(),
            counts: vec![(0, 0, 2), (0, 1, 1), (1, 0, 4)],
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Delta {
            devices: names(devices),
            content_types: names(&["movie", "live"]),
            cells: minutes.iter().map(cell).collect(),
            ..Delta::default()
        }
    }

    fn gathered() -> Gathered {
        let mut gathered = Gathered::default();
        gathered.add(delta(&[59, 60], &["tv", "tablet"]), 0).expect("valid");
        gathered.add(delta(&[59, 60], &["tablet", "tv"]), 0).expect("valid");
        gathered
    }

    fn updates(write: &Write) -> &[Document] {
        match write {
            Write::Update(_, statements) => statements,
            Write::Insert(..) => panic!("an update was expected"),
        }
    }

    #[test]
    fn rejects_of_a_batch_with_an_impossible_time_are_counted() {
        let mut gathered = Gathered::default();
        for stored_at_ms in [i64::MIN, -1, 59_999, i64::MAX] {
            let delta = Delta { rejected: [1, 0, 0, 0, 0, 0, 0, 1], late: 1, ..Delta::default() };
            gathered.add(delta, stored_at_ms).expect("valid");
        }
        let year_2100 = 4_102_444_800_000 / MINUTE_MS;
        assert_eq!(
            gathered.stored.into_iter().collect::<Vec<_>>(),
            [(0, (6, 3)), (u32::try_from(year_2100).expect("far below") - 1, (2, 1))]
        );
    }

    #[test]
    fn counts_of_all_levels_come_from_the_same_cells() {
        let numbers: Vec<Vec<i64>> = Level::ALL
            .map(|level| {
                let gathered = gathered();
                let [_, update] =
                    gathered.rollup_writes(level, &gathered.windows_of(level), &WindowIds::new());
                let n = |s: &Document| s.get_document("u").and_then(|u| u.get_document("$inc")?.get_i64("n"));
                updates(&update).iter().map(|s| n(s).expect("n")).collect()
            })
            .to_vec();
        assert_eq!(numbers, [vec![14, 14], vec![14, 14], vec![28]]);
    }

    #[test]
    fn a_new_window_has_what_an_update_would_give_it() {
        let gathered = gathered();
        let days = gathered.windows_of(Level::Day);
        let absent = WindowIds::from([(Level::Day, days.keys().cloned().collect())]);
        let [insert, update] = gathered.rollup_writes(Level::Day, &days, &absent);
        assert!(updates(&update).is_empty());
        let Write::Insert("access_rollups_1d", bytes) = insert else { panic!("an insert was expected") };
        let documents: Vec<Document> = documents(&bytes)
            .map(|document| RawDocument::from_bytes(document).expect("BSON").try_into().expect("BSON"))
            .collect();
        let x =
            doc! { "tv": { "movie": 12_i64, "live": 2_i64 }, "tablet": { "movie": 12_i64, "live": 2_i64 } };
        let day = doc! { "_id": "0|BR|000000000|Rio", "ts": date(0), "country": "BR", "city": "Rio", "n": 28_i64, "x": x };
        assert_eq!(documents, [day]);
        let [_, update] = gathered.rollup_writes(Level::Day, &days, &WindowIds::new());
        let increments =
            updates(&update)[0].get_document("u").and_then(|u| u.get_document("$inc")).expect("$inc");
        assert_eq!(increments.get_i64("x.tv.live").ok(), Some(2));
        assert_eq!(increments.get_i64("x.tablet.movie").ok(), Some(12));
    }
}
