//! The numbers as families of metrics.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use domain::{CODE_HASH, RejectReason};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, TextEncoder};
use runtime::Bounds;

use super::{Job, Look, Monitor, Watched};
use crate::{Progress, alerts, events};

/// Upper bounds of how many records a write covers.
const RECORDS: [f64; 8] = [1.0, 10.0, 100.0, 1e3, 5e3, 2e4, 1e5, 5e5];
/// Upper bounds of how long a write takes, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];
const VALID: &str = "names and labels of metrics are valid";

/// How large writes are and how long they take, by job.
#[derive(Debug)]
pub(crate) struct Writes {
    records: HistogramVec,
    seconds: HistogramVec,
}

impl Default for Writes {
    fn default() -> Self {
        let of = |name: &str, help: &str, bounds: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
            HistogramVec::new(options, &["name"]).expect(VALID)
        };
        Self {
            records: of(
                "streampulse_job_write_records",
                "Records of the log that one write to MongoDB covers.",
                &RECORDS,
            ),
            seconds: of(
                "streampulse_job_write_duration_seconds",
                "How long a write to MongoDB takes, with its tries.",
                &SECONDS,
            ),
        }
    }
}

impl Writes {
    /// A write of `job` has covered so many records of the log.
    pub fn observe(&self, job: &str, records: u64, took: Duration) {
        self.records.with_label_values(&[job]).observe(records as f64);
        self.seconds.with_label_values(&[job]).observe(took.as_secs_f64());
    }
}

/// All metrics in Prometheus' text format.
///
/// # Errors
/// Never, as long as names are valid.
pub(super) async fn text(monitor: &Monitor) -> Result<String> {
    let mut families = Families(monitor.registry.gather());
    families.process(monitor.started_at);
    if let Some((watched, look)) = monitor.look().await {
        let is_up = look.mongodb_answers && !watched.is_away();
        families.one(
            "streampulse_mongodb_up",
            "Whether MongoDB answers, and did so to the jobs.",
            is_up.into(),
        );
        families.jobs(watched, &look);
    }
    families.0.sort_by(|a, b| a.name().cmp(b.name()));
    Ok(TextEncoder::new().encode_to_string(&families.0)?)
}

/// Jobs are labelled `name`, since `job` is Prometheus' own.
struct Families(Vec<MetricFamily>);

impl Families {
    /// A gauge, by the values of its labels.
    fn gauges<const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        labels: [&str; N],
        values: impl IntoIterator<Item = ([String; N], f64)>,
    ) {
        let family = GaugeVec::new(Opts::new(name, help), &labels).expect(VALID);
        for (of, value) in values {
            family.with_label_values(&of.each_ref().map(String::as_str)).set(value);
        }
        self.add(family.collect());
    }

    /// A counter, by the values of its labels.
    fn counters<const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        labels: [&str; N],
        values: impl IntoIterator<Item = ([String; N], f64)>,
    ) {
        let family = CounterVec::new(Opts::new(name, help), &labels).expect(VALID);
        for (of, value) in values {
            family.with_label_values(&of.each_ref().map(String::as_str)).inc_by(value);
        }
        self.add(family.collect());
    }

    /// A family without a value is none.
    fn add(&mut self, families: Vec<MetricFamily>) {
        self.0.extend(families.into_iter().filter(|family| !family.get_metric().is_empty()));
    }

    fn one(&mut self, name: &str, help: &str, value: f64) {
        self.gauges((name, help), [], [([], value)]);
    }

    fn count(&mut self, name: &str, help: &str, counter: &AtomicU64) {
        self.counters((name, help), [], [([], counter.load(Ordering::Relaxed) as f64)]);
    }

    fn process(&mut self, started_at: SystemTime) {
        let of = [env!("CARGO_PKG_VERSION").to_owned(), format!("{CODE_HASH:016x}")];
        let help = "The version, and the hash of the sources that SmartModules must have been built from.";
        self.gauges(("streampulse_build_info", help), ["version", "code_hash"], [(of, 1.0)]);
        let started_s = started_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.one(
            "process_start_time_seconds",
            "When the process was started, in seconds since 1970.",
            started_s,
        );
        if let Some(bytes) = crate::memory::resident_bytes() {
            self.one(
                "process_resident_memory_bytes",
                "Memory of the process that is not swapped out.",
                bytes as f64,
            );
        }
    }

    fn jobs(&mut self, watched: &Watched, look: &Look) {
        let Some((sink, jobs)) = &watched.jobs else { return };
        let progress = &sink.progress;
        self.count(
            "streampulse_mongodb_retries_total",
            "Commands to MongoDB that failed and were tried again.",
            &progress.mongodb_retries,
        );
        self.topics(look);
        for job in jobs {
            // So that both histograms are there before the first write.
            progress.writes.records.with_label_values(&[job.name]);
            progress.writes.seconds.with_label_values(&[job.name]);
        }
        self.add(progress.writes.records.collect());
        self.add(progress.writes.seconds.collect());
        self.positions(progress, jobs, look);
        let chains = progress.chains().into_iter();
        let help = "Time that batches have been in the SmartModules of the job, which this process runs.";
        self.counters(
            ("streampulse_job_smartmodule_seconds_total", help),
            ["name", "partition"],
            chains.map(|(key, time)| (labels(key), time.as_secs_f64())),
        );
        let memories = progress.memories().into_iter();
        let help = "Memory of the SmartModules of the job together, wherever they run, as they tell it.";
        self.gauges(
            ("streampulse_job_smartmodule_memory_bytes", help),
            ["name", "partition"],
            memories.map(|(key, bytes)| (labels(key), bytes as f64)),
        );
        if jobs.iter().any(|job| job.name == events::JOB) {
            self.lines(progress);
        }
        if jobs.iter().any(|job| job.name == alerts::JOB) {
            let (opened, open) = progress.alerts();
            self.counters(
                ("streampulse_alerts_opened_total", "Alerts that this process has opened or gone on with."),
                [],
                [([], opened as f64)],
            );
            self.one("streampulse_alerts_open", "Those of them that are open.", open as f64);
        }
    }

    fn lines(&mut self, progress: &Progress) {
        self.count("streampulse_lines_read_total", "Lines read from the log.", &progress.read);
        self.count("streampulse_lines_accepted_total", "Lines that are events.", &progress.accepted);
        let rejected = RejectReason::ALL.into_iter().zip(&progress.rejected);
        self.counters(
            ("streampulse_lines_rejected_total", "Lines that are no events, by reason."),
            ["reason"],
            rejected.map(|(reason, n)| ([reason.name().to_owned()], n.load(Ordering::Relaxed) as f64)),
        );
        self.count("streampulse_events_stored_total", "Events stored by this process.", &progress.stored);
        self.count(
            "streampulse_events_duplicate_total",
            "Events that were stored already, by a run that ended before its checkpoint.",
            &progress.duplicates,
        );
    }

    fn topics(&mut self, look: &Look) {
        let partitions = || {
            look.topics
                .iter()
                .flat_map(|(topic, partitions)| (0_u32..).zip(partitions).map(move |at| (topic, at)))
        };
        let mut bound = |name, help, of: fn(&Bounds) -> u64| {
            let values = partitions().map(|(topic, (partition, bounds))| {
                ([(*topic).to_owned(), partition.to_string()], of(bounds) as f64)
            });
            self.gauges((name, help), ["topic", "partition"], values);
        };
        bound("streampulse_log_start_offset", "First offset that is still in the log.", |bounds| {
            bounds.start
        });
        bound("streampulse_log_end_offset", "Offset that the next record will get.", |bounds| bounds.end);
    }

    fn positions(&mut self, progress: &Progress, jobs: &[Job], look: &Look) {
        let running = progress.running();
        let mut gauge = |name, help, of: &dyn Fn(&Job) -> Option<f64>| {
            let values = jobs.iter().filter_map(|job| Some((labels(job.key()), of(job)?)));
            self.gauges((name, help), ["name", "partition"], values);
        };
        let is_running = |job: &Job| Some(running.contains(&job.key()).into());
        gauge(
            "streampulse_job_running",
            "Whether the job has opened its stream in this process.",
            &is_running,
        );
        // What does not run here has no position here.
        let here = |job: &Job| running.contains(&job.key()).then(|| progress.positions(job.key()));
        let end = |job: &Job| {
            let bounds = look.topics.get(job.topic_name)?.get(job.partition as usize)?;
            Some(bounds.end)
        };
        gauge("streampulse_job_next_offset", "First offset that the job has not worked off.", &|job| {
            here(job).map(|(next, _)| next as f64)
        });
        gauge("streampulse_job_checkpoint_offset", "First offset that no checkpoint covers.", &|job| {
            here(job).map(|(_, checkpoint)| checkpoint as f64)
        });
        gauge("streampulse_job_lag_records", "Records in the log that the job has not worked off.", &|job| {
            let (next, _) = here(job)?;
            Some(end(job)?.saturating_sub(next) as f64)
        });
        let help = "Since when the job's checkpoint has not moved; 0 while it covers the whole log.";
        gauge("streampulse_job_checkpoint_age_seconds", help, &|job| {
            here(job)?;
            progress.checkpoint_age(job.key(), end(job)?).map(|age| age.as_secs_f64())
        });
    }
}

fn labels((job, partition): (impl fmt::Display, u32)) -> [String; 2] {
    [job.to_string(), partition.to_string()]
}
