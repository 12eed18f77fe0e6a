//! Reaching MongoDB: the one that was named, or a local one.

use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::error::ErrorKind;
use ::mongodb::options::ClientOptions;
use ::mongodb::{Client, Database};
use anyhow::{Context, Result, bail};

use crate::mongod::Mongod;
use crate::plan::Store;

/// How long a single operation waits for a server before it counts as failed and is tried again.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

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
    let (uri, local) = match &store.mongodb_uri {
        Some(uri) => (uri.clone(), None),
        None => {
            let mongod = Mongod::start(&store.data_dir, store.mongod_port).await?;
            (mongod.uri(), Some(mongod))
        }
    };
    let mut options = ClientOptions::parse(&uri).await.context("the MongoDB URI is not valid")?;
    options.app_name.get_or_insert_with(|| "streampulse".to_owned());
    options.server_selection_timeout = Some(store.wait_for_mongodb);
    let hosts = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (hello, version) = match hello(options.clone()).await {
        Ok(hello) => hello,
        // The error's own text is the driver's whole view of the network.
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. }) => bail!(
            "MongoDB at {hosts} did not answer within {} s; start it, correct --mongodb-uri, or wait longer with \
             --wait-for-mongodb",
            store.wait_for_mongodb.as_secs_f64()
        ),
        Err(error) => return Err(error).with_context(|| format!("MongoDB at {hosts} refused us")),
    };
    let kind = if hello.get_str("msg").is_ok_and(|message| message == "isdbgrid") {
        "sharded cluster".to_owned()
    } else if let Ok(name) = hello.get_str("setName") {
        format!("replica set {name}")
    } else {
        bail!(
            "MongoDB at {hosts} is a standalone server, which has no transactions; start it with --replSet and run \
             rs.initiate() once"
        );
    };
    options.server_selection_timeout = Some(SERVER_SELECTION_TIMEOUT);
    let database = Client::with_options(options)?.database(&store.database);
    let whose = if local.is_some() { ", local" } else { "" };
    Ok(Reached { database, description: format!("mongod {version}, {kind}{whose}"), local })
}

async fn hello(options: ClientOptions) -> Result<(Document, String), ::mongodb::error::Error> {
    let admin = Client::with_options(options)?.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    let build = admin.run_command(doc! { "buildInfo": 1 }).await?;
    Ok((hello, build.get_str("version").unwrap_or("of unknown version").to_owned()))
}
