//! `cargo xtask fuzz`: lists what is fuzzed, or hands one target inputs that reach ever more of its code
//! (libFuzzer, on the stable compiler). What reaches code that nothing reached before joins the kept inputs
//! in `fuzz/corpus`, and so does an input that finds a fault; tests replay them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::{Outcome, cargo, step};

/// How long a target runs where nothing is said, in seconds.
const SECONDS: u32 = 60;
/// Longest input, in bytes: those of a state are the longest.
const INPUT_BYTES_MAX: u32 = 16 << 10;
/// Longest time for one input, and most memory.
const INPUT_SECONDS_MAX: u32 = 20;
const MEMORY_MB_MAX: u32 = 2_048;
/// Most inputs that are kept of a target, beside those that found a fault, and most bytes of them.
const KEPT_MAX: usize = 300;
const KEPT_BYTES_MAX: u64 = 160 << 10;
/// How files begin that libFuzzer writes of an input with a fault.
const FAULTS: [&str; 3] = ["crash-", "oom-", "timeout-"];
/// Counters of what is reached, as `cargo fuzz` has them; its sanitizers need a nightly compiler.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Without a target the list goes to stdout. A fault is exit code 1.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    let (targets, (target, seconds)) = (targets(), asked(words)?);
    if targets.is_empty() {
        return Err("there is nothing to fuzz: fuzz/src/bin has no .rs file".to_owned());
    }
    let Some(target) = target else {
        targets.keys().for_each(|name| println!("{name}"));
        return Ok(ExitCode::SUCCESS);
    };
    let Some(source) = targets.get(target) else {
        let names: Vec<&str> = targets.keys().map(String::as_str).collect();
        return Err(format!("no fuzz target `{target}`; there are: {}", names.join(", ")));
    };
    let program = build(target, source)?;
    let kept = folder(&format!("corpus/{target}"))?;
    let found = folder(&format!("target/found/{target}"))?;
    let limits = [
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MB_MAX}"),
        format!("-artifact_prefix={}/", kept.display()),
    ];
    let fuzzed = step::timed(&format!("fuzzing {target} for {seconds} s"), || {
        let mut command = Command::new(&program);
        command.args(&limits).arg(format!("-max_total_time={seconds}")).args([&found, &kept]);
        step::run(&mut command)
    });
    if let Err(error) = fuzzed {
        eprintln!("{error}\na fault: its input is in {}, and is kept", kept.display());
        return Ok(ExitCode::from(1));
    }
    let merged = folder(&format!("target/merged/{target}"))?;
    remove_files(&merged, |_| true)?;
    step::timed("keeping the fewest inputs that reach as much", || {
        let mut command = Command::new(&program);
        step::run(command.args(&limits).arg("-set_cover_merge=1").args([&merged, &kept, &found]))
    })?;
    keep(&merged, &kept)?;
    Ok(ExitCode::SUCCESS)
}

/// The target and the seconds that were typed.
fn asked(words: &[String]) -> Outcome<(Option<&str>, u32)> {
    let (mut target, mut seconds) = (None, SECONDS);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let number = words.next().and_then(|number| number.parse().ok()).filter(|number| *number > 0);
                seconds = number.ok_or("--seconds takes a number from 1 on")?;
            }
            name if !name.starts_with('-') && target.is_none() => target = Some(name),
            other => {
                return Err(format!("`cargo xtask fuzz` takes a target and --seconds N, found `{other}`"));
            }
        }
    }
    Ok((target, seconds))
}

/// Names of the targets, and where their programs are.
fn targets() -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(cargo::root().join("fuzz/src/bin")) else { return BTreeMap::new() };
    let files = entries.flatten().map(|entry| entry.path());
    let sources = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    sources.filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path))).collect()
}

/// Compiles a target with counters of coverage; gives its program.
fn build(target: &str, source: &Path) -> Outcome<PathBuf> {
    let version = step::output_of(Command::new("rustc").arg("-vV"));
    let host = version.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")));
    let host = host.ok_or("cannot ask rustc which machine this is")?;
    let is_of_texts = fs::read_to_string(source).is_ok_and(|source| source.contains("fuzz::texts::"));
    let how_long = if is_of_texts { "20 minutes" } else { "3 minutes" };
    step::timed(&format!("building {target} with counters (the first time about {how_long})"), || {
        let mut command = cargo::command();
        // With a named machine build scripts and macros are compiled without counters.
        command.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml"]);
        command.args(["--target-dir", "fuzz/target", "--target", host, "--bin", target]);
        if is_of_texts {
            command.args(["--features", "texts"]);
        }
        step::run(command.env("RUSTFLAGS", RUSTFLAGS).env_remove("CARGO_ENCODED_RUSTFLAGS"))
    })?;
    Ok(cargo::root().join("fuzz/target").join(host).join("release").join(target))
}

/// Puts the smallest of what was merged in the place of what was kept, but for inputs with a fault.
fn keep(merged: &Path, kept: &Path) -> Outcome<()> {
    let mut inputs = Vec::new();
    for path in files(merged)? {
        let bytes = path.metadata().map_err(|error| format!("cannot look at {path:?}: {error}"))?.len();
        inputs.push((bytes, path));
    }
    inputs.sort();
    remove_files(kept, |name| !FAULTS.iter().any(|fault| name.starts_with(fault)))?;
    let (mut count, mut bytes_sum) = (0, 0);
    for (bytes, path) in inputs {
        bytes_sum += bytes;
        if count == KEPT_MAX || bytes_sum > KEPT_BYTES_MAX {
            break;
        }
        count += 1;
        let to = kept.join(path.file_name().unwrap_or_default());
        fs::copy(&path, &to).map_err(|error| format!("cannot write {to:?}: {error}"))?;
    }
    step::note(&format!("{count} inputs are kept in {}", kept.display()));
    Ok(())
}

fn folder(name: &str) -> Outcome<PathBuf> {
    let path = cargo::root().join("fuzz").join(name);
    fs::create_dir_all(&path).map_err(|error| format!("cannot make {path:?}: {error}"))?;
    Ok(path)
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("cannot read {folder:?}: {error}"))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect())
}

fn remove_files(folder: &Path, is_old: impl Fn(&str) -> bool) -> Outcome<()> {
    for path in files(folder)? {
        if is_old(&path.file_name().unwrap_or_default().to_string_lossy()) {
            fs::remove_file(&path).map_err(|error| format!("cannot remove {path:?}: {error}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(asked(&words("line --seconds 5")), Ok((Some("line"), 5)));
        assert_eq!(asked(&[]), Ok((None, SECONDS)));
        for wrong in ["line frame", "--seconds", "--seconds 0", "--fast"] {
            assert!(asked(&words(wrong)).is_err(), "{wrong}");
        }
        assert!(
            run(&words("lime")).is_err_and(|error| error.starts_with("no fuzz target `lime`; there are: "))
        );
    }

    #[test]
    fn the_smallest_inputs_are_kept_and_all_with_a_fault() {
        let dir = std::env::temp_dir().join(format!("streampulse-keep-{}", std::process::id()));
        let (merged, kept) = (dir.join("merged"), dir.join("kept"));
        [&merged, &kept].iter().for_each(|path| fs::create_dir_all(path).expect("a folder"));
        let write = |path: PathBuf, bytes: u64| fs::write(path, vec![7; bytes as usize]).expect("a file");
        write(kept.join("crash-1"), 9);
        write(kept.join("old"), 9);
        write(merged.join("large"), KEPT_BYTES_MAX);
        (0..KEPT_MAX).for_each(|n| write(merged.join(n.to_string()), 1));
        keep(&merged, &kept).expect("kept");
        let names: Vec<String> =
            files(&kept).expect("files").iter().map(|path| path.display().to_string()).collect();
        fs::remove_dir_all(&dir).expect("removed");
        assert_eq!(names.len(), KEPT_MAX + 1);
        assert!(names.iter().any(|name| name.ends_with("/crash-1")));
        assert!(!names.iter().any(|name| name.ends_with("/old") || name.ends_with("/large")));
    }
}
