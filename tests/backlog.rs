//! Job `alerts` behind a backlog: of the states of an alert that it takes in together, the last one stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use runtime::{Batch, Embedded, Record, Runtime, Storage, TopicSpec, Writers};
use sink::jobs::{Jobs, Work};
use sink::{Logs, ModuleParams, Progress, Sink, events, schema};
use streampulse::modules;

use crate::sample::{Sample, all, millis};
use crate::support::{database, database_name};

const PATIENCE: Duration = Duration::from_secs(60);
const MINUTES: i64 = 30;
/// Accesses of each minute, in so many batches; the limit is passed with the second.
const LINES: usize = 60;
const BATCHES: usize = 4;
const LIMIT: &str = "20";

async fn sink(dir: &Path, progress: Progress) -> (Sink, Logs) {
    let database = database(&database_name("backlog")).await;
    let retention = schema::ensure(&database, None).await.expect("collections");
    let embedded = Embedded::open(dir).expect("a folder for topics");
    let spec = |name: &str, writers| TopicSpec {
        name: name.to_owned(),
        partitions: 1,
        bytes_max: 64 << 20,
        writers,
        storage: Storage::default(),
    };
    let topic = embedded.topic(&spec("access-logs", Writers::One)).await.expect("a topic");
    let rollups = embedded.topic(&spec("access-rollups", Writers::Many)).await.expect("a topic");
    let anomaly = [("limit_per_minute", LIMIT), ("false_alerts_per_week", "0")];
    let anomaly = anomaly.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let params = ModuleParams { anomaly, ..ModuleParams::default() };
    let modules = modules::load().expect("the SmartModules are built in");
    let progress = Arc::new(progress);
    let sink = Sink { database, rollups, modules, params, store_events: true, retention, progress };
    (sink, Logs { topic, epoch: 0, partitions: vec![0] })
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "{what} takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_state_of_an_alert_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sink, logs) = sink(dir.path(), Progress::new(1)).await;
    let (sink, logs) = (Arc::new(sink), Arc::new(logs));
    let mut sample = Sample::default();
    for minute in 0..MINUTES {
        for i in 0..LINES as i64 {
            sample.push(&format!("u{i}"), 1_790_000_040_000 + minute * 60_000 + i * 100, 0, 0, 0);
        }
    }
    let forwarding = Jobs::start(&sink, &[Work::Events(logs.clone())], None).await.expect("job events");
    for (number, lines) in (1_u64..).zip(sample.lines.chunks(LINES / BATCHES)) {
        let record = |line: &Vec<u8>| Record { key: None, value: line.clone().into() };
        let batch = Batch { partition: 0, records: lines.iter().map(record).collect(), note: None };
        logs.topic.append(vec![batch], 1_790_000_000_000).await.expect("lines are appended");
        // One stored batch of counts each, so that each changes the alert of its minute.
        let end = number * (LINES / BATCHES) as u64;
        until("forwarding", || sink.progress.events_next[0].load(Ordering::Acquire) >= end).await;
    }
    events::tick(&sink, &logs, true).await.expect("the last tick");
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
