//! `docs/VERIFICATION.md`: what the whole cluster suite ran, on what, and with which results.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::{cargo, step};

/// Writes the record of a run. `lines` are those of its output that tell a test's result or a measurement.
pub fn write(fluvio: &Path, mongod: &Path, lines: &[String], summary: &str) -> Outcome<()> {
    let file = cargo::root().join("docs/VERIFICATION.md");
    fs::write(&file, text(&versions(fluvio, mongod), lines, summary))
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    step::note("docs/VERIFICATION.md tells what was run");
    Ok(())
}

fn versions(fluvio: &Path, mongod: &Path) -> Vec<(&'static str, String)> {
    let tell = |program: &Path, args: &[&str]| {
        let output = step::output_of(Command::new(program).args(args).current_dir(cargo::root()));
        output.unwrap_or_else(|| "unknown".to_owned())
    };
    let first = |text: String| text.lines().next().unwrap_or("unknown").trim().to_owned();
    let versions = tell(fluvio, &["version"]);
    let of = |name: &str| {
        let line = versions.lines().find(|line| line.trim().starts_with(name)).unwrap_or_default();
        line.split(':').next_back().unwrap_or("unknown").trim().to_owned()
    };
    let changed = tell(Path::new("git"), &["status", "--porcelain"]);
    let mark = if changed.trim().is_empty() { "" } else { ", with changes" };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or("unknown").trim();
    vec![
        ("date", first(tell(Path::new("date"), &["-u", "+%Y-%m-%d %H:%M UTC"]))),
        ("commit", first(tell(Path::new("git"), &["rev-parse", "--short", "HEAD"])) + mark),
        ("Fluvio", format!("{}, commit {}", of("Fluvio CLI  "), of("Git Commit"))),
        ("MongoDB", first(tell(mongod, &["--version"]))),
        ("Rust", first(tell(Path::new("rustc"), &["--version"]))),
        ("machine", format!("{cores} cores, {memory} of memory")),
    ]
}

fn text(versions: &[(&str, String)], lines: &[String], summary: &str) -> String {
    let mut text = String::from(
        "# What was verified on a Fluvio cluster\n\n\
         Written by `cargo xtask test --cluster`; do not edit. Each test starts a cluster of its own from\n\
         the Fluvio that is installed (its SC and SPUs are killed in some of them), and all use one MongoDB\n\
         of the suite's own.\n\n",
    );
    for (name, version) in versions {
        text.push_str(&format!("- {name}: {version}\n"));
    }
    text.push_str("\n| test | result |\n|---|---|\n");
    let mut measured = Vec::new();
    let mut running = None;
    for line in lines {
        // What a test prints stands between its name and its result.
        if let Some((before, told)) = line.split_once("verified: ") {
            running = before
                .strip_prefix("test ")
                .map(|name| name.trim_end_matches(" ... ").to_owned())
                .or(running);
            measured.push(told.to_owned());
        } else if let Some((name, result)) =
            line.strip_prefix("test ").and_then(|line| line.split_once(" ... "))
        {
            match result {
                "ok" | "FAILED" => text.push_str(&row(name, result)),
                _ => running = Some(name.to_owned()),
            }
        } else if let (Some(name), "ok" | "FAILED") = (running.take(), line.as_str()) {
            text.push_str(&row(&name, line));
        }
    }
    text.push_str(&format!("\n{summary}\n"));
    if !measured.is_empty() {
        text.push_str("\nMeasured on the way:\n\n");
        measured.iter().for_each(|told| text.push_str(&format!("- {told}\n")));
    }
    text
}

fn row(name: &str, result: &str) -> String {
    let name = name.rsplit("::").next().unwrap_or(name).replace('_', " ");
    format!("| {name} | {result} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_a_table() {
        let lines = [
            "test cluster::the_contract_holds ... ok",
            "test cluster_whole::many ... verified: 3 lines",
            "verified: 4 lines",
            "ok",
            "test cluster::last ... FAILED",
        ];
        let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let text = text(&[("Fluvio", "1".to_owned())], &lines, "2 passed, 1 failed, 0 skipped");
        let expected = "- Fluvio: 1\n\n| test | result |\n|---|---|\n| the contract holds | ok |\n| many | ok |\n\
                        | last | FAILED |\n\n2 passed, 1 failed, 0 skipped\n\nMeasured on the way:\n\n\
                        - 3 lines\n- 4 lines\n";
        assert!(text.ends_with(expected), "{text}");
    }
}
