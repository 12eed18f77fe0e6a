//! `cargo xtask bench cluster`: the pipeline on a Fluvio cluster of one SC and one SPU, which runs the
//! SmartModules, beside the embedded runtime, each on the same file and the same mongod in turn. It needs
//! Fluvio's programs, as the cluster suite does. `STREAMPULSE_BENCH_EVENTS=100000` takes another number.

#[path = "../tests/fluvio.rs"]
#[allow(dead_code, reason = "nothing is killed here")]
mod fluvio;
#[path = "storage/server.rs"]
#[allow(dead_code, reason = "inserts are not made here")]
mod server;
#[path = "pipeline/up.rs"]
#[allow(dead_code, reason = "a cluster runs the SmartModules elsewhere")]
mod up;

use anyhow::{Context, Result};
use fluvio::Fluvio;
use mongodb::Client;
use server::{Server, median, parameter};
use streampulse::mongod::Mongod;
use up::{DATABASE, Run, cpu_us_of_children, produce};

const EVENTS_DEFAULT: u64 = 1_000_000;
const RATE_DEFAULT: f64 = 100.0;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let events = parameter("STREAMPULSE_BENCH_EVENTS", EVENTS_DEFAULT)?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("lines.ndjson");
    produce(&file, events, parameter("STREAMPULSE_BENCH_RATE", RATE_DEFAULT)?)?;
    let mongod = Mongod::start(dir.path(), None).await?;
    let client = Client::with_uri_str(mongod.uri()).await?;
    let server = Server::new(client.database("admin")).await?;
    let (database, uri) = (client.database(DATABASE), mongod.uri());
    let (mut embedded, mut clustered) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let data = dir.path().join(format!("embedded{round}"));
        embedded.push((up::up(&database, &server, &uri, (&data, &file), &[]).await?, 0.0));
        let children_us = cpu_us_of_children()?;
        let cluster = tokio::task::block_in_place(|| Fluvio::start(1));
        let cluster = cluster
            .context("there is no Fluvio: put `fluvio` on PATH or into ~/.fluvio/bin (docs/fluvio.md)")?;
        let data = dir.path().join(format!("clustered{round}"));
        let endpoint = cluster.endpoint();
        let flags = ["--cluster", "--fluvio-endpoint", &endpoint];
        let run = up::up(&database, &server, &uri, (&data, &file), &flags).await?;
        drop(cluster);
        let all_s = (cpu_us_of_children()? - children_us) / 1e6;
        clustered.push((run, all_s - run.process_s));
        eprintln!("round {} of {ROUNDS} is done", round + 1);
    }
    println!("\n| runtime | events/s | CPU us an event: mongod | SC and SPU | pipeline | peak MiB |");
    println!("|---|---|---|---|---|---|");
    for (name, runs) in [("embedded", embedded), ("cluster", clustered)] {
        let by = |part: fn(&(Run, f64)) -> f64| median(runs.iter().map(part).collect());
        println!(
            "| {name} | {:.0} | {:.1} | {:.1} | {:.1} | {:.0} |",
            by(|(run, _)| run.stored as f64 / run.wall_s),
            by(|(run, _)| run.server_s * 1e6 / run.stored as f64),
            by(|(run, cluster_s)| cluster_s * 1e6 / run.stored as f64),
            by(|(run, _)| run.process_s * 1e6 / run.stored as f64),
            by(|(run, _)| run.peak_mib),
        );
    }
    mongod.stop().await;
    Ok(())
}
