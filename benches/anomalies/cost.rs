//! What a minute of many series costs the detector, natively and as WASM in Fluvio's engine, and how large
//! its state is.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use domain::anomaly::Detector;
use domain::params::{AnomalySettings, Params};
use domain::wire::{AlertsFrame, Cell, Delta, DeltaFrame, Header, PartitionPosition, Tick};
use fluvio_protocol::record::{Batch, Record};
use fluvio_smartengine::SmartEngine;
use runtime::Module;
use runtime::embedded::Chain;

const SERIES: u16 = 10_000;
/// Minutes before the measured ones.
const WARM_UP_MINUTES: i64 = 120;
const MINUTES: i64 = 60;
const MINUTE_MS: i64 = 60_000;
const ROUNDS: usize = 3;

pub fn run() -> Result<()> {
    let modules = streampulse::modules::load()?;
    let (mut native, mut wasm) = (Vec::new(), Vec::new());
    let mut state_bytes = 0;
    for _ in 0..ROUNDS {
        let settings = AnomalySettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
        let mut detector = Detector::new(settings, &[]).map_err(anyhow::Error::msg)?;
        native.push(time(|offset, frames| {
            let output = detector.run(offset, frames.iter().map(Vec::as_slice)).to_vec();
            state_bytes = state_bytes.max(AlertsFrame::decode(&output)?.state.len());
            Ok(())
        })?);
        let module = Module {
            name: "access-anomaly".to_owned(),
            wasm: modules.anomaly.clone(),
            params: Params::new(),
            accumulator: Some(Vec::new()),
        };
        let mut chain = Chain::new(&SmartEngine::new(), vec![module])?;
        wasm.push(time(|offset, frames| {
            let mut batch: Batch = frames.iter().cloned().map(Record::new).collect::<Vec<_>>().into();
            batch.base_offset = offset.cast_signed();
            let output = chain.run(batch.try_into()?)?;
            let [frame] = output.values.as_slice() else { anyhow::bail!("a batch without a frame") };
            ensure!(AlertsFrame::decode(frame)?.fault.is_empty());
            Ok(())
        })?);
    }
    let series = f64::from(SERIES);
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1e6 / (series * MINUTES as f64)
    };
    let (native, wasm) = (median(&mut native), median(&mut wasm));
    println!("\n{SERIES} series, a minute a batch, with the state handed out every minute:");
    println!("{native:.2} us a point natively, {wasm:.2} us in WASM, median of {ROUNDS} rounds");
    println!("state: {:.0} bytes a series", state_bytes as f64 / series);
    Ok(())
}

/// How long the measured minutes take.
fn time(mut run: impl FnMut(u64, &[Vec<u8>]) -> Result<()>) -> Result<Duration> {
    let mut took = Duration::ZERO;
    for minute in 0..WARM_UP_MINUTES + MINUTES {
        let frames = frames(minute);
        let start = Instant::now();
        run(minute.cast_unsigned() * frames.len() as u64, &frames).context("a minute")?;
        if minute >= WARM_UP_MINUTES {
            took += start.elapsed();
        }
    }
    Ok(took)
}

/// The counts of a minute of all series, and a tick.
fn frames(minute: i64) -> Vec<Vec<u8>> {
    let number = u32::try_from(super::START_MS / MINUTE_MS + minute).expect("below 2^32");
    let (base_offset, end_ms) = (minute.cast_unsigned(), (i64::from(number) + 1) * MINUTE_MS);
    let cells = (0..SERIES - 1).map(|series| {
        let n = 50 + (u32::from(series) * 31 + number * 7_919) % 21;
        let country = [series / 255, series % 255].map(|part| 1 + part as u8);
        let city = "city".to_owned();
        Cell { minute: number, zone: 0, country, city, counts: vec![(0, 0, n)] }
    });
    let delta = Delta {
        devices: vec!["tv".to_owned()],
        content_types: vec!["movie".to_owned()],
        cells: cells.collect(),
        event_time_ms: Some(end_ms - 1),
        ..Delta::default()
    };
    let header = Header { base_offset, last_offset: base_offset, stored_at_ms: end_ms, ..Header::default() };
    let (mut counts, mut tick) = (Vec::new(), Vec::new());
    DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut counts);
    let source = header.source;
    let (next_offset, end_offset) = (base_offset + 1, base_offset + 1);
    let positions = vec![PartitionPosition { source, next_offset, end_offset }];
    Tick { wall_ms: end_ms, end_of_input: false, positions }.encode(&mut tick);
    vec![counts, tick]
}
