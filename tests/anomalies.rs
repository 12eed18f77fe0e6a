//! What is learned, through the whole pipeline: a bot attack and an outage in three days of traffic, told
//! once, across kills; and what `detect` says of them afterwards.

use mongodb::bson::Document;
use serde_json::Value;

use crate::sample::all;
use crate::support::{database, database_name, kill_after, mongodb_uri, run, streampulse};

const START: &str = "2026-09-01T00:00:00Z";
/// Two and a half days of a line a second.
const TRAFFIC: &str = "--start 2026-09-01T00:00:00Z --rate 1 --events 216000 --seed 11 \
                       --incident bot@+1d6h/12m*5 --incident outage@+1d20h/40m:BR";

/// What must be told, each once: the bots as a group, their country and the outage. When exactly, and whether
/// single bots are seen too, depends on where batches end, since some lines are late.
const EXPECTED: [&str; 3] =
    ["bot_group|platform|2026-09-02T06:0", "more|country:", "less|country:BR|2026-09-02T20:"];
/// Alerts in all.
const TOLD_MAX: usize = 5;

/// Panics unless these ids tell all of it, once, and no more than a little else.
fn check(what: &str, ids: &[&str], expected: &[&str]) {
    for begin in expected {
        let found = ids.iter().filter(|id| id.starts_with(begin)).count();
        assert_eq!(found, 1, "{what}: {begin} in {ids:#?}");
    }
    assert!(ids.len() <= TOLD_MAX, "{what}: {ids:#?}");
}

/// The same of a database, where everything has ended too.
async fn check_stored(what: &str, name: &str) {
    let alerts = all(&database(name).await, "access_alerts").await;
    let text = |alert: &Document, key: &str| alert.get_str(key).expect("a text").to_owned();
    let ids: Vec<String> = alerts.iter().map(|alert| text(alert, "_id")).collect();
    check(what, &ids.iter().map(String::as_str).collect::<Vec<_>>(), &EXPECTED);
    assert!(alerts.iter().all(|alert| text(alert, "status") == "closed"), "{what}: {alerts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn incidents_are_told_once_across_kills_and_again_by_a_replay_of_the_rollups() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = run(streampulse(dir.path(), &format!("produce --print {TRAFFIC}")), 0);
    std::fs::write(dir.path().join("log"), file.stdout).expect("a file");
    let place = |data: &str, name: &str| {
        format!("--data-dir {data} --database {name} --mongodb-uri {}", mongodb_uri())
    };
    let (whole, killed) = (database_name("incidents"), database_name("incidents"));
    let up = "up --file log --until-drained";
    run(streampulse(dir.path(), &format!("{up} {}", place("a", &whole))), 0);
    check_stored("in one go", &whole).await;
    for events in [40_000, 110_000, 160_000] {
        let pipeline = streampulse(dir.path(), &format!("{up} {}", place("b", &killed)));
        kill_after(&database(&killed).await, events, pipeline).await;
    }
    run(streampulse(dir.path(), &format!("{up} {}", place("b", &killed))), 0);
    check_stored("across kills", &killed).await;

    let detect = format!("detect --format json --from {START} {}", place("a", &whole));
    let replayed = run(streampulse(dir.path(), &detect), 0);
    let replayed = String::from_utf8(replayed.stdout).expect("UTF-8");
    let replayed: Vec<Value> =
        replayed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<&str> = replayed.iter().map(|alert| alert["_id"].as_str().expect("an id")).collect();
    check("by a replay", &ids, &EXPECTED);
}

#[test]
fn a_series_in_a_file_is_scored_point_by_point() {
    let dir = tempfile::tempdir().expect("a folder");
    let value = |i: i64| if (3_000..3_005).contains(&i) { 900 } else { 100 + i * 37 % 13 };
    let rows = (0..4_000).map(|i| format!("{},{}\n", 1_790_000_000 + i * 60, value(i)));
    let text: String = std::iter::once("timestamp,value\n".to_owned()).chain(rows).collect();
    std::fs::write(dir.path().join("series.csv"), text).expect("a file");
    let scored = run(streampulse(dir.path(), "detect --csv series.csv"), 0);
    let scored = String::from_utf8(scored.stdout).expect("UTF-8");
    let alarms: Vec<&str> = scored.lines().skip(1).filter(|line| !line.ends_with(",0")).collect();
    assert_eq!((scored.lines().next(), scored.lines().count()), (Some("timestamp,value,score"), 4_001));
    assert!(
        alarms.iter().any(|line| line.starts_with("1790180000,") || line.starts_with("1790180060,")),
        "{alarms:?}"
    );
    assert!(alarms.len() < 8, "{alarms:?}");

    std::fs::write(dir.path().join("wrong.csv"), "timestamp,value\n2026-11-22 10:00:00,1\nnoon,2\n")
        .expect("a file");
    let refused = run(streampulse(dir.path(), "detect --csv wrong.csv"), 2);
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("line 3 of wrong.csv is not `timestamp,value`"), "{told}");
}
