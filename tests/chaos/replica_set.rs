//! A replica set of three mongods, each behind a proxy that clients and the other members go through.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use streampulse::mongod;
use tempfile::TempDir;

use super::disk::Disk;
use super::proxy::{Mode, Proxy};
use crate::processes::{free_port, kill, remember_folder, remember_process, signal};

/// Members.
pub const NODES: usize = 3;
/// Longest time that starting or electing may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a member may take to say what it is; one that is stopped never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Size of a member's file system, in MiB.
const DISK_MIB: u64 = 1_024;

pub struct ReplicaSet {
    nodes: Vec<Node>,
    // Last, so that the members have ended when it goes.
    _dir: TempDir,
}

/// One member.
pub struct Node {
    port: u16,
    pub proxy: Proxy,
    child: Child,
    dir: PathBuf,
    /// Where it lies on a file system of its own.
    pub disk: Option<Disk>,
}

impl Drop for Node {
    fn drop(&mut self) {
        signal(self.child.id(), "CONT");
        kill(&mut self.child);
    }
}

impl Node {
    fn start(dir: PathBuf) -> Self {
        let disk = Disk::mount(&dir, DISK_MIB);
        let port = free_port();
        Self { port, proxy: Proxy::before(port), child: spawn(&dir, port), dir, disk }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills its process, if it has not ended by itself.
    pub fn kill(&mut self) {
        kill(&mut self.child);
    }

    /// Starts its process again if it has ended.
    fn ensure_running(&mut self) {
        if self.child.try_wait().expect("our child").is_some() {
            self.child = spawn(&self.dir, self.port);
        }
    }

    /// What it says of itself, past its proxy.
    async fn run(&self, command: Document) -> Option<Document> {
        let uri = format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port);
        let answer = async {
            let mut options = ClientOptions::parse(uri).await.ok()?;
            options.server_selection_timeout = Some(ANSWER_WITHIN);
            let client = Client::with_options(options).ok()?;
            client.database("admin").run_command(command).await.ok()
        };
        tokio::time::timeout(ANSWER_WITHIN, answer).await.ok().flatten()
    }
}

fn spawn(dir: &Path, port: u16) -> Child {
    let program = mongod::program().expect("a mongod; `cargo xtask setup` fetches one");
    let mut command = Command::new(program);
    command.arg("--dbpath").arg(dir).args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1"]);
    command.args(["--replSet", "chaos", "--oplogSize", "200", "--wiredTigerCacheSizeGB", "0.25"]);
    command.args(["--setParameter", "diagnosticDataCollectionEnabled=false", "--logappend", "--logpath"]);
    command.arg(dir.with_extension("log")).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("mongod starts");
    remember_process(child.id(), "mongod");
    child
}

impl ReplicaSet {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        remember_folder(dir.path());
        let nodes = (0..NODES).map(|number| Node::start(dir.path().join(format!("node{number}")))).collect();
        let this = Self { nodes, _dir: dir };
        let members = this.nodes.iter().enumerate().map(|(number, node)| {
            doc! { "_id": i32::try_from(number).expect("a small number"), "host": format!("127.0.0.1:{}", node.proxy.port) }
        });
        // An election begins two seconds after the primary fell silent, not ten.
        let settings = doc! { "electionTimeoutMillis": 2_000, "heartbeatIntervalMillis": 500, "heartbeatTimeoutSecs": 2 };
        let config = doc! { "_id": "chaos", "members": members.collect::<Vec<_>>(), "settings": settings };
        let until = Instant::now() + PATIENCE;
        while this.nodes[0].run(doc! { "replSetInitiate": config.clone() }).await.is_none() {
            if this.primary().await.is_some() {
                break;
            }
            assert!(Instant::now() < until, "the replica set is not initiated");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        this.until_whole().await;
        this
    }

    /// For clients: through the proxies.
    pub fn uri(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.proxy.port)).collect();
        format!("mongodb://{}/?replicaSet=chaos", hosts.join(","))
    }

    /// A database as a client sees it that wants to know what lasts.
    pub async fn database(&self, name: &str) -> Database {
        let uri = format!("{}&readConcernLevel=majority", self.uri());
        Client::with_uri_str(uri).await.expect("a client").database(name)
    }

    pub fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// The member that says it is the primary.
    pub async fn primary(&self) -> Option<usize> {
        for (number, node) in self.nodes.iter().enumerate() {
            let hello = node.run(doc! { "hello": 1 }).await.unwrap_or_default();
            if hello.get_bool("isWritablePrimary").unwrap_or(false) {
                return Some(number);
            }
        }
        None
    }

    /// Asks the primary to give up its place.
    pub async fn step_down(&self) {
        if let Some(primary) = self.primary().await {
            // Where nobody can follow, it stays.
            self.nodes[primary].run(doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 1 }).await;
        }
    }

    /// Starts the members again that have ended.
    pub fn ensure_running(&mut self) {
        self.nodes.iter_mut().for_each(Node::ensure_running);
    }

    /// Undoes whatever was done to the members.
    pub fn heal(&mut self) {
        for node in &mut self.nodes {
            if let Some(disk) = &node.disk {
                disk.empty();
            }
            node.proxy.set(Mode::Through);
            signal(node.pid(), "CONT");
            node.ensure_running();
        }
    }

    /// Waits until there is a primary and all members follow it.
    pub async fn until_whole(&self) {
        let until = Instant::now() + PATIENCE;
        while !self.is_whole().await {
            assert!(Instant::now() < until, "the replica set does not find together");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn is_whole(&self) -> bool {
        let Some(primary) = self.primary().await else { return false };
        let status = self.nodes[primary].run(doc! { "replSetGetStatus": 1 }).await.unwrap_or_default();
        let members = status.get_array("members").cloned().unwrap_or_default();
        let state = |member: &Document| member.get_i32("state").unwrap_or(-1);
        let states: Vec<i32> = members.iter().filter_map(|member| member.as_document().map(state)).collect();
        states.len() == NODES && states.iter().all(|state| matches!(state, 1 | 2))
    }
}
