//! The integration tests, as one binary: against a real MongoDB, through the library and the command.

mod report;
mod support;
