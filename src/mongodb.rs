//! Reaching MongoDB: the one that was named, or a local one.

use ::mongodb::Database;
use anyhow::Result;
use sink::reach::Reads;

use crate::mongod::Mongod;
use crate::plan::Store;

/// A reached MongoDB.
#[derive(Debug)]
pub struct Reached {
    /// The database to use.
    pub database: Database,
    /// What it is, for people and summaries.
    pub description: String,
    local: Option<Mongod>,
}

impl Reached {
    /// Ends the local server if this process has started it.
    pub async fn close(self) {
        if let Some(mongod) = self.local {
            mongod.stop().await;
        }
    }

    /// Ends the local server, whoever has started it; for the process that has the data directory to itself.
    pub async fn close_for_good(self) {
        if let Some(mongod) = self.local {
            mongod.stop_any().await;
        }
    }
}

/// Reaches the MongoDB of `store`, or starts a local one when none is named.
///
/// # Errors
/// When it does not answer in time, or cannot do transactions.
pub async fn reach(store: &Store) -> Result<Reached> {
    reach_to(Reads::Primary, store).await
}

/// The same for a command that only reads, from a secondary where the URI says so.
///
/// # Errors
/// As [`reach`].
pub async fn reach_to_read(store: &Store) -> Result<Reached> {
    reach_to(Reads::AsTheUriSays, store).await
}

async fn reach_to(reads: Reads, store: &Store) -> Result<Reached> {
    let (uri, local) = match &store.mongodb_uri {
        Some(uri) => (uri.clone(), None),
        None => {
            let mongod = Mongod::start(&store.data_dir, store.mongod_port).await?;
            (mongod.uri().into(), Some(mongod))
        }
    };
    let sink::reach::Reached { database, description } =
        sink::reach::reach(uri.reveal(), &store.database, store.wait_for_mongodb, reads).await?;
    let whose = if local.is_some() { ", local" } else { "" };
    Ok(Reached { database, description: format!("{description}{whose}"), local })
}
