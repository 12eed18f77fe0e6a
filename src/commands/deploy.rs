//! `deploy`: gives a Fluvio cluster the topics and SmartModules that the pipeline needs, and shows what
//! differs.

use std::process::ExitCode;

use anyhow::{Result, bail};
use runtime::TopicSpec;
use runtime::cluster::Cluster;
use runtime::cluster::deploy::{Admin, Change, Needs, Step};

use crate::args::DeployArgs;
use crate::modules;
use crate::plan::Deploy;

/// Runs the command. A finding is what differs and stays.
pub(super) async fn run(args: DeployArgs) -> Result<ExitCode> {
    let plan = Deploy::new(args)?;
    let needs = needs(&plan.topics)?;
    let admin = Admin::connect(&plan.cluster).await?;
    let steps = admin.plan(&needs).await?;
    println!("Fluvio cluster at {}", admin.endpoint());
    steps.iter().for_each(|step| println!("  {step}"));
    let due = steps.iter().filter(|step| step.is_due()).count();
    if plan.dry_run {
        println!("{due} to do; nothing was done (--dry-run)");
    } else {
        admin.apply(&needs, &steps).await?;
        println!("{due} done");
    }
    let differs = steps.iter().any(|step| matches!(step.change, Change::Differs(_)));
    Ok(if differs { ExitCode::from(super::EXIT_FINDING) } else { ExitCode::SUCCESS })
}

/// Creates what is not there. What is another than this program needs is left to `deploy`.
pub(super) async fn deploy_what_is_missing(cluster: &Cluster, topics: &[TopicSpec; 2]) -> Result<()> {
    let needs = needs(topics)?;
    let steps = cluster.admin().plan(&needs).await?;
    let is_missing = |step: &Step| matches!(step.change, Change::Create(_));
    let (missing, others): (Vec<_>, Vec<_>) = steps.into_iter().partition(is_missing);
    for step in &others {
        match &step.change {
            Change::Upgrade(how) => bail!(
                "the cluster's {} is not what this program needs ({how}); run `streampulse deploy`",
                step.what
            ),
            Change::Differs(_) => tracing::warn!("{step}"),
            Change::Keep | Change::Create(_) => {}
        }
    }
    missing.iter().for_each(|step| tracing::info!("{step}"));
    cluster.admin().apply(&needs, &missing).await
}

fn needs(topics: &[TopicSpec; 2]) -> Result<Needs> {
    let modules = modules::load()?;
    let named = [
        ("access-filter-map", modules.filter_map),
        ("access-window-aggregate", modules.window_aggregate),
        ("access-anomaly", modules.anomaly),
    ];
    let modules = named.into_iter().map(|(name, wasm)| (name.to_owned(), wasm)).collect();
    Ok(Needs { topics: topics.to_vec(), modules })
}
