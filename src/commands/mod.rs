//! One file a command.

mod alerts;
mod connector;
mod deliver;
mod deploy;
mod detect;
mod doctor;
mod live;
mod mongodb;
mod mongosh;
mod produce;
mod report;
mod serve;
mod shards;
mod silences;
mod status;
mod summary;
mod up;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{AlertsCommand, Command, MongodbCommand};

/// Exit code of a finding.
pub const EXIT_FINDING: u8 = 1;
/// Exit code of an error.
pub const EXIT_ERROR: u8 = 2;

/// Runs a command.
///
/// # Errors
/// Whatever ends the command.
pub async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(*args).await,
        Command::Produce(args) => produce::run(*args).await,
        Command::Deploy(args) => deploy::run(args).await,
        Command::Connector(args) => connector::run(args).await,
        Command::Mongodb(MongodbCommand::Init(args)) => mongodb::init(args).await,
        Command::Mongodb(MongodbCommand::Shards(args)) => shards::run(args).await,
        Command::Report(args) => report::run(args).await,
        Command::Serve(args) => serve::run(args).await,
        Command::Detect(args) => detect::run(args).await,
        Command::Alerts(args) => match args.command {
            None => alerts::run(args).await,
            Some(AlertsCommand::Silence(args)) => silences::silence(args).await,
            Some(AlertsCommand::Silences(args)) => silences::list(args).await,
            Some(AlertsCommand::Unsilence(args)) => silences::unsilence(args).await,
            Some(AlertsCommand::Retry(args)) => silences::retry(args).await,
        },
        Command::Deliver(args) => deliver::run(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
    }
}
