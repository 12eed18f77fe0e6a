//! `alerts`: what is in `access_alerts`, and what comes; or which of it could not be delivered.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use ::mongodb::Database;
use ::mongodb::bson::{Bson, Document, doc};
use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use sink::schema::{ALERTS, DELIVERIES};

use crate::args::{AlertsArgs, Format};
use crate::plan::Store;
use crate::report::table::printable;

/// How often to look for changes.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How far back `--follow` watches for alerts that change, in milliseconds.
const FOLLOWED_MS: i64 = 24 * 60 * 60 * 1_000;
/// Most dead letters that are listed, the newest.
const DEAD_LISTED_MAX: i64 = 1_000;

/// Runs the command.
pub(super) async fn run(args: AlertsArgs) -> Result<ExitCode> {
    let reached = crate::mongodb::reach_to_read(&Store::new(args.store)?).await?;
    if args.dead {
        let listed = list_dead(&reached.database, args.format).await;
        reached.close().await;
        return listed.map(|()| ExitCode::SUCCESS);
    }
    let done = tokio::select! {
        done = list(&reached.database, args.format, args.follow) => done,
        () = sink::connector::asked_to_stop() => Ok(()),
    };
    reached.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

async fn list(database: &Database, format: Format, follow: bool) -> Result<()> {
    let mut seen = HashMap::new();
    let mut filter = doc! {};
    loop {
        let alerts = database.collection::<Document>(ALERTS);
        let mut found =
            alerts.find(filter).sort(doc! { "ts": 1, "_id": 1 }).await.context("cannot read the alerts")?;
        let mut newest = None;
        let mut current = HashMap::new();
        while let Some(alert) = found.try_next().await.context("cannot read the alerts")? {
            newest = alert.get_datetime("ts").ok().map(|ts| ts.timestamp_millis()).max(newest);
            let id = alert.get_str("_id").unwrap_or_default().to_owned();
            let shown = (
                alert.get_str("status").unwrap_or_default().to_owned(),
                alert.get_i64("observed").unwrap_or(0),
            );
            if seen.get(&id) != Some(&shown) {
                show(&alert, format)?;
            }
            current.insert(id, shown);
        }
        if !follow {
            if current.is_empty() && format == Format::Text {
                println!("No alerts.");
            }
            return Ok(());
        }
        // Only what can still change is looked at again.
        filter = match newest {
            Some(newest_ms) => {
                doc! { "ts": { "$gte": ::mongodb::bson::DateTime::from_millis(newest_ms - FOLLOWED_MS) } }
            }
            None => doc! {},
        };
        seen = current;
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

async fn list_dead(database: &Database, format: Format) -> Result<()> {
    let records = database.collection::<Document>(DELIVERIES);
    let found = records.find(doc! { "state": "dead" }).sort(doc! { "ts": -1 }).limit(DEAD_LISTED_MAX).await;
    let mut dead: Vec<Document> =
        found.context("cannot read the dead letters")?.try_collect().await.context("cannot read them")?;
    dead.reverse();
    let mut stdout = std::io::stdout().lock();
    if dead.is_empty() && format == Format::Text {
        writeln!(stdout, "No dead letters.")?;
    }
    for record in &dead {
        match format {
            Format::Json => writeln!(stdout, "{}", json(record))?,
            Format::Text => {
                let text = |key: &str| printable(record.get_str(key).unwrap_or("-"));
                let tries = record.get_i64("tries").unwrap_or(0);
                let (status, severity, receiver) = (text("status"), text("severity"), text("receiver"));
                writeln!(stdout, "{status:<7} {severity:<9} {receiver}: {}", text("text"))?;
                writeln!(stdout, "        {} after {tries} tries: {}", text("incident"), text("reason"))?;
            }
        }
    }
    Ok(())
}

pub(super) fn show(alert: &Document, format: Format) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match format {
        Format::Json => writeln!(stdout, "{}", json(alert))?,
        Format::Text => {
            let text = |key: &str| printable(alert.get_str(key).unwrap_or("-"));
            let (status, severity) = (text("status"), text("severity"));
            writeln!(stdout, "{status:<7} {severity:<9} {}", text("text"))?;
        }
    }
    stdout.flush()?;
    Ok(())
}

/// A document as plain JSON: times are RFC 3339. Alerts hold no other types than these.
fn json(document: &Document) -> serde_json::Value {
    fn value(bson: &Bson) -> serde_json::Value {
        match bson {
            Bson::DateTime(time) => time.try_to_rfc3339_string().map_or(serde_json::Value::Null, Into::into),
            Bson::Document(document) => json(document),
            Bson::String(text) => text.as_str().into(),
            Bson::Int64(number) => (*number).into(),
            Bson::Int32(number) => (*number).into(),
            Bson::Double(number) => (*number).into(),
            Bson::Null => serde_json::Value::Null,
            other => other.to_string().into(),
        }
    }
    document.iter().map(|(key, bson)| (key.clone(), value(bson))).collect()
}
