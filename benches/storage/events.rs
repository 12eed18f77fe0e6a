//! Where events lie: what an insert costs and what an event takes on disk, by kind of collection.

use anyhow::{Result, ensure};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use sink::schema::EVENTS;
use sink::schema::definition::events as ours;

use super::server::{Server, insert_as_sink, insert_command, median};
use super::traffic::{self, EVENTS_PER_INSERT, EVENTS_PER_S, span_ms};

const ROUNDS: usize = 10;
/// The candidate that the others are compared with.
const BASE: usize = 3;

struct Candidate {
    name: &'static str,
    options: Document,
    ts_index: bool,
    /// Whether the validator is left out, as the sink leaves it out.
    bypasses: bool,
    shape: fn(RawDocumentBuf) -> Result<RawDocumentBuf>,
}

pub fn clustered() -> Document {
    doc! { "clusteredIndex": { "key": { "_id": 1 }, "unique": true } }
}

pub fn zstd() -> Document {
    doc! { "storageEngine": { "wiredTiger": { "configString": "block_compressor=zstd" } } }
}

pub fn both(mut options: Document, more: Document) -> Document {
    options.extend(more);
    options
}

fn candidates() -> Result<Vec<Candidate>> {
    let ours = ours(EVENTS, None);
    let plain = |name, options| Candidate { name, options, ts_index: false, bypasses: false, shape: Ok };
    let by_place = doc! { "timeseries": { "timeField": "ts", "metaField": "place" } };
    let valid = both(ours.options, doc! { "validator": ours.validator });
    Ok(vec![
        plain("regular, snappy", doc! {}),
        plain("regular, zstd", zstd()),
        plain("clustered, snappy", clustered()),
        plain("clustered, zstd", both(clustered(), zstd())),
        plain("clustered, zstd, validator", valid.clone()),
        Candidate { bypasses: true, ..plain("ours: clustered, zstd, validator for others", valid) },
        Candidate { ts_index: true, ..plain("clustered, zstd, index on ts", both(clustered(), zstd())) },
        Candidate { shape: with_place, ..plain("time series by country and city, extra as text", by_place) },
    ])
}

/// A time series groups by one field. What else a line had goes as a text: as a document it is slow to
/// compress, and mongod 6.0.5 now and then dies of it (a segmentation fault in `compressBucket`).
fn with_place(event: RawDocumentBuf) -> Result<RawDocumentBuf> {
    let mut event = Document::try_from(&*event)?;
    let (country, city) = (event.remove("country"), event.remove("city"));
    if let Some(extra) = event.remove("extra") {
        event.insert("extra", extra.to_string());
    }
    event.insert("place", doc! { "country": country, "city": city });
    Ok(RawDocumentBuf::try_from(&event)?)
}

pub async fn measure(server: &Server, events: usize) -> Result<()> {
    let candidates = candidates()?;
    for (index, candidate) in candidates.iter().enumerate() {
        let create = both(doc! { "create": name(index) }, candidate.options.clone());
        server.database.run_command(create).await?;
        if candidate.ts_index {
            let ts = doc! { "key": { "ts": 1 }, "name": "ts_1" };
            server.database.run_command(doc! { "createIndexes": name(index), "indexes": [ts] }).await?;
        }
    }
    let frames = traffic::frames(events, span_ms(events), EVENTS_PER_INSERT)?;
    let mut costs = vec![Vec::new(); candidates.len()];
    for (round, frames) in frames.chunks(frames.len().div_ceil(ROUNDS)).enumerate() {
        for turn in 0..candidates.len() {
            let index = (turn + round) % candidates.len();
            let (mut commands, mut count) = (Vec::new(), 0);
            for frame in frames {
                let events = traffic::events(frame)?.into_iter().map(candidates[index].shape);
                let events = events.collect::<Result<Vec<_>>>()?;
                count += events.len();
                let insert = if candidates[index].bypasses { insert_as_sink } else { insert_command };
                commands.push(insert(&name(index), events));
            }
            let cost = server.cost(server.insert(commands)).await?;
            costs[index].push((cost.cpu_us / count as f64, cost.wall_us / count as f64));
        }
    }
    println!("\n## {events} events, {EVENTS_PER_S} a second, {EVENTS_PER_INSERT} an insert\n");
    println!(
        "| collection | CPU, us an event | times | wall, us an event | on disk, bytes an event | its indexes | \
         both, times |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut rows = Vec::new();
    for (index, costs) in costs.into_iter().enumerate() {
        let stored = server.database.collection::<Document>(&name(index)).count_documents(doc! {}).await?;
        ensure!(stored == events as u64, "{}: {stored} of {events} events", candidates[index].name);
        let (cpu, wall): (Vec<_>, Vec<_>) = costs.into_iter().unzip();
        let sizes = server.sizes(&name(index)).await?;
        let (on_disk, indexes) = (sizes.documents / events as f64, sizes.indexes / events as f64);
        rows.push((median(cpu), median(wall), on_disk, indexes));
    }
    let base = rows[BASE];
    for (candidate, (cpu, wall, on_disk, indexes)) in candidates.iter().zip(&rows) {
        println!(
            "| {} | {cpu:.1} | {:.2} | {wall:.1} | {on_disk:.1} | {indexes:.1} | {:.2} |",
            candidate.name,
            cpu / base.0,
            (on_disk + indexes) / (base.2 + base.3)
        );
    }
    server.database.drop().await?;
    Ok(())
}

fn name(index: usize) -> String {
    format!("candidate_{index}")
}
