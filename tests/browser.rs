//! Page and report in a real browser: wide and narrow, light and dark, empty and full; by keyboard; and while
//! lines come in.

pub mod devtools;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use self::devtools::Browser;
use crate::sample::Sample;
use crate::serve::{Running, serve};
use crate::support::{database_name, learn_nothing, mongodb_uri, run, streampulse};

const WIDTHS: [u32; 2] = [1280, 390];
const HOUR_MS: i64 = 3_600_000;
/// How far contents may jump, as cumulative layout shift; below 0.1 is called good.
const SHIFT_MAX: f64 = 0.01;
/// Lines of the burst.
const BURST: usize = 640;
/// The texts whose colour is too near to that of their ground (WCAG 2.1, 1.4.3: 4.5 to 1).
const FAINT: &str = r"(() => {
    const numbers = (color) => color.match(/[\d.]+/g).map(Number);
    const linear = (part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const luminance = (color) => {
        const [r, g, b] = numbers(color).map((part) => linear(color.startsWith('rgb') ? part / 255 : part));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const color = getComputedStyle(at).backgroundColor;
            if (numbers(color)[3] !== 0) return color;
        }
        return getComputedStyle(document.documentElement).colorScheme.includes('dark') ? 'rgb(0,0,0)' : 'rgb(255,255,255)';
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const faint = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || element.closest('svg, script') || !element.offsetParent) continue;
        const lights = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => b - a);
        if ((lights[0] + 0.05) / (lights[1] + 0.05) < 4.5) faint.push(walker.currentNode.data);
    }
    return faint;
})()";

/// A day of accesses that ended an hour ago, and a minute of them above the limit.
fn day(now_ms: i64) -> Sample {
    let mut sample = Sample::default();
    for i in 0..20_000_i64 {
        let ts_ms = now_ms - 20 * HOUR_MS + i * 3_300;
        sample.push(&format!("u{}", i % 701), ts_ms, (i % 5) as usize, (i % 4) as usize, (i % 3) as usize);
    }
    let minute_ms = now_ms - now_ms % 60_000 - 5 * HOUR_MS;
    (0..400).for_each(|i| sample.push("bot", minute_ms + i * 100, 0, 1, 0));
    sample.push_bad("not_json", "none");
    sample
}

/// Opens an address at each width, light and dark, and looks for what should not be.
fn look_at(browser: &mut Browser, what: &str, url: &str) {
    for width in WIDTHS {
        for dark in [false, true] {
            let what = format!("{what}, {width} wide{}", if dark { ", dark" } else { "" });
            browser.open(url, width, dark);
            assert_eq!(
                browser.value("document.documentElement.scrollWidth <= innerWidth"),
                true,
                "{what}: too wide"
            );
            assert_eq!(browser.value(FAINT), serde_json::json!([]), "{what}: faint");
            // What comes after the page must not move it.
            browser.value("new Promise((resolve) => setTimeout(resolve, 300))");
            let shift = browser.value("window.shift").as_f64().expect("a number");
            assert!(shift < SHIFT_MAX, "{what}: it jumps by {shift}");
            assert!(browser.errors().is_empty(), "{what}: {:?}", browser.errors());
            let paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime";
            eprintln!("{what}: first paint after {:.0} ms", browser.value(paint).as_f64().expect("a time"));
        }
    }
}

/// Writes the report of the last day into a file, and gives its address.
fn report(dir: &Path, name: &str, now_ms: i64, place: &str) -> String {
    let instant = |ms: i64| chrono::DateTime::from_timestamp_millis(ms).expect("a time").format("%FT%TZ");
    let (from, to) = (instant(now_ms - 24 * HOUR_MS), instant(now_ms));
    let report = run(streampulse(dir, &format!("report --format html --from {from} --to {to} {place}")), 0);
    let file = dir.join(name);
    std::fs::write(&file, report.stdout).expect("a file");
    format!("file://{}", file.display())
}

#[test]
fn page_and_report_are_sound_and_say_what_came_in() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("browser"), mongodb_uri());
    run(streampulse(dir.path(), &format!("mongodb init {place}")), 0);
    let now_ms = chrono::Utc::now().timestamp_millis();
    let (_page, address) = serve(dir.path(), &place);
    let page = format!("http://{address}/");
    look_at(&mut browser, "the empty page", &page);
    look_at(&mut browser, "the empty report", &report(dir.path(), "empty.html", now_ms, &place));

    let sample = day(now_ms);
    std::fs::write(dir.path().join("log"), sample.file()).expect("a file");
    learn_nothing(dir.path());
    let up = "up --file log --until-drained --data-dir data --limit-per-minute 300";
    run(streampulse(dir.path(), &format!("{up} {place}")), 0);
    let report = report(dir.path(), "full.html", now_ms, &place);
    // One look-up serves all who look for some seconds; the page that is open then renews itself.
    browser.open(&page, 1280, false);
    browser.until(
        "[...document.querySelectorAll('table')].some((table) => table.rows[0].cells[0].innerText === 'device')",
    );
    for (what, url) in [("the page", page), ("the report", report)] {
        look_at(&mut browser, what, &url);
        let mut devices = BTreeMap::<&str, i64>::new();
        sample.cells.iter().for_each(|((.., device, _), n)| *devices.entry(device).or_default() += n);
        let shown = browser.value(
            "[...document.querySelectorAll('table')].find((table) => table.rows[0].cells[0].innerText === 'device')
                .innerText.replaceAll(',', '')",
        );
        let shown = shown.as_str().expect("a text").to_lowercase();
        for (device, n) in devices {
            assert!(shown.contains(&format!("{device}\t{n}\t")), "{what}: {device} {n} in {shown}");
        }
        let text = browser.value("document.body.innerText.replaceAll(',', '')");
        let text = text.as_str().expect("a text");
        let busiest = sample.minutes()[0].0;
        assert!(text.contains(&format!("{} accesses in 1440 minutes", sample.accepted)), "{what}: {text}");
        assert!(
            text.contains(&format!("with {busiest} accesses"))
                && text.contains("critical") == (busiest >= 600)
        );
        assert!(text.contains("1 alert in 1 incident"), "{what}: {text}");
    }
}

#[test]
fn a_burst_shows_in_the_page_that_is_open() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("burst"), mongodb_uri());
    let log = dir.path().join("log");
    std::fs::write(&log, "").expect("a file");
    let up = "up --file log --data-dir data --limit-per-minute 100";
    let mut up = streampulse(dir.path(), &format!("{up} {place}"));
    let _up = Running(up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let (page, address) = serve(dir.path(), &place);
    browser.open(&format!("http://{address}/"), 1280, false);
    browser.until("document.querySelector('#pipeline table') !== null");
    browser
        .value("window.kept = document.querySelector('#hour svg'); document.querySelector('nav a').focus()");
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut sample = Sample::default();
    (0..BURST).for_each(|i| sample.push(&format!("u{i}"), now_ms, i % 5, i % 4, i % 4));
    std::fs::write(&log, sample.file()).expect("a file");
    let began = Instant::now();
    let label = "document.querySelector('#hour svg').getAttribute('aria-label')";
    browser.until(&format!("{label}.endsWith('0–{BURST}')"));
    eprintln!("a burst of {BURST} lines shows after {:.1} s", began.elapsed().as_secs_f64());
    browser.until("document.querySelector('#alerts').innerText.includes('open')");
    let same = "document.querySelector('#hour svg') === window.kept";
    assert_eq!(browser.value(same), true, "what has not changed stays");
    assert_eq!(browser.value("document.activeElement === document.querySelector('nav a')"), true);
    assert!(browser.errors().is_empty(), "{:?}", browser.errors());

    let away = "getComputedStyle(document.querySelector('.away')).display !== 'none'";
    assert_eq!(browser.value(away), false);
    drop(page);
    browser.until(away);
}

#[test]
fn the_page_is_used_by_keyboard() {
    let Some(mut browser) = Browser::start() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("keyboard"), mongodb_uri());
    run(streampulse(dir.path(), &format!("mongodb init {place}")), 0);
    let (_page, address) = serve(dir.path(), &place);
    browser.open(&format!("http://{address}/"), 390, true);
    let mut reached = Vec::new();
    for _ in 0..4 {
        browser.press("Tab", 9);
        reached.push(browser.value("document.activeElement.innerText").as_str().expect("a text").to_owned());
        let outline = browser.value("getComputedStyle(document.activeElement).outlineStyle");
        assert_eq!(outline, "solid", "it is seen where one is");
    }
    assert_eq!(reached, ["24 hours", "1 hour", "7 days", "30 days"]);
    browser.press("Enter", 13);
    browser.until("location.search === '?last=30d' && document.readyState === 'complete'");
    let shown = browser.value("document.querySelector('nav [aria-current]').innerText");
    assert_eq!(shown, "30 days");
}
