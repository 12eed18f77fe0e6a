//! The program `mongodb-sink`: one job of streampulse as a connector that Fluvio's tools deploy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sink::{connector, logging};

/// Exit code of an error.
const EXIT_ERROR: u8 = 2;

/// Writes streampulse's events, rollups or alerts from a Fluvio topic to MongoDB, each line exactly once.
///
/// Which of the three jobs, and everything else, stands in the configuration: see the sample-config-*.yaml
/// beside the sources. RUST_LOG says how much is logged; SIGTERM and Ctrl-C end it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    /// The connector's configuration (YAML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Secrets, one KEY=VALUE a line [default: the environment]
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// Tell of the process over HTTP at this address: /metrics for Prometheus, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", env = "STREAMPULSE_METRICS")]
    metrics: Option<SocketAddr>,
    /// How to write the log: text, or json, one document a line
    #[arg(long, value_name = "FORMAT", env = "STREAMPULSE_LOG_FORMAT", default_value = "text")]
    log_format: logging::Format,
}

fn main() -> ExitCode {
    let Cli { config, secrets, metrics, log_format } = Cli::parse();
    sink::memory::limit_arenas();
    logging::start(log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(EXIT_ERROR);
        }
    };
    let stop = connector::asked_to_stop();
    let done = runtime.block_on(connector::run(&config, secrets.as_deref(), metrics, stop));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::fail(&error);
            ExitCode::from(EXIT_ERROR)
        }
    }
}
