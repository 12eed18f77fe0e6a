//! The load of a round: known lines, appended to a file that the pipeline follows.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::sample::{Cells, Sample};

/// Event time: minutes that a round is about. They pass faster than the clock.
const MINUTES: i64 = 90;
/// Accesses of a usual minute, from and to.
const USUAL: std::ops::Range<usize> = 300..600;
/// Accesses of a minute that passes the limit.
const UNUSUAL: std::ops::Range<usize> = 900..1_500;
/// Accesses a minute above which a minute alerts.
pub const LIMIT: i64 = 750;
/// One minute of so many is unusual.
const UNUSUAL_ONE_OF: u32 = 8;
/// How late a line can be.
const LATE_MS_MAX: i64 = 5_000;
/// One line of so many is no event.
const BAD_ONE_OF: u32 = 200;
/// Pieces in which the lines are appended.
const PIECES: u32 = 200;
const START_MS: i64 = 1_790_000_040_000;

/// Lines, and what a database must hold after them.
pub struct Traffic {
    pub sample: Sample,
}

impl Traffic {
    pub fn new(random: &mut ChaCha8Rng) -> Self {
        let mut sample = Sample::default();
        for minute in 0..MINUTES {
            let range = if random.random_ratio(1, UNUSUAL_ONE_OF) { UNUSUAL } else { USUAL };
            let count = random.random_range(range);
            for i in 0..count {
                if random.random_ratio(1, BAD_ONE_OF) {
                    sample.push_bad("not_json", format!("no event, number {}", random.random::<u32>()));
                }
                let in_order = minute * 60_000 + 60_000 * i as i64 / count as i64;
                let ts_ms = START_MS + (in_order - random.random_range(0..LATE_MS_MAX)).max(0);
                let user = format!("u{}", random.random_range(0..5_000));
                let mut pick = |below| random.random_range(0..below);
                sample.push(&user, ts_ms, pick(5), pick(4), pick(4));
            }
        }
        Self { sample }
    }

    /// Appends the lines to the file at `path`, evenly over `time`. The file ends with a whole line at any moment.
    pub fn write(&self, path: &Path, time: Duration) {
        let mut file = File::options().append(true).open(path).expect("the log file");
        let begun = Instant::now();
        for (number, lines) in (0..).zip(self.sample.lines.chunks(self.sample.lines.len() / PIECES as usize))
        {
            let piece: Vec<u8> = lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect();
            file.write_all(&piece).expect("the log file grows");
            std::thread::sleep((time * number / PIECES).saturating_sub(begun.elapsed()));
        }
    }

    /// Lines in all.
    pub fn lines(&self) -> u64 {
        self.sample.lines.len() as u64
    }

    /// The minutes above the limit and their accesses, by time.
    pub fn alerts(&self) -> BTreeMap<i64, i64> {
        let minutes = self.sample.minutes().into_iter().map(|(n, minute)| (minute, n));
        minutes.filter(|(_, n)| *n > LIMIT).collect()
    }

    pub fn cells(&self) -> &Cells {
        &self.sample.cells
    }
}
