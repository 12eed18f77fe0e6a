//! Traps of the text of a query: what the browser replaces in it, what is JSON, what a server finds.

use mongodb::Database;
use mongodb::bson::{Bson, DateTime, Decimal128, doc};
use serde_json::{Value, json};

use super::refused;
use crate::grafana::frames::{Kind, parse, run};
use crate::grafana::interpolate::{Scope, Variable, interpolate};
use crate::grafana::panels::{check_panel, is_empty};
use crate::support::{database, database_name};

const FROM_MS: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;

fn scope(variables: impl IntoIterator<Item = (&'static str, Variable)>) -> Scope {
    Scope {
        from_ms: FROM_MS,
        to_ms: FROM_MS + HOUR_MS,
        interval_ms: 60_000,
        variables: variables.into_iter().map(|(name, variable)| (name.to_owned(), variable)).collect(),
    }
}

fn many(values: &[&str]) -> Variable {
    Variable::Many(values.iter().map(|value| (*value).to_owned()).collect())
}

fn one(value: &str) -> Variable {
    Variable::One(value.to_owned())
}

#[test]
fn what_grafana_knows_is_replaced_and_the_rest_stays() {
    let scope =
        scope([("f_country", many(&["AT", "DE"])), ("f_city", one("St. \"Q\"")), ("f_one", many(&["AT"]))]);
    let cases = [
        ("$__from ${__to} [[__local_from]]", "1700000000000 1700003600000 1700000000000"),
        ("${__from:date:iso} ${__from:date:seconds}", "2023-11-14T22:13:20.000Z 1700000000"),
        ("$__interval $__interval_ms $__dateBucketCount", "1m 60000 60"),
        ("$__from_oid", "6553f1000000000000000000"),
        ("$f_country [[f_country]] ${f_country}", "{AT,DE} {AT,DE} {AT,DE}"),
        ("${f_country:json} ${f_one:json} ${f_one}", "[\"AT\",\"DE\"] [\"AT\"] AT"),
        ("[[f_country:csv]] ${f_country:raw} ${f_country:pipe}", "AT,DE AT,DE AT|DE"),
        ("${f_country:text} ${f_country.value:doublequote}", "AT + DE \"AT\",\"DE\""),
        ("${f_city:json} ${f_city:doublequote} ${f_city:no}", "St. \"Q\" \"St. \\\"Q\\\"\" St. \"Q\""),
        ("${f_city:regex} ${f_country:regex}", "St\\. \"Q\" (AT|DE)"),
        ("$match $ts $$NOW $$ROOT.a $f_countries ${f_} [[\"\", \"Mon\"]] ${ $", ""),
        ("$from $to $dateBucketCount", ""),
    ];
    for (text, replaced) in cases {
        let replaced = if replaced.is_empty() { text } else { replaced };
        assert_eq!(interpolate(text, &scope), replaced, "{text}");
    }
}

#[test]
fn a_variable_named_like_a_field_or_an_operator_rewrites_the_query() {
    let text = r#"[{"$match": {"ts": {"$gte": {"$date": "2026-01-01T00:00:00Z"}}}}, {"$group": {"_id": "$country"}}]"#;
    let rewritten = interpolate(text, &scope([("country", one("AT")), ("date", one("value"))]));
    assert!(rewritten.contains(r#"{"value": "2026"#) && rewritten.contains(r#""_id": "AT""#), "{rewritten}");
    assert_eq!(interpolate(text, &scope([("f_country", one("AT"))])), text);
}

#[test]
fn one_value_is_no_json_and_several_are_none_without_a_format() {
    let filter = |format: &str| format!(r#"[{{"$match": {{"country": {{"$in": {format}}}}}}}]"#);
    let parsed = |format: &str, variable: Variable| {
        parse(&interpolate(&filter(format), &scope([("f_country", variable)])))
    };
    let both = || many(&["AT", "DE"]);
    refused(parsed("${f_country:json}", one("AT")), "JsonExt");
    refused(parsed("${f_country}", both()), "JsonExt");
    refused(parsed("[${f_country:csv}]", both()), "JsonExt");
    let expected = Ok(vec![doc! { "$match": { "country": { "$in": ["AT", "DE"] } } }]);
    assert_eq!(parsed("${f_country:json}", both()), expected);
    assert_eq!(parsed("[${f_country:doublequote}]", both()), expected);
    assert!(parsed("${f_country:json}", many(&["AT"])).is_ok());
    // A regular expression has escapes that JSON has not.
    refused(parsed("[\"${f_country:regex}\"]", one("St. Q")), "JsonExt");
}

#[test]
fn a_value_for_all_is_inserted_as_it_is() {
    let text = r#"[{"$match": {"country": ${f_country:json}}}]"#;
    let parsed =
        |raw: &str| parse(&interpolate(text, &scope([("f_country", Variable::AllRaw(raw.to_owned()))])));
    refused(parsed("*"), "JsonExt");
    assert_eq!(
        parsed(r#"{"$exists": true}"#),
        Ok(vec![doc! { "$match": { "country": { "$exists": true } } }])
    );
}

#[test]
fn a_query_is_strict_json_and_an_array_of_stages() {
    let traps = [
        r#"[{"$limit": 1},]"#,
        r#"[{"$limit": 1,}]"#,
        r#"[{"$limit": 1} /* one */]"#,
        "[{\"$limit\": 1}] // one",
        r#"[{'$limit': 1}]"#,
        r#"[{$limit: 1}]"#,
        r#"[{"$match": {"ts": ISODate("2026-01-01")}}]"#,
        r#"[{"$match": {"ts": new Date(0)}}]"#,
        r#"db.access_minutes.aggregate([{"$limit": 1}])"#,
        r#"{"$limit": 1}"#,
        r#"["$limit"]"#,
        r#"[{"$limit": 1}];;"#,
        r#"[{"$match": {"ts": {"$date": "yesterday"}}}]"#,
        r#"[{"$match": {"ts": {"$date": {"$numberLong": 5}}}}]"#,
        "",
    ];
    for text in traps {
        refused(parse(text), "JsonExt");
    }
    assert_eq!(parse("[{\"$limit\": 1}]; \n"), Ok(vec![doc! { "$limit": 1 }]));
    // Keys stay in their order, which a sort depends on.
    let sort = parse(r#"[{"$sort": {"z": 1, "a": 1}}]"#).expect("JSON");
    assert_eq!(sort[0].get_document("$sort").expect("keys").keys().collect::<Vec<_>>(), ["z", "a"]);
    for date in [r#"{"$numberLong": "5"}"#, "5", r#""1970-01-01T00:00:00.005Z""#] {
        let parsed = parse(&format!(r#"[{{"$match": {{"ts": {{"$date": {date}}}}}}}]"#)).expect("a date");
        assert_eq!(parsed, [doc! { "$match": { "ts": DateTime::from_millis(5) } }], "{date}");
    }
}

/// A database with a document a minute, of two devices and one that nobody knows.
async fn filled(name: &str) -> Database {
    let database = database(&database_name(name)).await;
    let documents = (0..60_i64).map(|minute| {
        let device = [Bson::from("tv"), "phone".into(), Bson::Null][minute as usize % 3].clone();
        let price: Decimal128 = "1.5".parse().expect("a number");
        doc! { "ts": DateTime::from_millis(FROM_MS + minute * 60_000), "device": device, "n": minute, "price": price }
    });
    database.collection("minutes").insert_many(documents).await.expect("a server");
    database
}

fn target(query_text: &str) -> Value {
    json!({ "refId": "A", "collection": "minutes", "queryLanguage": "json", "queryText": query_text })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_in_quotes_matches_nothing() {
    let database = filled("quotes").await;
    let from = |time: &str| {
        let text = format!(
            r#"[{{"$match": {{"ts": {{"$gte": {time}}}}}}}, {{"$project": {{"_id": 0}}}}, {{"$limit": 9}}]"#
        );
        target(&text)
    };
    let scope = scope([]);
    for time in [r#""$__from""#, r#"{"$numberLong": "$__from"}"#, r#""$from""#] {
        let frame = run(&database, &from(time), &scope, 1).await.expect("it runs");
        assert!(is_empty(&[("A".to_owned(), frame)]), "{time}");
    }
    for time in [
        r#"{"$date": {"$numberLong": "$__from"}}"#,
        r#"{"$date": $__from}"#,
        r#"{"$date": "${__from:date:iso}"}"#,
    ] {
        let frame = run(&database, &from(time), &scope, 1).await.expect("it runs");
        assert_eq!(frame.rows(), 9, "{time}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pivot_fails_on_a_null_key() {
    let database = filled("pivot").await;
    let pivot = |key: &str| {
        let text = format!(
            r#"[{{"$match": {{"ts": {{"$gte": {{"$date": {{"$numberLong": "$__from"}}}}}}}}}},
                {{"$group": {{"_id": "$ts", "kv": {{"$push": {{"k": {key}, "v": "$n"}}}}}}}},
                {{"$replaceRoot": {{"newRoot": {{"$mergeObjects": [{{"ts": "$_id"}}, {{"$arrayToObject": "$kv"}}]}}}}}},
                {{"$sort": {{"ts": 1}}}}]"#
        );
        target(&text)
    };
    refused(run(&database, &pivot("\"$device\""), &scope([]), 1).await, "arrayToObject");
    let frame = run(&database, &pivot(r#"{"$ifNull": ["$device", "unknown"]}"#), &scope([]), 1).await;
    let frame = frame.expect("a wide frame");
    assert_eq!((frame.times().len(), frame.numbers().len(), frame.rows()), (1, 3, 60));
    let panel = json!({
        "type": "timeseries", "fieldConfig": { "defaults": { "color": { "mode": "palette-classic-by-name" } } },
    });
    check_panel(&panel, &[("A".to_owned(), frame)]).expect("a graph");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decimal_is_of_no_kind_until_it_is_a_double() {
    let database = filled("decimal").await;
    let stat = json!({ "type": "stat" });
    let price = |price: &str| {
        target(&format!(r#"[{{"$limit": 1}}, {{"$project": {{"_id": 0, "price": {price}}}}}]"#))
    };
    let unsupported = run(&database, &price("1"), &scope([]), 1).await.expect("a frame");
    refused(check_panel(&stat, &[("A".to_owned(), unsupported)]), "a type the plugin does not know");
    let cast = run(&database, &price(r#"{"$toDouble": "$price"}"#), &scope([]), 1).await.expect("a frame");
    assert_eq!(cast.fields[0].kind, Kind::Float64);
    check_panel(&stat, &[("A".to_owned(), cast)]).expect("a number");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_refused_for_what_the_plugin_cannot_do() {
    let database = filled("target").await;
    let right = || {
        let mut target = target(r#"[{"$limit": 2}, {"$project": {"_id": 0, "n": 1}}]"#);
        target["aggregateAllowDiskUse"] = json!(true);
        target["aggregateComment"] = json!("grafana");
        target
    };
    let changes = [
        ("aggregateMaxTimeMS", json!(30_000), "multiplies it by an hour"),
        ("aggregateMaxAwaitTime", json!(1), "multiplies it by an hour"),
        ("queryLanguage", json!("javascript"), "not json"),
        ("collection", json!(""), "collection"),
        ("queryText", json!(r#"[{"$limit": 2}, {"$out": "other"}]"#), "writes"),
        ("queryText", json!(r#"[{"$limt": 2}]"#), "Unrecognized pipeline stage"),
    ];
    for (key, value, reason) in changes {
        let mut wrong = right();
        wrong[key] = value;
        refused(run(&database, &wrong, &scope([]), 1).await, reason);
    }
    let mut by_variable = right();
    by_variable["collection"] = json!("$f_collection");
    let frame = run(&database, &by_variable, &scope([("f_collection", one("minutes"))]), 1).await;
    assert_eq!(frame.expect("a frame").rows(), 2);
}
