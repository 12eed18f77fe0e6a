//! What is seen while `up` runs: one line that keeps itself up to date in a terminal, log lines in a pipe,
//! and a heartbeat in `pipeline_state` for `status`.

use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::mongodb::bson::{Bson, DateTime, doc};
use anyhow::Result;
use mongodb_sink::{Progress, Sink};

/// How often the line is renewed.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often a line is logged in a pipe.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// How often the heartbeat is written.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// Key of the heartbeat in `pipeline_state`.
pub(super) const HEARTBEAT: &str = "up|";

/// Shows the pipeline's progress for ever.
pub(super) async fn run(sink: &Sink, limit_per_minute: u64) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let mut interval = tokio::time::interval(SHOW_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before = (Instant::now(), 0, 0);
    let (mut logged, mut beaten) = (Instant::now(), None::<Instant>);
    loop {
        interval.tick().await;
        let state = sink.logs.state().await?;
        let (now, read) = (Instant::now(), state.partitions.iter().map(|bounds| bounds.end).sum::<u64>());
        let stored: u64 = sink.progress.events_next.iter().map(|next| next.load(Ordering::Relaxed)).sum();
        let seconds = now.duration_since(before.0).as_secs_f64();
        if seconds > 0.5 {
            let rate = |count: u64, earlier: u64| count.saturating_sub(earlier) as f64 / seconds;
            let rates = (rate(read, before.1), rate(stored, before.2));
            // The first look only tells where the counting begins.
            let line = line(&sink.progress, rates, read.saturating_sub(stored), limit_per_minute);
            if terminal {
                eprint!("\r\x1b[2K{line}");
                std::io::stderr().flush()?;
            } else if logged.elapsed() >= LOG_EVERY {
                tracing::info!("{line}");
                logged = now;
            }
        }
        before = (now, read, stored);
        if beaten.is_none_or(|beaten| beaten.elapsed() >= HEARTBEAT_EVERY) && !away(&sink.progress) {
            heartbeat(sink, false).await?;
            beaten = Some(now);
        }
    }
}

fn line(
    progress: &Progress,
    (read_rate, stored_rate): (f64, f64),
    lag: u64,
    limit_per_minute: u64,
) -> String {
    let minute = progress.newest_minute().map_or_else(String::new, |(minute, n)| {
        let time = chrono::DateTime::from_timestamp(i64::from(minute) * 60, 0).unwrap_or_default();
        format!(" | minute {} {n} of {limit_per_minute}", time.format("%H:%M"))
    });
    let open = progress.alerts().1;
    let away = if away(progress) { " | MongoDB AWAY, nothing is lost" } else { "" };
    format!(
        "in {read_rate:.0}/s | stored {stored_rate:.0}/s | lag {lag} | rejects {}{minute} | open alerts {open}{away}",
        progress.rejected_total()
    )
}

fn away(progress: &Progress) -> bool {
    progress.mongodb_away.load(Ordering::Relaxed)
}

/// Writes down that the pipeline runs, or has ended, and how far its topics reach.
pub(super) async fn heartbeat(sink: &Sink, ended: bool) -> Result<()> {
    let whole = |number: u64| Bson::Int64(i64::try_from(number).unwrap_or(i64::MAX));
    let (logs, rollups) = (sink.logs.state().await?, sink.rollups.state().await?);
    let ends: Vec<_> = logs.partitions.iter().map(|bounds| whole(bounds.end)).collect();
    let set = doc! {
        "runtime": "embedded",
        "at": DateTime::now(),
        "ended": ended,
        "epoch": i64::from(sink.epoch),
        "topic_id": &logs.id,
        "rollups_id": rollups.id,
        "ends": ends,
        "rollups_end": whole(rollups.partitions.first().map_or(0, |bounds| bounds.end)),
    };
    let states = sink.database.collection::<::mongodb::bson::Document>(mongodb_sink::schema::STATE);
    let key = format!("{HEARTBEAT}{}", logs.id);
    if let Err(error) = states.update_one(doc! { "_id": key }, doc! { "$set": set }).upsert(true).await {
        // Only `status` misses it; the jobs notice by themselves when MongoDB is away.
        tracing::debug!(%error, "cannot write the heartbeat");
    }
    Ok(())
}

/// Ends the line in a terminal, so that what follows begins a new one.
pub(super) fn end_line() {
    if std::io::stderr().is_terminal() {
        eprintln!();
    }
}
