//! Prints synthetic log lines, or with `--speed` only measures how many a second one core makes.
//! Usage: `cargo run --release -p producer --example generate -- LINES [SEED] [--speed]`

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};
use producer::{Generator, GeneratorConfig};

/// 2026-11-22T20:00:00Z, a Sunday evening in Brazil.
const START_MS: i64 = 1_795_377_600_000;
/// Simulated rate: one minute passes every so many lines.
const LINES_PER_SECOND: i64 = 50_000;

fn main() -> Result<()> {
    let (flags, numbers): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with('-'));
    let number = |index: usize, default: u64| {
        let parse = |text: &String| text.parse().with_context(|| format!("\"{text}\" is not a number"));
        numbers.get(index).map_or(Ok(default), parse)
    };
    let (lines, seed) = (number(0, 1_000_000)?, number(1, 0)?);
    let is_speed_only = flags.iter().any(|flag| flag == "--speed");

    let mut generator = Generator::new(GeneratorConfig { seed, ..GeneratorConfig::default() });
    let mut stdout = std::io::stdout().lock();
    let mut out = Vec::new();
    let mut bytes = 0;
    let started = Instant::now();
    for (_, index) in (0..lines).zip(0_i64..) {
        generator.next_line(START_MS + index * 1_000 / LINES_PER_SECOND, &mut out);
        out.push(b'\n');
        if out.len() >= 1 << 16 {
            bytes += out.len();
            if !is_speed_only {
                stdout.write_all(&out)?;
            }
            out.clear();
        }
    }
    bytes += out.len();
    if is_speed_only {
        let seconds = started.elapsed().as_secs_f64();
        let rate = lines as f64 / seconds;
        eprintln!("{lines} lines, {bytes} bytes in {seconds:.3} s: {rate:.0} lines/s on one core");
    } else {
        stdout.write_all(&out)?;
    }
    Ok(())
}
