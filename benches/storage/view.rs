//! What reading pays for a collection a day: a view over all of them beside one collection for all days.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Result, ensure};
use domain::{EventId, Source};
use mongodb::bson::{Bson, DateTime, Document, doc};

use super::events::{both, clustered, zstd};
use super::server::{Server, insert_command, median, number};
use super::traffic::{self, EVENTS_PER_INSERT, START_MS};

const DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The day that is asked for.
const ASKED: i64 = 15;
/// Runs of a query.
const RUNS: usize = 9;
const ALL: &str = "all_days";
const ALL_WITH_INDEX: &str = "all_days_index";
const VIEW: &str = "view";

fn day_name(day: i64) -> String {
    format!("day_{day:02}")
}

pub async fn measure(server: &Server, events: usize) -> Result<()> {
    fill(server, events).await?;
    let day = |day: i64| DateTime::from_millis(START_MS + day * DAY_MS);
    let of_day = doc! { "ts": { "$gte": day(ASKED), "$lt": day(ASKED + 1) } };
    // As many events as a day has, all of one partition.
    let first = events as i64 / DAYS;
    let id = |offset: i64| EventId::new(0, Source::default(), offset.unsigned_abs());
    let ids = [first, 2 * first].map(|offset| id(offset).map(EventId::get));
    let of_ids = doc! { "_id": { "$gte": ids[0], "$lt": ids[1] } };
    let (asked, view) = (day_name(ASKED), format!("view over {DAYS} collections"));
    let all = (ALL, "one collection");
    let (with_index, of_one_day) =
        ((ALL_WITH_INDEX, "one collection, index on ts"), (asked.as_str(), "the day's own"));
    let questions = [
        ("ts, one day", of_day, vec![all, with_index, of_one_day, (VIEW, view.as_str())]),
        ("_id, as many events", of_ids, vec![all, (VIEW, view.as_str())]),
    ];
    println!("\n## Reading {events} events of {DAYS} days\n");
    println!("| $match on | events | in | ms | times | documents examined | $match reaches |");
    println!("|---|---|---|---|---|---|---|");
    for (question, filter, places) in questions {
        let mut times = vec![vec![]; places.len()];
        let mut found = vec![0; places.len()];
        for _ in 0..RUNS {
            for (index, (collection, _)) in places.iter().enumerate() {
                let began = Instant::now();
                found[index] = count(server, collection, &filter).await?;
                times[index].push(began.elapsed().as_secs_f64() * 1e3);
            }
        }
        ensure!(found.iter().all(|count| *count == found[0] && *count > 0), "{question}: {found:?}");
        let times: Vec<f64> = times.into_iter().map(median).collect();
        for (index, (collection, name)) in places.iter().enumerate() {
            let parts = explain(server, collection, &filter).await?;
            println!(
                "| {question} | {} | {name} | {:.1} | {:.1} | {} | {} of {} |",
                found[index],
                times[index],
                times[index] / times[0],
                parts.iter().map(|part| part.documents_examined).sum::<f64>(),
                parts.iter().filter(|part| part.is_filtered).count(),
                parts.len()
            );
        }
    }
    server.database.drop().await?;
    Ok(())
}

/// The same events in one collection, in one with an index on `ts`, and in one for each day.
async fn fill(server: &Server, events: usize) -> Result<()> {
    let database = &server.database;
    let days: Vec<String> = (0..DAYS).map(day_name).collect();
    for name in days.iter().map(String::as_str).chain([ALL, ALL_WITH_INDEX]) {
        database.run_command(both(doc! { "create": name }, both(clustered(), zstd()))).await?;
    }
    let ts = doc! { "key": { "ts": 1 }, "name": "ts_1" };
    database.run_command(doc! { "createIndexes": ALL_WITH_INDEX, "indexes": [ts] }).await?;
    let others: Vec<Document> = days[1..].iter().map(|day| doc! { "$unionWith": day }).collect();
    database.run_command(doc! { "create": VIEW, "viewOn": &days[0], "pipeline": others }).await?;
    for frame in traffic::frames(events, DAYS * DAY_MS, EVENTS_PER_INSERT)? {
        let events = traffic::events(&frame)?;
        let mut by_day = BTreeMap::<i64, Vec<_>>::new();
        for event in &events {
            // What came late on the first day is of the day before.
            let day = ((traffic::ts_ms(event)? - START_MS) / DAY_MS).max(0);
            by_day.entry(day).or_default().push(event.clone());
        }
        let mut commands = vec![insert_command(ALL, events.clone()), insert_command(ALL_WITH_INDEX, events)];
        commands.extend(by_day.into_iter().map(|(day, events)| insert_command(&day_name(day), events)));
        server.insert(commands).await?;
    }
    server.checkpoint().await
}

fn pipeline(filter: &Document) -> Vec<Document> {
    vec![doc! { "$match": filter.clone() }, doc! { "$group": { "_id": "$country", "n": { "$sum": 1_i64 } } }]
}

async fn count(server: &Server, collection: &str, filter: &Document) -> Result<i64> {
    let mut found = server.database.collection::<Document>(collection).aggregate(pipeline(filter)).await?;
    let mut count = 0;
    while found.advance().await? {
        count += found.deserialize_current()?.get_i64("n")?;
    }
    Ok(count)
}

/// What the server does in one collection.
struct Part {
    is_filtered: bool,
    documents_examined: f64,
}

async fn explain(server: &Server, collection: &str, filter: &Document) -> Result<Vec<Part>> {
    let aggregate = doc! { "aggregate": collection, "pipeline": pipeline(filter), "cursor": {} };
    let command = doc! { "explain": aggregate, "verbosity": "executionStats" };
    let mut parts = Vec::new();
    find_parts(&server.database.run_command(command).await?, &mut parts)?;
    ensure!(!parts.is_empty(), "the explanation has no plan");
    Ok(parts)
}

/// A plan and its execution stand side by side, at whatever depth.
fn find_parts(explained: &Document, parts: &mut Vec<Part>) -> Result<()> {
    if let (Ok(plan), Ok(execution)) =
        (explained.get_document("queryPlanner"), explained.get_document("executionStats"))
    {
        parts.push(Part {
            is_filtered: plan.get_document("parsedQuery").is_ok_and(|filter| !filter.is_empty()),
            documents_examined: number(execution, "totalDocsExamined")?,
        });
        return Ok(());
    }
    for value in explained.values() {
        let documents = match value {
            Bson::Document(document) => std::slice::from_ref(document).iter().collect(),
            Bson::Array(values) => values.iter().filter_map(Bson::as_document).collect::<Vec<_>>(),
            _ => Vec::new(),
        };
        documents.into_iter().try_for_each(|document| find_parts(document, parts))?;
    }
    Ok(())
}
