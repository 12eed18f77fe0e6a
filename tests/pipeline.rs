//! The whole pipeline through the command: what is in the database afterwards is what was in the file,
//! whatever happened in between.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use streampulse::mongod::Mongod;
use tempfile::TempDir;

use crate::processes::{remember_process, signal};
use crate::sample::{Sample, all, millis};
use crate::support::{database, database_name, learn_nothing, mongodb_uri, run, streampulse};

/// Longest time that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a log file, and a database.
struct Case {
    dir: TempDir,
    name: String,
    database: Database,
}

impl Case {
    async fn new(test: &str) -> Self {
        let name = database_name(test);
        Self { dir: tempfile::tempdir().expect("a temporary folder"), database: database(&name).await, name }
    }

    fn write(&self, sample: &Sample) {
        std::fs::write(self.dir.path().join("log"), sample.file()).expect("a written file");
    }

    fn flags(&self) -> String {
        self.flags_with("data")
    }

    fn flags_with(&self, data_dir: &str) -> String {
        format!("--data-dir {data_dir} --database {} --mongodb-uri {}", self.name, mongodb_uri())
    }

    fn up(&self, more: &str) -> Value {
        self.up_in("data", more)
    }

    fn up_in(&self, data_dir: &str, more: &str) -> Value {
        let flags = self.flags_with(data_dir);
        let args = format!("up --file log --until-drained --summary json {flags} {more}");
        let output = run(streampulse(self.dir.path(), &args), 0);
        serde_json::from_slice(&output.stdout).expect("the summary, alone")
    }

    fn start(&self, args: &str) -> Child {
        let mut command = streampulse(self.dir.path(), args);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command starts")
    }
}

/// Waits until at least `count` events are stored.
async fn stored(database: &Database, count: u64) -> u64 {
    let until = Instant::now() + PATIENCE;
    loop {
        let found =
            database.collection::<Document>("access_events").estimated_document_count().await.unwrap_or(0);
        if found >= count {
            return found;
        }
        assert!(Instant::now() < until, "{found} of {count} events are stored");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn bad() -> Sample {
    let mut sample = Sample::valid(2_000, 3);
    let valid = String::from_utf8(sample.lines[0].clone()).expect("text");
    let with = |from: &str, to: &str| valid.replacen(from, to, 1);
    sample.push_bad("not_json", "");
    sample.push_bad("not_json", b"\xff\xfe\x00binary".to_vec());
    sample.push_bad("not_json", &valid[..valid.len() / 2]);
    sample.push_bad("not_object", "[1,2]");
    sample.push_bad("missing_field", with("\"device\"", "\"devise\""));
    sample.push_bad("wrong_type", with("\"country\":\"", "\"country\":7,\"land\":\""));
    sample.push_bad(
        "bad_country",
        valid.split("\"country\":\"").next().expect("a beginning").to_owned()
            + r#""country":"XX","city":"x"}"#,
    );
    for time in ["\"0000-01-01T00:00:00Z\"", "\"9999-12-31T23:59:59Z\"", "-1", "\"soon\""] {
        let rest = valid.split_once(",\"device\"").expect("a device").1;
        sample.push_bad("bad_timestamp", format!(r#"{{"user_id":"u","timestamp":{time},"device"{rest}"#));
    }
    sample.push_bad("too_large", "x".repeat(2_000_000));
    sample.push_bad("too_deep", "[".repeat(50_000));
    sample
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_an_event_or_a_reject_once() {
    let case = Case::new("once").await;
    let sample = bad();
    case.write(&sample);
    let summary = case.up("");
    sample.check(&case.database).await;
    let lines = sample.lines.len() as u64;
    assert_eq!((&summary["read"], &summary["stored"]), (&lines.into(), &sample.accepted.into()));
    assert_eq!(summary["runtime"], "embedded");
    assert_eq!(summary["rejected_by_reason"], serde_json::to_value(&sample.rejected).expect("plain"));
    assert_eq!(case.up("")["read"], 0, "a second run reads nothing");
    sample.check(&case.database).await;

    let sample = sample.and(Sample::valid(500, 4));
    case.write(&sample);
    assert_eq!(case.up("")["read"], 500, "only what was appended is read");
    sample.check(&case.database).await;

    let summary = case.up_in("other", "");
    assert_eq!((&summary["duplicates"], &summary["stored"]), (&0.into(), &sample.accepted.into()));
    sample.clone().and(sample).check(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_events_all_else_is_stored_and_a_later_run_can_store_them() {
    let case = Case::new("without_events").await;
    let sample = bad();
    case.write(&sample);
    let settings = case.dir.path().join("fluvio.toml");
    std::fs::write(&settings, "[mongodb]\nstore_events = false\n").expect("written");
    let summary = case.up("");
    let counts = ["accepted", "stored", "duplicates"].map(|key| summary[key].as_i64().expect("a number"));
    assert_eq!(counts, [sample.accepted, 0, 0]);
    assert_eq!(all(&case.database, "access_events").await, Vec::<Document>::new());
    sample.check_all_but_events(&case.database).await;

    std::fs::remove_file(settings).expect("removed");
    let more = Sample::valid(500, 4);
    let stored = more.accepted;
    let sample = sample.and(more);
    case.write(&sample);
    assert_eq!(case.up("")["stored"].as_i64(), Some(stored));
    sample.check_all_but_events(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_moment_change_no_count() {
    let case = Case::new("kills").await;
    let sample = Sample::valid(60_000, 1).and(bad());
    case.write(&sample);
    let args = format!("up --file log --until-drained {}", case.flags());
    let mut reached = 0;
    for step in [1, 4_000, 9_000, 20_000] {
        let mut up = case.start(&args);
        reached = stored(&case.database, (reached + step).min(sample.accepted as u64)).await;
        up.kill().expect("it can be killed");
        let ended = up.wait().expect("it ends");
        assert!(ended.signal() == Some(9) || ended.success(), "{ended}");
    }
    let begun = Instant::now();
    case.up("");
    assert!(begun.elapsed() < PATIENCE / 2, "the transaction of a killed process must not be waited for");
    sample.check(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mongodb_that_goes_and_comes_loses_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mongod = Mongod::start(dir.path(), None).await.expect("a mongod");
    let sample = Sample::valid(60_000, 2);
    std::fs::write(dir.path().join("log"), sample.file()).expect("a written file");
    let client = mongodb::Client::with_uri_str(mongod.uri()).await.expect("a client");
    let database = client.database("away");
    let args = format!(
        "up --file log --until-drained --summary json --data-dir data --database away --mongodb-uri {}",
        mongod.uri()
    );
    let up =
        streampulse(dir.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    stored(&database, 1_000).await;
    let pid = std::fs::read_to_string(dir.path().join("mongod/mongod.lock")).expect("a lock file");
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().expect("kill runs");
    assert!(killed.success());
    mongod.stop().await;
    let mongod = Mongod::start(dir.path(), None).await.expect("the same mongod again");
    let output = up.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sample.check(&database).await;
    mongod.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_minutes_above_the_limit_alert() {
    let case = Case::new("limit").await;
    learn_nothing(case.dir.path());
    let mut sample = Sample::default();
    for minute in 0..600 {
        let n = match minute {
            100 => 60,
            101 => 50,
            300 => 70,
            500 => 40,
            _ => 3,
        };
        (0..n).for_each(|i| sample.push(&format!("u{i}"), 1_790_000_040_000 + minute * 60_000 + i, 0, 0, 0));
    }
    case.write(&sample);
    let minutes = sample.minutes();
    let (third, fourth) = (minutes[2].0, minutes[3].0);
    assert!(third > fourth, "the third minute stands out");
    assert_eq!(case.up(&format!("--limit-per-minute {}", third - 1))["alerts"], 3);
    let alerts = all(&case.database, "access_alerts").await;
    let mut found: Vec<_> =
        alerts.iter().map(|alert| (alert.get_i64("observed").expect("a count"), millis(alert))).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(found, minutes[..3]);
    assert!(alerts.iter().all(|alert| alert.get_str("status").expect("a status") == "closed"));
    let mut incidents: Vec<_> =
        alerts.iter().map(|alert| alert.get_str("incident").expect("an incident")).collect();
    incidents.dedup();
    assert_eq!(incidents.len(), 2, "adjacent minutes share one");
    let listed = run(streampulse(case.dir.path(), &format!("alerts --format json {}", case.flags())), 0);
    assert_eq!(listed.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_lines_are_visible_at_once_and_an_interrupt_drains() {
    let case = Case::new("live").await;
    let up = case.start(&format!("up --rate 40 --seed 1 --summary json {}", case.flags()));
    let seen = stored(&case.database, 120).await;
    let newest = all(&case.database, "access_events").await.iter().map(millis).max().expect("an event");
    let behind_ms = mongodb::bson::DateTime::now().timestamp_millis() - newest;
    assert!(behind_ms < 2_000, "the newest of {seen} events is {behind_ms} ms old");
    let interrupted = std::process::Command::new("kill").args(["-INT", &up.id().to_string()]).status();
    assert!(interrupted.expect("kill runs").success());
    let output = up.wait_with_output().expect("it ends");
    assert!(output.status.success());
    let summary: Value = serde_json::from_slice(&output.stdout).expect("the summary");
    let events = case
        .database
        .collection::<Document>("access_events")
        .count_documents(doc! {})
        .await
        .expect("a count");
    assert_eq!(summary["stored"], events);
    let minutes = all(&case.database, "access_minutes").await;
    assert_eq!(minutes.iter().map(|minute| minute.get_i64("n").expect("n")).sum::<i64>(), events as i64);
    let status = run(streampulse(case.dir.path(), &format!("status --format json {}", case.flags())), 1);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert!(
        status[0]["jobs"].as_array().expect("jobs").iter().take(2).all(|job| job["lag"] == 0),
        "{status}"
    );
}

/// One that comes between two waits belongs to the next. (SIGINT is ignored from the start in what a script starts in
/// the background, as these tests may be.)
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_at_any_moment_ends_it() {
    let case = Case::new("interrupted").await;
    case.write(&Sample::valid(20_000, 15));
    for after_ms in (0..1_600).step_by(80) {
        let mut up = streampulse(case.dir.path(), &format!("up --file log {}", case.flags()));
        let mut up = up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        remember_process(up.id(), "streampulse");
        std::thread::sleep(Duration::from_millis(after_ms));
        assert!(signal(up.id(), "TERM"));
        let began = Instant::now();
        while up.try_wait().expect("our child").is_none() {
            assert!(began.elapsed() < PATIENCE, "the signal after {after_ms} ms was lost");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_only_behind_the_backlog() {
    let case = Case::new("settings").await;
    let renamed = |field: &str| {
        Sample::valid(300, 7)
            .lines
            .iter()
            .map(|line| String::from_utf8_lossy(line).replace("\"user_id\"", field))
            .collect::<Vec<_>>()
            .join("\n")
    };
    std::fs::write(case.dir.path().join("old"), renamed("\"who\"")).expect("a written file");
    std::fs::write(case.dir.path().join("log"), renamed("\"viewer\"")).expect("a written file");
    for (config, field) in [("old.toml", "who"), ("new.toml", "viewer")] {
        let text = format!("[access-filter-map]\nfields = {{ user_id = \"{field}\" }}\n");
        std::fs::write(case.dir.path().join(config), text).expect("a written file");
    }
    std::fs::write(case.dir.path().join("none"), "").expect("a written file");
    let up = |file: &str, config: &str| {
        format!("up --file {file} --until-drained --config {config} {}", case.flags())
    };
    run(streampulse(case.dir.path(), &up("none", "old.toml")), 0);
    run(streampulse(case.dir.path(), "produce --file old --config old.toml --data-dir data"), 0);
    run(streampulse(case.dir.path(), &up("log", "new.toml")), 0);
    let events = case
        .database
        .collection::<Document>("access_events")
        .count_documents(doc! {})
        .await
        .expect("a count");
    assert_eq!(events, 600, "lines stored before the change are read with the settings of their time");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_says_what_to_do() {
    let case = Case::new("errors").await;
    let dir = case.dir.path();
    std::fs::write(dir.join("log"), "").expect("a written file");
    std::fs::write(dir.join("wrong.toml"), "[mongodb]\nurl = \"x\"\n").expect("a written file");
    let refused = |args: &str, expected: &str| {
        let output = run(streampulse(dir, args), 2);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(expected), "{args}: {error}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let flags = case.flags();
    refused(
        "up --mongodb-uri mongodb://127.0.0.1:1/ --wait-for-mongodb 300ms",
        "did not answer within 0.3 s (I/O error: Connection refused (os error 111)); start it",
    );
    refused(
        &format!("up --config wrong.toml {flags}"),
        "unknown field `url`, expected one of `uri`, `database`, `store_events`, `retention`",
    );
    refused(&format!("up --file missing {flags}"), "cannot open the log file missing");
    refused(&format!("up --until-drained {flags}"), "give --file, --events or --for too");
    refused(
        &format!("up --data-dir log/data --database x --mongodb-uri {}", mongodb_uri()),
        "choose another with --data-dir",
    );
    refused(&format!("up --data-dir d2 --mongod-port {port}"), "is in use by another program");
    let mut holder = case.start(&format!("up --rate 1 {flags}"));
    stored(&case.database, 1).await;
    refused(&format!("up --file log {flags}"), "another process uses this data directory");
    holder.kill().expect("it can be killed");
    holder.wait().expect("it ends");
    let doctor = run(streampulse(Path::new(dir), &format!("doctor {flags}")), 0);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("replica set"));
}
