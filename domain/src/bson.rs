//! The part of BSON that documents of this project need, written straight into a byte buffer and read in
//! place. SmartModules make documents with it, so that sinks hand them to MongoDB untouched.

use std::io::Write;

use crate::fields::Fields;
use crate::json::{Json, Kind};

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0a;
const INT64: u8 = 0x12;

/// Longest text that is copied word by word.
const SHORT_BYTES_MAX: usize = 48;

/// Writes one document at the end of a buffer. Keys must not hold a NUL byte.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    /// Begins a document; it ends with [`Writer::finish`].
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        Self { out, start }
    }

    /// A text.
    #[inline]
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(STRING, key);
        let length = u32::try_from(value.len() + 1).expect("texts are bounded by the line");
        self.out.extend_from_slice(&length.to_le_bytes());
        self.put(value.as_bytes());
        self.out.push(0);
    }

    /// A whole number.
    pub fn int64(&mut self, key: &str, value: i64) {
        self.key(INT64, key);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A point in time, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn date(&mut self, key: &str, millis: i64) {
        self.key(DATE, key);
        self.out.extend_from_slice(&millis.to_le_bytes());
    }

    /// A floating-point number.
    pub fn double(&mut self, key: &str, value: f64) {
        self.key(DOUBLE, key);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// A null.
    pub fn null(&mut self, key: &str) {
        self.key(NULL, key);
    }

    /// A nested document, written by `fill`.
    pub fn document(&mut self, key: &str, fill: impl FnOnce(&mut Writer)) {
        self.nested(DOCUMENT, key, fill);
    }

    /// An array of documents, pushed by `fill`.
    pub fn documents(&mut self, key: &str, fill: impl FnOnce(&mut Array)) {
        self.nested(ARRAY, key, |writer| fill(&mut Array { writer, length: 0 }));
    }

    /// A truth value.
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.key(BOOLEAN, key);
        self.out.push(u8::from(value));
    }

    /// Any JSON value, the names in it made harmless as [`Fields`] does it.
    pub fn json(&mut self, key: &str, json: Json) {
        match json.kind() {
            Kind::Null => self.null(key),
            Kind::Bool(value) => self.boolean(key, value),
            Kind::Whole(value) => self.int64(key, value),
            Kind::Double(value) => self.double(key, value),
            Kind::Text(text) => self.string(key, &text),
            Kind::Array => self.nested(ARRAY, key, |array| {
                for (index, value) in json.elements().enumerate() {
                    array.json(&index.to_string(), value);
                }
            }),
            Kind::Object => self.document(key, |document| Fields::of(json).write(document)),
        }
    }

    /// Ends the document.
    pub fn finish(self) {
        self.out.push(0);
        let length = u32::try_from(self.out.len() - self.start).expect("documents are bounded by the line");
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn nested(&mut self, kind: u8, key: &str, fill: impl FnOnce(&mut Writer)) {
        self.key(kind, key);
        let mut inner = Writer::new(self.out);
        fill(&mut inner);
        inner.finish();
    }

    #[inline(always)]
    fn key(&mut self, kind: u8, key: &str) {
        debug_assert!(!key.as_bytes().contains(&0), "a key with a NUL byte would end early");
        self.out.push(kind);
        self.put(key.as_bytes());
        self.out.push(0);
    }

    /// Appends bytes. Most are few, and in WASM a copy of unknown length is a call out of the module, so they
    /// go eight at a time.
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > SHORT_BYTES_MAX {
            self.out.extend_from_slice(bytes);
            return;
        }
        let (words, mut rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.out.extend_from_slice(word));
        if let Some((half, more)) = rest.split_first_chunk::<4>() {
            self.out.extend_from_slice(half);
            rest = more;
        }
        if let Some((quarter, more)) = rest.split_first_chunk::<2>() {
            self.out.extend_from_slice(quarter);
            rest = more;
        }
        if let [byte] = rest {
            self.out.push(*byte);
        }
    }
}

/// An array of documents that is being written.
pub struct Array<'w, 'o> {
    writer: &'w mut Writer<'o>,
    length: usize,
}

impl Array<'_, '_> {
    /// Adds a document, as it is.
    pub fn push(&mut self, document: &[u8]) {
        let out = &mut self.writer.out;
        out.push(DOCUMENT);
        write!(out, "{}", self.length).expect("a Vec takes all");
        out.push(0);
        out.extend_from_slice(document);
        self.length += 1;
    }

    /// How many documents it holds.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        self.writer.out.len() - self.writer.start
    }
}

/// Reads a document's first elements in the order in which [`Writer`] wrote them, in place and without a look
/// at the rest.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of one document.
    pub fn new(document: &'a [u8]) -> Self {
        Self { rest: document.get(4..).unwrap_or(&[]) }
    }

    /// The next element if it is a whole number of this name.
    pub fn int64(&mut self, key: &str) -> Option<i64> {
        self.number(INT64, key)
    }

    /// The next element if it is a date of this name, in milliseconds since 1970.
    pub fn date(&mut self, key: &str) -> Option<i64> {
        self.number(DATE, key)
    }

    /// The next element if it is a text of this name, in UTF-8.
    #[inline]
    pub fn text(&mut self, key: &str) -> Option<&'a [u8]> {
        let (length, rest) = self.value(STRING, key)?.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (text, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        text.split_last().map(|(_, text)| text)
    }

    #[inline]
    fn number(&mut self, kind: u8, key: &str) -> Option<i64> {
        let (number, rest) = self.value(kind, key)?.split_first_chunk()?;
        self.rest = rest;
        Some(i64::from_le_bytes(*number))
    }

    #[inline]
    fn value(&self, kind: u8, key: &str) -> Option<&'a [u8]> {
        self.rest.strip_prefix(&[kind])?.strip_prefix(key.as_bytes())?.strip_prefix(&[0])
    }
}

/// The elements of one document as (key, value), read in place.
pub fn elements(document: &[u8]) -> Elements<'_> {
    Elements { rest: document.get(4..document.len().saturating_sub(1)).unwrap_or(&[]) }
}

/// A value read in place; what this project never reads is [`Element::Other`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Element<'a> {
    /// A text.
    String(&'a str),
    /// A whole number.
    Int64(i64),
    /// Milliseconds since 1970.
    Date(i64),
    /// A nested document or array, or any other type.
    Other,
}

/// Iterator of [`elements`]. It ends early on bytes that are not BSON.
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = (&'a str, Element<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.rest.split_first()?;
        let key_length = rest.iter().position(|&byte| byte == 0)?;
        let key = std::str::from_utf8(&rest[..key_length]).ok()?;
        let value = &rest[key_length + 1..];
        let length =
            |extra: usize| (u32::from_le_bytes(value.get(..4)?.try_into().ok()?) as usize).checked_add(extra);
        let size = match kind {
            STRING => length(4)?,
            DOCUMENT | ARRAY => length(0)?,
            DOUBLE | DATE | INT64 => 8,
            BOOLEAN => 1,
            NULL => 0,
            _ => return None,
        };
        let bytes = value.get(..size)?;
        self.rest = &value[size..];
        let element = match kind {
            STRING => Element::String(std::str::from_utf8(bytes.get(4..size - 1)?).ok()?),
            INT64 => Element::Int64(i64::from_le_bytes(bytes.try_into().ok()?)),
            DATE => Element::Date(i64::from_le_bytes(bytes.try_into().ok()?)),
            _ => Element::Other,
        };
        Some((key, element))
    }
}

/// The documents that lie one after the other in `bytes`.
pub fn documents(bytes: &[u8]) -> Documents<'_> {
    Documents { rest: bytes }
}

/// Iterator of [`documents`]. It ends early on bytes that are not BSON.
pub struct Documents<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Documents<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_le_bytes(self.rest.get(..4)?.try_into().ok()?) as usize;
        let document = self.rest.get(..length).filter(|document| document.len() >= 5)?;
        self.rest = &self.rest[length..];
        Some(document)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_implementation_reads_what_is_written() {
        let json = Json::parse(
            br#"{"a": [1, 2.5, null, true, {"$x.y": "z"}], "big": 18446744073709551615, "twice": 1, "twice": 2}"#,
        );
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.int64("_id", 7);
        writer.date("ts", 1_700_000_000_000);
        writer.string("city", "São Paulo");
        writer.json("extra", json.expect("valid"));
        writer.finish();
        let document: ::bson::Document = ::bson::RawDocument::from_bytes(&bytes)
            .and_then(|raw| raw.try_into())
            .expect("the bytes are BSON");
        expect_test::expect![[r#"{ "_id": 7, "ts": DateTime("2023-11-14 22:13:20.0 +00:00:00"), "city": "São Paulo", "extra": { "a": [1, 2.5, null, true, { "＄x．y": "z" }], "big": 18446744073709552000, "twice": 2 } }"#]]
        .assert_eq(&document.to_string());
    }

    #[test]
    fn known_elements_are_read_in_their_order() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.int64("_id", 7);
        writer.date("ts", -1);
        writer.string("city", "Rio");
        writer.finish();
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.date("ts"), reader.int64("_i"), reader.text("_id")), (None, None, None));
        assert_eq!((reader.int64("_id"), reader.date("ts")), (Some(7), Some(-1)));
        assert_eq!((reader.text("city"), reader.text("city")), (Some(&b"Rio"[..]), None));
        for length in 0..bytes.len() - 1 {
            let mut cut = Reader::new(&bytes[..length]);
            assert_eq!(cut.int64("_id").and(cut.date("ts")).and(cut.text("city")), None);
        }
    }

    #[test]
    fn elements_are_read_in_place() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.int64("_id", 7);
        writer.document("extra", |extra| extra.string("k", "v"));
        writer.string("city", "Rio");
        writer.finish();
        let read: Vec<_> = elements(&bytes).collect();
        let expected =
            [("_id", Element::Int64(7)), ("extra", Element::Other), ("city", Element::String("Rio"))];
        assert_eq!(read, expected);
        assert_eq!(elements(&bytes[..bytes.len() - 3]).count(), 2, "a cut document ends early");
    }
}
