//! What is fuzzed, as functions that take any bytes and panic where they find a fault. The programs in `bin`
//! hand them to libFuzzer; `tests/corpus.rs` replays the kept inputs.

pub mod bytes;
#[cfg(feature = "texts")]
pub mod texts;
