//! Where log lines come from: an endless seeded stream of synthetic traffic with labelled incidents, or real
//! logs. The generator is pure: it does no I/O, reads no clock, and takes its chance from a seed.
//! [`synthetic`] and [`import`] bring lines into a topic.

pub mod conditions;
pub mod generator;
pub mod import;
pub mod incident;
pub mod line;
pub mod malformed;
pub mod pace;
pub mod profile;
pub mod publish;
pub mod session;
pub mod synthetic;
pub mod viewer;
pub mod vocabulary;

pub use generator::{Generator, GeneratorConfig, LineKind};
pub use incident::{Incident, IncidentKind};
pub use pace::Backfill;

/// Milliseconds since 1970 by this machine's clock.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
