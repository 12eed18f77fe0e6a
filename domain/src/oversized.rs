//! The bounded envelope in which a producer sends a line that is too long to be sent: its length and its
//! beginning. `access-filter-map` turns it into a `too_large` reject, so that even such a line is accounted
//! for.

use crate::normalize::LINE_KEPT_BYTES_MAX;

/// No JSON text begins with a NUL byte, so no line is taken for an envelope by accident.
const MARK: &[u8] = b"\0streampulse/too_large/";

/// An envelope, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized<'a> {
    /// Length of the whole line in bytes.
    pub line_bytes: u64,
    /// Its beginning, at most [`LINE_KEPT_BYTES_MAX`] bytes.
    pub head: &'a [u8],
}

impl<'a> Oversized<'a> {
    /// The envelope's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let head = &self.head[..self.head.len().min(LINE_KEPT_BYTES_MAX)];
        [MARK, self.line_bytes.to_string().as_bytes(), b"\n", head].concat()
    }

    /// Reads an envelope; `None` when the line is none.
    pub fn decode(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(MARK)?;
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let line_bytes = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        Some(Self { line_bytes, head: &rest[end + 1..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_is_bounded_and_read_back() {
        let head = [b'x'; LINE_KEPT_BYTES_MAX + 1];
        let bytes = Oversized { line_bytes: 2_000_000, head: &head }.encode();
        let expected = Oversized { line_bytes: 2_000_000, head: &head[..LINE_KEPT_BYTES_MAX] };
        assert_eq!(Oversized::decode(&bytes), Some(expected));
        assert_eq!(Oversized::decode(b"{}"), None);
    }
}
