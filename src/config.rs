//! The pipeline file `fluvio.toml`: topics, MongoDB and the parameters of the SmartModules. Unknown keys are
//! refused, with the line and the keys that are allowed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use delivery::settings::Alerts;
use domain::anomaly::FALSE_ALERTS_PER_WEEK;
use domain::event_id::PARTITIONS_MAX;
use domain::params::{
    AnomalySettings, FilterMapSettings, JUDGED_LATENESS_MS_ALLOWED, LATENESS_MS_ALLOWED, LIMIT_PER_MINUTE,
    WindowSettings,
};
use domain::vocabulary::Spellings;
use runtime::{Compression, Storage, TopicSpec, Writers};
use serde::Deserialize;
use sink::ModuleParams;
use sink::schema::Retention;
use sink::schema::sharding::{Zones, countries_by_number};
use sink::secret::{Secret, without_values};

/// The file that is read when none is named.
pub const FILE: &str = "fluvio.toml";

/// Name of the topic of log lines.
pub const LOGS: &str = "access-logs";
/// Name of the topic of counts and ticks.
pub const ROLLUPS: &str = "access-rollups";
const PARTITIONS_DEFAULT: u32 = 2;
const LOGS_BYTES_DEFAULT: u64 = 1 << 30;
const ROLLUPS_BYTES_DEFAULT: u64 = 256 << 20;
/// Smallest size of an embedded topic, and of a file of a cluster's, in bytes: some batches must fit.
const TOPIC_BYTES_MIN: u64 = 16 << 20;
/// Shortest retention that Fluvio takes, in seconds.
const RETENTION_S_MIN: u32 = 10;

/// What the file says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// Where to write.
    pub mongodb: MongoDb,
    /// Which Fluvio cluster.
    pub cluster: Cluster,
    /// Parameters of `access-filter-map`.
    #[serde(rename = "access-filter-map")]
    pub filter_map: FilterMap,
    /// Parameters of `access-window-aggregate`.
    #[serde(rename = "access-window-aggregate")]
    pub window_aggregate: WindowAggregate,
    /// Parameters of `access-anomaly`.
    #[serde(rename = "access-anomaly")]
    pub anomaly: Anomaly,
    /// Who is told of alerts.
    pub alerts: Alerts,
}

/// The two topics.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Log lines.
    #[serde(rename = "access-logs")]
    pub logs: Topic,
    /// Counts and ticks.
    #[serde(rename = "access-rollups")]
    pub rollups: Topic,
}

/// A topic.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Topic {
    /// Number of partitions, 1 to 1023, and 1 for `access-rollups`. The embedded runtime fixes it when it
    /// creates the topic, a cluster can add more.
    pub partitions: Option<u32>,
    /// Most bytes kept by the embedded runtime.
    pub bytes_max: Option<u64>,
    /// How many SPUs of a cluster keep each partition.
    pub replication: u32,
    /// How long a cluster keeps records at least, in seconds.
    pub retention_s: u32,
    /// Size of a partition's files in a cluster; retention removes whole files.
    pub segment_bytes: u32,
    /// Most bytes of a partition in a cluster; beyond it the oldest files go before their time.
    pub partition_bytes_max: u64,
    /// What a cluster takes and our producers do: any (they do not compress), none, gzip, snappy, lz4, zstd.
    pub compression: Compression,
}

impl Default for Topic {
    fn default() -> Self {
        let Storage { replication, retention_s, segment_bytes, partition_bytes_max, compression } =
            Storage::default();
        Self {
            partitions: None,
            bytes_max: None,
            replication,
            retention_s,
            segment_bytes,
            partition_bytes_max,
            compression,
        }
    }
}

impl Topic {
    fn spec(&self, name: &str, partitions: u32, bytes_max: u64, writers: Writers) -> TopicSpec {
        let &Self { replication, retention_s, segment_bytes, partition_bytes_max, compression, .. } = self;
        TopicSpec {
            name: name.to_owned(),
            partitions: self.partitions.unwrap_or(partitions),
            bytes_max: self.bytes_max.unwrap_or(bytes_max),
            writers,
            storage: Storage { replication, retention_s, segment_bytes, partition_bytes_max, compression },
        }
    }
}

/// Which Fluvio cluster; by default that of the current profile of the Fluvio CLI.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// Host and port of its SC.
    pub endpoint: Option<String>,
    /// Name of a profile.
    pub profile: Option<String>,
}

/// Where to write.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct MongoDb {
    /// Connection string; without one a mongod of our own is started.
    pub uri: Option<Secret>,
    /// Name of the database.
    pub database: String,
    /// Whether events are stored, or only what is counted of them, rejects and alerts.
    pub store_events: bool,
    /// After how many days documents go; what is not named stays for ever.
    pub retention: Retention,
    /// Countries whose documents stay on some shards, by the zone's name.
    pub zones: Zones,
}

/// Parameters of `access-filter-map`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct FilterMap {
    /// What the log calls the required fields.
    pub fields: BTreeMap<String, String>,
    /// Further spellings of devices.
    pub devices: Spellings,
    /// Further spellings of content types.
    pub content_types: Spellings,
}

/// Parameters of `access-window-aggregate`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct WindowAggregate {
    /// How much later than its event time a line may be stored before it counts as late.
    pub lateness_ms_allowed: u32,
}

/// Parameters of `access-anomaly`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Anomaly {
    /// Accesses a minute over the whole platform above which a minute alerts.
    pub limit_per_minute: u64,
    /// The same of countries, devices and content types, e.g. `"country:BR" = 5_000`.
    pub limits: BTreeMap<String, u64>,
    /// How many false alerts a week are accepted of what is learned; 0 learns nothing.
    pub false_alerts_per_week: f64,
    /// How long lines of a minute are waited for before it is judged by what is learned.
    pub lateness_ms_allowed: u32,
}

impl Default for MongoDb {
    fn default() -> Self {
        Self {
            uri: None,
            database: "streampulse".to_owned(),
            store_events: true,
            retention: Retention::default(),
            zones: Zones::new(),
        }
    }
}

impl Default for WindowAggregate {
    fn default() -> Self {
        Self { lateness_ms_allowed: u32::try_from(LATENESS_MS_ALLOWED).expect("one minute fits") }
    }
}

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            limit_per_minute: LIMIT_PER_MINUTE,
            limits: BTreeMap::new(),
            false_alerts_per_week: FALSE_ALERTS_PER_WEEK,
            lateness_ms_allowed: u32::try_from(JUDGED_LATENESS_MS_ALLOWED).expect("seconds fit"),
        }
    }
}

impl Config {
    /// Reads `file`, or `fluvio.toml` in the current folder, or takes the defaults when there is none.
    ///
    /// # Errors
    /// When the file is missing although it was named, or holds what is not allowed.
    pub fn load(file: Option<&Path>) -> Result<Self> {
        let path = file.unwrap_or(Path::new(FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.is_none() => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read the configuration {}", path.display()));
            }
        };
        Self::parse(&text).with_context(|| format!("the configuration {} is not valid", path.display()))
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Says which line is wrong, or which value.
    pub fn parse(text: &str) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| told(text, &error))?;
        config.topics().iter().try_for_each(check_topic)?;
        ensure!(
            config.cluster.endpoint.is_none() || config.cluster.profile.is_none(),
            "cluster.endpoint and cluster.profile both name a cluster; remove one"
        );
        ensure!(!config.mongodb.database.is_empty(), "mongodb.database is empty");
        config.alerts.check()?;
        config.mongodb.retention.check().map_err(anyhow::Error::msg).context("mongodb.retention")?;
        let params = config.params()?;
        let checks = [
            FilterMapSettings::parse(&params.filter_map).map(|_| ()),
            WindowSettings::parse(&params.window_aggregate).map(|_| ()),
            AnomalySettings::parse(&params.anomaly).map(|_| ()),
        ];
        checks.into_iter().collect::<Result<(), String>>().map_err(anyhow::Error::msg)?;
        Ok(config)
    }

    /// The two topics, log lines first.
    pub fn topics(&self) -> [TopicSpec; 2] {
        [
            self.topics.logs.spec(LOGS, PARTITIONS_DEFAULT, LOGS_BYTES_DEFAULT, Writers::One),
            self.topics.rollups.spec(ROLLUPS, 1, ROLLUPS_BYTES_DEFAULT, Writers::Many),
        ]
    }

    /// The parameters of the SmartModules, as Fluvio hands them over.
    ///
    /// # Errors
    /// When two zones have one number.
    pub fn params(&self) -> Result<ModuleParams> {
        let text = |key: &str, value: String| (key.to_owned(), value);
        let mut filter_map = BTreeMap::new();
        let FilterMap { fields, devices, content_types } = &self.filter_map;
        // Nothing is said where nothing is set, so that the settings' hash is that of the bare defaults.
        if !fields.is_empty() {
            filter_map.extend([text("fields", serde_json::to_string(fields)?)]);
        }
        let zones = countries_by_number(&self.mongodb.zones).map_err(anyhow::Error::msg)?;
        if !zones.is_empty() {
            // As a connector spells it, so that the hash is the same.
            filter_map.extend([text("zones", serde_json::to_value(&zones)?.to_string())]);
        }
        for (key, spellings) in [("devices", devices), ("content_types", content_types)] {
            if !spellings.is_empty() {
                filter_map.extend([text(key, serde_json::to_string(spellings)?)]);
            }
        }
        let lateness = self.window_aggregate.lateness_ms_allowed.to_string();
        let Anomaly { limit_per_minute, limits, false_alerts_per_week, lateness_ms_allowed } = &self.anomaly;
        let mut anomaly = BTreeMap::from([
            text("limit_per_minute", limit_per_minute.to_string()),
            text("false_alerts_per_week", false_alerts_per_week.to_string()),
            text("lateness_ms_allowed", lateness_ms_allowed.to_string()),
        ]);
        if !limits.is_empty() {
            anomaly.extend([text("limits", serde_json::to_string(limits)?)]);
        }
        Ok(ModuleParams {
            filter_map,
            window_aggregate: BTreeMap::from([text("lateness_ms_allowed", lateness)]),
            anomaly,
        })
    }
}

/// The parser's own text quotes the line, in which a secret can stand; its key is told.
fn told(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let what = without_values(error.message());
    match error.span() {
        Some(span) => {
            let above = text.get(..span.start).unwrap_or(text).matches('\n').count();
            let key = text.lines().nth(above).and_then(|line| line.split_once('='));
            let key = key.map(|(key, _)| key.trim()).filter(|key| key.chars().all(is_bare));
            let key = key.map(|key| format!(" ({key})")).unwrap_or_default();
            anyhow!("line {}{key}: {what}", above + 1)
        }
        None => anyhow!(what),
    }
}

fn is_bare(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_.".contains(char)
}

fn check_topic(spec: &TopicSpec) -> Result<()> {
    let TopicSpec { name, partitions, bytes_max, storage, .. } = spec;
    ensure!(
        (1..PARTITIONS_MAX).contains(partitions),
        "topics.{name}.partitions is {partitions}, must be 1 to {}",
        PARTITIONS_MAX - 1
    );
    ensure!(
        name != ROLLUPS || *partitions == 1,
        "topics.{name}.partitions is {partitions}, must be 1: a frame stands for a whole batch of lines"
    );
    let Storage { replication, retention_s, segment_bytes, partition_bytes_max, .. } = storage;
    ensure!(*replication >= 1, "topics.{name}.replication is 0, must be at least 1");
    ensure!(
        *retention_s >= RETENTION_S_MIN,
        "topics.{name}.retention_s is {retention_s}, must be at least {RETENTION_S_MIN}"
    );
    let sizes = [
        ("bytes_max", *bytes_max),
        ("segment_bytes", u64::from(*segment_bytes)),
        ("partition_bytes_max", *partition_bytes_max),
    ];
    for (key, bytes) in sizes {
        ensure!(
            bytes >= TOPIC_BYTES_MIN,
            "topics.{name}.{key} is {bytes}, must be at least {TOPIC_BYTES_MIN}"
        );
    }
    ensure!(
        *partition_bytes_max >= u64::from(*segment_bytes),
        "topics.{name}.partition_bytes_max is {partition_bytes_max}, less than a segment of {segment_bytes}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_holds_the_defaults() {
        let mut sample = Config::parse(include_str!("../fluvio.toml")).expect("the sample is valid");
        assert_eq!(sample.topics(), Config::default().topics());
        sample.topics = Topics::default();
        assert_eq!(sample, Config::default());
    }

    #[test]
    fn the_sample_receiver_holds_the_defaults_and_every_setting() {
        let (_, sample) =
            include_str!("../fluvio.toml").split_once("# [[alerts.receivers]]\n").expect("a sample receiver");
        let receiver = |is_left_out: &dyn Fn(&str) -> bool| {
            let lines = sample.lines().map(|line| line.trim_start_matches("# "));
            let lines: Vec<&str> = lines.filter(|line| !is_left_out(line)).collect();
            let parsed = Config::parse(&format!("[[alerts.receivers]]\n{}", lines.join("\n")));
            parsed.expect("valid").alerts.receivers.remove(0)
        };
        let whole = receiver(&|line| line.starts_with("url ="));
        let defaults = ["url =", "severity_min", "rate_per_minute", "give_up_after_s"];
        assert_eq!(whole, receiver(&|line| defaults.iter().any(|key| line.starts_with(key))));
        assert!(whole.url_env.is_some() && !whole.headers_env.is_empty());
    }

    #[test]
    fn the_composition_has_a_valid_file() {
        Config::parse(include_str!("../containers/fluvio.toml")).expect("valid");
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let error = format!("{:#}", Config::parse(text).expect_err("a wrong value"));
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn every_wrong_value_is_told() {
        refused("[mongo]", "unknown field `mongo`, expected one of `topics`, `mongodb`");
        refused("[mongodb]\nurl = \"x\"", "line 2");
        refused(
            "[mongodb]\nurl = \"x\"",
            "unknown field `url`, expected one of `uri`, `database`, `store_events`, `retention`, `zones`",
        );
        refused("[mongodb]\ndatabase = \"\"", "mongodb.database is empty");
        refused("[mongodb.retention]\nevents_days = 0", "expected a nonzero u32");
        refused("[mongodb.retention]\nevents_by = \"hand\"", "expected `ttl` or `drop`");
        refused("[mongodb.retention]\nevents_by = \"drop\"", "set events_days too");
        refused("[mongodb.retention]\nevents_by = \"drop\"\nevents_days = 401", "must be at most 400");
        let zones = "[mongodb.zones]\nEU = { number = 1, countries = [\"DE\"] }\n";
        refused(
            &format!("{zones}US = {{ number = 1, countries = [] }}"),
            "zone US has number 1, like another",
        );
        refused(&format!("{zones}US = {{ number = 2, countries = [\"DE\"] }}"), "DE lies in zones 1 and 2");
        refused(&format!("{zones}US = {{ number = 32, countries = [] }}"), "number 32, must be 1 to 31");
        refused("[topics.access-logs]\npartitions = 0", "must be 1 to 1023");
        refused("[topics.access-logs]\npartitions = 1024", "must be 1 to 1023");
        refused("[topics.access-rollups]\nbytes_max = 1", "must be at least 16777216");
        refused("[topics.access-rollups]\npartitions = 2", "must be 1: a frame");
        refused("[topics.access-logs]\nreplication = 0", "replication is 0");
        refused("[topics.access-logs]\nretention_s = 9", "must be at least 10");
        refused(
            "[topics.access-logs]\nsegment_bytes = 1024",
            "segment_bytes is 1024, must be at least 16777216",
        );
        refused("[topics.access-logs]\npartition_bytes_max = 16777216", "less than a segment");
        refused("[topics.access-logs]\ncompression = \"zip\"", "expected one of `any`, `none`, `gzip`");
        refused("[cluster]\nendpoint = \"a:1\"\nprofile = \"b\"", "both name a cluster");
        refused("[access-filter-map]\nfields = { when = \"ts\" }", "\"when\"");
        refused("[access-filter-map.devices]\n\"Big TV\" = []", "\"Big TV\"");
        refused("[access-anomaly]\nlimit_per_minute = -1", "limit_per_minute");
        refused("[access-window-aggregate]\nlateness_ms_allowed = \"1m\"", "line 2");
    }

    #[test]
    fn every_wrong_receiver_is_told_and_no_url_shown() {
        let receiver = |settings: &str| format!("[[alerts.receivers]]\nname = \"ops\"\n{settings}\n");
        let webhook = |settings: &str| receiver(&format!("format = \"webhook\"\n{settings}"));
        let there = |settings: &str| webhook(&format!("url = \"https://a/s3cret\"\n{settings}"));
        Config::parse(&there("")).expect("valid");
        refused(
            &receiver("format = \"pager\""),
            "expected one of `webhook`, `slack`, `alertmanager`, `stdout`",
        );
        refused(
            &there("uri = \"x\""),
            "unknown field `uri`, expected one of `name`, `format`, `url`, `url_env`",
        );
        refused(&format!("{}{}", there(""), there("")), "two are called \"ops\"");
        refused(
            "[[alerts.receivers]]\nname = \"a b\"\nformat = \"stdout\"",
            "the name \"a b\" is not of letters",
        );
        refused(&webhook(""), "ops: url is missing; or name the variable");
        refused(&there("url_env = \"URL\""), "ops: url and url_env both say where to; remove one");
        refused(&webhook("url = \"hooks.example/x\""), "ops: the URL (its text is not shown) is not valid");
        refused(&webhook("url = \"ftp://a/s3cret\""), "does not begin with http:// or https://");
        refused(&receiver("format = \"stdout\"\nurl = \"https://a\""), "ops: standard output has neither");
        refused(&there("rate_per_minute = 0"), "rate_per_minute is 0, must be 1 to 6000");
        refused(&there("give_up_after_s = 604801"), "give_up_after_s is 604801, must be 1 to 604800");
        refused(&there("severity_min = \"info\""), "expected `warning` or `critical`");
        refused(&there("headers_env = { \"a b\" = \"X\" }"), "is no name of a header");
        refused(&there("headers_env = { a = \"Bearer s3cret\" }"), "headers_env names a variable");
        refused(&webhook("url_env = \"https://a/s3cret\""), "url_env names a variable");
        let one = |i| format!("[[alerts.receivers]]\nname = \"r{i}\"\nformat = \"stdout\"\n");
        Config::parse(&(0..16).map(one).collect::<String>()).expect("as many as there may be");
        refused(&(0..17).map(one).collect::<String>(), "alerts.receivers are 17, must be at most 16");
        for wrong in [
            webhook("url = \"ftp://a/s3cret\""),
            there("rate_per_minute = 0"),
            webhook("ulr = \"https://a/s3cret\""),
            receiver("format = \"s3cret\""),
            there("rate_per_minute = \"s3cret\""),
            there("headers_env = \"s3cret\""),
            there("headers_env = { a = \"s3cret\" }"),
            there("headers_env = { \"Bearer s3cret\" = \"X\" }"),
            webhook("url_env = \"s3cret\""),
            "[mongodb]\nurl = \"mongodb://u:s3cret@h\"".to_owned(),
            "[mongodb]\nstore_events = \"mongodb://u:s3cret@h\"".to_owned(),
            "[mongodb]\nuri = \"mongodb://u:s3cret@h".to_owned(),
        ] {
            let error = format!("{:#}", Config::parse(&wrong).expect_err("wrong"));
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
