//! `cargo xtask bench storage`: what the schema in docs/mongodb.md costs beside the others that it could be,
//! on a mongod of its own: where events lie, how accesses are counted, how old events go. The candidates take
//! turns, round by round, and figures are medians. Wall time ends with the server's answer; CPU is that of
//! the server, up to the checkpoint that puts the work on its disk. `STREAMPULSE_BENCH_EVENTS=100000` takes
//! another number of events, `STREAMPULSE_BENCH_ZSTD=6` compresses as hard as mongod does unasked.

mod storage {
    pub mod cost;
    pub mod events;
    pub mod retention;
    pub mod rollups;
    #[allow(dead_code, reason = "other benchmarks are given lists of numbers")]
    pub mod server;
    pub mod traffic;
    pub mod view;
}

use anyhow::{Result, ensure};
use streampulse::mongod::{Mongod, ZSTD_LEVEL};

use storage::server::{Server, parameter};
use storage::{events, retention, rollups, view};

const EVENTS_DEFAULT: usize = 1_000_000;
/// Fewer are not enough for each round and each day.
const EVENTS_MIN: usize = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let events = parameter("STREAMPULSE_BENCH_EVENTS", EVENTS_DEFAULT)?;
    ensure!(events >= EVENTS_MIN, "STREAMPULSE_BENCH_EVENTS is {events}, must be at least {EVENTS_MIN}");
    let dir = tempfile::tempdir()?;
    let zstd_level = parameter("STREAMPULSE_BENCH_ZSTD", ZSTD_LEVEL)?;
    let mongod = Mongod::start_at(dir.path(), None, zstd_level).await?;
    let measured = measure(&mongod.uri(), events).await;
    mongod.stop().await;
    measured
}

async fn measure(uri: &str, events: usize) -> Result<()> {
    let client = mongodb::Client::with_uri_str(uri).await?;
    let server = |name| Server::new(client.database(name));
    events::measure(&server("events").await?, events).await?;
    rollups::measure(&server("rollups").await?, events).await?;
    retention::measure(&server("retention").await?, events).await?;
    view::measure(&server("view").await?, events).await
}
