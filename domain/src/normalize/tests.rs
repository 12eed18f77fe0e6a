//! Lines as data: what each becomes.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;
use crate::event_id::Source;
use crate::vocabulary::Spellings;

fn normalizer(fields: &[(&str, &str)]) -> Normalizer {
    let fields: BTreeMap<_, _> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Normalizer::new(
        FieldNames::new(&fields).expect("valid names"),
        Vocabulary::devices(&Spellings::new()).expect("defaults"),
        Vocabulary::content_types(&Spellings::new()).expect("defaults"),
    )
}

fn outcome(normalizer: &Normalizer, line: &[u8]) -> String {
    match normalizer.normalize(line) {
        Outcome::Accepted(event) => {
            let mut bytes = Vec::new();
            let id = EventId::new(0, Source::default(), 1).expect("in range");
            normalizer.write_event(&event, id, &mut bytes);
            let document: ::bson::Document = ::bson::RawDocument::from_bytes(&bytes)
                .and_then(|raw| raw.try_into())
                .expect("events are BSON");
            document.to_string()
        }
        Outcome::Rejected(Reject { reason, field }) => match field {
            Some(field) => format!("{} {}", reason.name(), field.name()),
            None => reason.name().to_owned(),
        },
    }
}

#[track_caller]
fn check(line: impl AsRef<[u8]>, expected: Expect) {
    expected.assert_eq(&outcome(&normalizer(&[]), line.as_ref()));
}

/// A valid line with some fields replaced (`None` removes) or added.
fn line(changes: &[(&str, Option<&str>)]) -> String {
    let mut fields: Vec<(String, String)> = [
        ("user_id", "\"u1\""),
        ("timestamp", "\"2026-11-22T10:00:00Z\""),
        ("device", "\"tv\""),
        ("content_type", "\"movie\""),
        ("country", "\"BR\""),
        ("city", "\"Rio\""),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .to_vec();
    for (key, value) in changes {
        fields.retain(|(known, _)| known != key);
        fields.extend(value.map(|value| ((*key).to_owned(), value.to_owned())));
    }
    let fields: Vec<_> = fields.iter().map(|(k, v)| format!("\"{k}\":{v}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[track_caller]
fn with(key: &str, value: &str, expected: Expect) {
    check(line(&[(key, Some(value))]), expected);
}

#[track_caller]
fn time(value: &str, expected: &str) {
    let outcome = outcome(&normalizer(&[]), line(&[("timestamp", Some(value))]).as_bytes());
    let shown = outcome.split('"').nth(5).unwrap_or(&outcome);
    assert_eq!(shown, expected, "{value}: {outcome}");
}

#[test]
fn a_line_becomes_an_event() {
    check(
        r#"{"user_id":" u7 ","timestamp":"2026-11-22T10:00:00.123-03:00","device":"Smart TV","content_type":"Série","country":"br","city":"São Paulo"}"#,
        expect![[
            r#"{ "_id": 1, "ts": DateTime("2026-11-22 13:00:00.123 +00:00:00"), "user_id": "u7", "device": "tv", "content_type": "series", "country": "BR", "city": "São Paulo" }"#
        ]],
    );
}

#[test]
fn other_fields_are_kept_and_made_harmless() {
    check(
        line(&[("$where", Some("\"1\"")), ("a.b", Some("[1,{\"$gt\":\"\"}]"))]),
        expect![[
            r#"{ "_id": 1, "ts": DateTime("2026-11-22 10:00:00.0 +00:00:00"), "user_id": "u1", "device": "tv", "content_type": "movie", "country": "BR", "city": "Rio", "extra": { "a．b": [1, { "＄gt": "" }], "＄where": "1" } }"#
        ]],
    );
}

#[test]
fn an_unknown_device_is_other_and_its_spelling_is_kept() {
    with(
        "device",
        "\"Toaster\"",
        expect![[
            r#"{ "_id": 1, "ts": DateTime("2026-11-22 10:00:00.0 +00:00:00"), "user_id": "u1", "device": "other", "content_type": "movie", "country": "BR", "city": "Rio", "extra": { "device": "Toaster" } }"#
        ]],
    );
}

#[test]
fn foreign_names_are_mapped() {
    let normalizer = normalizer(&[("timestamp", "@timestamp"), ("device", "client")]);
    let line = r#"{"user_id":"u","@timestamp":1763805600,"client":"fridge","device":9,"content_type":"live","country":"PT","city":"Porto"}"#;
    expect![[
        r#"{ "_id": 1, "ts": DateTime("2025-11-22 10:00:00.0 +00:00:00"), "user_id": "u", "device": "other", "content_type": "live", "country": "PT", "city": "Porto", "extra": { "device": 9, "device_": "fridge" } }"#
    ]]
    .assert_eq(&outcome(&normalizer, line.as_bytes()));
    check(line, expect!["missing_field timestamp"]);
}

#[test]
fn times_are_rfc_3339_or_epoch() {
    time("\"2026-11-22T10:00:00Z\"", "2026-11-22 10:00:00.0 +00:00:00");
    time("\"2026-11-22t10:00:00.9999+05:30\"", "2026-11-22 4:30:00.999 +00:00:00");
    time("1763805600", "2025-11-22 10:00:00.0 +00:00:00");
    time("1763805600.25", "2025-11-22 10:00:00.25 +00:00:00");
    time("1763805600250", "2025-11-22 10:00:00.25 +00:00:00");
    time("\"2000-01-01T00:00:00Z\"", "2000-01-01 0:00:00.0 +00:00:00");
    time("\"2099-12-31T23:59:59.999Z\"", "2099-12-31 23:59:59.999 +00:00:00");
    for wrong in [
        "\"1999-12-31T23:59:59.999Z\"",
        "\"2100-01-01T00:00:00Z\"",
        "\"0000-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59Z\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-11-22T10:00:00\"",
        "\"yesterday\"",
        "\"1763805600\"",
        "0",
        "-1",
        "1e300",
        "1763805600000000",
    ] {
        time(wrong, "bad_timestamp timestamp");
    }
}

#[test]
fn every_bad_line_has_its_reason() {
    check("", expect!["not_json"]);
    check("   ", expect!["not_json"]);
    check(b"\xff\x00\x01binary", expect!["not_json"]);
    check(r#"{"user_id":"u1","timestamp":"2026"#, expect!["not_json"]);
    check(line(&[]) + "x", expect!["not_json"]);
    check(b"{\"user_id\":\"\xff\"}", expect!["not_json"]);
    check("hello", expect!["not_json"]);
    check("[1,2]", expect!["not_object"]);
    check("null", expect!["not_object"]);
    check("\"text\"", expect!["not_object"]);
    check("{}", expect!["missing_field user_id"]);
    check(line(&[("city", None)]), expect!["missing_field city"]);
    with("user_id", "\"  \"", expect!["missing_field user_id"]);
    with("user_id", "42", expect!["wrong_type user_id"]);
    with("user_id", "null", expect!["wrong_type user_id"]);
    with("device", "[\"tv\"]", expect!["wrong_type device"]);
    with("content_type", "{\"a\":1}", expect!["wrong_type content_type"]);
    with("timestamp", "true", expect!["wrong_type timestamp"]);
    with("country", "\"XX\"", expect!["bad_country country"]);
    with("country", "\"Brazil\"", expect!["bad_country country"]);
    with("country", "\"é\"", expect!["bad_country country"]);
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    let twice = line(&[]).replacen('{', r#"{"user_id":7,"country":"XX","#, 1);
    assert!(outcome(&normalizer(&[]), twice.as_bytes()).contains("\"user_id\": \"u1\""));
}

#[test]
fn texts_are_bounded() {
    for (key, bytes_max) in [("user_id", USER_ID_BYTES_MAX), ("city", CITY_BYTES_MAX)] {
        let at = |length: usize| {
            outcome(&normalizer(&[]), line(&[(key, Some(&format!("\"{}\"", "x".repeat(length))))]).as_bytes())
        };
        assert!(at(bytes_max).starts_with('{'));
        assert_eq!(at(bytes_max + 1), format!("too_large {key}"));
    }
    let padded = |length: usize| {
        outcome(&normalizer(&[]), (line(&[]) + &" ".repeat(length - line(&[]).len())).as_bytes())
    };
    assert!(padded(LINE_BYTES_MAX).starts_with('{'));
    assert_eq!(padded(LINE_BYTES_MAX + 1), "too_large");
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let value = "[".repeat(levels) + &"]".repeat(levels);
        outcome(&normalizer(&[]), line(&[("deep", Some(&value))]).as_bytes())
    };
    assert!(nested(DEPTH_MAX - 1).starts_with('{'));
    assert_eq!(nested(DEPTH_MAX), "too_deep");
    assert_eq!(nested(20_000), "too_deep");
    check("[".repeat(10_000), expect!["too_deep"]);
    check("{\"a\":\"".to_owned() + &"[".repeat(100), expect!["not_json"]);
}

#[test]
fn a_reject_keeps_the_beginning_of_its_line() {
    let mut bytes = Vec::new();
    let reject = Reject { reason: RejectReason::TooLarge, field: None };
    let id = EventId::new(0, Source::default(), 9).expect("in range");
    write_reject(&reject, &[0xff; LINE_KEPT_BYTES_MAX + 1], 5_000_000, 1_000, id, &mut bytes);
    let document: ::bson::Document =
        ::bson::RawDocument::from_bytes(&bytes).and_then(|raw| raw.try_into()).expect("rejects are BSON");
    assert_eq!(document.get_i64("bytes").ok(), Some(5_000_000));
    assert_eq!(document.get_str("line").map(|line| line.chars().count()).ok(), Some(LINE_KEPT_BYTES_MAX));
}

#[test]
fn the_assigned_countries_are_known_and_no_others() {
    let normalizer = normalizer(&[]);
    let letters = || (b'A'..=b'Z').map(char::from);
    let known = letters()
        .flat_map(|first| letters().map(move |second| format!("{first}{second}")))
        .filter(|code| normalizer.country(code).is_ok())
        .count();
    assert_eq!(known, 249);
}
