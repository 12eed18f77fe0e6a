//! `cargo xtask bench pipeline`: how fast `streampulse up` takes a file into MongoDB (events, rollups and
//! alerts; then without the events), beside the ceiling: what the same mongod takes of bare inserts of the
//! same documents, encoded before, from the best number of writers. All take turns on one mongod, with the
//! same write concern and journal. `STREAMPULSE_BENCH_EVENTS=100000` takes another number of lines,
//! `STREAMPULSE_BENCH_RATE=1000` another number a second of event time (the sparser they are, the more
//! rollups there are to each line).

#[path = "storage/server.rs"]
#[allow(dead_code, reason = "every insert here is one as the sink makes them")]
mod server;

#[path = "pipeline/up.rs"]
mod up;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::{Client, Database};
use server::{Server, check, cpu_us, insert_as_sink, median, parameter};
use sink::schema::EVENTS;
use sink::schema::definition::events as ours;
use streampulse::mongod::Mongod;
use up::{DATABASE, Run, produce};

const EVENTS_DEFAULT: u64 = 1_000_000;
const RATE_DEFAULT: f64 = 100.0;
const ROUNDS: usize = 3;
/// Documents of one insert.
const DOCUMENTS_PER_INSERT: usize = 5_000;
/// Numbers of writers that the ceiling is tried with.
const WRITERS: [usize; 3] = [1, 2, 4];

#[tokio::main]
async fn main() -> Result<()> {
    let events = parameter("STREAMPULSE_BENCH_EVENTS", EVENTS_DEFAULT)?;
    let rate = parameter("STREAMPULSE_BENCH_RATE", RATE_DEFAULT)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("lines.ndjson");
    produce(&file, events, rate)?;
    let mongod = Mongod::start(dir.path(), None).await?;
    let measured = measure(&mongod.uri(), dir.path(), &file).await;
    mongod.stop().await;
    measured
}

async fn measure(uri: &str, dir: &Path, file: &Path) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let server = Server::new(client.database("admin")).await?;
    let database = client.database(DATABASE);
    // What the pipeline stores is what the ceiling inserts.
    up::up(&database, &server, uri, (&dir.join("first"), file), &[]).await?;
    let documents = database.collection::<RawDocumentBuf>(EVENTS).find(doc! {}).await?;
    let documents: Vec<_> = documents.try_collect().await?;
    let million = documents.len() as f64 / 1e6;
    let inserts: Vec<RawDocumentBuf> = documents
        .chunks(DOCUMENTS_PER_INSERT)
        .map(|some| insert_as_sink(EVENTS, some.iter().cloned()))
        .collect();
    let mut ceilings = vec![Vec::new(); WRITERS.len()];
    let (mut as_ours, mut pipeline, mut without_events) = (Vec::new(), Vec::new(), Vec::new());
    let rollups_only = dir.join("rollups_only.toml");
    std::fs::write(&rollups_only, "[mongodb]\nstore_events = false\n")?;
    let rollups_only = ["--config", rollups_only.to_str().context("a path that is no text")?];
    for round in 0..ROUNDS {
        for (writers, runs) in WRITERS.into_iter().zip(&mut ceilings) {
            runs.push(bare(&client, &server, &inserts, writers, false).await?);
        }
        as_ours.push(bare(&client, &server, &inserts, WRITERS[1], true).await?);
        for (flags, stored, runs) in
            [(&[][..], documents.len(), &mut pipeline), (&rollups_only, 0, &mut without_events)]
        {
            let data_dir = dir.join(format!("{round}_{stored}"));
            let run = up::up(&database, &server, uri, (&data_dir, file), flags).await?;
            ensure!(run.stored == stored as u64, "{} events are stored", run.stored);
            runs.push(run);
        }
        eprintln!("round {} of {ROUNDS} is done", round + 1);
    }
    let by = |runs: &[Run], part: fn(&Run) -> f64| median(runs.iter().map(part).collect());
    let best = (0..WRITERS.len()).min_by(|a, b| {
        let wall = |i: &usize| by(&ceilings[*i], |run| run.wall_s);
        wall(a).total_cmp(&wall(b))
    });
    let ceiling = best.map_or(f64::MAX, |best| by(&ceilings[best], |run| run.wall_s));
    println!("\n{} events, medians of {ROUNDS} rounds:\n", documents.len());
    println!("| | events/s | of the ceiling, least to most | CPU s a million: mongod | writer | peak MiB |");
    println!("|---|---|---|---|---|---|");
    let mut rows: Vec<(String, &[Run])> = WRITERS
        .iter()
        .zip(&ceilings)
        .map(|(n, runs)| (format!("bare inserts, writers: {n}"), &runs[..]))
        .collect();
    rows.push((format!("the same into our collection, writers: {}", WRITERS[1]), &as_ours));
    rows.push(("streampulse up".to_owned(), &pipeline));
    rows.push(("streampulse up, events not stored".to_owned(), &without_events));
    for (name, runs) in rows {
        let mut ratios: Vec<f64> = runs.iter().map(|run| ceiling / run.wall_s).collect();
        ratios.sort_by(f64::total_cmp);
        let peak = match by(runs, |run| run.peak_mib) {
            0.0 => "-".to_owned(),
            mib => format!("{mib:.0}"),
        };
        println!(
            "| {name} | {:.0} | {:.2} ({:.2} to {:.2}) | {:.1} | {:.1} | {peak} |",
            documents.len() as f64 / by(runs, |run| run.wall_s),
            ceiling / by(runs, |run| run.wall_s),
            ratios[0],
            ratios[ratios.len() - 1],
            by(runs, |run| run.server_s) / million,
            by(runs, |run| run.process_s) / million,
        );
    }
    let modules_s = by(&pipeline, |run| run.modules_s) / million;
    println!("\nof the CPU of `streampulse up`, {modules_s:.1} s a million run SmartModules and read topics");
    Ok(())
}

/// Inserts of everything by so many writers, into a plain collection or one like ours.
async fn bare(
    client: &Client,
    server: &Server,
    inserts: &[RawDocumentBuf],
    writers: usize,
    is_ours: bool,
) -> Result<Run> {
    let database = client.database("bare");
    database.drop().await?;
    if is_ours {
        let ours = ours(EVENTS, None);
        let mut create = doc! { "create": EVENTS, "validator": ours.validator };
        create.extend(ours.options);
        database.run_command(create).await?;
    } else {
        database.create_collection(EVENTS).await?;
    }
    server.checkpoint().await?;
    let process_us = || cpu_us(Path::new("/proc/self/stat"));
    let (server_s, process_s, began) = (server.cpu_us()?, process_us()?, Instant::now());
    let each = inserts.len().div_ceil(writers);
    let tasks = inserts.chunks(each).map(|some| insert_all(database.clone(), some.to_vec()));
    let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
    for task in tasks {
        task.await??;
    }
    let wall_s = began.elapsed().as_secs_f64();
    let process_s = (process_us()? - process_s) / 1e6;
    server.checkpoint().await?;
    let server_s = (server.cpu_us()? - server_s) / 1e6;
    Ok(Run { wall_s, server_s, process_s, modules_s: 0.0, peak_mib: 0.0, stored: 0 })
}

async fn insert_all(database: Database, inserts: Vec<RawDocumentBuf>) -> Result<()> {
    for insert in inserts {
        check(&database.run_raw_command(insert).await?)?;
    }
    Ok(())
}
