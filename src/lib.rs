//! The library behind the `streampulse` command: what its commands do, callable from tests.
//!
//! - [`args`] what was typed, [`config`] what the pipeline file says, [`plan`] what both mean
//! - [`commands`] one file a command; [`report`] the answers
//! - [`page`] the live page
//! - [`queries`] the questions as aggregations; [`grafana`] dashboards and alert rules made of them
//! - [`mongodb`] reaching MongoDB, or starting one

pub mod args;
pub mod commands;
pub mod config;
pub mod grafana;
pub mod modules;
pub mod mongod;
pub mod mongodb;
pub mod page;
pub mod plan;
pub mod queries;
pub mod report;
