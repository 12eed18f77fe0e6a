//! The integration tests, as one binary: against a real MongoDB, real WASM, through the library and the
//! command.

mod anomalies;
mod browser;
mod cluster;
mod cluster_whole;
mod daily;
mod dashboards;
mod delivery;
mod docs;
mod fluvio;
mod grafana;
mod json;
mod lease;
mod mongodb;
mod pipeline;
mod report;
mod sample;
mod serve;
mod shards;
mod smartmodules;
mod support;
mod tidy;
mod users;
mod zones;
