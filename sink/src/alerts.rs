//! Job `alerts`: `access-rollups` runs through the SmartModule `access-anomaly`, and its alerts go to
//! `access_alerts`.
//!
//! # Delivery
//! Alerts have deterministic ids and replace themselves. One that opens, closes or joins another incident is
//! written the moment it comes, and what came during a write together; where only numbers move, that waits
//! for a second. Each write is one transaction with the checkpoint, which stops whoever was followed by
//! another process. Whenever the module hands out its state, that and the position are written too; after a
//! crash the module starts again from that state at that position, and gives the same alerts again.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use domain::CODE_HASH;
use domain::bson::documents;
use domain::wire::AlertsFrame;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, RawDocument, doc};
use runtime::{Output, StateLost};

use crate::checkpoint::Checkpoint;
use crate::schema::ALERTS;
use crate::write::Write;
use crate::{Sink, module, rollups};

/// The job's name.
pub const JOB: &str = "alerts";
/// Most alerts that are written together, but for those of one output.
const GATHERED_MAX: usize = 1_000;
/// How often the numbers of open alerts are written.
const NUMBERS_EVERY: Duration = Duration::from_secs(1);
/// What of an alert is told at once when it changes.
const STANDING: [&str; 3] = ["status", "severity", "incident"];

/// Runs for ever.
///
/// # Errors
/// When the topic or MongoDB fails for good, or the module meets what it cannot go on from.
pub async fn run(sink: &Sink) -> Result<()> {
    loop {
        match run_stream(sink).await {
            Err(error) if error.is::<StateLost>() => {
                tracing::debug!("{error:#}; going on from the checkpoint")
            }
            ended => return ended,
        }
    }
}

/// Runs from the checkpoint until the stream breaks.
async fn run_stream(sink: &Sink) -> Result<()> {
    let state = sink.rollups.state().await?;
    let bounds = *state.partitions.first().context("access-rollups has no partition")?;
    let (checkpoint, document) =
        Checkpoint::load(&sink.database, "alerts|access-rollups", &state.id, 0, bounds.start).await?;
    let next = u64::try_from(document.get_i64("next").context("a checkpoint without a position")?)?;
    let detector_state = document.get_binary_generic("state").cloned().unwrap_or_default();
    sink.progress.alerts_next.store(next, Ordering::Release);
    sink.progress.alerts_checkpoint.store(next, Ordering::Release);
    sink.progress.cover(JOB, 0);
    let mut anomaly = module("access-anomaly", &sink.modules.anomaly, sink.params.anomaly.clone());
    anomaly.accumulator = Some(detector_state);
    let mut stream = sink.rollups.open(0, next, vec![anomaly]).await?;
    sink.progress.count_chain(JOB, 0, stream.chain_nanos());
    sink.progress.begin(JOB, 0);
    let mut job = Alerts {
        sink,
        checkpoint,
        next,
        written: next,
        saved: next,
        changed: HashMap::new(),
        urgent: HashSet::new(),
        standing: HashMap::new(),
        numbers_at: Instant::now(),
    };
    loop {
        let mut state = job.take(&stream.next().await?)?;
        while state.is_none() && job.changed.len() < GATHERED_MAX {
            let Some(output) = stream.try_next()? else { break };
            state = job.take(&output)?;
        }
        job.write(state).await?;
        sink.progress.alerts_next.store(job.next, Ordering::Release);
    }
}

struct Alerts<'a> {
    sink: &'a Sink,
    checkpoint: Checkpoint,
    /// First offset that is not worked off.
    next: u64,
    /// First offset whose alerts are not written.
    written: u64,
    /// First offset that is not covered by the checkpoint.
    saved: u64,
    /// Alerts that are not written yet, as they are now, by id; [`GATHERED_MAX`] and those of one output.
    changed: HashMap<String, Document>,
    /// Those of them that do not wait.
    urgent: HashSet<String>,
    /// What open alerts were at last, by id; as many as the detector keeps.
    standing: HashMap<String, [String; 3]>,
    /// When all that had changed was written.
    numbers_at: Instant,
}

impl Alerts<'_> {
    /// Takes in what the module gave; its state where it handed that out.
    fn take(&mut self, output: &Output) -> Result<Option<Binary>> {
        let [value] = output.values.as_slice() else {
            bail!("access-anomaly gave {} records", output.values.len())
        };
        let frame = AlertsFrame::decode(value)?;
        ensure!(
            frame.code_hash == CODE_HASH,
            "the SmartModule access-anomaly was built from other sources than this sink; deploy that of this version"
        );
        self.sink.progress.tell_memory(JOB, 0, Some(output));
        ensure!(frame.fault.is_empty(), "access-anomaly cannot go on: {}", frame.fault);
        ensure!(
            frame.base_offset == self.next,
            "access-rollups lacks the frames from {}: the next batch begins at {}",
            self.next,
            frame.base_offset
        );
        for document in documents(frame.alerts) {
            let alert: Document = RawDocument::from_bytes(document)?.try_into()?;
            let id = alert.get_str("_id").context("an alert without an id")?;
            let is_open = alert.get_str("status").is_ok_and(|status| status == "open");
            if self.sink.progress.count_alert(id, is_open) {
                tracing::warn!(alert = id, "{}", alert.get_str("text").unwrap_or_default());
            }
            let standing = STANDING.map(|key| alert.get_str(key).unwrap_or_default().to_owned());
            if self.standing.get(id) != Some(&standing) {
                self.urgent.insert(id.to_owned());
            }
            if is_open {
                self.standing.insert(id.to_owned(), standing);
            } else {
                self.standing.remove(id);
            }
            self.changed.insert(id.to_owned(), alert);
        }
        self.next = frame.last_offset + 1;
        let state = || Binary { subtype: BinarySubtype::Generic, bytes: frame.state.to_vec() };
        Ok((!frame.state.is_empty()).then(state))
    }

    /// Writes the changed alerts that do not wait; with a state all, and that and the position too.
    async fn write(&mut self, state: Option<Binary>) -> Result<()> {
        let is_due = self.numbers_at.elapsed() >= NUMBERS_EVERY || self.changed.len() >= GATHERED_MAX;
        let alerts: Vec<_> = if is_due || state.is_some() {
            self.numbers_at = Instant::now();
            self.urgent.clear();
            self.changed.drain().map(replacement).collect()
        } else {
            let urgent = self.urgent.drain();
            urgent.filter_map(|id| self.changed.remove_entry(&id)).map(replacement).collect()
        };
        if alerts.is_empty() && state.is_none() {
            return Ok(());
        }
        let mut fields = doc! { "at": mongodb::bson::DateTime::now() };
        let to = if state.is_some() { self.next } else { self.saved };
        fields.extend(state.map(|state| ("state".to_owned(), state.into())));
        let writes = [Write::Update(ALERTS, alerts)];
        let progress = &self.sink.progress;
        let began = Instant::now();
        self.checkpoint.commit(progress, (self.saved, to), fields, &writes).await?;
        progress.writes.observe(JOB, self.next - self.written, began.elapsed());
        self.written = self.next;
        if to == self.saved {
            return Ok(());
        }
        self.saved = to;
        progress.alerts_checkpoint.store(self.saved, Ordering::Release);
        progress.cover(JOB, 0);
        rollups::trim(self.sink).await
    }
}

/// The statement that puts an alert in the place of what was stored under its id.
fn replacement((id, alert): (String, Document)) -> Document {
    doc! { "q": { "_id": id }, "u": alert, "upsert": true }
}
