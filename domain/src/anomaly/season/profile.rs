//! The usual value at each time of a day or a week, one mean per bin of time.

use crate::anomaly::bytes::{Reader, Writer};

/// Visits that are told apart; more are counted as this many.
const VISITS_MAX: u8 = 15;

/// Running means of `BINS` equal parts of a period.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::anomaly) struct Profile<const BINS: usize> {
    means: [f32; BINS],
    /// How often a bin was passed, up to [`VISITS_MAX`].
    visits: [u8; BINS],
    /// The bin that time is in, and what it holds so far.
    bin: u16,
    sum: f64,
    points: u32,
}

impl<const BINS: usize> Default for Profile<BINS> {
    fn default() -> Self {
        Self { means: [0.0; BINS], visits: [0; BINS], bin: 0, sum: 0.0, points: 0 }
    }
}

/// A place in a period: the bin, and how far (0 to below 1) in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::anomaly) struct Phase {
    pub bin: usize,
    pub fraction: f64,
}

impl Phase {
    /// Where `ts_ms` lies in its period of `period_ms`, cut in `bins`.
    pub fn of(ts_ms: i64, period_ms: i64, bins: usize) -> Self {
        let position = ts_ms.rem_euclid(period_ms) as f64 * bins as f64 / period_ms as f64;
        let bin = (position as usize).min(bins - 1);
        Self { bin, fraction: position - bin as f64 }
    }
}

impl<const BINS: usize> Profile<BINS> {
    /// Lets time reach `bin`: a bin that it leaves takes the mean of its points, with at least the weight
    /// `weight_min`.
    pub fn move_to(&mut self, bin: usize, weight_min: f64) {
        let left = usize::from(self.bin);
        if bin == left {
            return;
        }
        if self.points > 0 {
            self.visits[left] = (self.visits[left] + 1).min(VISITS_MAX);
            let weight = weight_min.max(1.0 / f64::from(self.visits[left]));
            let mean = f64::from(self.means[left]);
            let seen = self.sum / f64::from(self.points);
            self.means[left] = (mean + weight * (seen - mean)) as f32;
        }
        self.bin = bin as u16;
        self.sum = 0.0;
        self.points = 0;
    }

    /// Adds a point to the bin that time is in.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.points = self.points.saturating_add(1);
    }

    pub fn mean(&self, bin: usize) -> f64 {
        f64::from(self.means[bin])
    }

    pub fn visits(&self, bin: usize) -> u8 {
        self.visits[bin]
    }

    /// The value at a phase, linear between the centers of the bins that are known.
    pub fn value(&self, phase: Phase) -> f64 {
        let Phase { bin, fraction } = phase;
        let (other, weight) = if fraction < 0.5 {
            ((bin + BINS - 1) % BINS, 0.5 - fraction)
        } else {
            ((bin + 1) % BINS, fraction - 0.5)
        };
        if self.visits[other] == 0 {
            return self.mean(bin);
        }
        (1.0 - weight) * self.mean(bin) + weight * self.mean(other)
    }

    pub fn encode(&self, out: &mut Writer) {
        self.means.iter().for_each(|&mean| out.f32(mean));
        for pair in self.visits.chunks(2) {
            out.u8(pair.iter().fold(0, |byte, visits| byte << 4 | visits));
        }
        out.u16(self.bin);
        out.f64(self.sum);
        out.u32(self.points);
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let mut profile = Self::default();
        for mean in &mut profile.means {
            *mean = bytes.f32()?;
        }
        for pair in profile.visits.chunks_mut(2) {
            let mut byte = bytes.u8()?;
            for visits in pair.iter_mut().rev() {
                *visits = byte & 0xf;
                byte >>= 4;
            }
        }
        profile.bin = bytes.u16()?;
        profile.sum = bytes.f64()?;
        profile.points = bytes.u32()?;
        (usize::from(profile.bin) < BINS).then_some(profile)
    }
}
