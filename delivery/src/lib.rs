//! Delivery: tells receivers of incidents, each state once. What is to be told stands in `access_alerts`,
//! what was told in `access_deliveries`; so nothing is lost whatever is killed, and nothing of the pipeline
//! waits.
//!
//! # Delivery
//! At least once. A notification whose answer was not written down before the process died is sent again,
//! with the same key. States are told in order; of several that wait for one incident only the newest is
//! told.

mod changes;
mod counts;
mod due;
mod formats;
mod incident;
mod pace;
mod record;
mod send;
pub mod settings;
pub mod silences;
mod store;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use mongodb::Database;
use prometheus::Registry;
use reqwest::Client;
use runtime::lease::Holder;
use tokio::sync::watch;

use changes::Inbox;
use counts::Counts;
use settings::Receiver;
use store::Store;
use worker::{Drain, Worker};

/// The name of the lease: who holds it delivers.
const LEASE: &str = "deliveries";
/// How long the end waits for what is due.
const DRAIN_MAX: Duration = Duration::from_secs(15);
/// How long the end waits for a beginning, where the whole run was short.
const BEGIN_MAX: Duration = Duration::from_secs(2);

/// Tells receivers, as long as it runs.
pub struct Delivery {
    store: Store,
    receivers: Vec<Receiver>,
    client: Client,
    drain: Drain,
    counts: Counts,
    /// Whether this is the process that delivers.
    running: watch::Sender<bool>,
}

impl Delivery {
    /// To these receivers; what becomes of it is counted in `registry`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(database: Database, receivers: Vec<Receiver>, registry: &Registry) -> Result<Self> {
        let drain = Drain { asked: watch::Sender::new(false), settled: watch::Sender::new(0) };
        let (store, client) = (Store { database }, send::client()?);
        let counts = Counts::new(&receivers, registry)?;
        Ok(Self { store, receivers, client, drain, counts, running: watch::Sender::new(false) })
    }

    /// Runs for ever; where several processes could, one does.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn run(&self, holder: &Holder) -> Result<()> {
        let end = || self.set_running(false);
        sink::jobs::alone(&self.store.database, LEASE, holder, || self.deliver(), end).await
    }

    fn set_running(&self, running: bool) {
        self.running.send_replace(running);
    }

    async fn deliver(&self) -> Result<()> {
        self.set_running(true);
        let inboxes: Vec<Arc<Inbox>> = self.receivers.iter().map(|_| Arc::default()).collect();
        let work = |receiver: Receiver, inbox: Arc<Inbox>| async {
            let (store, client) = (self.store.clone(), self.client.clone());
            Worker::new(receiver, store, client, inbox, self.counts.clone()).await?.run(&self.drain).await
        };
        let workers = self.receivers.iter().zip(&inboxes);
        let workers = workers.map(|(receiver, inbox)| work(receiver.clone(), inbox.clone()));
        let workers: Vec<_> = workers.collect();
        let watching = changes::watch(&self.store.database, &inboxes);
        tokio::try_join!(try_join_all(workers), watching).map(drop)
    }

    /// Waits, for a while, until what is due now is told; what a receiver does not take waits for the next
    /// run. Nothing where another process delivers.
    pub async fn drain(&self) {
        let mut running = self.running.subscribe();
        if tokio::time::timeout(BEGIN_MAX, running.wait_for(|running| *running)).await.is_err() {
            return;
        }
        self.drain.asked.send_replace(true);
        let mut settled = self.drain.settled.subscribe();
        let all = settled.wait_for(|count| *count >= self.receivers.len());
        if tokio::time::timeout(DRAIN_MAX, all).await.is_err() {
            tracing::warn!("not all alerts were delivered in time; the next run goes on");
        }
    }
}
