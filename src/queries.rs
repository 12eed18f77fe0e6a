//! The questions as aggregations over the rollups, each written once. A query has slots where the period, the
//! size of its buckets and what it is narrowed to belong: a dashboard has Grafana's names there, and whoever
//! runs it fills in values.

mod alerts;
mod health;
mod minutes;
mod period;
mod places;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use isocountry::CountryCode;
use mongodb::Database;
use mongodb::bson::{Bson, DateTime, Document, doc};

pub use alerts::{alerts_by_kind, annotations, newest_alerts, open_alerts};
pub use health::{freshness, ingest, jobs, limit, processes, rejects_by_reason};
pub use minutes::{accesses, busiest_minutes, compared, compared_now, totals, users, users_over_time};
pub use period::Scope;
pub use places::{
    busiest_hours, by_content_and_country, by_country, by_device, cities, content_over_time,
    devices_over_time, hours_by_day, hours_by_weekday,
};

/// An aggregation with slots.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// The collection it runs on.
    pub collection: &'static str,
    /// Its stages.
    pub pipeline: Vec<Document>,
}

/// What is filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// Begin of the period.
    From,
    /// End of the period, exclusive.
    To,
    /// Size of a bucket, in milliseconds.
    IntervalMs,
    /// Country codes.
    Countries,
    /// Devices, or [`ALL`].
    Devices,
    /// Content types, or [`ALL`].
    ContentTypes,
}

impl Slot {
    const ALL: [Self; 6] =
        [Self::From, Self::To, Self::IntervalMs, Self::Countries, Self::Devices, Self::ContentTypes];
}

/// Stands in a list of devices or content types for all there are: the pipeline file may name more than the
/// dashboards know.
pub const ALL: &str = "*";

/// What a query is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Begin of the period, in milliseconds since 1970.
    pub from_ms: i64,
    /// Its end, exclusive.
    pub to_ms: i64,
    /// Size of a bucket of time, in milliseconds; a query may take a larger one.
    pub interval_ms: i64,
    /// Country codes; none: all.
    pub countries: Vec<String>,
    /// Devices; none: all.
    pub devices: Vec<String>,
    /// Content types; none: all.
    pub content_types: Vec<String>,
}

impl Asked {
    /// All of a period.
    pub fn period(from_ms: i64, to_ms: i64, interval_ms: i64) -> Self {
        let [countries, devices, content_types] = [const { Vec::new() }; 3];
        Self { from_ms, to_ms, interval_ms, countries, devices, content_types }
    }

    fn value(&self, slot: Slot) -> Bson {
        let date = |ms| Bson::from(DateTime::from_millis(ms));
        let or_all = |chosen: &[String]| match chosen {
            [] => vec![ALL.to_owned()],
            chosen => chosen.to_vec(),
        };
        match slot {
            Slot::From => date(self.from_ms),
            Slot::To => date(self.to_ms),
            Slot::IntervalMs => self.interval_ms.into(),
            Slot::Countries if self.countries.is_empty() => {
                CountryCode::iter().map(CountryCode::alpha2).collect::<Vec<_>>().into()
            }
            Slot::Countries => self.countries.clone().into(),
            Slot::Devices => or_all(&self.devices).into(),
            Slot::ContentTypes => or_all(&self.content_types).into(),
        }
    }

    fn filled(&self, value: Bson) -> Bson {
        match value {
            Bson::JavaScriptCode(text) => {
                let slot = Slot::ALL.into_iter().find(|slot| grafana(*slot) == text);
                self.value(slot.expect("a query has no other JavaScript than slots"))
            }
            Bson::Document(fields) => {
                fields.into_iter().map(|(key, value)| (key, self.filled(value))).collect::<Document>().into()
            }
            Bson::Array(values) => {
                values.into_iter().map(|value| self.filled(value)).collect::<Vec<_>>().into()
            }
            scalar => scalar,
        }
    }
}

/// A slot stands in a pipeline as JavaScript, which no query of ours has otherwise.
impl From<Slot> for Bson {
    fn from(slot: Slot) -> Self {
        Self::JavaScriptCode(grafana(slot).to_owned())
    }
}

/// What Grafana replaces by JSON.
fn grafana(slot: Slot) -> &'static str {
    match slot {
        Slot::From => r#"{"$date": {"$numberLong": "$__from"}}"#,
        Slot::To => r#"{"$date": {"$numberLong": "$__to"}}"#,
        Slot::IntervalMs => r#"{"$numberLong": "$__interval_ms"}"#,
        Slot::Countries => "${f_country:json}",
        Slot::Devices => "${f_device:json}",
        Slot::ContentTypes => "${f_content:json}",
    }
}

impl Query {
    fn on(collection: &'static str, pipeline: impl IntoIterator<Item = Document>) -> Self {
        Self { collection, pipeline: pipeline.into_iter().collect() }
    }

    /// Runs it.
    ///
    /// # Errors
    /// When MongoDB refuses.
    pub async fn ask(&self, database: &Database, asked: &Asked) -> Result<Vec<Document>> {
        let filled = |stage: &Document| match asked.filled(stage.clone().into()) {
            Bson::Document(stage) => stage,
            other => unreachable!("a stage stays a document: {other}"),
        };
        let pipeline: Vec<Document> = self.pipeline.iter().map(filled).collect();
        let found =
            database.collection::<Document>(self.collection).aggregate(pipeline).allow_disk_use(true).await;
        let found = found.with_context(|| format!("cannot read {}", self.collection))?;
        found.try_collect().await.with_context(|| format!("cannot read {}", self.collection))
    }

    /// The pipeline as extended JSON, with Grafana's names in the slots.
    pub fn text(&self) -> String {
        let stages: Vec<Bson> = self.pipeline.iter().map(|stage| Bson::from(stage.clone())).collect();
        let mut text = String::new();
        write(&Bson::from(stages), &mut text);
        text
    }
}

/// `Document` keeps the order of its keys, which `serde_json` does not.
fn write(value: &Bson, out: &mut String) {
    let mut list = |open: char, entries: &mut dyn Iterator<Item = (Option<&String>, &Bson)>, close: char| {
        out.push(open);
        for (index, (key, value)) in entries.enumerate() {
            out.push_str(if index > 0 { ", " } else { "" });
            if let Some(key) = key {
                out.push_str(&quoted(key));
                out.push_str(": ");
            }
            write(value, out);
        }
        out.push(close);
    };
    match value {
        Bson::Document(fields) => {
            list('{', &mut fields.iter().map(|(key, value)| (Some(key), value)), '}');
        }
        Bson::Array(values) => list('[', &mut values.iter().map(|value| (None, value)), ']'),
        Bson::JavaScriptCode(slot) => out.push_str(slot),
        Bson::String(text) => out.push_str(&quoted(text)),
        // Our queries have no other scalars than numbers, `true`, `false` and `null`.
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Every query, with what it is called in measurements.
pub fn all() -> [(&'static str, Query); 22] {
    [
        ("accesses over time", accesses()),
        ("against a day and a week before", compared()),
        ("newest minute", compared_now()),
        ("totals", totals()),
        ("busiest minutes", busiest_minutes()),
        ("users", users()),
        ("users over time", users_over_time()),
        ("devices", by_device(Scope::Asked)),
        ("countries", by_country(Scope::Asked)),
        ("content by country", by_content_and_country()),
        ("cities", cities()),
        ("devices over time", devices_over_time()),
        ("content over time", content_over_time()),
        ("busiest hours", busiest_hours()),
        ("hours of each day", hours_by_day()),
        ("hours of the week", hours_by_weekday()),
        ("alerts", newest_alerts()),
        ("alerts by kind", alerts_by_kind()),
        ("lines over time", ingest()),
        ("rejects by reason", rejects_by_reason()),
        ("processes", processes()),
        ("jobs", jobs()),
    ]
}

/// Largest first, `max` of them, without sorting what is not shown.
fn top(max: i32, by: Document, output: Document) -> Vec<Document> {
    vec![
        doc! { "$group": { "_id": null, "top": { "$topN": { "n": max, "sortBy": by, "output": output } } } },
        doc! { "$unwind": "$top" },
        doc! { "$replaceWith": "$top" },
    ]
}

/// One row for each `row`, with a column for each `column`, from documents with both and `n`. The row's value
/// gets the name `name`.
fn pivot(name: &str, row: &str, column: &str) -> Vec<Document> {
    vec![
        doc! { "$group": { "_id": row, "columns": { "$push": { "k": column, "v": "$n" } } } },
        doc! { "$sort": { "_id": 1 } },
        doc! { "$replaceWith": { "$mergeObjects": [{ name: "$_id" }, { "$arrayToObject": "$columns" }] } },
    ]
}
