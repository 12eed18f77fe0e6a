//! The `streampulse` command: parses what was typed and hands it over.

use std::process::ExitCode;

use clap::Parser;
use sink::secret::{has_password, without_credentials};
use streampulse::args::Cli;
use streampulse::commands;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| refuse(error));
    sink::memory::limit_arenas();
    sink::logging::start(cli.log_format);
    if std::env::args_os().any(|word| has_password(&word.to_string_lossy())) {
        tracing::warn!(
            "everybody on this machine can read a password in a command line: set STREAMPULSE_MONGODB_URI, or \
             mongodb.uri of a pipeline file that only you can read"
        );
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(commands::EXIT_ERROR);
        }
    };
    let done = runtime.block_on(commands::run(cli.command));
    // Threads that still read or wait must not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            sink::logging::fail(&error);
            ExitCode::from(commands::EXIT_ERROR)
        }
    }
}

/// What was typed is not understood, or asks for help. An error quotes it, and a URI may be in it.
fn refuse(error: clap::Error) -> ! {
    let text = error.to_string();
    if !error.use_stderr() || without_credentials(&text) == text {
        error.exit();
    }
    eprint!("{}", without_credentials(&text));
    std::process::exit(error.exit_code());
}

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
