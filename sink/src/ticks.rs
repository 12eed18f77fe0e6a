//! Ticks: every second it is written into `access-rollups` what the clock says, and how far every partition
//! of the log is forwarded, so that event time waits for the lines of all of them, whoever reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use domain::wire::{PartitionPosition, Tick};

use crate::checkpoint::Checkpoint;
use crate::events::{self, CHECKPOINT, JOB};
use crate::write::is_away;
use crate::{Logs, Sink, now_ms};

/// Time between ticks.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// Writes a tick every second, for ever; none while no partition runs here, or while it takes MongoDB to know
/// how far the others are and MongoDB is away.
///
/// # Errors
/// When the topic cannot be written.
pub async fn run(sink: &Sink, logs: &Logs) -> Result<()> {
    let mut interval = tokio::time::interval(TICK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        match tick(sink, logs, false).await {
            Err(error) if is_away(&error) => tracing::debug!("no tick: {error:#}"),
            ticked => ticked?,
        }
    }
}

/// Writes one tick.
///
/// # Errors
/// When the topic cannot be read or written, or MongoDB does not tell how far other processes are.
pub async fn tick(sink: &Sink, logs: &Logs, end_of_input: bool) -> Result<()> {
    // First what is forwarded, then what is there: a line in between makes the partition look behind, never
    // ahead.
    let Some(forwarded) = forwarded(sink, logs).await? else { return Ok(()) };
    let ends = logs.topic.state().await?.partitions;
    let positions = (0..).zip(forwarded).zip(ends).map(|((partition, next), bounds)| {
        let source = events::source(logs, partition)?;
        Ok(PartitionPosition { source, next_offset: next.unwrap_or(bounds.start), end_offset: bounds.end })
    });
    let positions = positions.collect::<Result<_>>()?;
    let tick = Tick { wall_ms: now_ms(), end_of_input, positions };
    let mut value = Vec::new();
    tick.encode(&mut value);
    events::forward(sink, vec![value]).await
}

/// The first offset of each partition that may not be forwarded: of those that do not run here their
/// checkpoint tells, if there is one. Nothing where none runs here.
async fn forwarded(sink: &Sink, logs: &Logs) -> Result<Option<Vec<Option<u64>>>> {
    let running = sink.progress.running();
    let here = |(partition, next): (u32, &AtomicU64)| {
        running.contains(&(JOB, partition)).then(|| next.load(Ordering::Acquire))
    };
    let mut forwarded: Vec<Option<u64>> = (0..).zip(&sink.progress.events_next).map(here).collect();
    if forwarded.iter().all(Option::is_none) {
        return Ok(None);
    }
    let elsewhere: Vec<u32> =
        (0..).zip(&forwarded).filter(|(_, next)| next.is_none()).map(|(partition, _)| partition).collect();
    if !elsewhere.is_empty() {
        let (log, rollups) = (logs.topic.state().await?.id, sink.rollups.state().await?.id);
        for (partition, checkpoint) in Checkpoint::look(&sink.database, CHECKPOINT, &log, &elsewhere).await? {
            // What went into an earlier `access-rollups` may have to be forwarded again.
            if checkpoint.get_str("rollups").is_ok_and(|of| of == rollups) {
                forwarded[partition as usize] = checkpoint.get_i64("next").ok().map(i64::cast_unsigned);
            }
        }
    }
    Ok(Some(forwarded))
}
