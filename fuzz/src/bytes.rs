//! Bytes from logs and topics: lines, frames, and states of the detector.

use std::sync::OnceLock;

use domain::anomaly::Detector;
use domain::bson::documents;
use domain::filter_map::{self, Batch, Line};
use domain::params::{AnomalySettings, FilterMapSettings, Params, WindowSettings};
use domain::window::aggregate;
use domain::wire::{
    self, AlertsFrame, Delta, DeltaFrame, EventsFrame, EventsFrameWriter, Kind, Tick, append_delta,
};

/// When batches are stored.
const NOW_MS: i64 = 1_790_000_000_000;

fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The parameters of `access-anomaly` that states are fuzzed with.
pub fn anomaly_params() -> Params {
    params(&[("limit_per_minute", "5"), ("limits", r#"{"country:BR":3,"device:tv":2}"#)])
}

/// Lines of one stored batch: each is an event or a reject, and everything about them adds up.
pub fn line(input: &[u8]) {
    static SETTINGS: OnceLock<FilterMapSettings> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| FilterMapSettings::parse(&Params::new()).expect("valid"));
    let window = WindowSettings::parse(&Params::new()).expect("valid");
    let lines = (7..).zip(input.split(|byte| *byte == b'\n')).map(|(offset, value)| Line { offset, value });
    let count = lines.clone().count() as u64;
    let (mut writer, mut bytes) = (EventsFrameWriter::default(), Vec::new());
    let batch = Batch { base_offset: 7, stored_at_ms: NOW_MS };
    filter_map::write_frame(settings, batch, lines.clone(), &mut writer, &mut bytes);
    let frame = EventsFrame::decode(&bytes).expect("a frame");
    let rejected: u64 = frame.rejected.iter().map(|n| u64::from(*n)).sum();
    assert_eq!(u64::from(frame.accepted) + rejected, count);
    assert_eq!((frame.header.base_offset, frame.header.last_offset), (7, 6 + count));
    assert_eq!(sound_documents(frame.documents), u64::from(frame.accepted));
    assert_eq!(sound_documents(frame.rejects), rejected);
    let delta = aggregate(window, &bytes).expect("a frame of ours");
    let counted: u64 = delta.cells.iter().flat_map(|cell| &cell.counts).map(|(_, _, n)| u64::from(*n)).sum();
    assert_eq!(counted, u64::from(frame.accepted));
    let (mut encoded, mut whole) = (Vec::new(), Vec::new());
    delta.encode(&mut encoded);
    assert_eq!(Delta::decode(&encoded).as_ref(), Ok(&delta));
    append_delta(&bytes, &encoded, &mut whole).expect("an events frame");
    let header = frame.header;
    for (part, delta) in (0..).zip(delta.into_parts()) {
        let (mut encoded, frame) = (Vec::new(), DeltaFrame { header, part, parts: part + 1, delta });
        frame.encode(&mut encoded);
        assert_eq!(DeltaFrame::decode(&encoded), Ok(frame));
    }
    for line in lines {
        let json = filter_map::to_json(settings, line);
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON");
    }
}

/// One frame: refused, or what is read of it is what is written of it again.
pub fn frame(input: &[u8]) {
    let mut again = Vec::new();
    match wire::kind(input) {
        Ok(Kind::Events) => {
            if let Ok(frame) = EventsFrame::decode(input) {
                counts(frame.delta);
                documents(frame.documents).flat_map(domain::bson::elements).count();
            }
            let window = WindowSettings::parse(&Params::new()).expect("valid");
            if let Ok(delta) = aggregate(window, input) {
                delta.encode(&mut again);
                counts(&again);
            }
        }
        Ok(Kind::Delta) => {
            let Ok(frame) = DeltaFrame::decode(input) else { return };
            frame.encode(&mut again);
            assert_eq!(DeltaFrame::decode(&again), Ok(frame));
        }
        Ok(Kind::Tick) => {
            let Ok(tick) = Tick::decode(input) else { return };
            tick.encode(&mut again);
            assert_eq!(Tick::decode(&again), Ok(tick));
        }
        Ok(Kind::Alerts) => {
            let Ok(frame) = AlertsFrame::decode(input) else { return };
            frame.encode(&mut again);
            assert_eq!(again, input);
            assert_eq!(wire::span(input), Ok((frame.base_offset, frame.last_offset)));
        }
        Err(_) => assert!(wire::span(input).is_err()),
    }
}

fn counts(bytes: &[u8]) {
    let Ok(delta) = Delta::decode(bytes) else { return };
    let mut again = Vec::new();
    delta.encode(&mut again);
    assert_eq!(Delta::decode(&again), Ok(delta));
}

/// The state and the frames in an input: each has its length before it.
pub fn state_and_frames(mut input: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let mut parts = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk::<2>() {
        let (part, rest) = rest.split_at(rest.len().min(u16::from_le_bytes(*length).into()));
        parts.push(part);
        input = rest;
    }
    let state = if parts.is_empty() { &[] } else { parts.remove(0) };
    (state, parts)
}

/// A state, and frames that a detector goes on with: the state is refused, or all alerts are sound, and the
/// state afterwards is one that gives the same again.
pub fn state(input: &[u8]) {
    let settings = AnomalySettings::parse(&anomaly_params()).expect("valid");
    let (state, frames) = state_and_frames(input);
    let Ok(mut detector) = Detector::new(settings.clone(), state) else { return };
    for (offset, frame) in (0..).zip(frames) {
        hand_out(detector.run(offset, [frame].into_iter()));
    }
    let mut end = Vec::new();
    Tick { wall_ms: NOW_MS, end_of_input: true, positions: Vec::new() }.encode(&mut end);
    let state = hand_out(detector.run(1 << 40, [end.as_slice()].into_iter()));
    let mut detector = Detector::new(settings, &state).expect("its own state");
    let again = hand_out(detector.run(1 << 41, [end.as_slice()].into_iter()));
    assert!(Detector::new(AnomalySettings::default(), &again).is_ok());
}

/// The state of an output whose alerts are sound.
fn hand_out(output: &[u8]) -> Vec<u8> {
    let frame = AlertsFrame::decode(output).expect("an alerts frame");
    sound_documents(frame.alerts);
    frame.state.to_vec()
}

/// How many documents there are, which a reference implementation reads to the end.
fn sound_documents(bytes: &[u8]) -> u64 {
    let (mut count, mut length) = (0, 0);
    for document in documents(bytes) {
        let read = bson::RawDocument::from_bytes(document).and_then(bson::Document::try_from);
        read.expect("BSON");
        count += 1;
        length += document.len();
    }
    assert_eq!(length, bytes.len(), "nothing else lies there");
    count
}
