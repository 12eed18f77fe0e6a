//! Writes one log line as JSON by hand, because a tree of values per line would cost most of the time.
//! A line can be written with a flaw in one of its required fields: most malformed lines come about so.

/// How a client writes timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampForm {
    /// RFC 3339 in UTC, with milliseconds.
    Utc,
    /// RFC 3339 with the offset of the viewer's home, with milliseconds.
    Local,
    /// A number of milliseconds since the epoch.
    EpochMs,
    /// A number of seconds since the epoch.
    EpochS,
}

/// The required fields, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    UserId,
    Timestamp,
    Device,
    ContentType,
    Country,
    City,
}

/// What is wrong with one field: another value (JSON text), or nothing at all.
#[derive(Clone, Copy)]
pub struct Flaw {
    pub field: Field,
    pub value: Option<&'static str>,
}

/// All that a line says. Texts hold nothing that JSON escapes, except `title` and `rare_member`,
/// which are JSON text already.
#[derive(Clone, Copy)]
pub struct Line {
    /// Number of the viewer; written scrambled, so that ids do not tell the home or the activity.
    pub user_number: u32,
    /// Milliseconds since the epoch, not negative.
    pub event_ms: i64,
    pub timestamp_form: TimestampForm,
    /// Minutes east of UTC of the viewer's home.
    pub offset_minutes: i32,
    pub device: &'static str,
    pub content_type: &'static str,
    pub country: &'static str,
    pub city: &'static str,
    /// Spaces after separators, and nothing but ASCII.
    pub ascii: bool,
    pub session: Option<u32>,
    pub title: Option<&'static str>,
    pub app_version: Option<&'static str>,
    pub bitrate_kbps: Option<u32>,
    /// A whole member, `"name":value`.
    pub rare_member: Option<&'static str>,
}

impl Line {
    /// Appends the line, without a newline, with at most one flaw.
    pub fn write(&self, flaw: Option<Flaw>, out: &mut Vec<u8>) {
        let mut object = Object { out, ascii: self.ascii, flaw, is_first: true };
        object.out.push(b'{');
        self.write_required(&mut object);
        if let Some(session) = self.session {
            object.name("session_id");
            object.out.extend_from_slice(b"\"s-");
            push_hex(session, object.out);
            object.out.push(b'"');
        }
        if let Some(title) = self.title {
            object.text("title", title);
        }
        if let Some(version) = self.app_version {
            object.text("app_version", version);
        }
        if let Some(bitrate_kbps) = self.bitrate_kbps {
            object.name("bitrate_kbps");
            push_number(u64::from(bitrate_kbps), object.out);
        }
        if let Some(member) = self.rare_member {
            object.separate();
            object.out.extend_from_slice(member.as_bytes());
        }
        object.out.push(b'}');
    }

    fn write_required(&self, object: &mut Object) {
        if object.is_sound(Field::UserId, "user_id") {
            object.out.extend_from_slice(b"\"u");
            push_hex(scramble(self.user_number), object.out);
            object.out.push(b'"');
        }
        if object.is_sound(Field::Timestamp, "timestamp") {
            push_timestamp(self.event_ms, self.timestamp_form, self.offset_minutes, object.out);
        }
        let texts = [
            (Field::Device, "device", self.device),
            (Field::ContentType, "content_type", self.content_type),
            (Field::Country, "country", self.country),
            (Field::City, "city", self.city),
        ];
        for (field, name, text) in texts {
            if object.is_sound(field, name) {
                object.push_text(text);
            }
        }
    }
}

/// A JSON object in the making.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    ascii: bool,
    flaw: Option<Flaw>,
    is_first: bool,
}

impl Object<'_> {
    /// Writes the name of a required field and says whether its true value has to follow.
    fn is_sound(&mut self, field: Field, name: &str) -> bool {
        match self.flaw.filter(|flaw| flaw.field == field) {
            None => {
                self.name(name);
                true
            }
            Some(Flaw { value: Some(value), .. }) => {
                self.name(name);
                self.out.extend_from_slice(value.as_bytes());
                false
            }
            Some(Flaw { value: None, .. }) => false,
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.push_text(text);
    }

    fn name(&mut self, name: &str) {
        self.separate();
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(if self.ascii { b"\": " } else { b"\":" });
    }

    fn separate(&mut self) {
        if !self.is_first {
            self.out.extend_from_slice(if self.ascii { b", " } else { b"," });
        }
        self.is_first = false;
    }

    fn push_text(&mut self, text: &str) {
        self.out.push(b'"');
        if self.ascii {
            push_ascii(text, self.out);
        } else {
            self.out.extend_from_slice(text.as_bytes());
        }
        self.out.push(b'"');
    }
}

const HEX: [u8; 16] = *b"0123456789abcdef";

fn push_ascii(text: &str, out: &mut Vec<u8>) {
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii() => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\u");
                out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(unit >> shift & 15)]));
            }
        }
    }
}

fn push_hex(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[28, 24, 20, 16, 12, 8, 4, 0].map(|shift| HEX[(number >> shift & 15) as usize]));
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut left = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a number of exactly `width` digits, at most four.
fn push_padded(number: u32, width: usize, out: &mut Vec<u8>) {
    let digits = [number / 1_000, number / 100, number / 10, number].map(|part| b'0' + (part % 10) as u8);
    out.extend_from_slice(&digits[4 - width..]);
}

fn push_timestamp(event_ms: i64, form: TimestampForm, offset_minutes: i32, out: &mut Vec<u8>) {
    match form {
        TimestampForm::Utc => {
            out.push(b'"');
            push_date_time(event_ms, out);
            out.extend_from_slice(b"Z\"");
        }
        TimestampForm::Local => {
            out.push(b'"');
            push_date_time(event_ms + i64::from(offset_minutes) * 60_000, out);
            out.push(if offset_minutes < 0 { b'-' } else { b'+' });
            let minutes = offset_minutes.unsigned_abs();
            push_padded(minutes / 60, 2, out);
            out.push(b':');
            push_padded(minutes % 60, 2, out);
            out.push(b'"');
        }
        TimestampForm::EpochMs => push_number(event_ms.unsigned_abs(), out),
        TimestampForm::EpochS => push_number(event_ms.unsigned_abs() / 1_000, out),
    }
}

/// Appends `YYYY-MM-DDTHH:MM:SS.mmm`.
fn push_date_time(ms: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(ms.div_euclid(86_400_000) as u32);
    let of_day = ms.rem_euclid(86_400_000) as u32;
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3_600_000, 2, b':'),
        (of_day / 60_000 % 60, 2, b':'),
        (of_day / 1_000 % 60, 2, b'.'),
    ];
    for (number, width, separator) in parts {
        push_padded(number, width, out);
        out.push(separator);
    }
    push_padded(of_day % 1_000, 3, out);
}

/// Year, month and day of the Gregorian calendar for days since 1970-01-01. Years start in March while
/// counting, so that the leap day is the last one and months follow a line (Howard Hinnant's algorithm).
fn civil_from_days(days: u32) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u32::from(month <= 2), month, day)
}

/// A permutation of the numbers, so that different viewers have different ids.
fn scramble(number: u32) -> u32 {
    let mut z = number.wrapping_mul(0x9e37_79b1);
    z = (z ^ (z >> 15)).wrapping_mul(0x85eb_ca6b);
    z ^ (z >> 13)
}

#[cfg(test)]
mod tests;
