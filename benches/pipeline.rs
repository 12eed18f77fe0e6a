//! `cargo xtask bench pipeline`: how fast `streampulse up` takes a file into MongoDB (events, rollups and
//! alerts), beside the ceiling: what the same mongod takes of bare inserts of the same documents, encoded
//! before, from the best number of writers. Both take turns on one mongod, with the same write concern and
//! journal. `STREAMPULSE_BENCH_EVENTS=100000` takes another number of lines, `STREAMPULSE_BENCH_RATE=1000`
//! another number a second of event time (the sparser they are, the more rollups there are to each line).

#[path = "storage/server.rs"]
mod server;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, Database};
use server::{Server, check, insert_command, median};
use sink::schema::EVENTS;
use sink::schema::definition::events as ours;
use streampulse::mongod::Mongod;

const EVENTS_DEFAULT: usize = 1_000_000;
const RATE_DEFAULT: f64 = 100.0;
const ROUNDS: usize = 3;
/// Documents of one insert.
const DOCUMENTS_PER_INSERT: usize = 5_000;
/// Numbers of writers that the ceiling is tried with.
const WRITERS: [usize; 3] = [1, 2, 4];
/// A Monday.
const START: &str = "2026-03-02T00:00:00Z";
/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one run took.
#[derive(Clone, Copy, Debug)]
struct Run {
    wall_s: f64,
    /// CPU of the server, and of the process that writes.
    server_s: f64,
    process_s: f64,
    /// Of the pipeline.
    peak_mib: f64,
}

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

fn parameter<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}: {value}")),
        Err(_) => Ok(default),
    }
}

/// Writes the lines.
fn produce(file: &Path, events: usize, rate: f64) -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.args(["produce", "--print", "--start", START]);
    command.args(["--events", &events.to_string(), "--rate", &rate.to_string(), "--seed", "7"]);
    let status = command.stdout(std::fs::File::create(file)?).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "streampulse produce ended with {status}");
    Ok(())
}

/// The documents that the pipeline stores, from a run that is not measured.
async fn stored(
    client: &Client,
    server: &Server,
    uri: &str,
    dir: &Path,
    file: &Path,
) -> Result<Vec<RawDocumentBuf>> {
    up(client, server, uri, dir, file, None).await?;
    let events = client.database("pipeline").collection::<RawDocumentBuf>(EVENTS);
    Ok(events.find(doc! {}).await?.try_collect().await?)
}

async fn measure(uri: &str, dir: &Path, file: &Path) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let server = Server::new(client.database("admin")).await?;
    let documents = stored(&client, &server, uri, &dir.join("first"), file).await?;
    let million = documents.len() as f64 / 1e6;
    let inserts: Vec<RawDocumentBuf> = documents
        .chunks(DOCUMENTS_PER_INSERT)
        .map(|some| insert_command(EVENTS, some.iter().cloned()))
        .collect();
    let mut ceilings = vec![Vec::new(); WRITERS.len()];
    let (mut as_ours, mut pipeline) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        for (writers, runs) in WRITERS.into_iter().zip(&mut ceilings) {
            runs.push(bare(&client, &server, &inserts, writers, false).await?);
        }
        as_ours.push(bare(&client, &server, &inserts, WRITERS[1], true).await?);
        pipeline.push(
            up(&client, &server, uri, &dir.join(round.to_string()), file, Some(documents.len())).await?,
        );
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
    let (server_s, process_s, began) = (server.cpu_us()?, cpu_s(std::process::id())?, Instant::now());
    let each = inserts.len().div_ceil(writers);
    let tasks = inserts.chunks(each).map(|some| insert_all(database.clone(), some.to_vec()));
    let tasks: Vec<_> = tasks.map(tokio::spawn).collect();
    for task in tasks {
        task.await??;
    }
    let wall_s = began.elapsed().as_secs_f64();
    let process_s = cpu_s(std::process::id())? - process_s;
    server.checkpoint().await?;
    let server_s = (server.cpu_us()? - server_s) / 1e6;
    Ok(Run { wall_s, server_s, process_s, peak_mib: 0.0 })
}

async fn insert_all(database: Database, inserts: Vec<RawDocumentBuf>) -> Result<()> {
    for insert in inserts {
        check(&database.run_raw_command(insert).await?)?;
    }
    Ok(())
}

/// The pipeline on the file, from its start to its end.
async fn up(
    client: &Client,
    server: &Server,
    uri: &str,
    dir: &Path,
    file: &Path,
    expected: Option<usize>,
) -> Result<Run> {
    let database = client.database("pipeline");
    database.drop().await?;
    server.checkpoint().await?;
    let (server_s, began) = (server.cpu_us()?, Instant::now());
    let mut command = Command::new(env!("CARGO_BIN_EXE_streampulse"));
    command.args([
        "up",
        "--until-drained",
        "--summary",
        "json",
        "--mongodb-uri",
        uri,
        "--database",
        "pipeline",
    ]);
    command.arg("--file").arg(file).arg("--data-dir").arg(dir);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let (process_s, peak_mib) = watch(child)?;
    let wall_s = began.elapsed().as_secs_f64();
    server.checkpoint().await?;
    let server_s = (server.cpu_us()? - server_s) / 1e6;
    let stored = database.collection::<Document>(EVENTS).count_documents(doc! {}).await?;
    ensure!(expected.is_none_or(|expected| stored == expected as u64), "{stored} of {expected:?} are stored");
    Ok(Run { wall_s, server_s, process_s, peak_mib })
}

/// CPU seconds and peak memory of a process, once it has ended well.
fn watch(mut child: Child) -> Result<(f64, f64)> {
    let (mut cpu, mut peak_kib) = (0.0, 0.0);
    loop {
        if let Some(status) = child.try_wait()? {
            ensure!(status.success(), "streampulse up ended with {status}");
            return Ok((cpu, peak_kib / 1_024.0));
        }
        if let (Ok(now), Some(peak)) = (cpu_s(child.id()), peak_kib_of(child.id())) {
            (cpu, peak_kib) = (now, peak);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn peak_kib_of(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn cpu_s(pid: u32) -> Result<f64> {
    Ok(server::cpu_us(Path::new(&format!("/proc/{pid}/stat")))? / 1e6)
}
