//! The integration tests, as one binary: against a real MongoDB, real WASM, through the library and the
//! command.

mod pipeline;
mod report;
mod sample;
mod smartmodules;
mod support;
mod tidy;
