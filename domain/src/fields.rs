//! Fields of a line that the pipeline does not need itself and keeps as they are: sorted by name, each name
//! once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bson::Writer;
use crate::json::{Json, quote};

/// What a field holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Extra<'a> {
    /// What stands in the line.
    Json(Json<'a>),
    /// A text that was put there.
    Text(Cow<'a, str>),
}

/// Fields by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields<'a>(Vec<(Cow<'a, str>, Extra<'a>)>);

impl<'a> Fields<'a> {
    /// The fields of an object; none of any other value.
    pub fn of(json: Json<'a>) -> Self {
        Self::new(json.fields().map(|(name, value)| (name.text(), Extra::Json(value))).collect())
    }

    /// Fields in any order; of a repeated one the last counts.
    pub fn new(mut fields: Vec<(Cow<'a, str>, Extra<'a>)>) -> Self {
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        fields.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        Self(fields)
    }

    /// Adds a text under `name`, with `_` appended until there is no field of that name.
    pub fn insert(&mut self, name: &str, text: Cow<'a, str>) {
        let mut name = name.to_owned();
        let at = loop {
            match self.0.binary_search_by(|(known, _)| known.as_ref().cmp(&name)) {
                Ok(_) => name.push('_'),
                Err(at) => break at,
            }
        };
        self.0.insert(at, (name.into(), Extra::Text(text)));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them into a document. Names are made harmless: `$` and `.` become their full-width forms (as
    /// MongoDB's manual advises), NUL the replacement character, and of names that became equal the second
    /// gets `_` appended, the third `_3`, and so on.
    pub fn write(&self, document: &mut Writer) {
        let mut write = |name: &str, value: &Extra| match value {
            Extra::Json(json) => document.json(name, *json),
            Extra::Text(text) => document.string(name, text),
        };
        if self.0.iter().all(|(name, _)| !name.bytes().any(|byte| matches!(byte, b'$' | b'.' | 0))) {
            self.0.iter().for_each(|(name, value)| write(name, value));
            return;
        }
        let (mut harmless, mut equal) = (BTreeMap::new(), BTreeMap::<String, usize>::new());
        for (name, value) in &self.0 {
            let mut free = harmless_name(name);
            if harmless.contains_key(&free) {
                // Where the last one was put is remembered: a line can hold thousands of names that become
                // equal.
                let name = free.clone();
                let count = equal.entry(free.clone()).or_insert(1);
                while harmless.contains_key(&free) {
                    *count += 1;
                    free = if *count == 2 { format!("{name}_") } else { format!("{name}_{count}") };
                }
            }
            harmless.insert(free, value);
        }
        harmless.iter().for_each(|(name, value)| write(name, value));
    }

    /// Appends them as a JSON object, for people.
    pub fn to_json(&self, out: &mut String) {
        out.push('{');
        for (index, (name, value)) in self.0.iter().enumerate() {
            out.push_str(if index > 0 { "," } else { "" });
            quote(name, out);
            out.push(':');
            match value {
                Extra::Json(json) => out.push_str(json.text()),
                Extra::Text(text) => quote(text, out),
            }
        }
        out.push('}');
    }
}

fn harmless_name(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '$' => '\u{ff04}',
            '.' => '\u{ff0e}',
            '\0' => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::elements;

    fn json(fields: &Fields) -> String {
        let mut json = String::new();
        fields.to_json(&mut json);
        json
    }

    fn names(json: &str) -> Vec<String> {
        let mut bytes = Vec::new();
        let mut document = Writer::new(&mut bytes);
        Fields::of(Json::parse(json.as_bytes()).expect("valid")).write(&mut document);
        document.finish();
        elements(&bytes).map(|(name, _)| name.to_owned()).collect()
    }

    #[test]
    fn names_are_sorted_and_those_that_collide_stay_apart() {
        assert_eq!(names(r#"{"b": 1, "a": 2, "b": 3}"#), ["a", "b"]);
        assert_eq!(names(r#"{"a.b": 1, "a．b": 2}"#), ["a．b", "a．b_"]);
        assert_eq!(
            names(r#"{"..": 1, ".．": 2, "．.": 3, "．．_": 4}"#),
            ["．．", "．．_", "．．_3", "．．__"]
        );
    }

    #[test]
    fn names_that_become_equal_grow_no_longer_than_their_number() {
        // Each bit of a number as one dot or the other.
        let dots =
            |n: usize| -> String { (0..11).map(|bit| if n >> bit & 1 == 0 { '.' } else { '．' }).collect() };
        let fields: Vec<String> = (0..1 << 11).map(|n| format!(r#""{}":0"#, dots(n))).collect();
        let line = format!("{{{}}}", fields.join(","));
        assert!(line.len() < crate::LINE_BYTES_MAX);
        let names = names(&line);
        assert_eq!(names.len(), fields.len());
        assert!(names.iter().all(|name| name.len() <= dots(0).len() * 3 + "_2048".len()));
    }

    #[test]
    fn of_a_repeated_name_the_last_value_counts() {
        let fields = Fields::of(Json::parse(br#"{"b": 1, "a": 2, "b": 3, "b": 4}"#).expect("valid"));
        assert_eq!(json(&fields), r#"{"a":2,"b":4}"#);
    }

    #[test]
    fn a_text_does_not_take_the_place_of_a_field() {
        let mut fields = Fields::of(Json::parse(br#"{"device": 9, "device_": 8}"#).expect("valid"));
        fields.insert("device", "fridge".into());
        assert_eq!(json(&fields), r#"{"device":9,"device_":8,"device__":"fridge"}"#);
    }
}
