//! `cargo xtask chaos`: rounds of faults under load, each drawn from a seed; and the short run of it that
//! belongs to the tests.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::mongod::Mongod;
use crate::suite::{FLUVIO_VARIABLE, find_fluvio};
use crate::{apt, build_modules_and_setup, cargo, mongod, step};

/// The test that does it, which is left out of the run of all tests: it takes the processors from the others.
pub const TESTS: &str = "chaos::no_fault";
/// Rounds where nobody says how many.
const ROUNDS_DEFAULT: u64 = 10;
/// Rounds of the short run: one on each of what the pipeline can run on.
const ROUNDS_SHORT: u64 = 3;
const SKIPPED: &str = "SKIPPED: chaos on a Fluvio cluster (no fluvio found; install Fluvio so that `fluvio` is on PATH or \
                       in ~/.fluvio/bin, see docs/fluvio.md); all rounds strike the embedded runtime";
/// Where Debian has libfaketime.
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Ends with 0 when no round had a violation, 1 when one had.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    let (rounds, seed) = flags(words)?;
    let mongod = build_modules_and_setup()?;
    let what = format!("{rounds} rounds of chaos (about a minute each)");
    let ended =
        step::timed(&what, || step::run_for_result(tests(&mongod, rounds, seed).env("RUST_BACKTRACE", "0")));
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The short run.
pub fn short(mongod: &Mongod) -> Command {
    tests(mongod, ROUNDS_SHORT, 1)
}

fn tests(mongod: &Mongod, rounds: u64, seed: u64) -> Command {
    let mut command = cargo::command();
    if !Path::new(FAKETIME).is_file()
        && let Err(message) = apt::install(&["libfaketime"], "clocks that jump")
    {
        step::note(&format!("clocks will not jump: {message}"));
    } else {
        command.env("STREAMPULSE_FAKETIME", FAKETIME);
    }
    // Of the workspace, as all other tests are: nothing is compiled again.
    command.args(["test", "--release", "--workspace", "--test", "main"]);
    command.args(["--", "--nocapture", "--test-threads=1", TESTS]);
    command.env(mongod::VARIABLE, &mongod.path);
    command.env("STREAMPULSE_CHAOS_ROUNDS", rounds.to_string());
    command.env("STREAMPULSE_CHAOS_SEED", seed.to_string());
    match find_fluvio() {
        Some(fluvio) => drop(command.env(FLUVIO_VARIABLE, fluvio)),
        None => eprintln!("\n{SKIPPED}\n"),
    }
    command
}

fn flags(words: &[String]) -> Outcome<(u64, u64)> {
    let (mut rounds, mut seed) = (ROUNDS_DEFAULT, 1);
    for pair in words.chunks(2) {
        let number = match pair {
            [flag, number] => {
                number.parse().map_err(|_| format!("`{flag}` takes a number, not `{number}`"))?
            }
            _ => return Err(format!("`{}` takes a number", pair[0])),
        };
        match pair[0].as_str() {
            "--rounds" if number > 0 => rounds = number,
            "--seed" => seed = number,
            other => {
                return Err(format!(
                    "`cargo xtask chaos` takes --rounds N (1 or more) and --seed S, not `{other}`"
                ));
            }
        }
    }
    Ok((rounds, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Outcome<(u64, u64)> {
        flags(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_have_defaults_and_are_numbers() {
        assert_eq!(of(""), Ok((ROUNDS_DEFAULT, 1)));
        assert_eq!(of("--seed 7 --rounds 100"), Ok((100, 7)));
        for wrong in ["--rounds", "--rounds x", "--rounds 0", "--speed 3"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
