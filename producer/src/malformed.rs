//! Lines that are no events: what broken clients, cut connections and foreign writers leave in a log.
//! Every one of them is rejected by the pipeline, each kind for its own reason, and none holds a newline.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::line::{Field, Flaw, Line};

/// Appends a malformed variation of `line`, without a newline.
pub fn write_malformed(line: &Line, rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
    match rng.random_range(0..100) {
        0..50 => line.write(Some(FLAWS[rng.random_range(0..FLAWS.len())]), out),
        50..65 => write_truncated(line, rng, out),
        65..85 => out.extend_from_slice(FOREIGN[rng.random_range(0..FOREIGN.len())].as_bytes()),
        85..92 => write_binary(rng, out),
        92..95 => write_long_user_id(rng, out),
        95..97 => write_deep(rng, out),
        _ => write_array(line, out),
    }
}

/// Flaws of one required field: absent, of another type, or a value that cannot be read.
const FLAWS: [Flaw; 37] = [
    flaw(Field::UserId, None),
    flaw(Field::UserId, Some("null")),
    flaw(Field::UserId, Some("\"\"")),
    flaw(Field::UserId, Some("8812731")),
    flaw(Field::UserId, Some("[\"u1\"]")),
    flaw(Field::Timestamp, None),
    flaw(Field::Timestamp, Some("null")),
    flaw(Field::Timestamp, Some("true")),
    flaw(Field::Timestamp, Some("\"\"")),
    flaw(Field::Timestamp, Some("\"yesterday\"")),
    flaw(Field::Timestamp, Some("\"22/11/2026 10:00:00\"")),
    flaw(Field::Timestamp, Some("\"2026-02-30T10:00:00Z\"")),
    flaw(Field::Timestamp, Some("\"2026-11-22T25:61:00Z\"")),
    flaw(Field::Timestamp, Some("\"2026-11-22 at ten\"")),
    flaw(Field::Timestamp, Some("\"0000-01-01T00:00:00Z\"")),
    flaw(Field::Timestamp, Some("\"9999-12-31T23:59:59Z\"")),
    flaw(Field::Timestamp, Some("-1")),
    flaw(Field::Timestamp, Some("0")),
    flaw(Field::Timestamp, Some("1e300")),
    flaw(Field::Device, None),
    flaw(Field::Device, Some("null")),
    flaw(Field::Device, Some("3")),
    flaw(Field::Device, Some("{\"type\":\"tv\"}")),
    flaw(Field::ContentType, None),
    flaw(Field::ContentType, Some("[]")),
    flaw(Field::ContentType, Some("false")),
    flaw(Field::Country, None),
    flaw(Field::Country, Some("\"XX\"")),
    flaw(Field::Country, Some("\"ZZ\"")),
    flaw(Field::Country, Some("\"BRA\"")),
    flaw(Field::Country, Some("\"Brasil\"")),
    flaw(Field::Country, Some("55")),
    flaw(Field::City, None),
    flaw(Field::City, Some("\"   \"")),
    flaw(Field::City, Some("null")),
    flaw(Field::City, Some("NaN")),
    flaw(Field::City, Some("\"S\\xc3\\xa3o Paulo\"")),
];

/// Whole lines that something else wrote into the log.
const FOREIGN: [&str; 14] = [
    "",
    "",
    "   \t",
    "null",
    "42",
    "\"just a string\"",
    "{}",
    "{\"user_id\":\"u1\",}",
    "{'user_id': 'u1', 'device': 'tv'}",
    "203.0.113.7 - - [22/Nov/2026:10:00:00 +0000] \"GET /play/8821 HTTP/1.1\" 200 5120",
    "<34>1 2026-11-22T10:00:00Z edge-3 player 4711 - - connection reset by peer",
    "Traceback (most recent call last):",
    "    at com.example.player.Session.close(Session.java:214)",
    "user_id,timestamp,device,content_type,country,city",
];

const BINARY_BYTES_MAX: usize = 96;
/// Longer than any pipeline accepts for an id, shorter than what makes a line long.
const LONG_ID_BYTES: usize = 300;
/// More levels than any JSON reader follows.
const DEEP_LEVELS: usize = 200;

const fn flaw(field: Field, value: Option<&'static str>) -> Flaw {
    Flaw { field, value }
}

fn write_truncated(line: &Line, rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
    let start = out.len();
    line.write(None, out);
    let kept = rng.random_range(1..out.len() - start);
    out.truncate(start + kept);
}

fn write_binary(rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
    // A byte that neither UTF-8 nor JSON can begin with keeps chance from writing a valid line.
    out.push(0xff);
    let length = rng.random_range(3..BINARY_BYTES_MAX);
    out.extend((0..length).map(|_| match rng.random() {
        b'\n' | b'\r' => 0,
        byte => byte,
    }));
}

fn write_long_user_id(rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"user_id\":\"");
    out.resize(out.len() + LONG_ID_BYTES, rng.random_range(b'a'..=b'z'));
    out.extend_from_slice(b"\",\"timestamp\":1795341600,\"device\":\"tv\",\"content_type\":\"live\",");
    out.extend_from_slice(b"\"country\":\"BR\",\"city\":\"Recife\"}");
}

fn write_deep(rng: &mut ChaCha8Rng, out: &mut Vec<u8>) {
    let levels = DEEP_LEVELS + rng.random_range(0..50);
    out.extend_from_slice(b"{\"payload\":");
    out.resize(out.len() + levels, b'[');
    out.resize(out.len() + levels, b']');
    out.push(b'}');
}

fn write_array(line: &Line, out: &mut Vec<u8>) {
    out.push(b'[');
    line.write(None, out);
    out.push(b']');
}
