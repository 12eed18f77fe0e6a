//! One row per wrong value, and what the right ones mean.

use super::*;

const EVENTS: &str = include_str!("../../../../connectors/mongodb-sink/sample-config-events.yaml");
const ROLLUPS: &str = include_str!("../../../../connectors/mongodb-sink/sample-config-rollups.yaml");
const ALERTS: &str = include_str!("../../../../connectors/mongodb-sink/sample-config-alerts.yaml");
const CONNECTOR: &str = include_str!("../../../../connectors/mongodb-sink/Connector.toml");

const URI: &str = "mongodb://writer:hunter2@127.0.0.1:27017/?replicaSet=rs0";
/// Without comments and what has a default; line and column count in the tests.
const SMALL: &str = "\
apiVersion: 0.1.0
meta:
  name: small
  type: mongodb-sink
  version: 0.1.0
  topic: access-logs
  secrets: [{name: MONGODB_URI}]
  consumer: {}
transforms:
- uses: access-filter-map
- uses: access-window-aggregate
mongodb:
  job: events
  uri: ${{ secrets.MONGODB_URI }}
";

fn secrets(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn parsed(text: &str) -> ConnectorConfig {
    ConnectorConfig::parse(text, &secrets(&[("MONGODB_URI", URI)])).expect("a valid configuration")
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    refused_with(text, &[("MONGODB_URI", URI)], expected);
}

#[track_caller]
fn refused_with(text: &str, values: &[(&str, &str)], expected: &str) {
    let error = ConnectorConfig::parse(text, &secrets(values)).expect_err("a wrong value");
    let error = format!("{error:#}\n{error:?}");
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

/// [`SMALL`] with `old` replaced.
#[track_caller]
fn small(old: &str, new: &str) -> String {
    assert_eq!(SMALL.matches(old).count(), 1, "{old}");
    SMALL.replace(old, new)
}

/// [`SMALL`] for another job, with these transforms.
fn job(name: &str, transforms: &str) -> String {
    let (head, tail) = SMALL.split_once("transforms:").expect("there are transforms");
    let (_, section) = tail.split_once("mongodb:").expect("there is a section");
    format!("{head}{transforms}\nmongodb:{}", section.replace("events", name))
}

/// [`SMALL`] in apiVersion 0.2.0 with this `meta.topic`.
fn v2(topic: &str) -> String {
    small("topic: access-logs", &format!("topic: {topic}")).replace("apiVersion: 0.1.0", "apiVersion: 0.2.0")
}

#[test]
fn the_samples_are_valid() {
    let (events, rollups, alerts) = (parsed(EVENTS), parsed(ROLLUPS), parsed(ALERTS));
    assert_eq!([events.job, rollups.job, alerts.job], [Job::Events, Job::Rollups, Job::Alerts]);
    assert_eq!(
        [&*events.topic, &*rollups.topic, &*alerts.topic],
        ["access-logs", "access-rollups", "access-rollups"]
    );
    let small = parsed(SMALL);
    for config in [&events, &rollups, &alerts, &small] {
        assert_eq!(config.rollups_topic, "access-rollups");
        assert_eq!(config.partitions, None);
        assert_eq!(config.mongodb.uri.reveal(), URI);
        assert_eq!(config.mongodb.database, "streampulse");
        assert_eq!(config.mongodb.wait_ms_max, 10_000);
        assert_eq!(config.cluster, Address::default());
        // What the samples write out is what holds without it.
        let ModuleParams { filter_map, window_aggregate, anomaly } = &config.params;
        assert_eq!(filter_map, &secrets(&[]));
        assert_eq!(window_aggregate, &secrets(&[("lateness_ms_allowed", "60000")]));
        assert_eq!(anomaly, &secrets(&[("limit_per_minute", "100000")]));
    }
}

#[test]
fn the_configurations_of_the_composition_are_valid() {
    let files = [
        include_str!("../../../../containers/connector-events.yaml"),
        include_str!("../../../../containers/connector-rollups.yaml"),
        include_str!("../../../../containers/connector-alerts.yaml"),
    ];
    let jobs = files.map(|file| parsed(file).job);
    assert_eq!(jobs, [Job::Events, Job::Rollups, Job::Alerts]);
}

#[test]
fn the_connector_file_describes_every_key() {
    let error = ConnectorConfig::parse(
        &small("  job: events", "  job: events\n  x: 1"),
        &secrets(&[("MONGODB_URI", URI)]),
    );
    let error = error.expect_err("an unknown key").to_string();
    let keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
    assert_eq!(keys.len(), 8, "{error}");
    assert_eq!(CONNECTOR.matches("[custom.properties.").count(), keys.len());
    for key in keys {
        assert!(CONNECTOR.contains(&format!("[custom.properties.{key}]")), "{key}");
    }
}

#[test]
fn unknown_keys_are_told_with_their_line_and_what_is_allowed() {
    let topic = |object: &str| v2(&format!("{{meta: {{name: access-logs}}, {object}}}"));
    refused(
        &small("  uri:", "  uril:"),
        "mongodb: unknown field `uril`, expected one of `job`, `uri`, `database`, `rollups_topic`, `store_events`, \
         `wait_ms_max`, `endpoint`, `profile` at line 14 column 3",
    );
    refused(
        &small("mongodb:", "mongo:"),
        "unknown field `mongo`, expected one of `apiVersion`, `meta`, `transforms`, `mongodb` at line 12",
    );
    refused(&small("  name: small", "  nam: small"), "unknown field `nam`, expected one of `name`");
    refused(&small("  consumer: {}", "  consumer: {partitions: 1}"), "`partitions`, expected one of");
    refused(&small("{name: MONGODB_URI}", "{nam: MONGODB_URI}"), "`nam`, expected `name` at line 7");
    refused(&small("- uses: access-filter", "- use: access-filter"), "transforms[0]: unknown field `use`");
    refused(&small("${{ secrets.MONGODB_URI }}", "{secrets: 1}"), "`secrets`, expected `string` or `secret`");
    refused(&small("${{ secrets.MONGODB_URI }}", "{secret: {nam: X}}"), "`nam`, expected `name`");
    refused(&topic("partitions: {}"), "`partitions`, expected one of `meta`, `version`, `partition`");
    refused(&topic("partition: {number: 1}"), "unknown field `number`, expected one of `count`, `max-size`");
    refused(&topic("partition: {maps: [{node: 1}]}"), "unknown field `node`, expected one of `id`");
    refused(&topic("retention: {age: 2m}"), "unknown field `age`, expected `time` or `segment-size`");
    refused(&topic("compression: {kind: lz4}"), "unknown field `kind`, expected `type`");
    refused(&topic("deduplication: {filter: {uses: x}}"), "`uses`, expected `transform` at line 6");
}

#[test]
fn every_wrong_value_of_meta_is_told() {
    refused("", "missing field `meta`");
    refused("apiVersion: [", "line 2 column 1");
    refused(&small("apiVersion: 0.1.0\n", ""), "apiVersion is missing; write `apiVersion: 0.1.0`");
    refused(&small("apiVersion: 0.1.0", "apiVersion: 0.0.0"), "`0.0.0`, expected `0.1.0` or `0.2.0`");
    refused(&small("apiVersion: 0.1.0", "apiVersion: 0.3.0"), "line 1 column 13");
    refused(&small("  name: small", "  name: ''"), "meta.name is empty");
    refused(&small("  version: 0.1.0\n", ""), "meta: missing field `version`");
    refused(&small("type: mongodb-sink", "type: sql-sink"), "\"sql-sink\", must be \"mongodb-sink\"");
    refused(&small("topic: access-logs", "topic: ''"), "the name of meta.topic is empty");
    refused(&small("topic: access-logs", "topic: 1"), "expected the name of a topic");
    refused(&small("topic: access-logs", "topic: {meta: {name: x}}"), "which needs apiVersion 0.2.0");
    refused(&v2("access-logs"), "write `topic: {meta: {name: access-logs}}`");
    refused(&small("  consumer: {}", "  producer: {linger: 1ms}"), "meta.producer is for source connectors");
    refused(&small("{name: MONGODB_URI}", "{name: MONGODB-URI}"), "expected letters, digits and underscores");
    refused(&small("{name: MONGODB_URI}", "{name: 1URI}"), "expected letters, digits and underscores");
    let consumer = |text: &str| small("consumer: {}", &format!("consumer: {{{text}}}"));
    let kept = "positions are kept in MongoDB with the data; remove meta.consumer.";
    refused(&consumer("offset: {start: beginning, strategy: none}"), &format!("{kept}offset"));
    refused(&consumer("id: small"), &format!("{kept}id"));
    refused(&consumer("max_bytes: 1 MB"), "remove meta.consumer.max_bytes");
    refused(&consumer("max-bytes: 1 MB"), "remove meta.consumer.max_bytes");
    let number = "expected `all`, the number of a partition, or a list of such numbers at line 8";
    refused(&consumer("partition: some"), number);
    refused(&consumer("partition: '3'"), number);
    refused(&consumer("partition: -1"), number);
    refused(&consumer("partition: 4294967296"), number);
    refused(&consumer("partition: [all]"), "expected u32");
    refused(&consumer("partition: []"), "names no partition");
    refused(&consumer("partition: 1023"), "names 1023, must be 0 to 1022");
    refused(&consumer("partition: [1, 2, 1]"), "names a partition twice");
    refused(&job("alerts", "").replace("consumer: {}", "consumer: {partition: 1}"), "has only partition 0");
}

#[test]
fn every_wrong_transform_is_told() {
    let modules = "job events takes [access-filter-map, access-window-aggregate]";
    refused(&job("events", "transforms: []"), modules);
    refused(&job("events", "transforms: [{uses: access-filter-map}]"), modules);
    refused(&small("- uses: access-filter-map", "- uses: access-anomaly"), modules);
    refused(&job("alerts", "transforms: []"), "transforms are [], but job alerts takes [access-anomaly]");
    refused(&job("rollups", "transforms: [{uses: access-anomaly}]"), "job rollups takes []");
    let step =
        |text: &str| small("- uses: access-filter-map", &format!("- uses: access-filter-map\n  {text}"));
    refused(&step("lookback: {last: 1}"), "lookback of access-filter-map would replay");
    refused(&step("with: {output: frame}"), "the job sets output of access-filter-map itself; remove it");
    refused(&step("with: {epoch: 1}"), "the job sets epoch");
    refused(&step("with: {partition: 1}"), "the job sets partition");
    refused(&step("with: {devicez: {}}"), "parameters of access-filter-map: unknown parameter \"devicez\"");
    refused(&step("with: {fields: [timestamp]}"), "fields is not the JSON expected");
    refused(&step("with: {fields: {when: ts}}"), "\"when\"");
    refused(&step("with: {devices: {Big TV: []}}"), "devices: \"Big TV\"");
    refused(&step("with: [fields]"), "transforms[0].with: invalid type: sequence, expected a map at line 11");
    let window = |text: &str| small("window-aggregate", &format!("window-aggregate\n  with: {text}"));
    refused(&window("{lateness_ms_allowed: 1m}"), "lateness_ms_allowed is \"1m\", must be a whole number");
    refused(&window("{size_ms: 1}"), "parameters of access-window-aggregate: unknown parameter \"size_ms\"");
    let limit = |text: &str| job("alerts", &format!("transforms: [{{uses: access-anomaly, with: {text}}}]"));
    refused(&limit("{limit_per_minute: -1}"), "limit_per_minute is \"-1\", must be a whole number");
    refused(&limit("{limit: 1}"), "parameters of access-anomaly: unknown parameter \"limit\"");
}

#[test]
fn every_wrong_value_of_the_section_is_told() {
    let section = |text: &str| small("  job: events", &format!("  job: events\n  {text}"));
    let uri = |text: &str| small("${{ secrets.MONGODB_URI }}", text);
    refused(&small("  job: events", "  job: event"), "mongodb.job: unknown variant `event`");
    refused(&small("  job: events\n", ""), "mongodb: missing field `job`");
    refused(&small("  uri: ${{ secrets.MONGODB_URI }}\n", ""), "mongodb: missing field `uri`");
    refused(&uri(""), "mongodb.uri: invalid type: unit value, expected a connection string");
    refused(&uri("postgres://writer:hunter2@h"), "does not begin with mongodb://");
    refused(&uri("mongodb://writer:hunter2/@h"), "must be percent-encoded");
    refused(&section("database: ''"), "mongodb.database is empty");
    refused(&section("database: a.b"), "mongodb.database is \"a.b\", must be without blanks");
    refused(&section(&format!("database: {}", "x".repeat(64))), "has 64 bytes, must have at most 63");
    refused(&section("rollups_topic: ''"), "mongodb.rollups_topic is empty");
    refused(&section("rollups_topic: access-logs"), "are both \"access-logs\"");
    refused(&job("rollups\n  rollups_topic: x", ""), "rollups_topic is for job events; job rollups");
    refused(&job("alerts\n  store_events: true", ""), "store_events is for job events");
    refused(&section("store_events: 'no'"), "expected a boolean");
    refused(&section("wait_ms_max: 0"), "mongodb.wait_ms_max is 0, must be 1 to 86400000");
    refused(&section("wait_ms_max: 86400001"), "must be 1 to 86400000");
    refused(&section("wait_ms_max: 10s"), "wait_ms_max: invalid type: string \"10s\", expected u64 at");
    refused(&section("endpoint: ''"), "mongodb.endpoint is empty");
    refused(&section("profile: ''"), "mongodb.profile is empty");
    refused(&section("profile: a\n  endpoint: b:9003"), "both name a cluster");
    parsed(&section(&format!("database: {}\n  wait_ms_max: 86400000", "x".repeat(63))));
}

#[test]
fn partitions_are_all_or_one_or_some() {
    let partitions =
        |text: &str| parsed(&small("consumer: {}", &format!("consumer: {{partition: {text}}}"))).partitions;
    assert_eq!(partitions("all"), None);
    assert_eq!(partitions("3"), Some(vec![3]));
    assert_eq!(partitions("[0, 2, 1022]"), Some(vec![0, 2, 1022]));
    assert_eq!(parsed(&small("  consumer: {}\n", "")).partitions, None);
}

#[test]
fn version_2_takes_whatever_fluvio_takes_of_a_topic() {
    let full = "
    version: 0.1.0
    meta: {name: access-logs}
    partition:
      count: 3
      max-size: 1.0 KB
      replication: 2
      ignore-rack-assignment: true
      maps: [{id: 0, replicas: [5001]}]
    retention: {time: 2m, segment-size: 2.0 KB}
    compression: {type: Lz4}
    deduplication:
      bounds: {count: 100, age: 1m}
      filter: {transform: {uses: infinyon/filter-lookback@0.1.0, with: {a: b}}}";
    for topic in ["{meta: {name: access-logs}}", full] {
        assert_eq!(parsed(&v2(topic)).topic, "access-logs");
    }
}

#[test]
fn parameters_become_text_and_json_is_spelled_in_one_way() {
    let filter_map = |text: &str| {
        let step = format!("- uses: access-filter-map\n  with: {text}");
        parsed(&small("- uses: access-filter-map", &step)).params.filter_map
    };
    let expected = secrets(&[("devices", r#"{"projector":["beamer"],"tv":["telly","set"]}"#)]);
    assert_eq!(filter_map("{devices: {tv: [telly, set], projector: [beamer]}}"), expected);
    assert_eq!(filter_map(r#"{devices: '{"tv": ["telly", "set"], "projector": ["beamer"]}'}"#), expected);
    assert_eq!(
        filter_map("{fields: {timestamp: '@timestamp'}, devices: {}}"),
        secrets(&[("fields", r#"{"timestamp":"@timestamp"}"#)])
    );
    let zones = secrets(&[("zones", r#"{"1":["DE","FR"]}"#)]);
    assert_eq!(filter_map(r#"{zones: {"1": [DE, FR]}}"#), zones);
    for limit in ["5", "'5'"] {
        let step = format!("transforms: [{{uses: access-anomaly, with: {{limit_per_minute: {limit}}}}}]");
        assert_eq!(parsed(&job("alerts", &step)).params.anomaly, secrets(&[("limit_per_minute", "5")]));
    }
}

#[test]
fn secrets_are_put_in_as_fluvio_does() {
    for uri in [
        "${{ secrets.MONGODB_URI }}",
        "\"${{secrets.MONGODB_URI}}\"",
        "{secret: {name: MONGODB_URI}}",
        "{string: \"${{ secrets['MONGODB_URI'] }}\"}",
        "${% if true %}${{ secrets.MONGODB_URI }}${# not shown #}${% endif %}",
    ] {
        let config = parsed(&small("${{ secrets.MONGODB_URI }}", uri));
        assert_eq!(config.mongodb.uri.reveal(), URI, "{uri}");
        assert!(!format!("{config:?}{config:#?}").contains("hunter2"));
    }
}

#[test]
fn every_wrong_use_of_a_secret_is_told() {
    let uri = |text: &str| small("${{ secrets.MONGODB_URI }}", text);
    refused_with(
        SMALL,
        &[],
        "the secret MONGODB_URI has no value: write the line MONGODB_URI=... into the file",
    );
    refused(&uri("${{ secrets.OTHER }}"), "undefined value at line 14: `uri: ${{ secrets.OTHER }}`; write");
    refused(&uri("${{ MONGODB_URI }}"), "undefined value at line 14");
    refused(&uri("${{ secrets.MONGODB_URI"), "syntax error at line 14");
    refused(&uri("${{ secrets.MONGODB_URI | upper }}"), "unknown filter at line 14");
    // Given, but not declared.
    let all = [("MONGODB_URI", URI), ("OTHER", URI)];
    refused_with(&uri("${{ secrets.OTHER }}"), &all, "undefined value at line 14");
    refused_with(&uri("{secret: {name: OTHER}}"), &all, "meta.secrets needs `- name: OTHER`");
    refused_with(&small("  secrets: [{name: MONGODB_URI}]\n", ""), &all, "undefined value at line 13");
}

#[test]
fn no_error_shows_a_secret() {
    let value = |value: &str, expected: &str| {
        refused_with(SMALL, &[("MONGODB_URI", value)], expected);
        refused_with(&small("  job: events", "  job: event"), &[("MONGODB_URI", value)], "`event`");
        refused_with(&small("  uri:", "  uril:"), &[("MONGODB_URI", value)], "`uril`");
    };
    let fit = "the value of the secret MONGODB_URI does not fit where the file uses it";
    value("postgres://writer:hunter2@h", "does not begin with mongodb://");
    value("hunter2", "does not begin with mongodb://");
    value("mongodb://writer:hunter2@h/?hunter2", "no connection string of MongoDB");
    // YAML would take these apart, and quote a part.
    value("hunter2: hunter2", fit);
    value("{hunter2: hunter2}", fit);
    value("[hunter2", fit);
    value("\"mongodb://hunter2", fit);
    value("mongodb://h\n  hunter2: x", fit);
    value("*hunter2", fit);
    value("", fit);
    // Wherever else a value is quoted.
    let elsewhere = |old: &str, new: &str, expected: &str| {
        let text = small("[{name: MONGODB_URI}]", "[{name: MONGODB_URI}, {name: X}]").replace(old, new);
        refused_with(&text, &[("MONGODB_URI", URI), ("X", "hunter2./")], expected);
    };
    let window = "window-aggregate\n  with: {lateness_ms_allowed: '${{ secrets.X }}'}";
    elsewhere("  job:", "  database: ${{ secrets.X }}\n  job:", "the value of the secret X does not fit");
    elsewhere("mongodb-sink", "${{ secrets.X }}", "meta.type is \"<X>\"");
    elsewhere("window-aggregate", window, "lateness_ms_allowed is \"<X>\"");
    // A password in the file itself.
    refused(&small("  job: events", &format!("  job: {URI}")), "`mongodb://...@127.0.0.1");
    refused(&small("{name: MONGODB_URI}", &format!("{{name: '{URI}'}}")), "mongodb://...@127.0.0.1");
}

#[test]
fn a_file_is_loaded_with_its_secrets() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, values) = (dir.path().join("config.yaml"), dir.path().join("secrets.txt"));
    let load =
        |secrets: Option<&Path>| ConnectorConfig::load(&file, secrets).map_err(|error| format!("{error:#}"));
    let error = load(None).expect_err("no file");
    assert!(
        error.contains("cannot read the connector configuration") && error.contains("config.yaml"),
        "{error}"
    );
    std::fs::write(&file, SMALL).expect("written");
    let error = load(Some(&values)).expect_err("no secrets");
    assert!(error.contains("cannot read the secrets file") && error.contains("secrets.txt"), "{error}");
    let lines = format!("# MONGODB_URI=no\nnothing\r\n MONGODB_URI = {URI} \r\nMONGODB_URI=second\n");
    std::fs::write(&values, lines).expect("written");
    assert_eq!(load(Some(&values)).expect("valid").mongodb.uri.reveal(), URI);
    std::fs::write(&values, "OTHER=hunter2").expect("written");
    let error = load(Some(&values)).expect_err("not there");
    assert!(error.contains("config.yaml is not valid: the secret MONGODB_URI has no value"), "{error}");
}

#[test]
fn without_a_file_secrets_are_environment_variables() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("config.yaml");
    // Cargo sets it for every test.
    let text = small("[{name: MONGODB_URI}]", "[{name: CARGO_PKG_NAME}]")
        .replace("${{ secrets.MONGODB_URI }}", "mongodb://h\n  database: ${{ secrets.CARGO_PKG_NAME }}");
    std::fs::write(&file, &text).expect("written");
    let config = ConnectorConfig::load(&file, None).expect("valid");
    assert_eq!(config.mongodb.database, env!("CARGO_PKG_NAME"));
    std::fs::write(&file, text.replace("CARGO_PKG_NAME", "STREAMPULSE_SET_BY_NOBODY")).expect("written");
    let error = format!("{:#}", ConnectorConfig::load(&file, None).expect_err("not set"));
    assert!(error.contains("set the environment variable STREAMPULSE_SET_BY_NOBODY"), "{error}");
}
