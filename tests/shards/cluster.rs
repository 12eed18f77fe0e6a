//! A sharded cluster of real mongods, without a mongos: a config server and shards of one node each. The
//! commands for a mongos are translated into those that it sends to them itself.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use sink::schema::sharding::Found;
use streampulse::mongod;
use tempfile::TempDir;

use crate::processes::free_port;

/// Longest time that a server may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
const DATABASE: &str = "sharded";

pub struct ShardedCluster {
    dir: TempDir,
    config: Server,
    shards: Vec<Server>,
    /// What the config server knows our database by.
    version: Document,
}

/// A replica set of one.
struct Server {
    child: Child,
    port: u16,
    client: Client,
}

/// The router of a cluster.
pub struct Mongos {
    child: Child,
    pub uri: String,
}

impl Drop for Mongos {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl ShardedCluster {
    /// A cluster with shards `shard0`, `shard1` and so on, and an empty database on `shard0`. It does not
    /// balance by itself, so that what a test sees is what it did.
    pub async fn start(shards: usize) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Server::start(dir.path(), "config", "--configsvr").await;
        let majority = doc! { "w": "majority" };
        config.admin(doc! { "_configsvrBalancerStop": 1 }).await;
        let mut this = Self { dir, config, shards: Vec::new(), version: Document::new() };
        for _ in 0..shards {
            this.add_shard().await;
        }
        let create = doc! {
            "_configsvrCreateDatabase": DATABASE, "primaryShardId": "shard0", "writeConcern": majority,
        };
        let created = this.config.admin(create).await;
        this.version = created.get_document("databaseVersion").expect("a version").clone();
        this
    }

    pub async fn add_shard(&mut self) {
        let name = format!("shard{}", self.shards.len());
        let shard = Server::start(self.dir.path(), &name, "--shardsvr").await;
        let host = format!("{name}/127.0.0.1:{}", shard.port);
        let add = doc! { "_configsvrAddShard": host, "name": name, "writeConcern": { "w": "majority" } };
        self.config.admin(add).await;
        self.shards.push(shard);
    }

    /// The part of our database that lies on one shard.
    pub fn shard(&self, name: &str) -> Database {
        let index: usize = name.trim_start_matches("shard").parse().expect("a shard of ours");
        self.shards[index].client.database(DATABASE)
    }

    /// What the config server says.
    pub async fn found(&self) -> Found {
        Found::read(&self.config.client.database("config"), DATABASE).await.expect("a config server")
    }

    pub async fn count_by_shard(&self, collection: &str) -> Vec<u64> {
        let mut counts = Vec::new();
        for shard in &self.shards {
            let documents = shard.client.database(DATABASE).collection::<Document>(collection);
            counts.push(documents.count_documents(doc! {}).await.expect("a count"));
        }
        counts
    }

    /// Does what a mongos does with a command.
    pub async fn run(&self, command: &Document) {
        let (name, value) = command.iter().next().expect("a command has a name");
        let mut translated = Document::new();
        let rest = command.iter().skip(1).map(|(key, value)| (key.clone(), value.clone()));
        let to_config = match name.as_str() {
            "addShardToZone" => Some("_configsvrAddShardToZone"),
            "updateZoneKeyRange" => Some("_configsvrUpdateZoneKeyRange"),
            "moveRange" => Some("_configsvrMoveRange"),
            _ => None,
        };
        if let Some(internal) = to_config {
            translated.insert(internal, value.clone());
            translated.extend(rest);
            translated.insert("writeConcern", doc! { "w": "majority" });
            self.config.admin(translated).await;
            return;
        }
        let primary = self.shard("shard0");
        if name == "shardCollection" {
            let namespace = value.as_str().expect("a name");
            translated.insert("_shardsvrCreateCollection", namespace.split_once('.').expect("a database").1);
            translated.insert("shardKey", command.get("key"));
            translated.insert("unique", command.get("unique"));
            translated.insert("databaseVersion", self.version.clone());
            translated.insert("writeConcern", doc! { "w": "majority" });
        } else {
            translated.clone_from(command);
        }
        primary.run_command(translated).await.unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    /// A mongos of this cluster, where there is the program.
    pub fn start_mongos(&self) -> Option<Mongos> {
        let path = std::env::var_os("PATH")?;
        let program =
            std::env::split_paths(&path).map(|dir| dir.join("mongos")).find(|file| file.is_file())?;
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["--configdb", &format!("config/127.0.0.1:{}", self.config.port)]);
        command.args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--logpath"]);
        command.arg(self.dir.path().join("mongos.log")).stdout(Stdio::null());
        let child = command.spawn().expect("mongos starts");
        Some(Mongos { child, uri: format!("mongodb://127.0.0.1:{port}/") })
    }
}

impl Server {
    async fn start(dir: &Path, name: &str, role: &str) -> Self {
        let files = dir.join(name);
        std::fs::create_dir(&files).expect("a folder");
        let port = free_port();
        let mut command = Command::new(mongod::program().expect("a mongod"));
        command.arg("--dbpath").arg(&files).args(["--bind_ip", "127.0.0.1", "--port", &port.to_string()]);
        command.args([role, "--replSet", name, "--wiredTigerCacheSizeGB", "0.25", "--logpath"]);
        let child = command.arg(files.join("log")).stdout(Stdio::null()).spawn().expect("mongod starts");
        let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
        let options = ClientOptions::parse(uri).await.expect("a URI");
        let this = Self { child, port, client: Client::with_options(options).expect("a client") };
        let members = doc! { "_id": 0, "host": format!("127.0.0.1:{port}") };
        let mut set = doc! { "_id": name, "members": [members] };
        if role == "--configsvr" {
            set.insert("configsvr", true);
        }
        this.admin(doc! { "replSetInitiate": set }).await;
        let until = Instant::now() + PATIENCE;
        while !this.admin(doc! { "hello": 1 }).await.get_bool("isWritablePrimary").expect("an answer") {
            assert!(Instant::now() < until, "{name} does not become primary");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        this
    }

    async fn admin(&self, command: Document) -> Document {
        let admin = self.client.database("admin");
        admin.run_command(command.clone()).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }
}
