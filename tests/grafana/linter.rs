//! The structure of a dashboard's JSON: the rules of Grafana's dashboard-linter that need no Prometheus, and our own.

mod panels;
mod queries;
mod variables;

use serde_json::Value;

pub use variables::scopes;

const PLUGIN: &str = "haohanyang-mongodb-datasource";
/// Grafana cuts nothing off; it refuses.
const UID_CHARS_MAX: usize = 40;

/// What is wrong with a dashboard; nothing is in one that is right.
pub fn lint(dashboard: &Value) -> Vec<String> {
    let mut findings = Vec::new();
    check_head(dashboard, &mut findings);
    check_links(dashboard, &mut findings);
    variables::check(dashboard, &mut findings);
    panels::check(dashboard, &mut findings);
    queries::check(dashboard, &mut findings);
    findings
}

fn check_head(dashboard: &Value, findings: &mut Vec<String>) {
    let mut rule = |holds: bool, finding: &str| {
        if !holds {
            findings.push(finding.to_owned());
        }
    };
    let uid = dashboard["uid"].as_str().unwrap_or_default();
    let is_uid_char = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let is_uid = (1..=UID_CHARS_MAX).contains(&uid.len()) && uid.chars().all(is_uid_char);
    rule(is_uid, "uid: not 1 to 40 letters, digits, - and _");
    rule(is_text(&dashboard["title"]), "title: missing");
    rule(dashboard["version"].is_u64(), "version: missing");
    rule(matches!(dashboard["schemaVersion"].as_u64(), Some(39..=42)), "schemaVersion: not 39 to 42");
    rule(dashboard.get("id").is_none(), "id: it belongs to one Grafana");
    rule(dashboard.get("__inputs").is_none(), "__inputs: only an import in the browser fills them");
    rule(dashboard["editable"] == false, "uneditable-dashboard: editable is not false");
    rule(items(&dashboard["tags"]).iter().any(is_text), "tags: none");
    rule(dashboard["graphTooltip"].is_u64(), "graphTooltip: missing");
    rule(is_text(&dashboard["time"]["from"]) && is_text(&dashboard["time"]["to"]), "time: no from and to");
    rule(is_text(&dashboard["refresh"]), "refresh: missing");
    rule(is_text(&dashboard["timezone"]), "timezone: missing");
    let first = &dashboard["annotations"]["list"][0];
    let is_built_in = first["builtIn"] == 1 && first["datasource"]["uid"] == "-- Grafana --";
    rule(is_built_in, "annotations: the first is not the built-in one");
}

/// A reader goes from dashboard to dashboard with the same time and the same selection.
fn check_links(dashboard: &Value, findings: &mut Vec<String>) {
    let is_ours = |link: &&Value| {
        link["type"] == "dashboards" || link["url"].as_str().is_some_and(|url| url.starts_with("/d/"))
    };
    let ours: Vec<_> = items(&dashboard["links"]).iter().filter(is_ours).collect();
    if ours.is_empty() {
        findings.push("links: none to the other dashboards".to_owned());
    }
    for key in ["keepTime", "includeVars"] {
        if ours.iter().any(|link| link[key] != true) {
            findings.push(format!("links: one without {key}"));
        }
    }
}

/// What is not a panel of data: it needs no data source, query or unit.
fn is_plain(panel: &Value) -> bool {
    panel["type"] == "row" || panel["type"] == "text"
}

/// All panels, with those of collapsed rows.
fn all_panels(dashboard: &Value) -> Vec<&Value> {
    items(&dashboard["panels"])
        .iter()
        .flat_map(|panel| std::iter::once(panel).chain(items(&panel["panels"])))
        .collect()
}

fn panel_name(panel: &Value) -> String {
    format!("panel {} ({})", panel["id"], panel["title"].as_str().unwrap_or_default())
}

/// A fixed data source would be the one of some other Grafana.
fn check_data_source(place: &str, data_source: &Value, findings: &mut Vec<String>) {
    if *data_source != serde_json::json!({ "type": PLUGIN, "uid": "${datasource}" }) {
        findings.push(format!("{place}: its data source is not the variable: {data_source}"));
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}
