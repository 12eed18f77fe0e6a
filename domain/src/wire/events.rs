//! The frame that a sink of raw events reads: documents and rejects of one stored batch, ready for MongoDB,
//! and the batch's counts once `access-window-aggregate` has added them.

use super::{Decoder, Encoder, Header, Kind, WireError};
use crate::normalize::RejectReason;

/// Rejects by reason, in the order of [`RejectReason::ALL`].
pub type RejectCounts = [u32; RejectReason::ALL.len()];

/// An events frame, read in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventsFrame<'a> {
    /// Where it comes from.
    pub header: Header,
    /// How many documents.
    pub accepted: u32,
    /// How many rejects, by reason.
    pub rejected: RejectCounts,
    /// Documents of `access_events`, one after the other.
    pub documents: &'a [u8],
    /// Documents of `access_rejects`, one after the other.
    pub rejects: &'a [u8],
    /// The encoded counts; empty before `access-window-aggregate`.
    pub delta: &'a [u8],
}

impl<'a> EventsFrame<'a> {
    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not an events frame of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::start(bytes, Kind::Events)?;
        let header = decoder.header()?;
        let accepted = decoder.u32()?;
        let mut rejected = RejectCounts::default();
        for count in &mut rejected {
            *count = decoder.u32()?;
        }
        let frame = Self {
            header,
            accepted,
            rejected,
            documents: decoder.bytes()?,
            rejects: decoder.bytes()?,
            delta: decoder.bytes()?,
        };
        decoder.end().map(|()| frame)
    }
}

/// Collects a batch's documents; [`EventsFrameWriter::write`] makes the frame. Kept between batches so that
/// its buffers are reused.
#[derive(Debug, Default)]
pub struct EventsFrameWriter {
    /// Documents of `access_events`.
    pub documents: Vec<u8>,
    /// Documents of `access_rejects`.
    pub rejects: Vec<u8>,
    /// How many documents.
    pub accepted: u32,
    /// How many rejects, by reason.
    pub rejected: RejectCounts,
}

impl EventsFrameWriter {
    /// Forgets the batch before.
    pub fn clear(&mut self) {
        self.documents.clear();
        self.rejects.clear();
        self.accepted = 0;
        self.rejected = RejectCounts::default();
    }

    /// Appends the frame, still without counts, to `out`.
    pub fn write(&self, header: &Header, out: &mut Vec<u8>) {
        let mut encoder = Encoder(out);
        encoder.start(Kind::Events);
        encoder.header(header);
        encoder.u32(self.accepted);
        for count in self.rejected {
            encoder.u32(count);
        }
        encoder.bytes(&self.documents);
        encoder.bytes(&self.rejects);
        encoder.u32(0);
    }
}

/// Appends to `out` the events frame `frame` with `delta` as its counts.
///
/// # Errors
/// When `frame` is not an events frame without counts.
pub fn append_delta(frame: &[u8], delta: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
    if !EventsFrame::decode(frame)?.delta.is_empty() {
        return Err(WireError::Length);
    }
    let without_length = frame.len() - size_of::<u32>();
    out.extend_from_slice(&frame[..without_length]);
    Encoder(out).bytes(delta);
    Ok(())
}
