//! The pipeline of a round: its processes, started again whenever they have ended, as a service manager would.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::cluster::Cluster;
use super::disk::Disk;
use super::traffic::LIMIT;
use crate::cluster::connector;
use crate::metrics::ask;
use crate::processes::{free_port, kill, remember_folder, remember_process, signal};
use crate::support::{learn_nothing, run, streampulse};

/// Names the libfaketime that `cargo xtask chaos` has found or installed.
const FAKETIME: &str = "STREAMPULSE_FAKETIME";
/// Size of the data directory's file system, in MiB.
const DISK_MIB: u64 = 64;
/// Longest time in which processes that are asked to end may store what they have read.
const DRAIN_MAX: Duration = Duration::from_secs(180);
/// What each process says at most of itself in a violation.
const SHOWN_BYTES_MAX: usize = 4_000;

/// Connectors of a round, by name, with their jobs.
const CONNECTORS: [(&str, &str); 4] =
    [("events", "events"), ("events2", "events"), ("rollups", "rollups"), ("alerts", "alerts")];

/// What the processes of a round are.
#[derive(Clone, Copy, Debug)]
pub enum Setup {
    /// `streampulse up` on the embedded runtime.
    Embedded,
    /// `streampulse up --cluster`.
    Cluster,
    /// `streampulse produce` and a connector for each job, of which events has two.
    Connectors,
}

impl Setup {
    /// The one of a seed. Without Fluvio there is one alone.
    pub fn of(seed: u64) -> Self {
        match seed % 3 {
            _ if crate::fluvio::installed().is_none() => Self::Embedded,
            0 => Self::Embedded,
            1 => Self::Cluster,
            _ => Self::Connectors,
        }
    }
}

pub struct Pipeline {
    parts: Vec<Part>,
    /// How often a part was started again because it had ended.
    pub restarts: u32,
    /// The data directory's file system, where it has one of its own.
    pub disk: Option<Disk>,
    /// What it runs on, where that is not the embedded runtime.
    pub cluster: Option<Cluster>,
    /// Arguments of the one process that can do all of its work.
    up: String,
    /// Where that process tells of itself.
    told_at: String,
    // Last, so that the processes have ended when it goes.
    dir: TempDir,
}

/// A process.
struct Part {
    name: &'static str,
    args: String,
    child: Child,
}

impl Drop for Part {
    fn drop(&mut self) {
        signal(self.child.id(), "CONT");
        kill(&mut self.child);
    }
}

impl Pipeline {
    /// Starts it on an empty log file.
    pub fn start(setup: Setup, uri: &str, database: &str) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        remember_folder(dir.path());
        learn_nothing(dir.path());
        std::fs::write(dir.path().join("log"), "").expect("a file");
        let (mut disk, mut cluster, mut runtime) = (None, None, "");
        if let Setup::Embedded = setup {
            disk = Disk::mount(&dir.path().join("data"), DISK_MIB);
        } else {
            cluster = Some(Cluster::start(&dir.path().join("spus")).expect("Fluvio is installed"));
            runtime = "--cluster";
        }
        let flags = format!(
            "--file log {runtime} --data-dir data --database {database} --wait-for-mongodb 5s --mongodb-uri {uri}"
        );
        let told_at = format!("127.0.0.1:{}", free_port());
        let up = format!("up --summary json --limit-per-minute {LIMIT} --metrics {told_at} {flags}");
        let mut this = Self { parts: Vec::new(), restarts: 0, disk, cluster, up: up.clone(), told_at, dir };
        if let Setup::Connectors = setup {
            this.start_connectors(&flags, (database, uri));
        } else {
            this.start_part("up", up);
        }
        this
    }

    fn start_connectors(&mut self, flags: &str, store: (&str, &str)) {
        run(self.command("deploy"), 0);
        self.start_part("produce", format!("produce --follow {flags}"));
        let endpoint = self.cluster().fluvio.endpoint();
        let detect = format!(
            "transforms:\n  - uses: access-anomaly\n    with:\n      limit_per_minute: \"{LIMIT}\"\n      \
             false_alerts_per_week: \"0\"\n"
        );
        for (name, job) in CONNECTORS {
            let more = if job == "alerts" { detect.as_str() } else { "" };
            let args = connector(self.dir.path(), (name, job), store, &endpoint, more);
            self.start_part(name, args);
        }
    }

    fn start_part(&mut self, name: &'static str, args: String) {
        std::fs::write(self.dir.path().join(format!("{name}.clock")), "+0").expect("a file");
        let child = self.spawn(name, &args);
        self.parts.push(Part { name, args, child });
    }

    /// The command as its processes see it.
    fn command(&self, args: &str) -> Command {
        let mut command = streampulse(self.dir.path(), args);
        if let Some(cluster) = &self.cluster {
            cluster.fluvio.see(&mut command);
        }
        command
    }

    fn spawn(&self, name: &str, args: &str) -> Child {
        let log = self.dir.path().join(format!("{name}.stderr"));
        let log = File::options().create(true).append(true).open(log).expect("a file");
        let mut command = self.command(args);
        if let Some(faketime) = std::env::var_os(FAKETIME) {
            command.env("FAKETIME_TIMESTAMP_FILE", self.dir.path().join(format!("{name}.clock")));
            command.env("LD_PRELOAD", faketime).env("FAKETIME_CACHE_DURATION", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        remember_process(child.id(), "streampulse");
        child
    }

    pub fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// How many processes it has.
    pub fn processes(&self) -> usize {
        self.parts.len()
    }

    pub fn pid(&self, process: usize) -> u32 {
        self.parts[process].child.id()
    }

    pub fn kill(&mut self, process: usize) {
        kill(&mut self.parts[process].child);
    }

    /// The cluster of one that has such faults.
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("it runs on a cluster")
    }

    /// Starts its processes again that have ended.
    pub fn ensure_running(&mut self) {
        for index in 0..self.parts.len() {
            if self.parts[index].child.try_wait().expect("our child").is_some() {
                self.restarts += 1;
                self.parts[index].child = self.spawn(self.parts[index].name, &self.parts[index].args);
            }
        }
    }

    /// Whether clocks can be set.
    pub fn can_set_clock() -> bool {
        std::env::var_os(FAKETIME).is_some()
    }

    /// Sets the clock of a process so many seconds ahead of the machine's.
    pub fn set_clock(&self, process: usize, ahead_s: i64) {
        // In one step, since it is read at any moment.
        let clock = self.dir.path().join(format!("{}.clock", self.parts[process].name));
        std::fs::write(self.dir.path().join("clock.new"), format!("{ahead_s:+}")).expect("a file");
        std::fs::rename(self.dir.path().join("clock.new"), clock).expect("a file");
    }

    /// Undoes whatever was done to it and to its cluster, but for the end of its processes.
    pub fn heal(&mut self) {
        if let Some(disk) = &self.disk {
            disk.empty();
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.heal();
        }
        for process in 0..self.parts.len() {
            self.set_clock(process, 0);
            signal(self.pid(process), "CONT");
        }
    }

    /// Whether the one process of it reads its log.
    pub fn is_ready(&self) -> bool {
        ask(&self.told_at, "/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
    }

    /// Ends it as a service manager does, and waits until it has stored what it has read.
    pub fn terminate(&mut self) {
        for part in &self.parts {
            signal(part.child.id(), "TERM");
        }
        let until = Instant::now() + DRAIN_MAX;
        while self.parts.iter_mut().any(|part| part.child.try_wait().expect("our child").is_none()) {
            assert!(Instant::now() < until, "a process that was asked to end does not: {}", self.errors());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it read what is left, in one process alone, and says how many lines that were.
    pub fn finish(&self) -> u64 {
        let output = run(self.command(&format!("{} --until-drained", self.up)), 0);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the summary, alone");
        summary["read"].as_u64().expect("a number")
    }

    /// The last of what its processes have said.
    pub fn errors(&self) -> String {
        let said = |part: &Part| {
            let said =
                std::fs::read(self.dir.path().join(format!("{}.stderr", part.name))).unwrap_or_default();
            let last =
                String::from_utf8_lossy(&said[said.len().saturating_sub(SHOWN_BYTES_MAX)..]).into_owned();
            format!("\n{}: {last}", part.name)
        };
        self.parts.iter().map(said).collect()
    }
}
