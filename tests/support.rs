//! What the integration tests need around them: one mongod for all of them, databases of their own, and the
//! command.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::Database;
use mongodb::bson::Document;
use streampulse::mongod::Mongod;

use crate::processes::{remember_folder, remember_process};

/// The MongoDB to test against: a replica set of one, started with the first test that needs it.
pub fn mongodb_uri() -> String {
    static URI: OnceLock<String> = OnceLock::new();
    URI.get_or_init(|| std::thread::spawn(start).join().expect("mongod starts")).clone()
}

fn start() -> String {
    let dir = tempfile::tempdir().expect("a temporary folder").keep();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mongod =
        runtime.block_on(Mongod::start(&dir, None)).expect("a mongod; `cargo xtask setup` fetches one");
    let pid = std::fs::read_to_string(dir.join("mongod/mongod.lock")).expect("a lock file");
    remember_process(pid.trim().parse().expect("a process number"), "mongod");
    remember_folder(&dir);
    mongod.uri()
}

/// The name of a database that no other test uses.
pub fn database_name(test: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{test}_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A database of the tests' MongoDB.
pub async fn database(name: &str) -> Database {
    mongodb::Client::with_uri_str(mongodb_uri()).await.expect("a client").database(name)
}

/// The command, with its arguments separated by spaces.
pub fn streampulse(dir: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.current_dir(dir).args(args.split_whitespace()).env("RUST_LOG", "warn").stdin(Stdio::null());
    command
}

/// Lets the pipeline that runs in a folder alert on limits alone.
pub fn learn_nothing(dir: &Path) {
    std::fs::write(dir.join("fluvio.toml"), "[access-anomaly]\nfalse_alerts_per_week = 0\n").expect("a file");
}

/// Runs a command to its end; panics with its errors when it does not exit with `code`.
#[track_caller]
pub fn run(mut command: Command, code: i32) -> Output {
    let output = command.output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {errors}");
    output
}

/// Kills a pipeline once so many events are stored.
pub async fn kill_after(database: &Database, events: u64, mut pipeline: Command) {
    let mut child = pipeline.spawn().expect("it starts");
    let stored =
        || async { database.collection::<Document>("access_events").estimated_document_count().await };
    while child.try_wait().expect("our child").is_none() && stored().await.unwrap_or(0) < events {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    child.kill().expect("a child can be killed until it is waited for");
    child.wait().expect("it ends");
}
