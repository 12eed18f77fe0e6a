//! `detect`: what the detector would have said, of a series in a file or of the rollups that are stored.

mod replay;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, NaiveDateTime};
use domain::anomaly::series::Series;

use crate::args::DetectArgs;

/// How a time without an offset is written; it is taken for UTC.
const TIME: &str = "%Y-%m-%d %H:%M:%S%.f";

/// Runs the command.
pub(super) async fn run(args: DetectArgs) -> Result<ExitCode> {
    match &args.csv {
        Some(file) => score(file)?,
        None => replay::run(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints each line of a file `timestamp,value` with its score.
fn score(file: &Path) -> Result<()> {
    let input: Box<dyn BufRead> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => {
            let opened = std::fs::File::open(file);
            Box::new(BufReader::new(opened.with_context(|| format!("cannot open {}", file.display()))?))
        }
    };
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut series = Series::default();
    for (index, line) in input.lines().enumerate() {
        let line = line.with_context(|| format!("cannot read {}", file.display()))?;
        let line = line.trim_end_matches('\r');
        if index == 0 && line.starts_with("timestamp,") {
            writeln!(stdout, "timestamp,value,score")?;
            continue;
        }
        let (ts_ms, value) = point(line).with_context(|| {
            format!("line {} of {} is not `timestamp,value`: {line:?}", index + 1, file.display())
        })?;
        writeln!(stdout, "{line},{}", series.point(ts_ms, value).score)?;
    }
    Ok(stdout.flush()?)
}

/// The time in milliseconds since 1970 and the value of a line.
fn point(line: &str) -> Result<(i64, f64)> {
    let (time, value) = line.split_once(',').context("there is no comma")?;
    let value: f64 = value.trim().parse().context("the value is not a number")?;
    if !value.is_finite() {
        bail!("the value is not finite");
    }
    Ok((
        instant(time.trim())
            .context("the time is neither RFC 3339, 2026-11-22 10:00:00, nor epoch seconds")?,
        value,
    ))
}

fn instant(time: &str) -> Option<i64> {
    let local = || NaiveDateTime::parse_from_str(time, TIME).ok().map(|time| time.and_utc());
    let offset = || DateTime::parse_from_rfc3339(time).ok().map(|time| time.to_utc());
    let epoch = || time.parse::<f64>().ok().map(|seconds| (seconds * 1e3) as i64);
    local().or_else(offset).map(|time| time.timestamp_millis()).or_else(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_three_forms() {
        let at = |text| point(text).expect("a point");
        assert_eq!(at("2015-02-26 21:42:53,104"), (1_424_986_973_000, 104.0));
        assert_eq!(at("2015-02-26T21:42:53.5Z, 1e3"), (1_424_986_973_500, 1_000.0));
        assert_eq!(at("1424986973,-0.5"), (1_424_986_973_000, -0.5));
        for wrong in ["2015-02-26 21:42:53", "yesterday,1", "1424986973,", "1424986973,NaN"] {
            assert!(point(wrong).is_err(), "{wrong}");
        }
    }
}
