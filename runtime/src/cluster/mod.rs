//! A Fluvio cluster: topics on its SPUs, chains of SmartModules run by them.
//!
//! The data path speaks Fluvio's own protocol through its published protocol crates instead of its client,
//! whose consumer loses records when a response is cut, and whose producer cannot tell whether a batch whose
//! acknowledgement was lost is stored. What a cluster cannot keep (who produces, how far a source has been
//! read, which incarnation of a topic this is) lies in MongoDB, in `pipeline_state`.

mod append;
mod connection;
pub mod deploy;
mod fetch;
mod identity;
mod ledger;
mod read;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use fluvio::FluvioClusterConfig;
use futures_util::future::try_join_all;
use mongodb::Database;
use tokio::sync::mpsc;

use crate::lease::Holder;
use crate::{Batch, BatchStream, Bounds, Module, Runtime, Topic, TopicSpec, TopicState, Writers};
use append::Appender;
use connection::{Connection, Tries};
use deploy::Admin;
use identity::Identity;
use read::Reader;

/// Responses that are read ahead of whoever reads a stream.
const RESPONSES_AHEAD_MAX: usize = 1;
/// How often a topic that was opened just now may have no leader yet: about half a minute.
const TRIES_AT_START_MAX: u32 = 20;

/// Which cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Host and port of its SC, instead of a profile.
    pub endpoint: Option<String>,
    /// A profile of the Fluvio CLI; the current one when nothing is said.
    pub profile: Option<String>,
}

/// A cluster.
#[derive(Clone)]
pub struct Cluster {
    connection: Arc<Connection>,
    database: Database,
    holder: Holder,
}

impl Cluster {
    /// Reaches a cluster. What it cannot keep is kept in `database`, for `holder`.
    ///
    /// # Errors
    /// When there is no such profile, or the SC does not answer.
    pub async fn connect(address: &Address, database: Database, holder: Holder) -> Result<Self> {
        Ok(Self { connection: connect(address).await?, database, holder })
    }

    /// What changes topics and SmartModules.
    pub fn admin(&self) -> Admin {
        Admin::new(self.connection.clone())
    }

    /// Checks that the cluster's SmartModules of these names were built from the same code as this program.
    ///
    /// # Errors
    /// Says which one is missing or another.
    pub async fn check_modules(&self, names: &[&str]) -> Result<()> {
        self.admin().check_modules(names).await
    }

    /// Address of its SC.
    pub fn endpoint(&self) -> &str {
        self.connection.endpoint()
    }

    /// A topic that is there.
    ///
    /// # Errors
    /// When it is not, or cannot be reached.
    pub async fn existing(&self, name: &str, writers: Writers) -> Result<Arc<dyn Topic>> {
        let found = self.admin().find_topic(name).await?;
        let (partitions, storage) = found.with_context(|| {
            format!("the cluster at {} has no topic {name}; run `streampulse deploy`", self.endpoint())
        })?;
        self.open(&TopicSpec { name: name.to_owned(), partitions, bytes_max: u64::MAX, writers, storage })
            .await
    }

    async fn open(&self, spec: &TopicSpec) -> Result<Arc<dyn Topic>> {
        let (connection, name, partitions) = (self.connection.clone(), spec.name.clone(), spec.partitions);
        let identity = Identity::find(connection.clone(), &self.database, &name, partitions).await?;
        let appender = Appender::new(self, spec, identity.clone());
        Ok(Arc::new(ClusterTopic { connection, name, partitions, identity, appender }))
    }
}

async fn connect(address: &Address) -> Result<Arc<Connection>> {
    let connection = Arc::new(Connection::new(config(address)?));
    connection.admin().await.map_err(|error| {
        let advice = advice(&error);
        error.context(advice)
    })?;
    Ok(connection)
}

/// What to do about a cluster that cannot be reached.
fn advice(error: &anyhow::Error) -> &'static str {
    // The last is how an answer of TLS looks to a client without.
    const SIGNS_OF_TLS: [&str; 3] = ["certificate", "fatal alert", "bytes remaining on stream"];
    let told = format!("{error:#}");
    if SIGNS_OF_TLS.iter().any(|sign| told.contains(sign)) {
        "the TLS of the profile (tls_policy, domain and certificates of its cluster) does not suit the cluster"
    } else {
        "start it (`fluvio cluster start --local`, or `fluvio cluster resume` after a shutdown), or name another \
         with --fluvio-profile or --fluvio-endpoint"
    }
}

fn config(address: &Address) -> Result<FluvioClusterConfig> {
    match (&address.endpoint, &address.profile) {
        (Some(endpoint), _) => Ok(FluvioClusterConfig::new(endpoint)),
        (None, Some(profile)) => FluvioClusterConfig::load_with_profile(profile)
            .context("cannot read the Fluvio profiles")?
            .with_context(|| format!("there is no Fluvio profile {profile}; `fluvio profile list` shows them")),
        (None, None) => FluvioClusterConfig::load().context(
            "there is no current Fluvio profile; make one with `fluvio profile add`, or name the cluster with \
             --fluvio-endpoint HOST:PORT",
        ),
    }
}

#[async_trait]
impl Runtime for Cluster {
    async fn topic(&self, spec: &TopicSpec) -> Result<Arc<dyn Topic>> {
        let partitions = self.admin().ensure_topic(spec).await?;
        ensure!(
            partitions >= spec.partitions,
            "the topic {} of the cluster has {partitions} partitions, the configuration says {}; `streampulse \
             deploy` adds the others",
            spec.name,
            spec.partitions
        );
        self.open(&TopicSpec { partitions, ..spec.clone() }).await
    }
}

struct ClusterTopic {
    connection: Arc<Connection>,
    name: String,
    partitions: u32,
    identity: Arc<Identity>,
    appender: Appender,
}

impl ClusterTopic {
    async fn bounds(&self, partition: u32) -> Result<Bounds> {
        bounds(&self.connection, &self.name, partition, u32::MAX).await
    }

    fn check_partition(&self, partition: u32) -> Result<()> {
        ensure!(partition < self.partitions, "{} has no partition {partition}", self.name);
        Ok(())
    }
}

/// How far a partition reaches, asked up to `tries_max` times.
async fn bounds(connection: &Connection, topic: &str, partition: u32, tries_max: u32) -> Result<Bounds> {
    let what = format!("ask how far partition {partition} of {topic} reaches");
    let mut tries = Tries::default();
    loop {
        match connection.bounds(topic, partition).await {
            Ok(bounds) => {
                tries.done(&what);
                return Ok(bounds);
            }
            Err(failure) if tries.count() >= tries_max => return Err(failure.into_error()),
            Err(failure) => tries.after(failure, &what).await?,
        }
    }
}

#[async_trait]
impl Topic for ClusterTopic {
    async fn state(&self) -> Result<TopicState> {
        let partitions = try_join_all((0..self.partitions).map(|partition| self.bounds(partition))).await?;
        Ok(TopicState { id: self.identity.id().to_owned(), partitions })
    }

    async fn append(&self, batches: Vec<Batch>, stored_at_ms: i64) -> Result<()> {
        batches.iter().try_for_each(|batch| self.check_partition(batch.partition))?;
        self.appender.append(batches, stored_at_ms).await
    }

    async fn notes(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        self.appender.notes().await
    }

    async fn open(&self, partition: u32, start: u64, chain: Vec<Module>) -> Result<BatchStream> {
        self.check_partition(partition)?;
        let bounds = self.bounds(partition).await?;
        if start < bounds.start {
            return Err(read::evicted(&self.name, partition, start, bounds.start));
        }
        if start > bounds.end {
            bail!("partition {partition} of {} ends at {}, before {start}", self.name, bounds.end);
        }
        let (sender, outputs) = mpsc::channel(RESPONSES_AHEAD_MAX);
        let (connection, topic) = (self.connection.clone(), self.name.clone());
        let reader = Reader { connection, topic, partition, chain, next: start, started: false };
        tokio::spawn(reader.run(sender));
        Ok(BatchStream::new(outputs))
    }

    async fn trim(&self, partition: u32, offset: u64) -> Result<()> {
        self.identity.witness(partition, offset).await;
        Ok(())
    }
}
