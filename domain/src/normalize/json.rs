//! Reading a line's JSON: one pass that keeps the required fields as they stand in the line, borrowed where
//! possible, and everything else as values.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{FieldNames, RejectReason};
use crate::bson::DEPTH_MAX;

/// The value of a required field; what is neither text nor number only says that it was there.
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    Other,
}

/// The fields of a line.
pub(super) struct Fields<'a> {
    pub required: [Option<Scalar<'a>>; 6],
    pub extra: Map<String, Value>,
}

/// The fields of a line, or why it has none.
pub(super) fn parse<'a>(line: &'a [u8], names: &FieldNames) -> Result<Fields<'a>, RejectReason> {
    let starts_object = line.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let mut json = serde_json::Deserializer::from_slice(line);
    let parsed = if starts_object {
        json.deserialize_map(FieldsVisitor { names }).and_then(|fields| json.end().map(|()| Some(fields)))
    } else {
        IgnoredAny::deserialize(&mut json).and_then(|_| json.end().map(|()| None))
    };
    match parsed {
        Ok(Some(fields)) => Ok(fields),
        Ok(None) => Err(RejectReason::NotObject),
        Err(_) if nesting(line) > DEPTH_MAX => Err(RejectReason::TooDeep),
        Err(_) => Err(RejectReason::NotJson),
    }
}

/// Deepest nesting of brackets outside of strings, whether or not the text is JSON.
fn nesting(line: &[u8]) -> usize {
    let (mut level, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                level += 1;
                deepest = deepest.max(level);
            }
            b'}' | b']' if !in_string => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct FieldsVisitor<'n> {
    names: &'n FieldNames,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_> {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields { required: [const { None }; 6], extra: Map::new() };
        while let Some(Key(key)) = map.next_key()? {
            match self.names.position(&key) {
                Some(index) => fields.required[index] = Some(map.next_value()?),
                None => {
                    fields.extra.insert(key.into_owned(), map.next_value()?);
                }
            }
        }
        Ok(fields)
    }
}

/// A key, borrowed from the line where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl<'de> Visitor<'de> for ScalarVisitor {
            type Value = Scalar<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number as f64))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number as f64))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Other)
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}
