//! What a receiver was told of an incident, as it stands in `access_deliveries`.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, DateTime, Document, doc};

use crate::incident::{Incident, Severity, State, Status, texts};

/// Longest reason that is kept, in characters.
const REASON_CHARS_MAX: usize = 500;

/// How far a notification has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was tried, and will be again.
    Waiting,
    /// The receiver has taken it.
    Delivered,
    /// A silence keeps it back.
    Silenced,
    /// It was given up: a dead letter.
    Dead,
}

/// One receiver and one incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Who is told.
    pub receiver: String,
    /// Of what, as it was last looked at.
    pub incident: String,
    pub kind: String,
    pub entity: BTreeMap<String, String>,
    pub ts_ms: i64,
    pub opened_at_ms: i64,
    pub text: String,
    /// How far the notification of `state` has come.
    pub stage: Stage,
    pub state: State,
    /// What the receiver knows.
    pub delivered: Option<Delivered>,
    /// How many notifications the receiver has taken.
    pub count: i64,
    /// Tries of the one that is under way.
    pub tries: i64,
    /// Since when they fail, and why.
    pub failing_since_ms: Option<i64>,
    pub reason: Option<String>,
    /// The silence that keeps it back.
    pub silence: Option<String>,
}

/// What a receiver has taken last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub state: State,
    pub at_ms: i64,
    pub observed: Option<i64>,
}

impl Record {
    /// The `_id` of a record.
    pub fn id(receiver: &str, incident: &str) -> String {
        format!("{receiver}|{incident}")
    }

    /// Nothing was told yet.
    pub fn new(receiver: &str, incident: &Incident) -> Self {
        Self {
            receiver: receiver.to_owned(),
            incident: incident.id.clone(),
            kind: incident.kind.clone(),
            entity: incident.entity.clone(),
            ts_ms: incident.ts_ms,
            opened_at_ms: incident.opened_at_ms,
            text: incident.text.clone(),
            stage: Stage::Waiting,
            state: incident.state,
            delivered: None,
            count: 0,
            tries: 0,
            failing_since_ms: None,
            reason: None,
            silence: None,
        }
    }

    /// Takes in what the incident is now; what is tried anew starts from nothing.
    pub fn follow(&mut self, incident: &Incident, stage: Stage) {
        let is_another = self.state != incident.state || self.stage != Stage::Waiting;
        if is_another {
            (self.tries, self.failing_since_ms, self.reason) = (0, None, None);
        }
        self.kind.clone_from(&incident.kind);
        self.entity.clone_from(&incident.entity);
        self.text.clone_from(&incident.text);
        (self.ts_ms, self.opened_at_ms) = (incident.ts_ms, incident.opened_at_ms);
        (self.state, self.stage, self.silence) = (incident.state, stage, None);
    }

    /// The receiver has taken what the incident is.
    pub fn delivered(&mut self, incident: &Incident, now_ms: i64) {
        self.follow(incident, Stage::Delivered);
        (self.tries, self.failing_since_ms, self.reason) = (0, None, None);
        self.count += 1;
        let observed = incident.observed;
        self.delivered = Some(Delivered { state: incident.state, at_ms: now_ms, observed });
    }

    /// A try has failed.
    pub fn failed(&mut self, incident: &Incident, reason: &str, now_ms: i64) {
        self.follow(incident, Stage::Waiting);
        self.tries += 1;
        self.failing_since_ms.get_or_insert(now_ms);
        self.reason = Some(reason.chars().take(REASON_CHARS_MAX).collect());
    }

    /// The incident that this was about, now that no alert belongs to it any more.
    pub fn vanished(&self, text: String, now_ms: i64) -> Incident {
        Incident {
            id: self.incident.clone(),
            kind: self.kind.clone(),
            state: State { status: Status::Closed, severity: self.state.severity },
            entity: self.entity.clone(),
            ts_ms: self.ts_ms,
            last_ms: self.ts_ms,
            opened_at_ms: self.opened_at_ms,
            closed_at_ms: Some(now_ms),
            alerts: 0,
            observed: None,
            expected: None,
            limit: None,
            score: None,
            text,
        }
    }

    /// As it is stored.
    pub fn document(&self, now_ms: i64) -> Document {
        let date = |ms: i64| DateTime::from_millis(ms);
        let entity: Document =
            self.entity.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let delivered = self.delivered.map(|Delivered { state, at_ms, observed }| {
            let (status, severity) = (state.status.name(), state.severity.name());
            doc! { "status": status, "severity": severity, "at": date(at_ms), "observed": observed }
        });
        doc! {
            "_id": Self::id(&self.receiver, &self.incident),
            "receiver": &self.receiver, "incident": &self.incident, "kind": &self.kind, "entity": entity,
            "ts": date(self.ts_ms), "opened_at": date(self.opened_at_ms), "text": &self.text,
            "state": self.shown(), "status": self.state.status.name(),
            "severity": self.state.severity.name(), "delivered": delivered, "count": self.count,
            "tries": self.tries, "failing_since": self.failing_since_ms.map(date),
            "reason": self.reason.as_deref(), "silence": self.silence.as_deref(), "at": date(now_ms),
        }
    }

    /// What was delivered is called as the receiver knows it, so that an index finds what is open.
    fn shown(&self) -> &'static str {
        match self.stage {
            Stage::Waiting => "waiting",
            Stage::Delivered => self.state.status.name(),
            Stage::Silenced => "silenced",
            Stage::Dead => "dead",
        }
    }

    /// From what is stored; `None` when something is missing that every record has.
    pub fn from_document(document: &Document) -> Option<Self> {
        let text = |key: &str| document.get_str(key).ok().map(str::to_owned);
        let ms =
            |document: &Document, key: &str| document.get_datetime(key).ok().map(|at| at.timestamp_millis());
        let state = |document: &Document| {
            Some(State {
                status: Status::of(document.get_str("status").ok()?),
                severity: Severity::of(document.get_str("severity").ok()?),
            })
        };
        let delivered = document.get("delivered").and_then(Bson::as_document).and_then(|delivered| {
            let observed = delivered.get_i64("observed").ok();
            Some(Delivered { state: state(delivered)?, at_ms: ms(delivered, "at")?, observed })
        });
        Some(Self {
            receiver: text("receiver")?,
            incident: text("incident")?,
            kind: text("kind")?,
            entity: texts(document.get_document("entity").ok()?),
            ts_ms: ms(document, "ts")?,
            opened_at_ms: ms(document, "opened_at")?,
            text: text("text")?,
            stage: match document.get_str("state").ok()? {
                "waiting" => Stage::Waiting,
                "silenced" => Stage::Silenced,
                "dead" => Stage::Dead,
                _ => Stage::Delivered,
            },
            state: state(document)?,
            delivered,
            count: document.get_i64("count").ok()?,
            tries: document.get_i64("tries").ok()?,
            failing_since_ms: ms(document, "failing_since"),
            reason: text("reason"),
            silence: text("silence"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::group;
    use crate::incident::tests::alert;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let incidents = group([alert(5, 5, 150, None)]);
        let incident = incidents.values().next().expect("one");
        let mut record = Record::new("ops", incident);
        let same = |record: &Record| {
            assert_eq!(Record::from_document(&record.document(9)).as_ref(), Some(record));
        };
        same(&record);
        record.failed(incident, &"no ".repeat(1_000), 7);
        assert_eq!(record.reason.as_ref().map(String::len), Some(REASON_CHARS_MAX));
        same(&record);
        record.failed(incident, "still no", 8);
        assert_eq!((record.tries, record.failing_since_ms), (2, Some(7)));
        record.delivered(incident, 9);
        assert_eq!((record.tries, record.failing_since_ms, record.count), (0, None, 1));
        same(&record);
        assert_eq!(record.document(9).get_str("state").ok(), Some("open"));
        record.follow(incident, Stage::Silenced);
        record.silence = Some("s1".to_owned());
        same(&record);
    }
}
