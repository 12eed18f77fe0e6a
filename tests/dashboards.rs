//! The dashboards: their files are what is made of the queries, each panel shows what the plugin makes of a
//! database that the pipeline has filled, and the numbers are those of the events.

mod numbers;

use std::collections::BTreeMap;

use expect_test::expect_file;
use isocountry::CountryCode;
use mongodb::Database;
use mongodb::bson::{Document, doc};
use serde_json::Value;
use streampulse::grafana;

use self::numbers::{Access, DAY_MS, HOUR_MS, MINUTE_MS, Row, accesses, rows};
use crate::grafana::alerting::{check_rule_frame, check_rule_text};
use crate::grafana::frames::{Frame, run as ask};
use crate::grafana::interpolate::{Scope, Variable};
use crate::grafana::linter::lint;
use crate::grafana::panels::{check_annotation, check_panel, is_empty};
use crate::sample::Sample;
use crate::support::{database, database_name, mongodb_uri, run, streampulse};

const RULES_HEAD: &str = "# Made from src/grafana/rules.rs; a change here is refused by a test.\n";
/// The first minute of samples, 2026-09-21 14:14.
const START_MS: i64 = 1_790_000_040_000;
/// Rows that the server may sort in memory for one panel.
const SORTED_IN_MEMORY_MAX: u64 = 1_000;

#[test]
fn the_files_are_made_from_here() {
    for (name, dashboard) in grafana::dashboards() {
        let file = format!("{}/grafana/dashboards/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(&dashboard).expect("JSON");
        expect_file![file].assert_eq(&format!("{text}\n"));
    }
    let rules = yaml_serde::to_string(&grafana::rules()).expect("YAML");
    let file = format!("{}/grafana/provisioning/alerting/rules.yaml", env!("CARGO_MANIFEST_DIR"));
    expect_file![file].assert_eq(&format!("{RULES_HEAD}{rules}"));
}

#[test]
fn the_linter_finds_nothing() {
    for (name, dashboard) in grafana::dashboards() {
        assert_eq!(lint(&dashboard), [""; 0], "{name}");
    }
}

/// A period in which everything is shown.
fn everywhere(from_ms: i64, to_ms: i64) -> Scope {
    let interval_ms = ((to_ms - from_ms) / 500).max(MINUTE_MS);
    let interval_ms = interval_ms - interval_ms % MINUTE_MS;
    let countries = CountryCode::iter().map(|country| country.alpha2().to_owned()).collect();
    let any = || Variable::AllRaw(r#"["*"]"#.to_owned());
    let variables = BTreeMap::from([
        ("f_country".to_owned(), Variable::Many(countries)),
        ("f_device".to_owned(), any()),
        ("f_content".to_owned(), any()),
    ]);
    Scope { from_ms, to_ms, interval_ms, variables }
}

/// The same, narrowed to some countries and devices.
fn narrowed(mut scope: Scope, countries: &[&str], devices: &[&str]) -> Scope {
    let many = |names: &[&str]| Variable::Many(names.iter().map(|name| (*name).to_owned()).collect());
    scope.variables.insert("f_country".to_owned(), many(countries));
    scope.variables.insert("f_device".to_owned(), many(devices));
    scope
}

/// A database that the pipeline has filled.
struct Filled {
    database: Database,
    sample: Sample,
}

impl Filled {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let name = database_name("dashboards");
        let mut sample = Sample::valid(40_000, 21);
        // Five days, so that whole days lie inside, and a week before for comparison.
        for i in 0..10_000 {
            let ts_ms = START_MS - 3 * DAY_MS + i * 25_919;
            sample.push(&format!("v{}", i % 97), ts_ms, (i % 5) as usize, (i % 4) as usize, (i % 3) as usize);
        }
        sample.push_bad("not_json", "none");
        sample.push_bad("not_object", "[]");
        std::fs::write(dir.path().join("log"), sample.file()).expect("a file");
        let place = format!("--data-dir data --database {name} --mongodb-uri {}", mongodb_uri());
        let limit = sample.minutes()[0].0 - 1;
        let up = format!("up --file log --until-drained --limit-per-minute {limit} {place}");
        run(streampulse(dir.path(), &up), 0);
        Self { database: database(&name).await, sample }
    }
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    dashboard["panels"].as_array().expect("panels").iter().collect()
}

/// What a panel is given.
async fn frames(database: &Database, panel: &Value, scope: &Scope, seed: u64) -> Vec<(String, Frame)> {
    let mut frames = Vec::new();
    for target in panel["targets"].as_array().expect("targets") {
        let ref_id = target["refId"].as_str().expect("a name").to_owned();
        let frame = ask(database, target, scope, seed).await;
        frames.push((ref_id, frame.unwrap_or_else(|error| panic!("{}: {error}", panel["title"]))));
    }
    frames
}

/// Panels that speak of now, and not of the period.
const OF_NOW: [&str; 3] = ["Age of the newest access", "Jobs", "Processes"];
/// Panels that show hours which begin in the period.
const OF_HOURS: [&str; 3] = ["Busiest hours", "Hours of the week (UTC)", "Hours of each day (UTC)"];
/// Panels that may have nothing to show where there are accesses.
const MAY_BE_EMPTY: [&str; 8] = [
    "Accesses in the newest minute",
    "Rejected lines",
    "Jobs",
    "Alerts",
    "Alerts by kind",
    "Newest alerts",
    "Open alerts",
    "Distinct users over time",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_what_the_plugin_gives_it() {
    let Filled { database, .. } = Filled::new().await;
    let whole = (START_MS - 4 * DAY_MS, START_MS + 3 * DAY_MS);
    let scopes = [
        ("whole", everywhere(whole.0, whole.1)),
        ("six hours", everywhere(START_MS + 5 * HOUR_MS, START_MS + 11 * HOUR_MS)),
        ("from the middle of a minute", everywhere(START_MS + 777, START_MS + DAY_MS + 12_345)),
        ("narrowed", narrowed(everywhere(whole.0, whole.1), &["BR", "PT"], &["tv"])),
        ("one minute", everywhere(START_MS + HOUR_MS, START_MS + HOUR_MS + MINUTE_MS)),
        ("two years", everywhere(START_MS - 700 * DAY_MS, START_MS + 30 * DAY_MS)),
        ("nothing", everywhere(START_MS - 90 * DAY_MS, START_MS - 89 * DAY_MS)),
    ];
    let mut seed = 0;
    for (name, dashboard) in grafana::dashboards() {
        for (what, scope) in &scopes {
            for panel in panels(&dashboard) {
                seed += 1;
                let title = panel["title"].as_str().expect("a title");
                let frames = frames(&database, panel, scope, seed).await;
                if let Err(error) = check_panel(panel, &frames) {
                    panic!("{name}, {title}, {what}: {error}");
                }
                let must_be_empty = *what == "nothing" && !OF_NOW.contains(&title);
                let data = frames.iter().filter(|(ref_id, _)| ref_id == "A").cloned().collect::<Vec<_>>();
                if must_be_empty && !title.starts_with("Distinct users") {
                    assert!(is_empty(&data), "{name}, {title}, {what}: there is something");
                }
                // In this minute no hour begins.
                let has_data = *what != "nothing" && !(*what == "one minute" && OF_HOURS.contains(&title));
                if has_data && !MAY_BE_EMPTY.contains(&title) {
                    assert!(!is_empty(&data), "{name}, {title}, {what}: there is nothing");
                }
            }
            let marks = &dashboard["annotations"]["list"][1]["target"];
            let frame = ask(&database, marks, scope, seed).await.expect("marks");
            if !frame.fields.is_empty() {
                check_annotation(&frame).expect("an annotation");
            }
            assert!(*what != "whole" || frame.rows() > 0, "{name}: no alert is marked");
        }
    }
}

/// Countries and devices.
type Narrowed = (&'static [&'static str], &'static [&'static str]);

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_those_of_the_events() {
    let Filled { database, sample } = Filled::new().await;
    let dashboards: BTreeMap<_, _> = grafana::dashboards().into_iter().collect();
    let find = |dashboard: &str, title: &str| -> Value {
        let found = panels(&dashboards[dashboard]).into_iter().find(|panel| panel["title"] == title);
        found.unwrap_or_else(|| panic!("{dashboard} has no panel {title}")).clone()
    };
    let show = async |dashboard: &str, title: &str, scope: &Scope| -> Vec<Row> {
        rows(&frames(&database, &find(dashboard, title), scope, 5).await[0].1)
    };
    let by_key = |name: &str, rows: Vec<Row>| -> BTreeMap<String, Row> {
        rows.into_iter().map(|row| (row[name].clone(), row)).collect()
    };
    let periods = [
        (START_MS - 2 * DAY_MS - 12_345, START_MS + 2 * DAY_MS + 54_321),
        (START_MS + 3 * HOUR_MS, START_MS + 9 * HOUR_MS + 60_000),
        (START_MS + 60_000, START_MS + 31 * 60_000),
        (START_MS - DAY_MS, START_MS + 100 * DAY_MS),
    ];
    for (from, to) in periods {
        let narrow: [(Option<Narrowed>, Scope); 2] = [
            (None, everywhere(from, to)),
            (
                Some((&["BR", "PT"], &["tv", "other"])),
                narrowed(everywhere(from, to), &["BR", "PT"], &["tv", "other"]),
            ),
        ];
        for (asked, scope) in narrow {
            let is_asked = move |access: &Access| match asked {
                None => true,
                Some((countries, devices)) => {
                    countries.contains(&access.country) && devices.contains(&access.device)
                }
            };
            let all = || accesses(&sample, from, to).filter(move |access| is_asked(access));
            assert!(all().count() > 5, "there is something to compare");
            assert_eq!(show("audience", "Devices", &scope).await, numbers::by("device", all(), |a| a.device));
            assert_eq!(
                show("geography", "Countries", &scope).await,
                numbers::by("country", all(), |a| a.country)
            );
            assert_eq!(show("geography", "Busiest cities", &scope).await, numbers::by_city(all()));
            let content = show("audience", "Content types by country", &scope).await;
            let expected =
                numbers::pivot("country", all(), |a| a.country.to_owned(), |a| a.content.to_owned());
            assert_eq!(by_key("country", content), expected);

            let length = to - from;
            let level = if length <= 2 * DAY_MS {
                MINUTE_MS
            } else if length <= 60 * DAY_MS {
                HOUR_MS
            } else {
                DAY_MS
            };
            let step = level.max(scope.interval_ms);
            let begins = |ts: i64, size: i64| (from..to).contains(&(ts - ts % size));
            let windows = |size: i64| {
                accesses(&sample, from - size, to + size)
                    .filter(move |a| is_asked(a) && begins(a.minute, size))
            };
            let bucket = |a: &Access| {
                let window = a.minute - a.minute % level;
                (window - window % step).to_string()
            };
            let devices = show("audience", "Devices over time", &scope).await;
            let expected = numbers::pivot("ts", windows(level), bucket, |a| a.device.to_owned());
            assert_eq!(by_key("ts", devices), expected);
            let contents = show("audience", "Content types over time", &scope).await;
            let expected = numbers::pivot("ts", windows(level), bucket, |a| a.content.to_owned());
            assert_eq!(by_key("ts", contents), expected);

            assert_eq!(
                show("peaks", "Busiest hours", &scope).await,
                numbers::busiest("hour", windows(HOUR_MS), HOUR_MS)
            );
            let days = show("peaks", "Hours of each day (UTC)", &scope).await;
            let day = |a: &Access| (a.minute - a.minute % DAY_MS).to_string();
            let hour = |a: &Access| (a.minute / HOUR_MS % 24).to_string();
            assert_eq!(by_key("ts", days), numbers::pivot("ts", windows(HOUR_MS), day, hour));
            assert_eq!(
                show("peaks", "Hours of the week (UTC)", &scope).await,
                numbers::by_weekday(windows(HOUR_MS))
            );
        }
        let scope = everywhere(from, to);
        let all = || accesses(&sample, from, to);
        assert_eq!(
            show("peaks", "Busiest minutes", &scope).await,
            numbers::busiest("minute", all(), MINUTE_MS)
        );
        let sum: i64 = all().map(|a| a.n).sum();
        assert_eq!(show("overview", "Accesses", &scope).await[0]["accesses"], sum.to_string());
        let top = &show("overview", "Top device", &scope).await[0];
        assert_eq!(*top, numbers::by("device", all(), |a| a.device)[0]);
        let top = &show("overview", "Top country", &scope).await[0];
        assert_eq!(*top, numbers::by("country", all(), |a| a.country)[0]);
        // The mean of a bucket is over its minutes within the period.
        let shown = show("overview", "Accesses per minute", &scope).await;
        let minutes: BTreeMap<i64, i64> =
            sample.minutes().into_iter().map(|(n, minute)| (minute, n)).collect();
        for row in &shown {
            let start: i64 = row["ts"].parse().expect("a time");
            let (first, end) = (start.max(from), (start + scope.interval_ms).min(to));
            let within: Vec<i64> = minutes
                .iter()
                .filter(|(minute, _)| (first..end).contains(*minute))
                .map(|(_, n)| *n)
                .collect();
            let mean = within.iter().sum::<i64>() as f64 / ((end - first) as f64 / MINUTE_MS as f64).max(1.0);
            let told: f64 = row["mean"].parse().expect("a number");
            assert!((told - mean).abs() < 0.011, "{row:?}: {mean}");
            assert_eq!(row["peak"], within.iter().max().copied().unwrap_or(0).to_string());
        }
        let newest = (to - MINUTE_MS) / MINUTE_MS * MINUTE_MS;
        let told = show("overview", "Accesses in the newest minute", &scope).await;
        for (name, ago) in [("now", 0), ("a day before", DAY_MS), ("a week before", 7 * DAY_MS)] {
            // Rejected lines have the minute they came in, so a minute without accesses may be there or not.
            let told = told.first().and_then(|row| row.get(name)).map_or("0", String::as_str);
            let n = minutes.get(&(newest - ago)).copied().unwrap_or(0);
            assert_eq!(told, n.to_string(), "{name}");
        }
        let compared = show("overview", "Against a day and a week before", &scope).await;
        let now = |row: &&Row| row.contains_key("now");
        assert_eq!(compared.iter().filter(now).count(), shown.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_says_what_the_dashboards_show() {
    let Filled { database, .. } = Filled::new().await;
    let (from, to) = (START_MS - 2 * DAY_MS - 7 * MINUTE_MS, START_MS + DAY_MS + 11 * MINUTE_MS);
    let instant = |ms: i64| chrono::DateTime::from_timestamp_millis(ms).expect("a time").to_rfc3339();
    let place = format!("--database {} --mongodb-uri {}", database.name(), mongodb_uri());
    let period = format!("--from {} --to {}", instant(from), instant(to)).replace("+00:00", "Z");
    let dir = tempfile::tempdir().expect("a folder");
    let args = format!("report --format json --cities --top 10 {period} {place}");
    let report = run(streampulse(dir.path(), &args), 0);
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let dashboards: BTreeMap<_, _> = grafana::dashboards().into_iter().collect();
    let scope = everywhere(from, to);
    let millis = |value: &Value| {
        let instant = value.as_str().expect("a time").parse::<chrono::DateTime<chrono::Utc>>();
        instant.expect("RFC 3339").timestamp_millis().to_string()
    };
    // Of a list of the report these keys, as the columns of a panel.
    let told = |list: &str, columns: &[(&str, &str)]| -> Vec<Row> {
        let entries = report.pointer(list).and_then(Value::as_array).expect("a list");
        let cell = |entry: &Value, key: &str| match &entry[key] {
            value if key == "ts" => millis(value),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let row =
            |entry| columns.iter().map(|(column, key)| ((*column).to_owned(), cell(entry, key))).collect();
        entries.iter().map(row).collect()
    };
    let accesses = ("accesses", "n");
    let lists: [(&str, &str, &str, &[_]); 4] = [
        ("peaks", "Busiest minutes", "/peaks/busiest_minutes", &[("minute", "ts"), accesses]),
        ("audience", "Devices", "/devices", &[("device", "device"), accesses]),
        ("geography", "Countries", "/countries", &[("country", "country"), accesses]),
        (
            "geography",
            "Busiest cities",
            "/content_by_city",
            &[("country", "country"), ("city", "city"), accesses],
        ),
    ];
    for (dashboard, title, list, columns) in lists {
        let panel =
            panels(&dashboards[dashboard]).into_iter().find(|panel| panel["title"] == title).expect(title);
        let shown = rows(&frames(&database, panel, &scope, 1).await[0].1);
        assert!(shown.len() > 2, "{title}");
        assert_eq!(shown, told(list, columns), "{title}");
    }
    let panel = panels(&dashboards["overview"]).into_iter().find(|panel| panel["title"] == "Accesses");
    let shown = rows(&frames(&database, panel.expect("a panel"), &scope, 1).await[0].1);
    assert_eq!(shown[0]["accesses"], report["totals"]["accesses"].to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_a_dashboard_finds_its_documents_by_an_index() {
    let Filled { database, .. } = Filled::new().await;
    let whole = everywhere(START_MS - 4 * DAY_MS, START_MS + 3 * DAY_MS);
    let short = everywhere(START_MS + HOUR_MS + 777, START_MS + 30 * HOUR_MS);
    let scopes = [narrowed(whole.clone(), &["BR"], &["tv"]), whole, short];
    let mut seen = 0;
    for (name, dashboard) in grafana::dashboards() {
        let marks = &dashboard["annotations"]["list"][1]["target"];
        let targets =
            panels(&dashboard).into_iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
        for target in targets.chain([marks]) {
            for scope in &scopes {
                database.run_command(doc! { "profile": 0 }).await.expect("the server stops");
                let profile = database.collection::<Document>("system.profile");
                profile.drop().await.expect("a new one");
                database.run_command(doc! { "profile": 2 }).await.expect("the server profiles");
                let frame = ask(&database, target, scope, 0).await.expect("an answer");
                database.run_command(doc! { "profile": 0 }).await.expect("the server stops");
                let of_ours = doc! { "ns": { "$regex": "access_|pipeline_" }, "op": "command" };
                let entry = profile.find_one(of_ours).await.expect("a profile").expect("the query");
                let number = |key: &str| match entry.get(key) {
                    Some(n) => n.as_i64().or(n.as_i32().map(i64::from)).unwrap_or(0),
                    None => 0,
                };
                let plan = entry.get_str("planSummary").unwrap_or_default();
                let (keys, documents) = (number("keysExamined"), number("docsExamined"));
                let shown =
                    format!("{name}: {plan}, {keys} keys, {documents} documents: {}", target["queryText"]);
                assert!(!plan.contains("COLLSCAN"), "{shown}");
                assert!(keys as f64 <= 1.2 * documents as f64 + 10.0, "{shown}");
                // What is sorted is what is shown.
                let sorts = entry.get_bool("hasSortStage").unwrap_or(false);
                assert!(
                    !sorts || frame.rows() as u64 <= SORTED_IN_MEMORY_MAX,
                    "{} rows: {shown}",
                    frame.rows()
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 90, "only {seen} queries were seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_rules_fire_on_what_they_are_for() {
    let Filled { database, .. } = Filled::new().await;
    let empty = self::database_of_nothing().await;
    let rules = grafana::rules();
    let rules = rules["groups"][0]["rules"].as_array().expect("rules");
    for rule in rules {
        let model = &rule["data"][0]["model"];
        let text = model["queryText"].as_str().expect("a text");
        check_rule_text(text).unwrap_or_else(|error| panic!("{}: {error}", rule["title"]));
        for database in [&database, &empty] {
            let frame = ask(database, model, &everywhere(0, 1), 3).await.expect("an answer");
            check_rule_frame(&frame, false).unwrap_or_else(|error| panic!("{}: {error}", rule["title"]));
        }
    }
    let value = async |uid: &str, column: &str| {
        let rule = rules.iter().find(|rule| rule["uid"] == uid).expect("a rule");
        let frame = ask(&database, &rule["data"][0]["model"], &everywhere(0, 1), 3).await.expect("an answer");
        rows(&frame).first().map(|row| row[column].parse::<f64>().expect("a number"))
    };
    assert!(value("streampulse-stale", "seconds").await.expect("a row") > 300.0, "the sample is old");
    assert_eq!(value("streampulse-gone", "seconds").await, None, "it has ended");
    let states = database.collection::<Document>("pipeline_state");
    let killed = doc! { "$set": { "ended": false, "at": mongodb::bson::DateTime::from_millis(START_MS) } };
    let heart = doc! { "_id": { "$regex": "^heartbeat" } };
    states.update_one(heart, killed).await.expect("it is written");
    assert!(value("streampulse-gone", "seconds").await.expect("a row") > 60.0);
    assert_eq!(value("streampulse-lag", "lag").await, Some(0.0));
    assert_eq!(value("streampulse-alert", "n").await, None, "no alert is new");
    let alert = database.collection::<Document>("access_alerts");
    let now = doc! { "$set": { "ts": mongodb::bson::DateTime::now() } };
    alert.update_one(doc! {}, now).await.expect("it is written");
    assert_eq!(value("streampulse-alert", "n").await, Some(1.0));
}

async fn database_of_nothing() -> Database {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("nothing");
    run(
        streampulse(dir.path(), &format!("mongodb init --database {name} --mongodb-uri {}", mongodb_uri())),
        0,
    );
    database(&name).await
}
