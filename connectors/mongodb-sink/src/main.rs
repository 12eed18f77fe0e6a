//! The program `mongodb-sink`: one job of streampulse as a connector that Fluvio's tools deploy.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use sink::connector;

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
}

fn main() -> ExitCode {
    let Cli { config, secrets } = Cli::parse();
    sink::memory::limit_arenas();
    sink::logging::start();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(EXIT_ERROR);
        }
    };
    let done = runtime.block_on(connector::run(&config, secrets.as_deref(), connector::asked_to_stop()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(EXIT_ERROR)
        }
    }
}
