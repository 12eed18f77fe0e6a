//! `cargo xtask bench anomalies`: what the detector of access-anomaly finds of the producer's labelled
//! incidents, over 30 days and several seeds, and how often it is wrong; what it costs; and the score of
//! `detect --csv` on the series of the Numenta Anomaly Benchmark, where `STREAMPULSE_NAB` names a folder with
//! `data/` and `windows.json`. `STREAMPULSE_BENCH_SEEDS=3` takes another number of seeds,
//! `STREAMPULSE_BENCH_RATE=20` other lines a second, `STREAMPULSE_BENCH_VERBOSE=1` tells all alerts and what
//! was missed.

#[path = "anomalies/cost.rs"]
mod cost;
#[path = "anomalies/nab.rs"]
mod nab;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use domain::anomaly::Detector;
use domain::bson::{Element, documents, elements};
use domain::filter_map::{Batch, Line, write_frame};
use domain::params::{AnomalySettings, FilterMapSettings, Params, WindowSettings};
use domain::window::aggregate;
use domain::wire::{AlertsFrame, Delta, DeltaFrame, EventsFrame, EventsFrameWriter, PartitionPosition, Tick};
use producer::pace::Backfill;
use producer::{Generator, GeneratorConfig, Incident, IncidentKind};

const SEEDS_DEFAULT: &str = "20";
const DAYS: i64 = 30;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
/// 2026-11-02, a Monday.
const START_MS: i64 = 1_793_577_600_000;
/// The first days, in which a false alert counts too but incidents are not asked for: nothing is known yet.
const LEARNING_DAYS: i64 = 1;
/// Lines a second, as a mean over the week.
const RATE_DEFAULT: &str = "5";
/// A batch is stored, and a tick follows, so often.
const STEP_MS: i64 = 5_000;
/// Incidents in 30 days, of all kinds in turn.
const INCIDENTS: usize = 28;
/// An alert that opens so long after an incident still belongs to it.
const AFTER_MS: i64 = 30 * MINUTE_MS;
/// Partitions of the log.
const PARTITIONS: usize = 1;

/// Accesses a minute that are expected of a country from which on its outage is counted apart.
const MANY_A_MINUTE: f64 = 20.0;

/// An alert as it ended.
struct Alert {
    kind: String,
    /// The minute that it opened.
    ts_ms: i64,
    /// When it was told.
    told_ms: i64,
    closed: bool,
    text: String,
}

/// What happened to a seed.
struct Run {
    /// Each with the lines a minute of the place it strikes, in the hour before.
    incidents: Vec<(Incident, f64)>,
    alerts: Vec<Alert>,
}

#[derive(Default)]
struct Tally {
    found: usize,
    all: usize,
    /// From the begin of the incident until it is told.
    delays_s: Vec<i64>,
}

fn main() -> Result<()> {
    let seeds = std::env::var("STREAMPULSE_BENCH_SEEDS").unwrap_or_else(|_| SEEDS_DEFAULT.to_owned());
    let seeds: u64 = seeds.parse().context("STREAMPULSE_BENCH_SEEDS is no number")?;
    let rate = std::env::var("STREAMPULSE_BENCH_RATE").unwrap_or_else(|_| RATE_DEFAULT.to_owned());
    let rate: f64 = rate.parse().context("STREAMPULSE_BENCH_RATE is no number")?;
    let verbose = std::env::var_os("STREAMPULSE_BENCH_VERBOSE").is_some();
    let mut tallies = BTreeMap::<String, Tally>::new();
    let mut wrong = BTreeMap::<String, usize>::new();
    let (mut alerts_all, mut right_all) = (0, 0);
    for (seed, Run { incidents, alerts }) in (0..).zip(run_all(seeds, rate)?) {
        for (incident, lines) in &incidents {
            let within = incident.start_ms - MINUTE_MS..incident.end_ms() + MINUTE_MS;
            let first = alerts.iter().filter(|alert| within.contains(&alert.ts_ms)).map(|a| a.told_ms).min();
            if verbose && first.is_none() {
                eprintln!("missed ({lines:.1} a minute): {}", serde_json::to_string(incident)?);
            }
            for name in names(incident.kind, *lines) {
                let tally = tallies.entry(name).or_default();
                tally.all += 1;
                if let Some(first) = first {
                    tally.found += 1;
                    tally.delays_s.push((first - incident.start_ms) / 1_000);
                }
            }
        }
        for alert in &alerts {
            if verbose {
                let opened = chrono::DateTime::from_timestamp_millis(alert.told_ms).unwrap_or_default();
                eprintln!("alert: {} {}: {}", opened.format("%F %H:%M"), alert.kind, alert.text);
            }
            let explains = |(incident, _): &(Incident, f64)| {
                (incident.start_ms - MINUTE_MS..incident.end_ms() + AFTER_MS).contains(&alert.ts_ms)
            };
            alerts_all += 1;
            if incidents.iter().any(explains) {
                right_all += 1;
            } else {
                *wrong.entry(alert.kind.clone()).or_default() += 1;
                if verbose {
                    eprintln!("wrong: {}: {}", alert.kind, alert.text);
                }
            }
        }
        let open = alerts.iter().filter(|alert| !alert.closed).count();
        eprintln!(
            "seed {seed}: {} alerts for {} incidents, {open} open at the end",
            alerts.len(),
            incidents.len()
        );
    }
    println!("\n{seeds} seeds, {DAYS} days, {rate} lines a second, {PARTITIONS} partition:\n");
    println!("| incident | recall | of | median delay | 95 % |");
    println!("|---|---|---|---|---|");
    for (kind, tally) in &mut tallies {
        tally.delays_s.sort_unstable();
        let at = |share: f64| {
            let index =
                ((tally.delays_s.len() as f64 * share) as usize).min(tally.delays_s.len().saturating_sub(1));
            tally
                .delays_s
                .get(index)
                .map_or("-".to_owned(), |seconds| format!("{:.1} min", *seconds as f64 / 60.0))
        };
        let recall = tally.found as f64 / tally.all.max(1) as f64;
        println!("| {kind} | {recall:.3} | {} | {} | {} |", tally.all, at(0.5), at(0.95));
    }
    let weeks = (seeds as f64) * DAYS as f64 / 7.0;
    let all: usize = wrong.values().sum();
    println!("\nprecision {:.3} of {alerts_all} alerts", right_all as f64 / f64::from(alerts_all.max(1)));
    println!("false alerts a week {:.2}: {wrong:?}", all as f64 / weeks);
    cost::run()?;
    match std::env::var("STREAMPULSE_NAB") {
        Ok(folder) => nab::run(folder.as_ref())?,
        Err(_) => println!("\nNAB: not scored; STREAMPULSE_NAB names no folder"),
    }
    Ok(())
}

/// What each seed gives, on all cores.
fn run_all(seeds: u64, rate: f64) -> Result<Vec<Run>> {
    let next = AtomicU64::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let run = run(seed, rate);
                    eprintln!("seed {seed} is done");
                    done.lock().expect("nobody panics").insert(seed, run);
                }
            });
        }
    });
    done.into_inner().expect("nobody panics").into_values().collect()
}

/// What an incident is counted as, all of its kind first.
fn names(kind: IncidentKind, lines: f64) -> Vec<String> {
    let name = match kind {
        IncidentKind::BotAttack => "bots",
        IncidentKind::ViralRelease => "viral",
        IncidentKind::RegionalOutage => "outage",
        IncidentKind::Drop => "drop",
    };
    let mut names = vec![name.to_owned()];
    if kind == IncidentKind::RegionalOutage {
        let which = if lines >= MANY_A_MINUTE { "at least" } else { "below" };
        names.push(format!("outage of a country with {which} {MANY_A_MINUTE} a minute"));
    }
    names
}

/// 30 days with incidents: each step's lines are a stored batch, and a tick follows it.
fn run(seed: u64, rate: f64) -> Result<Run> {
    let (from_ms, end_ms) = (START_MS + LEARNING_DAYS * DAY_MS, START_MS + DAYS * DAY_MS);
    let incidents = Incident::random(INCIDENTS, from_ms, end_ms, seed);
    let settings = FilterMapSettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
    let window = WindowSettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
    let anomaly = AnomalySettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
    let mut detector = Detector::new(anomaly, &[]).map_err(anyhow::Error::msg)?;
    let config = GeneratorConfig { seed, incidents: incidents.clone(), ..GeneratorConfig::default() };
    let mut generator = Generator::new(config);
    let instants = Backfill::new(START_MS, end_ms, rate, seed);
    let mut instants = instants.with_incidents(incidents.clone()).peekable();
    let mut writer = EventsFrameWriter::default();
    let (mut next_line, mut next_frame) = (0_u64, 0_u64);
    let mut alerts = BTreeMap::new();
    let mut incidents: Vec<(Incident, f64)> = incidents.into_iter().map(|incident| (incident, 0.0)).collect();
    for wall_ms in (1..=DAYS * DAY_MS / STEP_MS).map(|step| START_MS + step * STEP_MS) {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        while let Some(now_ms) = instants.next_if(|now_ms| *now_ms < wall_ms) {
            let mut line = Vec::new();
            generator.next_line(now_ms, &mut line);
            lines.push(line);
        }
        let mut frames = Vec::new();
        if !lines.is_empty() {
            let numbered = (next_line..).zip(&lines).map(|(offset, value)| Line { offset, value });
            let batch = Batch { base_offset: next_line, stored_at_ms: wall_ms };
            let (mut frame, mut counts) = (Vec::new(), Vec::new());
            write_frame(&settings, batch, numbered, &mut writer, &mut frame);
            let delta = aggregate(window, &frame)?;
            for (incident, lines) in &mut incidents {
                if (incident.start_ms - HOUR_MS..incident.start_ms).contains(&(wall_ms - 1)) {
                    *lines += accesses(&delta, incident.country) as f64 / (HOUR_MS / MINUTE_MS) as f64;
                }
            }
            let header = EventsFrame::decode(&frame)?.header;
            next_line += lines.len() as u64;
            DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut counts);
            frames.push(counts);
        }
        let (next_offset, end_offset) = (next_line, next_line);
        let position = PartitionPosition { source: settings.source, next_offset, end_offset };
        let mut tick = Vec::new();
        Tick { wall_ms, end_of_input: false, positions: vec![position] }.encode(&mut tick);
        frames.push(tick);
        let output = detector.run(next_frame, frames.iter().map(Vec::as_slice));
        next_frame += frames.len() as u64;
        for document in documents(AlertsFrame::decode(output)?.alerts) {
            let (id, alert) = read(document).context("an alert")?;
            alerts.insert(id, alert);
        }
    }
    Ok(Run { incidents, alerts: alerts.into_values().collect() })
}

/// Accesses of a country, or of all.
fn accesses(delta: &Delta, country: Option<&str>) -> u64 {
    let cells = delta.cells.iter().filter(|cell| country.is_none_or(|code| code.as_bytes() == cell.country));
    cells.flat_map(|cell| &cell.counts).map(|&(.., n)| u64::from(n)).sum()
}

fn read(document: &[u8]) -> Option<(String, Alert)> {
    let field = |key: &str| elements(document).find(|(found, _)| *found == key).map(|(_, element)| element);
    let text = |key: &str| match field(key)? {
        Element::String(text) => Some(text.to_owned()),
        _ => None,
    };
    let date = |key: &str| match field(key)? {
        Element::Date(ms) => Some(ms),
        _ => None,
    };
    let (ts_ms, told_ms) = (date("ts")?, date("opened_at")?);
    let closed = text("status")? == "closed";
    Some((text("_id")?, Alert { kind: text("kind")?, ts_ms, told_ms, closed, text: text("text")? }))
}
