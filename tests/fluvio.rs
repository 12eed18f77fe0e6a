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
    /// Where the SPUs keep their logs.
    data: PathBuf,
    cli: PathBuf,
    runner: PathBuf,
    ports: (u16, u16),
    /// Where clients see the SC.
    sc_seen: u16,
    /// Where it takes anybody without TLS.
    sc_plain: u16,
    tls: Option<Tls>,
    sc: Option<Child>,
    spus: Vec<Spu>,
    /// Ends the processes whose numbers lie in a folder when the tests end, however they end.
    _watcher: Child,
    _one: MutexGuard<'static, ()>,
}

/// What can be different.
#[derive(Default)]
pub struct Options<'a> {
    /// The port at which clients see the SC and each SPU, in this order, for its own.
    pub seen: Option<&'a mut dyn FnMut(u16) -> u16>,
    pub tls: Option<Tls>,
    /// Where the SPUs keep their logs.
    pub data: Option<PathBuf>,
}

/// Certificates for a cluster that takes nobody without one.
pub struct Tls {
    /// That of the servers, with its key.
    pub server: PathBuf,
    /// Authority of the clients.
    pub ca: PathBuf,
}

struct Spu {
    id: u32,
    ports: (u16, u16),
    child: Option<Child>,
}

impl Fluvio {
    /// A cluster with this many SPUs; `None` where Fluvio is not installed.
    pub fn start(spus: usize) -> Option<Self> {
        Self::start_with(spus, Options::default())
    }

    /// One that is somewhat different.
    pub fn start_with(spus: usize, Options { seen, tls, data }: Options) -> Option<Self> {
        let mut own = |port| port;
        let seen = seen.unwrap_or(&mut own);
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
            sc_seen: seen(ports.0),
            sc_plain: if tls.is_some() { free_port() } else { ports.0 },
            tls,
            sc: None,
            spus: spus.collect(),
            _watcher: watcher.spawn().expect("a shell"),
            _one: one,
            data: data.unwrap_or_else(|| dir.join("data")),
            dir,
        };
        for (name, port) in [("profile.toml", this.sc_seen), ("own.toml", this.sc_plain)] {
            std::fs::write(this.dir.join(name), profile(port)).expect("a written profile");
        }
        this.start_sc();
        for index in 0..this.spus.len() {
            let Spu { id, ports, .. } = this.spus[index];
            let (public, private) =
                (format!("127.0.0.1:{}", seen(ports.0)), format!("127.0.0.1:{}", ports.1));
            let id = id.to_string();
            this.fluvio(&["cluster", "spu", "register", "--id", &id, "-p", &public, "-v", &private]);
            this.start_spu(index);
        }
        this.wait_online();
        Some(this)
    }

    /// Address of the SC, as clients see it.
    pub fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.sc_seen)
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
            command.args(args).stdin(Stdio::null()).env("FLV_PROFILE_PATH", self.dir.join("own.toml"));
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
            let spus = std::fs::read_dir(&self.data).into_iter().flatten().flatten();
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

    /// Has a server of the cluster speak TLS, where the cluster does, but for one port that is ours.
    fn secure(&self, command: &mut Command, plain: u16) {
        let Some(tls) = &self.tls else { return };
        command.args([
            "--tls",
            "--enable-client-cert",
            "--bind-non-tls-public",
            &format!("127.0.0.1:{plain}"),
        ]);
        for (flag, file) in
            [("--ca-cert", &tls.ca), ("--server-cert", &tls.server), ("--server-key", &tls.server)]
        {
            command.arg(flag).arg(file);
        }
    }

    /// Starts the SC, again after it was killed.
    pub fn start_sc(&mut self) {
        let mut command = Command::new(&self.runner);
        command.args(["sc", "--local"]).arg(self.dir.join("metadata"));
        command.args(["--bind-public", &format!("127.0.0.1:{}", self.ports.0)]);
        command.args(["--bind-private", &format!("127.0.0.1:{}", self.ports.1)]);
        self.secure(&mut command, self.sc_plain);
        self.sc = Some(self.spawn(command, "sc"));
        self.fluvio(&["topic", "list"]);
    }

    /// Starts an SPU, again after it was killed.
    pub fn start_spu(&mut self, index: usize) {
        let Spu { id, ports, .. } = self.spus[index];
        let mut command = Command::new(&self.runner);
        command.args(["spu", "-i", &id.to_string(), "--sc-addr", &format!("127.0.0.1:{}", self.ports.1)]);
        command.args(["-p", &format!("127.0.0.1:{}", ports.0), "-v", &format!("127.0.0.1:{}", ports.1)]);
        command.arg("--log-base-dir").arg(&self.data);
        self.secure(&mut command, free_port());
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

    /// Processes of the SC and the SPUs, in this order; `None` is one that was killed.
    pub fn pids(&self) -> Vec<Option<u32>> {
        let spus = self.spus.iter().map(|spu| spu.child.as_ref());
        std::iter::once(self.sc.as_ref()).chain(spus).map(|child| child.map(Child::id)).collect()
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

    /// What the CLI knows of the SPUs, and what all servers have said.
    fn said(&self) -> String {
        let logs = std::fs::read_dir(&self.dir).expect("a folder").flatten().map(|file| file.path());
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let said = |path: PathBuf| {
            format!("{}: {}\n", path.display(), std::fs::read_to_string(&path).unwrap_or_default())
        };
        self.fluvio(&["cluster", "spu", "list"]) + &logs.map(said).collect::<String>()
    }

    fn wait_online(&self) {
        let until = Instant::now() + PATIENCE;
        while self.fluvio(&["cluster", "spu", "list"]).matches("Online").count() < self.spus.len() {
            assert!(Instant::now() < until, "the SPUs do not come online: {}", self.said());
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

fn profile(port: u16) -> String {
    format!(
        "version = \"2.0\"\ncurrent_profile = \"test\"\n[profile.test]\ncluster = \"test\"\n\
         [cluster.test]\nendpoint = \"127.0.0.1:{port}\"\nuse_spu_local_address = false\n\
         [cluster.test.tls]\ntls_policy = \"disabled\"\n"
    )
}

/// `fluvio-run` lies beside the CLI, or where the CLI keeps its extensions.
fn runner(cli: &Path) -> PathBuf {
    let beside = cli.parent().expect("a folder");
    let places = [beside.join("fluvio-run"), beside.join("../extensions/fluvio-run")];
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| PathBuf::from("fluvio-run"))
}

/// A port that nobody uses now. It is none of those that outgoing connections get, which could take it before a
/// server does.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
