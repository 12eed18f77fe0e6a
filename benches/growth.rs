//! `cargo xtask bench growth`: whether what an event costs `streampulse up` stays the same as the events
//! become more, and with more partitions. `STREAMPULSE_BENCH_MILLIONS=1,10,50` takes other numbers of events,
//! `STREAMPULSE_BENCH_PARTITIONS=1,8` other numbers of partitions, `STREAMPULSE_BENCH_RATE=1000` another
//! number of events a second of event time.

#[path = "storage/server.rs"]
#[allow(dead_code, reason = "inserts are not made here")]
mod server;
#[path = "pipeline/up.rs"]
mod up;

use std::path::Path;

use anyhow::{Context, Result};
use mongodb::bson::doc;
use mongodb::{Client, Database};
use server::{Server, list, number, parameter};
use streampulse::mongod::Mongod;
use up::{DATABASE, produce};

const MILLIONS_DEFAULT: &str = "1,10";
const PARTITIONS_DEFAULT: &str = "1,4,16";
/// Millions of events that the numbers of partitions are tried with.
const MILLIONS_BY_PARTITIONS: u64 = 2;
const RATE_DEFAULT: f64 = 100.0;
const MIB: f64 = (1 << 20) as f64;

#[tokio::main]
async fn main() -> Result<()> {
    let millions = list("STREAMPULSE_BENCH_MILLIONS", MILLIONS_DEFAULT)?;
    let partitions = list("STREAMPULSE_BENCH_PARTITIONS", PARTITIONS_DEFAULT)?;
    let dir = tempfile::tempdir()?;
    let mongod = Mongod::start(dir.path(), None).await?;
    println!(
        "| million events | partitions | events/s | CPU us an event: mongod | SmartModules | rest of the pipeline | \
         peak MiB | events: bytes each, of indexes | rollups: MiB, of indexes |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let file = dir.path().join("lines.ndjson");
    for million in millions {
        produce(&file, million * 1_000_000, parameter("STREAMPULSE_BENCH_RATE", RATE_DEFAULT)?)?;
        measure(&mongod, dir.path(), &file, million, None).await?;
    }
    if !partitions.is_empty() {
        produce(
            &file,
            MILLIONS_BY_PARTITIONS * 1_000_000,
            parameter("STREAMPULSE_BENCH_RATE", RATE_DEFAULT)?,
        )?;
    }
    for partitions in partitions {
        measure(&mongod, dir.path(), &file, MILLIONS_BY_PARTITIONS, Some(partitions)).await?;
    }
    mongod.stop().await;
    Ok(())
}

async fn measure(
    mongod: &Mongod,
    dir: &Path,
    file: &Path,
    million: u64,
    partitions: Option<u64>,
) -> Result<()> {
    let client = Client::with_uri_str(mongod.uri()).await?;
    let server = Server::new(client.database("admin")).await?;
    let data = dir.join(format!("data{million}-{partitions:?}"));
    let config = dir.join("fluvio.toml");
    let text = partitions.map(|n| format!("[topics.access-logs]\npartitions = {n}\n")).unwrap_or_default();
    std::fs::write(&config, text)?;
    let database = client.database(DATABASE);
    let flags = ["--config", config.to_str().context("a folder whose name is no text")?];
    let run = up::up(&database, &server, &mongod.uri(), (&data, file), &flags).await?;
    let (events, event_indexes) = sizes(&database, &["access_events"]).await?;
    let rollups = ["access_rollups_1m", "access_rollups_1h", "access_rollups_1d"];
    let (rollups, rollup_indexes) = sizes(&database, &rollups).await?;
    let stored = run.stored as f64;
    let us = |seconds: f64| seconds * 1e6 / stored;
    println!(
        "| {million} | {} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} | {:.1}, {:.1} | {:.1}, {:.1} |",
        partitions.map_or_else(|| "2 (default)".to_owned(), |n| n.to_string()),
        stored / run.wall_s,
        us(run.server_s),
        us(run.modules_s),
        us(run.process_s - run.modules_s),
        run.peak_mib,
        events / stored,
        event_indexes / stored,
        rollups / MIB,
        rollup_indexes / MIB,
    );
    std::fs::remove_dir_all(&data)?;
    Ok(())
}

/// Bytes of collections on disk, and of their indexes.
async fn sizes(database: &Database, collections: &[&str]) -> Result<(f64, f64)> {
    let (mut documents, mut indexes) = (0.0, 0.0);
    for collection in collections {
        let stats = database.run_command(doc! { "collStats": *collection }).await?;
        documents += number(&stats, "storageSize")?;
        indexes += number(&stats, "totalIndexSize")?;
    }
    Ok((documents, indexes))
}
