//! `status`: how far each job has come, from its checkpoints and the heartbeats of the processes that run
//! them, or from a cluster itself.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use ::mongodb::Database;
use ::mongodb::bson::{DateTime, Document, doc};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use runtime::cluster::{Address, Cluster};
use runtime::lease::Holder;
use runtime::{Bounds, Writers};
use serde::Serialize;
use sink::heartbeat;
use sink::schema::{DELIVERIES, STATE};

use crate::args::{Format, StatusArgs};
use crate::config::{Config, LOGS, ROLLUPS};
use crate::plan::{Store, address};

/// Age of a heartbeat from which on its process is taken for gone, in seconds.
const HEARTBEAT_AGE_S_MAX: f64 = 30.0;

/// A process that works on this database, or has.
#[derive(Debug, Serialize)]
struct Process {
    process: String,
    runtime: String,
    running: bool,
    heartbeat_age_seconds: f64,
    jobs: Vec<Job>,
}

/// One job in one partition.
#[derive(Debug, Serialize)]
struct Job {
    job: String,
    topic: String,
    topic_id: String,
    partition: u32,
    high_watermark: i64,
    checkpoint: i64,
    lag: i64,
}

/// How far the partitions of topics reach, by their ids.
type Ends = BTreeMap<String, Vec<Bounds>>;

/// Runs the command. A finding is that nothing runs.
pub(super) async fn run(args: StatusArgs) -> Result<ExitCode> {
    let config = Config::load(args.store.config.as_deref())?;
    let cluster = args.cluster.then(|| address(args.which_cluster, &config));
    let reached = crate::mongodb::reach(&Store::new(args.store)?).await?;
    let processes = async {
        let ends = match &cluster {
            Some(address) => ends(address, &reached.database).await?,
            None => Ends::new(),
        };
        let deliveries = reached.database.collection::<Document>(DELIVERIES);
        let dead = deliveries.count_documents(doc! { "state": "dead" }).await;
        let dead = dead.context("cannot count the dead letters")?;
        anyhow::Ok((read(&reached.database, &ends).await?, dead))
    };
    let processes = processes.await;
    reached.close().await;
    let (processes, dead) = processes?;
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{}", serde_json::to_string_pretty(&processes)?)?,
        Format::Text if processes.is_empty() => {
            writeln!(stdout, "No pipeline has written to this database.")?
        }
        Format::Text => processes.iter().try_for_each(|process| show(process, &mut stdout))?,
    }
    if args.format == Format::Text && dead > 0 {
        writeln!(stdout, "Alerts that no receiver has taken: {dead} (`streampulse alerts --dead`)")?;
    }
    let running = processes.iter().any(|process| process.running);
    Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FINDING) })
}

async fn ends(address: &Address, database: &Database) -> Result<Ends> {
    let cluster = Cluster::connect(address, database.clone(), Holder::this_process()).await?;
    let mut ends = Ends::new();
    for (name, writers) in [(LOGS, Writers::One), (ROLLUPS, Writers::Many)] {
        let state = cluster.existing(name, writers).await?.state().await?;
        ends.insert(state.id, state.partitions);
    }
    Ok(ends)
}

async fn read(database: &Database, ends: &Ends) -> Result<Vec<Process>> {
    let states = database.collection::<Document>(STATE);
    let found = states.find(doc! { "_id": { "$type": "string" } }).sort(doc! { "at": -1 }).await;
    let documents: Vec<Document> = found.context("cannot read pipeline_state")?.try_collect().await?;
    let by_id: BTreeMap<&str, &Document> =
        documents.iter().filter_map(|document| Some((document.get_str("_id").ok()?, document))).collect();
    let is_heartbeat =
        |document: &&Document| document.get_str("_id").is_ok_and(|id| id.starts_with(heartbeat::PREFIX));
    Ok(documents.iter().filter(is_heartbeat).map(|heartbeat| process(heartbeat, &by_id, ends)).collect())
}

fn process(heartbeat: &Document, by_id: &BTreeMap<&str, &Document>, ends: &Ends) -> Process {
    let text = |document: &Document, key: &str| document.get_str(key).unwrap_or_default().to_owned();
    let at = heartbeat.get_datetime("at").map_or(0, |at| at.timestamp_millis());
    let age = (DateTime::now().timestamp_millis() - at) as f64 / 1e3;
    let jobs = heartbeat.get_array("jobs").into_iter().flatten().filter_map(|job| job.as_document());
    let jobs = jobs.map(|entry| {
        let (job, topic, topic_id) = (text(entry, "job"), text(entry, "topic"), text(entry, "topic_id"));
        let partition = entry.get_i64("partition").ok().and_then(|p| u32::try_from(p).ok()).unwrap_or(0);
        let now = ends.get(&topic_id).and_then(|partitions| partitions.get(partition as usize));
        let high_watermark = match now {
            Some(bounds) => i64::try_from(bounds.end).unwrap_or(i64::MAX),
            None => entry.get_i64("end").unwrap_or(0),
        };
        let checkpoint = by_id.get(format!("{job}|{topic}|{topic_id}|{partition}").as_str());
        let checkpoint = checkpoint.and_then(|document| document.get_i64("next").ok()).unwrap_or(0);
        let lag = (high_watermark - checkpoint).max(0);
        Job { job, topic, topic_id, partition, high_watermark, checkpoint, lag }
    });
    Process {
        process: text(heartbeat, "_id").trim_start_matches(heartbeat::PREFIX).to_owned(),
        runtime: text(heartbeat, "runtime"),
        running: age <= HEARTBEAT_AGE_S_MAX && !heartbeat.get_bool("ended").unwrap_or(false),
        heartbeat_age_seconds: age,
        jobs: jobs.collect(),
    }
}

fn show(process: &Process, out: &mut impl Write) -> Result<()> {
    let Process { process, runtime, running, heartbeat_age_seconds, jobs } = process;
    let state = if *running { "runs" } else { "does not run" };
    writeln!(out, "{process} on the {runtime} runtime {state}; last sign {heartbeat_age_seconds:.0} s ago")?;
    writeln!(
        out,
        "  {:<8} {:<15} {:>9} {:>15} {:>12} {:>8}",
        "job", "topic", "partition", "high watermark", "checkpoint", "lag"
    )?;
    for Job { job, topic, partition, high_watermark, checkpoint, lag, .. } in jobs {
        writeln!(
            out,
            "  {job:<8} {topic:<15} {partition:>9} {high_watermark:>15} {checkpoint:>12} {lag:>8}"
        )?;
    }
    Ok(())
}
