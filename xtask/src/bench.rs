//! `cargo xtask bench`: lists the benchmarks of the root package, or runs one of them against the same
//! modules and the same server that the tests use.

use std::fs;
use std::process::ExitCode;

use crate::Outcome;
use crate::{build_modules_and_setup, cargo, mongod, step, suite};

/// Without a name the list goes to stdout; an unknown name, or no benchmark at all, is an error.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    if words.len() > 1 {
        return Err("one benchmark at a time; `cargo xtask bench` lists them".to_owned());
    }
    let names = names();
    if names.is_empty() {
        return Err("there are no benchmarks yet: benches/ has no .rs file".to_owned());
    }
    let Some(name) = words.first() else {
        names.iter().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    };
    if !names.contains(name) {
        return Err(format!("no benchmark `{name}`; there are: {}", names.join(", ")));
    }
    let mongod = build_modules_and_setup()?;
    step::timed(&format!("running the benchmark {name}"), || {
        let mut command = cargo::command();
        command
            .args(["bench", "--package", "streampulse", "--bench", name])
            .env(mongod::VARIABLE, &mongod.path);
        if let Some(fluvio) = suite::find_fluvio() {
            command.env(suite::FLUVIO_VARIABLE, fluvio);
        }
        step::run_for_result(&mut command)
    })?;
    Ok(ExitCode::SUCCESS)
}

fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(cargo::root().join("benches")) else {
        return vec![];
    };
    let files = entries.flatten().map(|entry| entry.path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<String> =
        sources.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    names
}
