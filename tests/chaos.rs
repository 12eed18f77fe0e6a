//! Chaos: the pipeline under load on a replica set of three and, where Fluvio is installed, in two rounds of three
//! on a cluster, while parts of all of them are killed, stopped, starved and cut off at moments drawn from a seed.
//! Afterwards every line must be there once, in every form.
//!
//! `cargo xtask chaos` runs it; the variables are its flags.

mod cluster;
mod disk;
mod fault;
mod pipeline;
mod proxy;
mod replica_set;
mod traffic;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sample::{Cells, all, millis};
use fault::Blow;
use pipeline::{Pipeline, Setup};
use replica_set::ReplicaSet;
use traffic::Traffic;

/// How many rounds; each has the seed after that of the one before.
const ROUNDS: &str = "STREAMPULSE_CHAOS_ROUNDS";
/// Seed of the first round.
const SEED: &str = "STREAMPULSE_CHAOS_SEED";
/// Faults of a round.
const BLOWS: std::ops::Range<usize> = 4..8;
/// In which time the lines of a round come.
const LINES_COME_WITHIN: std::ops::Range<u64> = 10..25;
/// Longest time until everything is stored once the last fault is undone.
const RECOVERY_MAX: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(100);

fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
        Err(_) => default,
    }
}

/// Says how to repeat a round that ends with a violation.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "violation: `cargo xtask chaos --rounds 1 --seed {}` repeats this round's faults",
                self.0
            );
        }
    }
}

// More threads than the machine may have cores: some wait for processes whose traffic passes the proxies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_fault_loses_a_line_or_counts_one_twice() {
    let (rounds, first) = (number(ROUNDS, 1), number(SEED, 1));
    let mut set = ReplicaSet::start().await;
    let (mut struck, mut recoveries) = (BTreeMap::<String, u32>::new(), Vec::new());
    for seed in first..first + rounds {
        let _repeat = Repeat(seed);
        recoveries.push(round(seed, &mut set, &mut struck).await);
    }
    recoveries.sort_unstable();
    let faults: u32 = struck.values().sum();
    println!(
        "verified: {rounds} rounds, {faults} faults, no violation; recovered within {:.1} s (median), {:.1} s (most)",
        recoveries[recoveries.len() / 2].as_secs_f64(),
        recoveries[recoveries.len() - 1].as_secs_f64()
    );
    for (fault, count) in struck {
        println!("    {count:>4} {fault}");
    }
}

/// One round. Gives how long it took from the end of the last fault until everything was stored.
async fn round(seed: u64, set: &mut ReplicaSet, struck: &mut BTreeMap<String, u32>) -> Duration {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let traffic = Traffic::new(&mut random);
    let time = Duration::from_secs(random.random_range(LINES_COME_WITHIN));
    set.until_whole().await;
    let name = format!("chaos{seed}");
    let database = set.database(&name).await;
    let setup = Setup::of(seed);
    let mut pipeline = tokio::task::block_in_place(|| Pipeline::start(setup, &set.uri(), &name));
    let blows = random.random_range(BLOWS);
    let blows: Vec<_> = (0..blows).map(|_| Blow::draw(&mut random, &pipeline, set)).collect();
    println!("seed {seed}: {setup:?}, {} lines within {} s", traffic.lines(), time.as_secs());
    let log = pipeline.log();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| traffic.write(&log, time));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                for blow in blows {
                    tokio::time::sleep(blow.after).await;
                    pipeline.ensure_running();
                    println!("    {:?} for {:.1} s", blow.faults, blow.hold.as_secs_f64());
                    blow.names().for_each(|name| *struck.entry(name).or_default() += 1);
                    blow.strike(&mut pipeline, set).await;
                }
            });
        });
        writing.join().expect("the lines are written");
    });
    let healed = Instant::now();
    until_stored(&database, &mut pipeline, set, traffic.lines()).await;
    let recovery = healed.elapsed();
    // A connector that is ended leaves to the next one what lies behind its checkpoint, stored or not; `up`, once
    // it runs, leaves nothing.
    let is_one_process = !matches!(setup, Setup::Connectors);
    if is_one_process {
        until_ready(&mut pipeline, set).await;
    }
    pipeline.terminate();
    let left = pipeline.finish();
    assert!(left == 0 || !is_one_process, "{left} lines were left in the log: {}", pipeline.errors());
    check(&database, &traffic).await;
    println!(
        "    stored {:.1} s later; {} restarts; {left} lines read again",
        recovery.as_secs_f64(),
        pipeline.restarts
    );
    database.drop().await.expect("the database is dropped");
    recovery
}

/// Waits until so many lines are counted. What ends meanwhile, of a fault before, is started again.
async fn until_stored(database: &Database, pipeline: &mut Pipeline, set: &mut ReplicaSet, lines: u64) {
    let until = Instant::now() + RECOVERY_MAX;
    loop {
        pipeline.ensure_running();
        set.ensure_running();
        // A count that fails is made again: an election can still be under way.
        let counted = counted(database).await.unwrap_or(0);
        if counted >= lines {
            return;
        }
        assert!(Instant::now() < until, "stuck at {counted} of {lines} lines: {}", pipeline.errors());
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until the pipeline reads its log: it may have been started again at the very end.
async fn until_ready(pipeline: &mut Pipeline, set: &mut ReplicaSet) {
    let until = Instant::now() + RECOVERY_MAX;
    while !pipeline.is_ready() {
        pipeline.ensure_running();
        set.ensure_running();
        assert!(Instant::now() < until, "it does not become ready: {}", pipeline.errors());
        tokio::time::sleep(POLL).await;
    }
}

/// How many lines the rollups have seen.
async fn counted(database: &Database) -> Option<u64> {
    let sum = doc! { "$group": { "_id": null, "n": { "$sum": { "$add": ["$n", "$rejected"] } } } };
    let minutes = database.collection::<Document>("access_minutes");
    let mut sums = minutes.aggregate([sum]).await.ok()?;
    let sum = sums.try_next().await.ok()??;
    u64::try_from(sum.get_i64("n").ok()?).ok()
}

/// Panics unless the database holds exactly these lines: events counted by the server, rollups, minutes, rejects
/// and alerts.
async fn check(database: &Database, traffic: &Traffic) {
    traffic.sample.check(database).await;
    let raw = raw_cells(database).await;
    assert!(raw == *traffic.cells(), "events: {} cells, expected {}", raw.len(), traffic.cells().len());
    let alerts = all(database, "access_alerts").await;
    let observed: BTreeMap<i64, i64> =
        alerts.iter().map(|alert| (millis(alert), alert.get_i64("observed").expect("a count"))).collect();
    assert_eq!(observed, traffic.alerts(), "alerts: {alerts:#?}");
    assert_eq!(alerts.len(), observed.len(), "a minute alerts once");
    let is_closed = |alert: &Document| alert.get_str("status").is_ok_and(|status| status == "closed");
    assert!(alerts.iter().all(is_closed), "an alert stays open: {alerts:#?}");
}

/// The events by minute and place, device and content type, counted by the server.
async fn raw_cells(database: &Database) -> Cells {
    let minute = doc! { "$dateTrunc": { "date": "$ts", "unit": "minute" } };
    let key = doc! {
        "ts": minute, "country": "$country", "city": "$city", "device": "$device", "content": "$content_type",
    };
    let events = database.collection::<Document>("access_events");
    let groups = events.aggregate([doc! { "$group": { "_id": key, "n": { "$sum": 1_i64 } } }]);
    let groups: Vec<Document> = groups.await.expect("a cursor").try_collect().await.expect("groups");
    let cell = |group: Document| {
        let key = group.get_document("_id").expect("a key");
        let text = |name: &str| key.get_str(name).expect("a text").to_owned();
        let place = (millis(key), text("country"), text("city"), text("device"), text("content"));
        (place, group.get_i64("n").expect("a count"))
    };
    groups.into_iter().map(cell).collect()
}
