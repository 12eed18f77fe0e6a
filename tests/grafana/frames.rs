//! The plugin's half: a query is strict extended JSON, and the documents it finds become columns of one kind each, in
//! an order that nobody can rely on.

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::action::Action;
use mongodb::bson::{Bson, Document};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use serde_json::{Number, Value};

use super::interpolate::{Scope, interpolate};

/// How the text begins that stands for a value of a type the plugin does not know.
const UNSUPPORTED: &str = "[Unsupported type ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Int32,
    Int64,
    Float64,
    Text,
    Bool,
    Time,
    Json,
}

impl Kind {
    pub fn is_number(self) -> bool {
        matches!(self, Self::Int32 | Self::Int64 | Self::Float64)
    }

    /// As the plugin names it in its errors.
    fn go_name(self) -> &'static str {
        match self {
            Self::Int32 => "*int32",
            Self::Int64 => "*int64",
            Self::Float64 => "*float64",
            // A document is a text until all of its column are known to be documents.
            Self::Text | Self::Json => "*string",
            Self::Bool => "*bool",
            Self::Time => "*time.Time",
        }
    }
}

/// A column; times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub values: Vec<Option<Value>>,
}

impl Field {
    /// Whether a value of it is of a type the plugin does not know.
    pub fn is_unsupported(&self) -> bool {
        self.texts().any(|text| text.starts_with(UNSUPPORTED))
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().flatten().filter_map(Value::as_str)
    }

    /// A time that never goes back and is always there.
    pub fn is_ascending(&self) -> bool {
        let times: Vec<_> = self.values.iter().flatten().filter_map(Value::as_i64).collect();
        times.len() == self.values.len() && times.is_sorted()
    }
}

/// What a query gives a panel; without rows there are no fields either.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub fields: Vec<Field>,
}

impl Frame {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    pub fn rows(&self) -> usize {
        self.fields.first().map_or(0, |field| field.values.len())
    }

    pub fn times(&self) -> Vec<&Field> {
        self.fields.iter().filter(|field| field.kind == Kind::Time).collect()
    }

    pub fn numbers(&self) -> Vec<&Field> {
        self.fields.iter().filter(|field| field.kind.is_number()).collect()
    }

    pub fn texts(&self) -> Vec<&Field> {
        self.fields.iter().filter(|field| field.kind == Kind::Text).collect()
    }
}

/// A pipeline of a query's text, with its variables replaced: an array of stages in strict extended JSON.
pub fn parse(text: &str) -> Result<Vec<Document>, String> {
    // The browser takes one semicolon off.
    let text = text.trim_end();
    let text = text.strip_suffix(';').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| format!("failed to unmarshal JsonExt: {error}"))
}

/// Documents as the plugin makes a frame of them. Only `_id` has a place: Go gives the other columns in another order
/// each time, and so does another seed.
pub fn frame(documents: &[Document], seed: u64) -> Result<Frame, String> {
    let mut columns: Vec<Column> = Vec::new();
    for (row, document) in documents.iter().enumerate() {
        for (name, value) in document {
            match columns.iter_mut().find(|column| column.name == *name) {
                Some(column) => column.append(row, value)?,
                // A column begins with its first value, so one of nulls only is never there.
                None if *value == Bson::Null => {}
                None => {
                    let mut column = Column::new(name, kind(value));
                    column.append(row, value)?;
                    columns.push(column);
                }
            }
        }
    }
    columns.shuffle(&mut rand_chacha::ChaCha8Rng::seed_from_u64(seed));
    columns.sort_by_key(|column| column.name != "_id");
    let fields = columns.into_iter().map(|column| column.into_field(documents.len())).collect();
    Ok(Frame { fields })
}

struct Column {
    name: String,
    kind: Kind,
    values: Vec<Option<Value>>,
    is_json: bool,
}

impl Column {
    fn new(name: &str, kind: Kind) -> Self {
        Self { name: name.to_owned(), kind, values: Vec::new(), is_json: true }
    }

    fn append(&mut self, row: usize, value: &Bson) -> Result<(), String> {
        self.values.resize(row, None);
        if *value == Bson::Null {
            self.values.push(None);
            return Ok(());
        }
        self.kind = match (self.kind, kind(value)) {
            (Kind::Int32 | Kind::Int64 | Kind::Float64, Kind::Float64) => Kind::Float64,
            (Kind::Int32, Kind::Int64) => Kind::Int64,
            (Kind::Int64 | Kind::Float64, Kind::Int32) | (Kind::Float64, Kind::Int64) => self.kind,
            (had, got) if had == got => had,
            _ => {
                let (name, should, got) = (&self.name, self.kind.go_name(), bson_name(value));
                return Err(format!("field {name} should have type {should}, but got {got}"));
            }
        };
        self.is_json &= matches!(value, Bson::Document(_) | Bson::Array(_));
        self.values.push(json(value));
        Ok(())
    }

    fn into_field(mut self, rows: usize) -> Field {
        self.values.resize(rows, None);
        // The plugin forgets to do this with `_id`.
        if self.kind == Kind::Text && self.is_json && self.name != "_id" {
            return Field { name: self.name, kind: Kind::Json, values: self.values };
        }
        for value in self.values.iter_mut().flatten() {
            *value = match (self.kind, &*value) {
                (Kind::Float64, number) => number.as_f64().map_or(Value::Null, Value::from),
                (Kind::Text, Value::Object(_) | Value::Array(_)) => Value::from(value.to_string()),
                _ => continue,
            };
        }
        Field { name: self.name, kind: self.kind, values: self.values }
    }
}

/// The kind that a column has while rows are still added: of a document the one of texts.
fn kind(value: &Bson) -> Kind {
    match value {
        Bson::Int32(_) => Kind::Int32,
        Bson::Int64(_) => Kind::Int64,
        Bson::Double(_) => Kind::Float64,
        Bson::Boolean(_) => Kind::Bool,
        Bson::DateTime(_) | Bson::Timestamp(_) => Kind::Time,
        _ => Kind::Text,
    }
}

fn json(value: &Bson) -> Option<Value> {
    Some(match value {
        Bson::Int32(value) => Value::from(*value),
        Bson::Int64(value) => Value::from(*value),
        Bson::Double(value) => Value::Number(Number::from_f64(*value)?),
        Bson::Boolean(value) => Value::from(*value),
        Bson::String(value) => Value::from(value.as_str()),
        Bson::DateTime(value) => Value::from(value.timestamp_millis()),
        Bson::Timestamp(value) => Value::from(i64::from(value.time) * 1000),
        Bson::ObjectId(value) => Value::from(format!("ObjectID(\"{value}\")")),
        Bson::Document(_) | Bson::Array(_) => serde_json::to_value(value).expect("BSON has a JSON form"),
        _ => Value::from(format!("{UNSUPPORTED}{}]", bson_name(value))),
    })
}

/// As the Go driver names a type.
fn bson_name(value: &Bson) -> &'static str {
    match value {
        Bson::Int32(_) => "32-bit integer",
        Bson::Int64(_) => "64-bit integer",
        Bson::Double(_) => "double",
        Bson::Boolean(_) => "boolean",
        Bson::String(_) => "string",
        Bson::DateTime(_) => "UTC datetime",
        Bson::Timestamp(_) => "timestamp",
        Bson::ObjectId(_) => "objectID",
        Bson::Document(_) => "embedded document",
        Bson::Array(_) => "array",
        Bson::Decimal128(_) => "128-bit decimal",
        Bson::Binary(_) => "binary",
        Bson::RegularExpression(_) => "regex",
        _ => "other",
    }
}

/// Runs a target of a panel or annotation, or the query of a variable, on a server.
pub async fn run(database: &Database, target: &Value, scope: &Scope, seed: u64) -> Result<Frame, String> {
    for key in ["aggregateMaxTimeMS", "aggregateMaxAwaitTime"] {
        if !target[key].is_null() {
            return Err(format!("{key}: the plugin multiplies it by an hour"));
        }
    }
    if target["queryLanguage"].as_str().is_some_and(|language| language != "json") {
        return Err("queryLanguage is not json".to_owned());
    }
    let text = |key: &str| interpolate(target[key].as_str().unwrap_or_default(), scope);
    let collection = text("collection");
    if collection.is_empty() {
        return Err("collection field is required".to_owned());
    }
    let pipeline = parse(&text("queryText"))?;
    // These would work here; Grafana's user may only read.
    if let Some(stage) =
        pipeline.iter().find(|stage| stage.contains_key("$out") || stage.contains_key("$merge"))
    {
        return Err(format!("{stage} writes"));
    }
    let documents = database.collection::<Document>(&collection);
    let aggregate = documents
        .aggregate(pipeline)
        .optional(target["aggregateAllowDiskUse"].as_bool(), |aggregate, allow| {
            aggregate.allow_disk_use(allow)
        })
        .optional(target["aggregateComment"].as_str(), |aggregate, comment| {
            aggregate.comment(comment.to_owned())
        });
    let failed = |error: mongodb::error::Error| format!("failed to query: {error}");
    let found: Vec<_> = aggregate.await.map_err(failed)?.try_collect().await.map_err(failed)?;
    frame(&found, seed)
}
