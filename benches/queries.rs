//! `cargo xtask bench queries`: what an answer costs from the rollups and from the events themselves, and
//! what lies on disk. Fills a database of its own through the whole pipeline, for each number of events; both
//! ways must give the same sums. Then each query of the dashboards. `STREAMPULSE_BENCH_EVENTS=100000` takes
//! other numbers (with commas between).

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use mongodb::Database;
use mongodb::bson::{self, Bson, Document, doc};
use streampulse::mongod::Mongod;
use streampulse::queries::{self, Asked};
use streampulse::report::{Lang, ReportSpec, answer};

const EVENTS_DEFAULT: &str = "1000000,10000000";
const DAYS: i64 = 30;
/// Runs of a query on the rollups.
const RUNS: usize = 20;
/// Runs of a query on the events, which takes much longer.
const RUNS_RAW: usize = 5;

/// Points of a picture over time.
const PANEL_POINTS: i64 = 500;

#[tokio::main]
async fn main() -> Result<()> {
    let events = std::env::var("STREAMPULSE_BENCH_EVENTS").unwrap_or_else(|_| EVENTS_DEFAULT.to_owned());
    for events in events.split(',') {
        let events = events.trim().parse().with_context(|| format!("STREAMPULSE_BENCH_EVENTS: {events}"))?;
        let dir = tempfile::tempdir()?;
        let mongod = Mongod::start(dir.path(), None).await?;
        let database = mongodb::Client::with_uri_str(mongod.uri()).await?.database("bench");
        let measured = measure(&database, &mongod.uri(), dir.path(), events).await;
        mongod.stop().await;
        measured?;
    }
    Ok(())
}

async fn measure(database: &Database, uri: &str, dir: &std::path::Path, events: u64) -> Result<()> {
    let end = DateTime::parse_from_rfc3339("2026-10-31T00:00:00Z")?.to_utc();
    let start = end - TimeDelta::days(DAYS);
    let rate = events as f64 / (DAYS * 24 * 60 * 60) as f64;
    let began = Instant::now();
    let mut fill = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    fill.args(["up", "--until-drained", "--seed", "7", "--database", "bench", "--mongodb-uri", uri]);
    fill.args(["--events", &events.to_string(), "--rate", &rate.to_string()]);
    // Some alerts, so that their queries have something to find.
    fill.args(["--limit-per-minute", &format!("{:.0}", 2.0 * 60.0 * rate)]);
    fill.args(["--start", &start.to_rfc3339(), "--data-dir"]).arg(dir.join("data"));
    let filled = fill.stdout(Stdio::null()).env("RUST_LOG", "warn").status()?;
    ensure!(filled.success(), "the pipeline failed");
    println!("\n## {events} events over {DAYS} days, stored in {:.0} s\n", began.elapsed().as_secs_f64());
    println!("| report of | accesses | rollups p50 | p95 | events p50 | p95 | times |");
    println!("|---|---|---|---|---|---|---|");
    let noon = end - TimeDelta::hours(12);
    let cases = [
        ("all 30 days", None, None, None),
        ("7 days", Some(end - TimeDelta::days(7)), Some(end), None),
        ("a day, from noon", Some(noon - TimeDelta::days(1)), Some(noon), None),
        ("an hour", Some(noon - TimeDelta::hours(1)), Some(noon), None),
        ("all 30 days, Brazil", None, None, Some("BR")),
        ("a day from noon, Brazil", Some(noon - TimeDelta::days(1)), Some(noon), Some("BR")),
    ];
    for (name, from, to, country) in cases {
        let spec = ReportSpec {
            from,
            to,
            timezone: chrono_tz::UTC,
            top: 10,
            lang: Lang::En,
            cities: true,
            country: country.map(str::to_owned),
        };
        let (mut rollups, mut raw) = (Vec::new(), Vec::new());
        let mut accesses = 0;
        for _ in 0..RUNS {
            let began = Instant::now();
            accesses = answer(database, &spec).await?.totals.accesses;
            rollups.push(began.elapsed());
        }
        for _ in 0..RUNS_RAW {
            let began = Instant::now();
            let found = from_events(database, from, to, country).await?;
            raw.push(began.elapsed());
            ensure!(
                found == accesses,
                "{name}: {found} accesses from the events, {accesses} from the rollups"
            );
        }
        let (rollups, raw) = (Spread::of(rollups), Spread::of(raw));
        println!(
            "| {name} | {accesses} | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} ms | {:.0} |",
            rollups.p50,
            rollups.p95,
            raw.p50,
            raw.p95,
            raw.p50 / rollups.p50
        );
    }
    explain(database, uri, noon).await?;
    panels(database, start, end).await?;
    sizes(database).await
}

/// What the queries of the dashboards cost, and what the server says of them. Ends with an error where one
/// scans a collection, or reads more than 1.2 keys a document.
async fn panels(database: &Database, start: DateTime<Utc>, end: DateTime<Utc>) -> Result<()> {
    let (from, to) = (start.timestamp_millis(), end.timestamp_millis());
    let interval = |from: i64| ((to - from) / PANEL_POINTS).max(60_000);
    let month = Asked::period(from, to, interval(from));
    let day = to - 36 * 60 * 60_000 - 123_456;
    let brazil = Asked { countries: vec!["BR".to_owned()], ..month.clone() };
    let periods = [month, Asked::period(day, day + 24 * 60 * 60_000, interval(day)), brazil];
    println!(
        "\n| query | plan | 30 days: documents | p50 | p95 | a day: documents | p50 | p95 | Brazil: p50 | p95 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (name, query) in queries::all() {
        let (mut told, mut documents, mut plan) = (Vec::new(), Vec::new(), String::new());
        for asked in &periods {
            let profile = database.collection::<Document>("system.profile");
            profile.drop().await?;
            database.run_command(doc! { "profile": 2 }).await?;
            query.ask(database, asked).await?;
            database.run_command(doc! { "profile": 0 }).await?;
            let entry =
                profile.find_one(doc! { "op": "command", "command.aggregate": query.collection }).await?;
            let entry = entry.context("the server told nothing of a query")?;
            let number = |key: &str| number(&entry, key);
            plan = entry.get_str("planSummary").unwrap_or_default().to_owned();
            ensure!(!plan.contains("COLLSCAN"), "{name}: {entry}");
            ensure!(number("keysExamined") <= 1.2 * number("docsExamined") + 10.0, "{name}: {entry}");
            documents.push(number("docsExamined"));
            let mut times = Vec::new();
            for _ in 0..RUNS {
                let began = Instant::now();
                query.ask(database, asked).await?;
                times.push(began.elapsed());
            }
            let Spread { p50, p95 } = Spread::of(times);
            told.push(format!("{p50:.0} ms | {p95:.0} ms"));
        }
        println!(
            "| {name} | {} {plan} | {} | {} | {} | {} | {} |",
            query.collection, documents[0], told[0], documents[1], told[1], told[2]
        );
    }
    Ok(())
}

fn number(entry: &Document, key: &str) -> f64 {
    match entry.get(key) {
        Some(Bson::Int32(n)) => f64::from(*n),
        Some(Bson::Int64(n)) => *n as f64,
        Some(Bson::Double(n)) => *n,
        _ => 0.0,
    }
}

/// What the server itself says of every query of the commands: which index, how much was read. Ends with an
/// error where one scans a collection, or reads more than 1.2 keys a document.
async fn explain(database: &Database, uri: &str, noon: DateTime<Utc>) -> Result<()> {
    println!("\n| command | collection | queries | plan | keys | documents | ms |");
    println!("|---|---|---|---|---|---|---|");
    let day = format!("--from {} --to {}", (noon - TimeDelta::days(1)).to_rfc3339(), noon.to_rfc3339());
    for command in [
        "report --cities",
        &format!("report --cities {day}"),
        "report --cities --country BR",
        &format!("report --cities --country BR {day}"),
        "alerts",
        "status",
    ] {
        let profile = database.collection::<Document>("system.profile");
        profile.drop().await?;
        database.run_command(doc! { "profile": 2 }).await?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_streampulse"));
        process.args(command.split(' ')).args(["--database", "bench", "--mongodb-uri", uri]);
        process.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        database.run_command(doc! { "profile": 0 }).await?;
        let mut plans = BTreeMap::<(String, String), [i64; 4]>::new();
        let mut found = profile.find(doc! { "ns": { "$ne": "bench.system.profile" } }).await?;
        while found.advance().await? {
            let entry = found.deserialize_current()?;
            let Ok(plan) = entry.get_str("planSummary") else { continue };
            let [keys, documents, millis] =
                ["keysExamined", "docsExamined", "millis"].map(|key| number(&entry, key) as i64);
            let is_small = entry.get_str("ns").is_ok_and(|name| name == "bench.pipeline_state");
            ensure!(is_small || !plan.contains("COLLSCAN"), "{command}: {entry}");
            ensure!(documents == 0 || keys as f64 <= 1.2 * documents as f64 + 10.0, "{command}: {entry}");
            let collection = entry.get_str("ns")?.trim_start_matches("bench.").to_owned();
            let sum = plans.entry((collection, plan.to_owned())).or_default();
            sum.iter_mut().zip([1, keys, documents, millis]).for_each(|(sum, n)| *sum += n);
        }
        let command = command.replace(&day, "(a day)");
        for ((collection, plan), [queries, keys, documents, millis]) in plans {
            println!("| {command} | {collection} | {queries} | {plan} | {keys} | {documents} | {millis} |");
        }
    }
    Ok(())
}

/// The same answers from the events: by minute, and by country, city, device and content type.
async fn from_events(
    database: &Database,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    country: Option<&str>,
) -> Result<u64> {
    let mut filter = Document::new();
    if let (Some(from), Some(to)) = (from, to) {
        let date = |time: DateTime<Utc>| bson::DateTime::from_millis(time.timestamp_millis());
        filter.insert("ts", doc! { "$gte": date(from), "$lt": date(to) });
    }
    if let Some(country) = country {
        filter.insert("country", country);
    }
    let by_place =
        doc! { "country": "$country", "city": "$city", "device": "$device", "content_type": "$content_type" };
    let by_minute = Bson::from(doc! { "$dateTrunc": { "date": "$ts", "unit": "minute" } });
    let mut sums = [0_u64; 2];
    for (sum, key) in sums.iter_mut().zip([by_minute, by_place.into()]) {
        let pipeline =
            [doc! { "$match": filter.clone() }, doc! { "$group": { "_id": key, "n": { "$sum": 1_i64 } } }];
        let events = database.collection::<Document>("access_events");
        let mut found = events.aggregate(pipeline).allow_disk_use(true).await?;
        while found.advance().await? {
            *sum += u64::try_from(found.deserialize_current()?.get_i64("n")?)?;
        }
    }
    ensure!(sums[0] == sums[1], "sums differ: {sums:?}");
    Ok(sums[0])
}

/// Milliseconds.
struct Spread {
    p50: f64,
    p95: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
        Self { p50: at(50), p95: at(95) }
    }
}

async fn sizes(database: &Database) -> Result<()> {
    println!("\n| collection | documents | bytes a document | on disk, MB | indexes, MB |");
    println!("|---|---|---|---|---|");
    let mut names = database.list_collection_names().await?;
    names.retain(|name| name.starts_with("access_"));
    names.sort();
    for name in names {
        // Sizes on disk are those of the last checkpoint.
        database.client().database("admin").run_command(doc! { "fsync": 1 }).await?;
        let stats = database.run_command(doc! { "collStats": &name }).await?;
        let number = |key: &str| number(&stats, key);
        let (documents, bytes) = (number("count"), number("size"));
        println!(
            "| {name} | {documents} | {:.0} | {:.1} | {:.1} |",
            bytes / documents.max(1.0),
            number("storageSize") / 1e6,
            number("totalIndexSize") / 1e6
        );
    }
    Ok(())
}
