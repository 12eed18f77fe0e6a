//! How old events go: by TTL, by a range of `_id`, or with their collection.

use std::time::Duration;

use anyhow::{Result, ensure};
use mongodb::bson::{Document, doc};

use super::events::{both, clustered, zstd};
use super::server::{Server, insert_command, median};
use super::traffic::{self, EVENTS_PER_INSERT, span_ms};

const ROUNDS: usize = 5;
/// How often it is looked whether all is gone.
const POLL: Duration = Duration::from_millis(50);

#[derive(Clone, Copy)]
enum Way {
    Ttl,
    Delete,
    Drop,
}

const WAYS: [(Way, &str); 3] = [
    (Way::Ttl, "TTL, looked for every second"),
    (Way::Delete, "deleteMany of a range of _id"),
    (Way::Drop, "drop of the collection"),
];

pub async fn measure(server: &Server, events: usize) -> Result<()> {
    let database = &server.database;
    let set = doc! { "setParameter": 1, "ttlMonitorSleepSecs": 1 };
    database.client().database("admin").run_command(set).await?;
    let frames = traffic::frames(events, span_ms(events), EVENTS_PER_INSERT)?;
    let frames_per_round = frames.len().div_ceil(ROUNDS);
    let mut costs = WAYS.map(|_| (vec![], vec![], vec![]));
    for (round, frames) in frames.chunks(frames_per_round).enumerate() {
        for turn in 0..WAYS.len() {
            let index = (turn + round) % WAYS.len();
            let way = WAYS[index].0;
            let name = format!("round_{round}_{turn}");
            create(server, &name, way).await?;
            let documents = frames.iter().map(|frame| traffic::events(frame)).collect::<Result<Vec<_>>>()?;
            let count = documents.iter().map(Vec::len).sum::<usize>() as f64;
            let commands = documents.into_iter().map(|documents| insert_command(&name, documents)).collect();
            let inserted = server.cost(server.insert(commands)).await?;
            let removed = server.cost(remove(server, &name, way)).await?;
            let (insert, remove, wall) = &mut costs[index];
            insert.push(inserted.cpu_us / count);
            remove.push(removed.cpu_us / count);
            wall.push(removed.wall_us / 1e3);
            database.collection::<Document>(&name).drop().await?;
        }
    }
    println!("\n## Removing {} events at once\n", events.min(frames_per_round * EVENTS_PER_INSERT));
    println!("| way | CPU, us an event | its insert, us | times | wall, ms |");
    println!("|---|---|---|---|---|");
    for ((_, name), (insert, remove, wall)) in WAYS.iter().zip(costs) {
        let (insert, remove, wall) = (median(insert), median(remove), median(wall));
        println!("| {name} | {remove:.2} | {insert:.2} | {:.2} | {wall:.0} |", remove / insert);
    }
    database.drop().await?;
    Ok(())
}

async fn create(server: &Server, name: &str, way: Way) -> Result<()> {
    let create = both(doc! { "create": name }, both(clustered(), zstd()));
    server.database.run_command(create).await?;
    if let Way::Ttl = way {
        let ts = doc! { "key": { "ts": 1 }, "name": "ts_1", "expireAfterSeconds": i32::MAX };
        server.database.run_command(doc! { "createIndexes": name, "indexes": [ts] }).await?;
    }
    Ok(())
}

async fn remove(server: &Server, name: &str, way: Way) -> Result<()> {
    let collection = server.database.collection::<Document>(name);
    match way {
        Way::Ttl => {
            let ts = doc! { "name": "ts_1", "expireAfterSeconds": 1 };
            server.database.run_command(doc! { "collMod": name, "index": ts }).await?;
            while collection.estimated_document_count().await? > 0 {
                tokio::time::sleep(POLL).await;
            }
        }
        Way::Delete => {
            collection.delete_many(doc! { "_id": { "$gte": 0_i64, "$lt": i64::MAX } }).await?;
            ensure!(collection.estimated_document_count().await? == 0, "some events are left");
        }
        Way::Drop => collection.drop().await?,
    }
    Ok(())
}
