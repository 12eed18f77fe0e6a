//! Job `alerts` and backlogs: of the states of an alert that it takes in together the last one stays, and what
//! is not read yet in another partition is waited for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::{Batch, Embedded, Record, Runtime, Storage, TopicSpec, Writers};
use sink::jobs::{Jobs, Work};
use sink::{Logs, ModuleParams, Progress, Sink, schema, ticks};
use streampulse::modules;

use crate::sample::{Sample, all, millis};
use crate::support::{database, database_name};

const PATIENCE: Duration = Duration::from_secs(60);
const MINUTES: i64 = 30;
/// Accesses of each minute, in so many batches; the limit is passed with the second.
const LINES: usize = 60;
const BATCHES: usize = 4;
const LIMIT: &str = "20";
/// After all lines: those from the future tell no time.
const STORED_AT_MS: i64 = 1_790_100_000_000;

async fn sink(test: &str, dir: &Path, partitions: u32) -> (Sink, Logs) {
    let database = database(&database_name(test)).await;
    let retention = schema::ensure(&database, None).await.expect("collections");
    let embedded = Embedded::open(dir).expect("a folder for topics");
    let spec = |name: &str, writers, partitions| TopicSpec {
        name: name.to_owned(),
        partitions,
        bytes_max: 64 << 20,
        writers,
        storage: Storage::default(),
    };
    let topic = embedded.topic(&spec("access-logs", Writers::One, partitions)).await.expect("a topic");
    let rollups = embedded.topic(&spec("access-rollups", Writers::Many, 1)).await.expect("a topic");
    let anomaly = [("limit_per_minute", LIMIT), ("false_alerts_per_week", "0")];
    let anomaly = anomaly.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let params = ModuleParams { anomaly, ..ModuleParams::default() };
    let modules = modules::load().expect("the SmartModules are built in");
    let progress = Arc::new(Progress::new(partitions as usize));
    let sink = Sink { database, rollups, modules, params, store_events: true, retention, progress };
    (sink, Logs { topic, epoch: 0, partitions: (0..partitions).collect() })
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn append(logs: &Logs, partition: u32, lines: &[Vec<u8>]) {
    let record = |line: &Vec<u8>| Record { key: None, value: line.clone().into() };
    let batch = Batch { partition, records: lines.iter().map(record).collect(), note: None };
    logs.topic.append(vec![batch], STORED_AT_MS).await.expect("lines are appended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_state_of_an_alert_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sink, logs) = sink("backlog", dir.path(), 1).await;
    let (sink, logs) = (Arc::new(sink), Arc::new(logs));
    let mut sample = Sample::default();
    for minute in 0..MINUTES {
        for i in 0..LINES as i64 {
            sample.push(&format!("u{i}"), 1_790_000_040_000 + minute * 60_000 + i * 100, 0, 0, 0);
        }
    }
    let forwarding = Jobs::start(&sink, &[Work::Events(logs.clone())], None).await.expect("job events");
    for (number, lines) in (1_u64..).zip(sample.lines.chunks(LINES / BATCHES)) {
        append(&logs, 0, lines).await;
        // One stored batch of counts each, so that each changes the alert of its minute.
        let end = number * (LINES / BATCHES) as u64;
        until("forwarding", || sink.progress.events_next[0].load(Ordering::Acquire) >= end).await;
    }
    ticks::tick(&sink, &logs, true).await.expect("the last tick");
    forwarding.stop().await;
    let end = sink.rollups.state().await.expect("a state").partitions[0].end;
    assert!(end >= MINUTES as u64 * BATCHES as u64, "{end} frames make no backlog");

    let alerting = Jobs::start(&sink, &[Work::Alerts], None).await.expect("job alerts");
    until("alerting", || sink.progress.alerts_checkpoint.load(Ordering::Acquire) >= end).await;
    alerting.stop().await;
    let alerts = all(&sink.database, "access_alerts").await;
    let observed: BTreeMap<i64, i64> =
        alerts.iter().map(|alert| (millis(alert), alert.get_i64("observed").expect("a count"))).collect();
    let expected: BTreeMap<i64, i64> = sample.minutes().into_iter().map(|(n, minute)| (minute, n)).collect();
    assert_eq!(observed, expected);
    let is_closed = |status: &str| status == "closed";
    assert!(alerts.iter().all(|alert| alert.get_str("status").is_ok_and(is_closed)), "{alerts:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_time_waits_for_a_partition_that_nobody_has_begun() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sink, logs) = sink("unbegun", dir.path(), 2).await;
    let (mut far, mut burst) = (Sample::default(), Sample::default());
    // Longer than a minute is judged after it is over.
    (0..300).for_each(|minute| far.push("u", 1_790_000_040_000 + minute * 60_000, 0, 0, 0));
    (0..LINES as i64).for_each(|i| burst.push(&format!("u{i}"), 1_790_000_040_000 + i * 100, 0, 0, 0));
    for lines in far.lines.chunks(30) {
        append(&logs, 0, lines).await;
    }
    append(&logs, 1, &burst.lines).await;
    let process = |partition| {
        let (progress, topic) = (Arc::new(Progress::new(2)), logs.topic.clone());
        let logs = Logs { topic, epoch: logs.epoch, partitions: vec![partition] };
        (Arc::new(Sink { progress, ..sink.clone() }), Arc::new(logs))
    };
    let (first, second) = (process(0), process(1));

    let work = [Work::Events(first.1), Work::Alerts];
    let early = Jobs::start(&first.0, &work, None).await.expect("the first partition and the alerts");
    let progress = &first.0.progress;
    until("the first partition", || progress.events_next[0].load(Ordering::Acquire) >= 300).await;
    let end = sink.rollups.state().await.expect("a state").partitions[0].end;
    until("two ticks", || progress.alerts_next.load(Ordering::Acquire) >= end + 2).await;

    let late = Jobs::start(&second.0, &[Work::Events(second.1)], None).await.expect("the second partition");
    let until = Instant::now() + PATIENCE;
    let alert = loop {
        let alerts = all(&sink.database, "access_alerts").await;
        if let [alert] = &alerts[..]
            && alert.get_str("status").is_ok_and(|status| status == "closed")
        {
            break alert.clone();
        }
        assert!(Instant::now() < until, "no alert that is over: {alerts:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    early.stop().await;
    late.stop().await;
    let found = (millis(&alert), alert.get_i64("observed").expect("a count"));
    assert_eq!(found, (1_790_000_040_000, LINES as i64 + 1));
}
