//! The detector on small logs.

mod hostile;
mod learned;

use super::*;
use crate::MINUTE_MS;
use crate::bson::{Element, documents, elements};
use crate::event_id::Source;
use crate::wire::{Cell, Delta, Header, PartitionPosition};

const M: u32 = 29_664_725;
/// When the clock of these tests begins.
const LATER_MS: i64 = (M as i64 + 1_000) * MINUTE_MS;

/// A log of frames, each its own stored batch, and the detector that reads it.
struct Log {
    detector: Detector,
    frames: Vec<Vec<u8>>,
    next_offsets: [u64; 2],
}

impl Log {
    fn new(limit: u64) -> Self {
        let settings = AnomalySettings { limit_per_minute: Some(limit), ..AnomalySettings::default() };
        Self {
            detector: Detector::new(settings, &[]).expect("fresh"),
            frames: Vec::new(),
            next_offsets: [0; 2],
        }
    }

    fn run(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let base_offset = self.frames.len() as u64;
        self.frames.push(frame);
        self.detector.run(base_offset, self.frames[base_offset as usize..].iter().map(Vec::as_slice)).to_vec()
    }

    /// `n` accesses in `minute` from one partition.
    fn count(&mut self, partition: usize, minute: u32, n: u32) -> Vec<String> {
        let source = Source::new(0, partition as u32).expect("in range");
        let base_offset = self.next_offsets[partition];
        self.next_offsets[partition] += u64::from(n);
        let last_offset = self.next_offsets[partition] - 1;
        let cell = Cell { minute, zone: 0, country: *b"BR", city: "Rio".to_owned(), counts: vec![(0, 0, n)] };
        let delta = Delta {
            devices: vec!["tv".to_owned()],
            content_types: vec!["movie".to_owned()],
            cells: vec![cell],
            event_time_ms: Some(i64::from(minute) * MINUTE_MS),
            ..Delta::default()
        };
        let header = Header { source, base_offset, last_offset, stored_at_ms: 1, ..Header::default() };
        let mut frame = Vec::new();
        DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut frame);
        alerts(&self.run(frame))
    }

    /// A tick so long after the minutes of these tests, at which the partitions in `behind` have more to read.
    fn tick(&mut self, after_ms: i64, behind: &[usize], end_of_input: bool) -> Vec<u8> {
        let position = |partition: usize| {
            let next_offset = self.next_offsets[partition];
            let end_offset = next_offset + u64::from(behind.contains(&partition));
            let source = Source::new(0, partition as u32).expect("in range");
            PartitionPosition { source, next_offset, end_offset }
        };
        let wall_ms = LATER_MS + after_ms;
        let mut frame = Vec::new();
        Tick { wall_ms, end_of_input, positions: vec![position(0), position(1)] }.encode(&mut frame);
        self.run(frame)
    }
}

/// The alerts of an output: minute relative to `M`, incident, observed, status.
fn alerts(output: &[u8]) -> Vec<String> {
    let frame = AlertsFrame::decode(output).expect("an alerts frame");
    assert_eq!(frame.fault, "");
    documents(frame.alerts)
        .map(|document| {
            let field =
                |key: &str| elements(document).find(|(found, _)| *found == key).map(|(_, element)| element);
            let (Some(Element::Date(ts)), Some(Element::Int64(n))) = (field("ts"), field("observed")) else {
                panic!("no time or count");
            };
            let (Some(Element::String(status)), Some(Element::String(incident))) =
                (field("status"), field("incident"))
            else {
                panic!("no status or incident");
            };
            let incident = incident.trim_start_matches("limit|platform|2026-05-27T");
            format!("{:+} {incident} {n} {status}", ts / MINUTE_MS - i64::from(M))
        })
        .collect()
}

#[test]
fn an_alert_opens_when_the_limit_is_passed_and_closes_with_its_minute() {
    let mut log = Log::new(100);
    assert_eq!(log.count(0, M, 100), [""; 0], "at the limit is not over it");
    assert_eq!(log.count(1, M, 1), ["+0 12:05Z 101 open"]);
    assert_eq!(log.count(0, M, 9), ["+0 12:05Z 110 open"]);
    assert_eq!(alerts(&log.tick(1_000, &[0], false)), [""; 0], "event time has not passed the minute");
    log.count(0, M + 2, 1);
    assert_eq!(alerts(&log.tick(2_000, &[0], false)), ["+0 12:05Z 110 closed"]);
}

#[test]
fn adjacent_minutes_share_an_incident_named_after_the_first_in_whatever_order_they_open() {
    let mut log = Log::new(10);
    assert_eq!(log.count(0, M + 1, 11), ["+1 12:06Z 11 open"]);
    assert_eq!(log.count(0, M, 11), ["+0 12:05Z 11 open", "+1 12:05Z 11 open"]);
    assert_eq!(log.count(0, M + 3, 11), ["+3 12:08Z 11 open"]);
    assert_eq!(log.count(0, M + 4, 11), ["+4 12:08Z 11 open"]);
    assert_eq!(log.count(0, M + 2, 11), ["+2 12:05Z 11 open", "+3 12:05Z 11 open", "+4 12:05Z 11 open"]);
    assert_eq!(log.count(0, M + 6, 11), ["+6 12:11Z 11 open"], "a minute without an alert lies between");
}

#[test]
fn the_slowest_partition_with_lines_to_read_holds_the_watermark() {
    let mut log = Log::new(10);
    log.tick(0, &[0, 1], false);
    assert_eq!(log.count(0, M, 11), ["+0 12:05Z 11 open"]);
    log.count(0, M + 10, 1);
    assert_eq!(alerts(&log.tick(1_000, &[0, 1], false)), [""; 0], "partition 1 may still tell of the minute");
    assert_eq!(alerts(&log.tick(2_000, &[0], false)), ["+0 12:05Z 11 closed"]);
}

#[test]
fn silence_and_the_end_of_input_close_everything() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    assert_eq!(alerts(&log.tick(1_000, &[], false)), [""; 0]);
    assert_eq!(alerts(&log.tick(999 + CLOSE_AFTER_MS, &[], false)), [""; 0]);
    assert_eq!(alerts(&log.tick(1_000 + CLOSE_AFTER_MS, &[], false)), ["+0 12:05Z 11 closed"]);
    log.count(0, M + 1, 11);
    assert_eq!(alerts(&log.tick(100_000, &[0], true)), ["+1 12:05Z 11 closed"]);
}

#[test]
fn lines_that_are_read_as_they_come_are_no_silence() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    for second in 1..=2 * CLOSE_AFTER_MS / 1_000 {
        assert_eq!(log.count(0, M, 1), [format!("+0 12:05Z {} open", 11 + second)]);
        assert_eq!(alerts(&log.tick(second * 1_000, &[], false)), [""; 0], "second {second}");
    }
    assert_eq!(alerts(&log.tick(3 * CLOSE_AFTER_MS, &[], false)), ["+0 12:05Z 131 closed"]);
}

#[test]
fn late_lines_are_judged_for_180_minutes() {
    let mut log = Log::new(10);
    let judged_minutes = (JUDGED_MS / MINUTE_MS) as u32;
    log.count(0, M + judged_minutes, 1);
    log.tick(0, &[], false);
    assert_eq!(log.count(0, M, 11), ["+0 12:05Z 11 open"], "closed minutes are still judged");
    assert_eq!(log.count(0, M - 1, 11), [""; 0]);
}

#[test]
fn a_closed_minute_that_grows_stays_closed() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    log.tick(0, &[], true);
    assert_eq!(log.count(0, M, 5), ["+0 12:05Z 16 closed"]);
}

#[test]
fn a_batch_run_again_gives_the_same_bytes() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    let frame = log.frames[0].clone();
    let again = log.detector.run(0, [frame.as_slice()].into_iter()).to_vec();
    assert_eq!(alerts(&again), ["+0 12:05Z 11 open"]);
    assert_eq!(log.count(0, M, 1), ["+0 12:05Z 12 open"], "it was not counted twice");
}

#[test]
fn a_forwarded_twin_is_skipped_and_a_gap_is_a_fault() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    let twin = log.frames[0].clone();
    assert_eq!(alerts(&log.run(twin)), [""; 0]);
    log.next_offsets[0] += 1;
    let source = Source::new(0, 0).expect("in range");
    let header = Header { source, base_offset: 12, last_offset: 12, ..Header::default() };
    let mut frame = Vec::new();
    DeltaFrame { header, part: 0, parts: 1, delta: Delta::default() }.encode(&mut frame);
    let output = log.run(frame);
    let fault = AlertsFrame::decode(&output).expect("a frame").fault.to_owned();
    assert_eq!(
        fault,
        "counts of partition 0 of epoch 0 begin at offset 12 part 0, expected offset 11 part 0"
    );
}

#[test]
fn a_replay_from_a_handed_out_state_gives_the_same_alerts() {
    let mut log = Log::new(10);
    log.count(0, M, 11);
    log.count(1, M + 1, 20);
    let state = AlertsFrame::decode(&log.tick(STATE_EVERY_MS, &[1], false)).expect("a frame").state.to_vec();
    assert!(!state.is_empty());
    let replayed_from = log.frames.len();
    let first = [log.count(0, M + 2, 30), log.count(1, M, 5), alerts(&log.tick(90_000, &[], true))];
    let mut detector = Detector::new(log.detector.settings.clone(), &state).expect("its own state");
    let replayed: Vec<_> = log.frames[replayed_from..]
        .iter()
        .zip(replayed_from as u64..)
        .map(|(frame, offset)| alerts(detector.run(offset, [frame.as_slice()].into_iter())))
        .collect();
    assert_eq!(replayed, first);
    let mut bytes = Vec::new();
    detector.state.encode(&mut bytes);
    assert_eq!(State::decode(&bytes).as_ref(), Ok(&log.detector.state));
    assert!(Detector::new(log.detector.settings.clone(), &bytes[..bytes.len() - 8]).is_err());
}

#[test]
fn minutes_are_bounded() {
    let mut minutes = Minutes::default();
    let mut changes = Changes::default();
    for minute in 0..=MINUTES_MAX as u32 {
        minutes.add(minute, 1, &mut changes);
    }
    minutes.bound(MINUTES_MAX, u32::MAX, 0, &mut changes);
    assert_eq!(minutes.by_minute.len(), MINUTES_MAX);
    assert!(!minutes.by_minute.contains_key(&0));
    minutes.add(0, 1, &mut changes);
    minutes.bound(MINUTES_MAX, MINUTES_MAX as u32 - 1, 0, &mut changes);
    assert!(minutes.by_minute.contains_key(&0), "one from the future makes room");
    assert_eq!(minutes.by_minute.len(), MINUTES_MAX);
}

/// A batch whose producer says that it is 2099 once moved the watermark there, for good.
#[test]
fn a_batch_from_the_future_moves_no_watermark() {
    let mut log = Log::new(10);
    let now = M + 1_000;
    assert_eq!(log.count(0, now, 11).len(), 1);
    log.tick(0, &[0, 1], false);
    for minute in [crate::MINUTES_END - 1, now + 6, now + 200] {
        log.count(0, minute, 1);
        assert_eq!(alerts(&log.tick(1_000, &[0], false)), [""; 0], "{minute}");
    }
    assert_eq!(log.count(0, now, 1), ["+1000 limit|platform|2026-05-28T04:45Z 12 open"]);
    log.count(0, now + 6, 1);
    let closed = alerts(&log.tick(MINUTE_MS, &[0], false));
    assert_eq!(closed, ["+1000 limit|platform|2026-05-28T04:45Z 12 closed"], "a tick confirms what is now");
}
