//! One log line becomes an event or a reject. Nothing else can happen: a line never fails and never vanishes.
//!
//! Rules, in the order in which they are checked:
//! - a line over [`LINE_BYTES_MAX`] is `too_large`;
//! - JSON nested deeper than [`DEPTH_MAX`] is `too_deep`, other text that is not JSON is `not_json`, JSON
//!   that
//!   is no object is `not_object`; of a repeated key the last counts;
//! - a required field that is absent or blank is `missing_field`, one of another type (`null` included) is
//!   `wrong_type`, a `user_id` over [`USER_ID_BYTES_MAX`] or a `city` over [`CITY_BYTES_MAX`] is `too_large`;
//! - a time that is neither RFC 3339 nor epoch seconds or milliseconds, or lies outside of the years
//!   2000 to 2099, is `bad_timestamp`;
//! - a country that is not in ISO 3166-1 alpha-2 is `bad_country`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::bson::Writer;
use crate::event_id::EventId;
use crate::fields::{Extra, Fields};
use crate::json::{self, DEPTH_MAX, Json, JsonError, Kind};
use crate::vocabulary::Vocabulary;
use crate::{LINE_BYTES_MAX, time, zones};

/// Longest `user_id` in bytes.
pub const USER_ID_BYTES_MAX: usize = 256;
/// Longest `city` in bytes.
pub const CITY_BYTES_MAX: usize = 96;
/// Longest part of a rejected line that is kept, in bytes.
pub const LINE_KEPT_BYTES_MAX: usize = 4 * 1024;
/// Longest original spelling of an unknown device or content type that is kept, in bytes.
pub const SPELLING_KEPT_BYTES_MAX: usize = 256;
/// First accepted event time: 2000-01-01T00:00:00Z, in milliseconds.
pub const EVENT_TIME_MS_MIN: i64 = 946_684_800_000;
/// First event time that is not accepted any more: 2100-01-01T00:00:00Z, in milliseconds.
pub const EVENT_TIME_MS_END: i64 = 4_102_444_800_000;
/// Epoch numbers below this are seconds, others milliseconds.
const EPOCH_SECONDS_END: f64 = 1e11;

/// The required fields, in the order of [`Field`].
pub const REQUIRED: [&str; 6] = ["user_id", "timestamp", "device", "content_type", "country", "city"];

/// A required field of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who.
    UserId,
    /// When.
    Timestamp,
    /// On what.
    Device,
    /// What kind of content.
    ContentType,
    /// In which country.
    Country,
    /// In which city.
    City,
}

impl Field {
    /// The name in events and rejects, whatever the log calls it.
    pub fn name(self) -> &'static str {
        REQUIRED[self as usize]
    }
}

/// Why a line is no event: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RejectReason {
    /// Not a JSON text.
    NotJson,
    /// JSON, but no object.
    NotObject,
    /// A required field is absent or blank.
    MissingField,
    /// A required field has another type.
    WrongType,
    /// The time cannot be read or is out of range.
    BadTimestamp,
    /// Not a country of ISO 3166-1.
    BadCountry,
    /// The line or a field of it is over its limit.
    TooLarge,
    /// Nested too deep.
    TooDeep,
}

impl RejectReason {
    /// All reasons, in the order of their index.
    pub const ALL: [Self; 8] = [
        Self::NotJson,
        Self::NotObject,
        Self::MissingField,
        Self::WrongType,
        Self::BadTimestamp,
        Self::BadCountry,
        Self::TooLarge,
        Self::TooDeep,
    ];

    /// The text stored in `access_rejects`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NotObject => "not_object",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadCountry => "bad_country",
            Self::TooLarge => "too_large",
            Self::TooDeep => "too_deep",
        }
    }
}

/// A line that is no event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: RejectReason,
    /// Which field is at fault, where one is.
    pub field: Option<Field>,
}

/// What a line became.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// An event.
    Accepted(Event<'a>),
    /// Not an event.
    Rejected(Reject),
}

/// One access: who watched what, when, where and on which device.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Who; not blank, at most [`USER_ID_BYTES_MAX`].
    pub user_id: Cow<'a, str>,
    /// Event time in milliseconds since 1970, from [`EVENT_TIME_MS_MIN`] to before [`EVENT_TIME_MS_END`].
    pub ts_ms: i64,
    /// Index into the vocabulary of devices.
    pub device: u8,
    /// Index into the vocabulary of content types.
    pub content_type: u8,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: [u8; 2],
    /// Not blank, at most [`CITY_BYTES_MAX`].
    pub city: Cow<'a, str>,
    /// Fields that are not required, and the original spelling of a device or content type that is `other`.
    pub extra: Fields<'a>,
}

/// What the log calls the required fields.
#[derive(Clone, Debug)]
pub struct FieldNames([String; 6]);

impl FieldNames {
    /// The usual names, replaced by `foreign`: usual name to foreign name.
    ///
    /// # Errors
    /// Says which key is not a required field, or which foreign name is empty or given twice.
    pub fn new(foreign: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut names = REQUIRED.map(str::to_owned);
        for (name, foreign) in foreign {
            match REQUIRED.iter().position(|required| required == name) {
                Some(index) => names[index].clone_from(foreign),
                None => {
                    let required = REQUIRED.join(", ");
                    return Err(format!("fields has {name:?}, must be one of {required}"));
                }
            }
        }
        for (index, name) in names.iter().enumerate() {
            if name.is_empty() || names[..index].contains(name) {
                return Err(format!(
                    "fields gives the name {name:?} for {}: empty or given twice",
                    REQUIRED[index]
                ));
            }
        }
        Ok(Self(names))
    }

    /// What the log calls a field.
    pub fn get(&self, field: Field) -> &str {
        &self.0[field as usize]
    }

    fn position(&self, key: &str) -> Option<usize> {
        self.0.iter().position(|name| name == key)
    }
}

/// Turns lines into events; holds the tables for it.
#[derive(Clone, Debug)]
pub struct Normalizer {
    fields: FieldNames,
    devices: Vocabulary,
    content_types: Vocabulary,
    countries: [[bool; 26]; 26],
}

impl Normalizer {
    /// A normalizer with its tables.
    pub fn new(fields: FieldNames, devices: Vocabulary, content_types: Vocabulary) -> Self {
        let mut countries = [[false; 26]; 26];
        for country in zones::all_countries() {
            let [row, column] = country.map(|letter| usize::from(letter - b'A'));
            countries[row][column] = true;
        }
        Self { fields, devices, content_types, countries }
    }

    /// The vocabulary that [`Event::device`] indexes.
    pub fn devices(&self) -> &Vocabulary {
        &self.devices
    }

    /// The vocabulary that [`Event::content_type`] indexes.
    pub fn content_types(&self) -> &Vocabulary {
        &self.content_types
    }

    /// What `line` is. The event borrows from it where it can.
    pub fn normalize<'a>(&self, line: &'a [u8]) -> Outcome<'a> {
        match self.event(line) {
            Ok(event) => Outcome::Accepted(event),
            Err(reject) => Outcome::Rejected(reject),
        }
    }

    /// Appends the document of `access_events` for `event` to `out`.
    pub fn write_event(&self, event: &Event, id: EventId, out: &mut Vec<u8>) {
        let mut document = Writer::new(out);
        document.int64("_id", id.get());
        document.date("ts", event.ts_ms);
        document.string("user_id", &event.user_id);
        document.string("device", self.devices.name(event.device));
        document.string("content_type", self.content_types.name(event.content_type));
        document.string("country", country_text(&event.country));
        document.string("city", &event.city);
        if !event.extra.is_empty() {
            document.document("extra", |extra| event.extra.write(extra));
        }
        document.finish();
    }

    fn event<'a>(&self, line: &'a [u8]) -> Result<Event<'a>, Reject> {
        if line.len() > LINE_BYTES_MAX {
            return reject(RejectReason::TooLarge, None);
        }
        let mut fields = self.fields(line)?;
        let user_id = text(&fields, Field::UserId, USER_ID_BYTES_MAX)?;
        let ts_ms = timestamp(&fields)?;
        let device = fold(&mut fields, Field::Device, &self.devices)?;
        let content_type = fold(&mut fields, Field::ContentType, &self.content_types)?;
        let country = self.country(&text(&fields, Field::Country, LINE_BYTES_MAX)?)?;
        let city = text(&fields, Field::City, CITY_BYTES_MAX)?;
        Ok(Event { user_id, ts_ms, device, content_type, country, city, extra: fields.extra })
    }

    /// The line's fields; of a repeated one the last.
    fn fields<'a>(&self, line: &'a [u8]) -> Result<LineFields<'a>, Reject> {
        let (mut required, mut extra) = ([None; REQUIRED.len()], Vec::new());
        let taken = json::fields(line, |name, value| {
            let name = name.text();
            match self.fields.position(&name) {
                Some(index) => required[index] = Some(value),
                None => extra.push((name, Extra::Json(value))),
            }
        });
        match taken {
            Ok(true) => Ok(LineFields { required, extra: Fields::new(extra) }),
            Ok(false) => reject(RejectReason::NotObject, None),
            Err(JsonError::Depth) => reject(RejectReason::TooDeep, None),
            Err(JsonError::Syntax) if nesting(line) > DEPTH_MAX => reject(RejectReason::TooDeep, None),
            Err(JsonError::Syntax) => reject(RejectReason::NotJson, None),
        }
    }

    fn country(&self, text: &str) -> Result<[u8; 2], Reject> {
        let known = |code: &[u8; 2]| {
            let [row, column] = code.map(|letter| usize::from(letter.wrapping_sub(b'A')));
            self.countries.get(row).and_then(|row| row.get(column)).copied().unwrap_or(false)
        };
        match <[u8; 2]>::try_from(text.as_bytes()).map(|code| code.map(|letter| letter.to_ascii_uppercase()))
        {
            Ok(code) if known(&code) => Ok(code),
            _ => reject(RejectReason::BadCountry, Some(Field::Country)),
        }
    }
}

/// Appends the document of `access_rejects` for `line` to `out`. `line_bytes` is the length of the whole
/// line, of which `line` may be only the beginning; `seen_at_ms` is the stored batch's time.
pub fn write_reject(
    reject: &Reject,
    line: &[u8],
    line_bytes: u64,
    seen_at_ms: i64,
    id: EventId,
    out: &mut Vec<u8>,
) {
    let mut document = Writer::new(out);
    document.int64("_id", id.get());
    document.string("reason", reject.reason.name());
    if let Some(field) = reject.field {
        document.string("field", field.name());
    }
    document.string("line", &String::from_utf8_lossy(&line[..line.len().min(LINE_KEPT_BYTES_MAX)]));
    document.int64("bytes", i64::try_from(line_bytes).unwrap_or(i64::MAX));
    document.date("seen_at", seen_at_ms);
    document.finish();
}

/// The two letters of a country code as text.
pub fn country_text(code: &[u8; 2]) -> &str {
    std::str::from_utf8(code).unwrap_or("??")
}

fn reject<T>(reason: RejectReason, field: Option<Field>) -> Result<T, Reject> {
    Err(Reject { reason, field })
}

/// The fields of a line.
struct LineFields<'a> {
    required: [Option<Json<'a>>; REQUIRED.len()],
    extra: Fields<'a>,
}

/// A required text: not blank, without spaces around it, at most `bytes_max` long.
fn text<'a>(fields: &LineFields<'a>, field: Field, bytes_max: usize) -> Result<Cow<'a, str>, Reject> {
    let text = match fields.required[field as usize].map(Json::kind) {
        Some(Kind::Text(text)) => text,
        Some(_) => return reject(RejectReason::WrongType, Some(field)),
        None => return reject(RejectReason::MissingField, Some(field)),
    };
    let trimmed = match text {
        text if is_trimmed(&text) => text,
        Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
        Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
    };
    match trimmed.len() {
        0 => reject(RejectReason::MissingField, Some(field)),
        length if length > bytes_max => reject(RejectReason::TooLarge, Some(field)),
        _ => Ok(trimmed),
    }
}

/// Whether there is no space around a text, as its first and last byte tell where both are ASCII.
fn is_trimmed(text: &str) -> bool {
    let is_graphic = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    is_graphic(text.as_bytes().first()) && is_graphic(text.as_bytes().last())
}

fn timestamp(fields: &LineFields) -> Result<i64, Reject> {
    let bad = || Reject { reason: RejectReason::BadTimestamp, field: Some(Field::Timestamp) };
    let epoch_ms = |number: f64| {
        let millis =
            if number.abs() < EPOCH_SECONDS_END { (number * 1000.0).round() } else { number.floor() };
        // A float beyond the range of i64 saturates, which the range check below refuses.
        millis as i64
    };
    let ts_ms = match fields.required[Field::Timestamp as usize].map(Json::kind) {
        Some(Kind::Whole(number)) => epoch_ms(number as f64),
        Some(Kind::Double(number)) => epoch_ms(number),
        _ => time::from_rfc_3339(&text(fields, Field::Timestamp, LINE_BYTES_MAX)?).ok_or_else(bad)?,
    };
    if (EVENT_TIME_MS_MIN..EVENT_TIME_MS_END).contains(&ts_ms) { Ok(ts_ms) } else { Err(bad()) }
}

/// The vocabulary's index for a field's text; an unknown text is `other` and its original goes to `extra`.
fn fold(fields: &mut LineFields, field: Field, vocabulary: &Vocabulary) -> Result<u8, Reject> {
    let text = text(fields, field, LINE_BYTES_MAX)?;
    Ok(vocabulary.index(&text).unwrap_or_else(|| {
        let kept = text.floor_char_boundary(SPELLING_KEPT_BYTES_MAX);
        let kept = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[..kept]),
            Cow::Owned(text) => Cow::Owned(text[..kept].to_owned()),
        };
        fields.extra.insert(field.name(), kept);
        vocabulary.other()
    }))
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

#[cfg(test)]
mod tests;
