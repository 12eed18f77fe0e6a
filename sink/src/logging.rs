//! The log of a program: lines on standard error, for people or one JSON document each, as much of it as
//! `RUST_LOG` says.

use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::OnceLock;

use mongodb::bson::DateTime;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::secret::without_credentials;

/// Where `RUST_LOG` says nothing.
const OURS: &str = "warn,streampulse=info,sink=info,producer=info,runtime=info";
/// Fluvio's client tells of each connection at level info. cdk sets `RUST_LOG=info`, so that has to name it.
const CLIENT: &str = "fluvio=warn";

static FORMAT: OnceLock<Format> = OnceLock::new();

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: `timestamp`, `level`, `target`, `message`, and the fields.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be text or json".to_owned()),
        }
    }
}

/// Starts the log; to be called once. `RUST_LOG` holds `tracing` directives; those that are not valid are
/// ignored, which the log says.
pub fn start(format: Format) {
    let said = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let ours = if said.trim().is_empty() { OURS } else { &said };
    let log = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse_lossy(format!("{CLIENT},{ours}")))
        .with_writer(std::io::stderr);
    match FORMAT.get_or_init(|| format) {
        Format::Text => log.with_target(false).with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => {
            log.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    }
}

/// Whether somebody looks at standard error, so that a line may be written over.
pub fn is_watched() -> bool {
    std::io::stderr().is_terminal() && FORMAT.get() != Some(&Format::Json)
}

/// Says why the program ends, whatever `RUST_LOG` says, without a password that the error repeats.
pub fn fail(error: &anyhow::Error) {
    let message = without_credentials(&format!("{error:#}"));
    match FORMAT.get() {
        Some(Format::Json) => {
            let timestamp = DateTime::now().try_to_rfc3339_string().unwrap_or_default();
            let line = json!({ "timestamp": timestamp, "level": "ERROR", "message": message, "target": "streampulse" });
            eprintln!("{line}");
        }
        _ => eprintln!("error: {message}"),
    }
}
