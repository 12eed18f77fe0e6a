//! A sign of life in `pipeline_state`, with what a process does and how far its topics reach, for `status`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use domain::params::AnomalySettings;
use mongodb::bson::{Bson, DateTime, Document, doc};
use runtime::TopicState;

use crate::schema::STATE;
use crate::{Logs, Sink, alerts, events, memory, rollups};

/// Key of heartbeats in `pipeline_state`.
pub const PREFIX: &str = "heartbeat|";
/// How often it is written.
pub const EVERY: Duration = Duration::from_secs(5);

/// Whose heart beats.
#[derive(Clone, Debug)]
pub struct Heart {
    /// Name of the process, the same after a restart.
    pub name: String,
    /// Which runtime it runs on.
    pub runtime: String,
}

impl Heart {
    /// Writes down that the process runs, or has ended, and how far its topics reach. Nothing while it only
    /// stands by.
    ///
    /// # Errors
    /// When a topic cannot be reached.
    pub async fn beat(&self, sink: &Sink, logs: Option<&Logs>, ended: bool) -> Result<()> {
        let mut running: Vec<_> = sink.progress.running().into_iter().collect();
        if running.is_empty() {
            return Ok(());
        }
        // In the order in which lines pass them.
        let order = [events::JOB, rollups::JOB, alerts::JOB];
        running.sort_by_key(|(job, partition)| (order.iter().position(|known| known == job), *partition));
        let runs_alerts = running.iter().any(|(job, _)| *job == alerts::JOB);
        let counts = sink.rollups.state().await?;
        let logs_state = match logs {
            Some(logs) => Some(logs.topic.state().await?),
            None => None,
        };
        let jobs = running.into_iter().filter_map(|(job, partition)| {
            let (topic, state): (_, &TopicState) = match job {
                events::JOB => ("access-logs", logs_state.as_ref()?),
                _ => ("access-rollups", &counts),
            };
            let end = state.partitions.get(partition as usize)?.end;
            let age = sink.progress.checkpoint_age((job, partition), end).unwrap_or_default();
            Some(doc! {
                "job": job, "topic": topic, "topic_id": &state.id, "partition": i64::from(partition),
                "end": number(end), "checkpoint_age_s": number(age.as_secs()),
            })
        });
        let jobs: Vec<Document> = jobs.collect();
        let memory_bytes = memory::resident_bytes().map(number);
        let retries = number(sink.progress.mongodb_retries.load(Ordering::Relaxed));
        let mut set = doc! {
            "runtime": &self.runtime, "at": DateTime::now(), "ended": ended, "jobs": jobs,
            "memory_bytes": memory_bytes, "retries": retries,
        };
        if let (Some(logs), Some(state)) = (logs, &logs_state) {
            set.extend([
                ("epoch".to_owned(), Bson::Int64(i64::from(logs.epoch))),
                ("topic_id".to_owned(), Bson::from(state.id.as_str())),
            ]);
        }
        if runs_alerts
            && let Ok(AnomalySettings { limit_per_minute: Some(limit), .. }) =
                AnomalySettings::parse(&sink.params.anomaly)
        {
            set.insert("limit_per_minute", i64::try_from(limit).unwrap_or(i64::MAX));
        }
        let states = sink.database.collection::<Document>(STATE);
        let key = doc! { "_id": format!("{PREFIX}{}", self.name) };
        if let Err(error) = states.update_one(key, doc! { "$set": set }).upsert(true).await {
            // Only `status` misses it; the jobs notice by themselves when MongoDB is away.
            tracing::debug!(%error, "cannot write the heartbeat");
        }
        Ok(())
    }
}

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
