//! A local mongod of our own, for those who bring none: a one-node replica set under the data directory,
//! reachable from this machine only. It is a real server; it ends with the command that started it.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ::mongodb::Client;
use ::mongodb::bson::{Document, doc};
use ::mongodb::options::ClientOptions;
use anyhow::{Context, Result, bail};
use runtime::embedded::create_private_dir;

/// Memory that the local server may use for its cache, in gigabytes.
const CACHE_GB: &str = "1";
/// How hard the server tries to compress. At its default of 6 events take no less room, and their inserts
/// half as much time again (`cargo xtask bench storage`, with and without `STREAMPULSE_BENCH_ZSTD=6`).
pub const ZSTD_LEVEL: u8 = 3;
/// How long the local server may take to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Code of a server that has not been told yet that it is a replica set.
const NOT_YET_INITIALIZED: i32 = 94;
/// Code of a server that does not find itself in its replica set.
const INVALID_CONFIG: i32 = 93;
/// State of a member that does not find itself in its replica set.
const REMOVED: i32 = 10;

/// A local mongod.
#[derive(Debug)]
pub struct Mongod {
    port: u16,
    /// What this process has started.
    child: Option<Child>,
}

/// The program: `$STREAMPULSE_MONGOD`, one on `PATH`, or the one that `cargo xtask setup` has fetched.
pub fn program() -> Option<PathBuf> {
    let named = std::env::var_os("STREAMPULSE_MONGOD").map(PathBuf::from);
    let on_path = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("mongod")).find(|file| file.is_file())
    });
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let fetched = cache.map(|cache| cache.join("streampulse/mongod/mongod"));
    named.or(on_path).or(fetched).filter(|file| file.is_file())
}

impl Mongod {
    /// The mongod under `data_dir`: the one that runs there already, or a new one, on `port` where one is
    /// named.
    ///
    /// # Errors
    /// When there is no program, the named port is used by something else, or the server does not start.
    pub async fn start(data_dir: &Path, port: Option<u16>) -> Result<Self> {
        Self::start_at(data_dir, port, ZSTD_LEVEL).await
    }

    /// The same with another level of compression, where the server is not running yet.
    ///
    /// # Errors
    /// As [`Mongod::start`].
    pub async fn start_at(data_dir: &Path, port: Option<u16>, zstd_level: u8) -> Result<Self> {
        let dir = data_dir.join("mongod");
        create_private_dir(&dir).with_context(|| {
            format!("cannot create the folder {} for mongod; choose another with --data-dir", dir.display())
        })?;
        let port_file = dir.join("streampulse.port");
        let known_port = std::fs::read_to_string(&port_file).ok().and_then(|port| port.trim().parse().ok());
        if let Some(running) = known_port
            && is_ours(running, &dir).await
        {
            let this = Self { port: running, child: None };
            this.await_primary().await?;
            return Ok(this);
        }
        let program = program().context(
            "there is no mongod: install one, fetch one with `cargo xtask setup`, or name a server with --mongodb-uri",
        )?;
        let port = match port {
            Some(port) if is_free(port) => port,
            Some(port) => {
                bail!("port {port} is in use by another program; choose another with --mongod-port")
            }
            None => known_port.filter(|port| is_free(*port)).map_or_else(free_port, Ok)?,
        };
        std::fs::write(&port_file, port.to_string())
            .with_context(|| format!("cannot write to the data directory {}", data_dir.display()))?;
        let child = Command::new(&program)
            .arg("--dbpath")
            .arg(&dir)
            .args(["--port", &port.to_string(), "--bind_ip", "127.0.0.1", "--replSet", "streampulse"])
            .args(["--wiredTigerCacheSizeGB", CACHE_GB])
            .args(["--zstdDefaultCompressionLevel", &zstd_level.to_string()])
            .args(["--logappend", "--logpath"])
            .arg(dir.join("mongod.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C is for us: we end the server after the last write.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        tracing::info!(program = %program.display(), port, "starting a local mongod");
        let this = Self { port, child: Some(child) };
        this.await_primary().await.with_context(|| {
            format!("the local mongod did not become ready; see {}", dir.join("mongod.log").display())
        })?;
        Ok(this)
    }

    /// Its connection string.
    pub fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// Ends the server if this process has started it.
    pub async fn stop(self) {
        let Some(mut child) = self.child else { return };
        if let Ok(client) = connect(self.port).await {
            let admin = client.database("admin");
            // The answer is a closed connection.
            if let Err(error) = admin.run_command(doc! { "shutdown": 1, "timeoutSecs": 10 }).await {
                tracing::debug!(%error, "mongod closed the connection");
            }
        }
        let ended = tokio::task::spawn_blocking(move || child.wait()).await;
        tracing::debug!(?ended, "the local mongod has ended");
    }

    /// Ends the server even if an earlier process has started it.
    pub async fn stop_any(mut self) {
        if self.child.is_none()
            && let Ok(client) = connect(self.port).await
            && let Err(error) =
                client.database("admin").run_command(doc! { "shutdown": 1, "timeoutSecs": 10 }).await
        {
            tracing::debug!(%error, "mongod closed the connection");
        }
        let this = Self { port: self.port, child: self.child.take() };
        this.stop().await;
    }

    /// Waits until the server takes writes, after telling it that it is a replica set of one.
    async fn await_primary(&self) -> Result<()> {
        let client = connect(self.port).await?;
        let admin = client.database("admin");
        let until = Instant::now() + START_TIMEOUT;
        let host = format!("127.0.0.1:{}", self.port);
        let mut last = None;
        while Instant::now() < until {
            match admin.run_command(doc! { "hello": 1 }).await {
                Ok(hello) if hello.get_bool("isWritablePrimary").unwrap_or(false) => return Ok(()),
                Ok(_) => {
                    if let Err(error) = self.configure(&client, &host).await {
                        last = Some(error);
                    }
                }
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        match last {
            Some(error) => Err(error.into()),
            None => bail!("the server did not become primary within {} s", START_TIMEOUT.as_secs()),
        }
    }

    async fn configure(&self, client: &Client, host: &str) -> Result<(), ::mongodb::error::Error> {
        let admin = client.database("admin");
        match admin.run_command(doc! { "replSetGetStatus": 1 }).await {
            Err(error) if code(&error) == Some(NOT_YET_INITIALIZED) => {
                let config = doc! { "_id": "streampulse", "members": [{ "_id": 0, "host": host }] };
                admin.run_command(doc! { "replSetInitiate": config }).await.map(|_| ())
            }
            // Its port was taken meanwhile, so it has another one than it was set up with.
            Ok(status) if status.get_i32("myState").is_ok_and(|state| state == REMOVED) => {
                self.move_to(client, host).await
            }
            Err(error) if code(&error) == Some(INVALID_CONFIG) => self.move_to(client, host).await,
            other => other.map(|_| ()),
        }
    }

    async fn move_to(&self, client: &Client, host: &str) -> Result<(), ::mongodb::error::Error> {
        let stored =
            client.database("local").collection::<Document>("system.replset").find_one(doc! {}).await?;
        let version = stored.as_ref().and_then(|config| config.get_i32("version").ok()).unwrap_or(1);
        let config =
            doc! { "_id": "streampulse", "version": version + 1, "members": [{ "_id": 0, "host": host }] };
        let command = doc! { "replSetReconfig": config, "force": true };
        client.database("admin").run_command(command).await.map(|_| ())
    }
}

async fn connect(port: u16) -> Result<Client> {
    let uri = format!("mongodb://127.0.0.1:{port}/?directConnection=true");
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(Duration::from_secs(2));
    Ok(Client::with_options(options)?)
}

/// Whether the server on `port` is the one whose files lie in `dir`.
async fn is_ours(port: u16, dir: &Path) -> bool {
    if is_free(port) {
        return false;
    }
    let Ok(client) = connect(port).await else { return false };
    let Ok(options) = client.database("admin").run_command(doc! { "getCmdLineOpts": 1 }).await else {
        return false;
    };
    let path =
        options.get_document("parsed").and_then(|parsed| parsed.get_document("storage")?.get_str("dbPath"));
    path.is_ok_and(|path| std::fs::canonicalize(path).ok() == std::fs::canonicalize(dir).ok())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn free_port() -> Result<u16> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on this machine")?;
    Ok(listener.local_addr()?.port())
}

fn code(error: &::mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ::mongodb::error::ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}
