//! What a cluster must have before a pipeline can run on it, and what differs: topics and SmartModules.
//! SmartModules are compared by their [`ModuleMark`]s.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use fluvio::FluvioAdmin;
use fluvio::metadata::smartmodule::{SmartModuleSpec, SmartModuleWasm};
use fluvio::metadata::topic::{
    AddPartition, CleanupPolicy, CompressionAlgorithm, SegmentBasedPolicy, TopicSpec as FluvioTopicSpec,
    TopicStorageConfig, UpdateTopicAction,
};

use super::Address;
use super::connection::Connection;
use crate::mark::ModuleMark;
use crate::{Compression, Storage, TopicSpec};

/// What to do when a topic does not come online.
const NOT_ONLINE: &str = "the cluster did not take it. Are its SPUs up (`fluvio cluster spu list`)? A topic that is \
                          created right after one of its name was deleted can stay offline: delete it again, \
                          wait some seconds, and start again";
/// How long SPUs may take to hear of a new SmartModule: it is only told once to those who are connected.
const SPREAD: Duration = Duration::from_millis(1_500);
/// Fluvio's own default sizes, where a topic says nothing.
const SEGMENT_BYTES_UNSAID: u32 = 1 << 30;
const PARTITION_BYTES_UNSAID: u64 = 100 << 30;

/// What a pipeline needs of a cluster.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Topics.
    pub topics: Vec<TopicSpec>,
    /// SmartModules: name and code.
    pub modules: Vec<(String, Arc<[u8]>)>,
}

/// One thing that a pipeline needs, and what is to be done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which thing.
    pub what: String,
    /// What is to be done.
    pub change: Change,
}

/// What is to be done about a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing, it is as it should be.
    Keep,
    /// It is not there; how it will be.
    Create(String),
    /// It is replaced or extended; from what to what.
    Upgrade(String),
    /// It is another than is asked for, and deploying cannot change it; what differs and what to do.
    Differs(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = &self.what;
        match &self.change {
            Change::Keep => write!(f, "keep     {what}"),
            Change::Create(how) => write!(f, "create   {what}: {how}"),
            Change::Upgrade(how) => write!(f, "upgrade  {what}: {how}"),
            Change::Differs(how) => write!(f, "differs  {what}: {how}"),
        }
    }
}

impl Step {
    /// Whether deploying does something.
    pub fn is_due(&self) -> bool {
        matches!(self.change, Change::Create(_) | Change::Upgrade(_))
    }
}

/// Changes what a cluster has.
pub struct Admin {
    connection: Arc<Connection>,
}

impl Admin {
    /// Reaches a cluster.
    ///
    /// # Errors
    /// When there is no such profile, or the SC does not answer.
    pub async fn connect(address: &Address) -> Result<Self> {
        Ok(Self { connection: super::connect(address).await? })
    }

    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }

    /// Address of the SC.
    pub fn endpoint(&self) -> &str {
        self.connection.endpoint()
    }

    /// What has to be done for `needs`, in order.
    ///
    /// # Errors
    /// When the SC does not answer.
    pub async fn plan(&self, needs: &Needs) -> Result<Vec<Step>> {
        let admin = self.connection.admin().await?;
        let topics = admin.all::<FluvioTopicSpec>().await.context("cannot list topics")?;
        let modules = admin.all::<SmartModuleSpec>().await.context("cannot list SmartModules")?;
        let mut steps = Vec::new();
        for (name, wasm) in &needs.modules {
            let loaded = modules.iter().find(|module| module.name == *name);
            let loaded = loaded.map(|module| module.spec.wasm.as_raw_wasm()).transpose();
            let loaded =
                loaded.with_context(|| format!("the SmartModule {name} of the cluster is damaged"))?;
            steps.push(module_step(name, wasm, loaded.as_deref())?);
        }
        for spec in &needs.topics {
            let found = topics.iter().find(|topic| topic.name == spec.name).map(|topic| &topic.spec);
            steps.push(topic_step(spec, found));
        }
        Ok(steps)
    }

    /// Does what `steps` say for `needs`; what differs stays.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn apply(&self, needs: &Needs, steps: &[Step]) -> Result<()> {
        let admin = self.connection.admin().await?;
        let mut loaded = false;
        for step in steps.iter().filter(|step| step.is_due()) {
            let done = self.apply_step(&admin, needs, step).await;
            loaded |= done.with_context(|| format!("cannot deploy the {}", step.what))?;
        }
        if loaded {
            tokio::time::sleep(SPREAD).await;
        }
        Ok(())
    }

    /// Says whether a SmartModule was loaded.
    async fn apply_step(&self, admin: &FluvioAdmin, needs: &Needs, step: &Step) -> Result<bool> {
        if let Some((name, wasm)) = needs.modules.iter().find(|(name, _)| module_title(name) == step.what) {
            let wasm = SmartModuleWasm::from_raw_wasm_bytes(wasm)?;
            admin.create(name.clone(), false, SmartModuleSpec { wasm, ..Default::default() }).await?;
            return Ok(true);
        }
        let spec = needs.topics.iter().find(|spec| topic_title(&spec.name) == step.what);
        let spec = spec.context("nobody asked for it")?;
        match &step.change {
            Change::Create(_) => {
                admin.create(spec.name.clone(), false, fluvio_spec(spec)).await.context(NOT_ONLINE)?;
            }
            _ => {
                let topics = admin.all::<FluvioTopicSpec>().await?;
                let found = topics.iter().find(|topic| topic.name == spec.name).context("it is gone")?;
                let count = spec.partitions.saturating_sub(found.spec.replicas().partitions());
                let add = UpdateTopicAction::AddPartition(AddPartition { count });
                admin.update::<FluvioTopicSpec>(spec.name.clone(), add).await?;
            }
        }
        Ok(false)
    }

    /// Checks that the cluster's SmartModules of these names were built from the same code as this program.
    ///
    /// # Errors
    /// Says which one is missing or another.
    pub async fn check_modules(&self, names: &[&str]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let admin = self.connection.admin().await?;
        let modules = admin.all::<SmartModuleSpec>().await.context("cannot list SmartModules")?;
        for name in names {
            let loaded = modules.iter().find(|module| module.name == *name);
            let loaded = loaded.with_context(|| {
                format!("the cluster has no SmartModule {name}; run `streampulse deploy`")
            })?;
            let ours = ModuleMark::of_this_build(name);
            let theirs = ModuleMark::read(&loaded.spec.wasm.as_raw_wasm()?);
            let shown = theirs.as_ref().map_or_else(|| "not of this project".to_owned(), ToString::to_string);
            ensure!(
                theirs.as_ref() == Some(&ours),
                "the cluster's SmartModule {name} is {shown}, this program needs {ours}; run `streampulse deploy`"
            );
        }
        Ok(())
    }

    /// Number of partitions of a topic, and how it is kept, if it is there.
    pub(super) async fn find_topic(&self, name: &str) -> Result<Option<(u32, Storage)>> {
        let admin = self.connection.admin().await?;
        let topics = admin.all::<FluvioTopicSpec>().await.context("cannot list topics")?;
        let found = topics.iter().find(|topic| topic.name == name);
        Ok(found.map(|found| (found.spec.replicas().partitions(), storage(&found.spec))))
    }

    /// Creates a topic that is not there. Gives its number of partitions.
    pub(super) async fn ensure_topic(&self, spec: &TopicSpec) -> Result<u32> {
        let admin = self.connection.admin().await?;
        for _ in 0..2 {
            let topics = admin.all::<FluvioTopicSpec>().await.context("cannot list topics")?;
            if let Some(found) = topics.iter().find(|topic| topic.name == spec.name) {
                return Ok(found.spec.replicas().partitions());
            }
            let created = admin.create(spec.name.clone(), false, fluvio_spec(spec)).await;
            if let Err(error) = created {
                // Another process may have been first; then the next look finds it.
                tracing::debug!("cannot create the topic {}: {error:#}", spec.name);
            }
        }
        Err(anyhow!("the cluster does not create the topic {}", spec.name))
    }
}

fn module_title(name: &str) -> String {
    format!("SmartModule {name}")
}

fn topic_title(name: &str) -> String {
    format!("topic {name}")
}

fn module_step(name: &str, wasm: &[u8], loaded: Option<&[u8]>) -> Result<Step> {
    let ours = ModuleMark::read(wasm)
        .with_context(|| format!("the SmartModule {name} of this program is not marked"))?;
    let change = match loaded.map(ModuleMark::read) {
        None => Change::Create(format!("{ours}, {} KiB", wasm.len() >> 10)),
        Some(Some(theirs)) if theirs == ours => Change::Keep,
        Some(Some(theirs)) => Change::Upgrade(format!("{theirs} becomes {ours}")),
        Some(None) => Change::Upgrade(format!("what is loaded is not of this project; it becomes {ours}")),
    };
    Ok(Step { what: module_title(name), change })
}

fn topic_step(spec: &TopicSpec, found: Option<&FluvioTopicSpec>) -> Step {
    let what = topic_title(&spec.name);
    let Some(found) = found else {
        return Step { what, change: Change::Create(describe(spec.partitions, &spec.storage)) };
    };
    let partitions = found.replicas().partitions();
    let mut differences = differences(&spec.storage, found);
    if partitions > spec.partitions {
        differences.push(format!(
            "it has {partitions} partitions, the configuration says {}; partitions are never removed: say \
             partitions = {partitions}",
            spec.partitions
        ));
    }
    let change = if !differences.is_empty() {
        Change::Differs(differences.join("; "))
    } else if partitions < spec.partitions {
        Change::Upgrade(format!("{partitions} partitions become {}", spec.partitions))
    } else {
        Change::Keep
    };
    Step { what, change }
}

/// How a cluster keeps a topic.
fn storage(found: &FluvioTopicSpec) -> Storage {
    let sizes = found.get_storage();
    Storage {
        replication: found.replicas().replication_factor().unwrap_or(1),
        retention_s: found.retention_secs(),
        segment_bytes: sizes.and_then(|sizes| sizes.segment_size).unwrap_or(SEGMENT_BYTES_UNSAID),
        partition_bytes_max: sizes
            .and_then(|sizes| sizes.max_partition_size)
            .unwrap_or(PARTITION_BYTES_UNSAID),
        compression: match found.get_compression_type() {
            CompressionAlgorithm::Any => Compression::Any,
            CompressionAlgorithm::None => Compression::None,
            CompressionAlgorithm::Gzip => Compression::Gzip,
            CompressionAlgorithm::Snappy => Compression::Snappy,
            CompressionAlgorithm::Lz4 => Compression::Lz4,
            CompressionAlgorithm::Zstd => Compression::Zstd,
        },
    }
}

/// What a topic's storage is and should not be. Fluvio changes none of it while the topic is there.
fn differences(wanted: &Storage, found: &FluvioTopicSpec) -> Vec<String> {
    let is = storage(found);
    let mut all = Vec::new();
    let mut compare = |name: &str, found: String, wanted: String| {
        if found != wanted {
            all.push(format!("its {name} is {found}, the configuration says {wanted}"));
        }
    };
    compare("replication", is.replication.to_string(), wanted.replication.to_string());
    compare("retention_s", is.retention_s.to_string(), wanted.retention_s.to_string());
    compare("segment_bytes", is.segment_bytes.to_string(), wanted.segment_bytes.to_string());
    compare(
        "partition_bytes_max",
        is.partition_bytes_max.to_string(),
        wanted.partition_bytes_max.to_string(),
    );
    compare("compression", is.compression.to_string(), wanted.compression.to_string());
    if let Some(last) = all.last_mut() {
        last.push_str(
            " (Fluvio changes this only by deleting the topic; change the configuration, or delete the topic \
             once everything in it is stored)",
        );
    }
    if found.get_deduplication().is_some() {
        all.push(
            "it deduplicates, which stores wrong offsets; create it anew without deduplication".to_owned(),
        );
    }
    all
}

fn describe(partitions: u32, storage: &Storage) -> String {
    let Storage { replication, retention_s, segment_bytes, partition_bytes_max, compression } = storage;
    format!(
        "partitions {partitions}, replication {replication}, retention {retention_s} s, segments of {} MiB, at \
         most {} MiB a partition, compression {compression}",
        segment_bytes >> 20,
        partition_bytes_max >> 20
    )
}

fn fluvio_spec(spec: &TopicSpec) -> FluvioTopicSpec {
    let Storage { replication, retention_s, segment_bytes, partition_bytes_max, compression } = spec.storage;
    let mut topic = FluvioTopicSpec::new_computed(spec.partitions, replication, None);
    topic.set_cleanup_policy(CleanupPolicy::Segment(SegmentBasedPolicy { time_in_seconds: retention_s }));
    topic.set_storage(TopicStorageConfig {
        segment_size: Some(segment_bytes),
        max_partition_size: Some(partition_bytes_max),
    });
    topic.set_compression_type(algorithm(compression));
    topic
}

fn algorithm(compression: Compression) -> CompressionAlgorithm {
    match compression {
        Compression::Any => CompressionAlgorithm::Any,
        Compression::None => CompressionAlgorithm::None,
        Compression::Gzip => CompressionAlgorithm::Gzip,
        Compression::Snappy => CompressionAlgorithm::Snappy,
        Compression::Lz4 => CompressionAlgorithm::Lz4,
        Compression::Zstd => CompressionAlgorithm::Zstd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writers;

    /// A module with nothing but marks.
    fn module(name: &str, code_hash: u64) -> Vec<u8> {
        let mut wasm = b"\0asm\x01\0\0\0".to_vec();
        let mut section = |key: &str, data: &[u8]| {
            let size = 1 + key.len() + data.len();
            wasm.extend([0, u8::try_from(size).expect("a small section")]);
            wasm.push(u8::try_from(key.len()).expect("a short key"));
            wasm.extend(key.as_bytes());
            wasm.extend(data);
        };
        section("streampulse.module", name.as_bytes());
        section("streampulse.code_hash", &code_hash.to_le_bytes());
        wasm
    }

    #[test]
    fn modules_are_compared_by_their_marks() {
        let ours = module("a", 1);
        let change = |loaded: Option<&[u8]>| module_step("a", &ours, loaded).expect("marked").to_string();
        assert_eq!(change(None), "create   SmartModule a: a of code 0000000000000001, 0 KiB");
        assert_eq!(change(Some(&module("a", 1))), "keep     SmartModule a");
        assert_eq!(
            change(Some(&module("b", 2))),
            "upgrade  SmartModule a: b of code 0000000000000002 becomes a of code 0000000000000001"
        );
        assert!(change(Some(b"\0asm\x01\0\0\0")).contains("not of this project"));
        assert!(change(Some(b"no module")).contains("not of this project"));
    }

    #[test]
    fn a_topic_is_kept_extended_or_said_to_differ() {
        let spec = |partitions, retention_s| TopicSpec {
            name: "t".to_owned(),
            partitions,
            bytes_max: 0,
            writers: Writers::One,
            storage: Storage { retention_s, ..Storage::default() },
        };
        let step =
            |wanted: &TopicSpec, found: &TopicSpec| topic_step(wanted, Some(&fluvio_spec(found))).to_string();
        assert_eq!(step(&spec(2, 60), &spec(2, 60)), "keep     topic t");
        assert_eq!(step(&spec(3, 60), &spec(2, 60)), "upgrade  topic t: 2 partitions become 3");
        assert!(step(&spec(1, 60), &spec(2, 60)).contains("say partitions = 2"));
        assert!(
            step(&spec(2, 60), &spec(2, 70)).contains("its retention_s is 70, the configuration says 60")
        );
        let bare = FluvioTopicSpec::new_computed(2, 1, None);
        let differs = topic_step(&spec(2, 604_800), Some(&bare)).to_string();
        assert!(differs.contains("its segment_bytes is 1073741824"), "{differs}");
    }
}
