//! `deliver`: tells receivers of alerts, and nothing else; for pipelines that run as connectors.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use delivery::Delivery;
use runtime::lease::Holder;
use sink::connector::asked_to_stop;
use sink::monitor::Monitor;
use sink::schema;

use crate::args::DeliverArgs;
use crate::plan::Deliver;

/// Runs the command until it is asked to stop.
pub(super) async fn run(args: DeliverArgs) -> Result<ExitCode> {
    let monitor = Arc::new(Monitor::default());
    let _serving = monitor.serve(args.monitor.metrics).await?;
    let plan = Deliver::new(args.store)?;
    let reached = crate::mongodb::reach(&plan.store).await?;
    let delivering = async {
        schema::ensure(&reached.database, Some(&plan.store.retention)).await?;
        let (database, receivers) = (reached.database.clone(), plan.receivers.clone());
        let delivery = Delivery::new(database, receivers, monitor.registry())?;
        monitor.watch_mongodb(&reached.database);
        let names: Vec<&str> = plan.receivers.iter().map(|receiver| receiver.name.as_str()).collect();
        tracing::info!(receivers = names.join(", "), mongodb = reached.description, "delivering alerts");
        delivery.run(&Holder::this_process()).await
    };
    let done = tokio::select! {
        // First, so that what asks to stop is heard from here on.
        biased;
        () = asked_to_stop() => Ok(()),
        done = delivering => done,
    };
    monitor.ended(&done);
    reached.close().await;
    done.map(|()| ExitCode::SUCCESS)
}
