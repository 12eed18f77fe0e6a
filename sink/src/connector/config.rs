//! The configuration of the connector, as Fluvio's tools hand it over: `--config FILE` in YAML and, where
//! there are secrets, `--secrets FILE`. Unknown keys are refused with their line, and so is what Fluvio
//! allows but this sink decides itself. No error shows the value of a secret, and `Debug` shows nothing that
//! was written in the file.

mod file;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use domain::event_id::PARTITIONS_MAX;
use domain::params::{
    AnomalySettings, FilterMapSettings, LATENESS_MS_ALLOWED, LIMIT_PER_MINUTE, Params, SHAPING,
    WindowSettings,
};
use mongodb::options::ConnectionString;
use runtime::cluster::Address;
use serde::Deserialize;

use self::file::{ApiVersion, Consumer, File, Partitions, Step, Topic};
use self::secrets::Values;
use crate::ModuleParams;
use crate::secret::{Secret, without_credentials};

/// The only `meta.type`.
const TYPE: &str = "mongodb-sink";
/// `mongodb.database` when it is not named.
const DATABASE_DEFAULT: &str = "streampulse";
/// `mongodb.rollups_topic` when it is not named.
const ROLLUPS_TOPIC_DEFAULT: &str = "access-rollups";
/// `mongodb.wait_ms_max` when it is not named.
const WAIT_MS_DEFAULT: u64 = 10_000;
/// What `mongodb.wait_ms_max` may be: up to a day.
const WAIT_MS: RangeInclusive<u64> = 1..=86_400_000;
/// Longest name of a database, MongoDB's own limit.
const DATABASE_BYTES_MAX: usize = 63;

const FILTER_MAP: &str = "access-filter-map";
const WINDOW_AGGREGATE: &str = "access-window-aggregate";
const ANOMALY: &str = "access-anomaly";

/// What one connector does.
#[derive(Clone)]
pub struct ConnectorConfig {
    /// Name of this connector, unique among those that run.
    pub name: String,
    /// Topic that is read.
    pub topic: String,
    /// Partitions that are read; `None` for all.
    pub partitions: Option<Vec<u32>>,
    /// Which of the three jobs.
    pub job: Job,
    /// Topic of counts and ticks: job `events` writes it, the others read it.
    pub rollups_topic: String,
    /// Parameters of the SmartModules; what is not named has the defaults of `fluvio.toml`.
    pub params: ModuleParams,
    /// Where to write.
    pub mongodb: MongoDb,
    /// Where the topics are.
    pub cluster: Address,
}

/// The three jobs.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Job {
    /// Log lines to events, rejects and counts.
    Events,
    /// Counts to rollups.
    Rollups,
    /// Counts to alerts.
    Alerts,
}

/// Where to write.
#[derive(Clone)]
pub struct MongoDb {
    /// Connection string.
    pub uri: Secret,
    /// Name of the database.
    pub database: String,
    /// Whether job events stores events, or only what is counted of them, and rejects.
    pub store_events: bool,
    /// How long to wait at the start until MongoDB answers.
    pub wait_ms_max: u64,
}

/// Anything of the file can hold a secret that was written into the wrong place.
impl fmt::Debug for ConnectorConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration of a connector for job {}", self.job.name())
    }
}

impl Job {
    /// The name as it stands in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Rollups => "rollups",
            Self::Alerts => "alerts",
        }
    }

    /// The SmartModules that the job runs, in order.
    pub fn modules(self) -> &'static [&'static str] {
        match self {
            Self::Events => &[FILTER_MAP, WINDOW_AGGREGATE],
            Self::Rollups => &[],
            Self::Alerts => &[ANOMALY],
        }
    }
}

impl ConnectorConfig {
    /// Reads the file `path`; secrets come from the file `secrets`, or without one from the environment.
    ///
    /// # Errors
    /// When a file cannot be read, a secret is missing, or the file holds what is not allowed.
    pub fn load(path: &Path, secrets: Option<&Path>) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the connector configuration {}", path.display()))?;
        let values = match secrets {
            Some(file) => secrets::from_file(file)?,
            // Where the names cannot be read, `parse` says why.
            None => secrets::from_environment(secrets::declared(&text).unwrap_or_default()),
        };
        Self::parse(&text, &values)
            .with_context(|| format!("the connector configuration {} is not valid", path.display()))
    }

    /// Reads the text of a file, with the values of its secrets.
    ///
    /// # Errors
    /// Says which line is wrong, or which value; never shows a secret.
    pub fn parse(text: &str, secrets: &BTreeMap<String, String>) -> Result<Self> {
        let config = secrets::declared(text).and_then(|declared| {
            let values = secrets::visible(declared, secrets)?;
            secrets::read_hiding(&values, |values| {
                let file: File = yaml_serde::from_str(&secrets::render(text, values)?)?;
                Self::new(file, values)
            })
        });
        // The file itself may hold a password too, and an error may quote the file.
        let shown = |error: anyhow::Error| anyhow!(without_credentials(&format!("{error:#}")));
        let config = config.map_err(shown)?;
        config.mongodb.check_uri()?;
        Ok(config)
    }

    fn new(file: File, secrets: &Values) -> Result<Self> {
        let File { api_version, meta, transforms, mongodb: section } = file;
        let job = section.job;
        let topic = topic(api_version, meta.topic)?;
        ensure!(!meta.name.is_empty(), "meta.name is empty");
        ensure!(meta.kind == TYPE, "meta.type is {:?}, must be {TYPE:?}", meta.kind);
        ensure!(meta.producer.is_none(), "meta.producer is for source connectors, this is a sink; remove it");
        let rollups_topic = rollups_topic(job, &topic, section.rollups_topic)?;
        let partitions = partitions(job, meta.consumer.unwrap_or_default())?;
        let database = section.database.unwrap_or_else(|| DATABASE_DEFAULT.to_owned());
        check_database(&database)?;
        let wait_ms_max = section.wait_ms_max.unwrap_or(WAIT_MS_DEFAULT);
        ensure!(
            WAIT_MS.contains(&wait_ms_max),
            "mongodb.wait_ms_max is {wait_ms_max}, must be {} to {}",
            WAIT_MS.start(),
            WAIT_MS.end()
        );
        let cluster = Address { endpoint: section.endpoint, profile: section.profile };
        check_cluster(&cluster)?;
        let uri = Secret::from(section.uri.resolve(secrets)?);
        ensure!(
            job == Job::Events || section.store_events.is_none(),
            "mongodb.store_events is for job events; remove it"
        );
        let store_events = section.store_events.unwrap_or(true);
        let mongodb = MongoDb { uri, database, store_events, wait_ms_max };
        let params = params(job, transforms)?;
        Ok(Self { name: meta.name, topic, partitions, job, rollups_topic, params, mongodb, cluster })
    }
}

impl MongoDb {
    /// The driver's own error could quote a part of the password.
    fn check_uri(&self) -> Result<()> {
        let uri = self.uri.reveal();
        ensure!(
            uri.starts_with("mongodb://") || uri.starts_with("mongodb+srv://"),
            "mongodb.uri does not begin with mongodb:// or mongodb+srv:// (its text is not shown)"
        );
        ensure!(
            ConnectionString::parse(uri).is_ok(),
            "mongodb.uri is no connection string of MongoDB (its text is not shown); signs like @ : / % in \
             user and password must be percent-encoded"
        );
        Ok(())
    }
}

fn check_cluster(Address { endpoint, profile }: &Address) -> Result<()> {
    ensure!(endpoint.as_deref() != Some(""), "mongodb.endpoint is empty");
    ensure!(profile.as_deref() != Some(""), "mongodb.profile is empty");
    ensure!(
        endpoint.is_none() || profile.is_none(),
        "mongodb.endpoint and mongodb.profile both name a cluster; remove one"
    );
    Ok(())
}

fn topic(version: Option<ApiVersion>, topic: Topic) -> Result<String> {
    let version = version.context("apiVersion is missing; write `apiVersion: 0.1.0`")?;
    let name = match (version, topic) {
        (ApiVersion::V1, Topic::Name(name)) => name,
        (ApiVersion::V2, Topic::Object(topic)) => topic.meta.name,
        (ApiVersion::V1, Topic::Object(_)) => {
            bail!("meta.topic is an object, which needs apiVersion 0.2.0; or write only the topic's name")
        }
        (ApiVersion::V2, Topic::Name(name)) => {
            bail!("with apiVersion 0.2.0 meta.topic is an object; write `topic: {{meta: {{name: {name}}}}}`")
        }
    };
    ensure!(!name.is_empty(), "the name of meta.topic is empty");
    Ok(name)
}

fn rollups_topic(job: Job, topic: &str, named: Option<String>) -> Result<String> {
    if job != Job::Events {
        ensure!(
            named.is_none(),
            "mongodb.rollups_topic is for job events; job {} reads meta.topic, so remove it",
            job.name()
        );
        return Ok(topic.to_owned());
    }
    let rollups_topic = named.unwrap_or_else(|| ROLLUPS_TOPIC_DEFAULT.to_owned());
    ensure!(!rollups_topic.is_empty(), "mongodb.rollups_topic is empty");
    ensure!(
        rollups_topic != topic,
        "meta.topic and mongodb.rollups_topic are both {topic:?}, but log lines and counts are two topics"
    );
    Ok(rollups_topic)
}

fn partitions(job: Job, consumer: Consumer) -> Result<Option<Vec<u32>>> {
    for (key, present) in [("offset", consumer.offset.is_some()), ("id", consumer.id.is_some())] {
        ensure!(!present, "positions are kept in MongoDB with the data; remove meta.consumer.{key}");
    }
    ensure!(
        consumer.bytes_max.is_none(),
        "how much is read at once is chosen by the connector itself; remove meta.consumer.max_bytes"
    );
    let Partitions::Some(partitions) = consumer.partition else { return Ok(None) };
    ensure!(
        !partitions.is_empty(),
        "meta.consumer.partition names no partition; write `all` for all of them"
    );
    for partition in &partitions {
        ensure!(
            *partition < PARTITIONS_MAX - 1,
            "meta.consumer.partition names {partition}, must be 0 to {}",
            PARTITIONS_MAX - 2
        );
        ensure!(
            job == Job::Events || *partition == 0,
            "meta.consumer.partition names {partition}, but the topic of counts that job {} reads has only \
             partition 0",
            job.name()
        );
    }
    let distinct: BTreeSet<_> = partitions.iter().collect();
    ensure!(distinct.len() == partitions.len(), "meta.consumer.partition names a partition twice");
    Ok(Some(partitions))
}

fn check_database(name: &str) -> Result<()> {
    const FORBIDDEN: [char; 7] = ['/', '\\', '.', ' ', '"', '$', '\0'];
    ensure!(!name.is_empty(), "mongodb.database is empty");
    ensure!(
        name.len() <= DATABASE_BYTES_MAX,
        "mongodb.database has {} bytes, must have at most {DATABASE_BYTES_MAX}",
        name.len()
    );
    ensure!(
        !name.contains(FORBIDDEN),
        "mongodb.database is {name:?}, must be without blanks and without any of / \\ . \" $"
    );
    Ok(())
}

fn params(job: Job, transforms: Option<Vec<Step>>) -> Result<ModuleParams> {
    let mut params = ModuleParams::default();
    if let Some(steps) = transforms {
        let (expected, uses) = (job.modules(), steps.iter().map(|step| step.uses.as_str()));
        ensure!(
            uses.clone().eq(expected.iter().copied()),
            "transforms are [{}], but job {} takes [{}]; without transforms it takes them by itself",
            uses.collect::<Vec<_>>().join(", "),
            job.name(),
            expected.join(", ")
        );
        for Step { uses, lookback, with } in steps {
            ensure!(
                lookback.is_none(),
                "lookback of {uses} would replay what is counted already; remove it, state is kept in MongoDB"
            );
            let with = with.into_iter().map(|(key, param)| (key, param.0)).collect();
            match uses.as_str() {
                FILTER_MAP => params.filter_map = filter_map(with)?,
                WINDOW_AGGREGATE => params.window_aggregate = with,
                _ => params.anomaly = with,
            }
        }
    }
    let default = |params: &mut Params, key: &str, value: String| {
        params.entry(key.to_owned()).or_insert(value);
    };
    default(&mut params.window_aggregate, "lateness_ms_allowed", LATENESS_MS_ALLOWED.to_string());
    default(&mut params.anomaly, "limit_per_minute", LIMIT_PER_MINUTE.to_string());
    let checks = [
        (FILTER_MAP, FilterMapSettings::parse(&params.filter_map).map(|_| ())),
        (WINDOW_AGGREGATE, WindowSettings::parse(&params.window_aggregate).map(|_| ())),
        (ANOMALY, AnomalySettings::parse(&params.anomaly).map(|_| ())),
    ];
    for (module, check) in checks {
        check.map_err(|error| anyhow!("parameters of {module}: {error}"))?;
    }
    Ok(params)
}

/// Spells the JSON in parameters of `access-filter-map` in one way, that of `fluvio.toml`, so that the
/// settings' hash does not depend on how they were written.
fn filter_map(with: Params) -> Result<Params> {
    for key in ["output", "epoch", "partition"] {
        ensure!(!with.contains_key(key), "the job sets {key} of {FILTER_MAP} itself; remove it from `with`");
    }
    let spell = |(key, text): (String, String)| {
        let json = SHAPING.contains(&key.as_str());
        match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) if json && value.as_object().is_some_and(serde_json::Map::is_empty) => None,
            Ok(value) if json => Some((key, value.to_string())),
            _ => Some((key, text)),
        }
    };
    Ok(with.into_iter().filter_map(spell).collect())
}
