//! Incidents: what alerts that belong together come to. Pure.

use std::collections::{BTreeMap, BTreeSet};

use mongodb::bson::{Bson, Document};
use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// To be looked at.
    Warning,
    /// To be looked at now.
    Critical,
}

impl Severity {
    /// As alerts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// What is not known is not made little of.
    pub(crate) fn of(text: &str) -> Self {
        if text == "warning" { Self::Warning } else { Self::Critical }
    }
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Open,
    /// It is over.
    Closed,
}

impl Status {
    /// As alerts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        if text == "closed" { Self::Closed } else { Self::Open }
    }
}

/// What a receiver is to know of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether it goes on.
    pub status: Status,
    /// How bad it has been.
    pub severity: Severity,
}

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// The id that its alerts share.
    pub id: String,
    /// What kind of alerts they are.
    pub kind: String,
    /// Open while one of its alerts is, and as severe as the worst of them.
    pub state: State,
    /// What it is about: `scope` and what that names.
    pub entity: BTreeMap<String, String>,
    /// Its first minute, in milliseconds.
    pub ts_ms: i64,
    /// Its last one.
    pub last_ms: i64,
    /// When it opened, by the clock of the log.
    pub opened_at_ms: i64,
    /// When it closed.
    pub closed_at_ms: Option<i64>,
    /// How many alerts it has.
    pub alerts: usize,
    /// What its worst alert saw, and what that is measured against.
    pub observed: Option<i64>,
    pub expected: Option<f64>,
    pub limit: Option<i64>,
    pub score: Option<f64>,
    /// What its worst alert says.
    pub text: String,
}

/// The incidents of alerts; an alert that lacks what every alert has is not looked at.
pub fn group(alerts: impl IntoIterator<Item = Document>) -> BTreeMap<String, Incident> {
    let mut incidents = BTreeMap::<String, Incident>::new();
    for alert in alerts.into_iter().filter_map(|alert| single(&alert)) {
        match incidents.get_mut(&alert.id) {
            Some(incident) => incident.add(alert),
            None => drop(incidents.insert(alert.id.clone(), alert)),
        }
    }
    incidents
}

/// The ids of incidents that a changed alert is about: the one it belongs to, and the one it gave its name to
/// before it was joined with minutes before it.
pub fn touched(alert: &Document) -> BTreeSet<String> {
    ["incident", "_id"].iter().filter_map(|key| alert.get_str(key).ok().map(str::to_owned)).collect()
}

/// The incident of one alert.
fn single(alert: &Document) -> Option<Incident> {
    let text = |key: &str| alert.get_str(key).ok().map(str::to_owned);
    let ms = |key: &str| alert.get_datetime(key).ok().map(|at| at.timestamp_millis());
    let ts_ms = ms("ts")?;
    let status = Status::of(alert.get_str("status").ok()?);
    Some(Incident {
        id: text("incident")?,
        kind: text("kind")?,
        state: State { status, severity: Severity::of(alert.get_str("severity").ok()?) },
        entity: texts(alert.get_document("entity").ok()?),
        ts_ms,
        last_ms: ts_ms,
        opened_at_ms: ms("opened_at")?,
        closed_at_ms: ms("closed_at").filter(|_| status == Status::Closed),
        alerts: 1,
        observed: number(alert.get("observed")).map(|number| number as i64),
        expected: number(alert.get("expected")),
        limit: number(alert.get("limit")).map(|number| number as i64),
        score: number(alert.get("score")),
        text: text("text")?,
    })
}

/// What an entity says, as texts.
pub(crate) fn texts(entity: &Document) -> BTreeMap<String, String> {
    let shown = |value: &Bson| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    entity.iter().map(|(key, value)| (key.clone(), shown(value))).collect()
}

/// Counts stay far below the 2^53 that a double holds exactly.
fn number(value: Option<&Bson>) -> Option<f64> {
    match value? {
        Bson::Int64(number) => Some(*number as f64),
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

impl Incident {
    /// Takes in another alert of the same incident.
    fn add(&mut self, other: Self) {
        let is_worse = (other.state.severity, other.score.unwrap_or(0.0))
            > (self.state.severity, self.score.unwrap_or(0.0));
        if is_worse {
            self.observed = other.observed;
            self.expected = other.expected;
            self.limit = other.limit;
            self.score = other.score;
            self.text = other.text;
        }
        self.state.severity = self.state.severity.max(other.state.severity);
        if other.state.status == Status::Open {
            self.state.status = Status::Open;
        }
        self.closed_at_ms = match self.state.status {
            Status::Open => None,
            Status::Closed => self.closed_at_ms.max(other.closed_at_ms),
        };
        self.alerts += other.alerts;
        self.ts_ms = self.ts_ms.min(other.ts_ms);
        self.last_ms = self.last_ms.max(other.last_ms);
        self.opened_at_ms = self.opened_at_ms.min(other.opened_at_ms);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use mongodb::bson::{DateTime, doc};

    use super::*;

    /// An alert of a minute; open while `closed_at_ms` is none.
    pub(crate) fn alert(minute: i64, incident: i64, observed: i64, closed_at_ms: Option<i64>) -> Document {
        let at = |ms: i64| Bson::from(DateTime::from_millis(ms));
        doc! {
            "_id": format!("limit|platform|{minute}"), "kind": "limit",
            "severity": if observed >= 200 { "critical" } else { "warning" },
            "entity": { "scope": "platform" }, "ts": at(minute * 60_000),
            "incident": format!("limit|platform|{incident}"), "observed": observed, "expected": null,
            "limit": 100_i64, "score": observed as f64 / 100.0,
            "status": if closed_at_ms.is_some() { "closed" } else { "open" },
            "opened_at": at(minute * 60_000 + 30_000), "closed_at": closed_at_ms.map(at),
            "text": format!("{observed} accesses"),
        }
    }

    #[test]
    fn an_incident_is_open_while_one_of_its_alerts_is_and_shows_the_worst() {
        let closed = Some(10 * 60_000);
        let alerts = [alert(5, 5, 150, closed), alert(6, 5, 250, closed), alert(7, 5, 180, None)];
        let incidents = group(alerts.clone());
        let incident = &incidents["limit|platform|5"];
        assert_eq!(incident.state, State { status: Status::Open, severity: Severity::Critical });
        assert_eq!((incident.alerts, incident.observed, incident.closed_at_ms), (3, Some(250), None));
        assert_eq!((incident.ts_ms, incident.last_ms), (300_000, 420_000));
        assert_eq!((incident.opened_at_ms, incident.text.as_str()), (330_000, "250 accesses"));
        // In whatever order they are read.
        assert_eq!(group(alerts.into_iter().rev()), incidents);
        let over = group([alert(5, 5, 150, Some(7)), alert(6, 5, 150, Some(9)), alert(8, 8, 101, None)]);
        assert_eq!(over.len(), 2);
        assert_eq!(over["limit|platform|5"].closed_at_ms, Some(9));
        assert_eq!(over["limit|platform|5"].state.status, Status::Closed);
    }

    #[test]
    fn a_joined_alert_touches_the_incident_that_it_named() {
        let ids = touched(&alert(6, 5, 150, None));
        assert_eq!(Vec::from_iter(ids), ["limit|platform|5", "limit|platform|6"]);
    }
}
