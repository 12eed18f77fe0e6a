//! Points in time, in milliseconds since 1970, as texts, and the reverse.

use chrono::{DateTime, Datelike, Timelike};

/// `2026-11-22T10:00:00Z`: where its parts are.
const LENGTH_MIN: usize = 20;

/// `2026-11-22T10:00:00.000Z`; empty beyond the years that the library knows.
pub fn rfc_3339(ms: i64) -> String {
    let Some(time) = DateTime::from_timestamp_millis(ms) else { return String::new() };
    let (day, minute) = (date(ms), time_of_day(ms));
    format!("{day}T{minute}:{:02}.{:03}Z", time.second(), time.timestamp_subsec_millis())
}

/// `2026-11-22`.
pub fn date(ms: i64) -> String {
    let Some(time) = DateTime::from_timestamp_millis(ms) else { return String::new() };
    format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day())
}

/// `10:00`.
pub fn time_of_day(ms: i64) -> String {
    let Some(time) = DateTime::from_timestamp_millis(ms) else { return String::new() };
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// What an RFC 3339 text says; `None` when it is none. The usual form is read at once, every other one by the
/// library.
pub fn from_rfc_3339(text: &str) -> Option<i64> {
    let any = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    usual(text.as_bytes()).or_else(any)
}

/// UTC, with up to nine digits of a fraction and without a leap second: what nearly every line says. `None`
/// of any other, valid or not.
fn usual(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_at_checked(LENGTH_MIN - 1)?;
    let &[a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n] = head else { return None };
    let (year, month, day) = (number(&[a, b, c, d])?, number(&[e, f])?, number(&[g, h])?);
    let (hour, minute, second) = (number(&[i, j])?, number(&[k, l])?, number(&[m, n])?);
    let fraction = match tail {
        [b'Z'] => &[],
        [b'.', digits @ .., b'Z'] if (1..=9).contains(&digits.len()) => digits,
        _ => return None,
    };
    let valid = (1..=12).contains(&month)
        && (1..=days(year, month + 1, 1) - days(year, month, 1)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60
        && fraction.iter().all(u8::is_ascii_digit);
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| i64::from(digit - b'0'));
    let millis = || digit(0) * 100 + digit(1) * 10 + digit(2);
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    valid.then(|| seconds * 1_000 + millis())
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}

/// Days from 1970-01-01 in the Gregorian calendar, of a year from 0 on
/// (<https://howardhinnant.github.io/date_algorithms.html>, `days_from_civil`). Month 13 is the next January.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March, so that the day that is not always there is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days from 1900 to 2200.
    const DAYS: std::ops::Range<i64> = -25_567..84_006;

    #[test]
    fn both_ways_the_usual_form_is_what_the_library_says() {
        for day in DAYS {
            let ms = day * 86_400_000 + (day * 7_919).rem_euclid(86_400_000);
            let time = DateTime::from_timestamp_millis(ms).expect("in range");
            let text = time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
            assert_eq!(usual(text.as_bytes()), Some(ms), "{text}");
            assert_eq!(rfc_3339(ms), text);
        }
    }

    #[test]
    fn fractions_are_cut_and_other_forms_left_to_the_library() {
        assert_eq!(usual(b"1970-01-01T00:00:00.0019Z"), Some(1));
        assert_eq!(usual(b"1970-01-01T00:00:01.5Z"), Some(1_500));
        for other in [
            "2026-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-12-32T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.1234567890Z",
            "2026-01-01T00:00:00+01:00",
            "2026-01-01 00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(usual(other.as_bytes()), None, "{other}");
            let library = DateTime::parse_from_rfc3339(other).ok();
            assert_eq!(from_rfc_3339(other), library.map(|time| time.timestamp_millis()), "{other}");
        }
    }
}
