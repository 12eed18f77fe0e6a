//! States and frames that no run of ours makes: refused, or worked with to the end and within bounds.

use super::super::*;
use super::learned::{Log, Traffic, quiet, quiet_days, times};
use crate::MINUTE_MS;
use crate::event_id::Source;
use crate::params::{LIMITS_MAX, Params};
use crate::wire::{Cell, Delta, Header, PartitionPosition};

/// What a state may grow to, with room below the 16 MB of one document in MongoDB.
const STATE_BYTES_MAX: usize = 12 << 20;

fn settings() -> AnomalySettings {
    let limits = BTreeMap::from([(Slice::Country(*b"PT"), 60), (Slice::Device("tv".to_owned()), 100)]);
    let defaults = AnomalySettings::parse(&Params::new()).expect("valid");
    AnomalySettings { limit_per_minute: Some(140), limits, ..defaults }
}

/// A state with everything in it: open and closed minutes, incidents, an attack and a group.
fn full_state() -> (Log, Vec<u8>) {
    let mut log = quiet_days();
    let bots = |minute| Traffic { heavy: vec![("bot", 500)], users: 85, ..times(4, quiet(minute)) };
    (0..10).for_each(|minute| log.push(&bots(minute)));
    let mut detector = Detector::new(settings(), &[]).expect("fresh");
    log.run(&mut detector, 0);
    let mut bytes = Vec::new();
    detector.state.encode(&mut bytes);
    (log, bytes)
}

fn tick(wall_ms: i64, end_of_input: bool) -> Vec<u8> {
    let mut frame = Vec::new();
    let source = Source::new(0, 0).expect("in range");
    let position = PartitionPosition { source, next_offset: 1, end_offset: 1 };
    Tick { wall_ms, end_of_input, positions: vec![position] }.encode(&mut frame);
    frame
}

/// Counts of one access in each of some minutes, of which the batch's event time is the last.
fn counts(source: Source, base_offset: u64, minutes: impl Iterator<Item = u32>) -> Vec<u8> {
    let cell =
        |minute| Cell { minute, zone: 0, country: *b"PT", city: "x".to_owned(), counts: vec![(0, 0, 1)] };
    let cells: Vec<_> = minutes.map(cell).collect();
    let last_ms = cells.last().map(|cell| i64::from(cell.minute) * MINUTE_MS);
    let header = Header {
        source,
        base_offset,
        last_offset: base_offset,
        stored_at_ms: last_ms.unwrap_or(0),
        ..Header::default()
    };
    let names = || vec!["tv".to_owned()];
    let delta =
        Delta { devices: names(), content_types: names(), cells, event_time_ms: last_ms, ..Delta::default() };
    let mut frame = Vec::new();
    DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut frame);
    frame
}

/// Lets a detector go on from `state` through ordinary frames and through clocks that leap; the state after it.
fn go_on(log: &Log, state: &[u8]) -> Option<Vec<u8>> {
    let mut detector = Detector::new(settings(), state).ok()?;
    let mut frames = log.batches[log.batches.len() - 1].clone();
    let source = Source::new(0, 1).expect("in range");
    frames.push(counts(source, 0, [0, crate::MINUTES_END - 1].into_iter()));
    let clocks = [0, 1_790_000_000_000, i64::MAX, i64::MIN];
    frames.extend(clocks.map(|wall_ms| tick(wall_ms, false)));
    frames.push(tick(i64::MAX, true));
    for (offset, frame) in (u64::MAX - 3..=u64::MAX).cycle().zip(&frames) {
        detector.run(offset, [frame.as_slice()].into_iter());
    }
    let mut bytes = Vec::new();
    detector.state.encode(&mut bytes);
    Some(bytes)
}

#[test]
fn a_damaged_state_is_refused_or_worked_with() {
    let (log, state) = full_state();
    assert!(go_on(&log, &state).is_some(), "a sound one is taken");
    let (mut taken, mut refused) = (0, 0);
    let patterns: [&[u8]; 6] = [
        &[0xff; 8],
        &i64::MIN.to_le_bytes(),
        &f64::NAN.to_le_bytes(),
        &(-1e300_f64).to_le_bytes(),
        &[0; 8],
        &[0xff, 0xff, 0xff, 0x7f],
    ];
    for (index, at) in (0..state.len()).step_by(5).enumerate() {
        let (pattern, mut damaged) = (patterns[index % patterns.len()], state.clone());
        let end = state.len().min(at + pattern.len());
        damaged[at..end].copy_from_slice(&pattern[..end - at]);
        match go_on(&log, &damaged) {
            Some(after) => {
                assert!(after.len() < STATE_BYTES_MAX, "{} bytes after damage at {at}", after.len());
                taken += 1;
            }
            None => refused += 1,
        }
    }
    assert!(taken > 100 && refused > 20, "{taken} taken, {refused} refused");
}

#[test]
fn what_a_map_cannot_hold_is_refused() {
    let (_, state) = full_state();
    // Version, time of the hand-out, clock, watermark; then the positions: how many, and each 24 bytes.
    let positions_at = 40;
    assert_eq!(state[positions_at..positions_at + 8], 1_u64.to_le_bytes());
    let (head, tail) = state.split_at(positions_at + 8 + 24);
    let twice = [head, &head[positions_at + 8..], tail].concat();
    let with_count = |count: u64| {
        let mut bytes = twice.clone();
        bytes[positions_at..positions_at + 8].copy_from_slice(&count.to_le_bytes());
        State::decode(&bytes)
    };
    assert!(with_count(2).is_err(), "the same key twice");
    assert!(with_count(u64::MAX).is_err(), "more than there is");
    let mut next = head.to_vec();
    next[positions_at..positions_at + 8].copy_from_slice(&2_u64.to_le_bytes());
    next.extend_from_slice(&head[positions_at + 8..]);
    let at = next.len() - 24;
    next[at] += 1;
    assert!(State::decode(&[&next, tail].concat()).is_ok(), "another key behind it");
}

#[test]
fn a_state_stays_within_a_document_whatever_minutes_come() {
    let limits = (0..LIMITS_MAX).map(|n| (Slice::Device(format!("d{n}")), 1));
    let limits = limits.chain([(Slice::Device("tv".to_owned()), 0)]).skip(1).collect();
    let settings = AnomalySettings { limits, ..AnomalySettings::default() };
    let mut detector = Detector::new(settings, &[]).expect("fresh");
    let source = Source::new(0, 0).expect("in range");
    let minutes = (0..crate::MINUTES_END).step_by(331);
    let mut offset = 0;
    for chunk in minutes.collect::<Vec<_>>().rchunks(2_000) {
        let frame = counts(source, offset, chunk.iter().copied());
        detector.run(offset, [frame.as_slice()].into_iter());
        offset += 1;
    }
    assert!(offset > MINUTES_MAX as u64 / 2_000, "more minutes than are kept");
    let mut bytes = Vec::new();
    detector.state.encode(&mut bytes);
    assert!(bytes.len() < STATE_BYTES_MAX, "{} bytes", bytes.len());
    let tv = &detector.state.slices[&Slice::Device("tv".to_owned())];
    assert_eq!(tv.by_minute.len(), MINUTES_MAX / (1 + LIMITS_MAX));
    assert_eq!(detector.state.minutes.by_minute.len(), MINUTES_MAX / (1 + LIMITS_MAX), "without a limit too");
}

/// A clock that leaps by 70 years once made the detector judge each of 37 million minutes.
#[test]
fn a_clock_that_leaps_judges_nothing() {
    const LEAP_MS: i64 = 70 * 365 * 86_400_000;
    let mut log = quiet_days();
    let mut detector = log.detector();
    log.run(&mut detector, 0);
    let (now_ms, offset) = (i64::from(log.minute) * MINUTE_MS, log.batches.len() as u64 * 2);
    let mut run = |offset: u64, wall_ms: i64| {
        detector.run(offset, [tick(wall_ms, false).as_slice()].into_iter());
        detector.state.learned.clone()
    };
    run(offset, now_ms);
    let learned = run(offset + 1, now_ms + LEAP_MS);
    assert!(run(offset + 2, now_ms + LEAP_MS + 2 * MINUTE_MS) == learned);
    let first = log.batches.len();
    (0..5).for_each(|minute| log.push(&times(3, quiet(minute))));
    let outputs = log.run(&mut detector, first);
    let alerts = |output: &Vec<u8>| AlertsFrame::decode(output).expect("a frame").alerts.len();
    assert!(outputs.iter().map(alerts).sum::<usize>() > 0, "what comes then is judged as ever");
}

/// Batches that said they were from 2099 once moved event time there, for good.
#[test]
fn batches_from_the_future_hide_no_surge() {
    let told = |is_attacked: bool| {
        let mut log = quiet_days();
        let first = log.batches.len();
        let minutes: Vec<u32> =
            (0..2 * OPEN_MINUTES_MAX as u32).map(|n| crate::MINUTES_END - 1 - n).collect();
        for chunk in minutes.rchunks(2_000).filter(|_| is_attacked) {
            let frame = counts(Source::new(0, 0).expect("in range"), log.lines, chunk.iter().rev().copied());
            log.lines += 1;
            log.batches.push(vec![frame]);
        }
        (0..5).for_each(|minute| log.push(&times(3, quiet(minute))));
        let mut detector = log.detector();
        log.run(&mut detector, 0);
        let open = &detector.state.open;
        assert!(open.last_ms() <= detector.state.clock_ms, "a minute of 2099 is open");
        let outputs = log.run(&mut log.detector(), 0).split_off(first);
        let alerts = |output: &Vec<u8>| AlertsFrame::decode(output).expect("a frame").alerts.to_vec();
        outputs.iter().flat_map(alerts).collect::<Vec<u8>>()
    };
    let quiet = told(false);
    assert!(!quiet.is_empty());
    assert!(told(true) == quiet);
}
