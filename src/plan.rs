//! What was typed and what the pipeline file says, as what it means. Nothing is written or reached before a
//! plan exists; only the pipeline file is read.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use delivery::settings::{Format as Told, Receiver};
use producer::import::Import;
use producer::synthetic::Synthetic;
use producer::{GeneratorConfig, Incident};
use runtime::TopicSpec;
use runtime::cluster::Address;
use sink::ModuleParams;
use sink::schema::Retention;
use sink::schema::sharding::Zones;
use sink::secret::Secret;

use crate::args::{ClusterArgs, DeployArgs, Format, ProduceArgs, SourceArgs, StoreArgs, UpArgs};
use crate::config::Config;

/// Lines a second when nothing is said.
const RATE_DEFAULT: f64 = 1.0;
/// Within which time random incidents lie when traffic begins now, in milliseconds.
const RANDOM_INCIDENTS_WITHIN_MS: i64 = 24 * 60 * 60 * 1_000;

/// Where the data lies.
#[derive(Clone, Debug)]
pub struct Store {
    /// Folder of embedded topics and the local mongod.
    pub data_dir: PathBuf,
    /// A named MongoDB.
    pub mongodb_uri: Option<Secret>,
    /// Port of a local MongoDB; any when nothing is said.
    pub mongod_port: Option<u16>,
    /// Database.
    pub database: String,
    /// Whether events are stored.
    pub store_events: bool,
    /// How long it may take to answer at the start.
    pub wait_for_mongodb: Duration,
    /// After how long documents go.
    pub retention: Retention,
    /// Which countries' documents stay on which shards.
    pub zones: Zones,
    /// How many partitions the log topic has.
    pub partitions: u32,
}

impl Store {
    /// What the flags and the pipeline file mean together.
    ///
    /// # Errors
    /// When the pipeline file is not valid.
    pub fn new(args: StoreArgs) -> Result<Self> {
        let config = Config::load(args.config.as_deref())?;
        Ok(Self::with(args, &config))
    }

    fn with(args: StoreArgs, config: &Config) -> Self {
        Self {
            data_dir: args.data_dir,
            mongodb_uri: args.mongodb_uri.or_else(|| config.mongodb.uri.clone()),
            mongod_port: args.mongod_port,
            database: args.database.unwrap_or_else(|| config.mongodb.database.clone()),
            store_events: config.mongodb.store_events,
            wait_for_mongodb: args.wait_for_mongodb,
            retention: config.mongodb.retention,
            zones: config.mongodb.zones.clone(),
            partitions: config.topics()[0].partitions,
        }
    }

    /// Folder of the embedded topics.
    pub fn topics_dir(&self) -> PathBuf {
        self.data_dir.join("topics")
    }
}

/// Where lines come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Made up.
    Synthetic(Synthetic),
    /// Read.
    Import(Import),
}

/// `up`.
#[derive(Clone, Debug)]
pub struct Up {
    /// Where lines come from.
    pub source: Source,
    /// When to end.
    pub for_time: Option<Duration>,
    /// Close everything that is open at the end.
    pub until_drained: bool,
    /// Where the data lies.
    pub store: Store,
    /// Topics.
    pub topics: Topics,
    /// The cluster to run on; `None` for the embedded runtime.
    pub cluster: Option<Address>,
    /// Parameters of the SmartModules.
    pub params: ModuleParams,
    /// The limit that minutes are shown against.
    pub limit_per_minute: u64,
    /// Where labels of incidents go.
    pub labels: Option<PathBuf>,
    /// Where the live page is served, if it is.
    pub serve: Option<SocketAddr>,
    /// Where it tells of itself, if it does.
    pub metrics: Option<SocketAddr>,
    /// How to print the summary.
    pub summary: Format,
    /// Who is told of alerts.
    pub receivers: Vec<Receiver>,
}

/// `deliver`.
#[derive(Clone, Debug)]
pub struct Deliver {
    /// Where the alerts lie.
    pub store: Store,
    /// Who is told of them.
    pub receivers: Vec<Receiver>,
}

impl Deliver {
    /// What was typed, as what it means.
    ///
    /// # Errors
    /// When the pipeline file is not valid or has no receivers, or the environment lacks what it names.
    pub fn new(args: StoreArgs) -> Result<Self> {
        let config = Config::load(args.config.as_deref())?;
        let receivers = receivers(&config)?;
        ensure!(
            !receivers.is_empty(),
            "there is nobody to deliver alerts to: the pipeline file has no [[alerts.receivers]]"
        );
        Ok(Self { store: Store::with(args, &config), receivers })
    }
}

/// Who is told of alerts, with the secrets that the environment holds.
fn receivers(config: &Config) -> Result<Vec<Receiver>> {
    config.alerts.resolve(|variable| std::env::var(variable).ok())
}

/// `produce`.
#[derive(Clone, Debug)]
pub struct Produce {
    /// Where lines come from.
    pub source: Source,
    /// When to end.
    pub for_time: Option<Duration>,
    /// Where to.
    pub to: ProduceTo,
    /// Topics.
    pub topics: Topics,
    /// Where labels of incidents go.
    pub labels: Option<PathBuf>,
}

/// Where `produce` puts lines.
#[derive(Clone, Debug)]
pub enum ProduceTo {
    /// Standard output.
    Print,
    /// Embedded topics in a folder.
    Embedded(PathBuf),
    /// A cluster; what it cannot keep lies in MongoDB.
    Cluster(Address, Box<Store>),
}

/// `deploy`.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// The cluster.
    pub cluster: Address,
    /// Topics, log lines first.
    pub topics: [TopicSpec; 2],
    /// Only show it.
    pub dry_run: bool,
}

impl Deploy {
    /// What was typed, as what it means.
    ///
    /// # Errors
    /// When the pipeline file is not valid.
    pub fn new(args: DeployArgs) -> Result<Self> {
        let config = Config::load(args.config.as_deref())?;
        let cluster = address(args.which_cluster, &config);
        Ok(Self { cluster, topics: config.topics(), dry_run: args.dry_run })
    }
}

/// Which cluster is meant: what was typed, or what the pipeline file says.
pub fn address(args: ClusterArgs, config: &Config) -> Address {
    let ClusterArgs { fluvio_endpoint: endpoint, fluvio_profile: profile } = args;
    match (&endpoint, &profile) {
        (None, None) => {
            Address { endpoint: config.cluster.endpoint.clone(), profile: config.cluster.profile.clone() }
        }
        _ => Address { endpoint, profile },
    }
}

/// The two topics, and what the log calls the user.
#[derive(Clone, Debug)]
pub struct Topics {
    /// Log lines.
    pub logs: TopicSpec,
    /// Counts and ticks.
    pub rollups: TopicSpec,
    /// Name of the field that decides on the partition.
    pub user_id_field: String,
}

impl Topics {
    fn new(config: &Config) -> Self {
        let [logs, rollups] = config.topics();
        let user_id_field =
            config.filter_map.fields.get("user_id").map_or("user_id", String::as_str).to_owned();
        Self { logs, rollups, user_id_field }
    }
}

impl Up {
    /// What was typed, as what it means.
    ///
    /// # Errors
    /// When flags contradict each other, or the pipeline file is not valid.
    pub fn new(args: UpArgs) -> Result<Self> {
        let mut config = Config::load(args.store.config.as_deref())?;
        if let Some(limit) = args.limit_per_minute {
            config.anomaly.limit_per_minute = limit;
        }
        let has_end =
            args.source.file.is_some() || args.source.events.is_some() || args.source.for_time.is_some();
        ensure!(
            has_end || !args.until_drained,
            "--until-drained needs an end of the input: give --file, --events or --for too"
        );
        let receivers = receivers(&config)?;
        ensure!(
            args.summary != Format::Json || receivers.iter().all(|receiver| receiver.format != Told::Stdout),
            "--summary json has standard output to itself: a receiver of alerts in format stdout cannot use it too"
        );
        let for_time = args.source.for_time;
        let labels = args.source.labels.clone();
        let source = source(args.source, !args.until_drained)?;
        Ok(Self {
            source,
            for_time,
            labels,
            until_drained: args.until_drained,
            topics: Topics::new(&config),
            cluster: args.cluster.then(|| address(args.which_cluster, &config)),
            params: config.params()?,
            limit_per_minute: config.anomaly.limit_per_minute,
            store: Store::with(args.store, &config),
            serve: args.serve,
            metrics: args.monitor.metrics,
            summary: args.summary,
            receivers,
        })
    }
}

impl Produce {
    /// What was typed, as what it means.
    ///
    /// # Errors
    /// When flags contradict each other, or the pipeline file is not valid.
    pub fn new(args: ProduceArgs) -> Result<Self> {
        let config = Config::load(args.store.config.as_deref())?;
        let (for_time, labels) = (args.source.for_time, args.source.labels.clone());
        let store = Store::with(args.store, &config);
        let to = if args.print {
            ProduceTo::Print
        } else if args.cluster {
            ProduceTo::Cluster(address(args.which_cluster, &config), Box::new(store))
        } else {
            ProduceTo::Embedded(store.topics_dir())
        };
        let topics = Topics::new(&config);
        Ok(Self { source: source(args.source, args.follow)?, for_time, to, topics, labels })
    }
}

impl Source {
    /// The labelled incidents, where the source makes any.
    pub fn incidents(&self) -> &[Incident] {
        match self {
            Self::Synthetic(synthetic) => &synthetic.generator.incidents,
            Self::Import(_) => &[],
        }
    }
}

fn source(args: SourceArgs, follow: bool) -> Result<Source> {
    if let Some(path) = args.file {
        let import = if path.as_os_str() == "-" { Import::Stdin } else { Import::File { path, follow } };
        return Ok(Source::Import(import));
    }
    let now_ms = Utc::now().timestamp_millis();
    let start_ms = args.start.map(|start| start.timestamp_millis());
    if let Some(start_ms) = start_ms {
        ensure!(start_ms >= producer::conditions::NOW_MS_MIN, "--start is before 2002");
        ensure!(start_ms <= now_ms, "--start lies in the future; leave it out to begin now");
    }
    let seed = args.seed.unwrap_or_else(|| now_ms.cast_unsigned());
    let first_ms = start_ms.unwrap_or(now_ms);
    let parse = |spec: &String| Incident::parse(spec, first_ms).with_context(|| format!("--incident {spec}"));
    let mut incidents = args.incident.iter().map(parse).collect::<Result<Vec<_>>>()?;
    if args.random_incidents > 0 {
        let last_ms = if start_ms.is_some() { now_ms } else { now_ms + RANDOM_INCIDENTS_WITHIN_MS };
        incidents.extend(Incident::random(args.random_incidents as usize, first_ms, last_ms, seed));
    }
    let generator =
        GeneratorConfig { seed, malformed_share: args.malformed, incidents, ..GeneratorConfig::default() };
    let rate = args.rate.unwrap_or(RATE_DEFAULT);
    Ok(Source::Synthetic(Synthetic { generator, rate, start_ms, lines_max: args.events }))
}
