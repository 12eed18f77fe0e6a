//! Compiling the SmartModules to WASM, by the first route that is open: the wasm32 target of the
//! rustup toolchain, or Debian's own Rust, which builds the standard library from its source package.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::{apt, cargo, step};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "release-lto";
const ROUTE_VARIABLE: &str = "STREAMPULSE_WASM_ROUTE";

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_STD_SOURCE: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_LINKER_PACKAGE: &str = "lld";

/// A compiler for wasm32 that is installed and complete.
pub enum Toolchain {
    /// The toolchain that built this program has the target.
    Rustup,
    /// Debian's compiler, which brings no linker for WASM.
    Debian { linker: PathBuf },
}

/// What to do for a compiler, in the order in which it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    UseRustup,
    AddRustupTarget,
    UseDebian,
    InstallDebian,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    Rustup,
    Debian,
}

/// What the machine has.
#[derive(Clone, Copy)]
struct Found {
    rustup_target: bool,
    rustup: bool,
    debian: bool,
}

/// Finds a compiler for wasm32, installing one only when there is none.
pub fn ensure_toolchain() -> Outcome<Toolchain> {
    let forced = parse_route(env::var(ROUTE_VARIABLE).ok().as_deref())?;
    let found = Found {
        rustup_target: rustup_has_target(),
        rustup: step::find_on_path("rustup").is_some(),
        debian: debian_is_ready(),
    };
    let mut closed = vec![];
    for attempt in attempts(forced, found) {
        match try_out(attempt) {
            Ok(toolchain) => {
                step::note(&format!("the WASM modules are compiled by {}", toolchain.name()));
                return Ok(toolchain);
            }
            Err(message) => closed.push(message),
        }
    }
    if closed.is_empty() {
        closed.push(format!("{ROUTE_VARIABLE}=rustup, but there is no rustup here; unset it"));
    }
    Err(format!("no compiler for wasm32: {}", closed.join("; ")))
}

/// Builds the nested workspace `smartmodules`. Costs a second when nothing changed.
pub fn build(toolchain: &Toolchain) -> Outcome<()> {
    step::timed("building the WASM modules (the first time 1 to 5 minutes)", || {
        step::run(&mut build_command(toolchain)?)?;
        describe_modules()
    })
}

impl Toolchain {
    fn name(&self) -> String {
        match self {
            Toolchain::Rustup => format!("the Rust toolchain with its target {TARGET}"),
            Toolchain::Debian { linker } => {
                format!("Debian's Rust, standard library included, linked by {}", linker.display())
            }
        }
    }
}

fn attempts(forced: Option<Route>, found: Found) -> Vec<Attempt> {
    let rustup = match found {
        Found { rustup_target: true, .. } => vec![Attempt::UseRustup],
        Found { rustup: true, .. } => vec![Attempt::AddRustupTarget],
        _ => vec![],
    };
    let debian = if found.debian { vec![Attempt::UseDebian] } else { vec![Attempt::InstallDebian] };
    match forced {
        Some(Route::Rustup) => rustup,
        Some(Route::Debian) => debian,
        None if found.rustup_target => rustup,
        // A machine that went this way before must not ask the network again at every start.
        None if found.debian => debian,
        None => [rustup, debian].concat(),
    }
}

fn try_out(attempt: Attempt) -> Outcome<Toolchain> {
    match attempt {
        Attempt::UseRustup => Ok(Toolchain::Rustup),
        Attempt::AddRustupTarget => {
            step::timed(&format!("adding the target {TARGET} to the Rust toolchain (seconds)"), || {
                step::run(Command::new("rustup").current_dir(cargo::root()).args(["target", "add", TARGET]))
            })?;
            if rustup_has_target() {
                return Ok(Toolchain::Rustup);
            }
            Err(format!("rustup added {TARGET}, but `rustc` is not rustup's; put ~/.cargo/bin first on PATH"))
        }
        Attempt::UseDebian => debian(),
        Attempt::InstallDebian => {
            apt::install(DEBIAN_PACKAGES, "a compiler for wasm32")?;
            if debian_is_ready() {
                return debian();
            }
            Err(format!(
                "{DEBIAN_RUSTC} is older than {} or lacks its source; run `rustup target add {TARGET}`",
                env!("CARGO_PKG_RUST_VERSION")
            ))
        }
    }
}

fn debian() -> Outcome<Toolchain> {
    if let Some(linker) = find_linker() {
        return Ok(Toolchain::Debian { linker });
    }
    apt::install(&[DEBIAN_LINKER_PACKAGE], "a linker for WASM")?;
    let linker = find_linker().ok_or("the package lld is installed, but wasm-ld is not on PATH")?;
    Ok(Toolchain::Debian { linker })
}

/// The linker that rustup brings with every toolchain, or LLVM's.
fn find_linker() -> Option<PathBuf> {
    let of_rustup =
        step::output_of(Command::new("rustc").current_dir(cargo::root()).args(["--print", "target-libdir"]))
            .and_then(|folder| Some(Path::new(folder.trim()).parent()?.join("bin/rust-lld")));
    of_rustup.filter(|file| step::is_executable(file)).or_else(|| step::find_on_path("wasm-ld"))
}

fn rustup_has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(cargo::root()).args(["--print", "target-libdir", "--target", TARGET]);
    let Some(folder) = step::output_of(&mut rustc) else {
        return false;
    };
    let Ok(files) = fs::read_dir(folder.trim()) else {
        return false;
    };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

fn debian_is_ready() -> bool {
    let version = step::output_of(Command::new(DEBIAN_RUSTC).arg("--version"));
    let recent = version.is_some_and(|text| is_recent(&text, env!("CARGO_PKG_RUST_VERSION")));
    recent && step::is_executable(Path::new(DEBIAN_CARGO)) && Path::new(DEBIAN_STD_SOURCE).exists()
}

/// Whether `rustc 1.96.0 (...)` is at least `1.88`.
fn is_recent(version_line: &str, minimum: &str) -> bool {
    let numbers = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    match (version_line.split(' ').nth(1).and_then(numbers), numbers(minimum)) {
        (Some(found), Some(needed)) => found >= needed,
        _ => false,
    }
}

fn parse_route(value: Option<&str>) -> Outcome<Option<Route>> {
    match value {
        None | Some("") => Ok(None),
        Some("rustup") => Ok(Some(Route::Rustup)),
        Some("debian") => Ok(Some(Route::Debian)),
        Some(other) => Err(format!("{ROUTE_VARIABLE} must be `rustup` or `debian`, found `{other}`")),
    }
}

fn build_command(toolchain: &Toolchain) -> Outcome<Command> {
    let mut command = match toolchain {
        Toolchain::Rustup => cargo::command(),
        Toolchain::Debian { linker } => {
            let mut command = cargo::command_of(Path::new(DEBIAN_CARGO), Path::new(DEBIAN_RUSTC))?;
            // Debian has no compiled standard library for wasm32; a stable cargo builds one only so.
            command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
            command
        }
    };
    let workspace = cargo::root().join("smartmodules");
    command.arg("build").args(["--profile", PROFILE, "--target", TARGET]);
    command.arg("--manifest-path").arg(workspace.join("Cargo.toml"));
    command.arg("--target-dir").arg(workspace.join("target"));
    if let Toolchain::Debian { .. } = toolchain {
        command.arg("-Zbuild-std=std,panic_abort");
    }
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", compiler_flags().join("\u{1f}"));
    Ok(command)
}

/// Undefined symbols are what the host provides (`copy_records`). Panic messages carry paths, and the
/// name of somebody's home folder has no place in a module that is shipped.
fn compiler_flags() -> Vec<String> {
    let mut flags = vec!["-C".to_owned(), "link-arg=--allow-undefined".to_owned()];
    let root = format!("--remap-path-prefix={}/=", cargo::root().display());
    let home = cargo::home().map(|home| format!("--remap-path-prefix={}=/cargo", home.display()));
    flags.extend([root].into_iter().chain(home));
    flags
}

fn describe_modules() -> Outcome<()> {
    let folder = cargo::root().join("smartmodules/target").join(TARGET).join(PROFILE);
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    modules.sort();
    if modules.is_empty() {
        return Err(format!("the build left no .wasm file in {}", folder.display()));
    }
    for module in modules {
        let bytes = module.metadata().map_or(0, |metadata| metadata.len());
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        eprintln!("    {name}: {} KiB", bytes.div_ceil(1024));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Attempt::*;

    fn found(rustup_target: bool, rustup: bool, debian: bool) -> Found {
        Found { rustup_target, rustup, debian }
    }

    #[test]
    fn what_is_there_is_used_before_anything_is_fetched() {
        assert_eq!(attempts(None, found(true, true, true)), [UseRustup]);
        assert_eq!(attempts(None, found(false, true, true)), [UseDebian]);
        assert_eq!(attempts(None, found(false, true, false)), [AddRustupTarget, InstallDebian]);
        assert_eq!(attempts(None, found(false, false, false)), [InstallDebian]);
        assert_eq!(attempts(None, found(true, false, false)), [UseRustup]);
    }

    #[test]
    fn a_forced_route_is_the_only_one_tried() {
        assert_eq!(attempts(Some(Route::Rustup), found(false, true, true)), [AddRustupTarget]);
        assert_eq!(attempts(Some(Route::Rustup), found(false, false, true)), []);
        assert_eq!(attempts(Some(Route::Debian), found(true, true, true)), [UseDebian]);
        assert_eq!(attempts(Some(Route::Debian), found(true, true, false)), [InstallDebian]);
    }

    #[test]
    fn the_route_variable_takes_two_words() {
        assert_eq!(parse_route(None), Ok(None));
        assert_eq!(parse_route(Some("")), Ok(None));
        assert_eq!(parse_route(Some("rustup")), Ok(Some(Route::Rustup)));
        assert_eq!(parse_route(Some("debian")), Ok(Some(Route::Debian)));
        assert!(parse_route(Some("nix")).unwrap_err().contains("found `nix`"));
    }

    #[test]
    fn a_compiler_must_be_recent_enough() {
        assert!(is_recent("rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)", "1.88"));
        assert!(is_recent("rustc 1.88.0", "1.88"));
        assert!(is_recent("rustc 2.0.0", "1.88"));
        assert!(!is_recent("rustc 1.85.0 (4d91de4e4 2025-02-17)", "1.88"));
        assert!(!is_recent("something else", "1.88"));
    }
}
