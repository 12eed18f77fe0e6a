//! What each collection is: how it is created, what its documents must look like, which indexes it has and
//! for whom. Pure.

use std::num::NonZeroU32;

use mongodb::bson::{Bson, Document, doc};
use serde::Deserialize;

use super::daily::KEPT_DAYS_MAX;
use super::{ALERTS, DELIVERIES, Level, REJECTS, STATE};

/// One day in seconds.
pub(super) const DAY_S: i64 = 24 * 60 * 60;

/// After how many days documents go, by the time they are about; `None` keeps them for ever.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Events.
    pub events_days: Option<NonZeroU32>,
    /// In which way events go.
    pub events_by: EventsBy,
    /// Lines that are no events, from when they were stored.
    pub rejects_days: Option<NonZeroU32>,
    /// Rollups and totals of minutes.
    pub minutes_days: Option<NonZeroU32>,
    /// Rollups and users of hours.
    pub hours_days: Option<NonZeroU32>,
    /// Rollups and users of days.
    pub days_days: Option<NonZeroU32>,
    /// Alerts.
    pub alerts_days: Option<NonZeroU32>,
}

/// In which way events go.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum EventsBy {
    /// The server removes them one by one.
    #[default]
    Ttl,
    /// They lie in a collection a day, which `mongodb init --apply` drops.
    Drop,
}

impl Retention {
    /// Makes sure that what is set goes together.
    ///
    /// # Errors
    /// Says what does not.
    pub fn check(&self) -> Result<(), String> {
        let days = self.events_days.map_or(0, NonZeroU32::get);
        match self.events_by {
            EventsBy::Ttl => Ok(()),
            EventsBy::Drop if days == 0 => Err("events_by is drop: set events_days too".to_owned()),
            EventsBy::Drop if days > KEPT_DAYS_MAX => {
                Err(format!("events_days is {days}, must be at most {KEPT_DAYS_MAX} where events_by is drop"))
            }
            EventsBy::Drop => Ok(()),
        }
    }
}

/// A collection as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// Options of `create` that cannot be changed later.
    pub options: Document,
    /// What its documents must match.
    pub validator: Document,
    /// Indexes beside that of `_id`.
    pub indexes: Vec<Index>,
}

/// An index as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Index {
    /// Its name, which MongoDB would give it too.
    pub name: String,
    /// Its keys.
    pub keys: Document,
    /// After how many seconds documents go.
    pub expire_after_s: Option<i64>,
}

impl Collection {
    /// The command that creates it.
    pub fn create(&self) -> Document {
        let mut command = doc! { "create": &self.name };
        command.extend(self.options.clone());
        command.insert("validator", self.validator.clone());
        command
    }

    /// The command that creates some of its indexes.
    pub fn create_indexes<'a>(&self, indexes: impl IntoIterator<Item = &'a Index>) -> Document {
        let indexes: Vec<Document> = indexes.into_iter().map(Index::document).collect();
        doc! { "createIndexes": &self.name, "indexes": indexes }
    }
}

impl Index {
    fn on(field: &str, retention_days: Option<NonZeroU32>) -> Self {
        Self {
            name: format!("{field}_1"),
            keys: doc! { field: 1 },
            expire_after_s: retention_days.map(|days| i64::from(days.get()) * DAY_S),
        }
    }

    /// It exists only to remove documents.
    fn only_for_retention(field: &str, retention_days: Option<NonZeroU32>) -> Vec<Self> {
        retention_days.map(|_| Self::on(field, retention_days)).into_iter().collect()
    }

    fn document(&self) -> Document {
        let mut document = doc! { "key": self.keys.clone(), "name": &self.name };
        if let Some(seconds) = self.expire_after_s {
            document.insert("expireAfterSeconds", seconds);
        }
        document
    }
}

/// A collection of events.
pub fn events(name: &str, retention_days: Option<NonZeroU32>) -> Collection {
    Collection {
        name: name.to_owned(),
        options: by_id(),
        validator: schema(
            &["_id", "ts", "user_id", "device", "content_type", "country", "city"],
            doc! {
                "_id": long(), "ts": date(), "user_id": text(), "device": text(), "content_type": text(),
                "country": text(), "city": text(), "extra": { "bsonType": "object" },
            },
        ),
        indexes: Index::only_for_retention("ts", retention_days),
    }
}

/// All collections but those of events.
pub fn collections(retention: &Retention) -> Vec<Collection> {
    let Retention { rejects_days, minutes_days, hours_days, days_days, alerts_days, .. } = *retention;
    let days = |level| match level {
        Level::Minute => minutes_days,
        Level::Hour => hours_days,
        Level::Day => days_days,
    };
    let mut all = vec![Collection {
        name: REJECTS.to_owned(),
        options: by_id(),
        validator: schema(
            &["_id", "reason", "line", "bytes", "seen_at"],
            doc! {
                "_id": long(), "reason": text(), "field": text(), "line": text(), "bytes": count(),
                "seen_at": date(),
            },
        ),
        indexes: vec![Index::on("seen_at", rejects_days)],
    }];
    for level in Level::ALL {
        all.push(Collection {
            name: level.rollups().to_owned(),
            options: doc! {},
            validator: schema(
                &["_id", "ts", "country", "city", "n", "x"],
                doc! {
                    "_id": text(), "ts": date(), "country": text(), "city": text(), "n": count(),
                    "x": object_of(object_of(count())),
                },
            ),
            // All places of a window; those of one country are a range of `_id`.
            indexes: vec![Index::on("ts", days(level))],
        });
    }
    for level in Level::ALL {
        let mut properties =
            doc! { "_id": date(), "ts": date(), "users": count(), "sketch": { "bsonType": "binData" } };
        let mut required = vec!["_id", "ts", "users"];
        if level == Level::Minute {
            for field in ["n", "rejected", "late"] {
                properties.insert(field, count());
                required.push(field);
            }
        }
        all.push(Collection {
            name: level.users().to_owned(),
            options: doc! {},
            validator: schema(&required, properties),
            indexes: Index::only_for_retention("ts", days(level)),
        });
    }
    all.push(Collection {
        name: ALERTS.to_owned(),
        options: doc! {},
        validator: schema(
            &["_id", "kind", "severity", "entity", "ts", "incident", "status", "opened_at", "text"],
            doc! {
                "_id": text(), "kind": text(), "severity": text(), "entity": { "bsonType": "object" },
                "ts": date(), "incident": text(), "status": { "enum": ["open", "closed"] },
                "opened_at": date(), "closed_at": { "bsonType": ["date", "null"] }, "text": text(),
            },
        ),
        indexes: newest_alerts_first(alerts_days),
    });
    all.push(Collection {
        name: DELIVERIES.to_owned(),
        options: doc! {},
        validator: schema(
            &["_id", "receiver", "incident", "ts", "state", "status", "severity", "count", "tries", "at"],
            doc! {
                "_id": text(), "receiver": text(), "incident": text(), "kind": text(), "text": text(),
                "entity": { "bsonType": "object" }, "ts": date(), "opened_at": date(),
                "state": { "enum": ["waiting", "open", "closed", "silenced", "dead"] },
                "status": { "enum": ["open", "closed"] }, "severity": text(),
                "delivered": { "bsonType": ["object", "null"] }, "count": count(), "tries": count(),
                "failing_since": { "bsonType": ["date", "null"] }, "at": date(),
                "reason": { "bsonType": ["string", "null"] }, "silence": { "bsonType": ["string", "null"] },
            },
        ),
        indexes: records_by_state(alerts_days),
    });
    all.push(Collection {
        name: STATE.to_owned(),
        options: doc! {},
        validator: schema(&["_id"], doc! { "_id": text() }),
        indexes: Vec::new(),
    });
    all
}

/// The newest alerts of a period come in order; an index of two fields cannot end documents.
fn newest_alerts_first(retention_days: Option<NonZeroU32>) -> Vec<Index> {
    let keys = doc! { "ts": 1, "_id": 1 };
    let mut indexes = vec![Index { name: "ts_1__id_1".to_owned(), keys, expire_after_s: None }];
    indexes.push(Index::on("incident", None));
    indexes.extend(Index::only_for_retention("ts", retention_days));
    indexes
}

/// What is not settled, and dead letters in order. A record goes with the alerts that it is about.
fn records_by_state(retention_days: Option<NonZeroU32>) -> Vec<Index> {
    let keys = doc! { "state": 1, "ts": 1 };
    let mut indexes = vec![Index { name: "state_1_ts_1".to_owned(), keys, expire_after_s: None }];
    indexes.extend(Index::only_for_retention("ts", retention_days));
    indexes
}

/// Clustered by `_id`, there is no second index to write; zstd saves a quarter of the bytes on disk.
fn by_id() -> Document {
    doc! {
        "clusteredIndex": { "key": { "_id": 1 }, "unique": true },
        "storageEngine": { "wiredTiger": { "configString": "block_compressor=zstd" } },
    }
}

/// Types only: the SmartModules decide what is an event, and each check costs the server time on each write.
fn schema(required: &[&str], properties: Document) -> Document {
    let required: Vec<Bson> = required.iter().map(|field| Bson::from(*field)).collect();
    doc! { "$jsonSchema": { "bsonType": "object", "required": required, "properties": properties } }
}

fn object_of(values: Document) -> Document {
    doc! { "bsonType": "object", "additionalProperties": values }
}

fn text() -> Document {
    doc! { "bsonType": "string" }
}

fn date() -> Document {
    doc! { "bsonType": "date" }
}

fn long() -> Document {
    doc! { "bsonType": "long" }
}

/// Tools and shells write small numbers as `int`.
fn count() -> Document {
    doc! { "bsonType": ["long", "int"], "minimum": 0 }
}
