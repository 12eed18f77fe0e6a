//! What `access-anomaly` gives for one stored batch of `access-rollups`: alerts as they stand now, and the
//! detector's state whenever it is worth a checkpoint.

use super::{Decoder, Encoder, Kind, WireError};

/// An alerts frame, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertsFrame<'a> {
    /// [`crate::CODE_HASH`] of the SmartModule that made it.
    pub code_hash: u64,
    /// Offset in `access-rollups` of the batch's first frame.
    pub base_offset: u64,
    /// Offset in `access-rollups` of the batch's last frame.
    pub last_offset: u64,
    /// Documents of `access_alerts`, one after the other; each replaces the one with its `_id`.
    pub alerts: &'a [u8],
    /// The detector's state after the batch, or empty when it is not handed out this time.
    pub state: &'a [u8],
    /// Why the detector cannot go on; empty when it can. The sink must stop.
    pub fault: &'a str,
}

impl<'a> AlertsFrame<'a> {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder(out);
        encoder.start(Kind::Alerts);
        encoder.u64(self.code_hash);
        encoder.u64(self.base_offset);
        encoder.u64(self.last_offset);
        encoder.bytes(self.alerts);
        encoder.bytes(self.state);
        encoder.text(self.fault);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not an alerts frame of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::start(bytes, Kind::Alerts)?;
        let code_hash = decoder.u64()?;
        let (base_offset, last_offset) = decoder.span(u64::MAX)?;
        let frame = Self {
            code_hash,
            base_offset,
            last_offset,
            alerts: decoder.bytes()?,
            state: decoder.bytes()?,
            fault: decoder.text()?,
        };
        decoder.end().map(|()| frame)
    }
}
