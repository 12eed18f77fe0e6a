//! The keys that Grafana knows in provisioning files, kind by kind. It passes over one that it does not know,
//! so that a mistake in a name goes unseen; these types refuse it.
#![expect(dead_code, reason = "most fields are only there to be known")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

pub type Names = BTreeMap<String, String>;
pub type Object = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SourceFile {
    pub api_version: i64,
    pub prune: Option<bool>,
    pub delete_datasources: Option<Vec<Object>>,
    pub datasources: Vec<Source>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Source {
    pub name: String,
    pub r#type: String,
    pub uid: String,
    pub access: Option<String>,
    pub org_id: Option<i64>,
    pub version: Option<i64>,
    pub url: Option<String>,
    pub user: Option<String>,
    pub database: Option<String>,
    pub basic_auth: Option<bool>,
    pub basic_auth_user: Option<String>,
    pub with_credentials: Option<bool>,
    pub is_default: Option<bool>,
    pub editable: Option<bool>,
    pub correlations: Option<Vec<Object>>,
    pub json_data: Value,
    pub secure_json_data: Option<Names>,
}

/// What the plugin makes use of; it reads more that it never applies.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PluginSettings {
    pub connection_string_scheme: Option<String>,
    pub host: String,
    pub database: String,
    pub connection_options: Option<String>,
    pub auth_type: String,
    pub username: Option<String>,
    pub auth_db: Option<String>,
    pub tls_option: Option<String>,
    pub ca_cert_path: Option<String>,
    pub client_cert_and_key_path: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProviderFile {
    pub api_version: i64,
    pub providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Provider {
    pub name: String,
    pub r#type: Option<String>,
    pub org_id: Option<i64>,
    pub folder: Option<String>,
    pub folder_uid: Option<String>,
    pub editable: Option<bool>,
    pub disable_deletion: Option<bool>,
    pub allow_ui_updates: Option<bool>,
    pub update_interval_seconds: Option<u32>,
    pub options: ProviderOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ProviderOptions {
    pub path: String,
    pub folders_from_files_structure: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleFile {
    pub api_version: i64,
    pub groups: Vec<Group>,
    pub delete_rules: Option<Vec<Object>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Group {
    pub org_id: Option<i64>,
    pub name: String,
    pub folder: String,
    pub interval: String,
    pub rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Rule {
    pub uid: String,
    pub title: String,
    pub condition: String,
    pub data: Vec<RuleQuery>,
    pub dashboard_uid: Option<String>,
    pub panel_id: Option<i64>,
    pub no_data_state: Option<NoDataState>,
    pub exec_err_state: Option<ExecErrState>,
    pub r#for: Option<String>,
    pub keep_firing_for: Option<String>,
    #[serde(rename = "missing_series_evals_to_resolve")]
    pub missing_series_evals_to_resolve: Option<u32>,
    pub annotations: Option<Names>,
    pub labels: Option<Names>,
    pub is_paused: Option<bool>,
    #[serde(rename = "notification_settings")]
    pub notification_settings: Option<NotificationSettings>,
}

#[derive(Deserialize)]
pub enum NoDataState {
    NoData,
    Alerting,
    #[serde(rename = "OK")]
    Ok,
    KeepLast,
}

#[derive(Deserialize)]
pub enum ExecErrState {
    Error,
    Alerting,
    #[serde(rename = "OK")]
    Ok,
    KeepLast,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationSettings {
    pub receiver: String,
    pub group_by: Option<Vec<String>>,
    pub group_wait: Option<String>,
    pub group_interval: Option<String>,
    pub repeat_interval: Option<String>,
    pub mute_time_intervals: Option<Vec<String>>,
    pub active_time_intervals: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RuleQuery {
    pub ref_id: String,
    pub query_type: Option<String>,
    pub relative_time_range: Option<RelativeTimeRange>,
    pub datasource_uid: String,
    pub model: Value,
}

/// Seconds before now.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelativeTimeRange {
    pub from: u64,
    pub to: u64,
}

/// The part of Grafana's expressions that rules of ours may use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Expression {
    pub ref_id: String,
    pub r#type: String,
    pub expression: String,
    pub conditions: Option<Vec<Condition>>,
    pub reducer: Option<String>,
    pub settings: Option<Object>,
    pub datasource: Option<Object>,
    pub hide: Option<bool>,
    pub interval_ms: Option<f64>,
    pub max_data_points: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Condition {
    pub evaluator: Evaluator,
    pub unload_evaluator: Option<Evaluator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluator {
    pub r#type: String,
    pub params: Vec<f64>,
}

/// A query of the plugin, with what Grafana adds to any query.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PluginQuery {
    pub ref_id: String,
    pub collection: String,
    pub query_text: String,
    pub query_language: Option<String>,
    pub aggregate_comment: Option<String>,
    pub aggregate_allow_disk_use: Option<bool>,
    pub datasource: Option<Object>,
    pub hide: Option<bool>,
    pub interval_ms: Option<f64>,
    pub max_data_points: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ContactFile {
    pub api_version: i64,
    pub contact_points: Vec<ContactPoint>,
    pub delete_contact_points: Option<Vec<Object>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ContactPoint {
    pub org_id: Option<i64>,
    pub name: String,
    pub receivers: Vec<Receiver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Receiver {
    pub uid: String,
    pub r#type: String,
    pub settings: Value,
    pub disable_resolve_message: Option<bool>,
}

/// The two spellings are Grafana's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    pub url: String,
    #[serde(rename = "httpMethod")]
    pub http_method: Option<String>,
    #[serde(rename = "maxAlerts")]
    pub max_alerts: Option<Value>,
    pub authorization_scheme: Option<String>,
    pub authorization_credentials: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub title: Option<String>,
    pub message: Option<String>,
    pub headers: Option<Names>,
    pub payload: Option<Object>,
    #[serde(rename = "tlsConfig")]
    pub tls_config: Option<Object>,
    #[serde(rename = "hmacConfig")]
    pub hmac_config: Option<Object>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PolicyFile {
    pub api_version: i64,
    pub policies: Vec<Policy>,
    pub reset_policies: Option<Vec<i64>>,
}

/// A node of the tree; only its root is of an organisation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "orgId")]
    pub org_id: Option<i64>,
    pub receiver: Option<String>,
    pub group_by: Option<Vec<String>>,
    pub group_wait: Option<String>,
    pub group_interval: Option<String>,
    pub repeat_interval: Option<String>,
    pub r#match: Option<Names>,
    pub match_re: Option<Names>,
    pub matchers: Option<Vec<String>>,
    pub object_matchers: Option<Vec<[String; 3]>>,
    pub mute_time_intervals: Option<Vec<String>>,
    pub active_time_intervals: Option<Vec<String>>,
    pub r#continue: Option<bool>,
    #[serde(default)]
    pub routes: Vec<Policy>,
}
