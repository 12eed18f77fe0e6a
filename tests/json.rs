//! JSON of a line, against the reference parser: the same texts are taken, and the same values come out.

use domain::json::{DEPTH_MAX, Json, JsonError, Kind, fields, quote};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

const ROUNDS: u64 = 20_000;
const MUTATIONS_MAX: usize = 3;

/// Any value, small enough to be written often.
fn value(rng: &mut impl Rng, level: usize) -> Value {
    match rng.random_range(0..if level < 4 { 9 } else { 7 }) {
        0 => Value::Null,
        1 => Value::Bool(rng.random()),
        2 => i64::into(rng.random()),
        3 => u64::into(rng.random()),
        4 => f64::into((rng.random::<f64>() - 0.5) * 10_f64.powi(rng.random_range(-300..300))),
        5 => u8::into(rng.random()),
        6 => text(rng).into(),
        7 => (0..rng.random_range(0..4)).map(|_| value(rng, level + 1)).collect::<Vec<_>>().into(),
        _ => object(rng, level + 1).into(),
    }
}

fn object(rng: &mut impl Rng, level: usize) -> Map<String, Value> {
    (0..rng.random_range(0..4)).map(|_| (text(rng), value(rng, level))).collect()
}

fn text(rng: &mut impl Rng) -> String {
    let characters: Vec<char> = "ab \"\\/\n\t\u{1}é＄😀0.[{".chars().collect();
    (0..rng.random_range(0..20)).filter_map(|_| characters.choose(rng)).collect()
}

/// As ours has it.
fn read(json: Json) -> Value {
    match json.kind() {
        Kind::Null => Value::Null,
        Kind::Bool(value) => value.into(),
        Kind::Whole(value) => value.into(),
        Kind::Double(value) => value.into(),
        Kind::Text(text) => text.into(),
        Kind::Array => json.elements().map(read).collect::<Vec<_>>().into(),
        Kind::Object => json.fields().map(|(name, value)| (name.text().into_owned(), read(value))).collect(),
    }
}

/// Numbers beyond `i64` are doubles in ours, and the reference reads some doubles a bit off.
fn same(ours: &Value, reference: &Value) -> bool {
    match (ours, reference) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
            (a - b).abs() <= a.abs() * 1e-15
        }
        (ours, reference) => ours == reference,
    }
}

/// A text in which some bytes are others, missing or doubled.
fn mutated(rng: &mut impl Rng, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..rng.random_range(0..=MUTATIONS_MAX) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..3) {
            0 if at < bytes.len() => {
                bytes.remove(at);
            }
            1 if at < bytes.len() => bytes[at] = *b"\"\\{}[],:u0e-+.\x00\xff d".choose(rng).unwrap_or(&b' '),
            _ => bytes.insert(at, *b"\"\\{}[],:u0e-+.tn \n9".choose(rng).unwrap_or(&b' ')),
        }
    }
    bytes
}

#[test]
fn what_the_reference_takes_is_taken_and_is_the_same() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let (mut valid, mut invalid) = (0, 0);
    for _ in 0..ROUNDS {
        let json = value(&mut rng, 0);
        let text = if rng.random() { json.to_string() } else { format!(" {json:#}\r\n") };
        let bytes = mutated(&mut rng, &text);
        match (Json::parse(&bytes), serde_json::from_slice::<Value>(&bytes)) {
            (Ok(ours), Ok(reference)) => {
                assert!(
                    same(&read(ours), &reference),
                    "{} is {:?}",
                    String::from_utf8_lossy(&bytes),
                    read(ours)
                );
                valid += 1;
            }
            (Err(_), Err(_)) => invalid += 1,
            (ours, reference) => panic!("{}: {ours:?}, {reference:?}", String::from_utf8_lossy(&bytes)),
        }
    }
    assert!(valid > ROUNDS / 4 && invalid > ROUNDS / 4, "{valid} valid, {invalid} not");
}

#[test]
fn the_fields_of_a_line_are_those_of_the_reference() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for _ in 0..ROUNDS {
        let json: Value = object(&mut rng, 0).into();
        let bytes = mutated(&mut rng, &json.to_string());
        let mut ours = Map::new();
        let taken = fields(&bytes, |name, value| {
            ours.insert(name.text().into_owned(), read(value));
        });
        match (taken, serde_json::from_slice::<Value>(&bytes)) {
            (Ok(true), Ok(reference)) => assert!(same(&ours.into(), &reference), "{reference}"),
            (Ok(false), Ok(reference)) => assert!(!reference.is_object()),
            (Err(_), Err(_)) => {}
            (taken, reference) => {
                panic!("{}: {taken:?}, {reference:?}", String::from_utf8_lossy(&bytes))
            }
        }
    }
}

#[test]
fn escapes_are_characters() {
    let text = |json: &str| match Json::parse(json.as_bytes()).map(Json::kind) {
        Ok(Kind::Text(text)) => Some(text.into_owned()),
        _ => None,
    };
    assert_eq!(text(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\uDE00""#).as_deref(), Some("\"\\/\u{8}\u{c}\n\r\té😀"));
    for wrong in [r#""\ud83d""#, r#""\ud83dx""#, r#""\udE00""#, r#""\ud83d\u0041""#, r#""\u00""#, r#""\x""#] {
        assert_eq!(text(wrong), None, "{wrong}");
    }
}

#[test]
fn what_is_quoted_is_read_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for _ in 0..ROUNDS {
        let (text, mut quoted) = (text(&mut rng), String::new());
        quote(&text, &mut quoted);
        assert_eq!(serde_json::from_str::<String>(&quoted).ok(), Some(text), "{quoted}");
    }
}

#[test]
fn numbers_keep_their_value() {
    let kind = |json: &'static str| Json::parse(json.as_bytes()).map(Json::kind);
    assert_eq!(kind("9223372036854775807"), Ok(Kind::Whole(i64::MAX)));
    assert_eq!(kind("9223372036854775808"), Ok(Kind::Double(9_223_372_036_854_775_808.0)));
    assert_eq!(kind("-0"), Ok(Kind::Double(-0.0)));
    assert_eq!(kind("0.1"), Ok(Kind::Double(0.1)));
    assert_eq!(kind("1e2"), Ok(Kind::Double(100.0)));
    for wrong in ["1e999", "01", "1.", ".5", "-", "+1", "1e", "0x1", "NaN"] {
        assert_eq!(kind(wrong), Err(JsonError::Syntax), "{wrong}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested =
        |levels: usize| Json::parse(("[".repeat(levels) + &"]".repeat(levels)).as_bytes()).map(|_| ());
    assert_eq!(nested(DEPTH_MAX), Ok(()));
    assert_eq!(nested(DEPTH_MAX + 1), Err(JsonError::Depth));
    let line = format!("{{\"a\":{}}}", "[".repeat(DEPTH_MAX - 1) + &"]".repeat(DEPTH_MAX - 1));
    assert_eq!(fields(line.as_bytes(), |_, _| {}), Ok(true));
}
