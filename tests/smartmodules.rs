//! The real `.wasm` in Fluvio's own engine: the same bytes as native code gives, flat memory, readable
//! output.

use std::collections::BTreeMap;

use domain::anomaly::Detector;
use domain::filter_map::{self, Batch, Line};
use domain::params::{AnomalySettings, FilterMapSettings, WindowSettings};
use domain::window::aggregate;
use domain::wire::{Delta, DeltaFrame, EventsFrame, EventsFrameWriter, Tick, append_delta};
use fluvio_protocol::record::Record;
use fluvio_smartengine::{
    SmartEngine, SmartModuleChainBuilder, SmartModuleChainInstance, SmartModuleConfig, SmartModuleInitialData,
};
use fluvio_smartmodule::SMARTMODULE_TIMESTAMPS_VERSION;
use fluvio_smartmodule::dataplane::smartmodule::SmartModuleInput;
use producer::pace::Backfill;
use producer::{Generator, GeneratorConfig, Incident};

pub(crate) const NOW_MS: i64 = 1_790_000_000_000;
/// Memory for a chain: more than one batch needs, far less than what flows through.
const MEMORY_BYTES_MAX: usize = 48 << 20;

pub(crate) fn params(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn chain(modules: &[(&[u8], BTreeMap<String, String>)]) -> anyhow::Result<SmartModuleChainInstance> {
    chain_from(modules, &[], MEMORY_BYTES_MAX)
}

/// A chain that goes on from a state.
pub(crate) fn chain_from(
    modules: &[(&[u8], BTreeMap<String, String>)],
    state: &[u8],
    memory_bytes_max: usize,
) -> anyhow::Result<SmartModuleChainInstance> {
    let mut builder = SmartModuleChainBuilder::default();
    builder.set_store_memory_limit(memory_bytes_max);
    for (wasm, params) in modules {
        let mut config = SmartModuleConfig::builder();
        config.smartmodule_names(["module".to_owned()].as_slice()).params(params.clone().into());
        config.initial_data(SmartModuleInitialData::with_aggregate(state.to_vec()));
        builder.add_smart_module(config.build().expect("a config"), wasm.to_vec());
    }
    builder.initialize(&SmartEngine::new())
}

pub(crate) fn process(
    chain: &mut SmartModuleChainInstance,
    base_offset: i64,
    values: &[Vec<u8>],
) -> Vec<Vec<u8>> {
    let mut records: Vec<_> = values.iter().map(|value| Record::new(value.clone())).collect();
    (0..).zip(&mut records).for_each(|(delta, record)| record.preamble.set_offset_delta(delta));
    process_records(chain, base_offset, NOW_MS, records).expect("no module refuses")
}

/// Runs records of a batch as whoever produced them made them; the error is a module's.
pub(crate) fn process_records(
    chain: &mut SmartModuleChainInstance,
    base_offset: i64,
    stored_at_ms: i64,
    records: Vec<Record>,
) -> Result<Vec<Vec<u8>>, String> {
    let mut input =
        SmartModuleInput::try_from_records(records, SMARTMODULE_TIMESTAMPS_VERSION).expect("records");
    input.set_base_offset(base_offset);
    input.set_base_timestamp(stored_at_ms);
    let output = chain.process(input).expect("the chain runs");
    match output.error {
        None => Ok(output.successes.into_iter().map(|record| record.into_value().into_vec()).collect()),
        Some(error) => Err(error.hint),
    }
}

/// Good, bad and hostile lines.
fn corpus(seed: u64, count: usize) -> Vec<Vec<u8>> {
    let config = GeneratorConfig { seed, malformed_share: 0.3, ..GeneratorConfig::default() };
    let mut generator = Generator::new(config);
    let mut lines: Vec<_> = (0..count as i64)
        .map(|i| {
            let mut line = Vec::new();
            generator.next_line(NOW_MS - 60_000 + i * 10, &mut line);
            line
        })
        .collect();
    lines.push(domain::oversized::Oversized { line_bytes: 9_000_000, head: b"{" }.encode());
    lines.push("[".repeat(60_000).into_bytes());
    lines.push(vec![b'x'; domain::LINE_BYTES_MAX + 1]);
    lines
}

#[test]
fn native_and_wasm_give_the_same_bytes() {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let frame_params = params(&[("output", "frame"), ("epoch", "3"), ("partition", "5")]);
    let settings = FilterMapSettings::parse(&frame_params).expect("valid");
    let window = WindowSettings::parse(&params(&[])).expect("valid");
    let limit = params(&[("limit_per_minute", "500")]);
    let mut wasm = chain(&[(&modules.filter_map, frame_params), (&modules.window_aggregate, params(&[]))])
        .expect("a chain");
    let mut wasm_anomaly = chain(&[(&modules.anomaly, limit.clone())]).expect("a chain");
    let mut detector = Detector::new(AnomalySettings::parse(&limit).expect("valid"), &[]).expect("fresh");
    let (mut writer, mut base_offset, mut alerts) = (EventsFrameWriter::default(), 0, 0);
    for seed in 0..8 {
        let lines = corpus(seed, 800);
        let from_wasm = process(&mut wasm, base_offset, &lines);
        let numbered =
            (base_offset.cast_unsigned()..).zip(&lines).map(|(offset, value)| Line { offset, value });
        let batch = Batch { base_offset: base_offset.cast_unsigned(), stored_at_ms: NOW_MS };
        let (mut frame, mut delta, mut native) = (Vec::new(), Vec::new(), Vec::new());
        filter_map::write_frame(&settings, batch, numbered, &mut writer, &mut frame);
        aggregate(window, &frame).expect("a frame").encode(&mut delta);
        append_delta(&frame, &delta, &mut native).expect("a frame");
        assert!(from_wasm == [native], "frames of seed {seed} differ");

        let frame = EventsFrame::decode(&from_wasm[0]).expect("a frame");
        let mut counts = Vec::new();
        let delta = Delta::decode(frame.delta).expect("counts");
        DeltaFrame { header: frame.header, part: 0, parts: 1, delta }.encode(&mut counts);
        let mut tick = Vec::new();
        Tick { wall_ms: NOW_MS, end_of_input: seed == 7, positions: Vec::new() }.encode(&mut tick);
        let frames = [counts, tick];
        let offset = seed * 2;
        let from_wasm = process(&mut wasm_anomaly, offset.cast_signed(), &frames);
        let native = detector.run(offset, frames.iter().map(Vec::as_slice)).to_vec();
        assert!(from_wasm == [native.clone()], "alerts of seed {seed} differ");
        let frame = domain::wire::AlertsFrame::decode(&native).expect("a frame");
        assert_eq!(frame.fault, "");
        alerts += domain::bson::documents(frame.alerts).count();
        base_offset += lines.len() as i64;
    }
    assert!(alerts > 0, "the corpus passes the limit");
}

/// Two days with a bot attack and an outage: what is learned is full of logarithms and means.
#[test]
fn what_is_learned_is_the_same_natively_and_in_wasm() {
    const MINUTE_MS: i64 = 60_000;
    const MINUTES: i64 = 2 * 1_440;
    let specs = ["bot@+1d6h/10m*4", "outage@+1d20h/30m:BR"];
    let incidents = specs.map(|spec| Incident::parse(spec, NOW_MS).expect("an incident")).to_vec();
    let config = GeneratorConfig { seed: 5, incidents: incidents.clone(), ..GeneratorConfig::default() };
    let mut generator = Generator::new(config);
    let instants = Backfill::new(NOW_MS, NOW_MS + MINUTES * MINUTE_MS, 1.0, 5).with_incidents(incidents);
    let mut instants = instants.peekable();
    let settings = FilterMapSettings::parse(&params(&[])).expect("valid");
    let window = WindowSettings::parse(&params(&[])).expect("valid");
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let mut wasm = chain(&[(&modules.anomaly, params(&[]))]).expect("a chain");
    let learning = AnomalySettings::parse(&params(&[])).expect("valid");
    let mut detector = Detector::new(learning, &[]).expect("fresh");
    let (mut writer, mut next_line, mut alerts) = (EventsFrameWriter::default(), 0, 0);
    for minute in 1..=MINUTES {
        let end_ms = NOW_MS + minute * MINUTE_MS;
        let mut lines = Vec::new();
        while let Some(now_ms) = instants.next_if(|now_ms| *now_ms < end_ms) {
            let mut line = Vec::new();
            generator.next_line(now_ms, &mut line);
            lines.push(line);
        }
        let numbered = (next_line..).zip(&lines).map(|(offset, value)| Line { offset, value });
        let (mut frame, mut counts, mut tick) = (Vec::new(), Vec::new(), Vec::new());
        let batch = Batch { base_offset: next_line, stored_at_ms: end_ms };
        filter_map::write_frame(&settings, batch, numbered, &mut writer, &mut frame);
        let header = EventsFrame::decode(&frame).expect("a frame").header;
        let delta = aggregate(window, &frame).expect("a frame");
        DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut counts);
        next_line += lines.len() as u64;
        Tick { wall_ms: end_ms, end_of_input: minute == MINUTES, positions: Vec::new() }.encode(&mut tick);
        let (frames, offset) = ([counts, tick], 2 * minute);
        let native = detector.run(offset.cast_unsigned(), frames.iter().map(Vec::as_slice)).to_vec();
        assert!(process(&mut wasm, offset, &frames) == [native.clone()], "minute {minute} differs");
        let told = domain::wire::AlertsFrame::decode(&native).expect("a frame");
        assert_eq!(told.fault, "");
        alerts += domain::bson::documents(told.alerts).count();
    }
    assert!(alerts > 20, "both are told: {alerts}");
}

#[test]
fn guest_memory_stays_flat_over_a_gigabyte_of_output() {
    // A module that lost its output with every call, as the derive macro's do, would reach the chain's memory
    // limit after some 40 batches and trap; a gigabyte is twenty times that limit.
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let mut chain = chain(&[(&modules.filter_map, params(&[("output", "frame")]))]).expect("a chain");
    let line = br#"{"user_id":"u1","timestamp":1790000000,"device":"tv","content_type":"movie","country":"BR","city":"Rio","#;
    let line = [line.as_slice(), br#""padding":""#, &[b'x'; 16_000], br#""}"#].concat();
    let lines = vec![line; 128];
    let (mut bytes, mut base_offset) = (0_usize, 0);
    while bytes < 1 << 30 {
        let frames = process(&mut chain, base_offset, &lines);
        assert_eq!(frames.len(), 1);
        bytes += frames[0].len();
        base_offset += lines.len() as i64;
    }
}

#[test]
fn people_read_json_with_true_offsets() {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let mut chain = chain(&[(&modules.filter_map, params(&[]))]).expect("a chain");
    let lines = corpus(1, 20);
    let records = process(&mut chain, 700, &lines);
    assert_eq!(records.len(), lines.len(), "one record a line");
    for (offset, record) in (700..).zip(&records) {
        let json: serde_json::Value = serde_json::from_slice(record).expect("JSON");
        assert_eq!(json["offset"], offset);
        assert!(json["user_id"].is_string() != json["rejected"].is_string(), "{json}");
    }
}

#[test]
fn wrong_parameters_are_told() {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    for wasm in [&modules.filter_map, &modules.window_aggregate, &modules.anomaly] {
        let error = chain(&[(wasm, params(&[("limit", "1")]))]).expect_err("refused");
        assert!(format!("{error:#}").contains("unknown parameter \"limit\"; allowed are"), "{error:#}");
    }
}

#[test]
fn package_files_name_their_modules() {
    for name in ["access-filter-map", "access-window-aggregate", "access-anomaly"] {
        let path = format!("{}/smartmodules/{name}/SmartModule.toml", env!("CARGO_MANIFEST_DIR"));
        let package: toml::Table = std::fs::read_to_string(path).expect("a file").parse().expect("TOML");
        assert_eq!(package["package"]["name"].as_str(), Some(name));
        assert_eq!(package["package"]["apiVersion"].as_str(), Some("0.1.0"));
        assert!(package["params"].as_array().is_some_and(|params| !params.is_empty()), "Fluvio needs one");
    }
}
