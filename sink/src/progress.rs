//! What the jobs have done so far, for those who watch: counters that only grow, and positions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use domain::RejectReason;
use domain::wire::{Delta, RejectCounts};
use runtime::Output;
use tokio_util::sync::CancellationToken;

use crate::monitor::Writes;
use crate::{events, rollups};

/// How many minutes are kept for the live view.
const MINUTES_KEPT_MAX: usize = 5;
/// How many alerts are known by their ids. One that was forgotten, so many alerts later, counts as new
/// should it change once more, and as closed until then.
const ALERTS_KNOWN_MAX: usize = 100_000;

/// Counters and positions, shared by the jobs of one process.
#[derive(Debug, Default)]
pub struct Progress {
    /// Lines read from the log.
    pub read: AtomicU64,
    /// Lines that are events.
    pub accepted: AtomicU64,
    /// Lines that are none, in the order of [`RejectReason::ALL`].
    pub rejected: [AtomicU64; RejectReason::ALL.len()],
    /// Events stored by this process.
    pub stored: AtomicU64,
    /// Events that were already stored, by an earlier run that ended before its checkpoint.
    pub duplicates: AtomicU64,
    /// First offset of each partition that is not forwarded yet.
    pub events_next: Vec<AtomicU64>,
    /// First offset of each partition that is not covered by a checkpoint yet.
    pub events_checkpoint: Vec<AtomicU64>,
    /// First offset of `access-rollups` that is not applied yet.
    pub rollups_next: AtomicU64,
    /// First offset of `access-rollups` that is not covered by a checkpoint of the rollups job.
    pub rollups_checkpoint: AtomicU64,
    /// First offset of `access-rollups` that the alerts job has not worked off.
    pub alerts_next: AtomicU64,
    /// First offset of `access-rollups` that is not covered by a checkpoint of the alerts job.
    pub alerts_checkpoint: AtomicU64,
    /// Jobs that have opened their streams, by name and partition.
    running: Mutex<BTreeSet<(&'static str, u32)>>,
    /// Cancelled when no more lines come in, so that nobody waits for them.
    pub input_ended: CancellationToken,
    /// MongoDB did not answer the last time.
    pub mongodb_away: AtomicBool,
    /// Tries of commands to MongoDB that failed and were repeated.
    pub mongodb_retries: AtomicU64,
    /// How large writes are, and how long they take.
    pub(crate) writes: Writes,
    /// Jobs by name and partition, and when their checkpoint last moved or was known to cover everything.
    covered: Mutex<BTreeMap<(&'static str, u32), Instant>>,
    /// Nanoseconds in the SmartModules that this process runs itself, by job and partition.
    chains: Mutex<BTreeMap<(&'static str, u32), Arc<AtomicU64>>>,
    /// Bytes of memory of the SmartModules, by job and partition, while the job runs.
    memories: Mutex<BTreeMap<(&'static str, u32), u64>>,
    minutes: Mutex<BTreeMap<u32, u64>>,
    alerts: Mutex<Alerts>,
}

/// The alerts that this process has written.
#[derive(Debug, Default)]
struct Alerts {
    written: usize,
    /// Those that are known, by the hash of their id, and whether they are open.
    known: HashMap<u64, bool>,
    /// The same in the order in which they came.
    order: VecDeque<u64>,
    open: usize,
}

impl Alerts {
    /// Says whether the alert is new.
    fn count(&mut self, id: &str, open: bool) -> bool {
        let hash = domain::hash(id.as_bytes());
        let before = self.known.insert(hash, open);
        self.open = self.open + usize::from(open) - usize::from(before == Some(true));
        if before.is_some() {
            return false;
        }
        self.written += 1;
        self.order.push_back(hash);
        if self.order.len() > ALERTS_KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.open -= usize::from(self.known.remove(&oldest) == Some(true));
        }
        true
    }
}

impl Progress {
    /// Zero, for a log of `partitions`.
    pub fn new(partitions: usize) -> Self {
        let numbers = || (0..partitions).map(|_| AtomicU64::new(0)).collect();
        Self { events_next: numbers(), events_checkpoint: numbers(), ..Self::default() }
    }

    /// The jobs that have opened their streams, by name and partition.
    pub fn running(&self) -> BTreeSet<(&'static str, u32)> {
        self.running.lock().expect("no holder of this lock panics").clone()
    }

    pub(crate) fn begin(&self, job: &'static str, partition: u32) {
        self.running.lock().expect("no holder of this lock panics").insert((job, partition));
    }

    pub(crate) fn end(&self, job: &'static str, partition: u32) {
        self.running.lock().expect("no holder of this lock panics").remove(&(job, partition));
        self.memories.lock().expect("no holder of this lock panics").remove(&(job, partition));
    }

    /// The first offset that a job has not worked off, and the first that no checkpoint covers.
    pub(crate) fn positions(&self, (job, partition): (&str, u32)) -> (u64, u64) {
        let (next, checkpoint) = match job {
            events::JOB => {
                let of = partition as usize;
                (&self.events_next[of], &self.events_checkpoint[of])
            }
            rollups::JOB => (&self.rollups_next, &self.rollups_checkpoint),
            _ => (&self.alerts_next, &self.alerts_checkpoint),
        };
        (next.load(Ordering::Acquire), checkpoint.load(Ordering::Acquire))
    }

    /// The checkpoint of a job has moved, or covers all that there is.
    pub(crate) fn cover(&self, job: &'static str, partition: u32) {
        self.covered.lock().expect("no holder of this lock panics").insert((job, partition), Instant::now());
    }

    /// How long a job's checkpoint has not moved; nothing while it covers the log up to `end`.
    pub(crate) fn checkpoint_age(&self, key: (&'static str, u32), end: u64) -> Option<Duration> {
        if self.positions(key).1 >= end {
            self.cover(key.0, key.1);
        }
        self.covered.lock().expect("no holder of this lock panics").get(&key).map(Instant::elapsed)
    }

    /// A stream was opened whose SmartModules run in this process and add their nanoseconds to `nanos`.
    pub(crate) fn count_chain(&self, job: &'static str, partition: u32, nanos: Option<Arc<AtomicU64>>) {
        let Some(nanos) = nanos else { return };
        let mut chains = self.chains.lock().expect("no holder of this lock panics");
        if let Some(before) = chains.insert((job, partition), nanos.clone()) {
            nanos.fetch_add(before.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// Time in the SmartModules that this process runs itself, by job and partition.
    pub(crate) fn chains(&self) -> Vec<((&'static str, u32), Duration)> {
        let chains = self.chains.lock().expect("no holder of this lock panics");
        let time = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Ordering::Relaxed));
        chains.iter().map(|(key, nanos)| (*key, time(nanos))).collect()
    }

    /// What a stream's last output tells of its SmartModules' memory.
    pub(crate) fn tell_memory(&self, job: &'static str, partition: u32, last: Option<&Output>) {
        if let Some(bytes) = last.and_then(|output| output.memory_bytes) {
            let mut memories = self.memories.lock().expect("no holder of this lock panics");
            memories.insert((job, partition), bytes);
        }
    }

    /// Bytes of memory of the SmartModules that run for this process, by job and partition.
    pub(crate) fn memories(&self) -> BTreeMap<(&'static str, u32), u64> {
        self.memories.lock().expect("no holder of this lock panics").clone()
    }

    /// Rejects of all reasons.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The newest minute seen, in minutes since 1970, and its accesses as far as this process has counted
    /// them.
    pub fn newest_minute(&self) -> Option<(u32, u64)> {
        let minutes = self.minutes.lock().expect("no holder of this lock panics");
        minutes.last_key_value().map(|(minute, n)| (*minute, *n))
    }

    /// How many alerts this process has written, and how many of them are open.
    pub fn alerts(&self) -> (usize, usize) {
        let alerts = self.alerts.lock().expect("no holder of this lock panics");
        (alerts.written, alerts.open)
    }

    /// Says whether the alert is new.
    pub(crate) fn count_alert(&self, id: &str, open: bool) -> bool {
        self.alerts.lock().expect("no holder of this lock panics").count(id, open)
    }

    pub(crate) fn count_lines(&self, accepted: u32, rejected: &RejectCounts) {
        let rejects: u64 = rejected.iter().map(|count| u64::from(*count)).sum();
        self.read.fetch_add(u64::from(accepted) + rejects, Ordering::Relaxed);
        self.accepted.fetch_add(u64::from(accepted), Ordering::Relaxed);
        for (total, count) in self.rejected.iter().zip(rejected) {
            total.fetch_add(u64::from(*count), Ordering::Relaxed);
        }
    }

    pub(crate) fn count_minutes(&self, delta: &Delta) {
        let mut minutes = self.minutes.lock().expect("no holder of this lock panics");
        for cell in &delta.cells {
            *minutes.entry(cell.minute).or_default() +=
                cell.counts.iter().map(|&(_, _, n)| u64::from(n)).sum::<u64>();
        }
        while minutes.len() > MINUTES_KEPT_MAX {
            minutes.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_counted_once_however_often_they_change() {
        let progress = Progress::new(1);
        assert!(progress.count_alert("a", true) && !progress.count_alert("a", true));
        assert!(progress.count_alert("b", false) && progress.count_alert("c", true));
        assert_eq!(progress.alerts(), (3, 2));
        assert!(!progress.count_alert("a", false) && !progress.count_alert("b", true));
        assert_eq!(progress.alerts(), (3, 2));
    }

    #[test]
    fn alerts_are_all_counted_and_few_are_known() {
        let progress = Progress::new(1);
        (0..ALERTS_KNOWN_MAX).for_each(|n| assert!(progress.count_alert(&n.to_string(), n % 2 == 0)));
        assert!(!progress.count_alert("0", true), "known at the bound");
        assert_eq!(progress.alerts(), (ALERTS_KNOWN_MAX, ALERTS_KNOWN_MAX / 2));
        assert!(progress.count_alert("one more", true));
        assert_eq!(progress.alerts(), (ALERTS_KNOWN_MAX + 1, ALERTS_KNOWN_MAX / 2), "the oldest made room");
        let alerts = progress.alerts.lock().expect("not poisoned");
        assert_eq!((alerts.known.len(), alerts.order.len()), (ALERTS_KNOWN_MAX, ALERTS_KNOWN_MAX));
    }
}
