//! `mongodb shards`: what each shard of a cluster has, and where it grows.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ::mongodb::Database;
use anyhow::Result;
use serde::Serialize;
use sink::schema::plan::{Change, plan};
use sink::schema::sharding::{self, Found, Holding, Holdings};
use sink::schema::{EVENTS, REJECTS};

use super::mongodb::wanted;
use crate::args::{Format, MongodbShardsArgs};
use crate::mongodb::reach;
use crate::plan::Store;
use crate::report::table::{Align, Page, Table};

/// A shard that takes more than this many times its share of new events is hot.
const HOT_SHARE_MAX: f64 = 2.0;
/// New events from which on shares say something.
const NEW_MIN: u64 = 100;
/// Columns of the table.
const WIDTH: usize = 120;

/// What the command tells.
#[derive(Debug, Serialize)]
struct Told {
    database: String,
    watched_seconds: f64,
    collections: Holdings,
    findings: Vec<String>,
}

/// Runs the command. A finding is a jumbo or hot chunk, or events that should go elsewhere.
pub(super) async fn run(args: MongodbShardsArgs) -> Result<ExitCode> {
    let store = Store::new(args.store)?;
    let reached = reach(&store).await?;
    let told = look(&store, &reached.database, args.for_time).await;
    reached.close().await;
    let told = told?;
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => writeln!(stdout, "{}", serde_json::to_string_pretty(&told)?)?,
        Format::Text => write!(stdout, "{}", text(&told))?,
    }
    let found = !told.findings.is_empty();
    Ok(if found { ExitCode::from(super::EXIT_FINDING) } else { ExitCode::SUCCESS })
}

async fn look(store: &Store, database: &Database, for_time: Duration) -> Result<Told> {
    let client = database.client();
    sharding::require_mongos(&client.database("admin")).await?;
    let events = plan(database, &store.retention).await?.events;
    let wanted = wanted(store, database, events).await?;
    let found = Found::read(&client.database("config"), wanted.database).await?;
    let mut findings = Vec::new();
    let mut assignments = Vec::new();
    for collection in wanted.laid_out() {
        let newest = sharding::newest(database, &wanted, collection).await?;
        let assigned = sharding::assign(&found, &wanted, collection, &newest);
        let steps = sharding::layout(&found, &wanted, collection, &assigned);
        let misplaced = steps.iter().filter(|step| step.change != Change::Keep);
        findings.extend(misplaced.map(|step| format!("should go: {}", step.what)));
        assignments.push((collection, assigned));
    }
    tokio::time::sleep(for_time).await;
    let mut collections = sharding::holdings(database, &found, &wanted).await?;
    for (collection, assigned) in assignments {
        let new = sharding::count_new(database, &found, &wanted, collection, &assigned).await?;
        let label = if collection == REJECTS { REJECTS } else { EVENTS };
        let Some(by_shard) = collections.get_mut(label) else { continue };
        for (shard, n) in new {
            by_shard.entry(shard).or_default().new += n;
        }
    }
    findings.extend(sharding::define(&found, &wanted).iter().filter_map(|step| match step.change {
        Change::Keep => None,
        _ => Some(step.to_string()),
    }));
    findings.extend(sharding::uneven(&found, &wanted));
    findings.extend(hot_and_jumbo(&collections));
    Ok(Told {
        database: database.name().to_owned(),
        watched_seconds: for_time.as_secs_f64(),
        collections,
        findings,
    })
}

fn hot_and_jumbo(collections: &Holdings) -> Vec<String> {
    let mut findings = Vec::new();
    for (collection, by_shard) in collections {
        let new: u64 = by_shard.values().map(|holding| holding.new).sum();
        for (shard, holding) in by_shard {
            let times = holding.new as f64 * by_shard.len() as f64 / new.max(1) as f64;
            if new >= NEW_MIN && times > HOT_SHARE_MAX {
                findings.push(format!(
                    "{collection} on {shard} is hot: {times:.1} times its share of new documents"
                ));
            }
            if holding.jumbo > 0 {
                findings.push(format!(
                    "{collection} on {shard} has {} jumbo chunks, which the balancer does not move",
                    holding.jumbo
                ));
            }
        }
    }
    findings
}

fn text(told: &Told) -> String {
    let mut page = Page { text: String::new(), color: false, width: WIDTH };
    page.title(&format!("database {}, new documents within {} s", told.database, told.watched_seconds));
    let right = ["documents", "share", "MB", "MB on disk", "chunks", "jumbo", "new", "share of new"];
    let heads = [("collection", Align::Left), ("shard", Align::Left)];
    let mut table = Table::new(heads.into_iter().chain(right.map(|head| (head, Align::Right))));
    for (collection, by_shard) in &told.collections {
        let sum = |of: fn(&Holding) -> u64| by_shard.values().map(of).sum::<u64>();
        let (documents, new) = (sum(|holding| holding.documents), sum(|holding| holding.new));
        let share = |part: u64, whole: u64| match whole {
            0 => String::new(),
            _ => format!("{:.1}%", 100.0 * part as f64 / whole as f64),
        };
        let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
        for (shard, holding) in by_shard {
            table.row(
                [
                    collection.clone(),
                    shard.clone(),
                    holding.documents.to_string(),
                    share(holding.documents, documents),
                    megabytes(holding.bytes),
                    megabytes(holding.bytes_on_disk),
                    holding.chunks.to_string(),
                    holding.jumbo.to_string(),
                    holding.new.to_string(),
                    share(holding.new, new),
                ],
                None,
            );
        }
    }
    page.table(&table);
    page.line("");
    match told.findings.as_slice() {
        [] => page.line("Nothing stands out."),
        findings => findings.iter().for_each(|finding| page.line(&format!("! {finding}"))),
    }
    page.text
}
