//! The sink: three jobs that read the log through SmartModules and write to MongoDB, in one process (`up`) or
//! as Fluvio connectors.
//!
//! - [`events`]: `access-logs` to `access_events` and `access_rejects`, and the counts on to `access-rollups`
//! - [`rollups`]: `access-rollups` to `access_rollups_*`, `access_minutes` and `access_users_*`
//! - [`alerts`]: `access-rollups` through `access-anomaly` to `access_alerts`
//!
//! # Delivery
//! Exactly once. Events have an `_id` made of their place in the log, so writing one again changes nothing;
//! counts are known by their place too, and move together with the position up to which they are applied, in
//! one transaction. Positions live in `pipeline_state`, with the data. While MongoDB is away the jobs wait
//! and try again; the log keeps what they have not written.

pub mod alerts;
pub mod checkpoint;
pub mod connector;
pub mod events;
mod gathered;
pub mod guard;
pub mod heartbeat;
pub mod jobs;
pub mod logging;
pub mod memory;
pub mod monitor;
pub mod progress;
pub mod reach;
pub mod rollups;
mod routes;
pub mod schema;
pub mod secret;
mod sketch;
pub mod ticks;
mod windows;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use mongodb::Database;
use runtime::{Module, Topic};

pub use progress::Progress;

/// What the jobs share.
#[derive(Clone)]
pub struct Sink {
    /// Where to write.
    pub database: Database,
    /// Topic of counts and ticks; one partition.
    pub rollups: Arc<dyn Topic>,
    /// Codes of the SmartModules, where this process runs them itself.
    pub modules: Modules,
    /// Parameters of the SmartModules.
    pub params: ModuleParams,
    /// Whether events are stored, or only what is counted of them, rejects and alerts.
    pub store_events: bool,
    /// After how long MongoDB removes what is written.
    pub retention: schema::Retention,
    /// What has been done so far.
    pub progress: Arc<Progress>,
}

/// The log lines that the job `events` works on.
pub struct Logs {
    /// Topic of log lines.
    pub topic: Arc<dyn Topic>,
    /// Which incarnation of it this is.
    pub epoch: u32,
    /// Which of its partitions this process works on.
    pub partitions: Vec<u32>,
}

/// Codes of the three SmartModules; empty where a cluster runs them by name.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    /// `access-filter-map`.
    pub filter_map: Arc<[u8]>,
    /// `access-window-aggregate`.
    pub window_aggregate: Arc<[u8]>,
    /// `access-anomaly`.
    pub anomaly: Arc<[u8]>,
}

/// Parameters of the three SmartModules, but for those that the jobs set themselves.
#[derive(Clone, Debug, Default)]
pub struct ModuleParams {
    /// `fields`, `devices`, `content_types` and `zones`.
    pub filter_map: BTreeMap<String, String>,
    /// `lateness_ms_allowed`.
    pub window_aggregate: BTreeMap<String, String>,
    /// `limit_per_minute`.
    pub anomaly: BTreeMap<String, String>,
}

/// What cannot be repaired by trying again.
fn fatal(text: String) -> anyhow::Error {
    anyhow::anyhow!(text)
}

fn module(name: &str, wasm: &Arc<[u8]>, params: BTreeMap<String, String>) -> Module {
    Module { name: name.to_owned(), wasm: wasm.clone(), params, accumulator: None }
}

/// Milliseconds since 1970 by this machine's clock.
fn now_ms() -> i64 {
    mongodb::bson::DateTime::now().timestamp_millis()
}

fn signed(offset: u64) -> i64 {
    i64::try_from(offset).expect("offsets have 41 bits")
}
