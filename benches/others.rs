//! `cargo xtask bench others`: the same million lines into the same mongod by `streampulse up` and by
//! programs of the same purpose, in turns: plain pymongo, Pathway, and PySpark Structured Streaming
//! (`benches/others/*.py`, each with what it does). Needs Python 3.11, pip and, for Spark, Java 17; what is
//! not there is left out and named. `STREAMPULSE_BENCH_EVENTS=100000` takes another number of lines.

#[path = "storage/server.rs"]
#[allow(dead_code, reason = "inserts are not made here")]
mod server;
#[path = "pipeline/up.rs"]
#[allow(dead_code, reason = "what is inside of the pipeline is not compared here")]
mod up;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use server::{Server, median, parameter};
use sink::schema::{EVENTS, REJECTS};
use streampulse::mongod::Mongod;
use up::{DATABASE, Run, produce};

const LINES_DEFAULT: u64 = 1_000_000;
/// Lines a second of event time.
const RATE: f64 = 100.0;
const ROUNDS: usize = 3;
/// Accesses a minute above which a minute alerts; none does.
const LIMIT: &str = "100000";
const PROGRAMS_DIR: &str = "benches/others";
const PROGRAMS: [(&str, &str); 3] =
    [("pymongo", "plain.py"), ("Pathway", "with_pathway.py"), ("PySpark", "with_spark.py")];

#[tokio::main]
async fn main() -> Result<()> {
    let lines = parameter("STREAMPULSE_BENCH_EVENTS", LINES_DEFAULT)?;
    let dir = tempfile::tempdir()?;
    let python = python(dir.path())?;
    let has_java = Command::new("java").arg("-version").stderr(Stdio::null()).status().is_ok();
    if !has_java {
        eprintln!("there is no Java: PySpark is LEFT OUT");
    }
    let programs = PROGRAMS.into_iter().filter(|(name, _)| has_java || *name != "PySpark");
    let file = dir.path().join("lines.ndjson");
    produce(&file, lines, RATE)?;
    let mongod = Mongod::start(dir.path(), None).await?;
    let programs = programs.collect::<Vec<_>>();
    let measured = measure(&mongod.uri(), dir.path(), (&file, lines), &python, &programs).await;
    mongod.stop().await;
    measured
}

/// The interpreter of an environment that has what the programs need.
fn python(dir: &Path) -> Result<PathBuf> {
    let environment = dir.join("python");
    let python = environment.join("bin/python");
    eprintln!("installing pymongo, Pathway and PySpark");
    succeed(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    let requirements = Path::new(PROGRAMS_DIR).join("requirements.txt");
    succeed(
        Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements),
    )?;
    Ok(python)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(Stdio::null()).status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

async fn measure(
    uri: &str,
    dir: &Path,
    (file, lines): (&Path, u64),
    python: &Path,
    programs: &[(&str, &str)],
) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let server = Server::new(client.database("admin")).await?;
    let database = client.database(DATABASE);
    let (mut ours, mut theirs) = (Vec::new(), vec![Vec::new(); programs.len()]);
    for round in 0..ROUNDS {
        ours.push(up::up(&database, &server, uri, (&dir.join(round.to_string()), file), &[]).await?);
        let expected = stored(&database).await?;
        for ((name, program), runs) in programs.iter().zip(&mut theirs) {
            let mut command = Command::new(python);
            command.arg(Path::new(PROGRAMS_DIR).join(program)).args([uri, DATABASE]).arg(file).arg(LIMIT);
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            runs.push(up::timed(&database, &server, &mut command).await?);
            let stored = stored(&database).await?;
            ensure!(stored == expected, "{name} stored {stored:?} events and rejects, not {expected:?}");
            eprintln!("round {} of {ROUNDS}: {name} is done", round + 1);
        }
    }
    let lines = lines as f64;
    let by = |runs: &[Run], part: fn(&Run) -> f64| median(runs.iter().map(part).collect());
    let up_s = by(&ours, |run| run.wall_s);
    println!("\n{lines} lines, medians of {ROUNDS} rounds:\n");
    // Spark ends its JVM without waiting for it, so the system does not tell what that has used.
    println!(
        "| | lines/s | times as long as up, least to most | CPU s a million: mongod | program without JVM |"
    );
    println!("|---|---|---|---|---|");
    let names = std::iter::once("streampulse up").chain(programs.iter().map(|(name, _)| *name));
    for (name, runs) in names.zip(std::iter::once(&ours).chain(&theirs)) {
        let mut ratios: Vec<f64> = runs.iter().map(|run| run.wall_s / up_s).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "| {name} | {:.0} | {:.1} ({:.1} to {:.1}) | {:.1} | {:.1} |",
            lines / by(runs, |run| run.wall_s),
            median(ratios.clone()),
            ratios[0],
            ratios[ratios.len() - 1],
            by(runs, |run| run.server_s) / lines * 1e6,
            by(runs, |run| run.process_s) / lines * 1e6,
        );
    }
    Ok(())
}

/// How many events and rejects there are.
async fn stored(database: &Database) -> Result<(u64, u64)> {
    let count = async |name: &str| database.collection::<Document>(name).count_documents(doc! {}).await;
    Ok((count(EVENTS).await?, count(REJECTS).await?))
}
