//! Traps in the JSON of a dashboard: one that is right, and what each change of it must be told of.

use mongodb::bson::{DateTime, doc};
use serde_json::{Value, json};

use crate::grafana::frames::run;
use crate::grafana::interpolate::interpolate;
use crate::grafana::linter::{lint, scopes};
use crate::grafana::panels::{check_panel, check_variable};
use crate::support::{database, database_name};

const QUERY: &str = r#"[
    {"$match": {"country": {"$in": ${f_country:json}}, "ts": {"$gte": {"$date": {"$numberLong": "$__from"}}}}},
    {"$group": {"_id": "$ts", "n": {"$sum": "$n"}}},
    {"$project": {"_id": 0, "ts": "$_id", "n": 1}},
    {"$sort": {"ts": 1}}
]"#;

fn right() -> Value {
    let data_source = json!({ "type": "haohanyang-mongodb-datasource", "uid": "${datasource}" });
    let target = |query_text: &str| {
        json!({ "refId": "A", "datasource": data_source, "collection": "access_rollups_1m",
            "queryLanguage": "json", "queryText": query_text })
    };
    let panel = |id: u64, kind: &str, x: u64| {
        json!({ "id": id, "type": kind, "title": "Accesses", "description": "How many there were.",
            "gridPos": { "x": x, "y": 0, "w": 12, "h": 8 }, "datasource": data_source, "targets": [target(QUERY)],
            "fieldConfig": { "defaults": { "unit": "short", "noValue": "none" }, "overrides": [] } })
    };
    let values =
        r#"[{"$group": {"_id": "$country"}}, {"$limit": 300}, {"$project": {"_id": 0, "value": "$_id"}}]"#;
    json!({
        "uid": "streampulse-overview", "title": "Overview", "version": 1, "schemaVersion": 41, "editable": false,
        "tags": ["streampulse"], "graphTooltip": 1, "time": { "from": "now-24h", "to": "now" }, "refresh": "30s",
        "timezone": "utc",
        "links": [{ "type": "dashboards", "tags": ["streampulse"], "keepTime": true, "includeVars": true }],
        "annotations": { "list": [
            { "builtIn": 1, "datasource": { "type": "grafana", "uid": "-- Grafana --" }, "name": "Annotations" },
            { "name": "Alerts", "datasource": data_source, "target": target(
                r#"[{"$limit": 9}, {"$project": {"_id": 0, "time": "$ts", "text": 1}}]"#) },
        ] },
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource",
                "query": "haohanyang-mongodb-datasource" },
            { "name": "f_country", "type": "query", "refresh": 2, "multi": true, "includeAll": true,
                "datasource": data_source,
                "query": { "refId": "A", "collection": "access_rollups_1d", "queryText": values } },
            { "name": "f_device", "type": "custom", "multi": true, "query": "TV : tv, phone" },
        ] },
        "panels": [
            panel(1, "timeseries", 0),
            panel(2, "stat", 12),
            { "id": 3, "type": "row", "title": "More", "gridPos": { "x": 0, "y": 8, "w": 24, "h": 1 },
                "panels": [{ "id": 4, "type": "text", "gridPos": { "x": 0, "y": 9, "w": 24, "h": 4 } }] },
        ],
    })
}

/// Whether a change of the dashboard is found, with all that is said of it.
#[track_caller]
fn found(pointer: &str, value: Value, reason: &str) {
    let mut dashboard = right();
    *dashboard.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    told(&dashboard, reason);
}

#[track_caller]
fn told(dashboard: &Value, reason: &str) {
    let findings = lint(dashboard);
    assert!(
        findings.iter().any(|finding| finding.contains(reason)),
        "{findings:#?} say nothing of {reason:?}"
    );
}

/// Whether a query of the first panel is found; a right one has no findings.
#[track_caller]
fn query_found(query_text: &str, reason: &str) {
    found("/panels/0/targets/0/queryText", json!(query_text), reason);
}

#[track_caller]
fn query_right(query_text: &str) {
    let mut dashboard = right();
    dashboard["panels"][0]["targets"][0]["queryText"] = json!(query_text);
    assert_eq!(lint(&dashboard), [""; 0]);
}

#[test]
fn a_right_dashboard_has_no_findings() {
    assert_eq!(lint(&right()), [""; 0]);
    let [all, one] = scopes(&right());
    let format = |scope| interpolate("${f_device:json}", scope);
    assert_eq!((format(&all), format(&one)), (r#"["tv","phone"]"#.to_owned(), r#"["tv"]"#.to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_panel_is_drawn_whatever_is_selected_and_in_any_order() {
    let dashboard = right();
    let database = database(&database_name("drawn")).await;
    let [all, one] = scopes(&dashboard);
    // Its list of countries is filled by a query, which stands for "one" and "other".
    for (minute, country) in ["one", "other", "third"].into_iter().enumerate() {
        let ts = DateTime::from_millis(all.from_ms + 60_000 * minute as i64);
        for collection in ["access_rollups_1m", "access_rollups_1d"] {
            let rollup = doc! { "ts": ts, "country": country, "n": 1_i64 };
            database.collection(collection).insert_one(rollup).await.expect("a server");
        }
    }
    for (scope, rows) in [(&all, 2), (&one, 1)] {
        for seed in 0..5 {
            for panel in &dashboard["panels"].as_array().expect("panels")[..2] {
                let frame = run(&database, &panel["targets"][0], scope, seed).await.expect("a frame");
                assert_eq!(frame.rows(), rows);
                check_panel(panel, &[("A".to_owned(), frame)]).expect("a panel");
            }
        }
    }
    let countries =
        run(&database, &dashboard["templating"]["list"][1]["query"], &all, 1).await.expect("a frame");
    check_variable(&countries).expect("values");
    assert_eq!(countries.rows(), 3);
}

#[test]
fn what_a_dashboard_must_have() {
    let changes = [
        ("/uid", json!("an-identifier-of-more-than-forty-characters"), "uid: not 1 to 40"),
        ("/uid", json!("a b"), "uid: not 1 to 40"),
        ("/title", json!(""), "title"),
        ("/version", Value::Null, "version"),
        ("/schemaVersion", json!(43), "schemaVersion"),
        ("/schemaVersion", json!(38), "schemaVersion"),
        ("/editable", json!(true), "uneditable-dashboard"),
        ("/tags", json!([]), "tags"),
        ("/graphTooltip", Value::Null, "graphTooltip"),
        ("/time", json!({ "from": "now-1h" }), "time"),
        ("/refresh", json!(""), "refresh"),
        ("/timezone", json!(""), "timezone"),
        ("/links", json!([]), "links: none"),
        ("/links/0/keepTime", json!(false), "keepTime"),
        ("/links/0/includeVars", json!(false), "includeVars"),
        ("/annotations/list/0/builtIn", json!(0), "built-in"),
        ("/panels", json!([]), "no panel shows data"),
    ];
    for (pointer, value, reason) in changes {
        found(pointer, value, reason);
    }
}

#[test]
fn inputs_and_ids_are_of_one_import() {
    for (key, value) in [("__inputs", json!([{ "name": "DS_X" }])), ("id", json!(7))] {
        let mut dashboard = right();
        dashboard[key] = value;
        told(&dashboard, key);
    }
}

#[test]
fn a_fixed_data_source_is_some_other_grafanas() {
    let fixed = json!({ "type": "haohanyang-mongodb-datasource", "uid": "mongo-analytics" });
    found("/panels/0/datasource", fixed.clone(), "panel-datasource-rule");
    found("/panels/0/targets/0/datasource", fixed.clone(), "not the variable");
    found("/annotations/list/1/target/datasource", fixed.clone(), "not the variable");
    found("/templating/list/1/datasource", fixed, "not the variable");
    found("/templating/list/0/label", json!("DB"), "template-datasource-rule");
    found("/templating/list/0/type", json!("custom"), "template-datasource-rule");
}

#[test]
fn panels_say_what_they_show() {
    found("/panels/0/description", json!(""), "panel-title-description-rule");
    found("/panels/0/fieldConfig/defaults/unit", json!("accesses"), "panel-units-rule");
    found("/panels/0/fieldConfig/defaults/noValue", json!(""), "noValue");
    found("/panels/0/targets", json!([]), "panel-no-targets-rule");
    let mut mapped = right();
    mapped["panels"][0]["fieldConfig"]["defaults"] =
        json!({ "noValue": "none", "mappings": [{ "type": "value" }] });
    assert_eq!(lint(&mapped), [""; 0]);
    let overridden = json!([{ "properties": [{ "id": "unit", "value": "accesses" }] }]);
    found("/panels/0/fieldConfig/overrides", overridden, "panel-units-rule");
}

#[test]
fn panels_and_targets_have_ids_of_their_own() {
    found("/panels/1/id", json!(1), "its id");
    found("/panels/2/panels/0/id", json!(1), "its id");
    found("/panels/1/id", json!("2"), "its id");
    let mut twice = right();
    let target = twice["panels"][0]["targets"][0].clone();
    twice["panels"][0]["targets"] = json!([target, target]);
    told(&twice, "the refId \"A\"");
}

#[test]
fn panels_stand_within_the_grid_and_not_on_each_other() {
    found("/panels/1/gridPos/x", json!(11), "overlaps");
    found("/panels/2/gridPos/y", json!(7), "overlaps");
    found("/panels/1/gridPos/w", json!(13), "24 columns");
    found("/panels/1/gridPos/h", json!(0), "24 columns");
    found("/panels/1/gridPos", Value::Null, "24 columns");
}

#[test]
fn a_variable_named_like_a_field_or_an_operator_is_found() {
    found("/templating/list/2/name", json!("country"), "does not begin with f_");
    found("/templating/list/2/name", json!("n"), "takes the place");
    found("/templating/list/2/name", json!("match"), "takes the place");
    let date =
        r#"[{"$match": {"ts": {"$gte": {"$date": {"$numberLong": "$__from"}}}}}, {"$project": {"_id": 0}}]"#;
    query_right(date);
    found("/templating/list/2/name", json!("date"), "takes the place");
}

#[test]
fn a_variable_that_a_query_fills_follows_the_time() {
    found("/templating/list/1/refresh", json!(1), "template-on-time-change-reload-rule");
    found("/templating/list/1/query/collection", json!("$f_device"), "collection of a variable's query");
    found("/templating/list/1/query/queryText", json!(r#"[{"$limit": 1}, {"$unset": "_id"}];"#), "semicolon");
}

#[test]
fn one_value_as_json_is_found() {
    found("/templating/list/1/multi", json!(false), "JsonExt");
    let mut with_all = right();
    with_all["templating"]["list"][1]["allValue"] = json!(".*");
    told(&with_all, "JsonExt");
}

#[test]
fn a_query_that_is_not_strict_json_is_found() {
    query_found(r#"[{"$limit": 1}, {"$project": {"_id": 0}},]"#, "JsonExt");
    query_found(r#"[{"$limit": 1}, {"$project": {_id: 0}}]"#, "JsonExt");
    query_found(r#"[{"$limit": 1}, {"$project": {"_id": 0, "x": "$__no"}}]"#, "nobody knows");
    query_found(r#"[{"$limit": 1}, {"$project": {"_id": 0, "x": "${f_no}"}}]"#, "nobody knows");
    found("/panels/0/targets/0/queryLanguage", json!("javascript"), "queryLanguage");
    found("/panels/0/targets/0/collection", json!(""), "collection");
}

#[test]
fn a_time_in_quotes_is_found() {
    query_found(r#"[{"$match": {"ts": {"$gte": "$__from"}}}, {"$project": {"_id": 0}}]"#, "a time in quotes");
    query_found(r#"[{"$match": {"ts": {"$lt": "${__to}"}}}, {"$project": {"_id": 0}}]"#, "a time in quotes");
}

#[test]
fn a_query_that_reads_everything_is_found() {
    query_found(r#"[{"$match": {"country": "BR"}}, {"$project": {"_id": 0}}]"#, "reads everything");
    let with = r#"{"$unionWith": {"coll": "b", "pipeline": [{"$project": {"_id": 0}}]}}"#;
    query_found(&format!(r#"[{{"$limit": 1}}, {{"$project": {{"_id": 0}}}}, {with}]"#), "reads everything");
    query_right(r#"[{"$match": {"country": "BR"}}, {"$limit": 10}, {"$project": {"_id": 0}}]"#);
    query_right(
        r#"[{"$match": {"$expr": {"$gt": ["$ts", {"$dateSubtract": {"startDate": "$$NOW", "unit": "hour",
            "amount": 1}}]}}}, {"$project": {"_id": 0}}]"#,
    );
}

#[test]
fn an_id_that_is_left_is_found() {
    let ended = |stages: &str| format!(r#"[{{"$limit": 1}}, {stages}]"#);
    let traps = [
        r#"{"$sort": {"ts": 1}}"#,
        r#"{"$project": {"n": 1}}"#,
        r#"{"$project": {"_id": 0}}, {"$group": {"_id": "$n"}}"#,
        r#"{"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"n": 1}]}}}"#,
        r#"{"$replaceWith": {"_id": "$n"}}"#,
        r#"{"$project": {"_id": 0}}, {"$set": {"_id": 1}}"#,
        r#"{"$project": {"_id": 0}}, {"$unionWith": {"coll": "b", "pipeline": [{"$limit": 1}]}}"#,
    ];
    for stages in traps {
        query_found(&ended(stages), "it leaves _id");
    }
    let right = [
        r#"{"$project": {"_id": false, "n": 1}}, {"$sort": {"n": 1}}"#,
        r#"{"$unset": ["_id"]}"#,
        r#"{"$set": {"_id": "$$REMOVE"}}"#,
        r#"{"$replaceRoot": {"newRoot": {"$mergeObjects": [{"ts": "$_id"}, {"$arrayToObject": "$kv"}]}}}"#,
        r#"{"$replaceWith": "$inner"}"#,
        r#"{"$count": "n"}"#,
    ];
    for stages in right {
        query_right(&ended(stages));
    }
}

#[test]
fn what_the_plugin_or_its_user_cannot_do_is_found() {
    for key in ["aggregateMaxTimeMS", "aggregateMaxAwaitTime"] {
        let mut dashboard = right();
        dashboard["panels"][0]["targets"][0][key] = json!(30_000);
        told(&dashboard, "multiplies it by an hour");
    }
    query_found(r#"[{"$limit": 1}, {"$project": {"_id": 0}}, {"$out": "other"}]"#, "it writes");
}
