//! The score of the Numenta Anomaly Benchmark v1.1 (Lavin and Ahmad 2015, arXiv 1510.03336): windows found,
//! early is better, against false positives, with one threshold for the whole corpus.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use chrono::NaiveDateTime;
use domain::anomaly::series::Series;

/// One labelled series.
struct File {
    /// Milliseconds since 1970, and values.
    points: Vec<(i64, f64)>,
    /// First and last point of each labelled window.
    windows: Vec<(usize, usize)>,
}

/// What a hit, a false positive and a missed window count.
#[derive(Clone, Copy)]
struct Profile {
    name: &'static str,
    false_positive: f64,
    missed: f64,
}

/// The three profiles of the benchmark.
const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_positive: 0.11, missed: 1.0 },
    Profile { name: "low-FP", false_positive: 0.22, missed: 1.0 },
    Profile { name: "low-FN", false_positive: 0.11, missed: 2.0 },
];

/// A score, and how it comes about.
struct Score {
    score: f64,
    hits: usize,
    windows: usize,
    false_positives: usize,
}

/// Scores the detector on the series below `root`: `data/GROUP/NAME.csv` and `windows.json`.
pub fn run(root: &Path) -> Result<()> {
    let labels = std::fs::read_to_string(root.join("windows.json")).context("cannot read windows.json")?;
    let labels: BTreeMap<String, Vec<[String; 2]>> = serde_json::from_str(&labels)?;
    let files = labels.iter().map(|(name, windows)| read(root, name, windows)).collect::<Result<Vec<_>>>()?;
    let scores: Vec<Vec<f64>> = files.iter().map(|file| detect(&file.points)).collect();
    println!("\nNumenta Anomaly Benchmark, {} series, one threshold for all:\n", files.len());
    println!("| profile | score | windows found | false positives |");
    println!("|---|---|---|---|");
    for profile in PROFILES {
        let Score { score, hits, windows, false_positives } = score(&files, &scores, profile);
        println!("| {} | {score:.1} | {hits} of {windows} | {false_positives} |", profile.name);
    }
    Ok(())
}

fn detect(points: &[(i64, f64)]) -> Vec<f64> {
    let mut series = Series::default();
    points.iter().map(|&(ts_ms, value)| series.point(ts_ms, value).score).collect()
}

fn read(root: &Path, name: &str, windows: &[[String; 2]]) -> Result<File> {
    let text = std::fs::read_to_string(root.join("data").join(name)).with_context(|| name.to_owned())?;
    let rows = text.lines().skip(1).filter_map(|line| line.split_once(','));
    let points =
        rows.map(|(time, value)| Ok((parse_ms(time)?, value.parse()?))).collect::<Result<Vec<_>>>()?;
    let find = |time: &String| {
        let ts_ms = parse_ms(time)?;
        points.iter().position(|(at, _)| *at == ts_ms).context("a window of no point")
    };
    let windows =
        windows.iter().map(|[first, last]| Ok((find(first)?, find(last)?))).collect::<Result<_>>()?;
    Ok(File { points, windows })
}

/// Milliseconds since 1970 of `YYYY-MM-DD hh:mm:ss`.
fn parse_ms(time: &str) -> Result<i64> {
    Ok(NaiveDateTime::parse_from_str(time, "%Y-%m-%d %H:%M:%S%.f")?.and_utc().timestamp_millis())
}

fn sigmoid(x: f64) -> f64 {
    if x > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * x).exp()) - 1.0 }
}

/// What a detection of a point is worth.
#[derive(Clone, Copy)]
struct Worth {
    score: f64,
    worth: f64,
    window: Option<usize>,
}

impl File {
    /// First rows that are not scored.
    fn probation(&self) -> f64 {
        (0.15 * self.points.len() as f64).floor().min(750.0)
    }

    fn worth(&self, scores: &[f64], profile: Profile, window_first: usize, out: &mut Vec<Worth>) {
        let mut left: Option<(f64, f64)> = None;
        for (i, &score) in scores.iter().enumerate() {
            let inside = self.windows.iter().position(|&(first, last)| (first..=last).contains(&i));
            let worth = match inside {
                Some(window) => {
                    let (first, last) = self.windows[window];
                    let width = (last - first + 1) as f64;
                    if i == last {
                        left = Some((last as f64, width));
                    }
                    sigmoid(-((last - i + 1) as f64) / width) / sigmoid(-1.0)
                }
                None => {
                    let far = left.map_or(f64::MAX, |(last, width)| (i as f64 - last) / (width - 1.0));
                    profile.false_positive * sigmoid(far)
                }
            };
            if i as f64 >= self.probation() {
                out.push(Worth { score, worth, window: inside.map(|window| window_first + window) });
            }
        }
    }
}

/// The score of a corpus, at the threshold that gives the best.
fn score(files: &[File], scores: &[Vec<f64>], profile: Profile) -> Score {
    let (mut points, mut labelled) = (Vec::new(), 0);
    for (file, scores) in files.iter().zip(scores) {
        file.worth(scores, profile, labelled, &mut points);
        labelled += file.windows.len();
    }
    let mut scored = vec![false; labelled];
    points.iter().filter_map(|point| point.window).for_each(|window| scored[window] = true);
    let windows = scored.iter().filter(|scored| **scored).count();
    points.sort_by(|a, b| b.score.total_cmp(&a.score));
    let null = -profile.missed * windows as f64;
    let (mut total, mut hits, mut false_positives) = (null, 0, 0);
    let mut best_by_window: Vec<Option<f64>> = vec![None; labelled];
    let mut best = (null, 0, 0);
    for (i, point) in points.iter().enumerate() {
        match point.window {
            None => {
                total += point.worth;
                false_positives += 1;
            }
            Some(window) => {
                let before = best_by_window[window];
                hits += usize::from(before.is_none());
                let now = before.map_or(point.worth, |before| before.max(point.worth));
                total += now - before.unwrap_or(-profile.missed);
                best_by_window[window] = Some(now);
            }
        }
        let is_edge = points.get(i + 1).is_none_or(|next| next.score < point.score);
        if is_edge && total > best.0 {
            best = (total, hits, false_positives);
        }
    }
    let (total, hits, false_positives) = best;
    let score = 100.0 * (total - null) / (labelled as f64 - null);
    Score { score, hits, windows: labelled, false_positives }
}
