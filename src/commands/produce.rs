//! `produce`: lines into the topic, or onto standard output.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use producer::Incident;
use producer::publish::{Destination, Lines};
use runtime::{Embedded, Runtime, TopicState};
use tokio_util::sync::CancellationToken;

use crate::args::ProduceArgs;
use crate::plan::{Produce, Source, Topics};

/// Runs the command.
pub(super) async fn run(args: ProduceArgs) -> Result<ExitCode> {
    let plan = Produce::new(args)?;
    write_labels(plan.labels.as_deref(), plan.source.incidents())?;
    let (to, state) = match &plan.topics_dir {
        Some(dir) => {
            let topic = Embedded::open(dir)?.topic(&plan.topics.logs).await?;
            let state = topic.state().await?;
            (Destination::Topic(topic), state)
        }
        None => (
            Destination::Print,
            TopicState { id: String::new(), partitions: Vec::new(), notes: Default::default() },
        ),
    };
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            match plan.for_time {
                Some(time) => {
                    tokio::select! { () = super::asked_to_stop() => {}, () = tokio::time::sleep(time) => {} }
                }
                None => super::asked_to_stop().await,
            }
            stop.cancel();
        }
    });
    let sent = feed(&plan.source, &plan.topics, &to, &state, &stop).await?;
    tracing::info!(lines = sent, "done");
    Ok(ExitCode::SUCCESS)
}

/// Brings a source's lines to their destination until it ends or is stopped. Gives how many there were.
pub(super) async fn feed(
    source: &Source,
    topics: &Topics,
    to: &Destination,
    state: &TopicState,
    stop: &CancellationToken,
) -> Result<u64> {
    let (partitions, field) = (state.partitions.len(), topics.user_id_field.clone());
    let empty = move || Lines::new(partitions, &field);
    match source {
        Source::Synthetic(synthetic) => synthetic.run(to, empty(), stop).await,
        Source::Import(import) => import.run(to, state, empty, stop).await,
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
