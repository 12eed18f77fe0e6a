//! What a process tells of itself over HTTP: `/metrics` in Prometheus' text format, `/healthz` and `/readyz`
//! for whoever starts it, and sends it work. Nothing is counted for it alone but how large writes are and how
//! long they take; the rest is looked up when somebody asks.

mod families;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mongodb::Database;
use mongodb::bson::doc;
use prometheus::{Registry, TEXT_FORMAT};
use runtime::{Bounds, Topic};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::guard::{guard, listen};
use crate::jobs::Work;
use crate::secret::without_credentials;
use crate::{Sink, alerts, events, rollups};

pub(crate) use families::Writes;

/// How long MongoDB and the topics may take to answer.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// Watches a process: first nothing of it, then what it is told to.
pub struct Monitor {
    started_at: SystemTime,
    watched: OnceLock<Watched>,
    failure: OnceLock<String>,
    registry: Registry,
}

struct Watched {
    database: Database,
    /// What runs the jobs, and those that it is to run.
    jobs: Option<(Arc<Sink>, Vec<Job>)>,
}

/// One job in one partition.
struct Job {
    name: &'static str,
    partition: u32,
    topic_name: &'static str,
    topic: Arc<dyn Topic>,
}

/// What was found when somebody asked.
struct Look {
    mongodb_answers: bool,
    /// How far the partitions of a topic reach; without the topics that did not say so.
    topics: BTreeMap<&'static str, Vec<Bounds>>,
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            started_at: SystemTime::now(),
            watched: OnceLock::new(),
            failure: OnceLock::new(),
            registry: Registry::new(),
        }
    }
}

impl Monitor {
    /// Answers at `address`, if there is one, until the result is dropped.
    ///
    /// # Errors
    /// When the address cannot be taken.
    pub async fn serve(self: &Arc<Self>, address: Option<SocketAddr>) -> Result<JoinSet<()>> {
        let mut serving = JoinSet::new();
        let Some(address) = address else { return Ok(serving) };
        let (listener, address) = listen(address, "--metrics or STREAMPULSE_METRICS").await?;
        let routes = guard(self.routes(), address.ip().is_loopback());
        tracing::info!("metrics are at http://{address}/metrics");
        serving.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!(%error, "nobody serves the metrics any more");
            }
        });
        Ok(serving)
    }

    /// The answers, for whatever else is served at the same address.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
    }

    /// Counters of other parts of the process, which are told too.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The process is about to run `work`.
    pub fn watch(&self, sink: &Arc<Sink>, work: &[Work]) {
        let jobs = work.iter().flat_map(|work| Job::all(sink, work)).collect();
        self.begin(Watched { database: sink.database.clone(), jobs: Some((sink.clone(), jobs)) });
    }

    /// The process is about to use MongoDB, and runs no job.
    pub fn watch_mongodb(&self, database: &Database) {
        self.begin(Watched { database: database.clone(), jobs: None });
    }

    fn begin(&self, watched: Watched) {
        assert!(self.watched.set(watched).is_ok(), "a process has one work");
    }

    /// The work has ended, and with it, soon, the process.
    pub fn ended<T>(&self, ended: &Result<T>) {
        if let Err(error) = ended {
            self.failure.get_or_init(|| without_credentials(&format!("{error:#}")));
        }
    }

    async fn look(&self) -> Option<(&Watched, Look)> {
        let watched = self.watched.get()?;
        let ping = timeout(LOOK_MAX, watched.database.run_command(doc! { "ping": 1 }));
        let (pinged, topics) = tokio::join!(ping, watched.topics());
        Some((watched, Look { mongodb_answers: matches!(pinged, Ok(Ok(_))), topics }))
    }

    /// Why the process cannot do its work now; nothing when it can.
    async fn obstacles(&self) -> Vec<String> {
        if let Some(failure) = self.failure.get() {
            return vec![failure.clone()];
        }
        let Some((watched, look)) = self.look().await else { return vec!["it is starting".to_owned()] };
        let mut obstacles = Vec::new();
        if !look.mongodb_answers || watched.is_away() {
            obstacles.push("MongoDB does not answer".to_owned());
        }
        let Some((sink, jobs)) = &watched.jobs else { return obstacles };
        let running = sink.progress.running();
        for Job { name, partition, .. } in jobs.iter().filter(|job| !running.contains(&job.key())) {
            obstacles.push(format!(
                "{name} of partition {partition} has not opened its stream, or another process does its work"
            ));
        }
        let names: BTreeMap<_, _> = jobs.iter().map(|job| (job.topic_name, ())).collect();
        for name in names.keys().filter(|name| !look.topics.contains_key(*name)) {
            obstacles
                .push(format!("{name} does not say how far it reaches, so nobody knows how much is to do"));
        }
        obstacles
    }
}

impl Watched {
    /// How far each topic reaches, asked all at once.
    async fn topics(&self) -> BTreeMap<&'static str, Vec<Bounds>> {
        let jobs = self.jobs.iter().flat_map(|(_, jobs)| jobs);
        let topics: BTreeMap<_, _> = jobs.map(|job| (job.topic_name, &job.topic)).collect();
        let asked = topics.into_iter().map(|(name, topic)| async move {
            match timeout(LOOK_MAX, topic.state()).await {
                Ok(Ok(state)) => Some((name, state.partitions)),
                Ok(Err(_)) | Err(_) => None,
            }
        });
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }

    /// Whether MongoDB did not answer a job the last time.
    fn is_away(&self) -> bool {
        let progress = self.jobs.as_ref().map(|(sink, _)| &sink.progress);
        progress.is_some_and(|progress| progress.mongodb_away.load(Ordering::Relaxed))
    }
}

impl Job {
    fn all(sink: &Sink, work: &Work) -> Vec<Self> {
        let of_counts = |name| {
            vec![Self { name, partition: 0, topic_name: "access-rollups", topic: sink.rollups.clone() }]
        };
        match work {
            Work::Events(logs) => {
                let job = |&partition| {
                    let topic = logs.topic.clone();
                    Self { name: events::JOB, partition, topic_name: "access-logs", topic }
                };
                logs.partitions.iter().map(job).collect()
            }
            Work::Rollups => of_counts(rollups::JOB),
            Work::Alerts => of_counts(alerts::JOB),
        }
    }

    fn key(&self) -> (&'static str, u32) {
        (self.name, self.partition)
    }
}

async fn metrics(State(monitor): State<Arc<Monitor>>) -> Response {
    match families::text(&monitor).await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    }
}

async fn healthz(State(monitor): State<Arc<Monitor>>) -> Response {
    told(monitor.failure.get().cloned().into_iter().collect())
}

async fn readyz(State(monitor): State<Arc<Monitor>>) -> Response {
    told(monitor.obstacles().await)
}

/// 200 where nothing is in the way.
fn told(obstacles: Vec<String>) -> Response {
    let is_ok = obstacles.is_empty();
    let status = if is_ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ok": is_ok, "problems": obstacles }))).into_response()
}
