//! The pipeline file `fluvio.toml`: topics, MongoDB and the parameters of the SmartModules. Unknown keys are
//! refused, with the line and the keys that are allowed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use domain::event_id::PARTITIONS_MAX;
use domain::params::{AnomalySettings, FilterMapSettings, LATENESS_MS_ALLOWED, WindowSettings};
use domain::vocabulary::Spellings;
use mongodb_sink::ModuleParams;
use serde::Deserialize;

/// The file that is read when none is named.
pub const FILE: &str = "fluvio.toml";

/// What the file says.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Topics.
    pub topics: Topics,
    /// Where to write.
    pub mongodb: MongoDb,
    /// Parameters of `access-filter-map`.
    #[serde(rename = "access-filter-map")]
    pub filter_map: FilterMap,
    /// Parameters of `access-window-aggregate`.
    #[serde(rename = "access-window-aggregate")]
    pub window_aggregate: WindowAggregate,
    /// Parameters of `access-anomaly`.
    #[serde(rename = "access-anomaly")]
    pub anomaly: Anomaly,
}

/// The two topics.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Log lines.
    #[serde(rename = "access-logs")]
    pub logs: LogTopic,
    /// Counts and ticks.
    #[serde(rename = "access-rollups")]
    pub rollups: RollupTopic,
}

/// The topic of log lines.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct LogTopic {
    /// Number of partitions, 1 to 1023; fixed when the topic is created.
    pub partitions: u32,
    /// Most bytes kept by the embedded runtime.
    pub bytes_max: u64,
}

/// The topic of counts and ticks; it has one partition.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct RollupTopic {
    /// Most bytes kept by the embedded runtime.
    pub bytes_max: u64,
}

/// Where to write.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct MongoDb {
    /// Connection string; without one a mongod of our own is started.
    pub uri: Option<String>,
    /// Name of the database.
    pub database: String,
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
}

impl Default for LogTopic {
    fn default() -> Self {
        Self { partitions: 2, bytes_max: 1 << 30 }
    }
}

impl Default for RollupTopic {
    fn default() -> Self {
        Self { bytes_max: 256 << 20 }
    }
}

impl Default for MongoDb {
    fn default() -> Self {
        Self { uri: None, database: "streampulse".to_owned() }
    }
}

impl Default for WindowAggregate {
    fn default() -> Self {
        Self { lateness_ms_allowed: u32::try_from(LATENESS_MS_ALLOWED).expect("one minute fits") }
    }
}

impl Default for Anomaly {
    fn default() -> Self {
        Self { limit_per_minute: 100_000 }
    }
}

impl Config {
    /// Smallest size of an embedded topic in bytes: some batches must fit.
    const TOPIC_BYTES_MIN: u64 = 16 << 20;

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
        let config: Self = toml::from_str(text)?;
        let partitions = config.topics.logs.partitions;
        ensure!(
            (1..PARTITIONS_MAX).contains(&partitions),
            "topics.access-logs.partitions is {partitions}, must be 1 to {}",
            PARTITIONS_MAX - 1
        );
        let sizes = [
            ("access-logs", config.topics.logs.bytes_max),
            ("access-rollups", config.topics.rollups.bytes_max),
        ];
        for (topic, bytes_max) in sizes {
            let least = Self::TOPIC_BYTES_MIN;
            ensure!(bytes_max >= least, "topics.{topic}.bytes_max is {bytes_max}, must be at least {least}");
        }
        ensure!(!config.mongodb.database.is_empty(), "mongodb.database is empty");
        let params = config.params()?;
        let checks = [
            FilterMapSettings::parse(&params.filter_map).map(|_| ()),
            WindowSettings::parse(&params.window_aggregate).map(|_| ()),
            AnomalySettings::parse(&params.anomaly).map(|_| ()),
        ];
        checks.into_iter().collect::<Result<(), String>>().map_err(anyhow::Error::msg)?;
        Ok(config)
    }

    /// The parameters of the SmartModules, as Fluvio hands them over.
    ///
    /// # Errors
    /// Never for what TOML can hold.
    pub fn params(&self) -> Result<ModuleParams> {
        let text = |key: &str, value: String| (key.to_owned(), value);
        let mut filter_map = BTreeMap::new();
        let FilterMap { fields, devices, content_types } = &self.filter_map;
        // Nothing is said where nothing is set, so that the settings' hash is that of the bare defaults.
        if !fields.is_empty() {
            filter_map.extend([text("fields", serde_json::to_string(fields)?)]);
        }
        for (key, spellings) in [("devices", devices), ("content_types", content_types)] {
            if !spellings.is_empty() {
                filter_map.extend([text(key, serde_json::to_string(spellings)?)]);
            }
        }
        let lateness = self.window_aggregate.lateness_ms_allowed.to_string();
        let limit = self.anomaly.limit_per_minute.to_string();
        Ok(ModuleParams {
            filter_map,
            window_aggregate: BTreeMap::from([text("lateness_ms_allowed", lateness)]),
            anomaly: BTreeMap::from([text("limit_per_minute", limit)]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_file_holds_the_defaults() {
        let sample = Config::parse(include_str!("../fluvio.toml")).expect("the sample is valid");
        assert_eq!(sample, Config::default());
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
        refused("[mongodb]\nurl = \"x\"", "unknown field `url`, expected `uri` or `database`");
        refused("[mongodb]\ndatabase = \"\"", "mongodb.database is empty");
        refused("[topics.access-logs]\npartitions = 0", "must be 1 to 1023");
        refused("[topics.access-logs]\npartitions = 1024", "must be 1 to 1023");
        refused("[topics.access-rollups]\nbytes_max = 1", "must be at least 16777216");
        refused("[access-filter-map]\nfields = { when = \"ts\" }", "\"when\"");
        refused("[access-filter-map.devices]\n\"Big TV\" = []", "\"Big TV\"");
        refused("[access-anomaly]\nlimit_per_minute = -1", "limit_per_minute");
        refused("[access-window-aggregate]\nlateness_ms_allowed = \"1m\"", "line 2");
    }
}
