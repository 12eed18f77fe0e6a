//! What an access event is and what is made of it, as pure functions over bytes and plain data.
//!
//! The same code is compiled natively and to WASM, so nothing here touches files, sockets, clocks,
//! randomness, threads or logs: time and settings are arguments, and bad input is a value.
//!
//! - [`json`], [`fields`], [`bson`]: values of a line, read in place and written into documents
//! - [`normalize`]: one log line becomes an [`Event`] or a [`Reject`]
//! - [`wire`]: the binary frames that travel between SmartModules and sinks
//! - [`filter_map`], [`window`], [`anomaly`]: the three SmartModules' work on one stored batch
//! - [`positions`]: which frame comes next, so that nothing counts twice

pub mod anomaly;
pub mod bson;
pub mod event_id;
pub mod fields;
pub mod filter_map;
pub mod json;
pub mod normalize;
pub mod oversized;
pub mod params;
pub mod positions;
pub mod time;
pub mod vocabulary;
pub mod window;
pub mod wire;
pub mod zones;

pub use event_id::{EventId, Source};
pub use normalize::{Event, Normalizer, Outcome, Reject, RejectReason};
pub use params::Params;
pub use positions::{Admission, Positions};
pub use vocabulary::Vocabulary;
pub use zones::Zones;

/// Hash of this crate's sources: equal on both sides when a SmartModule and a sink were built from the same
/// code. Frames carry it.
pub const CODE_HASH: u64 = parse_u64(env!("DOMAIN_CODE_HASH"));

/// Longest accepted log line in bytes; a longer one becomes a `too_large` reject.
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// One minute in milliseconds, the base window.
pub const MINUTE_MS: i64 = 60_000;

/// First minute since 1970 that no event lies in: that of [`normalize::EVENT_TIME_MS_END`].
pub const MINUTES_END: u32 = (normalize::EVENT_TIME_MS_END / MINUTE_MS) as u32;

/// A hash that is the same everywhere and for ever (XXH3), as fingerprints and mergeable sketches need it.
pub fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

const fn parse_u64(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut value: u64 = 0;
    let mut i = 0;
    while i < bytes.len() {
        value = value * 10 + (bytes[i] - b'0') as u64;
        i += 1;
    }
    value
}
