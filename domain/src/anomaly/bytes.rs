//! The bytes of a state: little-endian numbers, one after the other, without padding.

use std::collections::BTreeMap;

/// Appends numbers.
pub(super) struct Writer<'a>(pub &'a mut Vec<u8>);

/// Takes numbers off the front; `None` when there are no more, or when they cannot be right.
pub(super) struct Reader<'a>(pub &'a [u8]);

macro_rules! numbers {
    ($($number:ident)*) => {
        impl Writer<'_> {
            $(pub fn $number(&mut self, number: $number) {
                self.0.extend_from_slice(&number.to_le_bytes());
            })*
        }

        impl Reader<'_> {
            $(pub fn $number(&mut self) -> Option<$number> {
                let (bytes, rest) = self.0.split_first_chunk()?;
                self.0 = rest;
                Some($number::from_le_bytes(*bytes))
            })*
        }
    };
}

numbers!(u8 u16 u32 u64 i64 f32 f64);

impl Writer<'_> {
    /// How many things follow.
    pub fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("what is remembered is bounded"));
    }

    /// Bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// A time in milliseconds, if there is one.
    pub fn option(&mut self, millis: Option<i64>) {
        self.u64(u64::from(millis.is_some()));
        self.i64(millis.unwrap_or(0));
    }
}

impl<'a> Reader<'a> {
    /// Bytes that follow their length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A text that follows its length in bytes.
    pub fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// A time in milliseconds, if there is one.
    pub fn option(&mut self) -> Option<Option<i64>> {
        let is_known = self.u64()? != 0;
        Some(Some(self.i64()?).filter(|_| is_known))
    }

    /// `count` things with their keys, which ascend as those of a map do.
    pub fn map<K: Ord, V>(
        &mut self,
        count: u64,
        entry: impl Fn(&mut Self) -> Option<(K, V)>,
    ) -> Option<BTreeMap<K, V>> {
        let mut map = BTreeMap::new();
        for _ in 0..count {
            let (key, value) = entry(self)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return None;
            }
            map.insert(key, value);
        }
        Some(map)
    }

    /// The next `length` bytes.
    pub fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}
