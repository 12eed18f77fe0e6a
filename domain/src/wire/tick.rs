//! The only source of time downstream: what the clock said when it was written, and how far every partition
//! had been read by then. A replay sees the same ticks.

use super::{Decoder, Encoder, Kind, WireError};
use crate::event_id::Source;

/// How far a partition has been forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionPosition {
    /// Which partition.
    pub source: Source,
    /// Offset of the first line that is not forwarded yet.
    pub next_offset: u64,
    /// Offset that the next stored line will get; equal to `next_offset` when all is forwarded.
    pub end_offset: u64,
}

/// A tick.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tick {
    /// Wall time in milliseconds since 1970.
    pub wall_ms: i64,
    /// No more input will come; whatever is open closes.
    pub end_of_input: bool,
    /// Every partition that the writer of the tick forwards.
    pub positions: Vec<PartitionPosition>,
}

impl Tick {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder(out);
        encoder.start(Kind::Tick);
        encoder.i64(self.wall_ms);
        encoder.u8(u8::from(self.end_of_input));
        encoder.count(self.positions.len());
        for position in &self.positions {
            encoder.u32(position.source.epoch);
            encoder.u32(position.source.partition);
            encoder.u64(position.next_offset);
            encoder.u64(position.end_offset);
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not a tick of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::start(bytes, Kind::Tick)?;
        let (wall_ms, end_of_input) = (decoder.i64()?, decoder.u8()? != 0);
        let mut positions = Vec::new();
        for _ in 0..decoder.count(24)? {
            let source = decoder.source()?;
            let (next_offset, end_offset) = (decoder.u64()?, decoder.u64()?);
            positions.push(PartitionPosition { source, next_offset, end_offset });
        }
        decoder.end().map(|()| Self { wall_ms, end_of_input, positions })
    }
}
