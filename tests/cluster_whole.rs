//! The long part of the cluster suite, which only `cargo xtask test --cluster` runs: many lines, and memory
//! over time. What it measures is printed in lines that begin with `verified:`.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use runtime::Writers;
use runtime::cluster::{Address, Cluster};
use runtime::lease::Holder;
use serde_json::Value;

use crate::cluster::Case;
use crate::sample::{all, millis};
use crate::support::{database, database_name, mongodb_uri, run, streampulse};

/// Set by `cargo xtask test --cluster`.
const WHOLE: &str = "STREAMPULSE_CLUSTER_WHOLE";
/// Collections whose documents must not depend on the runtime.
const ROLLUPS: [&str; 3] = ["access_rollups_1m", "access_rollups_1h", "access_rollups_1d"];
/// Collections with estimates of distinct users.
const USERS: [&str; 3] = ["access_minutes", "access_users_1h", "access_users_1d"];
/// How much an SPU may grow between the second and the last million of ten, in MiB.
const GROWTH_MIB_MAX: u64 = 64;

async fn case(test: &str, spus: usize) -> Option<Case> {
    std::env::var_os(WHOLE)?;
    Case::new(test, spus).await
}

/// Synthetic lines into the case's file `log`, of which a share is no events.
fn write_lines(case: &Case, count: u64, rate: f64, malformed: f64) {
    let args = format!(
        "produce --print --events {count} --seed 42 --rate {rate} --start 2026-11-01T00:00:00Z --malformed {malformed}"
    );
    let mut command = streampulse(case.path(), &args);
    command.stdout(File::create(case.path().join("log")).expect("a file"));
    let ended = command.status().expect("the command runs");
    assert!(ended.success(), "{ended}");
}

async fn count(database: &Database, collection: &str) -> u64 {
    database.collection::<Document>(collection).count_documents(doc! {}).await.expect("a count")
}

/// The estimates by window; a window without users holds only lines that are no events.
async fn users(database: &Database, collection: &str) -> BTreeMap<i64, i64> {
    let windows = all(database, collection).await.into_iter();
    let windows = windows.map(|window| (millis(&window), window.get_i64("users").expect("an estimate")));
    windows.filter(|(_, users)| *users > 0).collect()
}

/// What of an alert does not depend on when it was found. Users are only seen that make many accesses in one stored
/// batch, and batches differ.
async fn alerts(database: &Database) -> BTreeMap<String, Vec<Option<Bson>>> {
    let lasting = ["kind", "ts", "observed", "limit", "status", "incident"];
    let alerts = all(database, "access_alerts").await;
    alerts
        .into_iter()
        .filter(|alert| alert.get_str("kind").expect("a kind") != "bot_users")
        .map(|alert| {
            let id = alert.get_str("_id").expect("an id").to_owned();
            (id, lasting.iter().map(|key| alert.get(*key).cloned()).collect())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_million_lines_give_the_same_on_both_runtimes() {
    let Some(case) = case("million", 2).await else { return };
    write_lines(&case, 1_000_000, 5.0, 0.01);
    let name = database_name("million_embedded");
    let embedded = database(&name).await;
    let rest = format!("--limit-per-minute 500 --mongodb-uri {} --data-dir data", mongodb_uri());
    let args = format!("up --file log --until-drained --summary json --database {name} {rest}");
    let expected: Value =
        serde_json::from_slice(&run(streampulse(case.path(), &args), 0).stdout).expect("JSON");
    case.deploy();
    let args = format!("{} --limit-per-minute 500", case.up_args());
    let found: Value = serde_json::from_slice(&run(case.command(&args), 0).stdout).expect("JSON");
    for key in ["read", "accepted", "rejected", "rejected_by_reason", "stored", "duplicates"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
    for collection in ROLLUPS {
        let (found, expected) = (all(&case.database, collection).await, all(&embedded, collection).await);
        assert!(found == expected, "{collection}: {} documents, expected {}", found.len(), expected.len());
        println!("verified: {} documents of {collection} are equal field for field", found.len());
    }
    for collection in USERS {
        let (found, expected) = (users(&case.database, collection).await, users(&embedded, collection).await);
        assert!(found == expected, "{collection}: {} windows, expected {}", found.len(), expected.len());
        println!("verified: {} estimates of distinct users in {collection} are equal", found.len());
    }
    let (found_alerts, expected_alerts) = (alerts(&case.database).await, alerts(&embedded).await);
    assert!(!expected_alerts.is_empty(), "the limit is too high to compare alerts");
    assert_eq!(found_alerts, expected_alerts);
    let report = |database: &str| {
        let args = format!("report --format json --database {database} --mongodb-uri {}", mongodb_uri());
        let report: Value =
            serde_json::from_slice(&run(streampulse(case.path(), &args), 0).stdout).expect("JSON");
        report
    };
    let (found_report, mut expected_report) = (report(&case.name), report(&name));
    // When an alert was found is the run's own.
    expected_report["alerts"] = found_report["alerts"].clone();
    assert_eq!(found_report, expected_report);
    println!(
        "verified: 1,000,000 lines, {} alerts and the report are the same; cluster {} lines/s, embedded {} lines/s",
        found_alerts.len(),
        found["events_per_second"],
        expected["events_per_second"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_million_lines_that_wait_in_the_topic_are_all_read() {
    let Some(case) = case("threemillion", 1).await else { return };
    case.deploy();
    // `fluvio produce` ends without an error at a line that is not UTF-8.
    write_lines(&case, 1_000_000, 2.0, 0.0);
    case.write("none", "");
    let file = case.path().join("log").to_string_lossy().into_owned();
    for _ in 0..3 {
        case.fluvio.fluvio(&["produce", "access-logs", "--file", &file]);
    }
    let args = format!("up --file none --until-drained --summary json {}", case.flags());
    let summary: Value = serde_json::from_slice(&run(case.command(&args), 0).stdout).expect("JSON");
    assert_eq!(summary["read"], 3_000_000);
    let stored = count(&case.database, "access_events").await + count(&case.database, "access_rejects").await;
    assert_eq!(stored, 3_000_000);
    for rollup in ROLLUPS {
        let sum = vec![doc! { "$group": { "_id": null, "n": { "$sum": "$n" } } }];
        let mut sums = case.database.collection::<Document>(rollup).aggregate(sum).await.expect("sums");
        assert!(sums.advance().await.expect("a sum"));
        let sum = sums.deserialize_current().expect("a document").get_i64("n").expect("n");
        assert_eq!(sum, summary["accepted"], "{rollup}");
    }
    println!("verified: 3,000,000 lines of `fluvio produce` that waited in the topic are all counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_retention_removed_unread_are_named() {
    let Some(case) = case("evicted", 1).await else { return };
    let topic =
        ["topic", "create", "access-logs", "-p", "1", "--retention-time", "10s", "--segment-size", "2000000"];
    case.fluvio.fluvio(&topic);
    write_lines(&case, 40_000, 5.0, 0.0);
    case.write("fluvio.toml", "[topics.access-logs]\npartitions = 1\nretention_s = 10\n");
    case.deploy_finding();
    // Known to the pipeline from its beginning on, and then left alone.
    let first = format!("up --events 10 --until-drained {}", case.flags());
    run(case.command(&first), 0);
    let file = case.path().join("log").to_string_lossy().into_owned();
    case.fluvio.fluvio(&["produce", "access-logs", "--file", &file]);
    let until = Instant::now() + Duration::from_secs(180);
    // `fluvio partition list` goes on to show a base of 0.
    let address = Address { endpoint: Some(case.fluvio.endpoint()), profile: None };
    let cluster = Cluster::connect(&address, case.database.clone(), Holder::this_process()).await;
    let topic = cluster.expect("a cluster").existing("access-logs", Writers::One).await.expect("a topic");
    while topic.state().await.expect("a state").partitions[0].start <= 10 {
        assert!(Instant::now() < until, "retention removes nothing");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    case.write("none", "");
    let args = format!("up --file none --until-drained {}", case.flags());
    let error = String::from_utf8_lossy(&run(case.command(&args), 2).stderr).into_owned();
    assert!(error.contains("lines 10 to ") && error.contains("they are lost"), "{error}");
    let told = error.lines().next_back().unwrap_or_default();
    println!("verified: lines that retention removed unread stop the job: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_spu_stays_flat_over_ten_million_lines() {
    let Some(case) = case("flat", 1).await else { return };
    case.deploy();
    let args = format!(
        "up --events 10000000 --seed 1 --rate 20 --start 2021-01-01T00:00:00Z --until-drained --summary json {}",
        case.flags()
    );
    let mut up = case.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let events = case.database.collection::<Document>("access_events");
    let (began, mut at_millions) = (Instant::now(), BTreeMap::new());
    while up.try_wait().expect("a state").is_none() {
        let millions = events.estimated_document_count().await.unwrap_or(0) / 1_000_000;
        let kib = case.fluvio.spu_resident_kib(0);
        let highest = at_millions.entry(millions).or_insert(0);
        *highest = kib.max(*highest);
        assert!(began.elapsed() < Duration::from_secs(40 * 60), "{millions} million lines in 40 minutes");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(up.wait().expect("it ended").success());
    let mib: Vec<u64> = at_millions.values().map(|kib| kib >> 10).collect();
    println!("verified: highest resident memory of the SPU by million of lines, in MiB: {mib:?}");
    assert!(mib.len() > 8, "{mib:?}");
    assert!(mib[mib.len() - 1] <= mib[2] + GROWTH_MIB_MAX, "{mib:?}");
}
