//! The part of BSON that documents of this project need, written straight into a byte buffer and read in
//! place. SmartModules make documents with it, so that sinks hand them to MongoDB untouched.

use serde_json::Value;

/// Deepest nesting of objects and arrays kept in a document; MongoDB itself takes 100.
pub const DEPTH_MAX: usize = 64;

const DOUBLE: u8 = 0x01;
const STRING: u8 = 0x02;
const DOCUMENT: u8 = 0x03;
const ARRAY: u8 = 0x04;
const BOOLEAN: u8 = 0x08;
const DATE: u8 = 0x09;
const NULL: u8 = 0x0a;
const INT64: u8 = 0x12;

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
    pub fn string(&mut self, key: &str, value: &str) {
        self.key(STRING, key);
        let length = u32::try_from(value.len() + 1).expect("texts are bounded by the line");
        self.out.extend_from_slice(&length.to_le_bytes());
        self.out.extend_from_slice(value.as_bytes());
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
        self.key(DOCUMENT, key);
        let mut inner = Writer::new(self.out);
        fill(&mut inner);
        inner.finish();
    }

    /// Any JSON value, its object keys made harmless with [`harmless_name`]. Stops descending at
    /// [`DEPTH_MAX`] (callers check [`depth`] first, so that nothing is cut silently).
    pub fn json(&mut self, key: &str, value: &Value) {
        self.json_at(key, value, 0);
    }

    /// Ends the document.
    pub fn finish(self) {
        self.out.push(0);
        let length = u32::try_from(self.out.len() - self.start).expect("documents are bounded by the line");
        self.out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn json_at(&mut self, key: &str, value: &Value, level: usize) {
        match value {
            Value::Null => self.null(key),
            Value::Bool(value) => {
                self.key(BOOLEAN, key);
                self.out.push(u8::from(*value));
            }
            Value::Number(number) => match number.as_i64() {
                Some(whole) => self.int64(key, whole),
                None => self.double(key, number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => self.string(key, text),
            Value::Array(values) => {
                self.key(ARRAY, key);
                let mut inner = Writer::new(self.out);
                for (index, value) in values.iter().enumerate().take_while(|_| level < DEPTH_MAX) {
                    inner.json_at(&index.to_string(), value, level + 1);
                }
                inner.finish();
            }
            Value::Object(fields) => {
                self.key(DOCUMENT, key);
                let mut inner = Writer::new(self.out);
                let fields = harmless_fields(fields.iter());
                for (name, value) in fields.iter().take_while(|_| level < DEPTH_MAX) {
                    inner.json_at(name, value, level + 1);
                }
                inner.finish();
            }
        }
    }

    fn key(&mut self, kind: u8, key: &str) {
        debug_assert!(!key.as_bytes().contains(&0), "a key with a NUL byte would end early");
        self.out.push(kind);
        self.out.extend_from_slice(key.as_bytes());
        self.out.push(0);
    }
}

/// A field name that MongoDB takes as a plain name: `$` and `.` become their full-width forms (as MongoDB's
/// manual advises), NUL becomes the replacement character.
pub fn harmless_name(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '$' => '\u{ff04}',
            '.' => '\u{ff0e}',
            '\0' => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// Fields with harmless names; names that became equal get `_` appended until they differ.
pub fn harmless_fields<'v>(
    fields: impl Iterator<Item = (&'v String, &'v Value)>,
) -> std::collections::BTreeMap<String, &'v Value> {
    let mut harmless = std::collections::BTreeMap::new();
    for (name, value) in fields {
        let mut name = harmless_name(name);
        while harmless.contains_key(&name) {
            name.push('_');
        }
        harmless.insert(name, value);
    }
    harmless
}

/// How deep a value nests: 0 for a scalar, 1 for an array of scalars.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
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
            |extra: usize| Some(u32::from_le_bytes(value.get(..4)?.try_into().ok()?) as usize + extra);
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
    use serde_json::json;

    #[test]
    fn a_reference_implementation_reads_what_is_written() {
        let value = json!({"a": [1, 2.5, null, true, {"$x.y": "z"}], "big": 18446744073709551615u64});
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.int64("_id", 7);
        writer.date("ts", 1_700_000_000_000);
        writer.string("city", "São Paulo");
        writer.json("extra", &value);
        writer.finish();
        let document: ::bson::Document = ::bson::RawDocument::from_bytes(&bytes)
            .and_then(|raw| raw.try_into())
            .expect("the bytes are BSON");
        expect_test::expect![[r#"{ "_id": 7, "ts": DateTime("2023-11-14 22:13:20.0 +00:00:00"), "city": "São Paulo", "extra": { "a": [1, 2.5, null, true, { "＄x．y": "z" }], "big": 18446744073709552000 } }"#]]
        .assert_eq(&document.to_string());
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

    #[test]
    fn names_that_collide_stay_apart() {
        let value = json!({"a.b": 1, "a．b": 2});
        let fields = harmless_fields(value.as_object().expect("an object").iter());
        assert_eq!(fields.keys().collect::<Vec<_>>(), ["a．b", "a．b_"]);
    }
}
