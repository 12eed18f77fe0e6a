//! The server that is measured, and the inserts that it is given.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use mongodb::Database;
use mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, doc, rawdoc};

/// Units of CPU time in /proc, on every Linux.
const TICKS_PER_S: f64 = 100.0;

/// A database, and the process that serves it.
pub struct Server {
    pub database: Database,
    stat: PathBuf,
}

impl Server {
    pub async fn new(database: Database) -> Result<Self> {
        let status = database.client().database("admin").run_command(doc! { "serverStatus": 1 }).await?;
        let pid = number(&status, "pid")?;
        Ok(Self { database, stat: format!("/proc/{pid}/stat").into() })
    }

    /// Ends with everything on disk; sizes are those of the last checkpoint.
    pub async fn checkpoint(&self) -> Result<()> {
        self.database.client().database("admin").run_command(doc! { "fsync": 1 }).await?;
        Ok(())
    }

    /// CPU that it has used.
    pub fn cpu_us(&self) -> Result<f64> {
        cpu_us(&self.stat)
    }
}

/// CPU that a process or thread has used, by its `/proc/.../stat`, in microseconds.
pub fn cpu_us(stat: &Path) -> Result<f64> {
    // Fields 14 and 15 are its user and system time.
    times_us(stat, 14)
}

/// Two times of a `/proc/.../stat` together, in microseconds, by the number of the first field.
pub fn times_us(stat: &Path, first_field: usize) -> Result<f64> {
    let stat = std::fs::read_to_string(stat)
        .with_context(|| format!("cannot read {}; this benchmark needs Linux", stat.display()))?;
    // The name before the bracket, which is field 2, may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("no process")?;
    let times = fields.split_whitespace().skip(first_field - 3).take(2).map(str::parse::<f64>);
    Ok(times.sum::<Result<f64, _>>()? / TICKS_PER_S * 1e6)
}

/// What the environment says, or the default.
pub fn parameter<T: std::str::FromStr>(name: &str, default: T) -> Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}: {value}")),
        Err(_) => Ok(default),
    }
}

/// The same of numbers with commas between them.
pub fn list(name: &str, default: &str) -> Result<Vec<u64>> {
    let value = parameter(name, default.to_owned())?;
    let numbers = value.split(',').map(str::trim).filter(|number| !number.is_empty());
    numbers.map(|number| number.parse().with_context(|| format!("{name}: {number}"))).collect()
}

/// One insert of all `documents`, which the collection's validator is asked about, where it has one.
pub fn insert_command(
    collection: &str,
    documents: impl IntoIterator<Item = RawDocumentBuf>,
) -> RawDocumentBuf {
    insert(collection, documents, false)
}

/// One insert of all `documents`, as the sink makes them.
pub fn insert_as_sink(
    collection: &str,
    documents: impl IntoIterator<Item = RawDocumentBuf>,
) -> RawDocumentBuf {
    insert(collection, documents, true)
}

fn insert(
    collection: &str,
    documents: impl IntoIterator<Item = RawDocumentBuf>,
    bypasses: bool,
) -> RawDocumentBuf {
    let mut array = RawArrayBuf::new();
    documents.into_iter().for_each(|document| array.push(document));
    rawdoc! {
        "insert": collection,
        "ordered": false,
        "bypassDocumentValidation": bypasses,
        "writeConcern": { "w": "majority" },
        "documents": array,
    }
}

/// An answer says `ok` whatever became of its statements.
pub fn check(answer: &Document) -> Result<()> {
    let refused = ["writeErrors", "writeConcernError"].iter().find_map(|key| answer.get(key));
    ensure!(refused.is_none(), "the server refused: {refused:?}");
    Ok(())
}

pub fn number(document: &Document, key: &str) -> Result<f64> {
    match document.get(key) {
        Some(Bson::Int32(number)) => Ok(f64::from(*number)),
        Some(Bson::Int64(number)) => Ok(*number as f64),
        Some(Bson::Double(number)) => Ok(*number),
        other => anyhow::bail!("{key} is {other:?}"),
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
