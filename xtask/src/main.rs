//! `cargo xtask`: from a fresh clone to a running demo or a finished test run, with nothing else to
//! install by hand. Fetches only what is missing, says what it does on stderr while it does it, and
//! ends with 0 (done), 1 (tests failed) or 2 (an error, with what to do about it).

mod apt;
mod audit;
mod bench;
mod cargo;
mod chaos;
mod demo;
mod fuzz;
mod mongod;
mod pictures;
mod pip;
mod step;
mod suite;
mod verification;
mod wasm;

use std::env;
use std::process::ExitCode;

use mongod::Mongod;

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  demo [-- FLAGS]            build everything and run `streampulse up` on made-up traffic; FLAGS are
                             flags of `up` and replace the demo's own
  test [--cluster] [FILTER]  build everything and run all tests, or those whose name contains a FILTER;
                             --cluster runs the whole cluster suite instead (about 25 minutes) and
                             writes docs/VERIFICATION.md
  build                      build the WASM modules and target/release/streampulse
  bench [NAME]               list the benchmarks, or run one
  chaos [--rounds N --seed S]
                             run the pipeline under load while its parts, those of a replica set and, where
                             Fluvio is installed, those of a cluster are killed, stopped, starved and cut
                             off, and count afterwards (10 rounds)
  fuzz [TARGET] [--seconds N]
                             list what is fuzzed, or fuzz it for 60 or N seconds
  audit                      check licences and sources of all crates with cargo-deny, and tell of known
                             vulnerabilities; what cannot be checked here is said and passes
  pictures                   take the README's pictures anew (with a headless Chromium)
  setup                      fetch what is missing: a compiler for wasm32 and a MongoDB server
  help                       show this text

Environment:
  STREAMPULSE_MONGOD         the mongod to use, instead of the one on PATH or a fetched one
  STREAMPULSE_WASM_ROUTE     `rustup` or `debian`: how to compile the WASM modules
  XDG_CACHE_HOME             where fetched programs are kept, default ~/.cache
";

/// An error is the text a person reads: lower case, with what to do where something can be done.
type Outcome<T> = Result<T, String>;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match dispatch(&words) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(words: &[String]) -> Outcome<ExitCode> {
    let (command, rest) = match words.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", words),
    };
    match command {
        "demo" => demo::run(rest),
        "test" => suite::run(rest),
        "bench" => bench::run(rest),
        "chaos" => chaos::run(rest),
        "fuzz" => fuzz::run(rest),
        "build" => {
            expect_no_arguments(command, rest)?;
            build()?;
            Ok(ExitCode::SUCCESS)
        }
        "audit" => {
            expect_no_arguments(command, rest)?;
            audit::run()
        }
        "pictures" => {
            expect_no_arguments(command, rest)?;
            pictures::run()
        }
        "setup" => {
            expect_no_arguments(command, rest)?;
            setup()?;
            Ok(ExitCode::SUCCESS)
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        other => Err(format!("unknown command `{other}`; `cargo xtask help` lists the commands")),
    }
}

/// Fetches what is missing, then builds the modules and the binary that embeds them.
fn build_and_setup() -> Outcome<Mongod> {
    let (toolchain, mongod) = setup()?;
    build_with(&toolchain)?;
    Ok(mongod)
}

/// The same without the binary, which tests and benchmarks build with features of what only they need.
fn build_modules_and_setup() -> Outcome<Mongod> {
    let (toolchain, mongod) = setup()?;
    wasm::build(&toolchain)?;
    Ok(mongod)
}

fn setup() -> Outcome<(wasm::Toolchain, Mongod)> {
    Ok((wasm::ensure_toolchain()?, mongod::ensure()?))
}

fn build() -> Outcome<()> {
    build_with(&wasm::ensure_toolchain()?)
}

fn build_with(toolchain: &wasm::Toolchain) -> Outcome<()> {
    wasm::build(toolchain)?;
    step::timed("building streampulse in release mode (the first time about 10 minutes on 2 cores)", || {
        step::run(cargo::command().args(["build", "--release", "--bin", "streampulse"]))
    })
}

fn expect_no_arguments(command: &str, rest: &[String]) -> Outcome<()> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(format!("`cargo xtask {command}` takes no arguments, found `{extra}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        dispatch(&words).expect_err("these words must be refused before anything runs")
    }

    #[test]
    fn what_was_typed_wrong_is_named() {
        assert!(error_of(&["tset"]).contains("unknown command `tset`"));
        assert!(error_of(&["build", "--fast"]).contains("found `--fast`"));
        assert!(error_of(&["bench", "a", "b"]).contains("one benchmark"));
        assert!(error_of(&["chaos", "--rounds"]).contains("takes a number"));
    }
}
