//! One job as a Fluvio connector: a process that Fluvio's tools start with `--config` and `--secrets`, and
//! end with SIGTERM.

pub mod config;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use runtime::cluster::Cluster;
use runtime::lease::Holder;
use runtime::{Topic, Writers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::heartbeat::{self, Heart};
use crate::jobs::{Jobs, Work};
use crate::monitor::Monitor;
use crate::reach::{Reads, reach};
use crate::{Logs, Modules, Progress, Sink, checkpoint, schema};
use config::{ConnectorConfig, Job};

/// Runs the connector that `config` and `secrets` describe until `stop` ends, and tells of it at `metrics`.
///
/// # Errors
/// When the configuration is not valid, the cluster or MongoDB do not answer at the start, the cluster's
/// SmartModules are of another version, or a job fails for good.
pub async fn run(
    config: &Path,
    secrets: Option<&Path>,
    metrics: Option<SocketAddr>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let config = ConnectorConfig::load(config, secrets)?;
    let monitor = Arc::new(Monitor::default());
    let _serving = monitor.serve(metrics).await?;
    let wait = Duration::from_millis(config.mongodb.wait_ms_max);
    let reached = reach(config.mongodb.uri.reveal(), &config.mongodb.database, wait, Reads::Primary).await?;
    let database = reached.database;
    let retention = schema::ensure(&database, None).await?;
    let holder = Holder::this_process();
    let cluster = Cluster::connect(&config.cluster, database.clone(), holder.clone()).await?;
    cluster.check_modules(config.job.modules()).await?;
    let rollups = cluster.existing(&config.rollups_topic, Writers::Many).await?;
    let mut progress = Progress::default();
    let logs = match config.job {
        Job::Events => {
            let topic = cluster.existing(&config.topic, Writers::One).await?;
            let (logs, partitions) = logs(&config, &database, topic).await?;
            progress = Progress::new(partitions);
            Some(Arc::new(logs))
        }
        Job::Rollups | Job::Alerts => None,
    };
    // Nothing waits here for the job that runs elsewhere.
    match config.job {
        Job::Rollups => progress.alerts_checkpoint.store(u64::MAX, Ordering::Release),
        Job::Alerts => progress.rollups_checkpoint.store(u64::MAX, Ordering::Release),
        Job::Events => {}
    }
    let params = config.params.clone();
    let progress = Arc::new(progress);
    let (modules, store_events) = (Modules::default(), config.mongodb.store_events);
    let sink = Arc::new(Sink { database, rollups, modules, params, store_events, retention, progress });
    let work = match (config.job, &logs) {
        (Job::Events, Some(logs)) => Work::Events(logs.clone()),
        (Job::Alerts, _) => Work::Alerts,
        _ => Work::Rollups,
    };
    tracing::info!(
        name = config.name,
        job = config.job.name(),
        topic = config.topic,
        cluster = cluster.endpoint(),
        mongodb = reached.description,
        "the connector runs; SIGTERM ends it"
    );
    let work = [work];
    monitor.watch(&sink, &work);
    let mut jobs = Jobs::start(&sink, &work, Some(&holder)).await?;
    let heart = Heart { name: format!("connector|{}", config.name), runtime: "cluster".to_owned() };
    jobs.also("heartbeat", beat(heart.clone(), sink.clone(), logs.clone()));
    let ended = tokio::select! {
        failed = jobs.first_failure() => failed,
        () = stop => Ok(()),
    };
    monitor.ended(&ended);
    let beaten = heart.beat(&sink, logs.as_deref(), true);
    if tokio::time::timeout(heartbeat::EVERY, beaten).await.is_err() {
        tracing::debug!("no last heartbeat: the cluster is away");
    }
    jobs.stop().await;
    tracing::info!(name = config.name, "the connector has ended");
    ended
}

/// The lines to work on, and how many partitions their topic has.
async fn logs(
    config: &ConnectorConfig,
    database: &mongodb::Database,
    topic: Arc<dyn Topic>,
) -> Result<(Logs, usize)> {
    let state = topic.state().await?;
    let count = u32::try_from(state.partitions.len())?;
    let partitions = config.partitions.clone().unwrap_or_else(|| (0..count).collect());
    if let Some(missing) = partitions.iter().find(|partition| **partition >= count) {
        bail!("meta.consumer.partition names partition {missing}, but {} has only {count}", config.topic);
    }
    let epoch = checkpoint::epoch(database, "access-logs", &state.id).await;
    let epoch = epoch.context("cannot find out which incarnation of the topic this is")?;
    Ok((Logs { topic, epoch, partitions }, state.partitions.len()))
}

async fn beat(heart: Heart, sink: Arc<Sink>, logs: Option<Arc<Logs>>) -> Result<()> {
    let mut interval = tokio::time::interval(heartbeat::EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        heart.beat(&sink, logs.as_deref(), false).await?;
    }
}

/// Waits for Ctrl-C or SIGTERM. One that comes after the first wait, while nobody waits, is for who waits
/// next.
pub async fn asked_to_stop() {
    static ASKED: Notify = Notify::const_new();
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| drop(tokio::spawn(listen(&ASKED))));
    ASKED.notified().await;
}

async fn listen(asked: &Notify) {
    let signals =
        signal(SignalKind::interrupt()).and_then(|first| Ok((first, signal(SignalKind::terminate())?)));
    let (mut interrupt, mut terminate) = match signals {
        Ok(signals) => signals,
        Err(error) => return tracing::warn!(%error, "cannot listen for Ctrl-C and SIGTERM"),
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.notify_one();
    }
}
