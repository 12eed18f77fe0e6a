//! `connector`: one job as a Fluvio connector; the same as the program `mongodb-sink`.

use std::process::ExitCode;

use anyhow::Result;
use sink::connector;

use crate::args::ConnectorArgs;

/// Runs the command.
pub(super) async fn run(args: ConnectorArgs) -> Result<ExitCode> {
    let (secrets, metrics) = (args.secrets.as_deref(), args.monitor.metrics);
    connector::run(&args.config, secrets, metrics, connector::asked_to_stop()).await?;
    Ok(ExitCode::SUCCESS)
}
