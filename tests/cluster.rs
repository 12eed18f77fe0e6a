//! The same promises on a real Fluvio cluster, with the SmartModules inside its SPUs. Every test has a
//! cluster of its own, and is skipped where Fluvio is not installed.

mod metrics;
mod tls;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{Document, doc};
use runtime::cluster::{Address, Cluster};
use runtime::contract;
use runtime::lease::Holder;
use serde_json::Value;
use tempfile::TempDir;

use crate::fluvio::Fluvio;
use crate::processes::{kill, remember_process, signal};
use crate::sample::{Sample, all};
use crate::support::{database, database_name, mongodb_uri, run, streampulse};

/// Longest time that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// How long inserts of a killed process may still arrive.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// Lines of a sample during which things are killed: more than are stored before the last kill.
const LINES_UNDER_FIRE: usize = 400_000;

/// A cluster, a folder with a log file, and a database.
pub struct Case {
    pub fluvio: Fluvio,
    dir: TempDir,
    pub name: String,
    pub database: Database,
}

impl Case {
    /// `None` where Fluvio is not installed.
    pub async fn new(test: &str, spus: usize) -> Option<Self> {
        Some(Self::on(Fluvio::start(spus)?, test).await)
    }

    /// One on this cluster.
    async fn on(fluvio: Fluvio, test: &str) -> Self {
        let name = database_name(test);
        let database = database(&name).await;
        Self { fluvio, dir: tempfile::tempdir().expect("a temporary folder"), database, name }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), content).expect("a written file");
    }

    pub fn command(&self, args: &str) -> Command {
        let mut command = streampulse(self.path(), args);
        self.fluvio.see(&mut command);
        command
    }

    pub fn flags(&self) -> String {
        format!("--cluster --data-dir data --database {} --mongodb-uri {}", self.name, mongodb_uri())
    }

    pub fn deploy(&self) -> String {
        let output = run(self.command("deploy"), 0);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Deploys where something differs and stays.
    pub fn deploy_finding(&self) {
        run(self.command("deploy"), 1);
    }

    pub fn up_args(&self) -> String {
        format!("up --file log --until-drained --summary json {}", self.flags())
    }

    fn up(&self) -> Value {
        let output = run(self.command(&self.up_args()), 0);
        serde_json::from_slice(&output.stdout).expect("the summary, alone")
    }

    fn start(&self, args: &str) -> Child {
        let log = std::fs::File::create(self.path().join("stderr")).expect("a file");
        self.command(args).stdout(Stdio::piped()).stderr(log).spawn().expect("the command starts")
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.path().join("stderr")).unwrap_or_default()
    }

    async fn stored(&self, count: u64) -> u64 {
        let events = self.database.collection::<Document>("access_events");
        let until = Instant::now() + PATIENCE;
        loop {
            let found = events.estimated_document_count().await.unwrap_or(0);
            if found >= count {
                return found;
            }
            assert!(Instant::now() < until, "{found} of {count} events are stored: {}", self.errors());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the rollups hold `count` accesses.
    async fn counted(&self, count: i64) {
        let minutes = self.database.collection::<Document>("access_minutes");
        let until = Instant::now() + PATIENCE;
        loop {
            let sum =
                vec![doc! { "$group": { "_id": null, "n": { "$sum": { "$add": ["$n", "$rejected"] } } } }];
            let mut found = minutes.aggregate(sum).await.expect("sums");
            let found = match found.advance().await.expect("a sum") {
                true => found.deserialize_current().expect("a document").get_i64("n").unwrap_or(0),
                false => 0,
            };
            if found >= count {
                return;
            }
            assert!(Instant::now() < until, "{found} of {count} lines are counted: {}", self.errors());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts the job `job` as a connector; `copy` tells copies of it apart.
    fn connector(&self, job: &str, copy: usize) -> Child {
        self.connector_with(job, copy, "")
    }

    /// The same with more arguments.
    fn connector_with(&self, job: &str, copy: usize, more: &str) -> Child {
        let name = format!("{job}-{copy}");
        let (uri, endpoint) = (mongodb_uri(), self.fluvio.endpoint());
        let args = connector(self.path(), (&name, job), (&self.name, &uri), &endpoint, "") + more;
        let log = std::fs::File::create(self.path().join(format!("{name}.log"))).expect("a file");
        let child =
            self.command(&args).stdout(Stdio::null()).stderr(log).spawn().expect("the connector starts");
        remember_process(child.id(), "streampulse");
        child
    }
}

/// Writes the files of the connector `name` for the job `job`, and gives the arguments that start it. Each has
/// files of its own: one that is written anew can be empty when another copy reads it. `more` is added to its
/// configuration.
pub fn connector(
    dir: &Path,
    (name, job): (&str, &str),
    (database, uri): (&str, &str),
    endpoint: &str,
    more: &str,
) -> String {
    let topic = if job == "events" { "access-logs" } else { "access-rollups" };
    let config = format!(
        "apiVersion: 0.1.0\nmeta:\n  name: test-{job}\n  type: mongodb-sink\n  version: 0.1.0\n  topic: {topic}\n  \
         secrets:\n    - name: MONGODB_URI\nmongodb:\n  job: {job}\n  uri: ${{{{ secrets.MONGODB_URI }}}}\n  \
         database: {database}\n  endpoint: {endpoint}\n{more}"
    );
    std::fs::write(dir.join(format!("{name}.yaml")), config).expect("a file");
    std::fs::write(dir.join(format!("{name}.secrets")), format!("MONGODB_URI={uri}\n")).expect("a file");
    format!("connector --config {name}.yaml --secrets {name}.secrets")
}

/// Ends a connector, which must still be at work.
fn terminate(case: &Case, (job, copy): (&str, usize), mut child: Child) {
    let log = || std::fs::read_to_string(case.path().join(format!("{job}-{copy}.log"))).unwrap_or_default();
    assert!(child.try_wait().expect("a state").is_none(), "it has ended by itself: {}", log());
    assert!(signal(child.id(), "TERM"));
    let ended = child.wait().expect("it ends");
    assert!(ended.success(), "{ended}: {}", log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_on_a_cluster() {
    let Some(case) = Case::new("contract", 2).await else { return };
    case.deploy();
    let address = Address { endpoint: Some(case.fluvio.endpoint()), profile: None };
    let cluster = Cluster::connect(&address, case.database.clone(), Holder::this_process()).await;
    let filter_map = streampulse::modules::load().expect("built in").filter_map;
    contract::check(&cluster.expect("a cluster"), "contract", filter_map).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_counts_once_and_a_topic_made_anew_has_new_lines() {
    let Some(case) = Case::new("clustered", 2).await else { return };
    let sample = Sample::valid(20_000, 3);
    case.write("log", sample.file());
    let summary = case.up();
    assert_eq!((&summary["runtime"], &summary["read"]), (&"cluster".into(), &20_000.into()));
    sample.check(&case.database).await;
    assert_eq!(case.up()["read"], 0, "a second run reads nothing");
    let sample = sample.and(Sample::valid(500, 4));
    case.write("log", sample.file());
    assert_eq!(case.up()["read"], 500, "only what was appended is read");
    sample.check(&case.database).await;
    let status = run(case.command(&format!("status --format json {}", case.flags())), 1);
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let jobs = status[0]["jobs"].as_array().expect("jobs");
    let ends: i64 = jobs
        .iter()
        .filter(|job| job["job"] == "events")
        .map(|job| job["checkpoint"].as_i64().unwrap_or(0))
        .sum();
    assert_eq!(ends, 20_500, "{status}");

    for topic in ["access-logs", "access-rollups"] {
        case.fluvio.delete_topic(topic);
    }
    assert_eq!(case.up()["read"], 20_500, "a topic made anew has nothing of the file");
    sample.clone().and(sample).check(&case.database).await;
}

/// A run that is over before anything happens in the background.
#[tokio::test(flavor = "multi_thread")]
async fn topics_made_anew_after_a_short_run_are_other_ones() {
    let Some(case) = Case::new("shortrun", 1).await else { return };
    let sample = Sample::valid(50, 10);
    case.write("log", sample.file());
    for expected in [sample.clone(), sample.clone().and(sample)] {
        assert_eq!(case.up()["read"], 50);
        expected.check(&case.database).await;
        let states = all(&case.database, "pipeline_state").await;
        for topic in ["access-logs", "access-rollups"] {
            let key = format!("cluster|{topic}");
            let state =
                states.iter().find(|state| state.get_str("_id").is_ok_and(|id| id == key)).expect("a topic");
            let incarnations = state.get_array("incarnations").expect("incarnations");
            let seen = |incarnation: &mongodb::bson::Bson| {
                incarnation
                    .as_document()
                    .is_some_and(|i| i.get_document("seen").is_ok_and(|seen| !seen.is_empty()))
            };
            assert!(incarnations.iter().all(seen), "no batch of {topic} is remembered");
            case.fluvio.delete_topic(topic);
        }
    }
}

/// What job events had handed on, and nobody had counted yet, is handed on again.
#[tokio::test(flavor = "multi_thread")]
async fn no_count_is_lost_with_a_deleted_rollups_topic() {
    let Some(case) = Case::new("rollupsgone", 2).await else { return };
    let sample = Sample::valid(20_000, 11);
    case.write("log", sample.file());
    assert_eq!(case.up()["read"], 20_000);
    let sample = sample.and(Sample::valid(30_000, 12));
    case.write("log", sample.file());
    let events = case.connector("events", 0);
    let mut produce = case.start(&format!("produce --file log {}", case.flags()));
    assert!(produce.wait().expect("it ends").success(), "{}", case.errors());
    case.stored(sample.accepted as u64).await;
    terminate(&case, ("events", 0), events);
    case.fluvio.delete_topic("access-rollups");
    case.up();
    sample.check(&case.database).await;
    case.up();
    sample.check(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_a_foreign_producer_is_read_whole() {
    let Some(case) = Case::new("backlog", 1).await else { return };
    case.deploy();
    // Several times what a response of the default size holds.
    let sample = Sample::valid(60_000, 5);
    case.write("log", sample.file());
    case.write("none", "");
    let file = case.path().join("log").to_string_lossy().into_owned();
    case.fluvio.fluvio(&["produce", "access-logs", "--file", &file]);
    let args = format!("up --file none --until-drained --summary json {}", case.flags());
    let summary: Value = serde_json::from_slice(&run(case.command(&args), 0).stdout).expect("the summary");
    assert_eq!(summary["read"], 60_000);
    sample.check(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_of_the_cluster_and_of_the_pipeline_change_no_count() {
    let Some(mut case) = Case::new("clusterkills", 2).await else { return };
    case.deploy();
    let sample = Sample::valid(LINES_UNDER_FIRE, 6);
    case.write("log", sample.file());
    let mut up = case.start(&case.up_args());
    let mut reached = 0;
    for round in 0..3 {
        reached = case.stored(reached + 12_000).await;
        case.fluvio.kill_spu(round % 2);
        case.fluvio.start_spu(round % 2);
        reached = case.stored(reached + 8_000).await;
        case.fluvio.kill_sc();
        case.fluvio.start_sc();
        reached = case.stored(reached + 4_000).await;
        assert!(up.try_wait().expect("a state").is_none(), "it ended too early: {}", case.errors());
        kill(&mut up);
        // What was on its way is still stored; else the next round would begin before the next process has.
        tokio::time::sleep(IN_FLIGHT).await;
        reached = case.stored(reached).await;
        up = case.start(&case.up_args());
    }
    let ended = up.wait().expect("it ends");
    assert!(ended.success(), "{}", case.errors());
    sample.check(&case.database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_that_are_killed_and_doubled_change_no_count() {
    let Some(case) = Case::new("connectors", 1).await else { return };
    case.deploy();
    let sample = Sample::valid(LINES_UNDER_FIRE, 7);
    case.write("log", sample.file());
    let jobs = ["events", "events", "rollups", "alerts"];
    let mut children: Vec<_> = (0..).zip(jobs).map(|(copy, job)| (job, case.connector(job, copy))).collect();
    let mut produce = case.start(&format!("produce --file log {}", case.flags()));
    let mut reached = 0;
    for round in 0..10 {
        reached = case.stored(reached + 4_000).await;
        assert!(reached < sample.accepted as u64, "all is stored before the last kill");
        let index = round % children.len();
        let (job, child) = &mut children[index];
        kill(child);
        *child = case.connector(job, index);
    }
    assert!(produce.wait().expect("it ends").success(), "{}", case.errors());
    case.counted(sample.accepted).await;
    sample.check(&case.database).await;
    for (copy, (job, child)) in children.into_iter().enumerate() {
        terminate(&case, (job, copy), child);
    }
    sample.check(&case.database).await;
}

/// A process that stops without dying keeps its lease only for a while; when it goes on, it stands by.
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_connector_is_followed_and_does_no_harm_when_it_goes_on() {
    let Some(case) = Case::new("standby", 1).await else { return };
    case.deploy();
    let sample = Sample::valid(LINES_UNDER_FIRE, 9);
    case.write("log", sample.file());
    let first = case.connector("events", 0);
    let mut produce = case.start(&format!("produce --file log {}", case.flags()));
    case.stored(4_000).await;
    let others = [("events", 1), ("rollups", 2), ("alerts", 3)]
        .map(|(job, copy)| ((job, copy), case.connector(job, copy)));
    assert!(signal(first.id(), "STOP"));
    let reached = case.stored(4_000).await;
    case.stored(reached + 4_000).await;
    assert!(signal(first.id(), "CONT"));
    assert!(produce.wait().expect("it ends").success(), "{}", case.errors());
    case.counted(sample.accepted).await;
    sample.check(&case.database).await;
    terminate(&case, ("events", 0), first);
    others.into_iter().for_each(|(job, child)| terminate(&case, job, child));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_in_the_cluster_is_told_and_upgraded() {
    let Some(case) = Case::new("versions", 1).await else { return };
    let planned = String::from_utf8(run(case.command("deploy --dry-run"), 0).stdout).expect("text");
    assert!(planned.contains("create   SmartModule access-anomaly"), "{planned}");
    assert!(planned.contains("5 to do; nothing was done"), "{planned}");
    assert!(case.deploy().contains("5 done"));
    assert!(case.deploy().contains("0 done"));

    // The module of another build: its mark differs.
    let mut wasm = streampulse::modules::load().expect("built in").window_aggregate.to_vec();
    let name = b"streampulse.code_hash";
    let at = wasm.windows(name.len()).position(|window| window == name).expect("a mark");
    wasm[at + name.len()] ^= 1;
    case.write("old.wasm", &wasm);
    let file = case.path().join("old.wasm").to_string_lossy().into_owned();
    case.fluvio.fluvio(&["smartmodule", "create", "access-window-aggregate", "--wasm-file", &file]);
    let planned = String::from_utf8(run(case.command("deploy --dry-run"), 0).stdout).expect("text");
    assert!(
        planned.contains("upgrade  SmartModule access-window-aggregate: access-window-aggregate of code"),
        "{planned}"
    );
    case.write("log", Sample::valid(10, 8).file());
    let refused = run(case.command(&case.up_args()), 2);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("run `streampulse deploy`"), "{error}");
    assert!(case.deploy().contains("1 done"));
    assert_eq!(case.up()["read"], 10);

    case.write("fluvio.toml", "[topics.access-logs]\npartitions = 1\nretention_s = 60\n");
    let differs = String::from_utf8(run(case.command("deploy"), 1).stdout).expect("text");
    assert!(differs.contains("its retention_s is 604800, the configuration says 60"), "{differs}");
    assert!(differs.contains("partitions are never removed: say partitions = 2"), "{differs}");
    case.write("fluvio.toml", "[topics.access-logs]\npartitions = 3\n");
    assert!(case.deploy().contains("upgrade  topic access-logs: 2 partitions become 3"));
    assert_eq!(case.up()["read"], 0, "what was read stays read");
}
