//! `doctor`: is everything there that the pipeline needs?

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use runtime::embedded::create_private_dir;
use runtime::{Embedded, Runtime};

use crate::args::DoctorArgs;
use crate::config::Config;
use crate::plan::Store;
use crate::{modules, mongod};

/// Runs the command. A finding is a check that fails.
pub(super) async fn run(args: DoctorArgs) -> Result<ExitCode> {
    let mut healthy = true;
    let mut check = |name: &str, result: Result<String>| match result {
        Ok(text) => println!("ok    {name:<18} {text}"),
        Err(error) => {
            healthy = false;
            println!("FAIL  {name:<18} {error:#}");
        }
    };
    check("smartmodules", modules::load().map(|_| "built in".to_owned()));
    let config = Config::load(args.store.config.as_deref());
    check(
        "pipeline file",
        config.as_ref().map(|_| "valid".to_owned()).map_err(|error| anyhow::anyhow!("{error:#}")),
    );
    check("data directory", writable(&args.store.data_dir));
    if config.is_ok() {
        let store = Store::new(args.store)?;
        check("topics", topics(&store).await);
        if store.mongodb_uri.is_none() {
            let program = mongod::program().map(|program| program.display().to_string());
            check("mongod program", program.context("none found; `cargo xtask setup` fetches one"));
        }
        check("mongodb", mongodb(&store).await);
    }
    let fluvio = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|dir| dir.join("fluvio")).find(|file| file.is_file())
    });
    match fluvio {
        Some(fluvio) => println!("ok    {:<18} {}", "fluvio", fluvio.display()),
        None => println!("info  {:<18} not on PATH; the embedded runtime does not need it", "fluvio"),
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_FINDING) })
}

fn writable(dir: &Path) -> Result<String> {
    let cannot = || format!("cannot write to {}; choose another with --data-dir", dir.display());
    create_private_dir(dir).with_context(cannot)?;
    let probe = dir.join(".doctor");
    std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)).with_context(cannot)?;
    Ok(dir.display().to_string())
}

async fn topics(store: &Store) -> Result<String> {
    let dir = store.topics_dir();
    if !dir.join("access-logs.redb").exists() {
        return Ok("none yet".to_owned());
    }
    let [spec, _] = Config::load(None)?.topics();
    let state = Embedded::open(&dir)?.topic(&spec).await?.state().await?;
    let ends: Vec<_> = state.partitions.iter().map(|bounds| bounds.end.to_string()).collect();
    Ok(format!("access-logs reaches {} lines by partition", ends.join(", ")))
}

async fn mongodb(store: &Store) -> Result<String> {
    let reached = crate::mongodb::reach(store).await?;
    let skew_ms = {
        let admin = reached.database.client().database("admin");
        let hello = admin.run_command(::mongodb::bson::doc! { "hello": 1 }).await?;
        let server = hello.get_datetime("localTime").map_or(0, |time| time.timestamp_millis());
        server - ::mongodb::bson::DateTime::now().timestamp_millis()
    };
    let text = format!("{}, database {}, clock differs by {skew_ms} ms", reached.description, store.database);
    reached.close().await;
    Ok(text)
}
