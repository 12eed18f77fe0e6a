//! `cargo xtask demo`: build everything, then become `streampulse up` on made-up traffic that a bot
//! attacks after a minute, so that an alert opens while one watches.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::{build_and_setup, cargo, mongod, step};

/// The folder of the demo's data, below the workspace.
const DATA: &str = ".streampulse/demo";
/// The made-up traffic, which makes room for a file of real lines.
const TRAFFIC: &[(&str, &str)] = &[("--rate", "20"), ("--incident", "bot@+1m/1m*4")];
/// A limit that the traffic passes only during the attack.
const LIMIT: (&str, &str) = ("--limit-per-minute", "1500");

/// Where its live page is.
const PAGE: (&str, &str) = ("--serve", "127.0.0.1:8480");

/// Ends only with an error: when all is well, this process becomes the pipeline, so a signal reaches
/// it once and its exit code is the demo's. Paths that were typed are relative to where it was typed.
pub fn run(words: &[String]) -> Outcome<ExitCode> {
    let typed = words.strip_prefix(&["--".to_owned()]).unwrap_or(words);
    let mongod = build_and_setup()?;
    let program = cargo::release_binary("streampulse")?;
    let flags = flags_with(&cargo::root().join(DATA).to_string_lossy(), typed);
    step::note(&format!("streampulse up {}   (Ctrl-C ends it)", flags.join(" ")));
    let mut command = Command::new(&program);
    command.arg("up").args(&flags).env(mongod::VARIABLE, &mongod.path);
    Err(format!("cannot start {}: {}", program.display(), command.exec()))
}

/// The demo's flags without those that were typed, then the typed ones.
fn flags_with(data: &str, typed: &[String]) -> Vec<String> {
    let is_typed = |flag: &str| typed.iter().any(|word| word.split('=').next() == Some(flag));
    let traffic = if is_typed("--file") { &[][..] } else { TRAFFIC };
    let all = [("--data-dir", data), LIMIT, PAGE].into_iter().chain(traffic.iter().copied());
    all.filter(|(flag, _)| !is_typed(flag))
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .chain(typed.iter().cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, expected: &str) {
        let typed: Vec<String> = typed.split_whitespace().map(str::to_owned).collect();
        assert_eq!(flags_with("D", &typed).join(" "), expected);
    }

    #[test]
    fn a_typed_flag_replaces_the_demos() {
        let all =
            "--data-dir D --limit-per-minute 1500 --serve 127.0.0.1:8480 --rate 20 --incident bot@+1m/1m*4";
        check("", all);
        check("--seed 7", &format!("{all} --seed 7"));
        check(
            "--rate=50 --incident drop@+2m",
            "--data-dir D --limit-per-minute 1500 --serve 127.0.0.1:8480 --rate=50 --incident drop@+2m",
        );
        check("--data-dir E --file F --serve", "--limit-per-minute 1500 --data-dir E --file F --serve");
    }
}
