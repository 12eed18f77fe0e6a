//! Labelled incidents: what goes wrong (or viral) in the synthetic traffic, when and how strongly.
//! They come from a specification such as `bot@+10m/5m*3:BR` or from a seed, and are written out as labels
//! so that detection can be scored against the truth.

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, SecondsFormat};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::profile::{COUNTRIES, country_index};

/// The longest incident: 30 days.
pub const DURATION_MS_MAX: i64 = 30 * 86_400_000;
/// The strongest bot attack or viral release: this many times the normal rate on top of it.
pub const INTENSITY_MAX: f64 = 1_000.0;

/// What happens; the doc of each kind says what its intensity means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentKind {
    /// Few accounts on one kind of device; intensity is the extra traffic in multiples of the platform's
    /// normal rate. A country says where the bots are.
    BotAttack,
    /// Everybody watches one title; intensity is the extra traffic in multiples of the normal rate,
    /// of the country if there is one.
    ViralRelease,
    /// A country goes silent; intensity is the share (above 0, at most 1) of its traffic that is lost.
    RegionalOutage,
    /// The whole platform falls to a share of its traffic; intensity is the share left (0 to below 1).
    Drop,
}

/// One incident, active from `start_ms` (inclusive) for `duration_ms`.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    pub kind: IncidentKind,
    /// Milliseconds since the epoch.
    pub start_ms: i64,
    pub duration_ms: i64,
    pub intensity: f64,
    /// One of the codes of [`COUNTRIES`]; always there for an outage, never for a drop.
    pub country: Option<&'static str>,
}

impl Incident {
    /// Parses `KIND@TIME/DURATION[*INTENSITY][:COUNTRY]`: KIND is `bot`, `viral`, `outage` or `drop`; TIME is
    /// RFC 3339, or like `+10m` relative to `start_ms`; DURATION is like `90s`, `5m` or `1h30m`.
    ///
    /// # Errors
    /// Says which part of the specification is wrong and what it should look like.
    pub fn parse(spec: &str, start_ms: i64) -> Result<Incident> {
        Incident::parse_parts(spec.trim(), start_ms)
            .with_context(|| format!("incident \"{spec}\" is not KIND@TIME/DURATION[*INTENSITY][:COUNTRY]"))
    }

    /// Draws `count` incidents that do not overlap, spread over `start_ms..end_ms`, of all kinds in turn.
    /// The same arguments give the same incidents; an empty range gives none.
    pub fn random(count: usize, start_ms: i64, end_ms: i64, seed: u64) -> Vec<Incident> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ RANDOM_STREAM);
        let slot_ms = end_ms.saturating_sub(start_ms) / (count.max(1) as i64);
        if slot_ms <= 0 {
            return Vec::new();
        }
        let first_kind = rng.random_range(0..IncidentKind::ALL.len());
        (0..count)
            .map(|slot| {
                let kind = IncidentKind::ALL[(first_kind + slot) % IncidentKind::ALL.len()];
                let (minutes, intensity) = kind.usual();
                let duration_ms = (rng.random_range(minutes) * 60_000).min(slot_ms);
                // Two decimals, so that a label reads like something a person typed.
                let intensity = (rng.random_range(intensity) * 100.0).round() / 100.0;
                let offset_ms = rng.random_range(0..=slot_ms - duration_ms);
                let country = kind.draw_country(&mut rng);
                let start_ms = start_ms + slot as i64 * slot_ms + offset_ms;
                Incident { kind, start_ms, duration_ms, intensity, country }
            })
            .collect()
    }

    /// The first instant after the incident, in milliseconds since the epoch.
    pub fn end_ms(&self) -> i64 {
        self.start_ms.saturating_add(self.duration_ms)
    }

    /// Whether it holds at `now_ms`.
    pub fn is_active(&self, now_ms: i64) -> bool {
        (self.start_ms..self.end_ms()).contains(&now_ms)
    }

    /// Index of its country into [`COUNTRIES`].
    pub fn country_index(&self) -> Option<usize> {
        self.country.and_then(country_index)
    }

    fn parse_parts(spec: &str, start_ms: i64) -> Result<Incident> {
        let (kind, rest) = spec.split_once('@').context("there is no @ after the kind")?;
        let kind = IncidentKind::parse(kind)?;
        // A time holds colons but no slash, so the last slash is the one before the duration.
        let (time, rest) = rest.rsplit_once('/').context("there is no /DURATION after the time")?;
        let (rest, country) = match rest.split_once(':') {
            Some((rest, code)) => (rest, Some(parse_country(code)?)),
            None => (rest, None),
        };
        let (duration, intensity) = match rest.split_once('*') {
            Some((duration, intensity)) => (duration, kind.parse_intensity(intensity)?),
            None => (rest, kind.intensity_default()),
        };
        let duration_ms = parse_duration_ms(duration)?;
        ensure!(duration_ms > 0, "the duration must be longer than zero");
        ensure!(duration_ms <= DURATION_MS_MAX, "the duration must be at most 30d");
        match kind {
            IncidentKind::RegionalOutage => {
                ensure!(country.is_some(), "an outage needs a :COUNTRY")
            }
            IncidentKind::Drop => ensure!(country.is_none(), "a drop is of all countries; use an outage"),
            IncidentKind::BotAttack | IncidentKind::ViralRelease => {}
        }
        let start_ms = parse_time_ms(time, start_ms)?;
        Ok(Incident { kind, start_ms, duration_ms, intensity, country })
    }
}

/// A label: `kind`, `start` and `end` (RFC 3339, UTC), `intensity`, `country` (or null).
impl Serialize for Incident {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut label = serializer.serialize_struct("Incident", 5)?;
        label.serialize_field("kind", self.kind.name())?;
        label.serialize_field("start", &rfc3339(self.start_ms))?;
        label.serialize_field("end", &rfc3339(self.end_ms()))?;
        label.serialize_field("intensity", &self.intensity)?;
        label.serialize_field("country", &self.country)?;
        label.end()
    }
}

impl IncidentKind {
    pub const ALL: [IncidentKind; 4] = [
        IncidentKind::BotAttack,
        IncidentKind::ViralRelease,
        IncidentKind::RegionalOutage,
        IncidentKind::Drop,
    ];

    /// The word used in specifications and labels.
    pub fn name(self) -> &'static str {
        match self {
            IncidentKind::BotAttack => "bot",
            IncidentKind::ViralRelease => "viral",
            IncidentKind::RegionalOutage => "outage",
            IncidentKind::Drop => "drop",
        }
    }

    fn parse(name: &str) -> Result<IncidentKind> {
        IncidentKind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .with_context(|| format!("the kind \"{name}\" is not one of bot, viral, outage, drop"))
    }

    fn intensity_default(self) -> f64 {
        match self {
            IncidentKind::BotAttack => 3.0,
            IncidentKind::ViralRelease => 2.0,
            IncidentKind::RegionalOutage => 1.0,
            IncidentKind::Drop => 0.3,
        }
    }

    fn parse_intensity(self, text: &str) -> Result<f64> {
        let intensity: f64 =
            text.parse().ok().with_context(|| format!("the intensity \"{text}\" is not a number"))?;
        let (allowed, words) = match self {
            IncidentKind::BotAttack | IncidentKind::ViralRelease => {
                (intensity > 0.0 && intensity <= INTENSITY_MAX, "above 0 and at most 1000")
            }
            IncidentKind::RegionalOutage => (intensity > 0.0 && intensity <= 1.0, "above 0 and at most 1"),
            IncidentKind::Drop => ((0.0..1.0).contains(&intensity), "at least 0 and below 1"),
        };
        ensure!(allowed, "the intensity of {} must be {words}, not {text}", self.name());
        Ok(intensity)
    }

    /// Minutes and intensities that random incidents are drawn from.
    fn usual(self) -> (std::ops::RangeInclusive<i64>, std::ops::RangeInclusive<f64>) {
        match self {
            IncidentKind::BotAttack => (5..=30, 1.0..=5.0),
            IncidentKind::ViralRelease => (30..=180, 0.8..=3.0),
            IncidentKind::RegionalOutage => (10..=60, 1.0..=1.0),
            IncidentKind::Drop => (5..=30, 0.1..=0.5),
        }
    }

    fn draw_country(self, rng: &mut ChaCha8Rng) -> Option<&'static str> {
        if self != IncidentKind::RegionalOutage {
            return None;
        }
        // The silence of a small market is lost in the noise, so nobody could be asked to detect it.
        let large = || COUNTRIES.iter().filter(|country| country.weight >= OUTAGE_WEIGHT_MIN);
        large().nth(rng.random_range(0..large().count())).map(|country| country.code)
    }
}

/// Parses a duration of one or more whole numbers with a unit (`ms`, `s`, `m`, `h`, `d`), such as `1h30m`.
///
/// # Errors
/// If there is no number, no unit, an unknown unit, or more than an `i64` of milliseconds holds.
pub fn parse_duration_ms(text: &str) -> Result<i64> {
    let example = || format!("the duration \"{text}\" is not like 90s, 5m or 1h30m");
    ensure!(!text.is_empty(), example());
    let mut rest = text;
    let mut total_ms: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).with_context(example)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => bail!(example()),
        };
        let number: i64 = number.parse().ok().with_context(example)?;
        total_ms =
            number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).with_context(example)?;
        rest = tail;
    }
    Ok(total_ms)
}

/// Keeps the chance of incidents apart from the chance of the traffic under the same seed.
const RANDOM_STREAM: u64 = 0x696e_6369_6465_6e74;
/// Countries below this weight (percent of the traffic) are not drawn for a random outage.
const OUTAGE_WEIGHT_MIN: f64 = 3.0;

fn parse_country(code: &str) -> Result<&'static str> {
    let index = country_index(code).with_context(|| {
        let known: Vec<_> = COUNTRIES.iter().map(|country| country.code).collect();
        format!("the country \"{code}\" is not one of {}", known.join(" "))
    })?;
    Ok(COUNTRIES[index].code)
}

fn parse_time_ms(text: &str, start_ms: i64) -> Result<i64> {
    let wrong = || format!("the time \"{text}\" is neither RFC 3339 nor like +10m after the start");
    if let Some(after) = text.strip_prefix('+') {
        return start_ms.checked_add(parse_duration_ms(after).with_context(wrong)?).with_context(wrong);
    }
    Ok(DateTime::parse_from_rfc3339(text).ok().with_context(wrong)?.timestamp_millis())
}

fn rfc3339(ms: i64) -> Option<String> {
    Some(DateTime::from_timestamp_millis(ms)?.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests;
