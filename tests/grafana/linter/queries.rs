//! The queries of a dashboard: they parse whatever is selected, read a part of a collection and hide `_id`.

use mongodb::bson::{Bson, Document};
use serde_json::Value;

use super::variables::{FROM_MS, TO_MS};
use super::{all_panels, check_data_source, items, panel_name, scopes};
use crate::grafana::frames::parse;
use crate::grafana::interpolate::interpolate;

struct Query<'a> {
    place: String,
    json: &'a Value,
    is_variable: bool,
}

pub fn check(dashboard: &Value, findings: &mut Vec<String>) {
    for query in all(dashboard) {
        let mut found = Vec::new();
        check_query(&query, dashboard, &mut found);
        findings.extend(found.into_iter().map(|finding| format!("{}: {finding}", query.place)));
    }
}

/// The texts of all queries, before variables are replaced.
pub fn query_texts(dashboard: &Value) -> Vec<&str> {
    all(dashboard).into_iter().filter_map(|query| query.json["queryText"].as_str()).collect()
}

fn all(dashboard: &Value) -> Vec<Query<'_>> {
    let mut queries = Vec::new();
    for panel in all_panels(dashboard) {
        for target in items(&panel["targets"]) {
            let place = format!("{}, {}", panel_name(panel), target["refId"].as_str().unwrap_or("a target"));
            queries.push(Query { place, json: target, is_variable: false });
        }
    }
    let annotations = items(&dashboard["annotations"]["list"]).iter().filter(|one| one["builtIn"] != 1);
    for annotation in annotations {
        let place = format!("annotation {}", annotation["name"]);
        queries.push(Query { place, json: &annotation["target"], is_variable: false });
    }
    for variable in items(&dashboard["templating"]["list"]).iter().filter(|one| one["type"] == "query") {
        let place = format!("variable {}", variable["name"]);
        queries.push(Query { place, json: &variable["query"], is_variable: true });
    }
    queries
}

fn check_query(query: &Query, dashboard: &Value, findings: &mut Vec<String>) {
    let json = query.json;
    for key in ["aggregateMaxTimeMS", "aggregateMaxAwaitTime"] {
        if json.get(key).is_some() {
            findings.push(format!("{key}: the plugin multiplies it by an hour"));
        }
    }
    let collection = json["collection"].as_str().unwrap_or_default();
    if collection.is_empty() {
        findings.push("no collection".to_owned());
    }
    let text = json["queryText"].as_str().unwrap_or_default();
    if query.is_variable {
        if collection.contains('$') || collection.contains("[[") {
            findings.push("a variable in the collection of a variable's query is not replaced".to_owned());
        }
        if text.trim_end().ends_with(';') {
            findings.push("a semicolon is left in a variable's query".to_owned());
        }
    } else {
        check_data_source("target", &json["datasource"], findings);
    }
    if json["queryLanguage"] != "json" && !(query.is_variable && json["queryLanguage"].is_null()) {
        findings.push("queryLanguage is not json".to_owned());
    }
    let mut found =
        scopes(dashboard).iter().map(|scope| check_text(&interpolate(text, scope))).collect::<Vec<_>>();
    found.dedup();
    findings.extend(found.into_iter().flatten());
}

/// Checks a query with its variables replaced.
fn check_text(text: &str) -> Vec<String> {
    let pipeline = match parse(text) {
        Ok(pipeline) => pipeline,
        Err(error) => return vec![error],
    };
    let mut findings = Vec::new();
    let mut rule = |holds: bool, finding: &str| {
        if !holds {
            findings.push(finding.to_owned());
        }
    };
    rule(!text.contains("${") && !text.contains("$__"), "a variable that nobody knows");
    let is_quoted = |value: &Bson| matches!(value, Bson::String(text) if is_time_text(text));
    let quotes_time = pipeline.iter().flat_map(Document::values).any(|value| any(value, &is_quoted));
    rule(!quotes_time, "a time in quotes is a text: write {\"$date\": {\"$numberLong\": \"$__from\"}}");
    rule(is_bounded(&pipeline), "it reads everything: no $limit and no $match on time");
    rule(!keeps_id(&pipeline), "it leaves _id: end with \"_id\": 0");
    let writes = pipeline.iter().any(|stage| stage.contains_key("$out") || stage.contains_key("$merge"));
    rule(!writes, "it writes");
    findings
}

fn is_time_text(text: &str) -> bool {
    text == FROM_MS.to_string() || text == TO_MS.to_string()
}

/// Whether a value or anything in it is such.
fn any(value: &Bson, is_such: &impl Fn(&Bson) -> bool) -> bool {
    is_such(value)
        || match value {
            Bson::Document(document) => document.values().any(|inner| any(inner, is_such)),
            Bson::Array(values) => values.iter().any(|inner| any(inner, is_such)),
            _ => false,
        }
}

fn is_time(value: &Bson) -> bool {
    match value {
        Bson::DateTime(time) => [FROM_MS, TO_MS].contains(&time.timestamp_millis()),
        Bson::Int64(number) => [FROM_MS, TO_MS].contains(number),
        Bson::String(text) => text == "$$NOW",
        _ => false,
    }
}

/// Whether it reads or gives no more than a part, and so does each collection that it adds.
fn is_bounded(pipeline: &[Document]) -> bool {
    let bounds = |stage: &Document| {
        stage.contains_key("$limit") || stage.get("$match").is_some_and(|filter| any(filter, &is_time))
    };
    let adds_all = |stage: &Document| {
        stage.get("$unionWith").is_some_and(|added| !inner(added).is_some_and(|inner| is_bounded(&inner)))
    };
    pipeline.iter().any(bounds) && !pipeline.iter().any(adds_all)
}

/// The pipeline in a `$unionWith`.
fn inner(stage: &Bson) -> Option<Vec<Document>> {
    let stages = stage.as_document()?.get_array("pipeline").ok()?;
    stages.iter().map(|stage| stage.as_document().cloned()).collect()
}

/// Whether documents still have their `_id` at the end.
fn keeps_id(pipeline: &[Document]) -> bool {
    let stages = pipeline.iter().flatten();
    stages.fold(true, |has_id, (operator, value)| match (operator.as_str(), value) {
        ("$project", Bson::Document(fields)) => match fields.get("_id") {
            Some(shown) => !is_no(shown),
            None => has_id,
        },
        ("$unset", Bson::String(name)) => has_id && name != "_id",
        ("$unset", Bson::Array(names)) => has_id && !names.contains(&Bson::from("_id")),
        ("$set" | "$addFields", Bson::Document(fields)) => match fields.get("_id") {
            Some(Bson::String(value)) if value == "$$REMOVE" => false,
            Some(_) => true,
            None => has_id,
        },
        ("$replaceRoot", Bson::Document(to)) => {
            to.get("newRoot").is_some_and(|root| root_has_id(root, has_id))
        }
        ("$replaceWith", root) => root_has_id(root, has_id),
        ("$unionWith", added) => has_id || inner(added).is_none_or(|inner| keeps_id(&inner)),
        ("$group" | "$bucket" | "$bucketAuto" | "$sortByCount", _) => true,
        ("$count" | "$facet", _) => false,
        _ => has_id,
    })
}

fn is_no(value: &Bson) -> bool {
    match value {
        Bson::Boolean(shown) => !shown,
        Bson::Int32(shown) => *shown == 0,
        Bson::Int64(shown) => *shown == 0,
        Bson::Double(shown) => *shown == 0.0,
        _ => false,
    }
}

/// Whether a new root has an `_id`, as far as its text tells.
fn root_has_id(root: &Bson, has_id: bool) -> bool {
    match root {
        Bson::String(path) => has_id && (path == "$$ROOT" || path == "$$CURRENT"),
        Bson::Document(fields) => match fields.get("$mergeObjects") {
            Some(Bson::Array(parts)) => parts.iter().any(|part| root_has_id(part, has_id)),
            Some(part) => root_has_id(part, has_id),
            None => fields.contains_key("_id"),
        },
        _ => false,
    }
}
