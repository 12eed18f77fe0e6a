//! Running jobs in one process: each for ever, and where several processes could, only while it holds the
//! job's lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail};
use mongodb::Database;
use runtime::lease::{Holder, Lease};
use runtime::retry::backoff;
use tokio::task::JoinSet;

use crate::checkpoint::Followed;
use crate::write::is_away;
use crate::{Logs, Progress, Sink, alerts, events, rollups, ticks};

/// One of the three jobs.
pub enum Work {
    /// Lines of these partitions to events, rejects and counts.
    Events(Arc<Logs>),
    /// Counts to rollups.
    Rollups,
    /// Counts to alerts.
    Alerts,
}

/// Jobs that run.
pub struct Jobs {
    set: JoinSet<(String, Result<()>)>,
    count: usize,
}

impl Jobs {
    /// Starts `work`; with a `holder`, each job under a lease.
    ///
    /// # Errors
    /// When a topic cannot be reached.
    pub async fn start(sink: &Arc<Sink>, work: &[Work], holder: Option<&Holder>) -> Result<Self> {
        let mut this = Self { set: JoinSet::new(), count: 0 };
        for work in work {
            match work {
                Work::Events(logs) => this.start_events(sink, logs, holder).await?,
                Work::Rollups => {
                    let job = |sink: Arc<Sink>| async move { rollups::run(&sink).await };
                    this.start_one(sink, rollups::JOB, (&sink.rollups.state().await?.id, 0), holder, job);
                }
                Work::Alerts => {
                    let job = |sink: Arc<Sink>| async move { alerts::run(&sink).await };
                    this.start_one(sink, alerts::JOB, (&sink.rollups.state().await?.id, 0), holder, job);
                }
            }
        }
        Ok(this)
    }

    async fn start_events(
        &mut self,
        sink: &Arc<Sink>,
        logs: &Arc<Logs>,
        holder: Option<&Holder>,
    ) -> Result<()> {
        let id = logs.topic.state().await?.id;
        for &partition in &logs.partitions {
            let logs = logs.clone();
            let job = move |sink: Arc<Sink>| {
                let logs = logs.clone();
                async move { events::run(&sink, &logs, partition).await }
            };
            self.start_one(sink, events::JOB, (&id, partition), holder, job);
        }
        let (sink, logs) = (sink.clone(), logs.clone());
        self.also("ticks", async move { ticks::run(&sink, &logs).await });
        Ok(())
    }

    fn start_one<F: Future<Output = Result<()>> + Send>(
        &mut self,
        sink: &Arc<Sink>,
        name: &'static str,
        (topic_id, partition): (&str, u32),
        holder: Option<&Holder>,
        job: impl Fn(Arc<Sink>) -> F + Send + Sync + 'static,
    ) {
        self.count += 1;
        let (sink, holder) = (sink.clone(), holder.cloned());
        let lease = format!("{name}|{topic_id}|{partition}");
        self.also(&format!("{name} of partition {partition}"), async move {
            let end = || sink.progress.end(name, partition);
            let run = || persistent(|| job(sink.clone()), &sink.progress, end);
            match holder {
                None => run().await,
                Some(holder) => alone(&sink.database, &lease, &holder, run, end).await,
            }
        });
    }

    /// Runs something else with the jobs, whose end is a failure too.
    pub fn also(&mut self, name: &str, task: impl Future<Output = Result<()>> + Send + 'static) {
        let name = name.to_owned();
        self.set.spawn(async move { (name, task.await) });
    }

    /// How many jobs there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Waits until one ends. Jobs never end by themselves: the first that does has failed.
    ///
    /// # Errors
    /// Always.
    pub async fn first_failure(&mut self) -> Result<()> {
        match self.set.join_next().await {
            Some(Ok((name, Err(error)))) => Err(error.context(format!("the job {name} stopped"))),
            Some(Ok((name, Ok(())))) => bail!("the job {name} ended although there is more to do"),
            Some(Err(error)) => Err(error).context("a job broke down"),
            None => bail!("no job runs"),
        }
    }

    /// Ends all jobs between two of their steps, and gives their leases back.
    pub async fn stop(mut self) {
        self.set.shutdown().await;
    }
}

/// Does `job`, and begins it again from its checkpoint when MongoDB goes away while it starts; once it
/// runs, it waits by itself.
async fn persistent<F: Future<Output = Result<()>>>(
    job: impl Fn() -> F,
    progress: &Progress,
    end: impl Fn(),
) -> Result<()> {
    let mut attempt = 0;
    loop {
        match job().await {
            Err(error) if is_away(&error) => {
                end();
                progress.mongodb_away.store(true, Ordering::Relaxed);
                progress.mongodb_retries.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("MongoDB went away while a job began: {error:#}; beginning again");
                backoff(attempt).await;
                attempt += 1;
            }
            ended => return ended,
        }
    }
}

/// Does `job` while the lease is held, and again whenever it is held anew; `end` is called when it is lost.
///
/// # Errors
/// Those of the job, and when MongoDB refuses the lease.
pub async fn alone<F: Future<Output = Result<()>>>(
    database: &Database,
    lease: &str,
    holder: &Holder,
    job: impl Fn() -> F,
    end: impl Fn(),
) -> Result<()> {
    loop {
        let lease = Lease::acquire(database, lease, holder).await?;
        let done = tokio::select! {
            done = job() => done,
            () = lease.lost() => Ok(()),
        };
        end();
        // Whatever went wrong without the lease came from a successor that is at work already. With it, a
        // checkpoint can have another owner too: one who was slow between taking the lease and loading.
        let was_followed = matches!(&done, Err(error) if error.is::<Followed>());
        if !was_followed && lease.check().is_ok() && lease.is_held().await? {
            return done;
        }
        tracing::warn!("{} was taken over by another process; standing by", lease.name());
    }
}
