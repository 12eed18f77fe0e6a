//! Starting cargo from inside `cargo xtask` without the outer cargo's traces: variables that the outer
//! run sets for this program would make build scripts run again, or lead a second toolchain astray.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// Cargo settings of the user that hold for any toolchain: where things are kept and how to reach them.
const SETTINGS_FOR_ANY_TOOLCHAIN: &[&str] = &[
    "CARGO_HOME",
    "CARGO_NET_",
    "CARGO_HTTP_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUST_BACKTRACE",
];

/// The folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the xtask crate is a folder of the workspace")
}

/// The cargo that started this program, in the workspace folder, with a clean environment.
pub fn command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    remove_variables(&mut command, is_of_outer_run);
    command
}

/// Another toolchain's cargo and rustc, in the workspace folder. Nothing of the outer toolchain is
/// left in the environment, and the folder of the other one comes first on PATH.
pub fn command_of(cargo: &Path, rustc: &Path) -> Outcome<Command> {
    let mut command = Command::new(cargo);
    command.current_dir(root());
    remove_variables(&mut command, is_of_outer_toolchain);
    command
        .env("RUSTC", rustc)
        .env("PATH", path_with_first(cargo.parent().unwrap_or(Path::new("/usr/bin")))?);
    Ok(command)
}

/// `target/release/NAME`, in whichever target folder this program itself was built.
pub fn release_binary(name: &str) -> Outcome<PathBuf> {
    let this = env::current_exe().map_err(|error| format!("cannot find the running program: {error}"))?;
    let target = this.parent().and_then(Path::parent);
    let target =
        target.ok_or("run this as `cargo xtask`: the target folder is found from the program's place")?;
    Ok(target.join("release").join(name))
}

/// Cargo's home folder, where sources of dependencies are unpacked.
pub fn home() -> Option<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) => Some(home.into()),
        None => env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")),
    }
}

fn remove_variables(command: &mut Command, leaks: fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if leaks(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
}

fn is_of_outer_run(name: &str) -> bool {
    let exact = ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_MANIFEST_LINKS", "CARGO_CRATE_NAME"];
    let more = ["CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
    exact.contains(&name)
        || more.contains(&name)
        || name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_BIN_")
}

fn is_of_outer_toolchain(name: &str) -> bool {
    let for_any = SETTINGS_FOR_ANY_TOOLCHAIN.iter().any(|prefix| name.starts_with(prefix));
    let of_rust = name.starts_with("CARGO") || name.starts_with("RUST");
    (of_rust && !for_any) || is_of_outer_run(name) || name == "LD_LIBRARY_PATH"
}

fn path_with_first(folder: &Path) -> Outcome<OsString> {
    let others = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(folder.to_path_buf()).chain(env::split_paths(&others));
    env::join_paths(folders).map_err(|error| format!("cannot put {} on PATH: {error}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_toolchain_keeps_the_settings_and_loses_the_traces() {
        let dropped =
            ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];
        let kept =
            ["CARGO_HOME", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "PATH", "LD_LIBRARY_PATH"];
        assert!(dropped.iter().all(|name| is_of_outer_run(name)));
        assert!(!kept.iter().any(|name| is_of_outer_run(name)));
    }

    #[test]
    fn another_toolchain_gets_nothing_of_the_outer_one() {
        let dropped = [
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "RUST_RECURSION_COUNT",
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "CARGO_PKG_NAME",
            "LD_LIBRARY_PATH",
        ];
        let kept =
            ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_MINE_INDEX", "RUST_BACKTRACE", "HOME"];
        assert!(dropped.iter().all(|name| is_of_outer_toolchain(name)));
        assert!(!kept.iter().any(|name| is_of_outer_toolchain(name)));
    }
}
