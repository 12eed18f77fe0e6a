//! What the stream as a whole has to be: reproducible, realistic, and understood by the pipeline.

use std::collections::HashMap;

use domain::params::FilterMapSettings;
use domain::{Event, Normalizer, Outcome, Params, RejectReason};
use serde_json::Value;

use super::*;

// Sunday 2026-11-22, 23:00 UTC.
const NOW_MS: i64 = 1_795_388_400_000;

fn config(specs: &[&str]) -> GeneratorConfig {
    let incidents = specs.iter().map(|spec| Incident::parse(spec, NOW_MS).unwrap()).collect();
    GeneratorConfig { seed: 11, incidents, ..GeneratorConfig::default() }
}

/// Lines one millisecond apart, from `NOW_MS` on.
fn generate(config: GeneratorConfig, count: usize) -> Vec<(LineKind, Vec<u8>)> {
    let mut generator = Generator::new(config);
    (0..count)
        .map(|index| {
            let mut line = Vec::new();
            (generator.next_line(NOW_MS + index as i64, &mut line), line)
        })
        .collect()
}

fn normalizer() -> Normalizer {
    FilterMapSettings::parse(&Params::new()).unwrap().normalizer
}

/// The events among `lines`; every line has to be accepted or rejected as its kind says.
#[track_caller]
fn events<'a>(normalizer: &Normalizer, lines: &'a [(LineKind, Vec<u8>)]) -> Vec<(LineKind, Event<'a>)> {
    let mut events = Vec::new();
    for (kind, line) in lines {
        match (normalizer.normalize(line), kind) {
            (Outcome::Accepted(event), LineKind::Valid { .. }) => events.push((*kind, event)),
            (Outcome::Rejected(_), LineKind::Malformed) => {}
            (outcome, _) => panic!("{kind:?} {outcome:?} {}", String::from_utf8_lossy(line)),
        }
    }
    events
}

#[track_caller]
fn assert_near(actual: usize, expected: f64, tolerance: f64) {
    let actual = actual as f64;
    assert!((actual - expected).abs() <= tolerance * expected, "{actual} is not near {expected}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let specs = ["bot@+1s/3s*2", "viral@+2s/3s", "outage@+3s/3s:BR"];
    let with_seed = |seed| generate(GeneratorConfig { seed, ..config(&specs) }, 10_000);
    assert_eq!(with_seed(1), with_seed(1));
    assert_ne!(with_seed(1), with_seed(2));
}

#[test]
fn lines_are_appended_without_newlines() {
    let mut generator =
        Generator::new(GeneratorConfig { malformed_share: 0.5, ..GeneratorConfig::default() });
    let mut out = b"before".to_vec();
    for index in 0..100_000 {
        generator.next_line(NOW_MS + index, &mut out);
    }
    assert!(out.starts_with(b"before"));
    assert!(!out.contains(&b'\n'));
}

#[test]
fn valid_lines_are_json_with_the_six_fields() {
    for (kind, line) in generate(config(&[]), 20_000) {
        if kind == LineKind::Malformed {
            continue;
        }
        let value: Value = serde_json::from_slice(&line).unwrap();
        for name in ["user_id", "device", "content_type", "country", "city"] {
            assert!(value[name].as_str().is_some_and(|text| !text.is_empty()), "{value}");
        }
        assert!(value["timestamp"].is_string() || value["timestamp"].is_u64(), "{value}");
    }
}

#[test]
fn the_pipeline_agrees_on_what_is_malformed() {
    let lines = generate(GeneratorConfig { malformed_share: 0.3, ..config(&["bot@+0s/1h"]) }, 100_000);
    let normalizer = normalizer();
    assert_near(events(&normalizer, &lines).len(), 70_000.0, 0.02);
    let mut reasons: HashMap<&str, usize> = HashMap::new();
    for (_, line) in &lines {
        if let Outcome::Rejected(reject) = normalizer.normalize(line) {
            *reasons.entry(reject.reason.name()).or_default() += 1;
        }
    }
    for reason in RejectReason::ALL {
        assert!(reasons.get(reason.name()).is_some_and(|&count| count > 100), "{reasons:?}");
    }
}

#[test]
fn shares_are_as_configured() {
    let lines = generate(GeneratorConfig { malformed_share: 0.02, ..config(&[]) }, 100_000);
    assert_near(lines.iter().filter(|(kind, _)| *kind == LineKind::Malformed).count(), 2_000.0, 0.1);
    let malformed = |share| {
        let lines = generate(GeneratorConfig { malformed_share: share, ..config(&[]) }, 1_000);
        lines.iter().filter(|(kind, _)| *kind == LineKind::Malformed).count()
    };
    assert_eq!([0.0, 1.0].map(malformed), [0, 1_000]);
}

#[test]
fn a_share_of_lines_is_late_and_out_of_order() {
    let mut generator =
        Generator::new(GeneratorConfig { malformed_share: 0.0, late_share: 0.05, ..config(&[]) });
    let mut delays = Vec::new();
    for _ in 0..100_000 {
        delays.push(generator.delay_ms());
    }
    let late = |from_ms: i64| delays.iter().filter(|&&delay_ms| delay_ms >= from_ms).count();
    assert_eq!(late(0), 100_000);
    assert_near(late(60_000), 5_000.0, 0.05);
    assert_eq!(late(3_001), late(60_000));
    assert_near(late(10 * 60_000), 500.0, 0.25);
    assert!(late(90 * 60_000) > 0);
    assert_eq!(late(LATE_MS_MAX + 1), 0);
}

#[test]
fn events_carry_their_time_in_every_form() {
    let lines = generate(GeneratorConfig { late_share: 0.0, ..config(&[]) }, 100_000);
    let normalizer = normalizer();
    let mut forms: HashMap<char, usize> = HashMap::new();
    for ((kind, line), index) in lines.iter().zip(0_i64..) {
        if *kind == LineKind::Malformed {
            continue;
        }
        let Outcome::Accepted(event) = normalizer.normalize(line) else { panic!("rejected") };
        let delay_ms = NOW_MS + index - event.ts_ms;
        assert!((0..4_000).contains(&delay_ms), "{delay_ms} {}", String::from_utf8_lossy(line));
        let value: Value = serde_json::from_slice(line).unwrap();
        let form = match &value["timestamp"] {
            Value::String(text) if text.ends_with('Z') => 'Z',
            Value::String(_) => '+',
            number if number.as_i64() > Some(1_000_000_000_000) => 'm',
            _ => 's',
        };
        *forms.entry(form).or_default() += 1;
    }
    assert_near(forms[&'Z'], 86_000.0, 0.05);
    assert_near(forms[&'+'], 7_000.0, 0.3);
    assert_near(forms[&'m'], 4_000.0, 0.3);
    assert_near(forms[&'s'], 3_000.0, 0.3);
}

#[test]
fn habits_follow_the_country() {
    let lines = generate(config(&[]), 200_000);
    let normalizer = normalizer();
    let events = events(&normalizer, &lines);
    for code in ["BR", "US", "MX"] {
        let country = &COUNTRIES[crate::profile::country_index(code).unwrap()];
        let of_country = || events.iter().filter(|(_, event)| event.country == code.as_bytes());
        let total = of_country().count() as f64;
        for (name, percent) in DEVICES.iter().zip(country.devices).filter(|(_, percent)| *percent >= 20) {
            let count = of_country().filter(|(_, e)| normalizer.devices().name(e.device) == *name).count();
            assert_near(count, total * f64::from(percent) / 100.0, 0.1);
        }
        for (name, percent) in CONTENTS.iter().zip(country.contents).filter(|(_, percent)| *percent >= 20) {
            let name_of = |event: &Event| normalizer.content_types().name(event.content_type).to_owned();
            let count = of_country().filter(|(_, event)| name_of(event) == *name).count();
            assert_near(count, total * f64::from(percent) / 100.0, 0.1);
        }
    }
}

#[test]
fn viewers_return_within_minutes() {
    let lines = generate(config(&[]), 20_000);
    let normalizer = normalizer();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (_, event) in events(&normalizer, &lines) {
        *counts.entry(event.user_id.into_owned()).or_default() += 1;
    }
    let returned = counts.values().filter(|&&count| count > 1).count();
    assert!(returned * 2 > counts.len(), "{returned} of {}", counts.len());
    assert!(counts.values().all(|&count| count < 400));
}

#[test]
fn an_attack_comes_from_few_bots_on_one_device() {
    let lines = generate(config(&["bot@+10s/10s*3"]), 30_000);
    let normalizer = normalizer();
    let mut bots: HashMap<String, usize> = HashMap::new();
    let mut devices: HashMap<u8, usize> = HashMap::new();
    let mut viewers: Vec<String> = Vec::new();
    for (kind, event) in events(&normalizer, &lines) {
        if kind == (LineKind::Valid { incident: Some(0) }) {
            *bots.entry(event.user_id.into_owned()).or_default() += 1;
            *devices.entry(event.device).or_default() += 1;
        } else {
            viewers.push(event.user_id.into_owned());
        }
    }
    assert!((20..=40).contains(&bots.len()), "{}", bots.len());
    assert_eq!(devices.len(), 1);
    assert_near(bots.values().sum(), 7_500.0, 0.05);
    assert!(viewers.iter().all(|viewer| !bots.contains_key(viewer)));
}

#[test]
fn a_release_is_one_title_of_one_content_type() {
    let lines = generate(config(&["viral@+0s/1h*4:JP"]), 50_000);
    let normalizer = normalizer();
    let mut titles: HashMap<String, usize> = HashMap::new();
    for (kind, event) in events(&normalizer, &lines) {
        if kind == (LineKind::Valid { incident: Some(0) }) {
            assert_eq!(event.country, *b"JP");
            let content = normalizer.content_types().name(event.content_type);
            let mut extra = String::new();
            event.extra.to_json(&mut extra);
            let extra: serde_json::Value = serde_json::from_str(&extra).expect("JSON");
            *titles.entry(format!("{content} {}", extra["title"])).or_default() += 1;
        }
    }
    assert_eq!(titles.len(), 1, "{titles:?}");
    assert!(titles.values().all(|&count| count > 500), "{titles:?}");
}

#[test]
fn an_outage_silences_its_country_at_once() {
    let lines = generate(config(&["outage@+10s/10s:BR"]), 30_000);
    let normalizer = normalizer();
    let brazil = |from: usize| {
        let seconds = &lines[from * 1_000..(from + 10) * 1_000];
        events(&normalizer, seconds).iter().filter(|(_, event)| event.country == *b"BR").count()
    };
    assert_eq!(brazil(10), 0);
    assert!(brazil(0) > 3_000, "{}", brazil(0));
    assert_near(brazil(20), brazil(0) as f64, 0.1);
}

#[test]
fn the_rate_factor_needs_no_line_before() {
    let mut generator = Generator::new(config(&["bot@+10s/10s*3", "drop@+15s/1s*0.5"]));
    let factors = [0, 10_000, 15_000, 20_000].map(|after_ms| generator.rate_factor(NOW_MS + after_ms));
    assert_eq!(factors, [1.0, 4.0, 2.0, 1.0]);
    generator.next_line(NOW_MS + 10_000, &mut Vec::new());
    assert_eq!(generator.rate_factor(NOW_MS + 10_001), 4.0);
    assert_eq!(generator.rate_factor(NOW_MS + 20_000), 1.0);
}

#[test]
fn any_instant_and_share_is_accepted() {
    let normalizer = normalizer();
    for share in [f64::NAN, f64::INFINITY, -1.0] {
        let mut generator = Generator::new(GeneratorConfig {
            malformed_share: 0.0,
            late_share: share,
            users: 0,
            ..config(&[])
        });
        for now_ms in [i64::MIN, 0, NOW_MS_MIN, NOW_MS, NOW_MS_MAX, i64::MAX] {
            let mut line = Vec::new();
            generator.next_line(now_ms, &mut line);
            assert!(matches!(normalizer.normalize(&line), Outcome::Accepted(_)));
        }
    }
}
