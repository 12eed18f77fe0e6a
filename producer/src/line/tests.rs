//! Lines and timestamps, byte for byte.

use super::*;

const LINE: Line = Line {
    user_number: 7,
    event_ms: 1_795_341_600_123,
    timestamp_form: TimestampForm::Utc,
    offset_minutes: -180,
    device: "tv",
    content_type: "movie",
    country: "BR",
    city: "São Paulo",
    ascii: false,
    session: None,
    title: None,
    app_version: None,
    bitrate_kbps: None,
    rare_member: None,
};

#[track_caller]
fn check(line: Line, flaw: Option<Flaw>, expected: &str) {
    let mut out = Vec::new();
    line.write(flaw, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[track_caller]
fn check_time(event_ms: i64, form: TimestampForm, offset_minutes: i32, expected: &str) {
    let mut out = Vec::new();
    push_timestamp(event_ms, form, offset_minutes, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn lines_are_compact_or_ascii() {
    check(
        LINE,
        None,
        concat!(
            r#"{"user_id":"u757ce4cf","timestamp":"2026-11-22T10:00:00.123Z","device":"tv","#,
            r#""content_type":"movie","country":"BR","city":"São Paulo"}"#
        ),
    );
    let full = Line {
        ascii: true,
        timestamp_form: TimestampForm::EpochS,
        session: Some(0xab),
        title: Some("海"),
        app_version: Some("9.4.1"),
        bitrate_kbps: Some(0),
        rare_member: Some(r#""x":[]"#),
        ..LINE
    };
    check(
        full,
        None,
        concat!(
            r#"{"user_id": "u757ce4cf", "timestamp": 1795341600, "device": "tv", "#,
            r#""content_type": "movie", "country": "BR", "city": "S\u00e3o Paulo", "#,
            r#""session_id": "s-000000ab", "title": "\u6d77", "app_version": "9.4.1", "#,
            r#""bitrate_kbps": 0, "x":[]}"#
        ),
    );
}

#[test]
fn a_flaw_replaces_or_removes_a_field() {
    check(
        LINE,
        Some(Flaw { field: Field::UserId, value: None }),
        concat!(
            r#"{"timestamp":"2026-11-22T10:00:00.123Z","device":"tv","#,
            r#""content_type":"movie","country":"BR","city":"São Paulo"}"#
        ),
    );
    check(
        LINE,
        Some(Flaw { field: Field::City, value: Some("42") }),
        concat!(
            r#"{"user_id":"u757ce4cf","timestamp":"2026-11-22T10:00:00.123Z","device":"tv","#,
            r#""content_type":"movie","country":"BR","city":42}"#
        ),
    );
}

#[test]
fn timestamps_have_four_forms() {
    let ms = LINE.event_ms;
    check_time(ms, TimestampForm::Local, -180, "\"2026-11-22T07:00:00.123-03:00\"");
    check_time(ms, TimestampForm::Local, 330, "\"2026-11-22T15:30:00.123+05:30\"");
    check_time(ms, TimestampForm::EpochMs, 0, "1795341600123");
    check_time(ms, TimestampForm::EpochS, 0, "1795341600");
    check_time(0, TimestampForm::Utc, 0, "\"1970-01-01T00:00:00.000Z\"");
}

#[test]
fn dates_agree_with_chrono() {
    for day in (0..47_482).step_by(13).chain([11_016, 11_017, 47_481]) {
        let ms = day * 86_400_000 + 86_399_999;
        let expected = chrono::DateTime::from_timestamp_millis(ms).unwrap();
        check_time(ms, TimestampForm::Utc, 0, &expected.format("\"%Y-%m-%dT%H:%M:%S%.3fZ\"").to_string());
    }
}

#[test]
fn user_ids_do_not_collide() {
    let ids: std::collections::HashSet<u32> = (0..100_000).map(scramble).collect();
    assert_eq!(ids.len(), 100_000);
}
