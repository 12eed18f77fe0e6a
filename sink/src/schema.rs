//! The collections and their indexes, made when they are not there.

use anyhow::{Context, Result};
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::{Database, IndexModel};

/// Raw events.
pub const EVENTS: &str = "access_events";
/// Lines that are no events.
pub const REJECTS: &str = "access_rejects";
/// Totals by minute.
pub const MINUTES: &str = "access_minutes";
/// Alerts.
pub const ALERTS: &str = "access_alerts";
/// Checkpoints and topic epochs.
pub const STATE: &str = "pipeline_state";

/// Code of a `create` of what is there already.
const NAMESPACE_EXISTS: i32 = 48;

/// The window sizes of rollups and user sketches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, UTC.
    Day,
}

impl Level {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Window size in minutes.
    pub fn size_minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// The collection of rollups.
    pub fn rollups(self) -> &'static str {
        match self {
            Self::Minute => "access_rollups_1m",
            Self::Hour => "access_rollups_1h",
            Self::Day => "access_rollups_1d",
        }
    }

    /// The collection of user sketches; those of minutes lie with the minutes' totals.
    pub fn users(self) -> &'static str {
        match self {
            Self::Minute => MINUTES,
            Self::Hour => "access_users_1h",
            Self::Day => "access_users_1d",
        }
    }

    /// The next smaller size.
    pub fn finer(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
        }
    }

    /// The start of the window that a minute lies in, in minutes since 1970.
    pub fn window(self, minute: u32) -> u32 {
        minute - minute % self.size_minutes()
    }
}

/// Creates what is missing. What is there stays as it is.
///
/// # Errors
/// When MongoDB refuses, for example for lack of rights.
pub async fn ensure(database: &Database) -> Result<()> {
    for name in [EVENTS, REJECTS] {
        // Clustered by `_id`: no second index to write; zstd halves the bytes on disk.
        let options = doc! {
            "clusteredIndex": { "key": { "_id": 1 }, "unique": true },
            "storageEngine": { "wiredTiger": { "configString": "block_compressor=zstd" } },
        };
        create(database, name, options).await?;
    }
    for name in [MINUTES, ALERTS, STATE, Level::Hour.users(), Level::Day.users()] {
        create(database, name, doc! {}).await?;
    }
    for level in Level::ALL {
        create(database, level.rollups(), doc! {}).await?;
        index(database, level.rollups(), doc! { "ts": 1 }).await?;
    }
    index(database, ALERTS, doc! { "ts": 1 }).await
}

async fn create(database: &Database, name: &str, options: Document) -> Result<()> {
    let mut command = doc! { "create": name };
    command.extend(options);
    match database.run_command(command).await {
        Ok(_) => Ok(()),
        Err(error) if is_code(&error, NAMESPACE_EXISTS) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot create the collection {name}")),
    }
}

async fn index(database: &Database, name: &str, keys: Document) -> Result<()> {
    let index = IndexModel::builder().keys(keys).build();
    let created = database.collection::<Document>(name).create_index(index).await;
    created.map(|_| ()).with_context(|| format!("cannot create an index of {name}"))
}

fn is_code(error: &mongodb::error::Error, code: i32) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Command(command) if command.code == code)
}
