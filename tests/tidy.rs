//! House rules that a machine can check. Each check makes sure that it looked at something.

use std::path::{Path, PathBuf};

/// Most lines of a file.
const LINES_MAX: usize = 500;
/// Most characters of a line; messages and texts of tests may be longer.
const COLUMNS_MAX: usize = 110;

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                collect(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    collect(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    assert!(files.len() > 50, "the sources have moved");
    files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).expect("UTF-8"))).collect()
}

#[test]
fn files_open_with_what_they_are_and_stay_short() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
        assert!(text.lines().count() <= LINES_MAX, "{} is too long", path.display());
        let unfinished =
            ["TO", "FIX"].map(|word| format!("{word}{}", if word == "TO" { "DO" } else { "ME" }));
        assert!(!unfinished.iter().any(|word| text.contains(word)), "{} is unfinished", path.display());
        let is_test = path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let long = code.lines().find(|line| line.chars().count() > COLUMNS_MAX && !line.contains('"'));
        assert!(is_test || long.is_none(), "{}: {}", path.display(), long.unwrap_or_default());
    }
}

#[test]
fn the_domain_touches_nothing() {
    let domain: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| path.components().any(|p| p.as_os_str() == "domain"))
        .collect();
    let code: Vec<_> = domain.iter().filter(|(path, _)| !path.ends_with("build.rs")).collect();
    assert!(code.len() > 10, "the domain has moved");
    let banned = [
        "std::fs",
        "std::net",
        "SystemTime",
        "Instant::now",
        "Utc::now",
        "std::thread",
        "rand::",
        "tokio",
        "tracing",
    ];
    for (path, text) in code {
        for word in banned {
            assert!(!text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn only_the_batch_abi_and_one_call_of_the_allocator_are_unsafe() {
    let mut seen = 0;
    for (path, text) in sources() {
        let is_unsafe = |line: &&str| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains(concat!("un", "safe {"))
                || code.contains(concat!("un", "safe extern"))
                || code.contains(concat!("un", "safe fn"))
        };
        let unsafe_lines: Vec<&str> = text.lines().filter(is_unsafe).map(str::trim).collect();
        let is_abi = path.components().any(|part| part.as_os_str() == "batch-abi");
        let is_call = path.ends_with("sink/src/memory.rs")
            && unsafe_lines == [concat!("un", "safe { libc::mallopt(libc::M_ARENA_MAX, arenas) };")];
        assert!(is_abi || is_call || unsafe_lines.is_empty(), "{}", path.display());
        seen += usize::from(is_abi && !unsafe_lines.is_empty());
    }
    assert!(seen > 0, "the batch ABI has moved");
}
