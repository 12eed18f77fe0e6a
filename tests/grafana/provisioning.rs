//! Grafana's reading of the provisioning files, by an implementation of our own: which keys it knows, what it
//! takes from the environment, and that what one file names is in another.

mod checks;
mod schema;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use self::checks::{Around, check_contacts, check_policies, check_providers, check_rules, check_sources};
use self::schema::{Names, Object};

type Check<T = ()> = Result<T, String>;

const SOURCES: &str = "datasources/mongodb.yaml";
const PROVIDER: &str = "dashboards/provider.yaml";
const RULES: &str = "alerting/rules.yaml";
const CONTACTS: &str = "alerting/contact-points.yaml";
const POLICIES: &str = "alerting/policies.yaml";

fn text(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    yaml_serde::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files as they are written, by their names.
fn files() -> BTreeMap<&'static str, Value> {
    let names = [SOURCES, PROVIDER, RULES, CONTACTS, POLICIES];
    names.map(|name| (name, yaml(&format!("grafana/provisioning/{name}")))).into()
}

/// The service as the composition starts it.
fn service() -> Value {
    yaml("compose.yaml")["services"]["grafana"].clone()
}

/// Grafana's environment where nothing is set outside: a value `${NAME:-default}` is its default.
fn environment() -> Names {
    let service = service();
    let values = service["environment"].as_object().expect("an environment");
    let default = |value: &str| match value.strip_prefix("${").and_then(|value| value.strip_suffix('}')) {
        Some(inner) => inner.split_once(":-").map_or("", |(_, default)| default).to_owned(),
        None => value.to_owned(),
    };
    values.iter().map(|(name, value)| (name.clone(), default(value.as_str().expect("a text")))).collect()
}

/// The ids of the panels of each dashboard, by its uid.
fn dashboards() -> BTreeMap<String, BTreeSet<i64>> {
    let folder = format!("{}/grafana/dashboards", env!("CARGO_MANIFEST_DIR"));
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("dashboards") {
        let json = std::fs::read_to_string(entry.expect("a file").path()).expect("UTF-8");
        let dashboard: Value = serde_json::from_str(&json).expect("JSON");
        let panels = dashboard["panels"].as_array().expect("panels");
        let ids = panels.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
        let uid = dashboard["uid"].as_str().expect("a uid").to_owned();
        assert!(found.insert(uid.clone(), ids).is_none(), "two dashboards {uid}");
    }
    assert!(!found.is_empty(), "the dashboards have moved");
    found
}

/// A text as Grafana takes it: `$NAME` is a variable, which must be set, `$$` a dollar. `${NAME}` is one too,
/// but its value is searched for variables again, which a password with a dollar does not survive: refused.
fn expand(text: &str, environment: &Names, used: &mut BTreeSet<String>) -> Check<String> {
    let expand_part = |part: &str, used: &mut BTreeSet<String>| -> Check<String> {
        let mut pieces = part.split('$');
        let mut expanded = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            let end = piece.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            match name.chars().next() {
                None if rest.starts_with('{') => return Err(format!("write $NAME in {text:?}")),
                None => expanded.push('$'),
                Some('0'..='9') => return Err(format!("a variable of the shell in {text:?}")),
                Some(_) => {
                    let value = environment.get(name).ok_or(format!("nothing sets {name}"))?;
                    used.insert(name.to_owned());
                    expanded.push_str(value);
                }
            }
            expanded.push_str(rest);
        }
        Ok(expanded)
    };
    let parts: Check<Vec<_>> = text.split("$$").map(|part| expand_part(part, used)).collect();
    Ok(parts?.join("$"))
}

/// A file with its variables replaced, in values only. The queries of rules stay as they are, and so do
/// annotations, where newer versions replace `${NAME}`.
fn expanded(name: &str, file: &Value, environment: &Names, used: &mut BTreeSet<String>) -> Check<Value> {
    let is_raw = |key: &str| name == RULES && (key == "model" || key == "annotations");
    Ok(match file {
        Value::String(text) => Value::String(expand(text, environment, used)?),
        Value::Array(items) => {
            items.iter().map(|item| expanded(name, item, environment, used)).collect::<Check<_>>()?
        }
        Value::Object(fields) => {
            let mut object = Object::new();
            for (key, value) in fields {
                let value = match is_raw(key) {
                    true => value.clone(),
                    false => expanded(name, value, environment, used)?,
                };
                object.insert(key.clone(), value);
            }
            Value::Object(object)
        }
        other => other.clone(),
    })
}

/// All files together, with their variables replaced.
fn check(files: &BTreeMap<&str, Value>, used: &mut BTreeSet<String>) -> Check {
    let environment = environment();
    let mut file = |name: &str| expanded(name, &files[name], &environment, used);
    let (service, in_file) =
        (service(), |name: &'static str| move |error: String| format!("{name}: {error}"));
    let mounts = service["volumes"].as_array().expect("volumes").iter().filter_map(Value::as_str);
    let mounts: Vec<_> = mounts.filter_map(|mount| mount.strip_prefix("./grafana/dashboards:")).collect();
    let mounts: Vec<_> = mounts.iter().map(|mount| mount.trim_end_matches(":ro")).collect();
    let sources = check_sources(&file(SOURCES)?).map_err(in_file(SOURCES))?;
    let folders = check_providers(&file(PROVIDER)?, &mounts).map_err(in_file(PROVIDER))?;
    let contacts = check_contacts(&file(CONTACTS)?).map_err(in_file(CONTACTS))?;
    check_policies(&file(POLICIES)?, &contacts).map_err(in_file(POLICIES))?;
    let around = Around { sources, folders, contacts, dashboards: dashboards() };
    check_rules(&file(RULES)?, &around).map_err(in_file(RULES))
}

#[test]
fn the_files_are_what_grafana_takes() {
    let mut used = BTreeSet::new();
    check(&files(), &mut used).unwrap();
    let mounts = service()["volumes"].clone();
    let whole = json!("./grafana/provisioning:/etc/grafana/provisioning:ro");
    assert!(mounts.as_array().expect("volumes").contains(&whole), "the files are not mounted");
    let set: BTreeSet<_> =
        environment().into_keys().filter(|name| name.starts_with("STREAMPULSE_")).collect();
    assert_eq!(used, set, "variables that files use, and that the composition sets");
    let docs = text("docs/grafana.md");
    let table: BTreeSet<_> =
        docs.lines().filter_map(|line| line.trim().strip_prefix("| `STREAMPULSE_")).collect();
    let table: BTreeSet<_> = table
        .iter()
        .filter_map(|row| row.split_once('`'))
        .map(|(name, _)| format!("STREAMPULSE_{name}"))
        .collect();
    assert_eq!(used, table, "variables that files use, and that docs/grafana.md names");
}

/// The files with one value put in, or taken out, are refused for this reason.
#[track_caller]
fn refused(name: &str, pointer: &str, value: Option<Value>, reason: &str) {
    let mut files = files();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    let place = files.get_mut(name).and_then(|file| file.pointer_mut(parent)).expect("a place");
    match (place, value) {
        (Value::Array(items), Some(value)) => items[key.parse::<usize>().expect("an index")] = value,
        (place, Some(value)) => place[key] = value,
        (place, None) => drop(place.as_object_mut().and_then(|fields| fields.remove(key)).expect("a field")),
    }
    let error = check(&files, &mut BTreeSet::new()).expect_err("it is wrong");
    assert!(error.contains(reason), "{error:?} says nothing of {reason:?}");
}

#[test]
fn a_wrong_data_source_is_refused() {
    refused(SOURCES, "/datasources/0/jsondata", Some(json!({})), "unknown field `jsondata`");
    refused(SOURCES, "/datasources/0/editable", Some(json!("no")), "expected a boolean");
    refused(SOURCES, "/datasources/0/type", None, "missing field `type`");
    refused(SOURCES, "/datasources/0/uid", Some(json!("u".repeat(41))), "is no uid");
    refused(SOURCES, "/datasources/0/jsonData/hosts", Some(json!("h")), "unknown field `hosts`");
    refused(SOURCES, "/datasources/0/jsonData/host", Some(json!("$NOWHERE:1")), "nothing sets NOWHERE");
    refused(SOURCES, "/datasources/0/secureJsonData/password", Some(json!("${HOME}")), "write $NAME");
    let source = files()[SOURCES]["datasources"][0].clone();
    refused(SOURCES, "/datasources", Some(json!([source, source])), "is there twice");
}

#[test]
fn a_wrong_provider_is_refused() {
    refused(PROVIDER, "/providers/0/folderUID", Some(json!("f")), "unknown field `folderUID`");
    refused(PROVIDER, "/providers/0/updateIntervalSeconds", Some(json!("30s")), "expected u32");
    refused(PROVIDER, "/providers/0/options/path", Some(json!("/elsewhere")), "/elsewhere is not mounted");
    refused(
        PROVIDER,
        "/providers/0/options/foldersFromFilesStructure",
        Some(json!(true)),
        "two kinds of folders",
    );
}

#[test]
fn a_wrong_rule_is_refused() {
    let query = "/groups/0/rules/0/data/0";
    let threshold = "/groups/0/rules/0/data/1/model";
    refused(
        RULES,
        "/groups/0/rules/0/exec_err_state",
        Some(json!("Error")),
        "unknown field `exec_err_state`",
    );
    refused(RULES, "/groups/0/rules/0/noDataState", Some(json!("Ok")), "unknown variant `Ok`");
    refused(RULES, "/groups/0/rules/0/for", Some(json!(120)), "expected a string");
    refused(RULES, "/groups/0/rules/0/for", Some(json!("120")), "is no duration");
    refused(RULES, "/groups/0/interval", Some(json!("15s")), "interval 15s");
    refused(RULES, "/groups/0/rules/0/condition", Some(json!("B")), "no query B");
    refused(RULES, "/groups/0/rules/0/dashboardUid", Some(json!("gone")), "no dashboard gone");
    refused(RULES, "/groups/0/rules/0/panelId", Some(json!(1)), "a panel of no dashboard");
    refused(RULES, "/groups/0/rules/0/annotations/dashboard", Some(json!("/d/gone")), "no dashboard gone");
    refused(RULES, &format!("{query}/datasourceUid"), Some(json!("gone")), "no data source gone");
    refused(RULES, &format!("{query}/model/aggregateMaxTimeMS"), Some(json!(1)), "unknown field");
    refused(RULES, &format!("{threshold}/expression"), Some(json!("B")), "no query B before");
    refused(
        RULES,
        &format!("{threshold}/conditions/0/evaluator/type"),
        Some(json!("above")),
        "evaluator above",
    );
    refused(RULES, "/groups/0/rules/1/labels/process", Some(json!("p")), "hides the column");
    let mut rule = files()[RULES]["groups"][0]["rules"][0].clone();
    (rule["dashboardUid"], rule["panelId"]) = (json!("streampulse-health"), json!(99));
    refused(RULES, "/groups/0/rules/0", Some(rule), "streampulse-health has no panel 99");
    refused(
        RULES,
        "/groups/0/rules/1/annotations/summary",
        Some(json!("{{ $labels.name }}")),
        "no $labels.name",
    );
    refused(RULES, "/groups/0/rules/1/annotations/summary", Some(json!("{{ $values.B }}")), "no $values.B");
    refused(RULES, "/groups/0/rules/1/uid", Some(json!("streampulse-stale")), "is there twice");
    let folder = files()[PROVIDER]["providers"][0]["folder"].clone();
    refused(RULES, "/groups/0/folder", Some(folder), "is made twice");
}

#[test]
fn a_wrong_contact_point_is_refused() {
    let receiver = "/contactPoints/0/receivers/0";
    refused(CONTACTS, &format!("{receiver}/name"), Some(json!("n")), "unknown field `name`");
    refused(CONTACTS, &format!("{receiver}/settings/http_method"), Some(json!("POST")), "unknown field");
    refused(
        CONTACTS,
        &format!("{receiver}/settings/url"),
        Some(json!("$STREAMPULSE_MONGODB_AUTH")),
        "without a url",
    );
    refused(CONTACTS, &format!("{receiver}/type"), Some(json!("webhok")), "webhok is not known");
    refused(CONTACTS, "/contactPoints/0/receivers", Some(json!("webhook")), "expected a sequence");
}

#[test]
fn a_wrong_policy_is_refused() {
    refused(POLICIES, "/policies/0/groupWait", Some(json!("30s")), "unknown field `groupWait`");
    refused(POLICIES, "/policies/0/group_wait", Some(json!("30 s")), "is no duration");
    refused(POLICIES, "/policies/0/group_by", Some(json!("alertname")), "expected a sequence");
    refused(POLICIES, "/policies/0/receiver", Some(json!("gone")), "no contact point gone");
    refused(POLICIES, "/policies/0/matchers", Some(json!(["severity = critical"])), "the root matches all");
    refused(POLICIES, "/policies/0/routes", Some(json!([{ "receiver": "gone" }])), "no contact point gone");
}

#[test]
fn variables_are_replaced_as_grafana_does() {
    let environment = Names::from([("A".to_owned(), "1$B".to_owned()), ("B_2".to_owned(), String::new())]);
    let expand = |text: &str| expand(text, &environment, &mut BTreeSet::new());
    assert_eq!(expand("$A:$B_2/ 5 $, $$A $"), Ok("1$B:/ 5 $, $A $".to_owned()));
    assert_eq!(expand("${A}"), Err(r#"write $NAME in "${A}""#.to_owned()));
    assert_eq!(expand("$Aa"), Err("nothing sets Aa".to_owned()));
}
