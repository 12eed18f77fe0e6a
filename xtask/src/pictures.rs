//! `cargo xtask pictures`: the pictures of the README, taken by a headless Chromium of what the commands
//! make of a week of made-up traffic.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::Outcome;
use crate::{apt, build_and_setup, cargo, mongod, step};

/// A week with a bot attack, the same each time.
const TRAFFIC: &str = "--start 2026-10-26T00:00:00Z --events 604800 --rate 1 --seed 7 --limit-per-minute 150 \
                       --incident bot@+5d20h/25m*5 --until-drained";
/// What the report is asked for.
const REPORT: &str = "--from 2026-10-26T00:00:00Z --to 2026-11-02T00:00:00Z --format html";
/// Columns and rows of the picture.
const SIZE: &str = "--window-size=1000,1160";

/// Writes docs/report.png.
pub fn run() -> Outcome<ExitCode> {
    let mongod = build_and_setup()?;
    if step::find_on_path("chromium").is_none() {
        apt::install(&["chromium"], "a browser is needed")?;
    }
    let folder = cargo::root().join("target/pictures");
    // From an earlier run.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let program = cargo::release_binary("streampulse")?;
    let streampulse = |command: &str, flags: &str| {
        let mut process = Command::new(&program);
        process.arg(command).args(flags.split_whitespace()).current_dir(&folder);
        process.args(["--data-dir", "data"]).env(mongod::VARIABLE, &mongod.path).env("RUST_LOG", "warn");
        process
    };
    step::timed("a week of traffic", || step::run(&mut streampulse("up", TRAFFIC)))?;
    let page = step::output_of(&mut streampulse("report", REPORT)).ok_or("there is no report")?;
    let file = folder.join("report.html");
    fs::write(&file, page).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let picture = cargo::root().join("docs/report.png");
    step::timed("taking docs/report.png", || photograph(&folder, &file, &picture))?;
    Ok(ExitCode::SUCCESS)
}

fn photograph(folder: &Path, page: &Path, picture: &Path) -> Outcome<()> {
    let mut browser = Command::new("chromium");
    browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync", SIZE]);
    browser.arg(format!("--user-data-dir={}", folder.join("browser").display()));
    browser.arg(format!("--screenshot={}", picture.display())).arg(format!("file://{}", page.display()));
    step::run(&mut browser)
}
