//! What must hold in each of the provisioning files once its variables are replaced, and between them.
//! Grafana does not start where one of them is wrong.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Check;
use super::schema::{
    ContactFile, Expression, Names, PluginQuery, PluginSettings, Policy, PolicyFile, ProviderFile, Rule,
    RuleFile, RuleQuery, SourceFile, WebhookSettings,
};

const PLUGIN: &str = "haohanyang-mongodb-datasource";
/// The data source that stands for Grafana's own expressions.
const EXPRESSION: &str = "__expr__";
const UID_CHARS_MAX: usize = 40;
const TITLE_CHARS_MAX: usize = 190;
/// Grafana looks at rules this often, so the interval of a group is a multiple of it.
const BASE_INTERVAL_MS: u64 = 10_000;

pub fn check_sources(file: &Value) -> Check<BTreeSet<String>> {
    let SourceFile { api_version, datasources, .. } = typed(file)?;
    ensure(api_version == 1, || "apiVersion is not 1".to_owned())?;
    let (mut uids, mut names, mut defaults) = (BTreeSet::new(), BTreeSet::new(), 0);
    for source in datasources {
        check_uid(&source.uid, &mut uids)?;
        ensure(!source.name.is_empty() && names.insert(source.name.clone()), || {
            "a name is there twice".to_owned()
        })?;
        ensure(source.r#type == PLUGIN, || format!("{} is not the plugin", source.r#type))?;
        let access = source.access.as_deref();
        ensure(matches!(access, None | Some("proxy" | "direct")), || format!("access {access:?}"))?;
        defaults += usize::from(source.is_default == Some(true));
        let settings: PluginSettings = typed(&source.json_data)?;
        ensure(!settings.host.is_empty() && !settings.database.is_empty(), || {
            "no host or database".to_owned()
        })?;
        let kind = settings.auth_type.as_str();
        ensure(matches!(kind, "" | "username-password" | "x509"), || format!("authType {kind:?}"))?;
    }
    ensure(defaults <= 1, || format!("{defaults} defaults"))?;
    Ok(uids)
}

/// The folders of dashboards that have a uid; each provider reads where `mounts` puts files.
pub fn check_providers(file: &Value, mounts: &[&str]) -> Check<BTreeSet<String>> {
    let ProviderFile { api_version, providers } = typed(file)?;
    ensure(api_version == 1, || "apiVersion is not 1".to_owned())?;
    let (mut names, mut uids, mut folders) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for provider in providers {
        ensure(names.insert(provider.name.clone()), || format!("two providers {}", provider.name))?;
        ensure(matches!(provider.r#type.as_deref(), None | Some("file")), || "type is not file".to_owned())?;
        ensure(provider.update_interval_seconds != Some(0), || {
            "an interval of 0 is Grafana's own".to_owned()
        })?;
        let is_by_path = provider.options.folders_from_files_structure == Some(true);
        ensure(!is_by_path || provider.folder.is_none(), || "two kinds of folders".to_owned())?;
        let path = provider.options.path;
        ensure(mounts.contains(&path.as_str()), || format!("{path} is not mounted"))?;
        if let Some(uid) = provider.folder_uid {
            check_uid(&uid, &mut uids)?;
            folders.extend(provider.folder);
        }
    }
    Ok(folders)
}

pub fn check_contacts(file: &Value) -> Check<BTreeSet<String>> {
    let ContactFile { api_version, contact_points, .. } = typed(file)?;
    ensure(api_version == 1, || "apiVersion is not 1".to_owned())?;
    let (mut uids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for point in contact_points {
        ensure(!point.receivers.is_empty(), || format!("{} has no receivers", point.name))?;
        for receiver in &point.receivers {
            check_uid(&receiver.uid, &mut uids)?;
            ensure(receiver.r#type == "webhook", || format!("{} is not known here", receiver.r#type))?;
            let settings: WebhookSettings = typed(&receiver.settings)?;
            ensure(!settings.url.is_empty(), || "without a url Grafana does not start".to_owned())?;
            let method = settings.http_method.as_deref();
            ensure(matches!(method, None | Some("POST" | "PUT")), || format!("httpMethod {method:?}"))?;
        }
        ensure(names.insert(point.name.clone()), || format!("two contact points {}", point.name))?;
    }
    Ok(names)
}

pub fn check_policies(file: &Value, contacts: &BTreeSet<String>) -> Check {
    let PolicyFile { api_version, policies, .. } = typed(file)?;
    ensure(api_version == 1, || "apiVersion is not 1".to_owned())?;
    let mut organisations = BTreeSet::new();
    for root in &policies {
        ensure(organisations.insert(root.org_id.unwrap_or(1)), || "two trees of an organisation".to_owned())?;
        ensure(root.receiver.is_some(), || "the root has no receiver".to_owned())?;
        let is_all = root.matchers.is_none() && root.object_matchers.is_none() && root.r#match.is_none();
        ensure(is_all && root.match_re.is_none(), || "the root matches all".to_owned())?;
        ensure(root.mute_time_intervals.is_none(), || "the root is never mute".to_owned())?;
        check_policy(root, contacts)?;
    }
    Ok(())
}

fn check_policy(policy: &Policy, contacts: &BTreeSet<String>) -> Check {
    if let Some(receiver) = &policy.receiver {
        ensure(contacts.contains(receiver), || format!("no contact point {receiver}"))?;
    }
    for duration in
        [&policy.group_wait, &policy.group_interval, &policy.repeat_interval].into_iter().flatten()
    {
        duration_ms(duration)?;
    }
    for [_, operator, _] in policy.object_matchers.iter().flatten() {
        ensure(["=", "!=", "=~", "!~"].contains(&operator.as_str()), || format!("matcher {operator}"))?;
    }
    policy.routes.iter().try_for_each(|route| check_policy(route, contacts))
}

/// What rules point at.
pub struct Around {
    pub sources: BTreeSet<String>,
    pub folders: BTreeSet<String>,
    pub contacts: BTreeSet<String>,
    pub dashboards: BTreeMap<String, BTreeSet<i64>>,
}

pub fn check_rules(file: &Value, around: &Around) -> Check {
    let RuleFile { api_version, groups, .. } = typed(file)?;
    ensure(api_version == 1, || "apiVersion is not 1".to_owned())?;
    let (mut uids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for group in groups {
        // Grafana takes alert rules first: it finds their folder by its title, or makes it with a uid of its
        // own. The provider's uid is then not found: there are two folders of a title, and no dashboards in
        // versions that refuse the second.
        let is_twice = around.folders.contains(&group.folder);
        ensure(!is_twice, || format!("folder {} is made twice", group.folder))?;
        ensure(!group.folder.is_empty() && !group.name.is_empty(), || "a group without a name".to_owned())?;
        let interval = duration_ms(&group.interval)?;
        ensure(interval > 0 && interval % BASE_INTERVAL_MS == 0, || format!("interval {}", group.interval))?;
        for rule in &group.rules {
            let in_rule = |error: String| format!("{}: {error}", rule.uid);
            check_uid(&rule.uid, &mut uids)?;
            let is_title = (1..=TITLE_CHARS_MAX).contains(&rule.title.len());
            ensure(is_title && titles.insert((group.folder.clone(), rule.title.clone())), || {
                format!("title {:?}", rule.title)
            })?;
            check_rule(rule, around).map_err(in_rule)?;
        }
    }
    Ok(())
}

fn check_rule(rule: &Rule, around: &Around) -> Check {
    for duration in [&rule.r#for, &rule.keep_firing_for].into_iter().flatten() {
        duration_ms(duration)?;
    }
    if let Some(settings) = &rule.notification_settings {
        ensure(around.contacts.contains(&settings.receiver), || {
            format!("no contact point {}", settings.receiver)
        })?;
    }
    ensure(rule.panel_id.is_none() || rule.dashboard_uid.is_some(), || "a panel of no dashboard".to_owned())?;
    if let Some(uid) = &rule.dashboard_uid {
        let panels = around.dashboards.get(uid).ok_or(format!("no dashboard {uid}"))?;
        ensure(rule.panel_id.is_none_or(|id| panels.contains(&id)), || {
            format!("{uid} has no panel {}", rule.panel_id.unwrap_or_default())
        })?;
    }
    let no_names = Names::new();
    for annotation in rule.annotations.as_ref().unwrap_or(&no_names).values() {
        ensure(!annotation.contains("${"), || "${ in an annotation depends on the version".to_owned())?;
        if let Some(uid) = annotation.strip_prefix("/d/") {
            ensure(around.dashboards.contains_key(uid), || format!("no dashboard {uid}"))?;
        }
    }
    let labels = rule.labels.as_ref().unwrap_or(&no_names);
    let (mut refs, mut columns) = (BTreeSet::new(), BTreeSet::new());
    for query in &rule.data {
        columns.extend(check_query(query, &refs, &around.sources)?);
        ensure(refs.insert(query.ref_id.clone()), || format!("two queries {}", query.ref_id))?;
    }
    // A label of the rule wins over one of a row, and rows that then have the same labels are one alert.
    let hidden = columns.iter().find(|column| labels.contains_key(*column));
    ensure(hidden.is_none(), || format!("a label of the rule hides the column {hidden:?}"))?;
    for annotation in rule.annotations.as_ref().unwrap_or(&no_names).values() {
        for (what, known) in [("$labels.", &columns), ("$values.", &refs)] {
            let names = annotation.split(what).skip(1);
            let mut names = names.map(|rest| rest.split([' ', '.', '}']).next().unwrap_or_default());
            let unknown = names.find(|name| !known.contains(*name));
            ensure(unknown.is_none(), || format!("there is no {what}{}", unknown.unwrap_or_default()))?;
        }
    }
    ensure(refs.contains(&rule.condition), || format!("no query {}", rule.condition))
}

/// The columns of what a query gives.
fn check_query(
    query: &RuleQuery,
    before: &BTreeSet<String>,
    sources: &BTreeSet<String>,
) -> Check<Vec<String>> {
    let is_own = query.model["refId"] == query.ref_id.as_str();
    ensure(is_own, || format!("the model of {} has another name", query.ref_id))?;
    if query.datasource_uid == EXPRESSION {
        check_expression(&typed(&query.model)?, before)?;
        return Ok(Vec::new());
    }
    ensure(sources.contains(&query.datasource_uid), || format!("no data source {}", query.datasource_uid))?;
    let range = query.relative_time_range.as_ref().ok_or("no time range")?;
    ensure(range.from > range.to, || "a time range that ends before it begins".to_owned())?;
    let model: PluginQuery = typed(&query.model)?;
    let language = model.query_language.as_deref();
    ensure(matches!(language, None | Some("json")), || format!("queryLanguage {language:?}"))?;
    let stages: Vec<Value> = serde_json::from_str(&model.query_text).map_err(|error| error.to_string())?;
    let columns = stages.last().and_then(|stage| stage["$project"].as_object());
    let columns = columns.ok_or("no $project at the end")?;
    Ok(columns.keys().filter(|column| *column != "_id").cloned().collect())
}

fn check_expression(model: &Expression, before: &BTreeSet<String>) -> Check {
    ensure(before.contains(&model.expression), || format!("no query {} before", model.expression))?;
    match model.r#type.as_str() {
        "threshold" => {
            let conditions = model.conditions.as_deref().unwrap_or_default();
            let [condition] = conditions else { return Err("not one condition".to_owned()) };
            let kind = condition.evaluator.r#type.as_str();
            let params = match kind {
                "gt" | "lt" | "gte" | "lte" | "eq" | "ne" => 1,
                "within_range" | "outside_range" | "within_range_included" | "outside_range_included" => 2,
                _ => return Err(format!("evaluator {kind}")),
            };
            ensure(condition.evaluator.params.len() == params, || format!("{kind} takes {params}"))
        }
        "reduce" => {
            let reducer = model.reducer.as_deref().unwrap_or_default();
            let known = ["sum", "mean", "min", "max", "count", "last", "median"];
            ensure(known.contains(&reducer), || format!("reducer {reducer:?}"))
        }
        other => Err(format!("expression {other}")),
    }
}

fn typed<T: DeserializeOwned>(value: &Value) -> Check<T> {
    T::deserialize(value).map_err(|error| error.to_string())
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// A uid of those that Grafana takes, and that was not there yet.
fn check_uid(uid: &str, seen: &mut BTreeSet<String>) -> Check {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    ensure((1..=UID_CHARS_MAX).contains(&uid.len()) && uid.chars().all(is_valid), || {
        format!("{uid:?} is no uid")
    })?;
    ensure(seen.insert(uid.to_owned()), || format!("{uid} is there twice"))
}

/// Milliseconds of `1h30m`: units from large to small, each once.
fn duration_ms(text: &str) -> Check<u64> {
    let wrong = || format!("{text:?} is no duration");
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let (mut rest, mut sum, mut next) = (text, 0, 0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let count: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let (unit, after) = rest.split_at(rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len()));
        let place = units.iter().position(|(name, _)| *name == unit).filter(|place| *place >= next);
        let place = place.ok_or_else(wrong)?;
        (rest, sum, next) = (after, sum + count * units[place].1, place + 1);
    }
    if text.is_empty() { Err(wrong()) } else { Ok(sum) }
}
