//! `mongodb init`: what it makes, what it finds and mends, what the server then refuses, and who may do what.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::ErrorKind;
use streampulse::mongod::{self, Mongod};

use crate::support::{database, database_name, mongodb_uri, run, streampulse};

/// Code of a document that a validator refuses.
const REFUSED: i32 = 121;
/// Code of a user who may not do something.
const UNAUTHORIZED: i32 = 13;

/// What `mongodb init` prints, one step a line, when it ends with `code`.
fn init(dir: &Path, name: &str, flags: &str, code: i32) -> Vec<String> {
    let args = format!("mongodb init --database {name} --mongodb-uri {} {flags}", mongodb_uri());
    let output = run(streampulse(dir, &args), code);
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .skip(1)
        .map(|line| line.trim().to_owned())
        .collect()
}

/// The steps among lines that are not of one kind.
fn others(lines: &[String], kind: &str) -> Vec<String> {
    lines.iter().filter(|line| !line.starts_with(kind)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_everything_once_and_shows_it_before() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("init");
    let shown = init(dir.path(), &name, "--dry-run", 0);
    assert_eq!(shown.last().map(String::as_str), Some("18 to do; nothing was done (--dry-run)"));
    let commands = shown.iter().filter(|line| line.starts_with("db.runCommand({ \"create")).count();
    assert_eq!(commands, 18, "a command each: {shown:#?}");
    let names = || async { database(&name).await.list_collection_names().await.expect("a list") };
    assert!(names().await.is_empty(), "a dry run does nothing");
    assert_eq!(init(dir.path(), &name, "", 0).last().map(String::as_str), Some("18 done"));
    let made = names().await;
    assert_eq!(made.len(), 11, "{made:?}");
    assert_eq!(others(&init(dir.path(), &name, "", 0), "keep"), ["0 done"]);
    // The pipeline makes the same ones.
    let piped = database_name("init");
    let args = format!(
        "up --events 10 --until-drained --data-dir d --mongodb-uri {} --database {piped}",
        mongodb_uri()
    );
    run(streampulse(dir.path(), &args), 0);
    assert_eq!(others(&init(dir.path(), &piped, "", 0), "keep"), ["0 done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pipeline_writes_would_pass_the_validators_that_it_does_not_ask() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("valid");
    // Twice, so that windows are inserted and updated.
    for events in [3_000, 6_000] {
        let args = format!(
            "up --events {events} --seed 5 --start 2026-03-02T10:00:00Z --rate 100 --until-drained --data-dir d{events} \
             --mongodb-uri {} --database {name}",
            mongodb_uri()
        );
        run(streampulse(dir.path(), &args), 0);
    }
    let database = database(&name).await;
    let collections: Vec<_> =
        database.list_collections().await.expect("a list").try_collect().await.expect("a list");
    let mut asked = Vec::new();
    for collection in collections {
        let Some(validator) = collection.options.validator else { continue };
        let documents = database.collection::<Document>(&collection.name);
        let wrong = documents.find_one(doc! { "$nor": [validator] }).await.expect("an answer");
        assert_eq!(wrong, None, "{}", collection.name);
        if documents.estimated_document_count().await.expect("a count") > 0 {
            asked.push(collection.name);
        }
    }
    for expected in ["access_events", "access_rejects", "access_rollups_1m", "access_rollups_1d"] {
        assert!(asked.iter().any(|name| name == expected), "{expected} has no documents to ask about");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_hand_is_shown_and_mended_only_when_asked() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("drift");
    init(dir.path(), &name, "", 0);
    let database = database(&name).await;
    let by_hand = [
        doc! { "collMod": "access_rejects", "validationLevel": "off" },
        doc! { "dropIndexes": "access_alerts", "index": "ts_1__id_1" },
        doc! { "createIndexes": "access_alerts", "indexes": [{ "key": { "ts": -1 }, "name": "ts_1__id_1" }] },
        doc! { "createIndexes": "access_minutes", "indexes": [{ "key": { "n": 1 }, "name": "n_1" }] },
        doc! { "drop": "access_events" },
        doc! { "create": "access_events" },
    ];
    for command in by_hand {
        database.run_command(command).await.expect("a valid command");
    }
    let clustered = "differs  collection access_events: it is not clustered by _id; its engine options are \"\", not \
                     \"block_compressor=zstd\"; this cannot be changed in place: it works as it is, or copy it into a \
                     new one (docs/mongodb.md)";
    let foreign = "foreign  index n_1 of access_minutes: not ours, left alone";
    let found = [
        clustered,
        "repair   validator of access_events: there is none",
        "repair   validator of access_rejects: it has level off and action error instead of strict and error",
        foreign,
        r#"repair   index ts_1__id_1 of access_alerts: it is on { "ts": -1 }"#,
        "0 done",
        "3 to repair; --apply does it",
    ];
    assert_eq!(others(&init(dir.path(), &name, "", 1), "keep"), found);
    assert_eq!(others(&init(dir.path(), &name, "", 1), "keep"), found, "nothing was changed");
    assert_eq!(init(dir.path(), &name, "--apply", 1).last().map(String::as_str), Some("3 done"));
    assert_eq!(others(&init(dir.path(), &name, "--apply", 1), "keep"), [clustered, foreign, "0 done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_refuses_what_breaks_the_schema() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("refused");
    init(dir.path(), &name, "", 0);
    let database = database(&name).await;
    let ts = DateTime::from_millis(0);
    let event = doc! {
        "_id": 1_i64, "ts": ts, "user_id": "u", "device": "tv", "content_type": "movie", "country": "BR", "city": "Rio",
    };
    let rollup = doc! {
        "_id": "0|BR|000000001|Rio", "ts": ts, "country": "BR", "city": "Rio", "n": 1_i64, "x": { "tv": { "movie": 1_i64 } },
    };
    let minute = doc! { "_id": ts, "ts": ts, "n": 1_i64, "users": 1_i64, "rejected": 0_i64, "late": 0_i64 };
    let reject = doc! { "_id": 1_i64, "reason": "not_json", "line": "x", "bytes": 1_i64, "seen_at": ts };
    let day = doc! { "_id": ts, "ts": ts, "users": 1_i64 };
    let alert = doc! {
        "_id": "a", "kind": "limit", "severity": "warning", "entity": {}, "ts": ts, "incident": "a", "status": "open",
        "opened_at": ts, "closed_at": null, "text": "t",
    };
    let delivery = doc! {
        "_id": "ops|a", "receiver": "ops", "incident": "a", "ts": ts, "state": "open", "status": "open",
        "severity": "warning", "count": 1_i64, "tries": 0_i64, "at": ts,
    };
    // A document that is right, a field of it, and a value that is wrong there.
    let cases = [
        ("access_events", event, "ts", "now".into()),
        ("access_rejects", reject, "bytes", (-1_i64).into()),
        ("access_rollups_1m", rollup, "x", doc! { "tv": { "movie": "many" } }.into()),
        ("access_minutes", minute, "n", 0.5.into()),
        ("access_users_1d", day, "users", "all".into()),
        ("access_alerts", alert, "status", mongodb::bson::Bson::from("ajar")),
        ("access_deliveries", delivery, "state", mongodb::bson::Bson::from("lost")),
    ];
    for (collection, right, field, value) in cases {
        let documents = database.collection::<Document>(collection);
        let refused = |document: Document| {
            let documents = documents.clone();
            async move {
                let error = documents.insert_one(document).await.expect_err("it is refused");
                let ErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)) = *error.kind else {
                    panic!("{error}");
                };
                error.code
            }
        };
        let mut wrong = right.clone();
        wrong.insert(field, value);
        assert_eq!(refused(wrong).await, REFUSED, "{collection}: a wrong {field}");
        let mut incomplete = right.clone();
        incomplete.remove(field);
        assert_eq!(refused(incomplete).await, REFUSED, "{collection}: no {field}");
        documents.insert_one(right).await.expect("a right document");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_put_into_force_only_when_asked_and_ended_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("retention");
    init(dir.path(), &name, "", 0);
    std::fs::write(
        dir.path().join("fluvio.toml"),
        "[mongodb.retention]\nevents_days = 30\nminutes_days = 1\n",
    )
    .expect("a file");
    let changes = [
        "repair   index ts_1 of access_events: documents older than 30 days will be DELETED",
        "repair   index ts_1 of access_rollups_1m: documents older than 1 day will be DELETED",
        "repair   index ts_1 of access_minutes: documents older than 1 day will be DELETED",
    ];
    let shown = init(dir.path(), &name, "", 1);
    assert_eq!(others(&shown, "keep")[..3], changes);
    assert_eq!(init(dir.path(), &name, "--apply", 0).last().map(String::as_str), Some("3 done"));
    assert_eq!(others(&init(dir.path(), &name, "", 0), "keep"), ["0 done"]);
    // The log says so when what is read would go at once.
    let old = r#"{"user_id":"u","timestamp":"2020-01-01T00:00:00Z","device":"tv","content_type":"movie","country":"BR","city":"Rio"}"#;
    std::fs::write(dir.path().join("old"), format!("{old}\n")).expect("a file");
    let args = format!(
        "up --file old --until-drained --data-dir d --mongodb-uri {} --database {name}",
        mongodb_uri()
    );
    let errors = String::from_utf8(run(streampulse(dir.path(), &args), 0).stderr).expect("text");
    assert!(errors.contains("lines are older than the 1 days that documents are kept"), "{errors}");
    std::fs::remove_file(dir.path().join("fluvio.toml")).expect("it is there");
    assert_eq!(init(dir.path(), &name, "--apply", 0).last().map(String::as_str), Some("3 done"));
    assert_eq!(others(&init(dir.path(), &name, "", 0), "keep"), ["0 done"]);
}

/// Alerts are delivered too, which reads, watches and writes.
const BY_DAY: &str = "[mongodb]\ndatabase = \"daily\"\n[mongodb.retention]\nevents_days = 5\nevents_by = \"drop\"\n\
     [[alerts.receivers]]\nname = \"here\"\nformat = \"stdout\"\n";

/// A server that asks who is there.
struct Guarded(Child);

impl Guarded {
    fn start(dir: &Path, port: u16) -> Self {
        let key = dir.join("key");
        std::fs::write(&key, "c3RyZWFtcHVsc2U=").expect("a file");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("our own file");
        let mut command = Command::new(mongod::program().expect("a mongod"));
        command.arg("--dbpath").arg(dir.join("mongod")).args(["--port", &port.to_string()]);
        command.args(["--bind_ip", "127.0.0.1", "--replSet", "streampulse", "--auth", "--keyFile"]).arg(key);
        Self(command.stdout(Stdio::null()).spawn().expect("mongod starts"))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writer_runs_the_pipeline_and_no_user_can_do_more_than_it_should() {
    let dir = tempfile::tempdir().expect("a folder");
    let open = Mongod::start(dir.path(), None).await.expect("a mongod");
    let uri = open.uri();
    let port: u16 = uri.split([':', '/']).filter_map(|part| part.parse().ok()).next().expect("a port");
    let users = |uri: &str, code: i32| {
        let mut command = streampulse(dir.path(), &format!("mongodb init --users --mongodb-uri {uri}"));
        command.env("STREAMPULSE_WRITER_PASSWORD", "w").env("STREAMPULSE_READER_PASSWORD", "r");
        String::from_utf8(run(command, code).stdout).expect("text")
    };
    let without = run(streampulse(dir.path(), &format!("mongodb init --users --mongodb-uri {uri}")), 2);
    assert!(String::from_utf8_lossy(&without.stderr).contains("set STREAMPULSE_WRITER_PASSWORD"));
    let first = users(&uri, 0);
    assert!(first.contains("create   user streampulse-reader") && first.ends_with("22 done\n"), "{first}");
    assert!(users(&uri, 0).ends_with("0 done\n"));
    std::fs::write(dir.path().join("daily.toml"), BY_DAY).expect("a file");
    let daily = users(&format!("{uri} --config daily.toml"), 0);
    assert!(daily.contains("create   view access_events") && daily.ends_with("32 done\n"), "{daily}");
    open.stop().await;

    let _guarded = Guarded::start(dir.path(), port);
    let of_database = |user: &str, database: &str| {
        let (name, password) = (format!("streampulse-{user}"), &user[..1]);
        format!("mongodb://{name}:{password}@127.0.0.1:{port}/?directConnection=true&authSource={database}")
    };
    let as_user = |user: &str| of_database(user, "streampulse");
    let up = |uri: &str| {
        format!(
            "up --events 200 --rate 1000 --malformed 0 --until-drained --limit-per-minute 1 --data-dir d --wait-for-mongodb 30s --mongodb-uri {uri}"
        )
    };
    // Yesterday has no collection yet: the writer makes it, and lets the view show it.
    let yesterday = chrono::Utc::now() - chrono::TimeDelta::days(1);
    let (day, start) = (yesterday.format("%Y%m%d"), yesterday.format("%Y-%m-%dT12:00:00Z"));
    let writer = of_database("writer", "daily");
    let printed =
        run(streampulse(dir.path(), &format!("{} --start {start} --config daily.toml", up(&writer))), 0);
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(printed.contains("\"event\":\"closed\""), "{printed}");
    let database =
        Client::with_uri_str(of_database("reader", "daily")).await.expect("a client").database("daily");
    for name in ["access_events".to_owned(), format!("access_events_{day}")] {
        let count = database.collection::<Document>(&name).count_documents(doc! {}).await;
        assert_eq!(count.ok(), Some(200), "{name}");
    }
    std::fs::remove_dir_all(dir.path().join("d")).expect("the log of the other database");
    run(streampulse(dir.path(), &up(&as_user("writer"))), 0);
    let report =
        run(streampulse(dir.path(), &format!("report --format json --mongodb-uri {}", as_user("reader"))), 0);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(report["totals"]["accesses"], 200, "{report}");

    let refused = |user: &str, command: Document| {
        let uri = as_user(user);
        async move {
            let database = Client::with_uri_str(uri).await.expect("a client").database("streampulse");
            let error = database.run_command(command.clone()).await.expect_err("it may not");
            match *error.kind {
                ErrorKind::Command(error) => assert_eq!(error.code, UNAUTHORIZED, "{command}: {error}"),
                _ => panic!("{command}: {error}"),
            }
        }
    };
    let delete = doc! { "delete": "access_events", "deletes": [{ "q": {}, "limit": 0 }] };
    for command in [delete, doc! { "drop": "access_events" }, doc! { "dropDatabase": 1 }] {
        refused("writer", command.clone()).await;
        refused("reader", command).await;
    }
    refused("reader", doc! { "insert": "access_events", "documents": [{ "_id": 1_i64 }] }).await;
    let wrong = run(streampulse(dir.path(), &up(&as_user("reader"))), 2);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("not authorized"), "{wrong:?}");
}

/// Documents that a query may sort in memory.
const SORTED_IN_MEMORY_MAX: i64 = 1_000;

/// What the server says of each query that a command makes.
#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_the_commands_finds_its_documents_by_an_index() {
    let dir = tempfile::tempdir().expect("a folder");
    let name = database_name("queries");
    let place = format!("--mongodb-uri {} --database {name}", mongodb_uri());
    let traffic = "--start 2026-10-01T00:00:00Z --events 60000 --rate 0.1 --seed 7 --limit-per-minute 12";
    run(streampulse(dir.path(), &format!("up --until-drained --data-dir d {traffic} {place}")), 0);
    let database = database(&name).await;
    database.run_command(doc! { "profile": 2 }).await.expect("the server profiles");
    let period = "--from 2026-10-02T03:04:00Z --to 2026-10-05T06:07:00Z";
    for command in [
        "report",
        "report --cities --top 20",
        &format!("report --cities {period}"),
        &format!("report --country BR --cities {period}"),
        "report --country BR",
        "alerts",
        "alerts --format json",
        "alerts --dead",
    ] {
        run(streampulse(dir.path(), &format!("{command} {place}")), 0);
    }
    run(streampulse(dir.path(), &format!("status {place}")), 1);
    database.run_command(doc! { "profile": 0 }).await.expect("the server stops");
    let of_ours =
        doc! { "ns": { "$regex": format!("^{name}\\.access_") }, "op": { "$in": ["query", "command"] } };
    let mut profile =
        database.collection::<Document>("system.profile").find(of_ours).await.expect("a profile");
    let mut seen = 0;
    while profile.advance().await.expect("an entry") {
        let entry = profile.deserialize_current().expect("a document");
        let number =
            |key: &str| entry.get(key).and_then(|n| n.as_i64().or(n.as_i32().map(i64::from))).unwrap_or(0);
        let plan = entry.get_str("planSummary").unwrap_or_default();
        let (keys, documents) = (number("keysExamined"), number("docsExamined"));
        let shown = format!("{plan}, {keys} keys, {documents} documents: {:?}", entry.get("command"));
        assert!(!plan.contains("COLLSCAN"), "{shown}");
        assert!(keys as f64 <= 1.2 * documents.max(1) as f64 + 10.0 || documents == 0, "{shown}");
        // The busiest cities are sums, which no index holds; there are as many as cities.
        let sorts = entry.get_bool("hasSortStage").unwrap_or(false) && !shown.contains("$facet");
        assert!(!sorts || documents <= SORTED_IN_MEMORY_MAX, "sorted in memory: {shown}");
        seen += 1;
    }
    assert!(seen >= 30, "only {seen} queries were seen");
}
