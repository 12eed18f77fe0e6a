//! Running other programs with visible progress: one line before a long step, its time after it, and
//! everything the program says on stderr, so that stdout stays free for results.

use std::env;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Outcome;

/// Says what is about to be done (and about how long it takes), does it, and says how long it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    eprintln!("==> {what}");
    let started = Instant::now();
    let result = work();
    let word = if result.is_ok() { "done" } else { "failed" };
    eprintln!("    {word} after {:.1} s", started.elapsed().as_secs_f64());
    result
}

/// A line about something that is already there or was decided without work.
pub fn note(text: &str) {
    eprintln!("==> {text}");
}

/// Runs a program to its end with its stdout sent to stderr. Not starting and not succeeding are errors.
pub fn run(command: &mut Command) -> Outcome<()> {
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let stderr = stderr.map_err(|error| format!("cannot share stderr with a program: {error}"))?;
    run_for_result(command.stdout(stderr))
}

/// Like [`run`], with the program's stdout left as it is: its result is what was asked for.
pub fn run_for_result(command: &mut Command) -> Outcome<()> {
    let status = command.stdin(Stdio::null()).status();
    let status = status.map_err(|error| format!("cannot start `{}`: {error}", line_of(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", line_of(command))) }
}

/// What a program prints on stdout, if it starts and succeeds; its stderr is dropped.
pub fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first executable file of this name on PATH.
pub fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

pub fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The command as a person would type it, for messages.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_named_with_its_arguments() {
        let error = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error, "`sh -c exit 3` ended with exit status: 3");
    }

    #[test]
    fn a_missing_program_is_an_error_and_has_no_output() {
        assert!(run(&mut Command::new("no-such-program-here")).unwrap_err().starts_with("cannot start"));
        assert_eq!(output_of(&mut Command::new("no-such-program-here")), None);
        assert_eq!(find_on_path("no-such-program-here"), None);
    }

    #[test]
    fn output_counts_only_when_the_program_succeeded() {
        assert_eq!(output_of(Command::new("sh").args(["-c", "echo ok"])).as_deref(), Some("ok\n"));
        assert_eq!(output_of(Command::new("sh").args(["-c", "echo no; exit 1"])), None);
        assert!(find_on_path("sh").is_some());
    }
}
