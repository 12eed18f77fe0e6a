//! The `streampulse` command: parses what was typed and hands it over.

use std::process::ExitCode;

use clap::Parser;
use streampulse::args::Cli;
use streampulse::commands;

fn main() -> ExitCode {
    let cli = Cli::parse();
    sink::memory::limit_arenas();
    sink::logging::start(cli.log_format);
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

/// Whoever read our output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind)
    };
    error.chain().any(|cause| kind(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
