//! The questions as aggregations over the rollups, each written once. A query has slots where the period, the
//! size of its buckets and what it is narrowed to belong: a dashboard has Grafana's names there, and whoever
//! runs it fills in values.

mod alerts;
mod health;
mod minutes;
mod period;
mod places;

use mongodb::bson::{Bson, Document, doc};

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

/// Stands in a list of devices or content types for all there are: the pipeline file may name more than the
/// dashboards know.
pub const ALL: &str = "*";

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
