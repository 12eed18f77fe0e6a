//! The log of a program: lines on standard error, as much of it as `RUST_LOG` says.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Where `RUST_LOG` says nothing.
const OURS: &str = "warn,streampulse=info,sink=info,producer=info,runtime=info";
/// Fluvio's client tells of each connection at level info. cdk sets `RUST_LOG=info`, so that has to name it.
const CLIENT: &str = "fluvio=warn";

/// Starts the log; to be called once. `RUST_LOG` holds `tracing` directives; those that are not valid are
/// ignored, which the log says.
pub fn start() {
    let said = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let ours = if said.trim().is_empty() { OURS } else { &said };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(format!("{CLIENT},{ours}")))
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}
