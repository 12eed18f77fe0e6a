//! `cargo xtask bench modules`: what a line costs the SmartModules as WASM in Fluvio's engine, with
//! everything the engine does around a call, beside the same functions compiled natively; and how long the
//! engine takes to compile them, which it does anew for each partition. `access-anomaly` is in `cargo xtask
//! bench anomalies`.

#[path = "storage/server.rs"]
#[allow(dead_code, reason = "of the servers' helpers only the median is needed")]
mod server;

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use domain::filter_map::{self, Line};
use domain::params::{FilterMapSettings, Params, WindowSettings};
use domain::window::aggregate;
use domain::wire::{EventsFrameWriter, append_delta};
use fluvio_protocol::record::{Batch, RawRecords, Record};
use fluvio_smartengine::SmartEngine;
use producer::{Generator, GeneratorConfig};
use runtime::Module;
use runtime::embedded::Chain;
use server::median;

const LINES: usize = 50_000;
/// Lines of one stored batch.
const LINES_PER_BATCH: usize = 2_500;
/// Time between two lines, in milliseconds: 100 a second.
const LINE_EVERY_MS: i64 = 10;
const ROUNDS: usize = 9;
/// When the lines begin and when their batches are stored, in milliseconds since 1970.
const START_MS: i64 = 1_790_000_000_000;
const STORED_AT_MS: i64 = START_MS + 3_600_000;

/// One way to work through the batches, and what a line took in each round, in nanoseconds.
struct Way {
    name: &'static str,
    native: Vec<f64>,
    wasm: Vec<f64>,
}

impl Way {
    fn new(name: &'static str) -> Self {
        Self { name, native: Vec::new(), wasm: Vec::new() }
    }

    fn print(&self) {
        let mut ratios: Vec<f64> =
            self.native.iter().zip(&self.wasm).map(|(native, wasm)| wasm / native).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        let (native, wasm) = (median(self.native.clone()), median(self.wasm.clone()));
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let ratio = median(ratios);
        println!("| {} | {native:.0} | {wasm:.0} | {ratio:.2} ({least:.2} to {most:.2}) |", self.name);
    }
}

fn main() -> Result<()> {
    let lines = lines();
    let batches: Vec<&[Vec<u8>]> = lines.chunks(LINES_PER_BATCH).collect();
    let frame = [("output", "frame"), ("epoch", "0"), ("partition", "0")];
    let params: Params = frame.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let settings = FilterMapSettings::parse(&params).map_err(anyhow::Error::msg)?;
    let window = WindowSettings::parse(&Params::new()).map_err(anyhow::Error::msg)?;
    let code = streampulse::modules::load()?;
    let module = |name: &str, wasm, params| Module { name: name.to_owned(), wasm, params, accumulator: None };
    let map = || module("access-filter-map", code.filter_map.clone(), params.clone());
    let count = || module("access-window-aggregate", code.window_aggregate.clone(), Params::new());
    let mut map_chain = compiled("access-filter-map", vec![map()])?;
    let mut count_chain = compiled("access-window-aggregate", vec![count()])?;
    let mut both_chain = compiled("both", vec![map(), count()])?;

    let (mut mapping, mut counting, mut both) = (
        Way::new("access-filter-map"),
        Way::new("access-window-aggregate"),
        Way::new("both, as `up` runs them"),
    );
    let mut writer = EventsFrameWriter::default();
    for _ in 0..ROUNDS {
        let (ns, frames) =
            timed((0_u64..).step_by(LINES_PER_BATCH).zip(&batches), |(base_offset, lines)| {
                let batch = filter_map::Batch { base_offset, stored_at_ms: STORED_AT_MS };
                let numbered = (base_offset..).zip(*lines).map(|(offset, value)| Line { offset, value });
                let mut frame = Vec::new();
                filter_map::write_frame(&settings, batch, numbered, &mut writer, &mut frame);
                Ok(frame)
            })?;
        mapping.native.push(ns);
        let (ns, counted) = timed(&frames, |frame| {
            let (mut delta, mut with_delta) = (Vec::new(), Vec::new());
            aggregate(window, frame)?.encode(&mut delta);
            append_delta(frame, &delta, &mut with_delta)?;
            Ok(with_delta)
        })?;
        counting.native.push(ns);
        both.native.extend(mapping.native.last().zip(counting.native.last()).map(|(map, count)| map + count));

        let input = stored_batches(batches.iter().map(|lines| lines.to_vec()))?;
        mapping.wasm.push(timed(input, |batch| run(&mut map_chain, batch))?.0);
        let input = stored_batches(frames.into_iter().map(|frame| vec![frame]))?;
        counting.wasm.push(timed(input, |batch| run(&mut count_chain, batch))?.0);
        let input = stored_batches(batches.iter().map(|lines| lines.to_vec()))?;
        let (ns, from_wasm) = timed(input, |batch| run(&mut both_chain, batch))?;
        both.wasm.push(ns);
        ensure!(from_wasm == counted, "the frames of WASM and of native code differ");
    }
    println!(
        "\n| {} lines, {ROUNDS} rounds | native, ns a line | WASM in the engine | ratio, least to most |",
        LINES
    );
    println!("|---|---|---|---|");
    [mapping, counting, both].iter().for_each(Way::print);
    Ok(())
}

fn lines() -> Vec<Vec<u8>> {
    let mut generator = Generator::new(GeneratorConfig { seed: 7, ..GeneratorConfig::default() });
    let line = |now_ms| {
        let mut line = Vec::new();
        generator.next_line(now_ms, &mut line);
        line
    };
    (START_MS..).step_by(LINE_EVERY_MS as usize).take(LINES).map(line).collect()
}

/// A chain, and how long it took to compile.
fn compiled(name: &str, modules: Vec<Module>) -> Result<Chain> {
    let began = Instant::now();
    let chain = Chain::new(&SmartEngine::new(), modules)?;
    println!("compiling {name}: {:.0} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(chain)
}

/// Batches as they lie in a topic.
fn stored_batches(batches: impl Iterator<Item = Vec<Vec<u8>>>) -> Result<Vec<Batch<RawRecords>>> {
    let mut base_offset = 0;
    let stored = |values: Vec<Vec<u8>>| {
        let mut batch: Batch = values.into_iter().map(Record::new).collect::<Vec<_>>().into();
        batch.base_offset = base_offset;
        batch.header.first_timestamp = STORED_AT_MS;
        base_offset += LINES_PER_BATCH as i64;
        Ok(batch.try_into()?)
    };
    batches.map(stored).collect()
}

/// The one value that comes of a batch.
fn run(chain: &mut Chain, batch: Batch<RawRecords>) -> Result<Vec<u8>> {
    chain.run(batch)?.values.pop().context("a batch without a frame")
}

/// Works through `input`: nanoseconds a line, and what came out.
fn timed<T, R>(
    input: impl IntoIterator<Item = T>,
    mut work: impl FnMut(T) -> Result<R>,
) -> Result<(f64, Vec<R>)> {
    let mut out = Vec::with_capacity(LINES / LINES_PER_BATCH);
    let began = Instant::now();
    for batch in input {
        out.push(work(batch)?);
    }
    Ok((began.elapsed().as_secs_f64() * 1e9 / LINES as f64, out))
}
