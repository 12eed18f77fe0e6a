//! Hostile logs: each line becomes an event or a reject, everything adds up, and neither work nor memory grows
//! faster than the input.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;

use domain::anomaly::Detector;
use domain::normalize::{CITY_BYTES_MAX, Outcome, USER_ID_BYTES_MAX};
use domain::params::{AnomalySettings, FilterMapSettings};
use domain::wire::{AlertsFrame, Cell, Delta, DeltaFrame, Header, HeavyUser, Tick};
use domain::{LINE_BYTES_MAX, Source};
use fluvio_smartengine::SmartModuleChainInstance;
use mongodb::bson::{Document, doc};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::corpus::bytes;
use crate::sample::{Sample, all};
use crate::smartmodules::{NOW_MS, chain_from, params, process};
use crate::support::{database, database_name, mongodb_uri, streampulse};

/// Most memory of a chain that takes the largest batches of a producer.
const MEMORY_BYTES_MAX: usize = 48 << 20;
/// The same of the detector, most of whose state is bounded by 6 MiB of open minutes.
const ANOMALY_MEMORY_BYTES_MAX: usize = 96 << 20;
/// How much more work eight times the input may be: three times as much as eight times.
const WORK_FACTOR_MAX: u64 = 8 * 3;

/// A line with its fields as they stand in JSON.
fn line(user: &str, time: &str, device: &str, city: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"user_id":"{user}","timestamp":{time},"device":"{device}","content_type":"filme","country":"BR","city":"{city}"{more}}}"#
    )
    .into_bytes()
}

fn plain(more: &str) -> Vec<u8> {
    line("u", &NOW_MS.to_string(), "tv", "Rio", more)
}

/// Lines of about `size` bytes of which each has cost, or could cost, more than its length.
fn costly(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let many = |each: usize, part: &dyn Fn(usize) -> String| -> String {
        (0..size / each).map(part).collect::<Vec<_>>().join(",")
    };
    // Each bit of a number as one dot or the other, which become the same.
    let dots =
        |n: usize| -> String { (0..12).map(|bit| if n >> bit & 1 == 0 { '.' } else { '．' }).collect() };
    let suffixes = (2 * size).isqrt();
    let wide = |open: &str, close: &str| {
        format!(r#","n":{}{}{}"#, open.repeat(60), many(2, &|_| "1".to_owned()), close.repeat(60))
    };
    vec![
        ("dots", plain(&format!(",{}", many(36, &|n| format!(r#""{}":0"#, dots(n)))))),
        (
            "suffixes",
            line("u", "1790000000", "fridge", "Rio", &{
                let names = (0..suffixes).map(|n| format!(r#","device{}":0"#, "_".repeat(n + 1)));
                names.collect::<String>()
            }),
        ),
        ("long suffix", plain(&format!(r#","a.{0}":1,"a．{0}":2"#, "_".repeat(size / 2)))),
        ("same names", plain(&format!(",{}", many(6, &|_| r#""a":0"#.to_owned())))),
        ("names", plain(&format!(",{}", many(10, &|n| format!(r#""{n:05}":0"#))))),
        ("marks", line("u", "1790000000", &format!("a{}", "\u{301}\u{316}".repeat(size / 4)), "Rio", "")),
        ("ligatures", line("u", "1790000000", &"\u{fdfa}".repeat(size / 3), "Rio", "")),
        ("escapes", plain(&format!(r#","a":"{}""#, r"\u00e9\\".repeat(size / 8)))),
        ("digits", plain(&format!(r#","a":0.{}1"#, "0".repeat(size)))),
        ("numbers", plain(&format!(r#","a":[{}]"#, many(9, &|_| "1.5e-300".to_owned())))),
        ("deep arrays", plain(&wide("[", "]"))),
        (
            "deep objects",
            plain(&wide(r#"{"a":["#, "]}").replacen(r#"{"a":["#, "", 30).replacen("]}", "", 30)),
        ),
        ("brackets", "[".repeat(size).into_bytes()),
        ("quotes", vec![b'"'; size]),
        ("backslashes", vec![b'\\'; size]),
        ("spaces", [plain(""), vec![b' '; size]].concat()),
        ("broken at the end", plain(&format!(r#","a":[{}"#, many(2, &|_| "1".to_owned())))),
    ]
}

/// Batches of `count` lines in which something is another in each line.
fn floods(count: usize) -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let now = NOW_MS.to_string();
    let of = |make: &dyn Fn(usize) -> Vec<u8>| (0..count).map(make).collect::<Vec<_>>();
    vec![
        ("devices", of(&|n| line("u", &now, &format!("d{n}"), "Rio", ""))),
        ("cities", of(&|n| line("u", &now, "tv", &format!("{n:0>96}"), ""))),
        ("users", of(&|n| line(&format!("{n:0>256}"), &now, "tv", "Rio", ""))),
        ("minutes", of(&|n| line("u", &(NOW_MS - n as i64 * 60_000).to_string(), "tv", "Rio", ""))),
        ("days", of(&|n| line("u", &(946_684_800 + n * 86_400).to_string(), "tv", &n.to_string(), ""))),
        ("rejects", of(&|n| format!("{{{n}").into_bytes())),
    ]
}

/// A line that was made to do harm, without an end of line in it.
fn hostile(rng: &mut impl Rng) -> Vec<u8> {
    const TIMES: [&str; 16] = [
        "946684800",
        "946684799",
        "4102444799.999",
        "4102444800",
        "\"1999-12-31T23:59:60Z\"",
        "1e308",
        "-0",
        "1e11",
        "99999999999",
        "\"2099-12-31T23:59:59.999999999Z\"",
        "\"+10000-01-01T00:00:00Z\"",
        "9223372036854775807",
        "9223372036854775808",
        "\"0000-01-01T00:00:00+23:59\"",
        "\" 2026-11-22T10:00:00Z \"",
        "null",
    ];
    const TEXTS: [&str; 14] = [
        r"\ud800",
        r"\udc00\ud800",
        r"\u0000",
        r"a\u0000b",
        "\u{feff}",
        r"\ud83d\ude00",
        "$where",
        "__proto__",
        "<script>",
        " ",
        r"\t",
        "\u{202e}",
        "|",
        "..",
    ];
    const MORE: [&str; 10] = [
        r#","user_id":"twice""#,
        r#","user_id":7"#,
        r#","timestamp":"x""#,
        r#","":0,"":1"#,
        r#","$set":{"$a.b":1}"#,
        r#","a":1e400"#,
        r#","_id":{"$oid":"x"}"#,
        r#","a":[[],{},[{}]]"#,
        r#","device_":1,"device":"toaster""#,
        r#","a":-9223372036854775809"#,
    ];
    let text = |rng: &mut dyn rand::RngCore, bytes_max: usize| match rng.random_range(0..4) {
        0 => (*TEXTS.choose(rng).expect("some")).to_owned(),
        1 => "x".repeat(bytes_max + rng.random_range(0..2)),
        2 => "é".repeat(bytes_max / 2),
        _ => format!("{}", rng.random::<u32>()),
    };
    let time = match rng.random_range(0..3) {
        0 => (*TIMES.choose(rng).expect("some")).to_owned(),
        _ => (NOW_MS + rng.random_range(-3_600_000..3_600_000)).to_string(),
    };
    let valid = {
        let (user, city) = (text(rng, USER_ID_BYTES_MAX), text(rng, CITY_BYTES_MAX));
        let device = text(rng, 40);
        let more = if rng.random() { "" } else { *MORE.choose(rng).expect("some") };
        line(&user, &time, &device, &city, more)
    };
    let mut line = match rng.random_range(0..10) {
        0 => (0..rng.random_range(0..2_000)).map(|_| rng.random()).collect(),
        1 => [b"\xef\xbb\xbf".to_vec(), valid].concat(),
        2 => valid[..rng.random_range(0..=valid.len())].to_vec(),
        3 => plain(&format!(r#","a":"{}""#, "x".repeat(LINE_BYTES_MAX + rng.random_range(0..100) - 150))),
        4 => {
            let levels = rng.random_range(55..70);
            plain(&format!(r#","a":{}{}"#, "[".repeat(levels), "]".repeat(levels)))
        }
        5 | 6 => {
            let mut line = valid;
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(0..line.len());
                line[at] = rng.random();
            }
            line
        }
        _ => valid,
    };
    line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    line
}

#[test]
fn every_hostile_line_is_an_event_or_a_reject() {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..600 {
        let lines: Vec<_> = (0..rng.random_range(1..6)).map(|_| hostile(&mut rng)).collect();
        bytes::line(&lines.join(&b'\n'));
    }
    for (_, line) in costly(LINE_BYTES_MAX / 2).iter().chain(&costly(LINE_BYTES_MAX + 1)) {
        bytes::line(line);
    }
    floods(300).iter().for_each(|(_, lines)| bytes::line(&lines.join(&b'\n')));
}

/// The chain of job events, and the instructions that a batch took in it.
fn events_chain() -> SmartModuleChainInstance {
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let chain = [
        (&modules.filter_map[..], params(&[("output", "frame")])),
        (&modules.window_aggregate[..], params(&[])),
    ];
    chain_from(&chain, &[], MEMORY_BYTES_MAX).expect("a chain")
}

fn work(chain: &mut SmartModuleChainInstance, lines: &[Vec<u8>]) -> u64 {
    chain.metrics_reset();
    assert_eq!(process(chain, 0, lines).len(), 1);
    let work = chain.metrics_export().values().map(|metrics| metrics.fuel_used()).sum();
    assert!(work > lines.iter().map(Vec::len).sum::<usize>() as u64 / 16, "the engine counts: {work}");
    work
}

#[test]
fn work_grows_as_the_input_does() {
    let mut chain = events_chain();
    let size = LINE_BYTES_MAX / 9;
    for ((name, small), (_, large)) in costly(size).into_iter().zip(costly(8 * size)) {
        assert!(large.len() <= LINE_BYTES_MAX, "{name} has {} bytes", large.len());
        let (small, large) = (work(&mut chain, &[small]), work(&mut chain, &[large]));
        assert!(large < WORK_FACTOR_MAX * small, "a line of {name}: {small} became {large}");
    }
    // So many lines and bytes a batch of a producer has at most.
    for ((name, small), (_, large)) in floods(600).into_iter().zip(floods(4_800)) {
        let (small, large) = (work(&mut chain, &small), work(&mut chain, &large));
        assert!(large < WORK_FACTOR_MAX * small, "a flood of {name}: {small} became {large}");
    }
}

/// Counts of a batch that names as much as one can.
fn largest(offset: u64, rng: &mut impl Rng) -> Vec<u8> {
    // Of today, since those from the future are forgotten, and all after event time, since those before are judged.
    let first = NOW_MS as u64 / 60_000 - 600 + offset * 20;
    let minute = |n: u64| u32::try_from(first + n % 20).expect("far below");
    let letter = |n: u64| b'A' + u8::try_from(n % 26).expect("a letter");
    let cell = |n: u64| Cell {
        minute: minute(n),
        zone: 0,
        country: [letter(n), letter(n / 26)],
        city: format!("{n:0>96}"),
        counts: vec![(0, 0, 1), (15, 15, u32::MAX)],
    };
    let names = || (0..16).map(|n| format!("n{n}")).collect();
    let heavy =
        |n: u64| HeavyUser { minute: minute(n), n: u32::MAX, user_id: format!("{:0>256}", offset * 64 + n) };
    let delta = Delta {
        devices: names(),
        content_types: names(),
        cells: (0..2_000).map(cell).collect(),
        users: (0..20).map(|n| (minute(n), (0..500).map(|_| rng.random()).collect())).collect(),
        heavy_users: (0..64).map(heavy).collect(),
        event_time_ms: Some(NOW_MS - 600 * 60_000),
        ..Delta::default()
    };
    let source = Source::new(0, 0).expect("in range");
    let header = Header {
        source,
        base_offset: offset,
        last_offset: offset,
        stored_at_ms: NOW_MS * 2,
        ..Header::default()
    };
    let mut frame = Vec::new();
    DeltaFrame { header, part: 0, parts: 1, delta }.encode(&mut frame);
    frame
}

#[test]
fn memory_of_guests_and_their_state_stay_within_bounds() {
    let mut chain = events_chain();
    for (base_offset, (_, lines)) in (0..).zip(floods(4_800)) {
        assert_eq!(process(&mut chain, base_offset * 4_800, &lines).len(), 1);
    }
    let modules = streampulse::modules::load().expect("the SmartModules are built in");
    let limits = params(&[("limit_per_minute", "1")]);
    let mut wasm = chain_from(&[(&modules.anomaly[..], limits.clone())], &[], ANOMALY_MEMORY_BYTES_MAX)
        .expect("a chain");
    let mut native = Detector::new(AnomalySettings::parse(&limits).expect("valid"), &[]).expect("fresh");
    let (mut rng, mut state_bytes_most) = (ChaCha8Rng::seed_from_u64(12), 0);
    for offset in 0..30 {
        let mut tick = Vec::new();
        let wall_ms = NOW_MS + offset as i64 * 60_000;
        Tick { wall_ms, end_of_input: false, positions: Vec::new() }.encode(&mut tick);
        let frames = [largest(offset, &mut rng), tick];
        let from_wasm = process(&mut wasm, offset as i64 * 2, &frames);
        let native = native.run(offset * 2, frames.iter().map(Vec::as_slice));
        assert!(from_wasm == [native], "batch {offset} differs");
        let frame = AlertsFrame::decode(native).expect("a frame");
        assert_eq!(frame.fault, "");
        state_bytes_most = state_bytes_most.max(frame.state.len());
    }
    assert!(state_bytes_most > 1 << 20, "the flood fills it: {state_bytes_most}");
    assert!(state_bytes_most < 12 << 20, "it fits into a document of MongoDB: {state_bytes_most}");
}

/// What lines are, by the name of their reason; events have none.
fn expected(lines: &[Vec<u8>]) -> (i64, BTreeMap<String, i64>) {
    let settings = FilterMapSettings::parse(&params(&[])).expect("valid");
    let (mut accepted, mut rejected) = (0, BTreeMap::new());
    for line in lines {
        match settings.normalizer.normalize(line) {
            Outcome::Accepted(_) => accepted += 1,
            Outcome::Rejected(reject) => *rejected.entry(reject.reason.name().to_owned()).or_default() += 1,
        }
    }
    (accepted, rejected)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_log_through_the_pipeline_adds_up() {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut lines = Sample::valid(200, 1).lines;
    lines.extend((0..1_500).map(|_| hostile(&mut rng)));
    lines.extend(costly(LINE_BYTES_MAX / 2).into_iter().map(|(_, line)| line));
    lines.extend(floods(150).into_iter().flat_map(|(_, lines)| lines));
    lines.push(b"[]".to_vec());
    lines.push(String::from_utf8(plain("")).expect("text").replace("\"BR\"", "\"XX\"").into_bytes());
    lines.push(vec![b'x'; 1 << 20]);
    let (accepted, rejected) = expected(&lines);
    assert!(accepted > 1_000 && rejected.len() == 8, "{accepted} events, {rejected:?}");

    let (name, dir) = (database_name("hostile"), tempfile::tempdir().expect("a temporary folder"));
    let flags = format!("--data-dir data --database {name} --mongodb-uri {}", mongodb_uri());
    let mut command = streampulse(dir.path(), &format!("up --file - --until-drained --summary json {flags}"));
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut pipeline = command.spawn().expect("the command starts");
    let mut stdin = pipeline.stdin.take().expect("piped");
    let count = lines.len() as i64;
    let writer = std::thread::spawn(move || stdin.write_all(&lines.join(&b'\n')));
    let output = pipeline.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().expect("no panic").expect("all was read");

    let summary: Value = serde_json::from_slice(&output.stdout).expect("the summary, alone");
    let number = |key: &str| summary[key].as_i64().expect("a number");
    assert_eq!([number("read"), number("accepted"), number("stored")], [count, accepted, accepted]);
    assert_eq!(summary["rejected_by_reason"], serde_json::to_value(&rejected).expect("plain"));
    let database = database(&name).await;
    let stored = |name: &'static str| {
        let collection = database.collection::<Document>(name);
        async move { collection.count_documents(doc! {}).await.expect("a count") as i64 }
    };
    let rejects: i64 = rejected.values().sum();
    assert_eq!((stored("access_events").await, stored("access_rejects").await), (accepted, rejects));
    assert_eq!(accepted + rejects, count);
    for (collection, events) in
        [("access_minutes", accepted), ("access_rollups_1m", accepted), ("access_rollups_1d", accepted)]
    {
        let sum: i64 =
            all(&database, collection).await.iter().map(|window| window.get_i64("n").expect("n")).sum();
        assert_eq!(sum, events, "{collection}");
    }
}
