//! Distinct users through the whole pipeline, against those that the lines themselves have: 320,000 lines of
//! two days over four partitions, with users that nothing was tuned on; up to 28,000 an hour, 115,000 a day.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use mongodb::bson::{Document, doc};
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::Value;

use crate::sample::{all, millis};
use crate::support::{database, database_name, mongodb_uri, run, streampulse};

/// No other test has this one.
const SEED: u64 = 0x5e_ed0f_0521;
const PARTITIONS: usize = 4;
const DAYS: i64 = 2;
/// Lines of hours of a day, from quiet to busy.
const HOURS: [(i64, u32); 9] = [
    (0, 35_000),
    (3, 60),
    (4, 600),
    (6, 6_000),
    (12, 15_000),
    (18, 20_000),
    (20, 25_000),
    (21, 30_000),
    (23, 28_000),
];
/// Users that any line may be of, and those that a quarter of the lines is of.
const USERS: u32 = 1_000_000;
const REGULARS: u32 = 2_000;
/// So many standard errors an estimate may be off; one of 16,000 is further off by chance.
const STANDARD_ERRORS: f64 = 4.0;
/// How far off a small window may be, where so many standard errors are less.
const USERS_OFF_MAX: f64 = 2.0;

fn start() -> DateTime<Utc> {
    "2026-09-12T00:00:00Z".parse().expect("a time")
}

/// Log lines, hour after hour. The minutes of an hour differ much, the first has most.
fn lines() -> Vec<String> {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(SEED);
    let mut lines = Vec::new();
    for (day, (hour, count)) in (0..DAYS).flat_map(|day| HOURS.map(|hour| (day, hour))) {
        for _ in 0..count {
            let into_hour: f64 = rng.random::<f64>().powi(2);
            let ts = start() + TimeDelta::hours(24 * day + hour);
            let ts = ts + TimeDelta::milliseconds((into_hour * 3_600_000.0) as i64);
            let users = if rng.random_bool(0.25) { REGULARS } else { USERS };
            // Scattered over all numbers, and no two the same.
            let user = rng.random_range(0..users).wrapping_mul(0x9e37_79b1);
            lines.push(format!(
                r#"{{"user_id":"u{user:08x}","timestamp":"{}","device":"tv","content_type":"live","country":"BR","city":"Recife"}}"#,
                ts.to_rfc3339()
            ));
        }
    }
    lines
}

#[derive(Deserialize)]
struct Line {
    user_id: String,
    timestamp: DateTime<Utc>,
}

/// The users of each window, by its start in milliseconds.
fn users(lines: &[Line], window_ms: i64) -> BTreeMap<i64, BTreeSet<&str>> {
    let mut windows = BTreeMap::<i64, BTreeSet<&str>>::new();
    for line in lines {
        let ts_ms = line.timestamp.timestamp_millis();
        windows.entry(ts_ms - ts_ms % window_ms).or_default().insert(&line.user_id);
    }
    windows
}

#[tokio::test(flavor = "multi_thread")]
async fn estimates_are_as_near_to_the_exact_counts_as_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (name, lines) = (database_name("users"), lines());
    std::fs::write(dir.path().join("log"), lines.join("\n") + "\n").expect("a written file");
    let config = format!("[topics.access-logs]\npartitions = {PARTITIONS}\n");
    std::fs::write(dir.path().join("fluvio.toml"), config).expect("a written file");
    let place = format!("--mongodb-uri {} --database {name}", mongodb_uri());
    run(streampulse(dir.path(), &format!("up --file log --until-drained --data-dir d {place}")), 0);

    let database = database(&name).await;
    let of_partitions = doc! { "_id": { "$regex": "^events[|]access-logs[|]" }, "next": { "$gt": 0 } };
    let checkpoints = database.collection::<Document>("pipeline_state").count_documents(of_partitions).await;
    assert_eq!(checkpoints.expect("a count"), PARTITIONS as u64, "all partitions had lines");

    let lines: Vec<Line> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let levels = [
        ("access_minutes", 60_000, 0.016),
        ("access_users_1h", 3_600_000, 0.008),
        ("access_users_1d", 86_400_000, 0.008),
    ];
    for (collection, window_ms, standard_error) in levels {
        let exact = users(&lines, window_ms);
        let stored = all(&database, collection).await;
        let estimates = stored.iter().map(|window| (millis(window), window.get_i64("users").expect("users")));
        // Late lines count in the minute in which they came.
        let estimates: BTreeMap<i64, i64> = estimates.filter(|(_, users)| *users > 0).collect();
        assert!(estimates.keys().eq(exact.keys()), "{collection} has other windows");
        let mut squares = 0.0;
        for (window, users) in &exact {
            let (exact, estimate) = (users.len() as f64, estimates[window] as f64);
            let off = (estimate - exact).abs();
            let allowed = (STANDARD_ERRORS * standard_error * exact).max(USERS_OFF_MAX);
            assert!(off <= allowed, "{collection}, {window}: {estimate} users, exactly {exact}");
            squares += (off / exact).powi(2);
        }
        let error = (squares / exact.len() as f64).sqrt();
        // Two days are too few for it.
        assert!(window_ms != 3_600_000 || error < 0.01, "{collection}: root mean square error {error}");
    }
    let most = |window_ms| users(&lines, window_ms).values().map(BTreeSet::len).max().unwrap_or(0);
    assert!(most(3_600_000) > 20_000 && most(86_400_000) > 100_000, "there are too few users to tell");

    let middle = start() + TimeDelta::minutes(18 * 60 + 5);
    let (from, to) = (middle, middle + TimeDelta::minutes(10 * 60 + 7));
    for (period, from, to) in [
        (String::new(), start(), start() + TimeDelta::days(DAYS)),
        (format!("--from {} --to {}", from.to_rfc3339(), to.to_rfc3339()), from, to),
    ] {
        let output = run(streampulse(dir.path(), &format!("report --format json {period} {place}")), 0);
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let inside = lines.iter().filter(|line| from <= line.timestamp && line.timestamp < to);
        let exact = inside.map(|line| &line.user_id).collect::<BTreeSet<_>>().len() as u64;
        let bound = |key: &str| report["totals"]["users_estimate"][key].as_u64().expect("a bound");
        assert!(bound("at_least") <= exact && exact <= bound("at_most"), "{exact}: {}", report["totals"]);
    }
}
