//! `up`: the whole pipeline in one process. Lines go into the topic, the three jobs read it through the
//! SmartModules, and at the end everything that was read is in MongoDB.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mongodb_sink::{Progress, Sink, alerts, checkpoint, events, rollups, schema};
use producer::publish::Destination;
use runtime::{Embedded, Runtime, Topic};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::produce::{feed, write_labels};
use super::summary::Summary;
use super::{asked_to_stop, live};
use crate::args::UpArgs;
use crate::modules;
use crate::mongodb::{Reached, reach};
use crate::plan::{Source, Up};

/// How often draining looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// Runs the command.
pub(super) async fn run(args: UpArgs) -> Result<ExitCode> {
    let plan = Up::new(args)?;
    check_source(&plan.source)?;
    write_labels(plan.labels.as_deref(), plan.source.incidents())?;
    let modules = modules::load()?;
    let runtime = Embedded::open(&plan.store.topics_dir())?;
    let logs = runtime.topic(&plan.topics.logs).await?;
    let rollups = runtime.topic(&plan.topics.rollups).await?;
    let reached = reach(&plan.store).await?;
    let ran = run_on(&plan, &reached, modules, logs, rollups).await;
    live::end_line();
    let description = reached.description.clone();
    reached.close_for_good().await;
    let (progress, elapsed) = ran?;
    Summary::new(description, &progress, elapsed).print(plan.summary)?;
    Ok(ExitCode::SUCCESS)
}

async fn run_on(
    plan: &Up,
    reached: &Reached,
    modules: mongodb_sink::Modules,
    logs: Arc<dyn Topic>,
    rollups: Arc<dyn Topic>,
) -> Result<(Arc<Progress>, Duration)> {
    let database = reached.database.clone();
    schema::ensure(&database).await?;
    let state = logs.state().await?;
    let epoch = checkpoint::epoch(&database, &plan.topics.logs.name, &state.id).await?;
    let progress = Arc::new(Progress::new(state.partitions.len()));
    tracing::info!(
        data_dir = %plan.store.data_dir.display(),
        database = database.name(),
        mongodb = reached.description,
        "the pipeline runs on the embedded runtime; Ctrl-C drains and ends it"
    );
    let params = plan.params.clone();
    let sink = Arc::new(Sink { database, logs, rollups, epoch, modules, params, progress: progress.clone() });
    let mut jobs = start_jobs(&sink, plan.limit_per_minute, state.partitions.len());
    let started = Instant::now();
    tokio::select! {
        failed = first_failure(&mut jobs) => failed?,
        done = feed_and_drain(plan, &sink) => done?,
    }
    jobs.abort_all();
    live::heartbeat(&sink, true).await?;
    Ok((progress, started.elapsed()))
}

/// A source that cannot be read is told before anything starts.
fn check_source(source: &Source) -> Result<()> {
    if let Source::Import(producer::import::Import::File { path, .. }) = source {
        std::fs::File::open(path).with_context(|| format!("cannot open the log file {}", path.display()))?;
    }
    Ok(())
}

fn start_jobs(
    sink: &Arc<Sink>,
    limit_per_minute: u64,
    partitions: usize,
) -> JoinSet<(&'static str, Result<()>)> {
    let mut jobs = JoinSet::new();
    for partition in 0..u32::try_from(partitions).unwrap_or(u32::MAX) {
        let sink = sink.clone();
        jobs.spawn(async move { ("events", events::run(&sink, partition).await) });
    }
    let shared = sink.clone();
    jobs.spawn(async move { ("ticks", events::run_ticks(&shared).await) });
    let shared = sink.clone();
    jobs.spawn(async move { ("rollups", rollups::run(&shared).await) });
    let shared = sink.clone();
    jobs.spawn(async move { ("alerts", alerts::run(&shared).await) });
    let shared = sink.clone();
    jobs.spawn(async move { ("live view", live::run(&shared, limit_per_minute).await) });
    jobs
}

/// Jobs never end by themselves: the first that does has failed.
async fn first_failure(jobs: &mut JoinSet<(&'static str, Result<()>)>) -> Result<()> {
    match jobs.join_next().await {
        Some(Ok((name, Err(error)))) => Err(error.context(format!("the job {name} stopped"))),
        Some(Ok((name, Ok(())))) => bail!("the job {name} ended although there is more to do"),
        Some(Err(error)) => Err(error).context("a job broke down"),
        None => bail!("no job runs"),
    }
}

/// Brings lines into the topic until the source ends or we are asked to stop, and waits until they are
/// stored.
async fn feed_and_drain(plan: &Up, sink: &Sink) -> Result<()> {
    // A line that came before its stream is open would wait for the SmartModules to be compiled.
    until(|| sink.progress.is_ready()).await;
    let stop = CancellationToken::new();
    let to = Destination::Topic(sink.logs.clone());
    let state = sink.logs.state().await?;
    let feeding = feed(&plan.source, &plan.topics, &to, &state, &stop);
    tokio::pin!(feeding);
    let mut asked = tokio::select! {
        done = &mut feeding => { done?; false }
        () = asked_to_stop() => { say_stopping(); true }
        () = tokio::time::sleep(plan.for_time.unwrap_or(Duration::MAX)) => {
            // What the source has in hand when its time is up still goes into the log.
            stop.cancel();
            feeding.await?;
            false
        }
    };
    stop.cancel();
    let draining = drain(sink, plan.until_drained && !asked);
    tokio::pin!(draining);
    loop {
        tokio::select! {
            done = &mut draining => return done,
            () = asked_to_stop() => {
                if asked {
                    tracing::warn!("left; the next run goes on from the log");
                    return Ok(());
                }
                say_stopping();
                asked = true;
            }
        }
    }
}

fn say_stopping() {
    live::end_line();
    tracing::info!(
        "stopping: what was read is being stored; Ctrl-C again leaves it in the log for the next run"
    );
}

/// Waits until everything in the log is stored and covered by checkpoints.
async fn drain(sink: &Sink, end_of_input: bool) -> Result<()> {
    let progress = &sink.progress;
    let ends: Vec<u64> = sink.logs.state().await?.partitions.iter().map(|bounds| bounds.end).collect();
    let covered = |next: &[std::sync::atomic::AtomicU64]| {
        next.iter().zip(&ends).all(|(next, end)| next.load(Ordering::Acquire) >= *end)
    };
    until(|| covered(&progress.events_next) && covered(&progress.events_checkpoint)).await;
    events::tick(sink, end_of_input).await?;
    let end = sink.rollups.state().await?.partitions.first().map_or(0, |bounds| bounds.end);
    let alerts = if end_of_input { &progress.alerts_checkpoint } else { &progress.alerts_next };
    until(|| progress.rollups_next.load(Ordering::Acquire) >= end && alerts.load(Ordering::Acquire) >= end)
        .await;
    Ok(())
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
