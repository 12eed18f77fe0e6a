//! `up`: the whole pipeline in one process. Lines go into the topic, the three jobs read it through the
//! SmartModules, and at the end everything that was read is in MongoDB.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use delivery::Delivery;
use producer::publish::Destination;
use runtime::cluster::{Address, Cluster};
use runtime::lease::Holder;
use runtime::{Embedded, Runtime, Topic};
use sink::connector::asked_to_stop;
use sink::guard::listen;
use sink::heartbeat::Heart;
use sink::jobs::{Jobs, Work};
use sink::monitor::Monitor;
use sink::schema::{self, Retention};
use sink::{Logs, Modules, Progress, Sink, checkpoint, ticks};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::produce::{feed, write_labels};
use super::summary::Summary;
use super::{deploy, live, serve};
use crate::args::UpArgs;
use crate::modules;
use crate::mongodb::{Reached, reach};
use crate::page::{Page, Period, Shown};
use crate::plan::{Source, Up};

/// How often draining looks whether it is done.
const DRAIN_POLL: Duration = Duration::from_millis(20);

/// What `up` runs on.
struct Running {
    /// `embedded` or `cluster`.
    name: &'static str,
    logs: Arc<dyn Topic>,
    rollups: Arc<dyn Topic>,
    modules: Modules,
    /// Who holds leases, where other processes could do the same.
    holder: Option<Holder>,
    /// Where the live page is to be served.
    page: Option<TcpListener>,
}

/// Runs the command.
pub(super) async fn run(args: UpArgs) -> Result<ExitCode> {
    let plan = Up::new(args)?;
    check_source(&plan.source)?;
    let page = page(plan.serve).await?;
    let monitor = Arc::new(Monitor::default());
    let _serving = monitor.serve(plan.metrics).await?;
    write_labels(plan.labels.as_deref(), plan.source.incidents())?;
    let (description, runtime, ran) = match plan.cluster.clone() {
        None => {
            let embedded = embedded(&plan, page).await?;
            let reached = reach(&plan.store).await?;
            let ran = async {
                let retention = ensure(&plan, &reached).await?;
                run_on(&plan, &reached, retention, embedded, &monitor).await
            };
            let ran = ran.await;
            monitor.ended(&ran);
            let description = reached.description.clone();
            reached.close_for_good().await;
            (description, "embedded", ran)
        }
        Some(address) => {
            let reached = reach(&plan.store).await?;
            let ran = async {
                let retention = ensure(&plan, &reached).await?;
                let cluster = cluster(&plan, &address, &reached, page).await?;
                run_on(&plan, &reached, retention, cluster, &monitor).await
            };
            let ran = ran.await;
            monitor.ended(&ran);
            let description = reached.description.clone();
            // Another process may use it.
            reached.close().await;
            (description, "cluster", ran)
        }
    };
    live::end_line();
    let (progress, elapsed) = ran?;
    Summary::new(runtime, description, &progress, elapsed).print(plan.summary)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the address of the live page before anything starts.
async fn page(address: Option<SocketAddr>) -> Result<Option<TcpListener>> {
    let Some(address) = address else { return Ok(None) };
    let (listener, address) = listen(address, "--serve").await?;
    tracing::info!("the live page is at http://{address}/");
    Ok(Some(listener))
}

async fn ensure(plan: &Up, reached: &Reached) -> Result<Retention> {
    schema::ensure(&reached.database, Some(&plan.store.retention)).await
}

async fn embedded(plan: &Up, page: Option<TcpListener>) -> Result<Running> {
    let modules = modules::load()?;
    let runtime = Embedded::open(&plan.store.topics_dir())?;
    let logs = runtime.topic(&plan.topics.logs).await?;
    let rollups = runtime.topic(&plan.topics.rollups).await?;
    tracing::info!(
        data_dir = %plan.store.data_dir.display(),
        "the pipeline runs on the embedded runtime; Ctrl-C drains and ends it"
    );
    Ok(Running { name: "embedded", logs, rollups, modules, holder: None, page })
}

async fn cluster(
    plan: &Up,
    address: &Address,
    reached: &Reached,
    page: Option<TcpListener>,
) -> Result<Running> {
    let holder = Holder::this_process();
    let cluster = Cluster::connect(address, reached.database.clone(), holder.clone()).await?;
    let topics = [plan.topics.logs.clone(), plan.topics.rollups.clone()];
    deploy::deploy_what_is_missing(&cluster, &topics).await?;
    let logs = cluster.topic(&plan.topics.logs).await?;
    let rollups = cluster.topic(&plan.topics.rollups).await?;
    tracing::info!(
        cluster = cluster.endpoint(),
        "the pipeline runs on a Fluvio cluster; Ctrl-C drains and ends it"
    );
    Ok(Running { name: "cluster", logs, rollups, modules: Modules::default(), holder: Some(holder), page })
}

async fn run_on(
    plan: &Up,
    reached: &Reached,
    retention: Retention,
    running: Running,
    monitor: &Arc<Monitor>,
) -> Result<(Arc<Progress>, Duration)> {
    let Running { name, logs: topic, rollups, modules, holder, page } = running;
    let database = reached.database.clone();
    let state = topic.state().await?;
    let epoch = checkpoint::epoch(&database, &plan.topics.logs.name, &state.id).await?;
    let progress = Arc::new(Progress::new(state.partitions.len()));
    tracing::info!(database = database.name(), mongodb = reached.description, "writing");
    let params = plan.params.clone();
    let sink = Arc::new(Sink {
        database,
        rollups,
        modules,
        params,
        store_events: plan.store.store_events,
        retention,
        progress: progress.clone(),
    });
    let partitions = (0..u32::try_from(state.partitions.len())?).collect();
    let logs = Arc::new(Logs { topic, epoch, partitions });
    let work = [Work::Events(logs.clone()), Work::Rollups, Work::Alerts];
    monitor.watch(&sink, &work);
    let mut jobs = Jobs::start(&sink, &work, holder.as_ref()).await?;
    let heart = Heart { name: format!("up|{}", state.id), runtime: name.to_owned() };
    let count = jobs.count();
    jobs.also("live view", live::run(heart.clone(), sink.clone(), logs.clone(), plan.limit_per_minute));
    if let Some(listener) = page {
        let page = Page::new(sink.database.clone(), Shown::default(), Period::DAY);
        jobs.also("live page", serve::serve(listener, page, monitor.routes()));
    }
    let delivery = deliver(plan, &sink, &mut jobs, monitor)?;
    let started = Instant::now();
    let done = tokio::select! {
        failed = jobs.first_failure() => failed,
        done = feed_and_drain(plan, &sink, &logs, count) => done,
    };
    if let (Ok(()), Some(delivery)) = (&done, delivery) {
        tokio::select! {
            () = delivery.drain() => {}
            () = asked_to_stop() => {}
        }
    }
    if done.is_ok() {
        heart.beat(&sink, Some(&logs), true).await?;
    }
    jobs.stop().await;
    done.map(|()| (progress, started.elapsed()))
}

/// Tells the receivers of alerts, if there are any.
fn deliver(plan: &Up, sink: &Sink, jobs: &mut Jobs, monitor: &Monitor) -> Result<Option<Arc<Delivery>>> {
    if plan.receivers.is_empty() {
        return Ok(None);
    }
    let (database, receivers) = (sink.database.clone(), plan.receivers.clone());
    let delivery = Arc::new(Delivery::new(database, receivers, monitor.registry())?);
    let task = delivery.clone();
    // Another process may write to the same database, so it is done under a lease on any runtime.
    jobs.also("delivery of alerts", async move { task.run(&Holder::this_process()).await });
    Ok(Some(delivery))
}

/// A source that cannot be read is told before anything starts.
fn check_source(source: &Source) -> Result<()> {
    if let Source::Import(producer::import::Import::File { path, .. }) = source {
        std::fs::File::open(path).with_context(|| format!("cannot open the log file {}", path.display()))?;
    }
    Ok(())
}

/// Brings lines into the topic until the source ends or we are asked to stop, and waits until they are
/// stored.
async fn feed_and_drain(plan: &Up, sink: &Sink, logs: &Logs, jobs: usize) -> Result<()> {
    // A line that came before its stream is open would wait for the SmartModules to be compiled.
    tokio::select! {
        () = until(|| sink.progress.running().len() >= jobs) => {}
        () = asked_to_stop() => return Ok(()),
    }
    let stop = CancellationToken::new();
    let to = Destination::Topic(logs.topic.clone());
    let feeding = feed(&plan.source, &plan.topics, &to, logs.partitions.len(), &stop);
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
    sink.progress.input_ended.cancel();
    let draining = drain(sink, logs, plan.until_drained && !asked);
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
async fn drain(sink: &Sink, logs: &Logs, end_of_input: bool) -> Result<()> {
    let progress = &sink.progress;
    let ends: Vec<u64> = logs.topic.state().await?.partitions.iter().map(|bounds| bounds.end).collect();
    let covered = |next: &[std::sync::atomic::AtomicU64]| {
        next.iter().zip(&ends).all(|(next, end)| next.load(Ordering::Acquire) >= *end)
    };
    until(|| covered(&progress.events_next) && covered(&progress.events_checkpoint)).await;
    ticks::tick(sink, logs, end_of_input).await?;
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
