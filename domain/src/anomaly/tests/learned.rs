//! What is learned, from frames to alerts: two days of quiet traffic, and what comes after them.

use super::super::*;
use crate::MINUTE_MS;
use crate::bson::{Element, documents, elements};
use crate::event_id::Source;
use crate::params::JUDGED_LATENESS_MS_ALLOWED;
use crate::wire::{Cell, Delta, Header, HeavyUser, PartitionPosition};

/// 2026-05-25 00:00, a Monday.
const START: u32 = 29_661_120;
const QUIET_MINUTES: u32 = 2 * 1_440;
const SETTINGS: AnomalySettings = AnomalySettings {
    limit_per_minute: None,
    limits: BTreeMap::new(),
    false_alerts_per_week: FALSE_ALERTS_PER_WEEK,
    lateness_ms_allowed: JUDGED_LATENESS_MS_ALLOWED,
};

/// A log of one partition that lies a minute behind the clock, and its detector.
#[derive(Clone)]
pub(super) struct Log {
    settings: AnomalySettings,
    /// Every stored batch.
    pub(super) batches: Vec<Vec<Vec<u8>>>,
    pub(super) lines: u64,
    /// The next minute.
    pub(super) minute: u32,
}

/// What a minute holds.
#[derive(Clone, Default)]
pub(super) struct Traffic {
    /// Accesses by country.
    pub(super) countries: Vec<([u8; 2], u32)>,
    pub(super) users: u32,
    pub(super) heavy: Vec<(&'static str, u32)>,
}

pub(super) fn quiet(minute: u32) -> Traffic {
    let more = minute * 7 % 11;
    Traffic { countries: vec![(*b"BR", 100 + more), (*b"PT", 50 + more)], users: 80, heavy: Vec::new() }
}

impl Log {
    fn new(settings: AnomalySettings) -> Self {
        Self { settings, batches: Vec::new(), lines: 0, minute: START }
    }

    /// The next minute and the tick that ends it, as a stored batch.
    pub(super) fn push(&mut self, traffic: &Traffic) {
        let n: u32 = traffic.countries.iter().map(|(_, n)| n).sum();
        let cell = |&(country, n): &([u8; 2], u32)| {
            let counts = vec![(0, 0, n / 2), (1, 0, n - n / 2)];
            Cell { minute: self.minute, zone: 0, country, city: "x".to_owned(), counts }
        };
        let mut users: Vec<u64> = (0..traffic.users).map(|user| crate::hash(&user.to_le_bytes())).collect();
        users.sort_unstable();
        let heavy = |&(name, n): &(&str, u32)| HeavyUser { minute: self.minute, n, user_id: name.to_owned() };
        let delta = Delta {
            devices: vec!["tv".to_owned(), "tablet".to_owned()],
            content_types: vec!["movie".to_owned()],
            cells: traffic.countries.iter().map(cell).collect(),
            users: vec![(self.minute, users)],
            heavy_users: traffic.heavy.iter().map(heavy).collect(),
            event_time_ms: Some(i64::from(self.minute) * MINUTE_MS + MINUTE_MS / 2),
            ..Delta::default()
        };
        let source = Source::new(0, 0).expect("in range");
        let (base_offset, last_offset) = (self.lines, self.lines + u64::from(n.max(1)) - 1);
        let stored_at_ms = i64::from(self.minute + 1) * MINUTE_MS;
        let header = Header { source, base_offset, last_offset, stored_at_ms, ..Header::default() };
        let mut frame = Vec::new();
        DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut frame);
        self.lines = last_offset + 1;
        self.minute += 1;
        let tick = self.tick(i64::from(self.minute) * MINUTE_MS, 1, false);
        self.batches.push(vec![frame, tick]);
    }

    fn tick(&self, wall_ms: i64, behind: u64, end_of_input: bool) -> Vec<u8> {
        let source = Source::new(0, 0).expect("in range");
        let (next_offset, end_offset) = (self.lines, self.lines + behind);
        let positions = vec![PartitionPosition { source, next_offset, end_offset }];
        let mut tick = Vec::new();
        Tick { wall_ms, end_of_input, positions }.encode(&mut tick);
        tick
    }

    /// Minutes without lines, which only the clock tells of.
    fn silence(&mut self, minutes: u32) {
        for _ in 0..minutes {
            self.minute += 1;
            let tick = self.tick(i64::from(self.minute) * MINUTE_MS, 0, false);
            self.batches.push(vec![tick]);
        }
    }

    fn end(&mut self) {
        let tick = self.tick(i64::from(self.minute) * MINUTE_MS, 0, true);
        self.batches.push(vec![tick]);
    }

    /// Runs the batches from one on; gives every output.
    pub(super) fn run(&self, detector: &mut Detector, first: usize) -> Vec<Vec<u8>> {
        let mut offset: u64 = self.batches[..first].iter().map(|batch| batch.len() as u64).sum();
        let run = |batch: &Vec<Vec<u8>>| {
            let output = detector.run(offset, batch.iter().map(Vec::as_slice)).to_vec();
            offset += batch.len() as u64;
            assert_eq!(AlertsFrame::decode(&output).expect("a frame").fault, "");
            output
        };
        self.batches[first..].iter().map(run).collect()
    }

    pub(super) fn detector(&self) -> Detector {
        Detector::new(self.settings.clone(), &[]).expect("fresh")
    }

    /// The alerts as they end: id, kind, severity, status and text.
    fn alerts(&self) -> Vec<[String; 5]> {
        let mut alerts = BTreeMap::new();
        for output in self.run(&mut self.detector(), 0) {
            for document in documents(AlertsFrame::decode(&output).expect("a frame").alerts) {
                let alert = ["_id", "kind", "severity", "status", "text"].map(|key| text(document, key));
                alerts.insert(alert[0].clone(), alert);
            }
        }
        alerts.into_values().collect()
    }
}

fn text(document: &[u8], key: &str) -> String {
    elements(document)
        .find_map(|(found, element)| match element {
            Element::String(text) if found == key => Some(text.to_owned()),
            _ => None,
        })
        .expect("a text")
}

pub(super) fn quiet_days() -> Log {
    let mut log = Log::new(SETTINGS);
    (0..QUIET_MINUTES).for_each(|minute| log.push(&quiet(minute)));
    log
}

pub(super) fn times(factor: u32, traffic: Traffic) -> Traffic {
    let countries = traffic.countries.into_iter().map(|(country, n)| (country, n * factor)).collect();
    Traffic { countries, users: traffic.users * factor, ..traffic }
}

#[test]
fn quiet_traffic_alerts_nothing() {
    let mut log = quiet_days();
    log.end();
    assert_eq!(log.alerts(), [[""; 5]; 0]);
}

#[test]
fn a_surge_opens_once_says_what_and_where_and_closes() {
    let mut log = quiet_days();
    (0..5).for_each(|minute| log.push(&times(3, quiet(minute))));
    (0..20).for_each(|minute| log.push(&quiet(minute)));
    let [[id, kind, severity, status, text]] = log.alerts().try_into().expect("one alert");
    assert_eq!((kind.as_str(), severity.as_str(), status.as_str()), ("surge", "warning", "closed"));
    assert_eq!(id, "more|platform|2026-05-27T00:00Z");
    assert!(
        text.contains("times the accesses expected: ") && text.contains("since 2026-05-27 00:00 UTC"),
        "{text}"
    );
    assert!(text.contains("% of it in BR"), "{text}");
}

#[test]
fn what_one_country_loses_is_told_of_the_country() {
    let mut log = quiet_days();
    let lost = |minute| Traffic { countries: vec![quiet(minute).countries[0], (*b"PT", 0)], ..quiet(minute) };
    (0..10).for_each(|minute| log.push(&lost(minute)));
    let [[_, kind, _, status, text]] = log.alerts().try_into().expect("one alert");
    assert_eq!((kind.as_str(), status.as_str()), ("outage", "open"));
    assert!(text.starts_with("Hardly any access in PT: "), "{text}");
}

#[test]
fn silence_is_an_outage_by_the_clock_and_the_end_of_input_is_none() {
    let mut log = quiet_days();
    log.end();
    assert_eq!(log.alerts(), [[""; 5]; 0], "the end");
    let mut log = quiet_days();
    log.silence(10);
    let [[_, kind, severity, status, _]] = log.alerts().try_into().expect("one alert");
    assert_eq!((kind.as_str(), severity.as_str(), status.as_str()), ("outage", "critical", "open"));
}

#[test]
fn a_user_and_a_group_are_told_by_what_they_do() {
    let mut log = quiet_days();
    let bot = |minute| Traffic { heavy: vec![("bot\u{1b}", 90)], ..quiet(minute) };
    (0..4).for_each(|minute| log.push(&bot(minute)));
    (0..20).for_each(|minute| log.push(&quiet(minute)));
    let [[_, kind, severity, status, text]] = log.alerts().try_into().expect("one alert");
    assert_eq!((kind.as_str(), severity.as_str(), status.as_str()), ("bot_users", "warning", "closed"));
    assert!(
        text.starts_with(r"1 user makes more than 30 accesses a minute") && text.contains(r"bot\u{1b} (90)")
    );

    let mut log = quiet_days();
    let group = |minute| Traffic { users: 85, ..times(3, quiet(minute)) };
    (0..6).for_each(|minute| log.push(&group(minute)));
    let kinds: Vec<String> = log.alerts().into_iter().map(|[_, kind, ..]| kind).collect();
    assert_eq!(kinds, ["bot_group", "surge"]);
}

#[test]
fn a_replay_from_any_state_that_was_handed_out_gives_the_same_bytes() {
    let mut log = quiet_days();
    let bots = |minute| Traffic { heavy: vec![("bot", 500)], users: 85, ..times(4, quiet(minute)) };
    (0..10).for_each(|minute| log.push(&bots(minute)));
    log.silence(5);
    let outputs = log.run(&mut log.detector(), 0);
    let state = |output: &Vec<u8>| AlertsFrame::decode(output).expect("a frame").state.to_vec();
    let mut replays = 0;
    for index in (0..outputs.len()).filter(|index| index % 487 == 0 || *index > outputs.len() - 12) {
        let state = state(&outputs[index]);
        if !state.is_empty() {
            let mut detector = Detector::new(SETTINGS, &state).expect("its own state");
            assert!(log.run(&mut detector, index + 1) == outputs[index + 1..], "from batch {index}");
            assert!(Detector::new(SETTINGS, &state[..state.len() - 1]).is_err());
            replays += 1;
        }
    }
    assert!(replays > 10, "{replays}");
}

#[test]
fn open_minutes_are_bounded_whatever_the_clocks_say() {
    let mut log = quiet_days();
    let mut detector = log.detector();
    log.run(&mut detector, 0);
    let first = log.batches.len();
    for ahead in 1..=2 * OPEN_MINUTES_MAX as u32 {
        let minute = log.minute;
        log.minute += 10 * ahead;
        log.push(&quiet(minute));
        log.minute = minute;
    }
    log.batches.iter_mut().skip(first).for_each(|batch| batch.truncate(1));
    let mut bytes = Vec::new();
    log.run(&mut detector, first);
    detector.state.encode(&mut bytes);
    assert!(bytes.len() < 8 << 20, "{} bytes of state", bytes.len());
    assert!(!detector.state.open.is_full(), "what is too much is judged at once");
}

#[test]
fn a_limit_of_a_slice_alerts_as_that_of_the_platform_does() {
    let limits = BTreeMap::from([(Slice::Country(*b"PT"), 60)]);
    let mut log = Log::new(AnomalySettings { limits, ..AnomalySettings::default() });
    let traffic = |n| Traffic { countries: vec![(*b"BR", 500), (*b"PT", n)], ..Traffic::default() };
    log.push(&traffic(60));
    log.push(&traffic(61));
    log.push(&traffic(121));
    log.end();
    let alerts = log.alerts();
    let told: Vec<_> = alerts.iter().map(|[id, kind, severity, ..]| [id.as_str(), kind, severity]).collect();
    assert_eq!(
        told,
        [
            ["limit|country:PT|2026-05-25T00:01Z", "limit", "warning"],
            ["limit|country:PT|2026-05-25T00:02Z", "limit", "critical"]
        ]
    );
    assert!(
        alerts[0][4]
            .starts_with("61 accesses in PT in the minute 2026-05-25 00:01 UTC, 1.02 times the limit")
    );
}
