//! Random accesses and the rollups that they make, computed here without any code of the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use mongodb::Database;
use mongodb::bson::{self, Document, doc};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const ACCESSES: usize = 20_000;
pub const DAYS: i64 = 4;
const USERS: u32 = 500;

pub struct Access {
    pub ts: DateTime<Utc>,
    pub user: u32,
    pub device: &'static str,
    pub content_type: &'static str,
    pub country: &'static str,
    pub city: &'static str,
}

pub fn at(ts: &str) -> DateTime<Utc> {
    ts.parse().unwrap()
}

/// The first minute is within an hour and a day, so that a whole extent has ragged ends.
pub fn random_accesses(seed: u64) -> Vec<Access> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let start = at("2026-10-30T22:47:00Z");
    let places = [("BR", "São Paulo"), ("BR", "A|B"), ("US", "Springfield"), ("JP", "東京"), ("BO", "")];
    (0..ACCESSES)
        .map(|_| {
            let mut second = rng.random_range(0..DAYS * 86_400);
            if rng.random_bool(0.1) {
                // A minute in each day that stands out.
                second = second / 86_400 * 86_400 + 7_200 + rng.random_range(0..60);
            }
            let (country, city) = *places.choose(&mut rng).unwrap();
            Access {
                ts: start + TimeDelta::milliseconds(second * 1_000 + rng.random_range(0..1_000)),
                user: rng.random_range(0..USERS),
                device: ["tv", "smartphone", "tablet", "other"].choose(&mut rng).unwrap(),
                content_type: ["movie", "series", "live"].choose(&mut rng).unwrap(),
                country,
                city,
            }
        })
        .collect()
}

pub fn floor(ts: DateTime<Utc>, minutes: i64) -> DateTime<Utc> {
    let size = minutes * 60;
    DateTime::from_timestamp(ts.timestamp().div_euclid(size) * size, 0).unwrap()
}

pub fn date(ts: DateTime<Utc>) -> bson::DateTime {
    bson::DateTime::from_millis(ts.timestamp_millis())
}

fn rollups(accesses: &[Access], minutes: i64) -> Vec<Document> {
    let mut windows: BTreeMap<_, BTreeMap<&str, BTreeMap<&str, i64>>> = BTreeMap::new();
    for a in accesses {
        let x = windows.entry((floor(a.ts, minutes), a.country, a.city)).or_default();
        *x.entry(a.device).or_default().entry(a.content_type).or_default() += 1;
    }
    let documents = windows.into_iter().map(|((ts, country, city), x)| {
        let n: i64 = x.values().flat_map(|contents| contents.values()).sum();
        let x: Document = x
            .into_iter()
            .map(|(device, contents)| {
                let contents: Document =
                    contents.into_iter().map(|(k, n)| (k.to_owned(), n.into())).collect();
                (device.to_owned(), contents.into())
            })
            .collect();
        let id = format!("0|{country}|{:09}|{city}", ts.timestamp() / 60);
        doc! { "_id": id, "ts": date(ts), "country": country, "city": city, "n": n, "x": x }
    });
    documents.collect()
}

pub fn users(accesses: &[Access], minutes: i64) -> BTreeMap<DateTime<Utc>, BTreeSet<u32>> {
    let mut windows: BTreeMap<DateTime<Utc>, BTreeSet<u32>> = BTreeMap::new();
    for a in accesses {
        windows.entry(floor(a.ts, minutes)).or_default().insert(a.user);
    }
    windows
}

/// Exact user counts stand for the estimates; the sketch is only there to be left unread.
pub async fn fill(db: &Database, accesses: &[Access]) {
    let sketch = || bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![7; 300] };
    let insert = async |name: &str, documents: Vec<Document>| {
        db.collection::<Document>(name).insert_many(documents).await.unwrap();
    };
    for (name, minutes) in [("access_rollups_1m", 1), ("access_rollups_1h", 60), ("access_rollups_1d", 1440)]
    {
        insert(name, rollups(accesses, minutes)).await;
    }
    for (name, minutes) in [("access_users_1h", 60), ("access_users_1d", 1440)] {
        let windows = users(accesses, minutes).into_iter();
        let documents = windows.map(|(ts, users)| {
            doc! { "_id": date(ts), "ts": date(ts), "users": users.len() as i64, "sketch": sketch() }
        });
        insert(name, documents.collect()).await;
    }
    let mut counts: BTreeMap<DateTime<Utc>, i64> = BTreeMap::new();
    for a in accesses {
        *counts.entry(floor(a.ts, 1)).or_default() += 1;
    }
    let users = users(accesses, 1);
    let mut documents: Vec<Document> = counts
        .iter()
        .map(|(ts, n)| {
            doc! {
                "_id": date(*ts), "ts": date(*ts), "n": *n, "users": users[ts].len() as i64,
                "rejected": 2_i64, "late": 1_i64, "sketch": sketch(),
            }
        })
        .collect();
    // Lines of an old log are refused long after the minutes they tell of.
    let refused = date(at("2027-01-01T00:00:00Z"));
    documents.push(doc! { "_id": refused, "ts": refused, "n": 0_i64, "rejected": 1_000_i64, "late": 0_i64 });
    insert("access_minutes", documents).await;
}
