//! Rank surprise: how rare a residual is among the past residuals of its own stream. A histogram of
//! magnitudes on a logarithmic scale needs neither a unit nor a distribution; it forgets by halving.

/// Bins of a histogram, [`BINS_PER_OCTAVE`] to a factor of two.
pub(super) const BINS: usize = 30;
const BINS_PER_OCTAVE: f64 = 4.0;
/// Free bins above the first residual; the range moves up when they are used up.
const HEADROOM: usize = 8;
/// What one residual adds to its bin, so that halving keeps fractions.
const UNIT: u16 = 3;
/// After this many residuals everything counts half. A bin never exceeds `2 * HALF_LIFE * UNIT`, 60,000.
const HALF_LIFE: u16 = 10_000;
/// Residuals a stream needs before it may be surprised.
const WARM_UP: f64 = 100.0;
/// Residuals taken to be below all others at the start, so that few of them prove little.
const PRIOR: f64 = 100.0;
/// Surprise per octave beyond everything seen, in decades.
const DECADES_PER_OCTAVE: f64 = 0.8;

/// Magnitudes seen, by bin. The lowest bin takes everything below it too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    bins: [u16; BINS],
    /// Number of the lowest bin, in bins from a magnitude of 1; [`EMPTY`] before the first one.
    base: i16,
    since_halved: u16,
    /// Sum of the bins.
    total: u32,
    /// Highest bin in use.
    top: u8,
}

const EMPTY: i16 = i16::MIN;

impl Default for Histogram {
    fn default() -> Self {
        Self { bins: [0; BINS], base: EMPTY, since_halved: 0, total: 0, top: 0 }
    }
}

impl Histogram {
    /// The surprise at `magnitude`, in decades (`-log10` of its tail probability); then learns it. What is at
    /// most `zero` is taken for rounding.
    pub fn surprise(&mut self, magnitude: f64, zero: f64) -> f64 {
        let (bin, fraction) = self.find(magnitude, zero);
        let surprise = self.rank(bin, fraction);
        self.learn(bin);
        surprise
    }

    /// The bin of a magnitude, and how far up in it; moves the range up where that is needed.
    fn find(&mut self, magnitude: f64, zero: f64) -> (usize, f64) {
        if magnitude <= zero {
            return (0, 0.5);
        }
        let position = libm::log2(magnitude) * BINS_PER_OCTAVE;
        let number = position.floor();
        let fraction = position - number;
        // A double's magnitude is within 2^±1075: 4,300 bins from 1.
        let number = number as i16;
        if self.base == EMPTY {
            self.base = number - (BINS - 1 - HEADROOM) as i16;
        }
        let bin = number - self.base;
        if bin < 1 {
            return (0, 0.5);
        }
        let mut bin = bin as usize;
        if bin >= BINS {
            self.move_up(bin - (BINS - 1));
            bin = BINS - 1;
        }
        (bin, fraction)
    }

    fn move_up(&mut self, by: usize) {
        let merged = by.min(BINS - 1);
        let lowest: u16 = self.bins[..=merged].iter().sum();
        self.bins.copy_within(merged.., 0);
        self.bins[BINS - merged..].fill(0);
        self.bins[0] = lowest;
        self.base += by as i16;
        self.find_top();
    }

    fn rank(&self, bin: usize, fraction: f64) -> f64 {
        let seen = f64::from(self.total) / f64::from(UNIT);
        if seen < WARM_UP {
            return 0.0;
        }
        let above: u32 = self.bins.iter().skip(bin + 1).map(|&count| u32::from(count)).sum();
        let above = f64::from(above) + (1.0 - fraction) * f64::from(self.bins[bin]);
        let tail = (above / f64::from(UNIT) + 0.5) / (seen + PRIOR + 1.0);
        let mut surprise = -libm::log10(tail);
        let top = usize::from(self.top);
        if bin > top {
            let beyond = (bin - top - 1) as f64 + fraction;
            surprise += DECADES_PER_OCTAVE * beyond / BINS_PER_OCTAVE;
        }
        surprise.max(0.0)
    }

    fn learn(&mut self, bin: usize) {
        self.bins[bin] += UNIT;
        self.total += u32::from(UNIT);
        self.top = self.top.max(bin as u8);
        self.since_halved += 1;
        if self.since_halved == HALF_LIFE {
            self.since_halved = 0;
            self.bins.iter_mut().for_each(|count| *count /= 2);
            self.total = self.bins.iter().map(|&count| u32::from(count)).sum();
            self.find_top();
        }
    }

    fn find_top(&mut self) {
        self.top = self.bins.iter().rposition(|&count| count > 0).unwrap_or(0) as u8;
    }
}
