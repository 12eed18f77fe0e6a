//! Reaching a MongoDB that can do what the jobs need.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, Tls, TlsOptions, WriteConcern};
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
    if let Some(Tls::Enabled(tls)) = &options.tls {
        check_tls(tls)?;
    }
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
        Err(error) => match error.kind.as_ref() {
            ErrorKind::ServerSelection { message, .. } => bail!(
                "MongoDB at {hosts} did not answer within {} s{}; start it, correct its URI, or wait longer \
                 (--wait-for-mongodb, in a connector wait_ms_max)",
                wait.as_secs_f64(),
                reason(message)
            ),
            _ => return Err(error).with_context(|| format!("MongoDB at {hosts} refused us")),
        },
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

/// Files that TLS needs; the driver would not say which of them cannot be read.
fn check_tls(tls: &TlsOptions) -> Result<()> {
    let files = [("tlsCAFile", &tls.ca_file_path), ("tlsCertificateKeyFile", &tls.cert_key_file_path)];
    for (option, path) in files {
        if let Some(path) = path {
            std::fs::File::open(path)
                .with_context(|| format!("cannot read {option} of the MongoDB URI, {}", path.display()))?;
        }
    }
    if tls.allow_invalid_certificates == Some(true) {
        tracing::warn!(
            "the MongoDB URI turns off the check of the server's certificate: whoever is between can read and \
             change everything"
        );
    }
    Ok(())
}

/// Why the first server that did not answer did not. The whole text is the driver's view of the network.
fn reason(message: &str) -> String {
    let error = message.split_once("Error: ").map(|(_, rest)| rest.split(", labels").next().unwrap_or(rest));
    let Some(error) = error else { return String::new() };
    let advice = if error.contains("invalid peer certificate") {
        "; the CA that signed its certificate belongs into tlsCAFile, and the URI must name it as the certificate does"
    } else {
        ""
    };
    format!(" ({}{advice})", error.trim_start_matches("Kind: "))
}

async fn hello(options: ClientOptions) -> Result<(Document, String), mongodb::error::Error> {
    let admin = Client::with_options(options)?.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    let build = admin.run_command(doc! { "buildInfo": 1 }).await?;
    Ok((hello, build.get_str("version").unwrap_or("of unknown version").to_owned()))
}
