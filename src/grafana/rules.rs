//! Grafana's own alert rules: that lines come in, that the processes run and keep up, and that what the
//! pipeline alerts reaches somebody. Grafana puts nothing into the queries of rules, so they go by the
//! server's clock.

use mongodb::bson::doc;
use serde_json::{Value, json};
use sink::schema::ALERTS;

use super::DATASOURCE;
use crate::queries::{Query, freshness, jobs, processes};

/// How far back an alert of the pipeline is new, in minutes.
const NEW_MIN: i32 = 5;

/// Where rules lie. Rules come before dashboards when Grafana starts, and make a folder by its name alone; if
/// it were that of the dashboards, there would be two.
const FOLDER: &str = "streampulse alerts";

/// A rule: one number a row, and what it must not pass.
struct Rule {
    uid: &'static str,
    title: &'static str,
    query: Query,
    above: f64,
    /// How long it must last.
    lasting: &'static str,
    /// What no row means.
    no_data: &'static str,
    /// `None` where each row tells its own: a label of the rule would hide it.
    severity: Option<&'static str>,
    summary: &'static str,
    dashboard: &'static str,
}

/// The file of alert rules.
pub fn rules() -> Value {
    let rules = [
        Rule {
            uid: "streampulse-stale",
            title: "No accesses come in",
            query: freshness(),
            above: 300.0,
            lasting: "2m",
            no_data: "OK",
            severity: Some("critical"),
            summary: "The newest access is {{ $values.A.Value }} s old",
            dashboard: "streampulse-health",
        },
        Rule {
            uid: "streampulse-gone",
            title: "A process of the pipeline is gone",
            query: alive(),
            above: 60.0,
            lasting: "1m",
            no_data: "OK",
            severity: Some("critical"),
            summary: "{{ $labels.process }} gave its last sign {{ $values.A.Value }} s ago and has not ended",
            dashboard: "streampulse-health",
        },
        Rule {
            uid: "streampulse-lag",
            title: "The pipeline lags behind",
            query: lag(),
            above: 100_000.0,
            lasting: "5m",
            no_data: "OK",
            severity: Some("warning"),
            summary: "Job {{ $labels.job }}, partition {{ $labels.partition }}, has {{ $values.A.Value }} records to go",
            dashboard: "streampulse-health",
        },
        Rule {
            uid: "streampulse-alert",
            title: "The pipeline raised an alert",
            query: new_alerts(),
            above: 0.0,
            lasting: "0s",
            no_data: "OK",
            severity: None,
            summary: "{{ $labels.kind }} ({{ $labels.severity }}): {{ $values.A.Value }} minutes in the last five",
            dashboard: "streampulse-alerts",
        },
    ];
    json!({
        "apiVersion": 1,
        "groups": [{
            "orgId": 1, "name": "streampulse", "folder": FOLDER, "interval": "1m",
            "rules": rules.iter().map(rule).collect::<Vec<_>>(),
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    let Rule { uid, title, query, above, lasting, no_data, severity, summary, dashboard } = rule;
    let labels = match severity {
        Some(severity) => json!({ "severity": severity, "component": "streampulse" }),
        None => json!({ "component": "streampulse" }),
    };
    json!({
        "uid": uid, "title": title, "condition": "C", "for": lasting, "noDataState": no_data, "execErrState": "Error",
        "labels": labels,
        "annotations": { "summary": summary, "dashboard": format!("/d/{dashboard}") },
        "data": [
            {
                "refId": "A", "relativeTimeRange": { "from": 600, "to": 0 }, "datasourceUid": DATASOURCE,
                "model": {
                    "refId": "A", "collection": query.collection, "queryLanguage": "json", "queryText": query.text(),
                },
            },
            {
                "refId": "C", "relativeTimeRange": { "from": 600, "to": 0 }, "datasourceUid": "__expr__",
                "model": {
                    "refId": "C", "type": "threshold", "expression": "A",
                    "conditions": [{ "evaluator": { "type": "gt", "params": [above] } }],
                },
            },
        ],
    })
}

/// Seconds since the last sign of each process that has not ended.
fn alive() -> Query {
    let Query { collection, mut pipeline } = processes();
    pipeline.push(doc! { "$match": { "state": { "$ne": "ended" } } });
    pipeline.push(doc! { "$project": { "process": 1, "seconds": 1 } });
    Query { collection, pipeline }
}

/// What each job has to go.
fn lag() -> Query {
    let Query { collection, mut pipeline } = jobs();
    pipeline.push(doc! { "$project": {
        "job": 1, "topic": 1, "partition": { "$toString": "$partition" }, "lag": 1,
    } });
    Query { collection, pipeline }
}

/// How many new alerts there are of each kind.
fn new_alerts() -> Query {
    let since = doc! { "$dateSubtract": { "startDate": "$$NOW", "unit": "minute", "amount": NEW_MIN } };
    let pipeline = vec![
        doc! { "$match": { "$expr": { "$gte": ["$ts", since] } } },
        doc! { "$group": { "_id": { "kind": "$kind", "severity": "$severity" }, "n": { "$sum": 1 } } },
        doc! { "$project": { "_id": 0, "kind": "$_id.kind", "severity": "$_id.severity", "n": "$n" } },
    ];
    Query { collection: ALERTS, pipeline }
}
