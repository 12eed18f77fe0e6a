//! A Fluvio cluster of the tests' own: its programs from the Fluvio that is installed, its data in a folder of
//! its own, its ports any that are free. A cluster of the user's is left alone.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Longest time that anything of a cluster may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the SC takes to hear that an SPU has removed a partition.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(1);
/// One cluster at a time: each is several processes.
static ONE: Mutex<()> = Mutex::new(());

/// The Fluvio CLI, where `cargo xtask test` has found one. Without it the cluster suite is skipped, which
/// that command says.
pub fn installed() -> Option<PathBuf> {
    std::env::var_os("STREAMPULSE_FLUVIO").map(PathBuf::from)
}

/// A cluster, ended when it is dropped or the test process ends.
pub struct Fluvio {
    dir: PathBuf,
    cli: PathBuf,
    runner: PathBuf,
    ports: (u16, u16),
    sc: Option<Child>,
    spus: Vec<Spu>,
    /// Ends the processes whose numbers lie in a folder when the tests end, however they end.
    _watcher: Child,
    _one: MutexGuard<'static, ()>,
}

struct Spu {
    id: u32,
    ports: (u16, u16),
    child: Option<Child>,
}

impl Fluvio {
    /// A cluster with this many SPUs; `None` where Fluvio is not installed.
    pub fn start(spus: usize) -> Option<Self> {
        let cli = installed()?;
        let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let runner = runner(&cli);
        let dir = tempfile::tempdir().expect("a temporary folder").keep();
        std::fs::create_dir(dir.join("pids")).expect("a folder");
        let script = r#"read _; for pid in $(cat "$0"/pids/*); do kill -9 "$pid"; done; rm -rf "$0""#;
        let mut watcher = Command::new("sh");
        watcher.args(["-c", script]).arg(&dir).stdin(Stdio::piped()).stderr(Stdio::null());
        let ports = (free_port(), free_port());
        let spus =
            (0..spus).map(|i| Spu { id: 5001 + i as u32, ports: (free_port(), free_port()), child: None });
        let mut this = Self {
            cli,
            runner,
            ports,
            sc: None,
            spus: spus.collect(),
            _watcher: watcher.spawn().expect("a shell"),
            _one: one,
            dir,
        };
        std::fs::write(this.dir.join("profile.toml"), this.profile()).expect("a written profile");
        this.start_sc();
        for index in 0..this.spus.len() {
            let Spu { id, ports, .. } = this.spus[index];
            let (public, private) = (format!("127.0.0.1:{}", ports.0), format!("127.0.0.1:{}", ports.1));
            let id = id.to_string();
            this.fluvio(&["cluster", "spu", "register", "--id", &id, "-p", &public, "-v", &private]);
            this.start_spu(index);
        }
        this.wait_online();
        Some(this)
    }

    /// Address of the SC.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.ports.0)
    }

    fn profile(&self) -> String {
        format!(
            "version = \"2.0\"\ncurrent_profile = \"test\"\n[profile.test]\ncluster = \"test\"\n\
             [cluster.test]\nendpoint = \"{}\"\nuse_spu_local_address = false\n\
             [cluster.test.tls]\ntls_policy = \"disabled\"\n",
            self.endpoint()
        )
    }

    /// A command that sees this cluster as that of its current profile.
    pub fn see(&self, command: &mut Command) {
        command.env("FLV_PROFILE_PATH", self.dir.join("profile.toml"));
    }

    /// Runs the Fluvio CLI until it succeeds, and gives what it prints.
    pub fn fluvio(&self, args: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut command = Command::new(&self.cli);
            self.see(command.args(args).stdin(Stdio::null()));
            let output = command.output().expect("fluvio runs");
            if output.status.success() {
                return String::from_utf8_lossy(&output.stdout).into_owned();
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(Instant::now() < until, "fluvio {args:?}: {error}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Deletes a topic, and waits until its SPUs have forgotten it: one of the same name that is created before
    /// they have can stay offline for ever.
    pub fn delete_topic(&self, topic: &str) {
        self.fluvio(&["topic", "delete", topic]);
        let until = Instant::now() + PATIENCE;
        let is_there = || {
            let spus = std::fs::read_dir(self.dir.join("data")).into_iter().flatten().flatten();
            let partitions =
                spus.flat_map(|spu| std::fs::read_dir(spu.path()).into_iter().flatten().flatten());
            let prefix = format!("{topic}-");
            partitions.into_iter().any(|folder| folder.file_name().to_string_lossy().starts_with(&prefix))
        };
        while is_there() {
            assert!(Instant::now() < until, "the SPUs keep {topic}");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(FORGOTTEN_AFTER);
    }

    /// Starts the SC, again after it was killed.
    pub fn start_sc(&mut self) {
        let mut command = Command::new(&self.runner);
        command.args(["sc", "--local"]).arg(self.dir.join("metadata"));
        command.args(["--bind-public", &self.endpoint()]);
        command.args(["--bind-private", &format!("127.0.0.1:{}", self.ports.1)]);
        self.sc = Some(self.spawn(command, "sc"));
        self.fluvio(&["topic", "list"]);
    }

    /// Starts an SPU, again after it was killed.
    pub fn start_spu(&mut self, index: usize) {
        let Spu { id, ports, .. } = self.spus[index];
        let mut command = Command::new(&self.runner);
        command.args(["spu", "-i", &id.to_string(), "--sc-addr", &format!("127.0.0.1:{}", self.ports.1)]);
        command.args(["-p", &format!("127.0.0.1:{}", ports.0), "-v", &format!("127.0.0.1:{}", ports.1)]);
        command.arg("--log-base-dir").arg(self.dir.join("data"));
        self.spus[index].child = Some(self.spawn(command, &format!("spu-{id}")));
    }

    /// Ends the SC at once. It rewrites its metadata in place, so a kill can leave an empty file, of which
    /// nothing is loaded again; such a file is given its last content, as `containers/fluvio-sc.sh` does.
    pub fn kill_sc(&mut self) {
        let files = || {
            let kinds = std::fs::read_dir(self.dir.join("metadata")).expect("a folder").flatten();
            let files = kinds.flat_map(|kind| std::fs::read_dir(kind.path()).into_iter().flatten().flatten());
            files.map(|file| file.path()).filter(|path| path.is_file()).collect::<Vec<_>>()
        };
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap_or_default());
        let until = Instant::now() + PATIENCE;
        let before = loop {
            // One that is empty now is being rewritten: its content would be unknown if the kill came meanwhile.
            let before: Vec<_> = files().into_iter().map(read).collect();
            if before.iter().all(|(_, content)| !content.is_empty()) {
                break before;
            }
            assert!(Instant::now() < until, "the SC leaves an empty metadata file");
            std::thread::sleep(Duration::from_millis(5));
        };
        kill(self.sc.take());
        for (path, content) in before {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() == 0) {
                std::fs::write(path, content).expect("a written file");
            }
        }
    }

    /// Ends an SPU at once.
    pub fn kill_spu(&mut self, index: usize) {
        kill(self.spus[index].child.take());
    }

    /// Memory of an SPU that is not swapped out, in KiB.
    pub fn spu_resident_kib(&self, index: usize) -> u64 {
        let pid = self.spus[index].child.as_ref().expect("it runs").id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn spawn(&self, mut command: Command, name: &str) -> Child {
        let log = std::fs::File::create(self.dir.join(format!("{name}.log"))).expect("a log file");
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
        command.env("RUST_LOG", "warn").env("FLUVIO_METRIC_SPU", self.dir.join(format!("{name}.sock")));
        let child = command.spawn().expect("fluvio-run starts");
        std::fs::write(self.dir.join("pids").join(name), child.id().to_string()).expect("a written number");
        child
    }

    fn wait_online(&self) {
        let until = Instant::now() + PATIENCE;
        while self.fluvio(&["cluster", "spu", "list"]).matches("Online").count() < self.spus.len() {
            assert!(Instant::now() < until, "the SPUs do not come online");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Fluvio {
    fn drop(&mut self) {
        self.spus.iter_mut().for_each(|spu| kill(spu.child.take()));
        kill(self.sc.take());
    }
}

fn kill(child: Option<Child>) {
    if let Some(mut child) = child {
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }
}

/// `fluvio-run` lies beside the CLI, or where the CLI keeps its extensions.
fn runner(cli: &Path) -> PathBuf {
    let beside = cli.parent().expect("a folder");
    let places = [beside.join("fluvio-run"), beside.join("../extensions/fluvio-run")];
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| PathBuf::from("fluvio-run"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
