//! `cargo xtask test`: everything that can be tested on this machine, with one plain closing line that sums
//! up all test programs. What was left out is said loudly and counted as skipped. With `--cluster` it runs
//! the whole cluster suite instead, and writes down what it ran.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::Outcome;
use crate::mongod::Mongod;
use crate::{build_modules_and_setup, cargo, chaos, mongod, step, verification};

/// Tells tests and benchmarks which `fluvio` to use; the cluster suite runs when it is set.
pub const FLUVIO_VARIABLE: &str = "STREAMPULSE_FLUVIO";
/// Tells the tests to run the long part of the cluster suite too.
const WHOLE_VARIABLE: &str = "STREAMPULSE_CLUSTER_WHOLE";
const SKIPPED: &str = "SKIPPED: the cluster suite (no fluvio found; install Fluvio so that `fluvio` is on PATH or in \
                       ~/.fluvio/bin, see docs/fluvio.md)";
const SKIPPED_LONG: &str =
    "SKIPPED: the long part of the cluster suite (`cargo xtask test --cluster` runs it, about 20 minutes)";
/// The test that needs a mongos.
const MONGOS_TEST: &str = "through_a_mongos";
const SKIPPED_MONGOS: &str = "SKIPPED: the pipeline through a mongos (put `mongos` on PATH); what it would do is tested on \
                              real shards without one";

/// Tells the tests which Chromium to use.
const CHROMIUM_VARIABLE: &str = "STREAMPULSE_CHROMIUM";
/// The tests that need one.
const BROWSER_TESTS: &str = "browser::";
const SKIPPED_BROWSER: &str = "SKIPPED: page and report in a browser (put `chromium` on PATH)";

/// Results of all test programs together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Lines that a record of the run keeps: tests with their results, and what they measured.
    record: Vec<String>,
}

/// Ends with 0 when nothing failed, 1 when a test failed or a test program broke off.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    let (cluster, filters): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| *word == "--cluster");
    let fluvio = find_fluvio();
    if !cluster.is_empty() && fluvio.is_none() {
        return Err("--cluster needs the Fluvio CLI: put `fluvio` on PATH or into ~/.fluvio/bin".to_owned());
    }
    let mongod = build_modules_and_setup()?;
    let mut tally = Tally::default();
    if let (false, Some(fluvio)) = (cluster.is_empty(), &fluvio) {
        return run_cluster(fluvio, &mongod, &filters, tally);
    }
    let chromium = step::find_on_path("chromium");
    let has_mongos = step::find_on_path("mongos").is_some();
    step::timed("testing the workspace (the first time some minutes of compiling)", || {
        let mut command = cargo::command();
        command.args(["test", "--release", "--workspace", "--no-fail-fast", "--"]).args(&filters);
        command.args(["--skip", chaos::TESTS]);
        if !has_mongos {
            command.args(["--skip", MONGOS_TEST]);
        }
        match &chromium {
            Some(chromium) => command.env(CHROMIUM_VARIABLE, chromium),
            None => command.args(["--skip", BROWSER_TESTS]),
        };
        command.env(mongod::VARIABLE, &mongod.path);
        if let Some(fluvio) = &fluvio {
            command.env(FLUVIO_VARIABLE, fluvio);
        }
        tally.add_run(command, &mut io::stdout())
    })?;
    let modules = cargo::root().join("smartmodules");
    if has_tests(&modules) {
        step::timed("testing the SmartModules natively", || {
            let mut command = cargo::command();
            command.args(["test", "--release", "--workspace", "--no-fail-fast"]);
            command.arg("--manifest-path").arg(modules.join("Cargo.toml"));
            command.arg("--target-dir").arg(modules.join("target")).arg("--").args(&filters);
            tally.add_run(command, &mut io::stdout())
        })?;
    }
    if filters.is_empty() || filters.iter().any(|filter| filter.contains("chaos")) {
        step::timed("chaos, alone, since it takes the processors (`cargo xtask chaos` does more)", || {
            tally.add_run(chaos::short(&mongod), &mut io::stdout())
        })?;
    }
    tally.skipped += 1;
    eprintln!("\n{}\n", if fluvio.is_none() { SKIPPED } else { SKIPPED_LONG });
    if !has_mongos {
        tally.skipped += 1;
        eprintln!("{SKIPPED_MONGOS}\n");
    }
    if chromium.is_none() {
        tally.skipped += 1;
        eprintln!("{SKIPPED_BROWSER}\n");
    }
    println!("{tally}");
    Ok(tally.exit_code())
}

/// The whole cluster suite, one test after the other, and its record.
fn run_cluster(fluvio: &Path, mongod: &Mongod, filters: &[&String], mut tally: Tally) -> Outcome<ExitCode> {
    step::timed("the whole cluster suite (about 25 minutes on 2 cores)", || {
        let mut command = cargo::command();
        command.args([
            "test",
            "--release",
            "--test",
            "main",
            "--",
            "--nocapture",
            "--test-threads=1",
            "cluster",
        ]);
        command.args(filters);
        command.env(mongod::VARIABLE, &mongod.path).env(FLUVIO_VARIABLE, fluvio).env(WHOLE_VARIABLE, "1");
        tally.add_run(command, &mut io::stdout())
    })?;
    if filters.is_empty() {
        verification::write(fluvio, &mongod.path, &tally.record, &tally.to_string())?;
    }
    println!("{tally}");
    Ok(tally.exit_code())
}

impl Tally {
    fn exit_code(&self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }

    /// Runs `cargo test`, copies its output to `shown` as it comes and adds up the results in it.
    fn add_run(&mut self, mut command: Command, shown: &mut impl Write) -> Outcome<()> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("cannot start cargo test: {error}"))?;
        let mut reader = BufReader::new(child.stdout.take().expect("stdout was asked for as a pipe"));
        let mut line = vec![];
        let failed_before = self.failed;
        while reader
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("cannot read test output: {error}"))?
            > 0
        {
            shown.write_all(&line).map_err(|error| format!("cannot show test output: {error}"))?;
            self.add_line(String::from_utf8_lossy(&line).trim_end());
            line.clear();
        }
        let status = child.wait().map_err(|error| format!("cannot wait for cargo test: {error}"))?;
        if !status.success() && self.failed == failed_before {
            // Nothing compiled, or a test program died before it could tell its results.
            eprintln!("cargo test ended with {status} and no failed test: counted as one failure");
            self.failed += 1;
        }
        Ok(())
    }

    /// Adds `test result: ok. 5 passed; 0 failed; 1 ignored; ...`; other lines count nothing.
    fn add_line(&mut self, line: &str) {
        if line.starts_with("test cluster") || line.contains("verified: ") || matches!(line, "ok" | "FAILED")
        {
            self.record.push(line.trim_end().to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed;" => self.passed += count,
                "failed;" => self.failed += count,
                "ignored;" => self.skipped += count,
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

pub fn find_fluvio() -> Option<PathBuf> {
    let installed = env::var_os("HOME").map(|home| Path::new(&home).join(".fluvio/bin/fluvio"));
    step::find_on_path("fluvio").or_else(|| installed.filter(|file| step::is_executable(file)))
}

/// Whether any Rust file below the folder has a test, `target` left out.
fn has_tests(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return path.file_name().is_some_and(|name| name != "target") && has_tests(&path);
        }
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        is_rust && fs::read_to_string(&path).is_ok_and(|text| text.contains("#[test]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &str) {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.add_line(line));
        assert_eq!(tally.to_string(), expected);
    }

    #[test]
    fn result_lines_are_summed_and_others_ignored() {
        check(&[], "0 passed, 0 failed, 0 skipped");
        check(
            &[
                "running 6 tests",
                "test wire::golden ... ok",
                "test cluster::contract ... ok",
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out\n",
                "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n",
                "    a test printed: test result: ok. 9 passed; 9 failed; 9 ignored",
            ],
            "7 passed, 1 failed, 1 skipped",
        );
    }

    #[test]
    fn a_run_without_results_is_a_failure() {
        let mut tally = Tally::default();
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 3 passed; 0 failed; 0 ignored;'; exit 101"]);
        let mut shown = vec![];
        tally.add_run(command, &mut shown).unwrap();
        assert_eq!(shown, b"test result: ok. 3 passed; 0 failed; 0 ignored;\n");
        assert_eq!(tally, Tally { passed: 3, failed: 1, ..Tally::default() });
    }

    #[test]
    fn these_sources_have_tests() {
        assert!(has_tests(&cargo::root().join("xtask")));
        assert!(!has_tests(&cargo::root().join("no-such-folder")));
    }
}
