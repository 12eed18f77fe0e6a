//! Events in a collection a day: each lies in that of its day, once, through kills and a view that lost days;
//! days that are over are dropped when asked, and only these.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};

use sink::schema::daily::{AHEAD_DAYS, Day, KEPT_DAYS_MAX, view};

use crate::sample::{Sample, all, millis};
use crate::support::{database, database_name, kill_after, mongodb_uri, run, streampulse};

const DAY_MS: i64 = 24 * 60 * 60_000;
const KEPT_DAYS: i64 = 5;

fn now_ms() -> i64 {
    DateTime::now().timestamp_millis()
}

fn name_of(ts_ms: i64) -> String {
    format!(
        "access_events_{}",
        chrono::DateTime::from_timestamp_millis(ts_ms).expect("a time").format("%Y%m%d")
    )
}

/// Lines of the last four days, two for each that is newer than before, and some that belong to no day.
fn sample(count: i64) -> Sample {
    let (mut sample, now_ms) = (Sample::default(), now_ms());
    for i in 0..count {
        let ago = (count - i) * 3 * DAY_MS / count + i * 7_919_333 % DAY_MS;
        let ts_ms = match i % 100 {
            7 => now_ms - 10 * DAY_MS + i,
            8 => now_ms + 20 * DAY_MS + i,
            _ => now_ms - ago,
        };
        let pick = |n: i64, shift: i64| (i / shift % n) as usize;
        sample.push(&format!("u{}", i % 997), ts_ms, pick(5, 1), pick(4, 5), pick(4, 20));
    }
    sample
}

fn init(dir: &Path, name: &str, flags: &str, code: i32) -> Vec<String> {
    let args = format!("mongodb init --database {name} --mongodb-uri {} {flags}", mongodb_uri());
    let output = run(streampulse(dir, &args), code);
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().skip(1).map(|line| line.trim().to_owned());
    lines.filter(|line| !line.starts_with("keep")).collect()
}

/// How many events each collection holds, by its name.
async fn by_collection(database: &Database) -> BTreeMap<String, i64> {
    let filter = doc! { "name": { "$regex": "^access_events_" } };
    let mut counts = BTreeMap::new();
    for name in database.list_collection_names().filter(filter).await.expect("a list") {
        let count = database.collection::<Document>(&name).count_documents(doc! {}).await.expect("a count");
        counts.insert(name, count as i64);
    }
    counts.retain(|_, count| *count > 0);
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_lies_in_the_collection_of_its_day_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("daily");
    let database = database(&name).await;
    // What is older than five days would be gone within a minute, before it is counted here.
    let admin = database.client().database("admin");
    admin.run_command(doc! { "setParameter": 1, "ttlMonitorEnabled": false }).await.expect("it is set");
    let config = format!("[mongodb.retention]\nevents_days = {KEPT_DAYS}\nevents_by = \"drop\"\n");
    std::fs::write(dir.path().join("fluvio.toml"), config).expect("a file");
    let sample = sample(40_000);
    std::fs::write(dir.path().join("log"), sample.file()).expect("a file");

    let place = format!("--data-dir data --database {name} --mongodb-uri {}", mongodb_uri());
    let up = format!("up --file log --until-drained {place}");
    for events in [8_000, 20_000] {
        kill_after(&database, events, streampulse(dir.path(), &up)).await;
        // What is stored is asked of the collections, so a view that shows none of them does no harm.
        let blind = doc! { "collMod": "access_events", "viewOn": "access_events_other", "pipeline": [] };
        database.run_command(blind).await.expect("it is set");
    }
    run(streampulse(dir.path(), &up), 0);
    sample.check(&database).await;

    let mut expected = BTreeMap::<String, i64>::new();
    for ((minute, ..), n) in &sample.cells {
        let is_kept = (now_ms() - KEPT_DAYS * DAY_MS..now_ms() + DAY_MS).contains(minute);
        let name = if is_kept { name_of(*minute) } else { "access_events_other".to_owned() };
        *expected.entry(name).or_default() += n;
    }
    assert!(expected.len() >= 4, "{expected:?}");
    assert_eq!(by_collection(&database).await, expected);
    let newest = all(&database, &name_of(now_ms())).await.iter().map(millis).max();
    assert!(newest.is_none_or(|newest| newest <= now_ms()));
    assert_eq!(init(dir.path(), &name, "", 0), ["0 done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_takes_as_many_days_as_can_be_kept() {
    let database = database(&database_name("view")).await;
    let days: BTreeSet<Day> =
        (0..i64::from(KEPT_DAYS_MAX + AHEAD_DAYS + 1)).map(|day| Day::of_ms(day * DAY_MS)).collect();
    let mut create = doc! { "create": "access_events" };
    create.extend(view(&days));
    database.run_command(create).await.expect("a view");
    for day in &days {
        database.collection(&day.collection()).insert_one(doc! { "day": 1 }).await.expect("stored");
    }
    let events = database.collection::<Document>("access_events");
    assert_eq!(events.count_documents(doc! { "day": 1 }).await.ok(), Some(408));
    assert!(events.find_one(doc! { "_id": { "$gt": 7 } }).await.expect("an answer").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_are_over_are_dropped_when_asked_and_only_these() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("drop");
    let database = database(&name).await;
    let drop = "events_days = 5\nevents_by = \"drop\"\n";
    let retention = |text: &str| {
        std::fs::write(dir.path().join("fluvio.toml"), format!("[mongodb.retention]\n{text}"))
            .expect("a file");
    };
    retention("events_days = 5\n");
    init(dir.path(), &name, "", 0);

    // One collection becomes a view when it was renamed.
    retention(drop);
    let told = init(dir.path(), &name, "--apply", 1);
    assert!(
        told[0].starts_with("differs  collection access_events: it holds the events of all days"),
        "{told:?}"
    );
    let (from, to) = (format!("{name}.access_events"), format!("{name}.access_events_other"));
    let admin = database.client().database("admin");
    admin.run_command(doc! { "renameCollection": from, "to": to }).await.expect("it is renamed");
    assert_eq!(init(dir.path(), &name, "", 0).last().map(String::as_str), Some("9 done"));
    assert_eq!(init(dir.path(), &name, "", 0), ["0 done"]);

    // Days of the past, as they were made then.
    let mut options = doc! {};
    let mut found =
        database.list_collections().filter(doc! { "name": name_of(now_ms()) }).await.expect("a list");
    if found.advance().await.expect("an entry") {
        let entry = found.deserialize_current().expect("a collection");
        options = mongodb::bson::serialize_to_document(&entry.options).expect("options");
    }
    for ago in [30, 7, 6] {
        let mut create = doc! { "create": name_of(now_ms() - ago * DAY_MS) };
        create.extend(options.clone());
        database.run_command(create).await.expect("a collection");
    }
    let over = format!(
        "repair   collections of 2 days, {} to {}: all events are older than 5 days and will be DELETED",
        name_of(now_ms() - 30 * DAY_MS),
        name_of(now_ms() - 7 * DAY_MS),
    );
    let told = init(dir.path(), &name, "", 1);
    let rest = ["create   view access_events of 11 days", &over, "1 done", "1 to repair; --apply does it"];
    assert_eq!(told, rest, "the view shows them at once");
    assert_eq!(init(dir.path(), &name, "--apply", 0), [over.as_str(), "1 done"]);
    assert_eq!(init(dir.path(), &name, "", 0), ["0 done"]);
    let names = database.list_collection_names().await.expect("a list");
    assert!(names.contains(&name_of(now_ms() - 6 * DAY_MS)));
    assert!(!names.contains(&name_of(now_ms() - 7 * DAY_MS)));

    // Without a retention nothing goes, and the pipeline goes on with what is there.
    retention("");
    let told = init(dir.path(), &name, "", 1).join("\n");
    assert!(told.contains("differs  view access_events of 9 days"), "{told}");
    let args = format!(
        "up --events 50 --malformed 0 --rate 1000 --until-drained --data-dir d --database {name} --mongodb-uri {}",
        mongodb_uri()
    );
    run(streampulse(dir.path(), &args), 0);
    assert_eq!(by_collection(&database).await.values().sum::<i64>(), 50);
    assert!(!by_collection(&database).await.contains_key("access_events_other"));
}
