//! `produce`: lines into the topic, or onto standard output.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use producer::Incident;
use producer::publish::{Destination, Lines};
use runtime::cluster::Cluster;
use runtime::lease::Holder;
use runtime::{Embedded, Runtime, Writers};
use sink::connector::asked_to_stop;
use tokio_util::sync::CancellationToken;

use crate::args::ProduceArgs;
use crate::mongodb::reach;
use crate::plan::{Produce, ProduceTo, Source, Topics};

/// Runs the command.
pub(super) async fn run(args: ProduceArgs) -> Result<ExitCode> {
    let plan = Produce::new(args)?;
    write_labels(plan.labels.as_deref(), plan.source.incidents())?;
    let mut reached = None;
    let to = match &plan.to {
        ProduceTo::Print => Destination::Print,
        ProduceTo::Embedded(dir) => Destination::Topic(Embedded::open(dir)?.topic(&plan.topics.logs).await?),
        ProduceTo::Cluster(address, store) => {
            let mongodb = reached.insert(reach(store).await?);
            let cluster = Cluster::connect(address, mongodb.database.clone(), Holder::this_process()).await?;
            Destination::Topic(cluster.existing(&plan.topics.logs.name, Writers::One).await?)
        }
    };
    let partitions = match &to {
        Destination::Topic(topic) => topic.state().await?.partitions.len(),
        Destination::Print => 1,
    };
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            match plan.for_time {
                Some(time) => {
                    tokio::select! { () = asked_to_stop() => {}, () = tokio::time::sleep(time) => {} }
                }
                None => asked_to_stop().await,
            }
            stop.cancel();
        }
    });
    let sent = feed(&plan.source, &plan.topics, &to, partitions, &stop).await;
    drop(to);
    if let Some(reached) = reached {
        reached.close().await;
    }
    let sent = sent?;
    tracing::info!(lines = sent, "done");
    Ok(ExitCode::SUCCESS)
}

/// Brings a source's lines to their destination until it ends or is stopped. Gives how many there were.
pub(super) async fn feed(
    source: &Source,
    topics: &Topics,
    to: &Destination,
    partitions: usize,
    stop: &CancellationToken,
) -> Result<u64> {
    let field = topics.user_id_field.clone();
    let empty = move || Lines::new(partitions, &field);
    match source {
        Source::Synthetic(synthetic) => synthetic.run(to, empty(), stop).await,
        Source::Import(import) => {
            let notes = match to {
                Destination::Topic(topic) => topic.notes().await?,
                Destination::Print => BTreeMap::new(),
            };
            import.run(to, (&notes, partitions), empty, stop).await
        }
    }
}

/// Writes the labels of incidents, one JSON document a line.
pub(super) fn write_labels(path: Option<&Path>, incidents: &[Incident]) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut text = Vec::new();
    for incident in incidents {
        serde_json::to_writer(&mut text, incident)?;
        text.write_all(b"\n")?;
    }
    std::fs::write(path, text).with_context(|| format!("cannot write labels to {}", path.display()))
}
