//! Evidence that counts are off by a factor: logarithms of likelihood ratios of a negative binomial model,
//! summed up as long as they are positive (Page's CUSUM), and divided by the dispersion that was learned.

use crate::anomaly::bytes::{Reader, Writer};

/// Variance of the rate that is always allowed for, as a share of its square: a standard deviation of 7 %.
const RATE_VARIANCE: f64 = 0.005;

/// The variance of a count where so much is expected, as long as nothing more is learned.
pub(in crate::anomaly) fn variance(expected: f64) -> f64 {
    expected + RATE_VARIANCE * expected * expected + 1.0
}

/// `ln(P(count | factor * expected) / P(count | expected))`, in nats.
pub(super) fn evidence(count: f64, expected: f64, factor: f64) -> f64 {
    let shape = 1.0 / RATE_VARIANCE;
    let expected = expected.max(0.0);
    let rates = libm::log((shape + factor * expected) / (shape + expected));
    count * libm::log(factor) - (count + shape) * rates
}

/// A number, or the bound that it passes; never a panic, whatever the bounds are that a state brought about.
pub(super) fn within(number: f64, low: f64, high: f64) -> f64 {
    if number < low {
        low
    } else if number > high {
        high
    } else {
        number
    }
}

/// Evidence summed up, in nats; never below 0.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub(super) struct Sum(pub f64);

impl Sum {
    /// Adds evidence, where `limit` is enough: at most `most` for, and a third of the limit against. Of what
    /// was there, `kept` stays.
    pub fn add(&mut self, nats: f64, kept: f64, most: f64, limit: f64) {
        self.0 = (kept * self.0 + nats.clamp(-limit / 3.0, most)).clamp(0.0, 1.5 * limit);
    }
}

/// By how much counts of blocks of minutes vary more than the model says, learned from blocks without
/// incidents.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Dispersion {
    value: f64,
    blocks: u32,
    minutes: u32,
    counted: f64,
    expected: f64,
}

/// Blocks that the first value is worth.
const PRIOR_BLOCKS: f64 = 8.0;
const PRIOR: f64 = 2.0;
/// Span of the mean over blocks.
const SPAN_BLOCKS: f64 = 200.0;
/// A block counts at most this many times the value.
const OUTLIER: f64 = 8.0;

impl Default for Dispersion {
    fn default() -> Self {
        Self { value: PRIOR, blocks: 0, minutes: 0, counted: 0.0, expected: 0.0 }
    }
}

impl Dispersion {
    /// What to divide evidence by: at least 1.
    pub fn value(&self) -> f64 {
        self.value.max(1.0)
    }

    /// What to divide the evidence of silence by. With accesses that come in bunches, and so vary `d` times
    /// as much as single ones, silence is more likely only by `ln(d) / (d - 1)` in the exponent.
    pub fn of_none(&self) -> f64 {
        let more = self.value() - 1.0;
        if more < 1e-3 { 1.0 } else { more / libm::log(1.0 + more) }
    }

    /// Adds a minute to a block of `block_minutes`; gives the sums of a full one, counted and expected.
    pub fn add(&mut self, count: f64, expected: f64, block_minutes: u32) -> Option<(f64, f64)> {
        self.counted += count;
        self.expected += expected.max(0.0);
        self.minutes += 1;
        (self.minutes >= block_minutes).then(|| {
            let sums = (self.counted, self.expected);
            self.skip();
            sums
        })
    }

    /// Learns a full block.
    pub fn learn(&mut self, (counted, expected): (f64, f64)) {
        let off = counted - expected;
        let seen = (off * off / variance(expected)).min(OUTLIER * self.value());
        let weight = (1.0 / SPAN_BLOCKS).max(1.0 / (f64::from(self.blocks) + PRIOR_BLOCKS));
        self.value += weight * (seen - self.value);
        self.blocks = (self.blocks + 1).min(SPAN_BLOCKS as u32);
    }

    /// Throws away a block that has begun.
    pub fn skip(&mut self) {
        (self.minutes, self.counted, self.expected) = (0, 0.0, 0.0);
    }

    pub fn encode(&self, out: &mut Writer) {
        out.f64(self.value);
        out.f64(self.counted);
        out.f64(self.expected);
        out.u8(self.blocks as u8);
        out.u8(self.minutes as u8);
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let (value, counted, expected) = (bytes.f64()?, bytes.f64()?, bytes.f64()?);
        let (blocks, minutes) = (bytes.u8()?.into(), bytes.u8()?.into());
        Some(Self { value, blocks, minutes, counted, expected })
    }
}
