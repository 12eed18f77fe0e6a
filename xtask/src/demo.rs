//! `cargo xtask demo`: build everything, then become `streampulse up` on made-up traffic with one
//! incident in every four minutes, so that there is something to see.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::{build_and_setup, cargo, mongod, step};

/// The flags of `up` that a person may replace, each by giving it.
const FLAGS: &[(&str, &str)] = &[
    ("--data-dir", ".streampulse/demo"),
    ("--rate", "20"),
    ("--limit-per-minute", "1500"),
    ("--incident", "bot@+1m/1m*4"),
];

/// Ends only with an error: when all is well, this process becomes the pipeline, so a signal reaches
/// it once and its exit code is the demo's.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    let typed = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    let mongod = build_and_setup()?;
    let program = cargo::release_binary("streampulse")?;
    let flags = flags_with(typed);
    step::note(&format!("streampulse up {}   (Ctrl-C ends it)", flags.join(" ")));
    let mut command = Command::new(&program);
    command.current_dir(cargo::root()).arg("up").args(&flags).env(mongod::VARIABLE, &mongod.path);
    Err(format!("cannot start {}: {}", program.display(), command.exec()))
}

fn flags_with(typed: &[String]) -> Vec<String> {
    let is_typed = |flag: &str| typed.iter().any(|word| word.split('=').next() == Some(flag));
    let kept = FLAGS.iter().filter(|(flag, _)| !is_typed(flag));
    kept.flat_map(|(flag, value)| [flag.to_string(), value.to_string()])
        .chain(typed.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expected: &str) {
        let typed: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
        assert_eq!(flags_with(&typed).join(" "), expected);
    }

    #[test]
    fn a_typed_flag_replaces_the_demos() {
        let all = "--data-dir .streampulse/demo --rate 20 --limit-per-minute 1500 --incident bot@+1m/1m*4";
        check("", all);
        check("--seed 7", &format!("{all} --seed 7"));
        check(
            "--rate=50 --incident drop@+2m",
            "--data-dir .streampulse/demo --limit-per-minute 1500 --rate=50 --incident drop@+2m",
        );
    }
}
