//! Leases in MongoDB: of several processes that could do a piece of work, one does, and another takes over
//! when it dies. A lease runs out by the server's clock, so clocks of clients do not matter. A holder that is
//! known to be dead (a process of this machine that is gone) is followed at once.
//!
//! A lease keeps work from being done twice at the same time; it is not what keeps counts right. A process
//! that was stopped, lost its lease and goes on meets a moved checkpoint, and stops.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::ReturnDocument;
use mongodb::{Collection, Database};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::retry::{backoff, is_transient};

/// The collection that leases lie in, beside checkpoints.
const COLLECTION: &str = "pipeline_state";
/// How long a lease holds without being renewed, in milliseconds.
pub const LEASE_MS: i64 = 10_000;
/// How often a holder renews its lease.
const RENEW_EVERY: Duration = Duration::from_millis(LEASE_MS as u64 / 4);
/// How often somebody who waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Which boot of which machine, and which container of it: what its process numbers mean.
    pub host: String,
    /// Number and start time of the process.
    pub process: String,
    /// For people: name of the machine and number of the process.
    pub name: String,
}

impl Holder {
    /// This process.
    pub fn this_process() -> Self {
        let pid = std::process::id();
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
        let namespace = std::fs::read_link("/proc/self/ns/pid").ok();
        let host = match (read("/proc/sys/kernel/random/boot_id"), namespace) {
            (Some(boot), Some(namespace)) => format!("{boot} {}", namespace.display()),
            // Where neither is known, nobody is ever taken for dead.
            _ => uuid::Uuid::new_v4().simple().to_string(),
        };
        let name = read("/proc/sys/kernel/hostname").unwrap_or_else(|| "a machine".to_owned());
        let process = process(pid).unwrap_or_else(|| pid.to_string());
        Self { host, process, name: format!("process {pid} on {name}") }
    }

    fn from(document: &Document) -> Option<Self> {
        let holder = document.get_document("holder").ok()?;
        let text = |key: &str| holder.get_str(key).ok().map(str::to_owned);
        Some(Self { host: text("host")?, process: text("process")?, name: text("name")? })
    }

    /// Whether `other` was a process of the machine of `self` and is gone.
    fn knows_dead(&self, other: &Self) -> bool {
        let pid = other.process.split(' ').next().and_then(|pid| pid.parse().ok());
        self.host == other.host && pid.is_some_and(|pid| process(pid).as_ref() != Some(&other.process))
    }
}

/// Number and start time of a process that lives; numbers come again, start times do not.
fn process(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the state is the first field after it.
    let mut fields = stat.rsplit(')').next()?.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let started = fields.nth(18)?;
    (!is_dead).then(|| format!("{pid} {started}"))
}

/// A lease that is held; given back when it is dropped or its process ends.
#[derive(Debug)]
pub struct Lease {
    states: Collection<Document>,
    key: String,
    token: i64,
    lost: watch::Receiver<bool>,
    renewing: AbortHandle,
}

impl Lease {
    /// Waits until nobody else holds the lease `name`, and holds it.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn acquire(database: &Database, name: &str, holder: &Holder) -> Result<Self> {
        let states = database.collection::<Document>(COLLECTION);
        let key = format!("lease|{name}");
        let (mut attempt, mut told) = (0, false);
        let token = loop {
            match take(&states, &key, holder).await {
                Ok(Taken::Now(token)) => break token,
                Ok(Taken::HeldBy(other)) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::info!("{name} is done by {}; standing by to take over", other.name);
                    }
                    attempt = 0;
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) if is_transient(&error) => {
                    backoff(attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error).with_context(|| format!("cannot take the lease of {name}")),
            }
        };
        if told {
            tracing::info!("taking over {name}");
        }
        let (tell, lost) = watch::channel(false);
        let renewing = tokio::spawn(renew(states.clone(), key.clone(), token, tell)).abort_handle();
        Ok(Self { states, key, token, lost, renewing })
    }

    /// Which holding of the lease this is; it grows with each one.
    pub fn token(&self) -> i64 {
        self.token
    }

    /// Whether it is still held, asked of MongoDB for as long as it is away.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn is_held(&self) -> Result<bool> {
        let mut attempt = 0;
        loop {
            match self.states.find_one(doc! { "_id": &self.key, "token": self.token }).await {
                Ok(found) => return Ok(found.is_some()),
                Err(error) if is_transient(&error) => {
                    backoff(attempt).await;
                    attempt += 1;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read the lease of {}", self.name()));
                }
            }
        }
    }

    /// An error when somebody else is known to have taken it.
    ///
    /// # Errors
    /// See above.
    pub fn check(&self) -> Result<()> {
        ensure!(!*self.lost.borrow(), "{} was taken over by another process", self.name());
        Ok(())
    }

    /// Waits until somebody else has taken it.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending().await
        }
    }

    /// The id of its document in `pipeline_state`.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// What it is about.
    pub fn name(&self) -> &str {
        self.key.trim_start_matches("lease|")
    }
}

impl Drop for Lease {
    /// Gives it back, for the next one to take at once.
    fn drop(&mut self) {
        self.renewing.abort();
        let (states, mine) = (self.states.clone(), doc! { "_id": &self.key, "token": self.token });
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let over = doc! { "$set": { "until": DateTime::from_millis(0) } };
            if let Err(error) = states.update_one(mine, over).await {
                tracing::debug!(%error, "cannot give a lease back; it runs out by itself");
            }
        });
    }
}

enum Taken {
    Now(i64),
    HeldBy(Holder),
}

async fn take(
    states: &Collection<Document>,
    key: &str,
    holder: &Holder,
) -> Result<Taken, mongodb::error::Error> {
    let first = doc! { "$setOnInsert": { "token": 0_i64, "until": DateTime::from_millis(0) } };
    let found = states.find_one_and_update(doc! { "_id": key }, first).upsert(true);
    let found = found.return_document(ReturnDocument::After).await?.unwrap_or_default();
    let before = Holder::from(&found);
    let token = found.get_i64("token").unwrap_or(0);
    let mut filter = doc! { "_id": key, "token": token };
    let is_over = before.as_ref().is_none_or(|before| before == holder || holder.knows_dead(before));
    if !is_over {
        filter.insert("$expr", doc! { "$lte": ["$until", "$$NOW"] });
    }
    let (host, process, name) = (&holder.host, &holder.process, &holder.name);
    let set = doc! {
        "holder": { "host": host, "process": process, "name": name },
        "token": token + 1,
        "until": { "$add": ["$$NOW", LEASE_MS] },
    };
    let done = states.update_one(filter, vec![doc! { "$set": set }]).await?;
    match before {
        _ if done.modified_count == 1 => Ok(Taken::Now(token + 1)),
        Some(before) => Ok(Taken::HeldBy(before)),
        None => Ok(Taken::HeldBy(Holder { name: "another process".to_owned(), ..holder.clone() })),
    }
}

async fn renew(states: Collection<Document>, key: String, token: i64, lost: watch::Sender<bool>) {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        let until = vec![doc! { "$set": { "until": { "$add": ["$$NOW", LEASE_MS] } } }];
        match states.update_one(doc! { "_id": &key, "token": token }, until).await {
            Ok(done) if done.matched_count == 0 => {
                lost.send_replace(true);
                return;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "cannot renew a lease"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_are_known_on_their_own_machine_only() {
        let me = Holder::this_process();
        assert!(!me.knows_dead(&me));
        let mut child = std::process::Command::new("true").spawn().expect("true starts");
        let process = process(child.id()).unwrap_or_else(|| format!("{} 1", child.id()));
        child.wait().expect("it ends");
        let dead = Holder { process, ..me.clone() };
        assert!(me.knows_dead(&dead));
        assert!(!me.knows_dead(&Holder { host: "elsewhere".to_owned(), ..dead }));
        let number_again = Holder { process: format!("{} 1", std::process::id()), ..me.clone() };
        assert!(me.knows_dead(&number_again), "another process with the number of a dead one");
    }
}
