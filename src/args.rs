//! What was typed. What it means is [`crate::plan`]'s business.

mod alerts;

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use sink::secret::Secret;

use crate::report::Lang;

pub use alerts::{
    AlertsArgs, AlertsCommand, DeliverArgs, RetryArgs, SilenceArgs, SilencesArgs, UnsilenceArgs,
};

/// Real-time analysis of a streaming platform's access logs: Fluvio SmartModules in, MongoDB out.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 a finding (status, doctor, deploy, mongodb init), 2 an error."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to write the log: text, or json, one document a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "STREAMPULSE_LOG_FORMAT",
        default_value = "text"
    )]
    pub log_format: sink::logging::Format,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole pipeline in one process: lines in, events, rollups and alerts out
    #[command(after_help = UP_EXAMPLES)]
    Up(Box<UpArgs>),
    /// Put lines into the topic access-logs, or print them
    Produce(Box<ProduceArgs>),
    /// Give a Fluvio cluster the topics and SmartModules that the pipeline needs
    #[command(after_help = DEPLOY_HELP)]
    Deploy(DeployArgs),
    /// Run one job as a Fluvio connector, from the connector's configuration
    Connector(ConnectorArgs),
    /// Give MongoDB the collections, indexes and users that the pipeline needs
    #[command(subcommand)]
    Mongodb(MongodbCommand),
    /// Answer from the rollups: when are the peaks, which devices, which content where
    Report(ReportArgs),
    /// Show the answers on a live page
    #[command(after_help = SERVE_HELP)]
    Serve(ServeArgs),
    /// Show what would have been alerted, of the rollups that are stored or of a series in a file
    #[command(after_help = DETECT_HELP)]
    Detect(DetectArgs),
    /// List the alerts, or silence some
    #[command(after_help = alerts::ALERTS_HELP)]
    Alerts(AlertsArgs),
    /// Tell the receivers of the pipeline file of alerts, and nothing else, until Ctrl-C
    #[command(after_help = alerts::DELIVER_HELP)]
    Deliver(DeliverArgs),
    /// Show how far the jobs have come
    Status(StatusArgs),
    /// Check that everything the pipeline needs is there
    Doctor(DoctorArgs),
}

const UP_EXAMPLES: &str = "\
Examples:
  streampulse up                                        synthetic traffic, a local mongod, until Ctrl-C
  streampulse up --rate 500 --limit-per-minute 40000    more of it, with a limit
  streampulse up --file access.ndjson --until-drained   a log file; run it again to read what was appended
  streampulse deploy && streampulse up --cluster ...    the same on the Fluvio cluster of the current profile
  zcat old.gz | streampulse up --file - --until-drained standard input";

/// Where the live page is unless told otherwise.
const PAGE_ADDRESS: &str = "127.0.0.1:8480";
/// Where metrics are unless told otherwise.
const METRICS_ADDRESS: &str = "127.0.0.1:9480";
const SERVE_HELP: &str = "\
Prints the address of the page and serves it until Ctrl-C. The page shows what happens now, the last hour with
the limit, and the answers of `report` for the time before; it keeps itself up to date, and loads nothing from
elsewhere.";

const DETECT_HELP: &str = "\
Runs the detector of the SmartModule access-anomaly over stored rollups, with the settings of the pipeline
file or of the flags, and prints the alerts as they would have ended. Nothing is stored. Rollups do not name
users, so of bots only groups are among them.

--csv reads lines `timestamp,value` (RFC 3339, `2026-11-22 10:00:00` in UTC, or epoch seconds) in order of
time and prints each with its score: 0, or how unusual an alarm is, in decades.

Examples:
  streampulse detect --from 2026-11-01T00:00:00Z --false-alerts-per-week 1
  streampulse detect --csv requests.csv | awk -F, '$3 > 0'";

const DEPLOY_HELP: &str = "\
Shows what is to be done for each SmartModule and topic, and does it: keep, create, upgrade. What differs
and cannot be changed in place is shown with what to do, and ends with exit code 1.";

const MONGODB_SHARDS_HELP: &str = "\
Shows for each collection and shard the documents, bytes and chunks, and which share of the events that come
in meanwhile it takes. A jumbo chunk, a shard that takes more than twice its share, and coming events that
should go to another shard are findings (exit code 1); `mongodb init --sharded` shows the latter and mends
them with --apply.";

const MONGODB_INIT_HELP: &str = "\
Shows each collection, validator and index, and creates what is missing: keep, create. What is another than
it should be is shown as repair, and mended with --apply; what cannot be mended in place, as differs, with
what to do. Indexes that are not ours are shown and left alone. `up` and connectors create what is missing
too, and never mend.

--users creates the roles and users streampulse-writer (for the pipeline) and streampulse-reader (for
dashboards) in this database; their passwords come from STREAMPULSE_WRITER_PASSWORD and
STREAMPULSE_READER_PASSWORD.

Exit codes: 0 all is as it should be, 1 something differs still, 2 an error.";

/// What `mongodb` can do.
#[derive(Debug, Subcommand)]
pub enum MongodbCommand {
    /// Create what is missing, and show or mend what differs
    #[command(after_help = MONGODB_INIT_HELP)]
    Init(MongodbInitArgs),
    /// Show what each shard of a cluster has, and where it grows
    #[command(after_help = MONGODB_SHARDS_HELP)]
    Shards(MongodbShardsArgs),
}

/// `mongodb init`.
#[derive(Args, Debug)]
pub struct MongodbInitArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print the commands, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Mend what differs; a shorter retention then deletes documents, and days that are over are dropped
    #[arg(long)]
    pub apply: bool,
    /// Roles and users with least privilege too
    #[arg(long)]
    pub users: bool,
    /// Spread the collections over the shards of a cluster, which is reached through a mongos
    #[arg(long)]
    pub sharded: bool,
}

/// `mongodb shards`.
#[derive(Args, Debug)]
pub struct MongodbShardsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// For how long to watch which shards new events go to, e.g. 10s
    #[arg(long = "for", value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub for_time: std::time::Duration,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// Which Fluvio cluster.
#[derive(Args, Debug, Default)]
pub struct ClusterArgs {
    /// Host and port of the cluster's SC [default: cluster.endpoint of the pipeline file, else a profile]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "fluvio_profile")]
    pub fluvio_endpoint: Option<String>,
    /// Profile of the Fluvio CLI [default: cluster.profile of the pipeline file, else the current one]
    #[arg(long, value_name = "NAME")]
    pub fluvio_profile: Option<String>,
}

/// Where the data lies.
#[derive(Args, Debug)]
pub struct StoreArgs {
    /// Pipeline file [default: fluvio.toml in the current folder, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for embedded topics and for the local mongod
    #[arg(long, value_name = "DIR", default_value = ".streampulse")]
    pub data_dir: PathBuf,
    /// MongoDB to use, a replica set or a sharded cluster [default: a local mongod under the data directory]
    #[arg(long, value_name = "URI", env = "STREAMPULSE_MONGODB_URI", hide_env_values = true)]
    pub mongodb_uri: Option<Secret>,
    /// Port of the local mongod [default: any that is free]
    #[arg(long, value_name = "PORT", conflicts_with = "mongodb_uri")]
    pub mongod_port: Option<u16>,
    /// Database to use [default: streampulse]
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// How long MongoDB may take to answer at the start, e.g. 10s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub wait_for_mongodb: std::time::Duration,
}

/// Where lines come from.
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// Read log lines (NDJSON) from a file, or from standard input with -, instead of making them
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// End after this many synthetic lines
    #[arg(long, value_name = "N", conflicts_with = "file")]
    pub events: Option<u64>,
    /// Synthetic lines a second [default: 1]; with --start, the mean over a week
    #[arg(long, value_name = "N", conflicts_with = "file", value_parser = rate)]
    pub rate: Option<f64>,
    /// Seed of the synthetic traffic [default: from the clock]
    #[arg(long, value_name = "S", conflicts_with = "file")]
    pub seed: Option<u64>,
    /// Begin in the past, at full speed until the present is reached (RFC 3339, e.g. 2026-11-01T00:00:00Z)
    #[arg(long, value_name = "T", conflicts_with = "file", value_parser = time)]
    pub start: Option<DateTime<Utc>>,
    /// An incident in the synthetic traffic: KIND@TIME/DURATION[*INTENSITY][:COUNTRY], e.g. bot@+1m/2m*4,
    /// outage@2026-11-22T20:00:00Z/10m:BR; kinds are bot, viral, outage and drop; can be given several times
    #[arg(long, value_name = "SPEC", conflicts_with = "file")]
    pub incident: Vec<String>,
    /// So many incidents at random times, within 24 hours or, with --start, between it and now
    #[arg(long, value_name = "N", conflicts_with = "file", default_value_t = 0)]
    pub random_incidents: u32,
    /// Write the incidents' labels (NDJSON) to a file
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub labels: Option<PathBuf>,
    /// Share of synthetic lines that are no events, 0 to 1
    #[arg(long, value_name = "SHARE", conflicts_with = "file", default_value_t = 0.002, value_parser = share)]
    pub malformed: f64,
    /// End after this time, e.g. 60s
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub for_time: Option<std::time::Duration>,
}

/// `up`.
#[derive(Args, Debug)]
pub struct UpArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    /// End once everything read is committed in MongoDB; needs an end: --file, --events or --for
    #[arg(long)]
    pub until_drained: bool,
    /// Run on a Fluvio cluster instead of the embedded runtime
    #[arg(long)]
    pub cluster: bool,
    #[command(flatten)]
    pub which_cluster: ClusterArgs,
    /// Accesses a minute over the whole platform above which a minute alerts [default: as in the pipeline
    /// file]
    #[arg(long, value_name = "N")]
    pub limit_per_minute: Option<u64>,
    /// Serve the live page too
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = PAGE_ADDRESS)]
    pub serve: Option<std::net::SocketAddr>,
    #[command(flatten)]
    pub monitor: MonitorArgs,
    /// How to print the summary at the end
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub summary: Format,
}

/// How a process tells of itself.
#[derive(Args, Debug)]
pub struct MonitorArgs {
    /// Tell of the process over HTTP: /metrics for Prometheus, /healthz and /readyz; the live page's address
    /// has them too
    #[arg(
        long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = METRICS_ADDRESS,
        env = "STREAMPULSE_METRICS"
    )]
    pub metrics: Option<std::net::SocketAddr>,
}

/// `produce`.
#[derive(Args, Debug)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub source: SourceArgs,
    /// Where to put lines: the data directory's embedded topics, which no other process may use meanwhile,
    /// or a cluster, which needs the pipeline's MongoDB to know how far files were read
    #[command(flatten)]
    pub store: StoreArgs,
    /// Put lines into a Fluvio cluster instead of an embedded topic
    #[arg(long)]
    pub cluster: bool,
    #[command(flatten)]
    pub which_cluster: ClusterArgs,
    /// Print the lines instead of putting them into the topic
    #[arg(long, conflicts_with = "cluster")]
    pub print: bool,
    /// Go on with the lines that are appended to --file, until Ctrl-C
    #[arg(long, requires = "file")]
    pub follow: bool,
}

/// `deploy`.
#[derive(Args, Debug)]
pub struct DeployArgs {
    /// Pipeline file [default: fluvio.toml in the current folder, if there is one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(flatten)]
    pub which_cluster: ClusterArgs,
    /// Show what is to be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `connector`.
#[derive(Args, Debug)]
pub struct ConnectorArgs {
    /// The connector's configuration (YAML, as Fluvio's connectors have it)
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Secrets, one KEY=VALUE a line [default: the environment]
    #[arg(long, value_name = "FILE")]
    pub secrets: Option<PathBuf>,
    #[command(flatten)]
    pub monitor: MonitorArgs,
}

/// `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Begin of the period, inclusive (RFC 3339) [default: the first access]
    #[arg(long, value_name = "T", value_parser = time)]
    pub from: Option<DateTime<Utc>>,
    /// End of the period, exclusive (RFC 3339) [default: the last access]
    #[arg(long, value_name = "T", value_parser = time)]
    pub to: Option<DateTime<Utc>>,
    /// Time zone of hours and weekdays, e.g. America/Sao_Paulo
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: chrono_tz::Tz,
    /// Language
    #[arg(long, value_name = "LANG", default_value = "en")]
    pub lang: Lang,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
    /// How many of each list
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Content types by city too
    #[arg(long)]
    pub cities: bool,
    /// Only this country (ISO 3166-1 alpha-2) in the content answers
    #[arg(long, value_name = "CC")]
    pub country: Option<String>,
}

/// `detect`.
#[derive(Args, Debug)]
pub struct DetectArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Score the series in this file, or in standard input with -, instead of the rollups
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "limit_per_minute", "false_alerts_per_week"])]
    pub csv: Option<PathBuf>,
    /// Begin of the period, inclusive (RFC 3339) [default: the first access]
    #[arg(long, value_name = "T", value_parser = time)]
    pub from: Option<DateTime<Utc>>,
    /// End of the period, exclusive (RFC 3339) [default: the last access]
    #[arg(long, value_name = "T", value_parser = time)]
    pub to: Option<DateTime<Utc>>,
    /// Accesses a minute over the whole platform above which a minute alerts [default: as in the pipeline
    /// file]
    #[arg(long, value_name = "N")]
    pub limit_per_minute: Option<u64>,
    /// How many false alerts a week are accepted [default: as in the pipeline file]
    #[arg(long, value_name = "N")]
    pub false_alerts_per_week: Option<f64>,
    /// Format; json is one document a line
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// `serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Where to listen; the page has no password, so other addresses than this machine's are for you to guard
    #[arg(long, value_name = "ADDRESS", default_value = PAGE_ADDRESS)]
    pub listen: std::net::SocketAddr,
    /// How far back the answers reach unless another period is chosen on the page
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = page_period)]
    pub last: std::time::Duration,
    /// Time zone of hours and weekdays, e.g. America/Sao_Paulo
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: chrono_tz::Tz,
    /// Language
    #[arg(long, value_name = "LANG", default_value = "en")]
    pub lang: Lang,
}

/// `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Ask a Fluvio cluster how far its topics reach now, instead of believing the last signs of life
    #[arg(long)]
    pub cluster: bool,
    #[command(flatten)]
    pub which_cluster: ClusterArgs,
    /// Format
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How to print a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people, in a terminal.
    Text,
    /// For programs.
    Json,
    /// One file with charts, to open in a browser or to pass on.
    Html,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let millis = producer::incident::parse_duration_ms(text).map_err(|error| error.to_string())?;
    u64::try_from(millis)
        .map(std::time::Duration::from_millis)
        .map_err(|_| "a time is not negative".to_owned())
}

fn page_period(text: &str) -> Result<std::time::Duration, String> {
    const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);
    match duration(text)? {
        last if last >= DAY / 1_440 && last <= DAY * 3_660 => Ok(last),
        _ => Err("must be one minute to ten years".to_owned()),
    }
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let time = DateTime::parse_from_rfc3339(text).map(|time| time.to_utc());
    time.map_err(|error| format!("{error}; a time looks like 2026-11-22T10:00:00Z"))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e6 => Ok(rate),
        _ => Err("must be above 0 and at most 1000000".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("must be 0 to 1".to_owned()),
    }
}
