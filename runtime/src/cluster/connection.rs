//! Reaching a cluster: its controller (SC) for metadata, the leaders of partitions (SPUs) for data. Addresses
//! are looked up anew after every failure, since leaders move.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use fluvio::metadata::partition::PartitionSpec;
use fluvio::metadata::spu::SpuSpec;
use fluvio::{FluvioAdmin, FluvioClusterConfig};
use fluvio_protocol::link::ErrorCode;
use fluvio_socket::{ClientConfig, MultiplexerSocket, VersionedSerialSocket};
use fluvio_spu_schema::server::fetch_offset::FetchOffsetsRequest;
use tokio::sync::Mutex;

use crate::Bounds;
use crate::retry::backoff;

/// Longest time to connect to SC or an SPU.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Every how many tries a waiting task says so in the log.
const TRIES_PER_WARNING: u32 = 10;

/// Why something did not happen.
#[derive(Debug)]
pub enum Failure {
    /// The cluster is away or busy; trying again can help.
    Away(anyhow::Error),
    /// A SmartModule is not there (an SPU that starts learns of them a moment later) or broke off; trying
    /// again can help, but not for ever.
    Module(anyhow::Error),
    /// Trying again cannot help.
    Fatal(anyhow::Error),
}

impl Failure {
    /// Either, as an error.
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Self::Away(error) | Self::Module(error) | Self::Fatal(error) => error,
        }
    }

    /// What an SPU's answer means for whoever reads or asks for `what`.
    pub fn of(code: ErrorCode, what: &str) -> Self {
        let error = anyhow!("{what}: {code}");
        match code {
            ErrorCode::SmartModuleNotFound { name } => Self::Module(anyhow!(
                "{what}: the cluster has no SmartModule {name}; run `streampulse deploy`"
            )),
            // How an SPU tells of a trap.
            ErrorCode::Other(text) if text.starts_with("SmartModule err") => Self::Module(error),
            ErrorCode::SmartModuleInvalid { .. }
            | ErrorCode::SmartModuleInvalidExports { .. }
            | ErrorCode::SmartModuleRuntimeError(_)
            | ErrorCode::SmartModuleChainInitError(_)
            | ErrorCode::SmartModuleInitError(_)
            | ErrorCode::SmartModuleMemoryLimitExceeded { .. }
            | ErrorCode::OffsetOutOfRange
            | ErrorCode::OffsetEvicted { .. }
            | ErrorCode::MessageTooLarge
            | ErrorCode::CompressionError
            | ErrorCode::TopicDeleted
            | ErrorCode::PermissionDenied => Self::Fatal(error),
            _ => Self::Away(error),
        }
    }
}

/// Tries against a cluster that may be away.
#[derive(Debug, Default)]
pub struct Tries {
    attempt: u32,
}

impl Tries {
    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure itself when it is fatal.
    pub async fn after(&mut self, failure: Failure, what: &str) -> Result<()> {
        let error = match failure {
            Failure::Away(error) | Failure::Module(error) => error,
            Failure::Fatal(error) => return Err(error),
        };
        if self.attempt % TRIES_PER_WARNING == 2 {
            tracing::warn!("the Fluvio cluster is away, trying again to {what}; nothing is lost: {error:#}");
        }
        backoff(self.attempt).await;
        self.attempt += 1;
        Ok(())
    }

    /// How many have failed.
    pub fn count(&self) -> u32 {
        self.attempt
    }

    /// Ends the tries with success.
    pub fn done(&mut self, what: &str) {
        if self.attempt > 2 {
            tracing::info!("the Fluvio cluster is back: could {what}");
        }
        self.attempt = 0;
    }
}

/// A cluster's address, and what is known of its parts.
pub struct Connection {
    config: FluvioClusterConfig,
    leaders: Mutex<HashMap<(String, u32), Leader>>,
    /// Connections for questions and answers, by partition.
    sockets: Mutex<HashMap<(String, u32), Arc<VersionedSerialSocket>>>,
}

#[derive(Clone, Debug)]
struct Leader {
    /// Name of the SPU, for TLS.
    spu: String,
    address: String,
}

impl Connection {
    /// Nothing is reached yet.
    pub fn new(config: FluvioClusterConfig) -> Self {
        Self { config, leaders: Mutex::default(), sockets: Mutex::default() }
    }

    /// Address of the SC.
    pub fn endpoint(&self) -> &str {
        &self.config.endpoint
    }

    /// A new connection to the SC.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn admin(&self) -> Result<FluvioAdmin> {
        let connecting = FluvioAdmin::connect_with_config(&self.config);
        let admin = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        let admin = admin.map_err(|_| anyhow!("no answer within {} s", CONNECT_WITHIN.as_secs()));
        admin
            .flatten()
            .with_context(|| format!("the Fluvio cluster at {} cannot be reached", self.endpoint()))
    }

    /// A new connection to the leader of a partition.
    ///
    /// # Errors
    /// When it is not known or does not answer in time.
    pub async fn connect(&self, topic: &str, partition: u32) -> Result<VersionedSerialSocket, Failure> {
        let key = (topic.to_owned(), partition);
        let known = self.leaders.lock().await.get(&key).cloned();
        let leader = match known {
            Some(leader) => leader,
            None => {
                let leader = self.find_leader(topic, partition).await?;
                self.leaders.lock().await.insert(key.clone(), leader.clone());
                leader
            }
        };
        let connected = self.connect_to(&leader).await;
        if connected.is_err() {
            self.leaders.lock().await.remove(&key);
        }
        connected.map_err(|error| {
            Failure::Away(error.context(format!("the SPU at {} cannot be reached", leader.address)))
        })
    }

    async fn connect_to(&self, leader: &Leader) -> Result<VersionedSerialSocket> {
        let mut config = ClientConfig::try_from(self.config.clone())?.with_prefix_sni_domain(&leader.spu);
        config.set_addr(leader.address.clone());
        config.set_client_id("streampulse");
        let socket = tokio::time::timeout(CONNECT_WITHIN, config.connect()).await.context("no answer")??;
        let (socket, config, versions) = socket.split();
        Ok(VersionedSerialSocket::new(MultiplexerSocket::shared(socket), config, versions))
    }

    async fn find_leader(&self, topic: &str, partition: u32) -> Result<Leader, Failure> {
        let look_up = async {
            let admin = self.admin().await?;
            let partitions = admin.all::<PartitionSpec>().await?;
            let name = format!("{topic}-{partition}");
            let found = partitions.into_iter().find(|found| found.name == name);
            let leader = found.with_context(|| format!("there is no partition {partition} of {topic}"))?;
            let leader = leader.spec.leader;
            let spus = admin.all::<SpuSpec>().await?;
            let spu = spus.into_iter().find(|spu| spu.spec.id == leader);
            let spu = spu.with_context(|| format!("the leader of {name}, SPU {leader}, is not known"))?;
            let local = spu.spec.public_endpoint_local.filter(|_| self.config.use_spu_local_address);
            let address = match local {
                Some(local) => format!("{}:{}", local.host, local.port),
                None => spu.spec.public_endpoint.addr(),
            };
            Ok(Leader { spu: spu.name, address })
        };
        look_up.await.map_err(Failure::Away)
    }

    /// The connection for questions about a partition.
    ///
    /// # Errors
    /// When there is none and none can be made.
    pub async fn socket(&self, topic: &str, partition: u32) -> Result<Arc<VersionedSerialSocket>, Failure> {
        let key = (topic.to_owned(), partition);
        if let Some(socket) = self.sockets.lock().await.get(&key).filter(|socket| !socket.is_stale()) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(self.connect(topic, partition).await?);
        self.sockets.lock().await.insert(key, socket.clone());
        Ok(socket)
    }

    /// Forgets a partition's leader and connection, after an error.
    pub async fn forget(&self, topic: &str, partition: u32) {
        let key = (topic.to_owned(), partition);
        self.sockets.lock().await.remove(&key);
        self.leaders.lock().await.remove(&key);
    }

    /// How far a partition reaches: what all its replicas have.
    ///
    /// # Errors
    /// When its leader does not answer.
    pub async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, Failure> {
        let asked = self.ask_bounds(topic, partition).await;
        if asked.is_err() {
            self.forget(topic, partition).await;
        }
        asked
    }

    async fn ask_bounds(&self, topic: &str, partition: u32) -> Result<Bounds, Failure> {
        let socket = self.socket(topic, partition).await?;
        let away = |error: anyhow::Error| {
            Failure::Away(
                error.context(format!("cannot ask for the offsets of partition {partition} of {topic}")),
            )
        };
        let asked = socket.send_receive(FetchOffsetsRequest::new(topic.to_owned(), partition)).await;
        let answer = asked.map_err(|error| away(error.into()))?;
        let found = answer.topics.into_iter().flat_map(|topic| topic.partitions).next();
        let found = found.ok_or_else(|| away(anyhow!("an empty answer")))?;
        match found.error_code {
            ErrorCode::None => Ok(Bounds {
                start: u64::try_from(found.start_offset).unwrap_or(0),
                end: u64::try_from(found.last_stable_offset).unwrap_or(0),
            }),
            code => Err(away(anyhow!("{code}"))),
        }
    }
}
