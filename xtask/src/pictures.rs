//! `cargo xtask pictures`: the pictures of the README, taken by a headless Chromium: the report of a week of
//! made-up traffic, and the live page with a day of it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use crate::Outcome;
use crate::{apt, build_and_setup, cargo, mongod, step};

/// A week with a bot attack, the same each time.
const WEEK: &str = "--start 2026-10-26T00:00:00Z --events 604800 --rate 1 --seed 7 --limit-per-minute 150 \
                    --incident bot@+5d20h/25m*5 --until-drained";
/// What the report is asked for.
const REPORT: &str = "--from 2026-10-26T00:00:00Z --to 2026-11-02T00:00:00Z --format html";
/// A day that ends soon after now, with a bot attack in its last hour.
const DAY: &str = "--rate 6 --seed 7 --limit-per-minute 1000 --until-drained --for 45s";
const DAY_S: u64 = 24 * 60 * 60;
const ATTACK_AGO_S: u64 = 40 * 60;
/// The pictures, and columns and rows of each.
const REPORT_PICTURE: (&str, &str) = ("docs/report.png", "1000,1160");
const PAGE_PICTURE: (&str, &str) = ("docs/page.png", "1000,1040");

/// Writes docs/report.png and docs/page.png.
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
    let streampulse = |command: &str, data: &str, flags: &str| {
        let mut process = Command::new(&program);
        process.arg(command).args(flags.split_whitespace()).current_dir(&folder);
        process.args(["--data-dir", data]).env(mongod::VARIABLE, &mongod.path).env("RUST_LOG", "warn");
        process
    };
    step::timed("a week of traffic", || step::run(&mut streampulse("up", "week", WEEK)))?;
    let report = step::output_of(&mut streampulse("report", "week", REPORT)).ok_or("there is no report")?;
    let file = folder.join("report.html");
    fs::write(&file, report).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    photograph(&folder, &format!("file://{}", file.display()), REPORT_PICTURE)?;

    let day = format!("{DAY} --start {} --incident bot@{}/6m*4", ago(DAY_S)?, ago(ATTACK_AGO_S)?);
    step::timed("a day of traffic", || step::run(&mut streampulse("up", "day", &day)))?;
    let mut serve = streampulse("serve", "day", "--listen 127.0.0.1:0");
    let page = serve.stdout(Stdio::piped()).spawn();
    let mut page = page.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let mut address = String::new();
    let told = page.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut address));
    let taken = match told {
        Some(Ok(length)) if length > 0 => photograph(&folder, address.trim(), PAGE_PICTURE),
        _ => Err("the page does not say where it is".to_owned()),
    };
    step::run(Command::new("kill").args(["-INT", &page.id().to_string()]))?;
    page.wait().map_err(|error| format!("the page does not end: {error}"))?;
    taken.map(|()| ExitCode::SUCCESS)
}

/// The instant so many seconds ago, RFC 3339.
fn ago(seconds: u64) -> Outcome<String> {
    let mut date = Command::new("date");
    date.args(["-u", "-d", &format!("{seconds} seconds ago"), "+%FT%TZ"]);
    let told = step::output_of(&mut date).ok_or("`date` does not tell the time")?;
    Ok(told.trim().to_owned())
}

fn photograph(folder: &Path, address: &str, (picture, size): (&str, &str)) -> Outcome<()> {
    step::timed(&format!("taking {picture}"), || {
        let mut browser = Command::new("chromium");
        browser.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]);
        browser.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        browser.arg(format!("--window-size={size}"));
        browser.arg(format!("--user-data-dir={}", folder.join("browser").display()));
        browser.arg(format!("--screenshot={}", cargo::root().join(picture).display())).arg(address);
        step::run(&mut browser)
    })
}
