//! A stored batch in Fluvio's encoding, walked in place, and the records that go out.

use fluvio_smartmodule::dataplane::core::{Decoder, DecoderVarInt, Encoder, EncoderVarInt};
use fluvio_smartmodule::dataplane::smartmodule::SmartModuleExtraParams;

use crate::memory::memory_bytes;

/// One stored batch, as Fluvio hands it to a SmartModule.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Offset of the first record in its partition.
    pub base_offset: i64,
    /// When the batch was stored, in milliseconds since 1970.
    pub base_timestamp: i64,
    records: &'a [u8],
}

/// One record of a batch, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset in its partition.
    pub offset: i64,
    /// Offset relative to the batch.
    pub offset_delta: i64,
    /// Time relative to the batch, in milliseconds.
    pub timestamp_delta: i64,
    /// The key, if there is one.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads a `SmartModuleInput` without copying its records; gives the rest of the bytes too.
    pub(crate) fn decode(bytes: &'a [u8], version: i16) -> Option<(Self, &'a [u8])> {
        let mut rest = bytes;
        let base_offset = i64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let records = take_counted(&mut rest)?;
        let mut base_timestamp = -1;
        if version <= 22 {
            SmartModuleExtraParams::default().decode(&mut rest, version).ok()?;
        }
        if (16..=22).contains(&version) {
            take_counted(&mut rest)?;
        }
        if version >= 22 {
            base_timestamp = i64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?);
        }
        Some((Self { base_offset, base_timestamp, records }, rest))
    }

    /// The records, in order. Ends early on bytes that are no records, which the host never hands over.
    pub fn records(&self) -> impl Iterator<Item = Record<'a>> + Clone + use<'a> {
        let base_offset = self.base_offset;
        let mut rest = self.records;
        let count = take(&mut rest, 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        (0..count).map_while(move |_| record(&mut rest, base_offset))
    }
}

fn record<'a>(rest: &mut &'a [u8], base_offset: i64) -> Option<Record<'a>> {
    let length = varint(rest)?;
    let mut inner = take(rest, length)?;
    take(&mut inner, 1)?;
    let mut timestamp_delta: i64 = 0;
    timestamp_delta.decode_varint(&mut inner).ok()?;
    let mut offset_delta: i64 = 0;
    offset_delta.decode_varint(&mut inner).ok()?;
    let has_key = take(&mut inner, 1)? == [1];
    let key = if has_key { Some(take_varint_counted(&mut inner)?) } else { None };
    let value = take_varint_counted(&mut inner)?;
    Some(Record { offset: base_offset.wrapping_add(offset_delta), offset_delta, timestamp_delta, key, value })
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

pub(crate) fn take_counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, length as usize)
}

fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut value: i64 = 0;
    value.decode_varint(rest).ok()?;
    usize::try_from(value).ok()
}

fn take_varint_counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(rest)?;
    take(rest, length)
}

/// The records that go out, encoded as they are added.
#[derive(Debug, Default)]
pub struct Output {
    bytes: Vec<u8>,
    count: u32,
}

impl Output {
    /// Forgets the call before; its memory stays.
    pub(crate) fn start(&mut self) {
        self.bytes.clear();
        self.bytes.extend_from_slice(&[0; 4]);
        self.count = 0;
    }

    /// Adds a record that stands for the whole batch: it has the first record's place. Its key tells in
    /// decimal digits how many bytes of memory the chain has: this module, and those before it, as the key of
    /// their record tells.
    pub fn push_batch(&mut self, before: Option<&[u8]>, value: &[u8]) {
        let before = before.and_then(|key| str::from_utf8(key).ok()?.parse().ok()).unwrap_or(0);
        let key = memory_bytes().saturating_add(before).to_string();
        let key = Some(key.as_bytes());
        self.push(&Record { offset: 0, offset_delta: 0, timestamp_delta: 0, key, value });
    }

    /// Adds a record in the place of `record`, with its key and its value.
    pub fn push(&mut self, record: &Record) {
        let mut head = Vec::with_capacity(32);
        head.push(0);
        put_varint(&mut head, record.timestamp_delta);
        put_varint(&mut head, record.offset_delta);
        match record.key {
            Some(key) => {
                head.push(1);
                put_varint(&mut head, key.len() as i64);
                head.extend_from_slice(key);
            }
            None => head.push(0),
        }
        put_varint(&mut head, record.value.len() as i64);
        let headers = [0];
        put_varint(&mut self.bytes, (head.len() + record.value.len() + headers.len()) as i64);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(record.value);
        self.bytes.extend_from_slice(&headers);
        self.count += 1;
    }

    /// Ends the `SmartModuleOutput`: the number of records, and that there was no error. Gives that number.
    pub(crate) fn finish(&mut self) -> i32 {
        self.bytes[..4].copy_from_slice(&self.count.to_be_bytes());
        self.bytes.push(0);
        i32::try_from(self.count).expect("at most one record for each that came in")
    }

    /// Ends a `SmartModuleAggregateOutput` with an empty accumulator.
    pub(crate) fn finish_aggregate(&mut self) -> i32 {
        let count = self.finish();
        self.bytes.extend_from_slice(&0_u32.to_be_bytes());
        count
    }

    /// Puts an encoded value without records in the place of everything so far.
    pub(crate) fn replace(&mut self, value: &impl Encoder, version: i16) -> i32 {
        self.bytes.clear();
        value.encode(&mut self.bytes, version).expect("a Vec takes all");
        0
    }

    #[cfg(any(test, target_arch = "wasm32"))]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    value.encode_varint(out).expect("a Vec takes all");
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluvio_smartmodule::dataplane::record::Record as FluvioRecord;
    use fluvio_smartmodule::dataplane::smartmodule::{
        SMARTMODULE_TIMESTAMPS_VERSION as VERSION, SmartModuleInput, SmartModuleOutput,
    };

    fn fluvio_records() -> Vec<FluvioRecord> {
        let mut records = vec![FluvioRecord::new("one"), FluvioRecord::new_key_value("k", vec![7; 300])];
        records[1].preamble.set_offset_delta(1);
        records[1].preamble.set_timestamp_delta(250);
        records
    }

    #[test]
    fn what_fluvio_encodes_is_walked_in_place() {
        let mut input = SmartModuleInput::try_from_records(fluvio_records(), VERSION).expect("valid");
        input.set_base_offset(40);
        input.set_base_timestamp(1_000);
        let mut bytes = Vec::new();
        input.encode(&mut bytes, VERSION).expect("valid");
        let (batch, rest) = Batch::decode(&bytes, VERSION).expect("valid");
        assert_eq!((batch.base_offset, batch.base_timestamp, rest), (40, 1_000, &[][..]));
        let expected = [
            Record { offset: 40, offset_delta: 0, timestamp_delta: 0, key: None, value: b"one" },
            Record { offset: 41, offset_delta: 1, timestamp_delta: 250, key: Some(b"k"), value: &[7; 300] },
        ];
        assert_eq!(batch.records().collect::<Vec<_>>(), expected);
        for length in 0..bytes.len() {
            assert!(Batch::decode(&bytes[..length], VERSION).is_none());
        }
    }

    #[test]
    fn a_batch_tells_the_memory_of_the_chain() {
        let mut output = Output::default();
        output.start();
        output.push_batch(None, b"a");
        output.push_batch(Some(b"65536"), b"b");
        output.push_batch(Some(b"no number"), b"c");
        output.push_batch(Some(b"18446744073709551615"), b"d");
        output.finish();
        let mut decoded = SmartModuleOutput::default();
        decoded.decode(&mut output.bytes(), VERSION).expect("valid");
        let keys = decoded.successes.iter().map(|record| record.key().map(|key| key.to_vec()));
        let expected = ["0", "65536", "0", "18446744073709551615"];
        assert!(keys.eq(expected.map(|key| Some(key.as_bytes().to_vec()))));
    }

    #[test]
    fn fluvio_decodes_what_goes_out() {
        let value = vec![7; 300];
        let mut output = Output::default();
        for _ in 0..2 {
            output.start();
            output.push(&Record { offset: 0, offset_delta: 0, timestamp_delta: 0, key: None, value: b"one" });
            output.push(&Record {
                offset: 41,
                offset_delta: 1,
                timestamp_delta: 250,
                key: Some(b"k"),
                value: &value,
            });
            assert_eq!(output.finish(), 2);
        }
        let mut decoded = SmartModuleOutput::default();
        decoded.decode(&mut output.bytes(), VERSION).expect("valid");
        assert!(decoded.error.is_none());
        assert_eq!(format!("{:?}", decoded.successes), format!("{:?}", fluvio_records()));
    }
}
