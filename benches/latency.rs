//! `cargo xtask bench latency`: from the event that crosses a limit to its alert in MongoDB, at several
//! numbers of events a second. `streampulse up` reads lines from its standard input as they happen; 60
//! countries have limits that are crossed one after the other in every minute; a change stream says when an
//! alert is there. `STREAMPULSE_BENCH_RATES=1000,10000` takes other rates, `STREAMPULSE_BENCH_MINUTES=5`
//! measures for longer.

#[path = "storage/server.rs"]
#[allow(dead_code, reason = "inserts are not made here")]
mod server;

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::{Client, Collection};
use server::{list, parameter};
use sink::schema::ALERTS;
use streampulse::mongod::Mongod;

const RATES_DEFAULT: &str = "1000,10000,50000";
const MINUTES_DEFAULT: u64 = 3;
const MINUTE_MS: u64 = 60_000;
/// Countries with a limit; that of the first is crossed soon after a minute's begin, that of the last shortly
/// before its end.
const COUNTRIES: usize = 60;
const USERS: u64 = 200_000;
/// Lines are written in bursts of what was due in this time.
const BURST_EVERY: Duration = Duration::from_millis(2);
/// How long alerts are waited for after the last line.
const LAST_ALERTS_MAX: Duration = Duration::from_secs(10);

/// When the limit of a country was crossed in a minute, and when its alert was there.
type Crossings = Arc<Mutex<HashMap<(u64, String), (Instant, Option<Instant>)>>>;

#[tokio::main]
async fn main() -> Result<()> {
    let rates = list("STREAMPULSE_BENCH_RATES", RATES_DEFAULT)?;
    let minutes = parameter("STREAMPULSE_BENCH_MINUTES", MINUTES_DEFAULT)?;
    let dir = tempfile::tempdir()?;
    let mongod = Mongod::start(dir.path(), None).await?;
    println!("| events/s | written | alerts | p50 ms | p90 ms | p99 ms | most ms |");
    println!("|---|---|---|---|---|---|---|");
    for rate in rates {
        measure(&mongod.uri(), &dir.path().join(format!("at{rate}")), rate, minutes).await?;
    }
    mongod.stop().await;
    Ok(())
}

async fn measure(uri: &str, dir: &Path, rate: u64, minutes: u64) -> Result<()> {
    std::fs::create_dir(dir)?;
    let codes: Vec<&str> =
        isocountry::CountryCode::iter().map(|code| code.alpha2()).take(COUNTRIES).collect();
    let limits: Vec<u64> = (1..=COUNTRIES as u64).map(|n| limit(rate, n)).collect();
    let config = codes.iter().zip(&limits).map(|(code, limit)| format!("\"country:{code}\" = {limit}\n"));
    let config = format!("[access-anomaly.limits]\n{}", config.collect::<String>());
    let config_file = dir.join("fluvio.toml");
    std::fs::write(&config_file, config)?;

    let name = format!("latency_{rate}");
    let database = Client::with_uri_str(uri).await?.database(&name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.args(["up", "--file", "-", "--until-drained", "--mongodb-uri", uri, "--database", &name]);
    command.arg("--config").arg(&config_file).arg("--data-dir").arg(dir);
    command.args(["--limit-per-minute", &u64::MAX.to_string()]);
    let mut up = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let stdin = up.stdin.take().context("no standard input")?;

    let crossings = Crossings::default();
    let alerts = tokio::spawn(watch(database.collection(ALERTS), crossings.clone()));
    let writer = {
        let (crossings, codes) = (crossings.clone(), codes.iter().map(|code| (*code).to_owned()).collect());
        std::thread::spawn(move || write(stdin, rate, minutes, codes, &limits, &crossings))
    };
    let written =
        tokio::task::spawn_blocking(move || writer.join().expect("the writer does not panic")).await??;
    let until = Instant::now() + LAST_ALERTS_MAX;
    let is_complete = || crossings.lock().expect("no panic").values().all(|(_, there)| there.is_some());
    while !is_complete() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(up.wait()?.success(), "streampulse up did not end well");
    alerts.abort();

    let crossings = crossings.lock().expect("no panic");
    let took = crossings
        .values()
        .map(|(crossed, there)| Some(there.as_ref()?.duration_since(*crossed).as_secs_f64()));
    let mut took: Vec<f64> = took.collect::<Option<_>>().context("an alert is missing")?;
    took.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share).round() as usize] * 1e3;
    let per_second = written / (minutes as f64 * MINUTE_MS as f64 / 1e3);
    println!(
        "| {rate} | {per_second:.0} | {} | {:.0} | {:.0} | {:.0} | {:.0} |",
        took.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// The limit of the n-th country, which it reaches after n of 61 parts of a minute.
fn limit(rate: u64, n: u64) -> u64 {
    rate * 60 / COUNTRIES as u64 * n / (COUNTRIES as u64 + 1)
}

/// Writes lines as they happen, for whole minutes. Gives how many.
fn write(
    stdin: ChildStdin,
    rate: u64,
    minutes: u64,
    codes: Vec<String>,
    limits: &[u64],
    crossings: &Crossings,
) -> Result<f64> {
    // The pipeline starts meanwhile.
    let first = now_ms() / MINUTE_MS + 1;
    std::thread::sleep(Duration::from_millis(first * MINUTE_MS - now_ms()));
    let mut out = BufWriter::new(stdin);
    let (began, mut written, mut counts) = (Instant::now(), 0, HashMap::<(u64, usize), u64>::new());
    while began.elapsed() < Duration::from_millis(minutes * MINUTE_MS) {
        let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
        let (now, ms) = (Instant::now(), now_ms());
        for n in written..due {
            let country = (n % COUNTRIES as u64) as usize;
            let user = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            writeln!(
                out,
                r#"{{"user_id":"u{}","timestamp":{ms},"device":"tv","content_type":"movie","country":"{}","city":"C{}"}}"#,
                user % USERS,
                codes[country],
                user % 5,
            )?;
            let count = counts.entry((ms / MINUTE_MS, country)).or_default();
            *count += 1;
            if *count == limits[country] + 1 {
                let key = (ms / MINUTE_MS, codes[country].clone());
                crossings.lock().expect("no panic").insert(key, (now, None));
            }
        }
        out.flush()?;
        written = due;
        std::thread::sleep(BURST_EVERY);
    }
    Ok(written as f64)
}

/// Notes when alerts come, for ever.
async fn watch(alerts: Collection<Document>, crossings: Crossings) -> Result<()> {
    let limits = doc! { "$match": { "operationType": "insert", "fullDocument.kind": "limit" } };
    let mut stream = alerts.watch().pipeline([limits]).await?;
    while let Some(ChangeStreamEvent { full_document: Some(alert), .. }) = stream.try_next().await? {
        let there = Instant::now();
        let minute = alert.get_datetime("ts")?.timestamp_millis().cast_unsigned() / MINUTE_MS;
        let country = alert.get_document("entity")?.get_str("country")?.to_owned();
        if let Some((_, seen)) = crossings.lock().expect("no panic").get_mut(&(minute, country)) {
            seen.get_or_insert(there);
        }
    }
    Ok(())
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("fits")
}
