//! What a process tells of itself: numbers equal to those of MongoDB and of the log, whether it can work, and
//! its log as documents.

mod exposition;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use serde_json::Value;
use streampulse::mongod::Mongod;

use self::exposition::Exposition;
use crate::sample::{Sample, all};
use crate::support::{run, streampulse};

const PATIENCE: Duration = Duration::from_secs(60);

/// A pipeline with a mongod of its own, which end with the test.
struct Pipeline {
    child: Child,
    data_dir: PathBuf,
    /// Its log so far.
    log: Arc<Mutex<Vec<String>>>,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // It may have ended already.
        drop((self.child.kill(), self.child.wait()));
        self.kill_mongod();
    }
}

impl Pipeline {
    fn start(dir: &Path, args: &str) -> Self {
        let mut command = streampulse(dir, &format!("up --data-dir d {args}"));
        command.env("RUST_LOG", "info").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (lines, told) = (BufReader::new(child.stderr.take().expect("stderr")).lines(), log.clone());
        std::thread::spawn(move || {
            lines.for_each(|line| told.lock().expect("a lock").push(line.expect("UTF-8")))
        });
        Self { child, data_dir: dir.join("d"), log }
    }

    /// The address in the first line of the log that has `before` in front of it.
    fn address(&mut self, before: &str) -> String {
        wait(&format!("a line with {before}"), || {
            let log = self.log.lock().expect("a lock");
            let line = log.iter().find_map(|line| line.split_once(before))?.1;
            Some(line.split('/').next().expect("an address").to_owned())
        })
    }

    fn kill_mongod(&self) {
        let lock = std::fs::read_to_string(self.data_dir.join("mongod/mongod.lock")).unwrap_or_default();
        if !lock.trim().is_empty() {
            Command::new("kill").args(["-9", lock.trim()]).status().expect("kill runs");
        }
    }

    async fn database(&self) -> Database {
        let port = std::fs::read_to_string(self.data_dir.join("mongod/streampulse.port")).expect("a port");
        let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", port.trim());
        Client::with_uri_str(uri).await.expect("a client").database("streampulse")
    }
}

/// Waits until `found` gives something.
#[track_caller]
fn wait<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "there is no {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The answer to a request, whole; an error where nobody listens.
pub fn ask(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Status and body.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let answer = ask(address, path).expect("it listens and answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    (head.split(' ').nth(1).expect("a status").parse().expect("a number"), body.to_owned())
}

/// The metrics at an address.
pub fn scrape(address: &str) -> Exposition {
    let (status, text) = get(address, "/metrics");
    assert_eq!(status, 200, "{text}");
    Exposition::parse(&text)
}

async fn count(database: &Database, collection: &str, filter: Document) -> f64 {
    database.collection::<Document>(collection).count_documents(filter).await.expect("a count") as f64
}

/// Positions in MongoDB of a job, by partition.
async fn positions(database: &Database, job: &str) -> Vec<f64> {
    let states = all(database, "pipeline_state").await;
    let of_job = states.iter().filter(|state| state.get_str("_id").is_ok_and(|id| id.starts_with(job)));
    of_job.map(|state| state.get_i64("next").expect("a position") as f64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_mongodb_and_of_the_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let settings = "[access-anomaly]\nfalse_alerts_per_week = 0\n[topics.access-logs]\npartitions = 2\n\
                    [[alerts.receivers]]\nname = \"log\"\nformat = \"stdout\"\nrate_per_minute = 6000\n";
    std::fs::write(dir.path().join("fluvio.toml"), settings).expect("a file");
    let mut sample = Sample::valid(4_000, 1);
    (0..30).for_each(|_| sample.push_bad("not_json", "}"));
    (0..12).for_each(|n| sample.push_bad("missing_field", format!(r#"{{"user_id":"{n}"}}"#)));
    // A minute that is not too old to be judged.
    let now_ms = chrono::Utc::now().timestamp_millis();
    (0..20).for_each(|i| sample.push(&format!("u{i}"), now_ms, 0, 1, 2));
    let lines = sample.lines.len() as f64;
    let log = dir.path().join("log");
    std::fs::write(&log, sample.file()).expect("a file");
    let flags = "--file log --limit-per-minute 3 --metrics 127.0.0.1:0 --serve 127.0.0.1:0 --log-format json";
    let mut pipeline = Pipeline::start(dir.path(), flags);
    let address = pipeline.address("metrics are at http://");
    assert_eq!(get(&address, "/healthz"), (200, r#"{"ok":true,"problems":[]}"#.to_owned()));
    wait("readiness", || (get(&address, "/readyz").0 == 200).then_some(()));
    let database = pipeline.database().await;

    let is_done = |found: &Exposition| {
        found.sum("streampulse_job_lag_records") == 0.0 && found.sum("streampulse_lines_read_total") == lines
    };
    let found = wait("end of the work", || Some(scrape(&address)).filter(is_done));
    let same = [
        ("streampulse_lines_accepted_total", sample.accepted as f64),
        ("streampulse_events_stored_total", count(&database, "access_events", doc! {}).await),
        ("streampulse_lines_rejected_total", count(&database, "access_rejects", doc! {}).await),
        ("streampulse_events_duplicate_total", 0.0),
        ("streampulse_mongodb_up", 1.0),
        ("streampulse_job_running", 4.0),
        ("streampulse_build_info", 1.0),
    ];
    same.iter().for_each(|(name, n)| assert_eq!(found.sum(name), *n, "{name}"));
    for (reason, n) in &sample.rejected {
        let series = format!("streampulse_lines_rejected_total{{reason=\"{reason}\"}}");
        assert_eq!(found.value(&series), *n as f64, "{series}");
    }
    let of = |name: &str, before: &str, after: &str| {
        [0, 1].map(|partition| found.value(&format!("{name}{{{before}partition=\"{partition}\"{after}}}")))
    };
    let ends = of("streampulse_log_end_offset", "", ",topic=\"access-logs\"");
    assert!(ends.iter().sum::<f64>() == lines && ends.iter().all(|end| *end > 0.0), "{ends:?}");
    assert_eq!(of("streampulse_job_next_offset", "name=\"events\",", ""), ends);
    let sizes = "streampulse_job_write_records_sum{name=\"events\"}";
    assert_eq!(found.value(sizes), lines, "{sizes}");
    let memory = of("streampulse_job_smartmodule_memory_bytes", "name=\"events\",", "");
    let alerts = found.value("streampulse_job_smartmodule_memory_bytes{name=\"alerts\",partition=\"0\"}");
    for bytes in memory.into_iter().chain([alerts]) {
        // Whole pages, of one module at least, and not what a leak would make of it.
        assert!(bytes >= 1e6 && bytes % 65_536.0 == 0.0 && bytes < 64e6, "{bytes}");
    }
    for series in [
        "job_smartmodule_seconds_total{name=\"alerts\",partition=\"0\"}",
        "job_smartmodule_seconds_total{name=\"events\",partition=\"1\"}",
    ] {
        assert!(found.value(&format!("streampulse_{series}")) > 0.0, "{series}");
    }
    let started_s = found.value("process_start_time_seconds");
    let now_s = chrono::Utc::now().timestamp() as f64;
    assert!(started_s <= now_s + 1.0 && now_s - started_s < 600.0, "{started_s} {now_s}");
    assert!(found.value("process_resident_memory_bytes") > 1e6);

    // Checkpoints, alerts and notifications follow.
    let names = |found: &Exposition| found.families().map(str::to_owned).collect::<BTreeSet<_>>();
    let began = Instant::now();
    loop {
        let before = scrape(&address);
        let stored = [positions(&database, "events|").await, positions(&database, "rollups|").await];
        let alerts = count(&database, "access_alerts", doc! {}).await;
        let open = count(&database, "access_alerts", doc! { "status": "open" }).await;
        let told: i64 = all(&database, "access_deliveries")
            .await
            .iter()
            .filter_map(|told| told.get_i64("count").ok())
            .sum();
        let after = scrape(&address);
        let checkpoint = |found: &Exposition, job: &str, partition: usize| {
            found.value(&format!(
                "streampulse_job_checkpoint_offset{{name=\"{job}\",partition=\"{partition}\"}}"
            ))
        };
        let rollups = checkpoint(&before, "rollups", 0)..=checkpoint(&after, "rollups", 0);
        assert!(rollups.contains(&stored[1][0]), "{rollups:?} {stored:?}");
        let taken = "streampulse_delivery_tries_total{receiver=\"log\",result=\"taken\"}";
        let is_same = [
            (before.value("streampulse_alerts_opened_total"), alerts),
            (before.value("streampulse_alerts_open"), open),
            (before.value(taken), told as f64),
            (checkpoint(&before, "events", 0), stored[0][0]),
            (checkpoint(&before, "events", 1), stored[0][1]),
        ];
        assert_eq!(names(&before), names(&found), "families come and go");
        if alerts > 0.0
            && told > 0
            && stored[0] == ends
            && is_same.iter().all(|(told, stored)| told == stored)
        {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{is_same:?} {ends:?}");
    }
    let page = pipeline.address("the live page is at http://");
    assert_eq!(names(&scrape(&page)), names(&found));

    // MongoDB goes, and more lines come.
    pipeline.kill_mongod();
    let later = Sample::valid(500, 2);
    std::fs::OpenOptions::new()
        .append(true)
        .open(&log)
        .expect("a file")
        .write_all(&later.file())
        .expect("room");
    let problems = wait("sign that MongoDB is away", || {
        assert_eq!(get(&address, "/healthz").0, 200);
        let (status, body) = get(&address, "/readyz");
        (status == 503).then_some(body)
    });
    assert!(problems.contains("MongoDB does not answer") && problems.contains("\"ok\":false"), "{problems}");
    let is_waiting = |found: &Exposition| {
        found.sum("streampulse_mongodb_retries_total") > 0.0
            && found.sum("streampulse_job_lag_records") >= 500.0
            && found.sum("streampulse_job_checkpoint_age_seconds") > 1.0
    };
    let found = wait("lag", || Some(scrape(&address)).filter(is_waiting));
    assert_eq!(found.value("streampulse_mongodb_up"), 0.0);
    let mongod = Mongod::start(&pipeline.data_dir, None).await.expect("it starts again");
    wait("readiness again", || (get(&address, "/readyz").0 == 200).then_some(()));
    let all_lines = sample.and(later);
    let began = Instant::now();
    loop {
        let minutes = all(&database, "access_minutes").await;
        let counted: i64 = minutes.iter().filter_map(|minute| minute.get_i64("n").ok()).sum();
        if counted == all_lines.accepted {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{counted} are counted");
    }
    all_lines.check(&database).await;

    Command::new("kill").arg(pipeline.child.id().to_string()).status().expect("kill runs");
    assert!(pipeline.child.wait().expect("our child").success());
    mongod.stop().await;
    let log = pipeline.log.lock().expect("a lock").clone();
    let documents: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for (line, document) in log.iter().zip(&documents) {
        let is_text = |key: &&str| document[*key].as_str().is_some_and(|text| !text.is_empty());
        assert!(["timestamp", "level", "target", "message"].iter().all(is_text), "{line}");
    }
    let alert = documents.iter().find(|line| line["level"] == "WARN" && line["target"] == "sink::alerts");
    assert!(
        alert.expect("an alert")["alert"].as_str().is_some_and(|id| id.starts_with("limit|")),
        "{alert:?}"
    );
}

#[test]
fn an_error_is_a_document_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = streampulse(dir.path(), "up --file missing");
    command.env("STREAMPULSE_LOG_FORMAT", "json").env("RUST_LOG", "off");
    let errors = String::from_utf8(run(command, 2).stderr).expect("UTF-8");
    let error: Value = serde_json::from_str(&errors).expect("one document");
    assert!(
        error["message"].as_str().is_some_and(|text| text.contains("cannot open the log file missing")),
        "{error}"
    );
    assert_eq!((&error["level"], &error["target"]), (&"ERROR".into(), &"streampulse".into()));
    let errors =
        String::from_utf8(run(streampulse(dir.path(), "up --file missing"), 2).stderr).expect("UTF-8");
    assert!(errors.starts_with("error: cannot open the log file missing"), "{errors}");
}
