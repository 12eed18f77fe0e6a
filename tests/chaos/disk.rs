//! A small file system that can be filled, where this machine lets us mount one.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::processes::remember_mount;

const BALLAST: &str = "ballast";

/// A mounted file system.
pub struct Disk {
    path: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", &self.path.to_string_lossy()]);
    }
}

impl Disk {
    /// Mounts `mib` mebibytes at a folder, which is created; `None` where that is not allowed.
    pub fn mount(path: &Path, mib: u64) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a folder");
        let size = format!("size={mib}m");
        let mounted =
            run("mount", &["-t", "tmpfs", "-o", &size, "streampulse-chaos", &path.to_string_lossy()]);
        mounted.then(|| {
            remember_mount(path);
            Self { path: path.to_owned() }
        })
    }

    /// Writes until there is no room.
    pub fn fill(&self) {
        let mut file = File::create(self.path.join(BALLAST)).expect("a file");
        for size in [1 << 20, 4 << 10] {
            let block = vec![0; size];
            while file.write_all(&block).is_ok() {}
        }
    }

    /// Makes room again.
    pub fn empty(&self) {
        match std::fs::remove_file(self.path.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => {}
        }
    }
}

fn run(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
