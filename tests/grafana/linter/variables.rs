//! Variables of a dashboard, and the selections under which its queries must hold.

use std::collections::BTreeMap;

use serde_json::Value;

use super::queries::query_texts;
use super::{PLUGIN, check_data_source, is_text, items};
use crate::grafana::interpolate::{Scope, Variable};

/// Of all variables that go into queries. No field and no operator of MongoDB begins with it.
const PREFIX: &str = "f_";
/// A range that no number in a query is equal to by chance.
pub const FROM_MS: i64 = 1_763_596_800_123;
pub const TO_MS: i64 = 1_763_683_200_457;
const INTERVAL_MS: i64 = 60_000;

pub fn check(dashboard: &Value, findings: &mut Vec<String>) {
    let variables = items(&dashboard["templating"]["list"]);
    let data_sources: Vec<_> = variables.iter().filter(|variable| variable["type"] == "datasource").collect();
    if data_sources.is_empty() {
        findings.push("template-datasource-rule: no variable for the data source".to_owned());
    }
    for variable in data_sources {
        let is_right = variable["name"] == "datasource"
            && variable["label"] == "Data source"
            && variable["query"] == PLUGIN;
        if !is_right {
            findings
                .push("template-datasource-rule: not datasource, \"Data source\" and our plugin".to_owned());
        }
    }
    let texts = query_texts(dashboard);
    for variable in variables.iter().filter(|variable| variable["type"] != "datasource") {
        let name = variable["name"].as_str().unwrap_or_default();
        check_name(name, &texts, findings);
        if variable["type"] == "query" {
            if variable["refresh"] != 2 {
                findings.push(format!(
                    "template-on-time-change-reload-rule: {name} does not refresh with the time range"
                ));
            }
            check_data_source(&format!("variable {name}"), &variable["datasource"], findings);
        }
    }
}

/// Grafana replaces a bare `$country` whether it was meant for the variable or for MongoDB's field; with a prefix no
/// name can mean both.
fn check_name(name: &str, texts: &[&str], findings: &mut Vec<String>) {
    if name.starts_with(PREFIX) {
        return;
    }
    findings.push(format!("variable {name:?} does not begin with {PREFIX}"));
    let reference = format!("${name}");
    let is_bare = |text: &str| {
        text.match_indices(&reference).any(|(at, _)| {
            let next = text[at + reference.len()..].chars().next();
            next.is_none_or(|c| !c.is_ascii_alphanumeric() && c != '_')
        })
    };
    if texts.iter().any(|text| is_bare(text)) {
        findings.push(format!("variable {name:?} takes the place of a field or operator in a query"));
    }
}

/// What a reader may select: first everything, then one value of each variable.
pub fn scopes(dashboard: &Value) -> [Scope; 2] {
    let variables = items(&dashboard["templating"]["list"]);
    let scope = |select: fn(&Value) -> Variable| Scope {
        from_ms: FROM_MS,
        to_ms: TO_MS,
        interval_ms: INTERVAL_MS,
        variables: variables
            .iter()
            .filter_map(|variable| Some((variable["name"].as_str()?.to_owned(), select(variable))))
            .collect::<BTreeMap<_, _>>(),
    };
    [scope(all), scope(one)]
}

fn all(variable: &Value) -> Variable {
    if variable["includeAll"] != true {
        return if variable["multi"] == true { Variable::Many(values(variable)) } else { one(variable) };
    }
    match variable["allValue"].as_str() {
        Some(raw) if !raw.is_empty() => Variable::AllRaw(raw.to_owned()),
        _ => Variable::Many(values(variable)),
    }
}

fn one(variable: &Value) -> Variable {
    let value = values(variable).swap_remove(0);
    if variable["multi"] == true { Variable::Many(vec![value]) } else { Variable::One(value) }
}

/// The values of a list that the dashboard has itself; something for one that a query fills.
fn values(variable: &Value) -> Vec<String> {
    let text = if is_text(&variable["query"]) { variable["query"].as_str() } else { None };
    match (variable["type"].as_str(), text) {
        (Some("custom" | "interval"), Some(text)) => text
            .split(',')
            .map(|item| item.rsplit(" : ").next().unwrap_or_default().trim().to_owned())
            .collect(),
        (Some("constant" | "textbox" | "datasource"), Some(text)) => vec![text.to_owned()],
        (Some("query"), _) => vec!["one".to_owned(), "other".to_owned()],
        _ => vec![String::new()],
    }
}
