//! Synthetic traffic into a topic: in the past at full speed, in the present at the asked rate.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::publish::{Destination, Lines};
use crate::{Backfill, Generator, GeneratorConfig, now_ms};

/// How often lines are sent at most, in the present.
const SEND_EVERY: Duration = Duration::from_millis(20);
/// Most lines that are made up for at once after a pause, in seconds of the asked rate.
const CATCH_UP_SECONDS_MAX: f64 = 10.0;

/// What to make.
#[derive(Clone, Debug)]
pub struct Synthetic {
    /// The traffic.
    pub generator: GeneratorConfig,
    /// Lines a second.
    pub rate: f64,
    /// Begin of the past, in milliseconds since 1970; `None` to begin now.
    pub start_ms: Option<i64>,
    /// End after this many lines.
    pub lines_max: Option<u64>,
}

impl Synthetic {
    /// Runs until `lines_max` lines are sent or `stop` is cancelled. Gives how many were sent.
    ///
    /// # Errors
    /// When lines cannot be sent.
    pub async fn run(&self, to: &Destination, mut lines: Lines, stop: &CancellationToken) -> Result<u64> {
        let mut generator = Generator::new(self.generator.clone());
        let lines_max = self.lines_max.unwrap_or(u64::MAX);
        let mut sent = 0;
        let mut line = Vec::new();
        if let Some(start_ms) = self.start_ms {
            let past = Backfill::new(start_ms, now_ms(), self.rate, self.generator.seed);
            for instant_ms in past.with_incidents(self.generator.incidents.clone()) {
                if sent + lines.len() >= lines_max || stop.is_cancelled() {
                    break;
                }
                line.clear();
                generator.next_line(instant_ms, &mut line);
                lines.push(&line);
                if lines.is_full() {
                    sent += lines.send(to, BTreeMap::new()).await?;
                }
            }
            sent += lines.send(to, BTreeMap::new()).await?;
        }
        let (mut owed, mut before) = (0.0, Instant::now());
        while sent < lines_max && !stop.is_cancelled() {
            let now = Instant::now();
            let now_ms = now_ms();
            let rate = self.rate * generator.rate_factor(now_ms);
            owed = (owed + rate * (now - before).as_secs_f64()).min((rate * CATCH_UP_SECONDS_MAX).max(1.0));
            before = now;
            while owed >= 1.0 && sent + lines.len() < lines_max && !lines.is_full() {
                owed -= 1.0;
                line.clear();
                generator.next_line(now_ms, &mut line);
                lines.push(&line);
            }
            sent += lines.send(to, BTreeMap::new()).await?;
            if owed < 1.0 {
                let until_next = Duration::from_secs_f64(((1.0 - owed) / rate.max(1e-3)).min(1.0));
                tokio::select! {
                    () = tokio::time::sleep_until(now + until_next.max(SEND_EVERY)) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
        Ok(sent)
    }
}
