//! What was typed about alerts: listing them, delivering them, and silences.

use clap::{Args, Subcommand};

use super::{Format, MonitorArgs, StoreArgs, duration};

pub(super) const ALERTS_HELP: &str = "\
Examples:
  streampulse alerts --follow                                            alerts as they open and close
  streampulse alerts --dead                                              what no receiver has taken
  streampulse alerts retry --receiver ops                                try that again
  streampulse alerts silence --for 2h --country BR --reason \"moving\"    do not tell of them for a while";

pub(super) const DELIVER_HELP: &str = "\
For pipelines that run as connectors; `up` delivers by itself. Of several processes that could deliver one
does, and another takes over when it dies.";

/// `alerts`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AlertsArgs {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<AlertsCommand>,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Go on and print alerts as they open and close
    #[arg(long)]
    pub follow: bool,
    /// List what could not be delivered and was given up instead
    #[arg(long, conflicts_with = "follow")]
    pub dead: bool,
    /// Format; json is one document a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// What `alerts` can do beside listing them.
#[derive(Debug, Subcommand)]
pub enum AlertsCommand {
    /// Do not tell of some alerts for a while
    Silence(SilenceArgs),
    /// List the silences in force
    Silences(SilencesArgs),
    /// End a silence
    Unsilence(UnsilenceArgs),
    /// Let what was given up be tried again
    Retry(RetryArgs),
}

/// `alerts silence`.
#[derive(Args, Debug)]
pub struct SilenceArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// For how long, e.g. 2h
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub for_time: std::time::Duration,
    /// Only alerts of this kind, e.g. limit
    #[arg(long, value_name = "KIND")]
    pub kind: Option<String>,
    /// Only alerts about this country (ISO 3166-1 alpha-2)
    #[arg(long, value_name = "CC")]
    pub country: Option<String>,
    /// Only alerts about this device
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Only alerts about this content type
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Why, for those who come after
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// `alerts silences`.
#[derive(Args, Debug)]
pub struct SilencesArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Format; json is one document a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// `alerts unsilence`.
#[derive(Args, Debug)]
pub struct UnsilenceArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// The id that `alerts silences` shows
    #[arg(value_name = "ID")]
    pub id: String,
}

/// `alerts retry`.
#[derive(Args, Debug)]
pub struct RetryArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only what this receiver did not take
    #[arg(long, value_name = "NAME")]
    pub receiver: Option<String>,
}

/// `deliver`.
#[derive(Args, Debug)]
pub struct DeliverArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub monitor: MonitorArgs,
}
