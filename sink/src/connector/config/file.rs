//! The shape of the file, key by key, as Fluvio's connector package defines it, plus our own section
//! `mongodb`. Every level refuses unknown keys; what the values mean is checked in the module above.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::Job;
use super::secrets::{SecretRef, Values};

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the configuration of a connector")]
pub(super) struct File {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Option<ApiVersion>,
    pub(super) meta: Meta,
    pub(super) transforms: Option<Vec<Step>>,
    pub(super) mongodb: Section,
}

/// The versions of the format in which a file may have secrets.
#[derive(Clone, Copy, Deserialize)]
pub(super) enum ApiVersion {
    #[serde(rename = "0.1.0")]
    V1,
    #[serde(rename = "0.2.0")]
    V2,
}

/// What Fluvio knows about the connector.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the section `meta`")]
pub(super) struct Meta {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "version")]
    _version: String,
    pub(super) topic: Topic,
    pub(super) consumer: Option<Consumer>,
    pub(super) producer: Option<IgnoredAny>,
    #[serde(rename = "secrets")]
    _secrets: Option<Vec<SecretRef>>,
}

/// `meta.topic`: a name, or in apiVersion 0.2.0 an object.
pub(super) enum Topic {
    Name(String),
    Object(TopicObject),
}

/// `meta.consumer`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "the section `meta.consumer`")]
pub(super) struct Consumer {
    #[serde(default)]
    pub(super) partition: Partitions,
    pub(super) id: Option<IgnoredAny>,
    pub(super) offset: Option<IgnoredAny>,
    #[serde(rename = "max-bytes", alias = "max_bytes")]
    pub(super) bytes_max: Option<IgnoredAny>,
}

/// `meta.consumer.partition`: `all`, a number or a list of numbers.
#[derive(Default)]
pub(super) enum Partitions {
    #[default]
    All,
    Some(Vec<u32>),
}

/// One of `transforms`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `uses`")]
pub(super) struct Step {
    pub(super) uses: String,
    pub(super) lookback: Option<IgnoredAny>,
    #[serde(default)]
    pub(super) with: BTreeMap<String, Param>,
}

/// A value of `with`: text as it is, anything else as compact JSON.
pub(super) struct Param(pub(super) String);

/// Our own section.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the section `mongodb`")]
pub(super) struct Section {
    pub(super) job: Job,
    pub(super) uri: Uri,
    pub(super) database: Option<String>,
    pub(super) rollups_topic: Option<String>,
    pub(super) store_events: Option<bool>,
    pub(super) wait_ms_max: Option<u64>,
    pub(super) endpoint: Option<String>,
    pub(super) profile: Option<String>,
}

/// `mongodb.uri`: text, or `{secret: {name: NAME}}` as in Fluvio's `SecretString`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UriObject {
    String(String),
    Secret(SecretRef),
}

/// See [`UriObject`].
pub(super) struct Uri(UriObject);

/// What `streampulse deploy` creates the topic from; the connector takes only its name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the object `meta.topic`")]
pub(super) struct TopicObject {
    pub(super) meta: TopicMeta,
    #[serde(rename = "version")]
    _version: Option<String>,
    #[serde(rename = "partition")]
    _partition: Option<TopicPartition>,
    #[serde(rename = "retention")]
    _retention: Option<TopicRetention>,
    #[serde(rename = "compression")]
    _compression: Option<TopicCompression>,
    #[serde(rename = "deduplication")]
    _deduplication: Option<Deduplication>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `name`")]
pub(super) struct TopicMeta {
    pub(super) name: String,
}

/// Declares objects of which only the keys are checked here; Fluvio checks the values.
macro_rules! keys {
    ($($object:ident { $($key:literal $field:ident: $value:ty),+ $(,)? })+) => { $(
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object")]
        struct $object { $(#[serde(rename = $key)] $field: Option<$value>),+ }
    )+ };
}

keys! {
    TopicPartition {
        "count" _count: IgnoredAny,
        "max-size" _size_max: IgnoredAny,
        "replication" _replication: IgnoredAny,
        "ignore-rack-assignment" _ignore_racks: IgnoredAny,
        "maps" _maps: Vec<PartitionMap>,
    }
    PartitionMap { "id" _id: IgnoredAny, "replicas" _replicas: IgnoredAny, "mirror" _mirror: IgnoredAny }
    TopicRetention { "time" _time: IgnoredAny, "segment-size" _segment_size: IgnoredAny }
    TopicCompression { "type" _type: IgnoredAny }
    Deduplication { "bounds" _bounds: DeduplicationBounds, "filter" _filter: DeduplicationFilter }
    DeduplicationBounds { "count" _count: IgnoredAny, "age" _age: IgnoredAny }
    DeduplicationFilter { "transform" _transform: DeduplicationTransform }
    DeduplicationTransform { "uses" _uses: IgnoredAny, "with" _with: IgnoredAny }
}

impl Uri {
    /// The connection string.
    ///
    /// # Errors
    /// When it is a secret that `meta.secrets` does not declare.
    pub(super) fn resolve(self, secrets: &Values) -> Result<String> {
        match self.0 {
            UriObject::String(text) => Ok(text),
            UriObject::Secret(SecretRef { name }) => secrets.get(&name).cloned().with_context(|| {
                format!(
                    "mongodb.uri takes the secret {name}; declare it: meta.secrets needs `- name: {name}`"
                )
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;
        impl<'de> Visitor<'de> for Expected {
            type Value = Topic;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a topic, or with apiVersion 0.2.0 an object with `meta: {name: ...}`",
                )
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Topic, E> {
                Ok(Topic::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Topic, A::Error> {
                TopicObject::deserialize(MapAccessDeserializer::new(map)).map(Topic::Object)
            }
        }
        deserializer.deserialize_any(Expected)
    }
}

impl<'de> Deserialize<'de> for Partitions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;
        impl<'de> Visitor<'de> for Expected {
            type Value = Partitions;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, the number of a partition, or a list of such numbers")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Partitions, E> {
                let all = (text == "all").then_some(Partitions::All);
                all.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Partitions, E> {
                let one = u32::try_from(number).map(|partition| Partitions::Some(vec![partition]));
                one.map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Partitions, A::Error> {
                let mut partitions = Vec::new();
                while let Some(partition) = seq.next_element()? {
                    partitions.push(partition);
                }
                Ok(Partitions::Some(partitions))
            }
        }
        deserializer.deserialize_any(Expected)
    }
}

impl<'de> Deserialize<'de> for Param {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(match Value::deserialize(deserializer)? {
            Value::String(text) => text,
            value => value.to_string(),
        }))
    }
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Expected;
        impl<'de> Visitor<'de> for Expected {
            type Value = Uri;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a connection string, or `{secret: {name: ...}}`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Uri, E> {
                Ok(Uri(UriObject::String(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Uri, A::Error> {
                UriObject::deserialize(MapAccessDeserializer::new(map)).map(Uri)
            }
        }
        deserializer.deserialize_any(Expected)
    }
}
