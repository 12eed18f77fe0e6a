//! The watches over the whole platform and each of its slices. What the total does is not told again by the
//! slices that carry it: their incidents name the one that explains them.

use std::collections::{BTreeMap, BTreeSet};

use super::incident::{Change, Incident};
use super::watch::{Watch, evidence_min};
use crate::anomaly::bytes::{Reader, Writer};

/// Most slices that are watched; what is beyond is in the total alone.
/// The countries there are and two vocabularies make far fewer; so many have a state below the 16 MB of one
/// document in MongoDB.
pub const SLICES_MAX: usize = 10_000;
/// False alerts a week, of all slices together, that the evidence needed is computed from where nothing else
/// is configured.
pub const FALSE_ALERTS_PER_WEEK: f64 = 0.5;
/// A slice below this share of the total is small: what it does is noise to most, so that it takes more
/// evidence, in nats, to be told of it.
const SMALL_SHARE: f64 = 0.025;
const SMALL_EVIDENCE: f64 = 3.0;
/// Share of a deviation from which on that of another slice explains it.
const CARRIES_ALONE: f64 = 0.7;

/// A part of the traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slice {
    /// All of it.
    Total,
    /// ISO 3166-1 alpha-2.
    Country([u8; 2]),
    /// A device.
    Device(String),
    /// A content type.
    ContentType(String),
}

/// What a minute changed about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Where.
    pub slice: Slice,
    /// The incident as it stands.
    pub incident: Incident,
    /// What changed.
    pub change: Change,
    /// The slice whose incident explains this one; only what nothing explains is news.
    pub explained_by: Option<Slice>,
}

/// What a minute brings.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What it changed about incidents.
    pub alerts: Vec<Alert>,
    /// By how much each slice is off what was expected of it.
    pub deviations: BTreeMap<Slice, f64>,
}

/// The watches.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Platform {
    watches: BTreeMap<Slice, Watched>,
}

#[derive(Clone, Debug, PartialEq, Default)]
struct Watched {
    watch: Watch,
    explained_by: Option<Slice>,
}

impl Platform {
    /// Takes in a closed minute. Slices that are known and not in `counts` had no accesses.
    /// `false_alerts_per_week` of all slices together are accepted.
    pub fn minute(
        &mut self,
        ts_ms: i64,
        counts: &BTreeMap<Slice, u64>,
        false_alerts_per_week: f64,
    ) -> Judged {
        for slice in counts.keys() {
            if self.watches.len() < SLICES_MAX && !self.watches.contains_key(slice) {
                self.watches.insert(slice.clone(), Watched::default());
            }
        }
        let limit = evidence_min(self.watches.len(), false_alerts_per_week);
        let (mut changes, mut deviations) = (Vec::new(), BTreeMap::new());
        let is_open = |slice: &Slice| self.watch(slice).is_some_and(|watch| watch.sudden().open().is_some());
        let total_mean = self.watch(&Slice::Total).map_or(0.0, Watch::mean);
        let total_open = is_open(&Slice::Total);
        let country_open =
            self.watches.keys().any(|slice| matches!(slice, Slice::Country(_)) && is_open(slice));
        for (slice, watched) in &mut self.watches {
            let is_disturbed = match slice {
                Slice::Total => false,
                Slice::Country(_) => total_open,
                Slice::Device(_) | Slice::ContentType(_) => total_open || country_open,
            };
            let count = counts.get(slice).copied().unwrap_or(0);
            let mean = watched.watch.mean();
            let limit = if mean < SMALL_SHARE * total_mean { limit + SMALL_EVIDENCE } else { limit };
            let judgement = watched.watch.minute(ts_ms, count, limit, is_disturbed);
            deviations.insert(slice.clone(), count as f64 - judgement.expected);
            for (change, tracker) in
                [(judgement.sudden, watched.watch.sudden()), (judgement.season, watched.watch.season())]
            {
                if let (Some(change), Some(&incident)) = (change, tracker.last()) {
                    changes.push((slice.clone(), incident, change));
                }
            }
        }
        let alerts = self.explain(changes, &deviations);
        Judged { alerts, deviations }
    }

    /// The watch over a slice.
    pub fn watch(&self, slice: &Slice) -> Option<&Watch> {
        self.watches.get(slice).map(|watched| &watched.watch)
    }

    fn explain(
        &mut self,
        mut changes: Vec<(Slice, Incident, Change)>,
        deviations: &BTreeMap<Slice, f64>,
    ) -> Vec<Alert> {
        // The country that carries the total's deviation alone comes first, then the total.
        let total = deviations.get(&Slice::Total).copied().unwrap_or(0.0);
        let carries =
            |slice: &Slice| matches!(slice, Slice::Country(_)) && deviations[slice] / total >= CARRIES_ALONE;
        changes.sort_by_key(|(slice, ..)| !carries(slice));
        let opens = |change: Change| matches!(change, Change::Opened | Change::Reopened);
        let mut untold: BTreeSet<Slice> =
            changes.iter().filter(|(_, _, change)| opens(*change)).map(|(slice, ..)| slice.clone()).collect();
        let mut alerts = Vec::with_capacity(changes.len());
        for (slice, incident, change) in changes {
            if opens(change) {
                let explained_by = self.explanation(&slice, &incident, &untold, deviations);
                untold.remove(&slice);
                if let Some(watched) = self.watches.get_mut(&slice) {
                    watched.explained_by = explained_by;
                }
            }
            let explained_by = self.watches.get(&slice).and_then(|watched| watched.explained_by.clone());
            alerts.push(Alert { slice, incident, change, explained_by });
        }
        alerts
    }

    /// The slice whose incident, told before and of the same direction, is large enough to explain this one.
    fn explanation(
        &self,
        slice: &Slice,
        incident: &Incident,
        untold: &BTreeSet<Slice>,
        deviations: &BTreeMap<Slice, f64>,
    ) -> Option<Slice> {
        let explains = |other: &&Slice| {
            let Some(Watched { watch, explained_by: None }) = self.watches.get(*other) else { return false };
            let are_countries = matches!((slice, *other), (Slice::Country(_), Slice::Country(_)));
            // Of the same sign where they are of the same direction, now and as a whole.
            let shares = |open: &Incident| {
                [open.mean_deviation() / incident.mean_deviation(), deviations[*other] / deviations[slice]]
            };
            let is_large = |open: &Incident| {
                let [whole, now] = shares(open);
                whole > 0.0 && whole.max(now) >= CARRIES_ALONE
            };
            !are_countries && !untold.contains(other) && watch.open().is_some_and(is_large)
        };
        self.watches.keys().filter(|other| *other != slice).find(explains).cloned()
    }
}

impl Platform {
    /// Appends the bytes to `out`.
    pub(super) fn encode(&self, out: &mut Writer) {
        out.count(self.watches.len());
        for (slice, watched) in &self.watches {
            slice.encode(out.0);
            out.u8(u8::from(watched.explained_by.is_some()));
            if let Some(slice) = &watched.explained_by {
                slice.encode(out.0);
            }
            watched.watch.encode(out);
        }
    }

    /// Reads the bytes that [`Platform::encode`] wrote; `None` when they are cut.
    pub(super) fn decode(bytes: &mut Reader) -> Option<Self> {
        let count = bytes.u32()?.into();
        let watches = bytes.map(count, |bytes| {
            let slice = Slice::decode(bytes)?;
            let explained_by = match bytes.u8()? {
                0 => None,
                _ => Some(Slice::decode(bytes)?),
            };
            Some((slice, Watched { watch: Watch::decode(bytes)?, explained_by }))
        })?;
        (watches.len() <= SLICES_MAX).then_some(Self { watches })
    }
}

impl Slice {
    /// What it is a slice of.
    pub fn dimension(&self) -> &'static str {
        match self {
            Self::Total => "platform",
            Self::Country(_) => "country",
            Self::Device(_) => "device",
            Self::ContentType(_) => "content_type",
        }
    }

    /// Its name in that dimension.
    pub fn name(&self) -> String {
        match self {
            Self::Total => String::new(),
            Self::Country(code) => String::from_utf8_lossy(code).into_owned(),
            Self::Device(name) | Self::ContentType(name) => name.clone(),
        }
    }

    /// As it is written in settings and ids, e.g. `country:BR`.
    pub fn key(&self) -> String {
        match self {
            Self::Total => self.dimension().to_owned(),
            _ => format!("{}:{}", self.dimension(), self.name()),
        }
    }

    /// Reads a [`Slice::key`].
    pub fn parse(key: &str) -> Option<Self> {
        match key.split_once(':') {
            None => (key == "platform").then_some(Self::Total),
            Some(("country", code)) => {
                let is_code = code.bytes().all(|byte| byte.is_ascii_uppercase());
                Some(Self::Country(code.as_bytes().try_into().ok().filter(|_| is_code)?))
            }
            Some(("device", name)) if is_storable(name) => Some(Self::Device(name.to_owned())),
            Some(("content_type", name)) if is_storable(name) => Some(Self::ContentType(name.to_owned())),
            Some(_) => None,
        }
    }

    /// As a sentence says where something is, with a space before it; nothing for the platform.
    pub fn place(&self) -> String {
        match self {
            Self::Total => String::new(),
            Self::Country(_) => format!(" in {}", self.name()),
            Self::Device(name) => format!(" on {name}"),
            Self::ContentType(name) => format!(" of {name}"),
        }
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (tag, name) = match self {
            Self::Total => (0, [].as_slice()),
            Self::Country(code) => (1, code.as_slice()),
            Self::Device(name) => (2, name.as_bytes()),
            Self::ContentType(name) => (3, name.as_bytes()),
        };
        out.push(tag);
        Writer(out).u16(name.len() as u16);
        out.extend_from_slice(name);
    }

    pub(super) fn decode(bytes: &mut Reader) -> Option<Self> {
        let (tag, length) = (bytes.u8()?, bytes.u16()?);
        let name = bytes.take(length.into())?;
        let text = || Some(std::str::from_utf8(name).ok().filter(|name| is_storable(name))?.to_owned());
        match tag {
            0 if name.is_empty() => Some(Self::Total),
            1 if !name.contains(&0) => Some(Self::Country(name.try_into().ok()?)),
            2 => Some(Self::Device(text()?)),
            3 => Some(Self::ContentType(text()?)),
            _ => None,
        }
    }
}

/// Whether a name can be a part of a state, and of a key of a document.
fn is_storable(name: &str) -> bool {
    (1..=usize::from(u16::MAX)).contains(&name.len()) && !name.contains('\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MINUTES: i64 = 1_440;

    fn counts(br: u64, pt: u64) -> BTreeMap<Slice, u64> {
        BTreeMap::from([
            (Slice::Total, br + pt),
            (Slice::Country(*b"BR"), br),
            (Slice::Country(*b"PT"), pt),
            (Slice::Device("tv".to_owned()), (br + pt) / 2),
        ])
    }

    /// A platform that has seen two days.
    fn platform() -> Platform {
        let mut platform = Platform::default();
        for minute in 0..2 * DAY_MINUTES {
            let more = (minute * 7 % 11) as u64;
            let alerts = platform
                .minute(minute * 60_000, &counts(100 + more, 50 + more), FALSE_ALERTS_PER_WEEK)
                .alerts;
            assert_eq!(alerts, [], "minute {minute}");
        }
        platform
    }

    fn next(platform: &mut Platform, br: u64, pt: u64) -> Vec<(Slice, Option<Slice>)> {
        let alerts = platform.minute(2 * DAY_MINUTES * 60_000, &counts(br, pt), FALSE_ALERTS_PER_WEEK).alerts;
        alerts.into_iter().map(|alert| (alert.slice, alert.explained_by)).collect()
    }

    #[test]
    fn what_all_slices_do_is_told_of_the_total() {
        let alerts = next(&mut platform(), 400, 200);
        assert_eq!(alerts[0], (Slice::Total, None));
        assert_eq!(alerts.len(), 4);
        assert!(alerts[1..].iter().all(|(_, explained_by)| *explained_by == Some(Slice::Total)));
    }

    #[test]
    fn what_one_country_does_is_told_of_the_country() {
        let alerts = next(&mut platform(), 500, 55);
        let country = Slice::Country(*b"BR");
        assert_eq!(alerts[0], (country.clone(), None));
        assert!(alerts.len() > 1);
        assert!(alerts[1..].iter().all(|(_, explained_by)| *explained_by == Some(country.clone())));
    }

    #[test]
    fn a_small_incident_that_is_open_hides_no_large_one() {
        let mut platform = platform();
        let mut minute = |n: i64, tablets: u64, br: u64| {
            let mut counts = counts(br, 55);
            counts.insert(Slice::Device("tv".to_owned()), tablets);
            let ts_ms = (2 * DAY_MINUTES + n) * 60_000;
            let alerts = platform.minute(ts_ms, &counts, FALSE_ALERTS_PER_WEEK).alerts;
            alerts.into_iter().map(|alert| (alert.slice, alert.explained_by)).collect::<Vec<_>>()
        };
        let tv = Slice::Device("tv".to_owned());
        assert_eq!(minute(0, 300, 105), [(tv, None)]);
        assert_eq!(minute(1, 300, 1_500)[0], (Slice::Country(*b"BR"), None));
    }

    #[test]
    fn a_slice_that_is_missing_has_no_accesses() {
        let mut platform = platform();
        let mut counts = counts(105, 55);
        counts.remove(&Slice::Country(*b"PT"));
        let alerts = platform.minute(2 * DAY_MINUTES * 60_000, &counts, FALSE_ALERTS_PER_WEEK).alerts;
        assert_eq!(alerts[0].slice, Slice::Country(*b"PT"));
        assert_eq!(alerts[0].incident.kind, super::super::incident::Kind::Outage);
    }

    #[test]
    fn bytes_go_both_ways() {
        let mut platform = platform();
        next(&mut platform, 400, 200);
        let mut bytes = Vec::new();
        platform.encode(&mut Writer(&mut bytes));
        assert_eq!(Platform::decode(&mut Reader(&bytes)), Some(platform));
        let is_refused = |length: usize| Platform::decode(&mut Reader(&bytes[..length])).is_none();
        assert!((0..bytes.len()).step_by(97).all(is_refused));
    }

    #[test]
    fn slices_are_bounded() {
        let mut platform = Platform::default();
        let name = |i: usize| (Slice::Device(i.to_string()), 1);
        platform.minute(0, &(0..SLICES_MAX).map(name).collect(), FALSE_ALERTS_PER_WEEK);
        assert!(platform.watch(&name(SLICES_MAX - 1).0).is_some());
        platform.minute(60_000, &(0..=SLICES_MAX).map(name).collect(), FALSE_ALERTS_PER_WEEK);
        assert!(platform.watch(&name(SLICES_MAX).0).is_none());
    }
}
