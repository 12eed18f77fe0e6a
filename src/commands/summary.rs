//! What a run has done, at its end: for people, or alone on standard output as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use domain::RejectReason;
use serde::Serialize;
use sink::Progress;

use crate::args::Format;

/// The summary; its field names are fixed.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    runtime: &'static str,
    mongodb: String,
    read: u64,
    accepted: u64,
    rejected: u64,
    rejected_by_reason: BTreeMap<&'static str, u64>,
    stored: u64,
    duplicates: u64,
    alerts: usize,
    seconds: f64,
    events_per_second: f64,
}

impl Summary {
    /// What `progress` says after `elapsed`.
    pub(super) fn new(
        runtime: &'static str,
        mongodb: String,
        progress: &Progress,
        elapsed: Duration,
    ) -> Self {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Acquire);
        let by_reason = RejectReason::ALL.into_iter().zip(&progress.rejected);
        let by_reason =
            by_reason.map(|(reason, counter)| (reason.name(), count(counter))).filter(|(_, n)| *n > 0);
        let (read, seconds) = (count(&progress.read), elapsed.as_secs_f64());
        Self {
            runtime,
            mongodb,
            read,
            accepted: count(&progress.accepted),
            rejected: progress.rejected_total(),
            rejected_by_reason: by_reason.collect(),
            stored: count(&progress.stored),
            duplicates: count(&progress.duplicates),
            alerts: progress.alerts().0,
            seconds: (seconds * 1e3).round() / 1e3,
            events_per_second: (read as f64 / seconds.max(1e-9)).round(),
        }
    }

    /// Prints it to standard output.
    pub(super) fn print(&self, format: Format) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        match format {
            Format::Json => writeln!(stdout, "{}", serde_json::to_string_pretty(self)?)?,
            Format::Text => self.print_text(&mut stdout)?,
        }
        Ok(stdout.flush()?)
    }

    fn print_text(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { runtime, mongodb, read, accepted, rejected, stored, duplicates, alerts, seconds, .. } =
            self;
        writeln!(out, "runtime     {runtime}; {mongodb}")?;
        writeln!(out, "read        {read} lines in {seconds} s, {} a second", self.events_per_second)?;
        writeln!(out, "accepted    {accepted}")?;
        writeln!(out, "rejected    {rejected}")?;
        for (reason, n) in &self.rejected_by_reason {
            writeln!(out, "  {reason:<14} {n}")?;
        }
        writeln!(out, "stored      {stored}, {duplicates} were stored before")?;
        writeln!(out, "alerts      {alerts}")
    }
}
