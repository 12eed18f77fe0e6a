//! Zones: a country's events and rollups lie in the range of `_id` that its zone has, through kills and
//! through a change of the zones, and nothing is lost or counted twice for it.

use std::path::Path;

use mongodb::Database;
use mongodb::bson::Document;

use crate::sample::{Sample, all};
use crate::support::{database, database_name, kill_after, mongodb_uri, run, streampulse};

fn write(dir: &Path, sample: &Sample, zones: &[(&str, u8, &str)]) {
    let zone = |(name, number, countries): &(&str, u8, &str)| {
        format!("[mongodb.zones.{name}]\nnumber = {number}\ncountries = [{countries}]\n")
    };
    std::fs::write(dir.join("fluvio.toml"), zones.iter().map(zone).collect::<String>()).expect("a file");
    std::fs::write(dir.join("log"), sample.file()).expect("a file");
}

/// How many documents a country has in each zone, by their ids.
async fn by_zone(database: &Database, name: &str, country: &str) -> Vec<(i64, usize)> {
    let zone = |document: &Document| match document.get_i64("_id") {
        Ok(id) => id >> 58,
        Err(_) => document
            .get_str("_id")
            .expect("an id")
            .split('|')
            .next()
            .expect("a zone")
            .parse()
            .expect("a number"),
    };
    let documents = all(database, name).await;
    let zones = documents
        .iter()
        .filter(|document| document.get_str("country").is_ok_and(|found| found == country))
        .map(zone);
    let mut zones: Vec<i64> = zones.collect();
    zones.sort_unstable();
    zones.chunk_by(|a, b| a == b).map(|zone| (zone[0], zone.len())).collect()
}

async fn sum(database: &Database, name: &str) -> i64 {
    all(database, name).await.iter().map(|document| document.get_i64("n").expect("n")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_lie_in_their_countries_zone_through_kills_and_changes() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("zones");
    let database = database(&name).await;
    let args = format!("--data-dir data --database {name} --mongodb-uri {}", mongodb_uri());
    let up = format!("up --file log --until-drained {args}");
    let mut sample = Sample::valid(40_000, 11);
    sample.push_bad("not_json", "none");
    write(dir.path(), &sample, &[("EU", 1, "\"DE\", \"PT\"")]);
    kill_after(&database, 10_000, streampulse(dir.path(), &up)).await;
    run(streampulse(dir.path(), &up), 0);
    sample.check(&database).await;
    for collection in ["access_events", "access_rollups_1m", "access_rollups_1h", "access_rollups_1d"] {
        for (country, zone) in [("DE", 1), ("PT", 1), ("BR", 0)] {
            let zones = by_zone(&database, collection, country).await;
            assert!(zones.len() == 1 && zones[0].0 == zone, "{country} in {collection}: {zones:?}");
        }
    }

    // What is in the log already keeps the zones that held when it came in; what comes after has the new ones.
    let more = Sample::valid(40_000, 12);
    sample = sample.and(more);
    write(dir.path(), &sample, &[("EU", 1, "\"DE\", \"PT\"")]);
    kill_after(&database, 50_000, streampulse(dir.path(), &up)).await;
    let before = by_zone(&database, "access_events", "PT").await;
    sample = sample.and(Sample::valid(4_000, 13));
    write(dir.path(), &sample, &[("EU", 1, "\"DE\""), ("IBERIA", 2, "\"PT\"")]);
    run(streampulse(dir.path(), &up), 0);
    let after = by_zone(&database, "access_events", "PT").await;
    assert!(after.len() == 2 && after[0].1 >= before[0].1 && after[1].0 == 2, "{before:?}, then {after:?}");
    let accesses =
        sample.cells.iter().filter(|((_, country, ..), _)| country == "PT").map(|(_, n)| n).sum::<i64>();
    assert_eq!(after.iter().map(|(_, n)| *n as i64).sum::<i64>(), accesses);
    for collection in ["access_rollups_1m", "access_rollups_1h", "access_rollups_1d"] {
        assert_eq!(sum(&database, collection).await, sample.accepted, "{collection}");
    }
    let report = run(streampulse(dir.path(), &format!("report --country PT --format json {args}")), 0);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(report["totals"]["accesses"], accesses);
}
