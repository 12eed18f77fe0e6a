//! `status`: how far each job has come, from its checkpoints and the heartbeat of the process that runs them.

use std::io::Write;
use std::process::ExitCode;

use ::mongodb::Database;
use ::mongodb::bson::{DateTime, Document, doc};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb_sink::schema::STATE;
use serde::Serialize;

use super::live::HEARTBEAT;
use crate::args::{Format, StatusArgs};
use crate::plan::Store;

/// Age of a heartbeat from which on its process is taken for gone, in seconds.
const HEARTBEAT_AGE_S_MAX: f64 = 30.0;

/// A pipeline that writes or has written to this database.
#[derive(Debug, Serialize)]
struct Pipeline {
    runtime: String,
    topic_id: String,
    epoch: i64,
    running: bool,
    heartbeat_age_seconds: f64,
    jobs: Vec<Job>,
}

/// One job in one partition.
#[derive(Debug, Serialize)]
struct Job {
    job: String,
    topic: String,
    partition: u32,
    high_watermark: i64,
    checkpoint: i64,
    lag: i64,
}

/// Runs the command. A finding is that no pipeline runs.
pub(super) async fn run(args: StatusArgs) -> Result<ExitCode> {
    let reached = crate::mongodb::reach(&Store::new(args.store)?).await?;
    let pipelines = read(&reached.database).await;
    reached.close().await;
    let pipelines = pipelines?;
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{}", serde_json::to_string_pretty(&pipelines)?)?,
        Format::Text if pipelines.is_empty() => {
            writeln!(stdout, "No pipeline has written to this database.")?
        }
        Format::Text => pipelines.iter().try_for_each(|pipeline| show(pipeline, &mut stdout))?,
    }
    let running = pipelines.iter().any(|pipeline| pipeline.running);
    Ok(if running { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FINDING) })
}

async fn read(database: &Database) -> Result<Vec<Pipeline>> {
    let states = database.collection::<Document>(STATE);
    let found = states.find(doc! { "_id": { "$type": "string" } }).sort(doc! { "at": -1 }).await;
    let documents: Vec<Document> = found.context("cannot read pipeline_state")?.try_collect().await?;
    let id = |document: &Document| document.get_str("_id").unwrap_or_default().to_owned();
    let heartbeats = documents.iter().filter(|document| id(document).starts_with(HEARTBEAT));
    Ok(heartbeats
        .map(|heartbeat| {
            let text = |key: &str| heartbeat.get_str(key).unwrap_or_default().to_owned();
            let at = heartbeat.get_datetime("at").map_or(0, |at| at.timestamp_millis());
            let age = (DateTime::now().timestamp_millis() - at) as f64 / 1e3;
            let (logs_id, rollups_id) = (text("topic_id"), text("rollups_id"));
            let next = |key: &str| {
                let checkpoint = documents.iter().find(|document| id(document) == key);
                checkpoint.and_then(|checkpoint| checkpoint.get_i64("next").ok()).unwrap_or(0)
            };
            let job = |job: &str, topic: &str, topic_id: &str, partition: u32, high_watermark: i64| {
                let checkpoint = next(&format!("{job}|{topic}|{topic_id}|{partition}"));
                let lag = (high_watermark - checkpoint).max(0);
                Job {
                    job: job.to_owned(),
                    topic: topic.to_owned(),
                    partition,
                    high_watermark,
                    checkpoint,
                    lag,
                }
            };
            let ends = heartbeat.get_array("ends").into_iter().flatten().filter_map(|end| end.as_i64());
            let mut jobs: Vec<_> = (0..)
                .zip(ends)
                .map(|(partition, end)| job("events", "access-logs", &logs_id, partition, end))
                .collect();
            let rollups_end = heartbeat.get_i64("rollups_end").unwrap_or(0);
            jobs.push(job("rollups", "access-rollups", &rollups_id, 0, rollups_end));
            jobs.push(job("alerts", "access-rollups", &rollups_id, 0, rollups_end));
            let epoch = heartbeat.get_i64("epoch").unwrap_or(0);
            let running = age <= HEARTBEAT_AGE_S_MAX && !heartbeat.get_bool("ended").unwrap_or(false);
            let runtime = text("runtime");
            Pipeline { runtime, topic_id: logs_id, epoch, running, heartbeat_age_seconds: age, jobs }
        })
        .collect())
}

fn show(pipeline: &Pipeline, out: &mut impl Write) -> Result<()> {
    let Pipeline { runtime, topic_id, epoch, running, heartbeat_age_seconds, jobs } = pipeline;
    let state = if *running { "runs" } else { "does not run" };
    writeln!(
        out,
        "{runtime} pipeline of topic {topic_id} (epoch {epoch}) {state}; last sign {heartbeat_age_seconds:.0} s ago"
    )?;
    writeln!(
        out,
        "  {:<8} {:<15} {:>9} {:>15} {:>12} {:>8}",
        "job", "topic", "partition", "high watermark", "checkpoint", "lag"
    )?;
    for Job { job, topic, partition, high_watermark, checkpoint, lag } in jobs {
        writeln!(
            out,
            "  {job:<8} {topic:<15} {partition:>9} {high_watermark:>15} {checkpoint:>12} {lag:>8}"
        )?;
    }
    Ok(())
}
