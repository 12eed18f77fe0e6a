//! What tells one receiver: looks at incidents that have changed, decides what is due, sends one notification
//! after the other, and writes down what came of each. Receivers have a worker each, so none waits for
//! another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch;

use crate::changes::Inbox;
use crate::counts::Counts;
use crate::due::{Asker, Due, Event, due};
use crate::formats::{Notification, REFRESH_EVERY_MS, key, payload, refresh};
use crate::incident::{Incident, Severity, Status};
use crate::pace::Pace;
use crate::record::{Record, Stage};
use crate::send::{Outcome, send};
use crate::settings::{Format, Receiver};
use crate::silences::{Orders, Silence};
use crate::store::Store;

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most incidents that are read at a time.
const READ_MAX: usize = 500;
/// Most incidents that are kept in mind; others wait in the inbox.
const LIVE_MAX: usize = 10_000;
/// Most incidents in one message to an Alertmanager.
const REFRESHED_MAX: usize = 200;
/// Every how many failures in a row the log says so.
const FAILURES_PER_WARNING: u32 = 10;

/// Says when to hurry, and is told when nothing is left to do.
#[derive(Debug)]
pub struct Drain {
    /// Whether the end is near.
    pub asked: watch::Sender<bool>,
    /// How many workers have nothing left to do.
    pub settled: watch::Sender<usize>,
}

/// Tells one receiver.
pub struct Worker {
    receiver: Receiver,
    store: Store,
    client: Client,
    inbox: Arc<Inbox>,
    counts: Counts,
    asker: Asker,
    pace: Pace,
    /// Incidents that something can become due for without a change.
    live: BTreeMap<String, Live>,
    orders: Orders,
    /// How far looking at everything has come.
    scanned_to: Option<String>,
    refreshed_ms: i64,
}

struct Live {
    incident: Incident,
    record: Option<Record>,
}

impl Worker {
    /// Has nothing in mind yet.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn new(
        receiver: Receiver,
        store: Store,
        client: Client,
        inbox: Arc<Inbox>,
        counts: Counts,
    ) -> Result<Self> {
        let since_ms = store.since_ms(&receiver.name, now_ms()).await?;
        let wants_updates = receiver.format != Format::Alertmanager;
        let asker = Asker { since_ms, severity_min: receiver.severity_min, wants_updates };
        let pace = Pace::new(receiver.rate_per_minute);
        let live = BTreeMap::new();
        Ok(Self {
            receiver,
            store,
            client,
            inbox,
            counts,
            asker,
            pace,
            live,
            orders: Orders::default(),
            scanned_to: None,
            refreshed_ms: 0,
        })
    }

    /// Runs for ever.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn run(mut self, drain: &Drain) -> Result<()> {
        let mut asked = drain.asked.subscribe();
        let (mut hurried, mut settled) = (false, false);
        loop {
            if *asked.borrow() && !std::mem::replace(&mut hurried, true) {
                self.inbox.everything();
            }
            let has_more = self.look().await?;
            let told = self.tell_one().await?;
            if has_more || told {
                continue;
            }
            if hurried && !std::mem::replace(&mut settled, true) {
                drain.settled.send_modify(|count| *count += 1);
            }
            tokio::select! {
                () = tokio::time::sleep(self.pause()) => {}
                Ok(_) = asked.wait_for(|asked| *asked), if !hurried => {}
            }
        }
    }

    /// Until the next look, or the next try if that is sooner.
    fn pause(&self) -> Duration {
        let wait_ms = u64::try_from(self.pace.next_ms() - now_ms()).unwrap_or(0);
        let look = LOOK_EVERY;
        if wait_ms == 0 { look } else { look.min(Duration::from_millis(wait_ms)) }
    }

    /// Looks at some of what has changed; says whether there is more.
    async fn look(&mut self) -> Result<bool> {
        let orders = self.store.orders(now_ms()).await?;
        if orders.retries != self.orders.retries {
            self.inbox.everything();
        }
        self.orders = orders;
        let mut ids = BTreeSet::new();
        if self.inbox.take_everything() {
            self.scanned_to = Some(String::new());
            ids = self.store.unsettled(&self.receiver.name).await?;
        }
        if self.live.len() < LIVE_MAX {
            ids.extend(self.inbox.take(READ_MAX));
            if ids.is_empty()
                && let Some(after) = self.scanned_to.take()
            {
                ids = self.store.incidents_after(&after).await?;
                self.scanned_to = ids.last().cloned();
            }
            if ids.is_empty() {
                return Ok(false);
            }
        }
        self.read(ids).await?;
        Ok(self.live.len() < LIVE_MAX)
    }

    async fn read(&mut self, ids: BTreeSet<String>) -> Result<()> {
        let mut incidents = self.store.incidents(&ids).await?;
        let mut records = self.store.records(&self.receiver.name, &ids).await?;
        for id in ids {
            let record = records.remove(&id);
            let incident = match incidents.remove(&id) {
                Some(incident) => Some(incident),
                None => self.vanished(record.as_ref()).await?,
            };
            self.live.remove(&id);
            if let Some(incident) = incident {
                self.keep(Live { incident, record });
            }
        }
        Ok(())
    }

    /// An incident that has no alerts any more has become a part of another, or its time is over; whoever was
    /// told of it is told that it has ended.
    async fn vanished(&self, record: Option<&Record>) -> Result<Option<Incident>> {
        let Some(record) = record.filter(|record| record.delivered.is_some()) else { return Ok(None) };
        let text = match self.store.incident_of(&record.incident).await? {
            Some(other) => format!("now part of {other}: {}", record.text),
            None => record.text.clone(),
        };
        Ok(Some(record.vanished(text, now_ms())))
    }

    /// Keeps an incident in mind for as long as something can become due.
    fn keep(&mut self, live: Live) {
        let is_open = live.incident.state.status == Status::Open;
        if is_open || self.due(&live) != Due::Nothing {
            self.live.insert(live.incident.id.clone(), live);
        }
    }

    fn due(&self, live: &Live) -> Due {
        let silenced = self.silence_of(&live.incident).is_some();
        due(self.asker, &live.incident, live.record.as_ref(), silenced, now_ms())
    }

    fn silence_of(&self, incident: &Incident) -> Option<&Silence> {
        self.orders.silences.iter().find(|silence| silence.keeps_back(incident, now_ms()))
    }

    /// Does one thing that is due, if there is any and the receiver may be told; says whether there was.
    async fn tell_one(&mut self) -> Result<bool> {
        let is_silent = |(_, live): &(&String, &Live)| self.due(live) == Due::Silence;
        let silenced: Vec<String> = self.live.iter().filter(is_silent).map(|(id, _)| id.clone()).collect();
        for id in silenced {
            self.write_down_silence(&id).await?;
        }
        if self.pace.next_ms() > now_ms() {
            return Ok(false);
        }
        if self.receiver.format == Format::Alertmanager && now_ms() - self.refreshed_ms >= REFRESH_EVERY_MS {
            self.refresh().await;
            self.refreshed_ms = now_ms();
            return Ok(true);
        }
        // What has failed often comes last, so that it keeps nothing else back.
        let next = self.live.values().filter_map(|live| match self.due(live) {
            Due::Tell(event) => {
                let tries = live.record.as_ref().map_or(0, |record| record.tries);
                Some(((tries, live.incident.ts_ms, &live.incident.id), event))
            }
            Due::Nothing | Due::Silence => None,
        });
        let Some((id, event)) = next.min_by_key(|(order, _)| *order).map(|((.., id), event)| (id, event))
        else {
            return Ok(false);
        };
        let live = self.live.remove(&id.clone()).expect("it was just found");
        self.tell(live, event).await?;
        Ok(true)
    }

    async fn write_down_silence(&mut self, id: &str) -> Result<()> {
        let Some(mut live) = self.live.remove(id) else { return Ok(()) };
        let before = live.record.as_ref().and_then(|record| record.silence.clone());
        let silence = self.silence_of(&live.incident).map(|silence| silence.id.clone()).or(before);
        let mut record =
            live.record.take().unwrap_or_else(|| Record::new(&self.receiver.name, &live.incident));
        record.follow(&live.incident, Stage::Silenced);
        record.silence = silence;
        self.store.put(&record, now_ms()).await?;
        live.record = Some(record);
        self.keep(live);
        Ok(())
    }

    async fn tell(&mut self, live: Live, event: Event) -> Result<()> {
        let Live { incident, record } = live;
        let mut record = record.unwrap_or_else(|| Record::new(&self.receiver.name, &incident));
        let key = key(&incident.id, record.count, event);
        let severity_before = record.delivered.map(|delivered| delivered.state.severity);
        let notification =
            Notification { key: &key, event, incident: &incident, severity_before, now_ms: now_ms() };
        let body = payload(self.receiver.format, &notification);
        self.pace.tried(now_ms());
        match self.send(Some(&key), &body).await {
            Outcome::Taken => {
                self.answered();
                record.delivered(&incident, now_ms());
                tracing::debug!(receiver = self.receiver.name, key, "delivered");
            }
            Outcome::Refused(reason) => {
                self.answered();
                record.failed(&incident, &reason, now_ms());
                self.give_up(&mut record);
            }
            Outcome::Later { reason, retry_after_ms } => {
                self.failed(&reason, retry_after_ms);
                record.failed(&incident, &reason, now_ms());
                if self.has_failed_for_too_long(&record) {
                    self.give_up(&mut record);
                }
                self.others_failed_too(&reason).await?;
            }
        }
        self.store.put(&record, now_ms()).await?;
        self.keep(Live { incident, record: Some(record) });
        Ok(())
    }

    async fn send(&self, key: Option<&str>, body: &Value) -> Outcome {
        let outcome = send(&self.client, &self.receiver, key, body).await;
        self.counts.tried(&self.receiver.name, &outcome);
        outcome
    }

    fn answered(&mut self) {
        if self.pace.answered() > 0 {
            tracing::info!(receiver = self.receiver.name, "the receiver of alerts answers again");
            // What was never tried has not failed.
            let records = self.live.values_mut().filter_map(|live| live.record.as_mut());
            records.filter(|record| record.tries == 0).for_each(|record| record.failing_since_ms = None);
        }
    }

    fn failed(&mut self, reason: &str, retry_after_ms: Option<i64>) {
        let failures = self.pace.failed(now_ms(), retry_after_ms, rand::random());
        if failures % FAILURES_PER_WARNING == 1 {
            tracing::warn!(
                receiver = self.receiver.name,
                failures,
                "cannot deliver alerts, trying again: {reason}"
            );
        }
    }

    fn has_failed_for_too_long(&self, record: &Record) -> bool {
        let since_ms = record.failing_since_ms;
        since_ms.is_some_and(|since_ms| now_ms() - since_ms >= self.receiver.give_up_after_ms)
    }

    fn give_up(&self, record: &mut Record) {
        record.stage = Stage::Dead;
        self.counts.given_up(&self.receiver.name);
        tracing::error!(
            receiver = self.receiver.name,
            incident = record.incident,
            tries = record.tries,
            "an alert is not delivered and given up (`streampulse alerts --dead`): {}",
            record.reason.as_deref().unwrap_or_default()
        );
    }

    /// Whatever else waits for a receiver that cannot be told fails with it, tried or not.
    async fn others_failed_too(&mut self, reason: &str) -> Result<()> {
        let waiting =
            |(id, live): (&String, &Live)| matches!(self.due(live), Due::Tell(_)).then(|| id.clone());
        let waiting: Vec<String> = self.live.iter().filter_map(waiting).collect();
        for id in waiting {
            let Some(Live { incident, record }) = self.live.remove(&id) else { continue };
            let mut record = record.unwrap_or_else(|| Record::new(&self.receiver.name, &incident));
            record.follow(&incident, Stage::Waiting);
            record.failing_since_ms.get_or_insert(now_ms());
            if self.has_failed_for_too_long(&record) {
                record.reason = Some(reason.to_owned());
                self.give_up(&mut record);
                self.store.put(&record, now_ms()).await?;
            }
            self.keep(Live { incident, record: Some(record) });
        }
        Ok(())
    }

    /// Sends an Alertmanager once more what it was told and is still open.
    async fn refresh(&mut self) {
        let open = self.live.values().filter_map(|live| {
            let told = live.record.as_ref()?.delivered?.state;
            let is_open = [told.status, live.incident.state.status] == [Status::Open; 2];
            is_open.then_some((&live.incident, told.severity))
        });
        let open: Vec<(&Incident, Severity)> = open.collect();
        let bodies: Vec<_> =
            open.chunks(REFRESHED_MAX).map(|some| refresh(some.iter().copied(), now_ms())).collect();
        for body in bodies {
            self.pace.tried(now_ms());
            match self.send(None, &body).await {
                Outcome::Taken => self.answered(),
                Outcome::Refused(reason) => {
                    self.answered();
                    tracing::warn!(receiver = self.receiver.name, "cannot refresh open alerts: {reason}");
                }
                Outcome::Later { reason, retry_after_ms } => {
                    self.failed(&reason, retry_after_ms);
                    return;
                }
            }
        }
    }
}

/// Milliseconds since 1970 by this machine's clock.
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}
