//! The Grafana dashboards and alert rules, made from [`crate::queries`]. They are files in `grafana/`, which
//! a test compares with what is made here (`UPDATE_EXPECT=1 cargo test --release --test main made_from_here`
//! writes them anew).

mod alerts;
mod audience;
mod geography;
mod health;
mod overview;
mod panel;
mod peaks;
mod rules;

use domain::vocabulary::{Spellings, Vocabulary};
use isocountry::CountryCode;
use serde_json::{Value, json};

pub use rules::rules;

use crate::queries::{ALL, Query, annotations};

/// The plugin that asks MongoDB.
const PLUGIN: &str = "haohanyang-mongodb-datasource";
/// The data source that is provisioned.
const DATASOURCE: &str = "streampulse-mongodb";
/// The tag that our dashboards are linked by.
const TAG: &str = "streampulse";
/// Version of the dashboards' form: Grafana 10.4 to 13 load it.
const SCHEMA_VERSION: u32 = 39;

/// A dashboard: its file's name without extension, and what it holds.
pub type Dashboard = (&'static str, Value);

/// All dashboards.
pub fn dashboards() -> [Dashboard; 6] {
    [
        overview::dashboard(),
        peaks::dashboard(),
        audience::dashboard(),
        geography::dashboard(),
        alerts::dashboard(),
        health::dashboard(),
    ]
}

fn datasource() -> Value {
    json!({ "type": PLUGIN, "uid": "${datasource}" })
}

fn target(ref_id: &str, query: &Query) -> Value {
    json!({
        "refId": ref_id,
        "datasource": datasource(),
        "hide": false,
        "collection": query.collection,
        "queryLanguage": "json",
        "queryText": query.text(),
        "aggregateAllowDiskUse": true,
        "aggregateComment": "streampulse dashboard",
    })
}

/// What a dashboard begins with.
struct Head {
    uid: &'static str,
    title: &'static str,
    description: &'static str,
    /// How far back it looks at first.
    from: &'static str,
    /// Whether it can be narrowed to countries, devices and content types.
    narrows: bool,
}

fn whole(head: &Head, panels: Vec<Value>) -> Value {
    let Head { uid, title, description, from, narrows } = *head;
    let mut variables = vec![json!({
        "name": "datasource", "label": "Data source", "type": "datasource", "query": PLUGIN, "refresh": 1,
        "current": { "selected": false, "text": "streampulse", "value": DATASOURCE }, "hide": 0, "options": [], "regex": "", "multi": false, "includeAll": false,
    })];
    if narrows {
        variables.extend([
            variable("f_country", "Country", &countries(), None),
            variable("f_device", "Device", &names(Vocabulary::devices).join(", "), Some(ALL)),
            variable("f_content", "Content type", &names(Vocabulary::content_types).join(", "), Some(ALL)),
        ]);
    }
    json!({
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": false,
        "timezone": "utc",
        "time": { "from": from, "to": "now" },
        "timepicker": { "refresh_intervals": ["10s", "30s", "1m", "5m", "15m"] },
        "refresh": "30s",
        "graphTooltip": 1,
        "fiscalYearStartMonth": 0,
        "links": [{
            "title": "More questions", "type": "dashboards", "tags": [TAG], "asDropdown": true, "icon": "external link",
            "includeVars": true, "keepTime": true, "targetBlank": false, "tooltip": "", "url": "",
        }],
        "annotations": { "list": [
            {
                "builtIn": 1, "datasource": { "type": "grafana", "uid": "-- Grafana --" }, "enable": true, "hide": true,
                "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
            },
            {
                "datasource": datasource(), "enable": true, "hide": false, "iconColor": "red", "name": "Alerts",
                "target": target("Anno", &annotations()),
            },
        ] },
        "templating": { "list": variables },
        "panels": panels,
    })
}

/// A variable with fixed choices; `all` stands for all of them, also those that are not among the choices.
fn variable(name: &str, label: &str, choices: &str, all: Option<&str>) -> Value {
    let mut variable = json!({
        "name": name, "label": label, "type": "custom", "query": choices, "multi": true, "includeAll": true,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "options": [], "hide": 0, "skipUrlSync": false,
    });
    if let Some(all) = all {
        variable["allValue"] = json!(json!([all]).to_string());
    }
    variable
}

/// `name : code`, by name. A comma ends a choice unless a backslash stands before it.
fn countries() -> String {
    let mut all: Vec<String> = CountryCode::iter()
        .map(|country| format!("{} : {}", country.name().replace(',', "\\,"), country.alpha2()))
        .collect();
    all.sort();
    all.join(", ")
}

/// The names of a vocabulary without further spellings.
fn names(vocabulary: impl Fn(&Spellings) -> Result<Vocabulary, String>) -> Vec<String> {
    vocabulary(&Spellings::new()).expect("there are no further spellings").names().to_vec()
}
