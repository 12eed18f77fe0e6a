//! What is learned without configuration, and the alerts that come of it: incidents of the platform and its
//! slices, users with an abnormal rate, and groups of users who make too many accesses.
//!
//! An alert opens once, is written anew with every minute while it lasts, and closes. Its `_id` is made of
//! what happens, where, and the minute it opened, so a replay gives the same alerts.

use std::collections::BTreeMap;

use super::alert::{self, Alert, Entity, Extent, Severity, minute_text};
use super::bots::{BotAlert, Bots, UserMinute};
use super::incident::{Change, Incident, Kind, REOPEN_MINUTES};
use super::open::{Counts, Heavy};
use super::platform::{self, Platform, Slice};
use super::watch::evidence::variance;
use crate::MINUTE_MS;
use crate::anomaly::bytes::{Reader, Writer};

/// Share of a deviation from which on a slice is named as the place of an incident.
const NAMED_SHARE_MIN: f64 = 0.5;
/// An incident that reaches so many minutes is critical.
const CRITICAL_MINUTES: u32 = 30;
/// Times or parts of what is expected from which on an incident of the platform, or of a slice, is critical.
const CRITICAL_FACTOR: f64 = 4.0;
/// Minutes without an abnormal rate that end an attack of single users.
const QUIET_MINUTES: u32 = 5;
/// Most users of one attack.
const ATTACK_USERS_MAX: usize = super::bots::KNOWN_USERS_MAX;
/// Most users that an attack names; all are counted.
const USERS_NAMED_MAX: usize = 20;

/// Everything that is learned.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Learned {
    platform: Platform,
    bots: Bots,
    /// The incidents that were told, until they can no longer be taken up again.
    told: BTreeMap<(Slice, bool), Told>,
    attack: Option<Attack>,
    group: Option<Group>,
}

/// An incident that has an alert.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    opened_at_ms: i64,
    closed_at_ms: Option<i64>,
    /// Minutes since it closed.
    closed_minutes: u32,
    severity: Severity,
    /// The slices that explain most of it, with their shares.
    places: Vec<(Slice, f64)>,
}

/// Users with an abnormal rate.
#[derive(Clone, Debug, PartialEq)]
struct Attack {
    opened_at_ms: i64,
    began_ms: i64,
    /// Each user's greatest rate, by hash of its name.
    users: BTreeMap<u64, (u32, String)>,
    limit: f64,
    peak_ms: i64,
    quiet_minutes: u32,
}

/// A group of users with too many accesses each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Group {
    opened_at_ms: i64,
    began_ms: i64,
    peak_ms: i64,
    per_user: f64,
    usual: f64,
}

impl Learned {
    /// Judges the minute that follows the last one, with what the log's clock says; gives the alerts that it
    /// changes. `false_alerts_per_week` of the slices together are accepted.
    pub fn minute(
        &mut self,
        minute: u32,
        counts: &Counts,
        at_ms: i64,
        false_alerts_per_week: f64,
    ) -> Vec<Alert> {
        let ts_ms = i64::from(minute) * MINUTE_MS;
        let expected = self.platform.watch(&Slice::Total).map_or(0.0, |watch| watch.expected(ts_ms));
        let judged = self.platform.minute(ts_ms, &counts.slices, false_alerts_per_week);
        let mut alerts = Vec::new();
        for change in &judged.alerts {
            alerts.extend(self.follow(change, at_ms));
        }
        alerts.extend(self.write_open(ts_ms, &judged.deviations));
        let heavy: Vec<(u64, u32)> =
            counts.heavy.iter().map(|(&hash, heavy)| (hash, heavy.accesses())).collect();
        let (accesses, users) = (counts.accesses(), counts.users.estimate());
        let found = self.bots.minute(UserMinute { ts_ms, accesses, expected, users, heavy: &heavy });
        alerts.extend(self.follow_attack(&found, counts, ts_ms, at_ms));
        let per_user = accesses as f64 / users.max(1.0);
        alerts.extend(self.follow_group(&found, per_user, ts_ms, at_ms));
        alerts
    }

    /// Opens, takes up again or closes what is told of an incident; gives the alert that closes.
    fn follow(&mut self, change: &platform::Alert, at_ms: i64) -> Option<Alert> {
        let key = (change.slice.clone(), change.incident.kind.is_season());
        match change.change {
            Change::Opened | Change::Reopened => {
                let unchanged = change.change == Change::Reopened;
                if let Some(told) = self.told.get_mut(&key).filter(|_| unchanged) {
                    told.closed_at_ms = None;
                } else if change.explained_by.is_none() {
                    let severity = Severity::Warning;
                    let (closed_at_ms, closed_minutes, places) = (None, 0, Vec::new());
                    let told = Told { opened_at_ms: at_ms, closed_at_ms, closed_minutes, severity, places };
                    self.told.insert(key, told);
                }
                None
            }
            Change::Closed | Change::Adopted => {
                let told = self.told.get_mut(&key).filter(|told| told.closed_at_ms.is_none())?;
                (told.closed_at_ms, told.closed_minutes) = (Some(at_ms), 0);
                Some(told.alert(&change.slice, &change.incident))
            }
        }
    }

    /// The alerts that are open, as the minute leaves them; those closed for long are forgotten.
    fn write_open(&mut self, ts_ms: i64, deviations: &BTreeMap<Slice, f64>) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.told.retain(|_, told| {
            told.closed_minutes = told.closed_minutes.saturating_add(told.closed_at_ms.is_some().into());
            told.closed_minutes <= REOPEN_MINUTES
        });
        for ((slice, is_season), told) in self.told.iter_mut().filter(|(_, told)| told.closed_at_ms.is_none())
        {
            let Some(watch) = self.platform.watch(slice) else { continue };
            let tracker = if *is_season { watch.season() } else { watch.sudden() };
            let Some(incident) = tracker.last() else { continue };
            told.severity = told.severity.max(severity(slice, incident));
            // A season breaks over hours, and its minutes have no place.
            if incident.peak_ms == ts_ms && !*is_season {
                told.places = places(slice, deviations);
            }
            alerts.push(told.alert(slice, incident));
        }
        alerts
    }

    fn follow_attack(
        &mut self,
        found: &[BotAlert],
        counts: &Counts,
        ts_ms: i64,
        at_ms: i64,
    ) -> Option<Alert> {
        for alert in found {
            let BotAlert::Users(users) = alert else { continue };
            let attack = self.attack.get_or_insert_with(|| Attack {
                opened_at_ms: at_ms,
                began_ms: ts_ms,
                users: BTreeMap::new(),
                limit: 0.0,
                peak_ms: ts_ms,
                quiet_minutes: 0,
            });
            for (hash, _, limit) in users.iter().take(ATTACK_USERS_MAX.saturating_sub(attack.users.len())) {
                let Some(heavy) = counts.heavy.get(hash) else { continue };
                attack.users.insert(*hash, (0, heavy.name.clone()));
                attack.limit = attack.limit.max(*limit);
            }
        }
        let attack = self.attack.as_mut()?;
        let peak = attack.peak();
        let mut is_quiet = true;
        for (hash, (most, _)) in &mut attack.users {
            let n = counts.heavy.get(hash).map_or(0, Heavy::accesses);
            is_quiet &= f64::from(n) <= attack.limit;
            *most = n.max(*most);
        }
        if attack.peak() > peak {
            attack.peak_ms = ts_ms;
        }
        attack.quiet_minutes = if is_quiet { attack.quiet_minutes.saturating_add(1) } else { 0 };
        let is_over = attack.quiet_minutes >= QUIET_MINUTES;
        let alert = attack.alert(ts_ms, is_over.then_some(at_ms));
        if is_over {
            self.attack = None;
        }
        Some(alert)
    }

    fn follow_group(&mut self, found: &[BotAlert], per_user: f64, ts_ms: i64, at_ms: i64) -> Option<Alert> {
        for alert in found {
            match alert {
                BotAlert::Group { usual, .. } => {
                    let (began_ms, peak_ms) = (ts_ms, ts_ms);
                    let group = Group { opened_at_ms: at_ms, began_ms, peak_ms, per_user, usual: *usual };
                    self.group = Some(group);
                }
                BotAlert::GroupEnded => {
                    return self.group.take().map(|group| group.alert(ts_ms, Some(at_ms)));
                }
                BotAlert::Users(_) => {}
            }
        }
        let group = self.group.as_mut()?;
        if per_user > group.per_user {
            (group.per_user, group.peak_ms) = (per_user, ts_ms);
        }
        Some(group.alert(ts_ms, None))
    }

    pub fn encode(&self, out: &mut Writer) {
        self.platform.encode(out);
        self.bots.encode(out);
        out.count(self.told.len());
        for ((slice, is_season), told) in &self.told {
            slice.encode(out.0);
            out.u8(u8::from(*is_season) | u8::from(told.severity == Severity::Critical) << 1);
            out.i64(told.opened_at_ms);
            out.option(told.closed_at_ms);
            out.u32(told.closed_minutes);
            out.count(told.places.len());
            for (place, share) in &told.places {
                place.encode(out.0);
                out.f64(*share);
            }
        }
        out.u8(u8::from(self.attack.is_some()));
        if let Some(attack) = &self.attack {
            attack.encode(out);
        }
        out.u8(u8::from(self.group.is_some()));
        if let Some(Group { opened_at_ms, began_ms, peak_ms, per_user, usual }) = self.group {
            [opened_at_ms, began_ms, peak_ms].iter().for_each(|ms| out.i64(*ms));
            [per_user, usual].iter().for_each(|number| out.f64(*number));
        }
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let (platform, bots) = (Platform::decode(bytes)?, Bots::decode(bytes)?);
        let mut learned = Self { platform, bots, ..Self::default() };
        let count = bytes.u32()?.into();
        learned.told = bytes.map(count, |bytes| {
            let (slice, flags) = (Slice::decode(bytes)?, bytes.u8()?);
            let severity = if flags & 2 == 0 { Severity::Warning } else { Severity::Critical };
            let (opened_at_ms, closed_at_ms, closed_minutes) = (bytes.i64()?, bytes.option()?, bytes.u32()?);
            let places = (0..bytes.u32()?).map(|_| Some((Slice::decode(bytes)?, bytes.f64()?)));
            let places = places.collect::<Option<_>>()?;
            let told = Told { opened_at_ms, closed_at_ms, closed_minutes, severity, places };
            Some(((slice, flags & 1 != 0), told))
        })?;
        if bytes.u8()? != 0 {
            learned.attack = Some(Attack::decode(bytes)?);
        }
        if bytes.u8()? != 0 {
            let (opened_at_ms, began_ms, peak_ms) = (bytes.i64()?, bytes.i64()?, bytes.i64()?);
            let (per_user, usual) = (bytes.f64()?, bytes.f64()?);
            learned.group = Some(Group { opened_at_ms, began_ms, peak_ms, per_user, usual });
        }
        Some(learned)
    }
}

/// How much an incident matters by its size, where and how long it is.
fn severity(slice: &Slice, incident: &Incident) -> Severity {
    let times = incident.peak.max(0.5) / incident.peak_expected.max(0.5);
    let is_large = times >= CRITICAL_FACTOR || times <= 1.0 / CRITICAL_FACTOR;
    if incident.minutes >= CRITICAL_MINUTES || *slice == Slice::Total && is_large {
        Severity::Critical
    } else {
        Severity::Warning
    }
}

/// The slice of each other dimension that explains most of what a slice deviates by.
fn places(of: &Slice, deviations: &BTreeMap<Slice, f64>) -> Vec<(Slice, f64)> {
    let total = deviations.get(of).copied().unwrap_or(0.0);
    let mut places: Vec<(Slice, f64)> = Vec::new();
    if total == 0.0 {
        return places;
    }
    let is_other = |slice: &Slice| *slice != Slice::Total && slice.dimension() != of.dimension();
    for (slice, deviation) in deviations.iter().filter(|(slice, _)| is_other(slice)) {
        let share = deviation / total;
        match places.iter_mut().find(|(other, _)| other.dimension() == slice.dimension()) {
            Some(place) if place.1 < share => *place = (slice.clone(), share),
            Some(_) => {}
            None => places.push((slice.clone(), share)),
        }
    }
    places.retain(|(_, share)| *share >= NAMED_SHARE_MIN);
    // Where others fall meanwhile, one may rise by more than the whole.
    places.iter_mut().for_each(|(_, share)| *share = share.min(1.0));
    places
}

impl Told {
    fn alert(&self, slice: &Slice, incident: &Incident) -> Alert {
        let Incident { kind, began_ms, opened_ms, peak_ms, peak, peak_expected, counted, expected, minutes } =
            *incident;
        let group = match (kind.is_season(), kind.is_up()) {
            (true, _) => "season",
            (false, true) => "more",
            (false, false) => "less",
        };
        let id = alert::id(group, &slice.key(), opened_ms);
        let deviations = |counted: f64, expected: f64| (counted - expected).abs() / variance(expected).sqrt();
        // Of a few accesses a minute no single one is unusual.
        let deviations = deviations(peak, peak_expected).max(deviations(counted, expected));
        Alert {
            incident: id.clone(),
            id,
            kind: kind.name(),
            severity: self.severity,
            entity: Entity::Slice(slice.clone()),
            ts_ms: opened_ms,
            observed: peak,
            expected: Some(peak_expected),
            limit: None,
            score: deviations,
            opened_at_ms: self.opened_at_ms,
            closed_at_ms: self.closed_at_ms,
            extent: Some(Extent { since_ms: began_ms, peak_ms, minutes, places: self.places.clone() }),
            text: self.text(slice, incident, deviations),
        }
    }

    fn text(&self, slice: &Slice, incident: &Incident, deviations: f64) -> String {
        let Incident { kind, began_ms, peak_ms, peak, peak_expected, counted, expected, minutes, .. } =
            *incident;
        let place = slice.place();
        let times = peak / peak_expected.max(1.0);
        let mean = |sum: f64| sum / f64::from(minutes.max(1));
        let what = match kind {
            Kind::Surge => format!("{times:.1} times the accesses expected{place}"),
            Kind::Drop => format!("{:.0} % of the accesses expected{place}", 100.0 * times),
            Kind::Outage => format!("Hardly any access{place}"),
            Kind::ShiftUp => format!("More accesses than usual{place} that stay"),
            Kind::ShiftDown => format!("Fewer accesses than usual{place} that stay"),
            Kind::SeasonAbove => format!("More accesses{place} than at this hour of other weeks"),
            Kind::SeasonBelow => format!("Fewer accesses{place} than at this hour of other weeks"),
        };
        let told = match kind {
            Kind::Surge | Kind::Drop | Kind::Outage => {
                format!("{peak:.0} in the minute {}, {} expected", minute_text(peak_ms), few(peak_expected))
            }
            _ => format!("{} a minute, {} expected", few(mean(counted)), few(mean(expected))),
        };
        let named = |(slice, share): &(Slice, f64)| format!("{:.0} % of it{}", 100.0 * share, slice.place());
        let places: Vec<String> = self.places.iter().map(named).collect();
        let places = if places.is_empty() { String::new() } else { format!("; {}", places.join(", ")) };
        let since = minute_text(began_ms);
        format!("{what}: {told} ({deviations:.0} standard deviations); since {since}, {minutes} min{places}")
    }
}

/// A number as people read it: what is small has a decimal.
fn few(number: f64) -> String {
    if number < 9.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

impl Attack {
    fn peak(&self) -> u32 {
        self.users.values().map(|(n, _)| *n).max().unwrap_or(0)
    }

    fn alert(&self, ts_ms: i64, closed_at_ms: Option<i64>) -> Alert {
        let id = alert::id("bot_users", "platform", self.began_ms);
        let mut users: Vec<&(u32, String)> = self.users.values().collect();
        users.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        // Names come from the log and may hold anything.
        let named = |(n, name): &&(u32, String)| format!("{} ({n})", name.escape_debug());
        let mut names: Vec<String> = users.iter().take(USERS_NAMED_MAX).map(named).collect();
        if users.len() > USERS_NAMED_MAX {
            names.push(format!("and {} more", users.len() - USERS_NAMED_MAX));
        }
        let (count, limit, since) = (users.len(), self.limit, minute_text(self.began_ms));
        let subject = if count == 1 { "1 user makes".to_owned() } else { format!("{count} users make") };
        Alert {
            incident: id.clone(),
            id,
            kind: "bot_users",
            severity: if count > 1 { Severity::Critical } else { Severity::Warning },
            entity: Entity::Users(count, users.first().map(|(_, name)| name.clone()).unwrap_or_default()),
            ts_ms: self.began_ms,
            observed: self.peak().into(),
            expected: None,
            limit: Some(limit),
            score: f64::from(self.peak()) / limit.max(1.0),
            opened_at_ms: self.opened_at_ms,
            closed_at_ms,
            extent: Some(extent(self.began_ms, self.peak_ms, ts_ms)),
            text: format!(
                "{subject} more than {limit:.0} accesses a minute, which nobody usual does: {}; since {since}",
                names.join(", ")
            ),
        }
    }

    fn encode(&self, out: &mut Writer) {
        [self.opened_at_ms, self.began_ms, self.peak_ms].iter().for_each(|ms| out.i64(*ms));
        out.f64(self.limit);
        out.u32(self.quiet_minutes);
        out.count(self.users.len());
        for (hash, (n, name)) in &self.users {
            out.u64(*hash);
            out.u32(*n);
            out.bytes(name.as_bytes());
        }
    }

    fn decode(bytes: &mut Reader) -> Option<Self> {
        let (opened_at_ms, began_ms, peak_ms) = (bytes.i64()?, bytes.i64()?, bytes.i64()?);
        let (limit, quiet_minutes) = (bytes.f64()?, bytes.u32()?);
        let count = bytes.u32()?.into();
        let users =
            bytes.map(count, |bytes| Some((bytes.u64()?, (bytes.u32()?, bytes.text()?.to_owned()))))?;
        let attack = Self { opened_at_ms, began_ms, users, limit, peak_ms, quiet_minutes };
        (attack.users.len() <= ATTACK_USERS_MAX).then_some(attack)
    }
}

impl Group {
    fn alert(&self, ts_ms: i64, closed_at_ms: Option<i64>) -> Alert {
        let Self { opened_at_ms, began_ms, peak_ms, per_user, usual } = *self;
        let id = alert::id("bot_group", "platform", began_ms);
        Alert {
            incident: id.clone(),
            id,
            kind: "bot_group",
            severity: Severity::Critical,
            entity: Entity::Group,
            ts_ms: began_ms,
            observed: per_user,
            expected: Some(usual),
            limit: None,
            score: per_user / usual.max(f64::MIN_POSITIVE),
            opened_at_ms,
            closed_at_ms,
            extent: Some(extent(began_ms, peak_ms, ts_ms)),
            text: format!(
                "{per_user:.1} accesses a user in the minute {}, where {usual:.1} are usual: a group of users makes too \
                 many; since {}",
                minute_text(peak_ms),
                minute_text(began_ms)
            ),
        }
    }
}

fn extent(since_ms: i64, peak_ms: i64, ts_ms: i64) -> Extent {
    let minutes = u32::try_from(ts_ms.saturating_sub(since_ms) / MINUTE_MS + 1).unwrap_or(u32::MAX);
    Extent { since_ms, peak_ms, minutes, places: Vec::new() }
}
