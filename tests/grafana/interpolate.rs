//! The browser's half: variables are replaced in the text of a query before anything parses it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};

/// What a dashboard has selected.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    pub from_ms: i64,
    pub to_ms: i64,
    pub interval_ms: i64,
    pub variables: BTreeMap<String, Variable>,
}

/// What is selected of a variable.
#[derive(Clone, Debug)]
pub enum Variable {
    One(String),
    Many(Vec<String>),
    /// "All" with an `allValue` of its own, which is inserted as it is, whatever the format.
    AllRaw(String),
}

/// A text with its variables replaced. Names that nobody knows stay, and so do the operators and fields of MongoDB.
pub fn interpolate(text: &str, scope: &Scope) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(['$', '[']) {
        replaced.push_str(&rest[..start]);
        rest = &rest[start..];
        let reference = Reference::at(rest);
        let length = reference.as_ref().map_or(1, |reference| reference.length);
        let value = reference.and_then(|reference| scope.value(reference.name, reference.format));
        replaced.push_str(value.as_deref().unwrap_or(&rest[..length]));
        rest = &rest[length..];
    }
    replaced.push_str(rest);
    replaced
}

/// A place where Grafana sees a variable: `$name`, `[[name:format]]` or `${name.field:format}`.
struct Reference<'a> {
    name: &'a str,
    format: Option<&'a str>,
    length: usize,
}

impl<'a> Reference<'a> {
    fn at(text: &'a str) -> Option<Self> {
        let (name, format, rest) = if let Some(rest) = text.strip_prefix("[[") {
            let (name, rest) = word(rest)?;
            let (format, rest) = match rest.strip_prefix(':').and_then(word) {
                Some((format, rest)) => (Some(format), rest),
                None => (None, rest),
            };
            (name, format, rest.strip_prefix("]]")?)
        } else if let Some(rest) = text.strip_prefix("${") {
            let (name, rest) = word(rest)?;
            let rest = match rest.strip_prefix('.') {
                Some(rest) => until(rest, &[':', '^', '}'])?.1,
                None => rest,
            };
            let (format, rest) = match rest.strip_prefix(':') {
                Some(rest) => until(rest, &['}']).map(|(format, rest)| (Some(format), rest))?,
                None => (None, rest),
            };
            (name, format, rest.strip_prefix('}')?)
        } else {
            let (name, rest) = word(text.strip_prefix('$')?)?;
            (name, None, rest)
        };
        Some(Self { name, format, length: text.len() - rest.len() })
    }
}

fn word(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// At least one character before any of these.
fn until<'a>(text: &'a str, ends: &[char]) -> Option<(&'a str, &'a str)> {
    text.find(ends).filter(|end| *end > 0).map(|end| text.split_at(end))
}

impl Scope {
    fn value(&self, name: &str, format: Option<&str>) -> Option<String> {
        if let Some(variable) = self.variables.get(name) {
            return Some(variable.text(format));
        }
        let value = match name {
            "__from" | "__local_from" => time(self.from_ms, format),
            "__to" | "__local_to" => time(self.to_ms, format),
            "__from_oid" => object_id(self.from_ms),
            "__to_oid" => object_id(self.to_ms),
            "__interval_ms" => self.interval_ms.to_string(),
            "__interval" => duration(self.interval_ms),
            // The plugin knows it only where the interval is known.
            "__dateBucketCount" if self.interval_ms > 0 => {
                let buckets = (self.to_ms - self.from_ms + self.interval_ms - 1) / self.interval_ms;
                buckets.to_string()
            }
            _ => return None,
        };
        Some(value)
    }
}

fn time(ms: i64, format: Option<&str>) -> String {
    match format {
        Some("date" | "date:iso") => DateTime::from_timestamp_millis(ms)
            .expect("a time of this age")
            .to_rfc3339_opts(SecondsFormat::Millis, true),
        Some("date:seconds") => (ms / 1000).to_string(),
        _ => ms.to_string(),
    }
}

fn object_id(ms: i64) -> String {
    format!("{:08x}{:016}", ms / 1000, 0)
}

fn duration(ms: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units.iter().find(|(_, unit_ms)| ms >= *unit_ms);
    unit.map_or_else(|| format!("{ms}ms"), |(unit, unit_ms)| format!("{}{unit}", ms / unit_ms))
}

impl Variable {
    /// As Grafana formats it; an unknown format is the default one.
    fn text(&self, format: Option<&str>) -> String {
        match (self, format.unwrap_or("glob")) {
            (Self::AllRaw(value), _) => value.clone(),
            (Self::One(value), "doublequote") => quoted(value),
            (Self::One(value), "regex") => escaped(value),
            // Not quoted even as JSON: Grafana takes a single text for JSON that is ready.
            (Self::One(value), _) => value.clone(),
            (Self::Many(values), "json") => serde_json::to_string(values).expect("texts"),
            (Self::Many(values), "doublequote") => {
                values.iter().map(|value| quoted(value)).collect::<Vec<_>>().join(",")
            }
            (Self::Many(values), "regex") if values.len() > 1 => {
                format!("({})", values.iter().map(|value| escaped(value)).collect::<Vec<_>>().join("|"))
            }
            (Self::Many(values), "regex") => escaped(&values.concat()),
            (Self::Many(values), "csv" | "raw") => values.join(","),
            (Self::Many(values), "pipe") => values.join("|"),
            (Self::Many(values), "text") => values.join(" + "),
            (Self::Many(values), _) if values.len() > 1 => format!("{{{}}}", values.join(",")),
            (Self::Many(values), _) => values.concat(),
        }
    }
}

/// Only quotes are escaped, not what else JSON would escape.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\\\""))
}

/// Escaped for a regular expression, which is not always JSON any more.
fn escaped(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        if r"\^$*+?.()|[]{}/".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}
