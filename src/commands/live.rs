//! What is seen while `up` runs: one line that keeps itself up to date in a terminal, log lines in a pipe,
//! and a heartbeat for `status`.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use sink::heartbeat::{self, Heart};
use sink::{Logs, Progress, Sink};

/// How often the line is renewed.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often a line is logged in a pipe.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Shows the pipeline's progress for ever.
pub(super) async fn run(heart: Heart, sink: Arc<Sink>, logs: Arc<Logs>, limit_per_minute: u64) -> Result<()> {
    let terminal = sink::logging::is_watched();
    let mut interval = tokio::time::interval(SHOW_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut before = (Instant::now(), 0, 0);
    let (mut logged, mut beaten) = (Instant::now(), None::<Instant>);
    loop {
        interval.tick().await;
        let state = logs.topic.state().await?;
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
        if beaten.is_none_or(|beaten| beaten.elapsed() >= heartbeat::EVERY) && !away(&sink.progress) {
            heart.beat(&sink, Some(&logs), false).await?;
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

/// Ends the line in a terminal, so that what follows begins a new one.
pub(super) fn end_line() {
    if sink::logging::is_watched() {
        eprintln!();
    }
}
