//! What a database has, what it should have, and the commands in between. Comparing is pure.

mod events;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::ErrorKind;

use super::daily::{OTHER, Parts};
use super::definition::{Collection, DAY_S, EventsBy, Index, Retention, collections};
use super::sharding::warn_unless_sharded;
use super::{ALERTS, EVENTS, Level, REJECTS};
use crate::now_ms;

/// Code of a `create` of what is there already.
pub(super) const NAMESPACE_EXISTS: i32 = 48;
/// Kind of what is neither a view nor a time series.
const COLLECTION: &str = "collection";
/// Code of reading indexes of a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// One thing that a database should have, and what is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which thing.
    pub what: String,
    /// What is to be done.
    pub change: Change,
}

/// What is to be done about a thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Nothing, it is as it should be.
    Keep,
    /// It is not there: the commands that create it.
    Create(Vec<Document>),
    /// It is another, which commands can mend in place: what differs, and the commands.
    Repair {
        /// What differs.
        how: String,
        /// What mends it.
        commands: Vec<Document>,
    },
    /// It is another, and stays so; what differs and what to do.
    Differs(String),
    /// Something that is not ours.
    Foreign,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.change {
            Change::Keep => write!(f, "keep     {what}"),
            Change::Create(_) => write!(f, "create   {what}"),
            Change::Repair { how, .. } => write!(f, "repair   {what}: {how}"),
            Change::Differs(how) => write!(f, "differs  {what}: {how}"),
            Change::Foreign => write!(f, "foreign  {what}: not ours, left alone"),
        }
    }
}

/// A collection as the server describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// `collection`, or `view` or `timeseries`.
    pub kind: String,
    /// Options, as `listCollections` gives them.
    pub options: Document,
    /// Indexes, as `listIndexes` gives them.
    pub indexes: Vec<Document>,
}

/// What is to be done so that a database has every collection as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The collections of events that there are then.
    pub events: Parts,
}

/// What is to be done in `database`.
///
/// # Errors
/// When MongoDB refuses.
pub async fn plan(database: &Database, retention: &Retention) -> Result<Plan> {
    Ok(planned(retention, &look(database).await?, now_ms()))
}

fn planned(retention: &Retention, found: &BTreeMap<String, Found>, now_ms: i64) -> Plan {
    let (mut steps, events) = events::steps(retention, found, now_ms);
    for collection in collections(retention) {
        steps.extend(compare(&collection, found.get(&collection.name)));
    }
    Plan { steps, events }
}

/// Creates what is missing in `database`. What is another stays as it is, which the log says; without
/// `retention`, that which is there is right. Gives the retention in force.
///
/// # Errors
/// When MongoDB refuses, for example for lack of rights.
pub async fn ensure(database: &Database, retention: Option<&Retention>) -> Result<Retention> {
    let found = look(database).await?;
    let there = in_force(&found);
    let wanted = retention.copied().unwrap_or(there);
    let Plan { steps, events } = planned(&wanted, &found, now_ms());
    for step in &steps {
        if matches!(step.change, Change::Repair { .. } | Change::Differs(_)) {
            tracing::warn!("{}: {step}; see `streampulse mongodb init`", database.name());
        }
    }
    apply(database, &steps, false).await?;
    warn_unless_sharded(database, &events.coming).await;
    Ok(if found.contains_key(EVENTS) { there } else { wanted })
}

/// The retention that the indexes of a database make.
fn in_force(found: &BTreeMap<String, Found>) -> Retention {
    let days = |collection: &str| {
        let mut seconds = found.get(collection)?.indexes.iter().filter_map(expires_after);
        NonZeroU32::new(u32::try_from(seconds.next()? / DAY_S).ok()?)
    };
    let (events_by, events) = match events::are_daily(found) {
        true => (EventsBy::Drop, OTHER),
        false => (EventsBy::Ttl, EVENTS),
    };
    Retention {
        events_days: days(events),
        events_by,
        rejects_days: days(REJECTS),
        minutes_days: days(Level::Minute.rollups()),
        hours_days: days(Level::Hour.rollups()),
        days_days: days(Level::Day.rollups()),
        alerts_days: days(ALERTS),
    }
}

/// Does the steps: creates, and with `repair` also mends.
///
/// # Errors
/// When MongoDB refuses.
pub async fn apply(database: &Database, steps: &[Step], repair: bool) -> Result<()> {
    for step in steps {
        for command in step.commands(repair) {
            run(database, step, command).await?;
        }
    }
    Ok(())
}

impl Step {
    /// The commands of this step; those that mend only with `repair`.
    pub fn commands(&self, repair: bool) -> &[Document] {
        match &self.change {
            Change::Create(commands) => commands,
            Change::Repair { commands, .. } if repair => commands,
            _ => &[],
        }
    }
}

async fn run(database: &Database, step: &Step, command: &Document) -> Result<()> {
    match database.run_command(command.clone()).await {
        Ok(_) => Ok(()),
        // Another process was first.
        Err(error) if is_code(&error, NAMESPACE_EXISTS) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("MongoDB refused: {step}")),
    }
}

async fn look(database: &Database) -> Result<BTreeMap<String, Found>> {
    let mut all = BTreeMap::new();
    let mut found = database.run_cursor_command(doc! { "listCollections": 1 }).await;
    let found = found.as_mut().map_err(|error| error.clone()).context("cannot list collections")?;
    while let Some(collection) = found.try_next().await? {
        let kind = collection.get_str("type")?.to_owned();
        let name = collection.get_str("name")?.to_owned();
        let options = collection.get_document("options").cloned().unwrap_or_default();
        all.insert(name, Found { kind, options, indexes: Vec::new() });
    }
    // Views are kept in `system.views`, whose indexes only an administrator may list.
    let has_indexes =
        |(name, found): &(&String, &mut Found)| found.kind == COLLECTION && !name.starts_with("system.");
    for (name, found) in all.iter_mut().filter(has_indexes) {
        match database.run_cursor_command(doc! { "listIndexes": name }).await {
            Ok(indexes) => found.indexes = indexes.try_collect().await?,
            Err(error) if is_code(&error, NAMESPACE_NOT_FOUND) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot list the indexes of {name}")),
        }
    }
    Ok(all)
}

/// The steps of one collection.
pub fn compare(collection: &Collection, found: Option<&Found>) -> Vec<Step> {
    let name = &collection.name;
    let Some(found) = found else {
        let mut steps = vec![Step {
            what: format!("collection {name}"),
            change: Change::Create(vec![collection.create()]),
        }];
        steps.extend(collection.indexes.iter().map(|index| Step {
            what: format!("index {} of {name}", index.name),
            change: Change::Create(vec![collection.create_indexes([index])]),
        }));
        return steps;
    };
    if found.kind != COLLECTION || found.options.get_bool("capped").unwrap_or(false) {
        let kind = if found.kind == COLLECTION { "capped collection" } else { &found.kind };
        let how =
            format!("it is a {kind}, which the pipeline cannot use: rename it, or use another --database");
        return vec![Step { what: format!("collection {name}"), change: Change::Differs(how) }];
    }
    let mut steps = vec![
        Step { what: format!("collection {name}"), change: compare_options(collection, found) },
        Step { what: format!("validator of {name}"), change: compare_validator(collection, found) },
    ];
    for index in &collection.indexes {
        steps.push(Step {
            what: format!("index {} of {name}", index.name),
            change: compare_index(collection, index, found),
        });
    }
    for index in &found.indexes {
        let key = index.get_str("name").unwrap_or_default();
        let is_ours = key == "_id_" || collection.indexes.iter().any(|ours| ours.name == key);
        if !is_ours {
            steps.push(Step {
                what: format!("index {key} of {name}"),
                change: unknown_index(collection, index, key),
            });
        }
    }
    steps
}

/// What cannot be changed once a collection is there.
fn compare_options(collection: &Collection, found: &Found) -> Change {
    let mut differences = Vec::new();
    let key = |options: &Document| {
        options.get_document("clusteredIndex").and_then(|index| index.get_document("key")).ok().cloned()
    };
    if key(&collection.options) != key(&found.options) {
        let which = if key(&collection.options).is_some() { "not clustered" } else { "clustered" };
        differences.push(format!("it is {which} by _id"));
    }
    if !collection.options.is_empty() && engine(&collection.options) != engine(&found.options) {
        differences.push(format!(
            "its engine options are {:?}, not {:?}",
            engine(&found.options).unwrap_or_default(),
            engine(&collection.options).unwrap_or_default()
        ));
    }
    if differences.is_empty() {
        return Change::Keep;
    }
    Change::Differs(format!(
        "{}; this cannot be changed in place: it works as it is, or copy it into a new one (docs/mongodb.md)",
        differences.join("; ")
    ))
}

fn engine(options: &Document) -> Option<String> {
    let engine = options.get_document("storageEngine").ok()?.get_document("wiredTiger").ok()?;
    engine.get_str("configString").ok().map(str::to_owned)
}

fn compare_validator(collection: &Collection, found: &Found) -> Change {
    let set = doc! {
        "collMod": &collection.name, "validator": collection.validator.clone(),
        "validationLevel": "strict", "validationAction": "error",
    };
    let option = |key: &str, default: &str| found.options.get_str(key).unwrap_or(default).to_owned();
    let (level, action) = (option("validationLevel", "strict"), option("validationAction", "error"));
    let how = match found.options.get_document("validator") {
        Err(_) => "there is none".to_owned(),
        Ok(validator) if *validator != collection.validator => "it is another".to_owned(),
        Ok(_) if level != "strict" || action != "error" => {
            format!("it has level {level} and action {action} instead of strict and error")
        }
        Ok(_) => return Change::Keep,
    };
    Change::Repair { how, commands: vec![set] }
}

fn compare_index(collection: &Collection, index: &Index, found: &Found) -> Change {
    let create = collection.create_indexes([index]);
    let drop = doc! { "dropIndexes": &collection.name, "index": &index.name };
    let is_named = |found: &&Document| found.get_str("name").is_ok_and(|name| name == index.name);
    let named = found.indexes.iter().find(is_named);
    let Some(theirs) = named else {
        return match index.expire_after_s {
            Some(seconds) => Change::Repair { how: expires(seconds), commands: vec![create] },
            None => Change::Create(vec![create]),
        };
    };
    let odd = odd_options(theirs);
    if theirs.get_document("key").ok() != Some(&index.keys) || !odd.is_empty() {
        let how = format!(
            "it is on {}{}",
            keys_of(theirs),
            odd.iter().map(|option| format!(", {option}")).collect::<String>()
        );
        return Change::Repair { how, commands: vec![drop, create] };
    }
    match (index.expire_after_s, expires_after(theirs)) {
        (ours, theirs) if ours == theirs => Change::Keep,
        (Some(seconds), _) => {
            let index = doc! { "name": &index.name, "expireAfterSeconds": seconds };
            let change = doc! { "collMod": &collection.name, "index": index };
            Change::Repair { how: expires(seconds), commands: vec![change] }
        }
        (None, _) => {
            Change::Repair { how: "documents go, and should stay".to_owned(), commands: vec![drop, create] }
        }
    }
}

/// An index that we would not make: a leftover of a retention is ours to end, everything else is left alone.
fn unknown_index(collection: &Collection, index: &Document, name: &str) -> Change {
    match expires_after(index) {
        Some(seconds) => Change::Repair {
            how: format!("documents go after {}, and should stay", days(seconds)),
            commands: vec![doc! { "dropIndexes": &collection.name, "index": name }],
        },
        None => Change::Foreign,
    }
}

/// Options that change which documents an index finds or lets in.
fn odd_options(index: &Document) -> Vec<String> {
    let odd = ["unique", "sparse", "partialFilterExpression", "hidden", "collation"];
    let set = |key: &&&str| index.get(**key).is_some_and(|value| *value != Bson::Boolean(false));
    odd.iter().filter(set).map(|key| (*key).to_owned()).collect()
}

fn keys_of(index: &Document) -> String {
    index.get_document("key").map(ToString::to_string).unwrap_or_default()
}

fn expires_after(index: &Document) -> Option<i64> {
    match *index.get("expireAfterSeconds")? {
        Bson::Int32(seconds) => Some(i64::from(seconds)),
        Bson::Int64(seconds) => Some(seconds),
        Bson::Double(seconds) => Some(seconds as i64),
        _ => None,
    }
}

fn expires(seconds: i64) -> String {
    format!("documents older than {} will be DELETED", days(seconds))
}

fn days(seconds: i64) -> String {
    match (seconds / DAY_S, seconds % DAY_S) {
        (1, 0) => "1 day".to_owned(),
        (days, 0) => format!("{days} days"),
        _ => format!("{seconds} s"),
    }
}

pub(super) fn is_code(error: &mongodb::error::Error, code: i32) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == code)
}
