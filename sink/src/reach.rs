//! Reaching a MongoDB that can do what the jobs need.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, WriteConcern};
use mongodb::{Client, Database};

/// How long a single operation waits for a server before it counts as failed and is tried again.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A reached MongoDB.
#[derive(Debug)]
pub struct Reached {
    /// The database to use.
    pub database: Database,
    /// What it is, for people and summaries.
    pub description: String,
}

/// From which members of a replica set a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The primary: what writes must see what it wrote.
    Primary,
    /// What the URI says (`readPreference`).
    AsTheUriSays,
}

/// Reaches the MongoDB at `uri` within `wait`, and its database of that name.
///
/// # Errors
/// When it does not answer in time, or cannot do transactions. No error shows the URI, which may hold a
/// password.
pub async fn reach(uri: &str, database: &str, wait: Duration, reads: Reads) -> Result<Reached> {
    let options = ClientOptions::parse(uri).await;
    let mut options = options.map_err(|_| {
        anyhow!("the MongoDB URI is not valid (it is not shown, since it may hold a password)")
    })?;
    options.app_name.get_or_insert_with(|| "streampulse".to_owned());
    options.server_selection_timeout = Some(wait);
    if reads == Reads::Primary {
        options.selection_criteria = None;
    }
    // What fewer members have an election can take back, after the log has forgotten the lines.
    options.write_concern = Some(WriteConcern::majority());
    let hosts = options.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (hello, version) = match hello(options.clone()).await {
        Ok(hello) => hello,
        // The error's own text is the driver's whole view of the network.
        Err(error) if matches!(error.kind.as_ref(), ErrorKind::ServerSelection { .. }) => bail!(
            "MongoDB at {hosts} did not answer within {} s; start it, correct its URI, or wait longer \
             (--wait-for-mongodb, in a connector wait_ms_max)",
            wait.as_secs_f64()
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
    let database = Client::with_options(options)?.database(database);
    Ok(Reached { database, description: format!("mongod {version}, {kind}") })
}

async fn hello(options: ClientOptions) -> Result<(Document, String), mongodb::error::Error> {
    let admin = Client::with_options(options)?.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    let build = admin.run_command(doc! { "buildInfo": 1 }).await?;
    Ok((hello, build.get_str("version").unwrap_or("of unknown version").to_owned()))
}
