//! Parameters of the SmartModules: what `with:` in a connector's transforms, or `-e` of the fluvio CLI, hands
//! over as text, read into typed settings. An unknown or wrong parameter is an error that lists what is
//! allowed.

use std::collections::BTreeMap;

use crate::anomaly::{FALSE_ALERTS_PER_WEEK, Slice};
use crate::event_id::Source;
use crate::json::{Json, Kind, Name};
use crate::normalize::{FieldNames, Normalizer};
use crate::vocabulary::Vocabulary;
use crate::zones::Zones;

/// Parameters as Fluvio hands them over.
pub type Params = BTreeMap<String, String>;

/// How much later than its event time a line may be stored before it counts as late, in milliseconds.
pub const LATENESS_MS_ALLOWED: i64 = 60_000;

/// How long event time goes on after a minute's end before `access-anomaly` judges it by what it learned, in
/// milliseconds.
pub const JUDGED_LATENESS_MS_ALLOWED: i64 = 15_000;
const JUDGED_LATENESS_MS_MAX: i64 = 3_600_000;

/// Accesses a minute over the whole platform above which a minute alerts, where nothing else is configured.
pub const LIMIT_PER_MINUTE: u64 = 100_000;

/// Most slices that have a limit.
pub const LIMITS_MAX: usize = 100;

/// The parameters that shape an event, each a JSON object.
pub const SHAPING: [&str; 4] = ["fields", "devices", "content_types", "zones"];

/// What `access-filter-map` gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// One JSON record a line, for people.
    Records,
    /// One binary frame a stored batch, for connectors.
    Frame,
}

/// Settings of `access-filter-map`.
#[derive(Clone, Debug)]
pub struct FilterMapSettings {
    /// What comes out.
    pub output: Output,
    /// How a line becomes an event.
    pub normalizer: Normalizer,
    /// Which country's events lie in which zone.
    pub zones: Zones,
    /// Which partition of which topic epoch the stream reads; a SmartModule is not told otherwise.
    pub source: Source,
    /// Hash of everything that shapes an event, so that a sink notices a change of settings.
    pub hash: u64,
}

/// Settings of `access-window-aggregate`.
#[derive(Clone, Copy, Debug)]
pub struct WindowSettings {
    /// See [`LATENESS_MS_ALLOWED`].
    pub lateness_ms_allowed: i64,
}

/// Settings of `access-anomaly`.
#[derive(Clone, Debug, Default)]
pub struct AnomalySettings {
    /// Accesses a minute over the whole platform above which a minute alerts; `None` for no limit.
    pub limit_per_minute: Option<u64>,
    /// The same of slices, at most [`LIMITS_MAX`].
    pub limits: BTreeMap<Slice, u64>,
    /// How many false alerts a week are accepted of what is learned; 0 learns nothing.
    pub false_alerts_per_week: f64,
    /// See [`JUDGED_LATENESS_MS_ALLOWED`].
    pub lateness_ms_allowed: i64,
}

impl FilterMapSettings {
    /// Reads `output`, `fields`, `devices`, `content_types`, `zones`, `epoch` and `partition`.
    ///
    /// # Errors
    /// Says which parameter is unknown or wrong.
    pub fn parse(params: &Params) -> Result<Self, String> {
        known(params, &["output", "fields", "devices", "content_types", "zones", "epoch", "partition"])?;
        let output = match params.get("output").map_or("records", String::as_str) {
            "records" => Output::Records,
            "frame" => Output::Frame,
            other => return Err(format!("output is {other:?}, must be \"records\" or \"frame\"")),
        };
        let fields: BTreeMap<String, String> = json(params, "fields")?;
        let normalizer = Normalizer::new(
            FieldNames::new(&fields)?,
            Vocabulary::devices(&json(params, "devices")?).map_err(|error| format!("devices: {error}"))?,
            Vocabulary::content_types(&json(params, "content_types")?)
                .map_err(|error| format!("content_types: {error}"))?,
        );
        let zones = Zones::new(&json(params, "zones")?).map_err(|error| format!("zones: {error}"))?;
        let (epoch, partition) = (number(params, "epoch", 0)?, number(params, "partition", 0)?);
        let source = Source::new(epoch, partition)
            .ok_or_else(|| format!("epoch {epoch} or partition {partition} is out of range"))?;
        Ok(Self { output, normalizer, zones, source, hash: settings_hash(params) })
    }
}

impl WindowSettings {
    /// Reads `lateness_ms_allowed`.
    ///
    /// # Errors
    /// Says which parameter is unknown or wrong.
    pub fn parse(params: &Params) -> Result<Self, String> {
        known(params, &["lateness_ms_allowed"])?;
        Ok(Self { lateness_ms_allowed: number(params, "lateness_ms_allowed", LATENESS_MS_ALLOWED)? })
    }
}

impl AnomalySettings {
    /// Reads `limit_per_minute`, `limits`, `false_alerts_per_week` and `lateness_ms_allowed`.
    ///
    /// # Errors
    /// Says which parameter is unknown or wrong.
    pub fn parse(params: &Params) -> Result<Self, String> {
        known(params, &["limit_per_minute", "limits", "false_alerts_per_week", "lateness_ms_allowed"])?;
        let limit_per_minute = match params.get("limit_per_minute") {
            Some(_) => Some(number(params, "limit_per_minute", 0)?),
            None => None,
        };
        let named: BTreeMap<String, u64> = json(params, "limits")?;
        let mut limits = BTreeMap::new();
        for (key, limit) in named {
            let slice = Slice::parse(&key).filter(|slice| *slice != Slice::Total).ok_or_else(|| {
                format!("limits: {key:?} is not like \"country:BR\", \"device:tv\" or \"content_type:movie\"")
            })?;
            limits.insert(slice, limit);
        }
        if limits.len() > LIMITS_MAX {
            return Err(format!("limits has {} entries, at most {LIMITS_MAX} are allowed", limits.len()));
        }
        let false_alerts_per_week: f64 = match params.get("false_alerts_per_week").map(|text| text.parse()) {
            None => FALSE_ALERTS_PER_WEEK,
            Some(Ok(rate)) if (0.0..=1_000.0).contains(&rate) => rate,
            Some(_) => return Err("false_alerts_per_week must be 0 to 1000".to_owned()),
        };
        let lateness_ms_allowed = number(params, "lateness_ms_allowed", JUDGED_LATENESS_MS_ALLOWED)?;
        if !(0..=JUDGED_LATENESS_MS_MAX).contains(&lateness_ms_allowed) {
            return Err(format!("lateness_ms_allowed must be 0 to {JUDGED_LATENESS_MS_MAX}"));
        }
        Ok(Self { limit_per_minute, limits, false_alerts_per_week, lateness_ms_allowed })
    }
}

/// Hash of the parameters that shape an event ([`SHAPING`]).
pub fn settings_hash(params: &Params) -> u64 {
    let mut text = String::new();
    for key in SHAPING {
        text.push_str(params.get(key).map_or("", String::as_str));
        text.push('\n');
    }
    crate::hash(text.as_bytes())
}

fn known(params: &Params, allowed: &[&str]) -> Result<(), String> {
    match params.keys().find(|key| !allowed.contains(&key.as_str())) {
        Some(key) => Err(format!("unknown parameter {key:?}; allowed are {}", allowed.join(", "))),
        None => Ok(()),
    }
}

/// A parameter that is JSON, empty where it is not given.
fn json<T: FromJson + Default>(params: &Params, key: &str) -> Result<T, String> {
    let Some(text) = params.get(key) else { return Ok(T::default()) };
    let expected = || format!("{key} is not the JSON expected: {}", T::EXPECTED);
    Json::parse(text.as_bytes()).ok().and_then(T::from_json).ok_or_else(expected)
}

/// What parameters hold.
trait FromJson: Sized {
    /// What to say of anything else.
    const EXPECTED: &str;

    fn from_json(json: Json) -> Option<Self>;
}

impl FromJson for String {
    const EXPECTED: &str = "a text";

    fn from_json(json: Json) -> Option<Self> {
        match json.kind() {
            Kind::Text(text) => Some(text.into_owned()),
            _ => None,
        }
    }
}

impl FromJson for u64 {
    const EXPECTED: &str = "a whole number";

    fn from_json(json: Json) -> Option<Self> {
        match json.kind() {
            Kind::Whole(number) => Self::try_from(number).ok(),
            _ => None,
        }
    }
}

impl FromJson for Vec<String> {
    const EXPECTED: &str = "a list of texts";

    fn from_json(json: Json) -> Option<Self> {
        matches!(json.kind(), Kind::Array).then(|| json.elements().map(String::from_json).collect())?
    }
}

impl<K: std::str::FromStr + Ord, V: FromJson> FromJson for BTreeMap<K, V> {
    const EXPECTED: &str = "an object, whose values are of one kind";

    fn from_json(json: Json) -> Option<Self> {
        let field = |(name, value): (Name, Json)| Some((name.text().parse().ok()?, V::from_json(value)?));
        matches!(json.kind(), Kind::Object).then(|| json.fields().map(field).collect())?
    }
}

fn number<T: std::str::FromStr>(params: &Params, key: &str, default: T) -> Result<T, String> {
    match params.get(key) {
        Some(text) => text.parse().map_err(|_| format!("{key} is {text:?}, must be a whole number")),
        None => Ok(default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(params: &[(&str, &str)], expected: &str) {
        let params = params.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let error = FilterMapSettings::parse(&params).expect_err("a wrong parameter");
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        refused(&[("outputs", "frame")], "unknown parameter \"outputs\"; allowed are output, fields");
        refused(&[("output", "xml")], "must be \"records\" or \"frame\"");
        refused(&[("fields", "[]")], "fields is not the JSON expected");
        refused(&[("fields", r#"{"when": "ts"}"#)], "\"when\"");
        refused(&[("devices", r#"{"Big TV": []}"#)], "devices: \"Big TV\"");
        refused(&[("zones", r#"{"EU": ["DE"]}"#)], "zones is not the JSON expected");
        refused(&[("zones", r#"{"1": ["XX"]}"#)], "zones: \"XX\" is not a country");
        refused(&[("epoch", "-1")], "epoch is \"-1\"");
        refused(&[("partition", "1024")], "out of range");
    }

    #[test]
    fn only_what_shapes_an_event_is_hashed() {
        let hash =
            |key: &str, value: &str| settings_hash(&Params::from([(key.to_owned(), value.to_owned())]));
        assert_eq!(hash("partition", "1"), hash("output", "frame"));
        assert_ne!(hash("devices", "{}"), hash("content_types", "{}"));
        assert_ne!(hash("zones", "{}"), hash("zones", r#"{"1":["DE"]}"#));
    }
}
