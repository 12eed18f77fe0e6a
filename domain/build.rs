//! Hashes the sources of this crate and of the SmartModules, so that native code and SmartModules built from
//! different sources recognise each other's frames as foreign (`domain::CODE_HASH`).

use std::{env, fs, path::Path, path::PathBuf};

const FOLDERS: [&str; 5] = [
    "src",
    "../smartmodules/batch-abi/src",
    "../smartmodules/access-filter-map/src",
    "../smartmodules/access-window-aggregate/src",
    "../smartmodules/access-anomaly/src",
];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files);
        println!("cargo::rerun-if-changed={folder}");
    }
    files.sort();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for file in files {
        for byte in fs::read(&file).expect("a source file listed a moment ago is readable") {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    println!("cargo::rustc-env=DOMAIN_CODE_HASH={hash}");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the source folder is readable") {
        let path = entry.expect("a folder entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}
