//! The documents of `access_alerts`.

use super::platform::Slice;
use crate::bson::Writer;
use crate::time;

/// How much an alert matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    Warning,
    Critical,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Entity {
    /// The platform or a slice of it.
    Slice(Slice),
    /// So many users; the one with most accesses.
    Users(usize, String),
    /// Nobody in particular.
    Group,
}

/// An alert as it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Alert {
    pub id: String,
    pub kind: &'static str,
    pub severity: Severity,
    pub entity: Entity,
    /// The minute it is about, or that it opened, in milliseconds since 1970.
    pub ts_ms: i64,
    /// Alerts that belong together share one.
    pub incident: String,
    pub observed: f64,
    pub expected: Option<f64>,
    pub limit: Option<f64>,
    pub score: f64,
    /// When that was known, by the log's clock.
    pub opened_at_ms: i64,
    pub closed_at_ms: Option<i64>,
    pub extent: Option<Extent>,
    pub text: String,
}

/// How far an incident reaches.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extent {
    /// The minute with the first evidence.
    pub since_ms: i64,
    /// The minute that is furthest from what is expected.
    pub peak_ms: i64,
    pub minutes: u32,
    /// The slices that explain most of it, with their shares.
    pub places: Vec<(Slice, f64)>,
}

impl Alert {
    /// Appends the document.
    pub fn write(&self, out: &mut Vec<u8>) {
        let whole = |number: f64| number.round() as i64;
        let mut document = Writer::new(out);
        document.string("_id", &self.id);
        document.string("kind", self.kind);
        document.string("severity", self.severity.name());
        document.document("entity", |entity| self.entity.write(entity));
        document.date("ts", self.ts_ms);
        document.string("incident", &self.incident);
        document.int64("observed", whole(self.observed));
        match self.expected {
            Some(expected) => document.double("expected", expected),
            None => document.null("expected"),
        }
        match self.limit {
            Some(limit) => document.int64("limit", whole(limit)),
            None => document.null("limit"),
        }
        document.double("score", self.score);
        document.string("status", if self.closed_at_ms.is_some() { "closed" } else { "open" });
        document.date("opened_at", self.opened_at_ms);
        match self.closed_at_ms {
            Some(closed_at_ms) => document.date("closed_at", closed_at_ms),
            None => document.null("closed_at"),
        }
        if let Some(extent) = &self.extent {
            document.date("since", extent.since_ms);
            document.date("peak_at", extent.peak_ms);
            document.int64("minutes", extent.minutes.into());
            document.document("places", |places| {
                extent.places.iter().for_each(|(slice, share)| places.double(&slice.key(), *share));
            });
        }
        document.string("text", &self.text);
        document.finish();
    }
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Entity {
    fn write(&self, entity: &mut Writer) {
        match self {
            Self::Slice(Slice::Total) => entity.string("scope", "platform"),
            Self::Slice(slice) => {
                entity.string("scope", slice.dimension());
                entity.string(slice.dimension(), &slice.name());
            }
            Self::Users(count, first) => {
                entity.string("scope", "users");
                entity.int64("users", i64::try_from(*count).unwrap_or(i64::MAX));
                entity.string("user", first);
            }
            Self::Group => entity.string("scope", "group"),
        }
    }
}

/// An `_id`: what happens, where, and the minute.
pub(super) fn id(what: &str, place: &str, minute_ms: i64) -> String {
    format!("{what}|{place}|{}T{}Z", time::date(minute_ms), time::time_of_day(minute_ms))
}

/// A minute as people read it.
pub(super) fn minute_text(minute_ms: i64) -> String {
    format!("{} {} UTC", time::date(minute_ms), time::time_of_day(minute_ms))
}
