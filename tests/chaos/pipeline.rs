//! The pipeline of a round: `streampulse up`, started again whenever it has ended, as a service manager would.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::disk::Disk;
use super::traffic::LIMIT;
use crate::processes::{kill, remember_folder, remember_process, signal};
use crate::support::{learn_nothing, run, streampulse};

/// Where Debian has libfaketime; `cargo xtask chaos` installs it.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
/// Size of the data directory's file system, in MiB.
const DISK_MIB: u64 = 64;
/// Longest time that an interrupted pipeline may take to store what it has read.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// What it says at most of itself in a violation.
const SHOWN_BYTES_MAX: usize = 4_000;

pub struct Pipeline {
    args: String,
    child: Child,
    /// How often it was started again because it had ended.
    pub restarts: u32,
    /// The data directory's file system, where it has one of its own.
    pub disk: Option<Disk>,
    // Last, so that the process has ended when it goes.
    dir: TempDir,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        signal(self.child.id(), "CONT");
        kill(&mut self.child);
    }
}

impl Pipeline {
    /// Starts it on an empty log file.
    pub fn start(uri: &str, database: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        remember_folder(dir.path());
        learn_nothing(dir.path());
        std::fs::write(dir.path().join("log"), "").expect("a file");
        std::fs::write(dir.path().join("clock"), "+0").expect("a file");
        let disk = Disk::mount(&dir.path().join("data"), DISK_MIB);
        let args = format!(
            "up --file log --summary json --data-dir data --limit-per-minute {LIMIT} --database {database} \
             --wait-for-mongodb 5s --mongodb-uri {uri}"
        );
        let child = spawn(dir.path(), &args);
        Self { args, child, restarts: 0, disk, dir }
    }

    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Starts it again if it has ended.
    pub fn ensure_running(&mut self) {
        if self.child.try_wait().expect("our child").is_some() {
            self.restarts += 1;
            self.child = spawn(self.dir.path(), &self.args);
        }
    }

    /// Whether its clock can be set.
    pub fn can_set_clock() -> bool {
        Path::new(FAKETIME).is_file()
    }

    /// Sets its clock so many seconds ahead of the machine's.
    pub fn set_clock(&self, ahead_s: i64) {
        // In one step, since it is read at any moment.
        let (new, clock) = (self.dir.path().join("clock.new"), self.dir.path().join("clock"));
        std::fs::write(&new, format!("{ahead_s:+}")).expect("a file");
        std::fs::rename(new, clock).expect("a file");
    }

    /// Undoes whatever was done to it, but for its end.
    pub fn heal(&mut self) {
        if let Some(disk) = &self.disk {
            disk.empty();
        }
        self.set_clock(0);
        signal(self.pid(), "CONT");
    }

    /// Ends it as a person does, and waits until it has stored what it has read.
    pub fn interrupt(&mut self) {
        signal(self.pid(), "INT");
        let until = Instant::now() + DRAIN_MAX;
        while self.child.try_wait().expect("our child").is_none() {
            assert!(Instant::now() < until, "an interrupted pipeline does not end: {}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it read what is left, alone, and says how many lines that were.
    pub fn finish(&self) -> u64 {
        let output = run(streampulse(self.dir.path(), &format!("{} --until-drained", self.args)), 0);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the summary, alone");
        summary["read"].as_u64().expect("a number")
    }

    /// The last of what it has said.
    pub fn errors(&self) -> String {
        let said = std::fs::read(self.dir.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN_BYTES_MAX)..]).into_owned()
    }
}

fn spawn(dir: &Path, args: &str) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("stderr")).expect("a file");
    let mut command = streampulse(dir, args);
    if Pipeline::can_set_clock() {
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME_TIMESTAMP_FILE", dir.join("clock"));
        command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        command.env("DONT_FAKE_MONOTONIC", "1");
    }
    let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("the pipeline starts");
    remember_process(child.id(), "streampulse");
    child
}
