//! How accesses are counted: a document for each minute, city, device and content type, or ours for each
//! minute and city.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use domain::params::{Params, WindowSettings};
use domain::wire::{Cell, Delta};
use domain::{MINUTE_MS, window};
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document, doc};
use mongodb::options::WriteConcern;
use sink::schema::definition::{Collection, collections};
use sink::schema::{Level, Retention};

use super::server::{Server, check, median};
use super::traffic::{self, EVENTS_PER_S, span_ms};

/// Events that are counted in one transaction: about 2,000 cells, as when a backlog is read, and a second of
/// live traffic, of which a tenth of the events is enough.
const EVENTS_PER_TRANSACTION: [(usize, usize); 2] = [(7_500, 1), (EVENTS_PER_S, 10)];
const ROUNDS: usize = 10;
/// Runs of a query.
const RUNS: usize = 15;
const COUNTRY: &str = "BR";

const DESIGNS: [&str; 2] = ["cell: minute, city, device, content type", "ours: minute, city"];

pub async fn measure(server: &Server, events: usize) -> Result<()> {
    println!("\n## Counting {events} events, {EVENTS_PER_S} a second\n");
    println!(
        "| events a transaction | a document a | statements | CPU, us a cell | times | wall, us a cell | documents | \
         on disk, MB | indexes, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (set, (events_per_transaction, share)) in EVENTS_PER_TRANSACTION.into_iter().enumerate() {
        write(server, set, events / share, events_per_transaction).await?;
    }
    read(server, events).await?;
    server.database.drop().await?;
    Ok(())
}

fn name(set: usize, design: usize) -> String {
    format!("rollups_{set}_{design}")
}

/// Our collection, and one like it whose documents have a device and a content type instead of counts by
/// both.
fn definitions() -> Result<[Collection; 2]> {
    let ours =
        collections(&Retention::default()).into_iter().find(|ours| ours.name == Level::Minute.rollups());
    let ours = ours.context("the schema has no rollups")?;
    let mut flat = ours.clone();
    let schema = flat.validator.get_document_mut("$jsonSchema")?;
    let required = schema.get_array_mut("required")?;
    required.retain(|field| field.as_str() != Some("x"));
    required.extend(["device", "content_type"].map(Bson::from));
    let properties = schema.get_document_mut("properties")?;
    properties.remove("x");
    for field in ["device", "content_type"] {
        properties.insert(field, doc! { "bsonType": "string" });
    }
    Ok([flat, ours])
}

async fn write(server: &Server, set: usize, events: usize, events_per_transaction: usize) -> Result<()> {
    let database = &server.database;
    for (design, definition) in definitions()?.into_iter().enumerate() {
        let mut create = definition.create();
        create.insert("create", name(set, design));
        database.run_command(create).await?;
        let mut indexes = definition.create_indexes(&definition.indexes);
        indexes.insert("createIndexes", name(set, design));
        database.run_command(indexes).await?;
    }
    let frames = traffic::frames(events, span_ms(events), events_per_transaction)?;
    let settings = WindowSettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
    let mut session = database.client().start_session().await?;
    let (mut costs, mut statements) = ([vec![], vec![]], [0, 0]);
    for (round, frames) in frames.chunks(frames.len().div_ceil(ROUNDS)).enumerate() {
        let deltas = frames.iter().map(|frame| window::aggregate(settings, frame));
        let deltas = deltas.collect::<Result<Vec<_>, _>>()?;
        let cells: usize = deltas.iter().flat_map(|delta| &delta.cells).map(|cell| cell.counts.len()).sum();
        for turn in 0..DESIGNS.len() {
            let design = (turn + round) % DESIGNS.len();
            let transactions: Vec<Vec<Document>> = deltas.iter().map([flat, ours][design]).collect();
            statements[design] += transactions.iter().map(Vec::len).sum::<usize>();
            let cost = server.cost(upsert(&mut session, server, &name(set, design), transactions)).await?;
            costs[design].push((cost.cpu_us / cells as f64, cost.wall_us / cells as f64));
        }
    }
    let medians = costs.map(|costs| {
        let (cpu, wall): (Vec<_>, Vec<_>) = costs.into_iter().unzip();
        (median(cpu), median(wall))
    });
    for (design, (cpu, wall)) in medians.into_iter().enumerate() {
        let collection = database.collection::<Document>(&name(set, design));
        let documents = collection.estimated_document_count().await?;
        let sizes = server.sizes(&name(set, design)).await?;
        println!(
            "| {events_per_transaction} | {} | {:.0} | {cpu:.1} | {:.2} | {wall:.1} | {documents} | {:.1} | {:.1} |",
            DESIGNS[design],
            statements[design] as f64 / frames.len() as f64,
            cpu / medians[1].0,
            sizes.documents / 1e6,
            sizes.indexes / 1e6
        );
    }
    Ok(())
}

async fn upsert(
    session: &mut ClientSession,
    server: &Server,
    collection: &str,
    transactions: Vec<Vec<Document>>,
) -> Result<()> {
    for statements in transactions {
        session.start_transaction().write_concern(WriteConcern::majority()).await?;
        let command = doc! { "update": collection, "ordered": false, "updates": statements };
        check(&server.database.run_command(command).session(&mut *session).await?)?;
        session.commit_transaction().await?;
    }
    Ok(())
}

fn flat(delta: &Delta) -> Vec<Document> {
    let mut statements = Vec::new();
    for cell in &delta.cells {
        let (id, first) = place(cell);
        for &(device, content_type, n) in &cell.counts {
            let (device, content_type) = names(delta, device, content_type);
            let mut first = first.clone();
            first.extend(doc! { "device": device, "content_type": content_type });
            let change = doc! { "$inc": { "n": i64::from(n) }, "$setOnInsert": first };
            let id = format!("{id}|{device}|{content_type}");
            statements.push(doc! { "q": { "_id": id }, "u": change, "upsert": true });
        }
    }
    statements
}

fn ours(delta: &Delta) -> Vec<Document> {
    let statement = |cell: &Cell| {
        let (id, first) = place(cell);
        let mut increments = doc! { "n": cell.counts.iter().map(|(_, _, n)| i64::from(*n)).sum::<i64>() };
        for &(device, content_type, n) in &cell.counts {
            let (device, content_type) = names(delta, device, content_type);
            increments.insert(format!("x.{device}.{content_type}"), i64::from(n));
        }
        let change = doc! { "$inc": increments, "$setOnInsert": first };
        doc! { "q": { "_id": id }, "u": change, "upsert": true }
    };
    delta.cells.iter().map(statement).collect()
}

/// The `_id` of a city's minute, and what its document begins with.
fn place(cell: &Cell) -> (String, Document) {
    let Cell { minute, country, city, .. } = cell;
    let country = domain::normalize::country_text(country);
    let ts = DateTime::from_millis(i64::from(*minute) * MINUTE_MS);
    let id = format!("0|{country}|{minute:09}|{city}");
    (id, doc! { "ts": ts, "country": country, "city": city })
}

fn names(delta: &Delta, device: u8, content_type: u8) -> (&str, &str) {
    (&delta.devices[usize::from(device)], &delta.content_types[usize::from(content_type)])
}

async fn read(server: &Server, events: usize) -> Result<()> {
    let of_country =
        doc! { "$match": { "_id": { "$gte": format!("0|{COUNTRY}|"), "$lt": format!("0|{COUNTRY}}}") } } };
    let group = |key: &str, n: &str| doc! { "$group": { "_id": key, "n": { "$sum": n } } };
    let most_first = doc! { "$sort": { "n": -1, "_id": 1 } };
    let devices = [
        vec![of_country.clone(), group("$device", "$n")],
        vec![
            of_country,
            doc! { "$project": { "x": { "$objectToArray": "$x" } } },
            doc! { "$unwind": "$x" },
            doc! { "$project": { "device": "$x.k", "content": { "$objectToArray": "$x.v" } } },
            doc! { "$unwind": "$content" },
            group("$device", "$content.v"),
        ],
    ];
    let minutes = vec![group("$ts", "$n"), doc! { "$sort": { "_id": 1 } }];
    let countries = vec![group("$country", "$n"), most_first, doc! { "$limit": 10 }];
    let queries = [
        ("accesses a minute", [minutes.clone(), minutes]),
        ("top 10 countries", [countries.clone(), countries]),
        ("devices of Brazil", devices),
    ];
    println!("\nReading them, over all {:.1} hours:\n", events as f64 / EVENTS_PER_S as f64 / 3_600.0);
    println!("| query | sum | cells, ms | ours, ms | times |");
    println!("|---|---|---|---|---|");
    for (query, pipelines) in queries {
        let (mut times, mut answers) = ([vec![], vec![]], [BTreeMap::new(), BTreeMap::new()]);
        for _ in 0..RUNS {
            for (design, pipeline) in pipelines.iter().enumerate() {
                let began = Instant::now();
                answers[design] = answer(server, &name(0, design), pipeline).await?;
                times[design].push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        ensure!(answers[0] == answers[1], "{query}: {answers:?}");
        let sum: i64 = answers[0].values().sum();
        ensure!(query != "accesses a minute" || sum == events as i64, "{sum} of {events} events");
        let [cells, ours] = times.map(median);
        println!("| {query} | {sum} | {cells:.1} | {ours:.1} | {:.1} |", cells / ours);
    }
    Ok(())
}

async fn answer(server: &Server, collection: &str, pipeline: &[Document]) -> Result<BTreeMap<String, i64>> {
    let collection = server.database.collection::<Document>(collection);
    let mut found = collection.aggregate(pipeline.to_vec()).await?;
    let mut answer = BTreeMap::new();
    while found.advance().await? {
        let group = found.deserialize_current()?;
        answer.insert(group.get("_id").context("a group")?.to_string(), group.get_i64("n")?);
    }
    Ok(answer)
}
