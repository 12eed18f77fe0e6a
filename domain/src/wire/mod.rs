//! The binary frames that travel between SmartModules, topics and sinks.
//!
//! All numbers are little-endian. A frame begins with the two bytes `SP`, its [`Kind`] and the wire
//! [`VERSION`]; a reader refuses every other version. The golden test in `tests.rs` makes a changed byte a
//! reviewed difference.

mod alerts;
mod delta;
mod events;
mod tick;

use std::fmt;
use std::ops::Range;

pub use alerts::AlertsFrame;
pub use delta::{CELLS_PER_PART_MAX, Cell, Delta, DeltaFrame, HeavyUser, USERS_PER_PART_MAX};
pub use events::{EventsFrame, EventsFrameWriter, RejectCounts, append_delta};
pub use tick::{PartitionPosition, Tick};

use crate::MINUTES_END;
use crate::event_id::{OFFSETS_MAX, Source};
use crate::normalize::EVENT_TIME_MS_END;

/// Version of all frames.
pub const VERSION: u8 = 2;
/// When a batch can have been stored, in milliseconds since 1970. Whoever produces tells the time, so it
/// can be anything; see [`crate::filter_map::write_frame`] for what is done then.
pub const STORED_AT_MS: Range<i64> = 0..EVENT_TIME_MS_END;
const MAGIC: [u8; 2] = *b"SP";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Documents of one stored batch, with their deltas.
    Events = 1,
    /// Counts of one stored batch, or a part of them.
    Delta = 2,
    /// What time it is, according to the log.
    Tick = 3,
    /// Alerts and the detector's state.
    Alerts = 4,
}

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// It does not begin like a frame.
    NotAFrame,
    /// A frame of another wire version.
    Version(u8),
    /// Another kind of frame than was asked for.
    Kind(u8),
    /// It ends too early, or is longer than what it holds.
    Length,
    /// A text that is not UTF-8.
    Text,
    /// A value that no frame of ours holds.
    Value,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFrame => f.write_str("not a streampulse frame"),
            Self::Version(version) => {
                write!(f, "frame of wire version {version}, this build reads {VERSION}")
            }
            Self::Kind(kind) => write!(f, "unexpected frame of kind {kind}"),
            Self::Length => f.write_str("frame is cut or too long"),
            Self::Text => f.write_str("frame holds a text that is not UTF-8"),
            Self::Value => f.write_str("frame holds a value that is out of range"),
        }
    }
}

impl std::error::Error for WireError {}

/// Where a frame comes from, so that a sink applies each exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Header {
    /// [`crate::CODE_HASH`] of the SmartModule that made it.
    pub code_hash: u64,
    /// Hash of the settings that shaped the events.
    pub settings_hash: u64,
    /// Which partition of which topic epoch.
    pub source: Source,
    /// Offset of the stored batch's first line.
    pub base_offset: u64,
    /// Offset of the stored batch's last line.
    pub last_offset: u64,
    /// When the batch was stored, in milliseconds since 1970; in [`STORED_AT_MS`].
    pub stored_at_ms: i64,
}

/// The time of [`STORED_AT_MS`] that is nearest.
pub fn stored_at(ms: i64) -> i64 {
    ms.clamp(STORED_AT_MS.start, STORED_AT_MS.end - 1)
}

/// The kind of a frame, or why it is none.
///
/// # Errors
/// When the bytes do not begin like a frame of this version.
pub fn kind(bytes: &[u8]) -> Result<Kind, WireError> {
    let &[m0, m1, kind, version, ..] = bytes else { return Err(WireError::NotAFrame) };
    if [m0, m1] != MAGIC {
        return Err(WireError::NotAFrame);
    }
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    [Kind::Events, Kind::Delta, Kind::Tick, Kind::Alerts]
        .into_iter()
        .find(|known| *known as u8 == kind)
        .ok_or(WireError::Kind(kind))
}

/// Offsets of the first and the last record of the stored batch that a SmartModule's frame stands for: a
/// cluster tells neither to a consumer behind a SmartModule.
///
/// # Errors
/// When the bytes are no frame of kind [`Kind::Events`] or [`Kind::Alerts`].
pub fn span(bytes: &[u8]) -> Result<(u64, u64), WireError> {
    match kind(bytes)? {
        Kind::Events => {
            let header = Decoder::start(bytes, Kind::Events)?.header()?;
            Ok((header.base_offset, header.last_offset))
        }
        Kind::Alerts => AlertsFrame::decode(bytes).map(|frame| (frame.base_offset, frame.last_offset)),
        kind => Err(WireError::Kind(kind as u8)),
    }
}

/// Appends numbers and texts to a buffer.
struct Encoder<'a>(&'a mut Vec<u8>);

impl Encoder<'_> {
    fn start(&mut self, kind: Kind) {
        self.0.extend_from_slice(&MAGIC);
        self.0.extend_from_slice(&[kind as u8, VERSION]);
    }

    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A count of what is kept in memory, far below 2^32.
    fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).expect("what is in memory of a SmartModule is below 4 GiB"));
    }

    fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.0.extend_from_slice(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn header(&mut self, header: &Header) {
        self.u64(header.code_hash);
        self.u64(header.settings_hash);
        self.u32(header.source.epoch);
        self.u32(header.source.partition);
        self.u64(header.base_offset);
        self.u64(header.last_offset);
        self.i64(header.stored_at_ms);
    }
}

/// Reads numbers and texts in place.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn start(bytes: &'a [u8], expected: Kind) -> Result<Self, WireError> {
        match kind(bytes)? {
            kind if kind == expected => Ok(Self(&bytes[4..])),
            kind => Err(WireError::Kind(kind as u8)),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(WireError::Length)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        self.take(N).map(|bytes| bytes.try_into().expect("take gives what was asked"))
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, WireError> {
        self.array().map(i64::from_le_bytes)
    }

    /// A number of items of at least `item_bytes_min` each; refused when they cannot all be there, so that a
    /// hostile count never makes a reader reserve memory.
    fn count(&mut self, item_bytes_min: usize) -> Result<usize, WireError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(item_bytes_min) > self.0.len() { Err(WireError::Length) } else { Ok(count) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn text(&mut self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::Text)
    }

    fn header(&mut self) -> Result<Header, WireError> {
        let (code_hash, settings_hash, source) = (self.u64()?, self.u64()?, self.source()?);
        let (base_offset, last_offset) = self.span(OFFSETS_MAX)?;
        Ok(Header {
            code_hash,
            settings_hash,
            source,
            base_offset,
            last_offset,
            // Older versions wrote down whatever a producer said.
            stored_at_ms: stored_at(self.i64()?),
        })
    }

    fn source(&mut self) -> Result<Source, WireError> {
        let (epoch, partition) = (self.u32()?, self.u32()?);
        Source::new(epoch, partition).ok_or(WireError::Value)
    }

    /// The first and the last offset of something, which are below `end`.
    fn span(&mut self, end: u64) -> Result<(u64, u64), WireError> {
        let (first, last) = (self.u64()?, self.u64()?);
        check(first <= last && last < end).map(|()| (first, last))
    }

    /// A minute in which events can lie.
    fn minute(&mut self) -> Result<u32, WireError> {
        let minute = self.u32()?;
        check(minute < MINUTES_END).map(|()| minute)
    }

    /// A text that is not blank and has at most so many bytes.
    fn bounded_text(&mut self, bytes_max: usize) -> Result<&'a str, WireError> {
        let text = self.text()?;
        check((1..=bytes_max).contains(&text.len())).map(|()| text)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Length) }
    }
}

fn check(holds: bool) -> Result<(), WireError> {
    if holds { Ok(()) } else { Err(WireError::Value) }
}

#[cfg(test)]
mod tests;
