//! Specifications of incidents, right and wrong, and what becomes of them.

use super::*;

const START_MS: i64 = 1_795_341_600_000; // 2026-11-22T10:00:00Z

#[track_caller]
fn check(spec: &str, [kind, start, end, rest]: [&str; 4]) {
    let incident = Incident::parse(spec, START_MS).unwrap();
    let label = format!(r#"{{"kind":"{kind}","start":"{start}","end":"{end}",{rest}}}"#);
    assert_eq!(serde_json::to_string(&incident).unwrap(), label);
}

#[track_caller]
fn check_error(spec: &str, says: &str) {
    let error = format!("{:#}", Incident::parse(spec, START_MS).unwrap_err());
    assert!(error.contains(says), "{error}");
    assert!(error.contains(spec), "{error}");
}

#[test]
fn specifications_become_labels() {
    check(
        "bot@2026-11-22T10:00:00Z/5m*3",
        ["bot", "2026-11-22T10:00:00.000Z", "2026-11-22T10:05:00.000Z", r#""intensity":3.0,"country":null"#],
    );
    check(
        "outage@+1h30m/90s:BR",
        [
            "outage",
            "2026-11-22T11:30:00.000Z",
            "2026-11-22T11:31:30.000Z",
            r#""intensity":1.0,"country":"BR""#,
        ],
    );
    check(
        "viral@2026-11-22T07:00:00-03:00/2h*0.5:JP",
        [
            "viral",
            "2026-11-22T10:00:00.000Z",
            "2026-11-22T12:00:00.000Z",
            r#""intensity":0.5,"country":"JP""#,
        ],
    );
    check(
        "drop@+0s/250ms*0",
        ["drop", "2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00.250Z", r#""intensity":0.0,"country":null"#],
    );
}

#[test]
fn errors_say_what_is_wrong() {
    check_error("bot", "no @");
    check_error("virus@+1m/5m", "not one of bot, viral, outage, drop");
    check_error("bot@+1m", "no /DURATION");
    check_error("bot@tomorrow/5m", "neither RFC 3339 nor");
    check_error("bot@+x/5m", "neither RFC 3339 nor");
    check_error("bot@+1m/5", "not like 90s");
    check_error("bot@+1m/5y", "not like 90s");
    check_error("bot@+1m/", "not like 90s");
    check_error("bot@+1m/99999999999999999999s", "not like 90s");
    check_error("bot@+1m/9999999999999999d", "not like 90s");
    check_error("bot@+1m/0s", "longer than zero");
    check_error("bot@+1m/31d", "at most 30d");
    check_error("bot@+1m/5m*lots", "not a number");
    check_error("bot@+1m/5m*0", "above 0 and at most 1000");
    check_error("bot@+1m/5m*1000.1", "above 0 and at most 1000");
    check_error("viral@+1m/5m*NaN", "above 0");
    check_error("outage@+1m/5m*1.5:BR", "at most 1");
    check_error("outage@+1m/5m", "needs a :COUNTRY");
    check_error("outage@+1m/5m:XX", "not one of BR US");
    check_error("drop@+1m/5m*1", "below 1");
    check_error("drop@+1m/5m:BR", "use an outage");
}

#[test]
fn limits_are_inclusive() {
    assert_eq!(Incident::parse("bot@+1m/30d*1000", 0).unwrap().duration_ms, DURATION_MS_MAX);
}

#[test]
fn active_from_start_to_before_the_end() {
    let incident = Incident::parse("bot@+1s/1s", 0).unwrap();
    let active = [999, 1_000, 1_999, 2_000].map(|now_ms| incident.is_active(now_ms));
    assert_eq!(active, [false, true, true, false]);
}

#[test]
fn random_incidents_are_seeded_and_apart() {
    let end_ms = START_MS + 7 * 86_400_000;
    let incidents = Incident::random(12, START_MS, end_ms, 7);
    assert_eq!(incidents, Incident::random(12, START_MS, end_ms, 7));
    assert_ne!(incidents, Incident::random(12, START_MS, end_ms, 8));
    assert_eq!(incidents.len(), 12);
    assert!(incidents[0].start_ms >= START_MS && incidents[11].end_ms() <= end_ms);
    assert!(incidents.windows(2).all(|pair| pair[0].end_ms() <= pair[1].start_ms));
    for kind in IncidentKind::ALL {
        let of_kind: Vec<_> = incidents.iter().filter(|incident| incident.kind == kind).collect();
        assert_eq!(of_kind.len(), 3);
        let located = of_kind.iter().all(|incident| incident.country.is_some());
        assert_eq!(located, kind == IncidentKind::RegionalOutage);
    }
    assert!(Incident::random(3, START_MS, START_MS, 7).is_empty());
    assert!(Incident::random(0, START_MS, end_ms, 7).is_empty());
}
