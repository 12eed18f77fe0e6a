//! Delivery of alerts, through the command and to a real HTTP receiver: each state arrives once, whatever is
//! down or killed meanwhile.

mod receiver;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::Value;
use tempfile::TempDir;

use crate::sample::{Sample, all};
use crate::support::{database, database_name, kill_after, mongodb_uri, run, streampulse};
use receiver::{Mood, Receiver};

/// Longest time that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A database, a folder with a pipeline file, and a receiver that it names.
struct Case {
    dir: TempDir,
    name: String,
    database: Database,
    receiver: Receiver,
}

impl Case {
    /// `settings` are further ones of the receiver `ops`; in `more` other receivers, `PORT` being the port.
    async fn new(test: &str, settings: &str, more: &str) -> Self {
        let (dir, receiver) = (tempfile::tempdir().expect("a folder"), Receiver::start());
        let (name, port) = (database_name(test), receiver.port());
        let config = format!(
            "[[alerts.receivers]]\nname = \"ops\"\nformat = \"webhook\"\nurl_env = \"OPS_URL\"\n{settings}\n{}",
            more.replace("PORT", &port.to_string())
        );
        std::fs::write(dir.path().join("fluvio.toml"), config).expect("a written file");
        Self { dir, database: database(&name).await, name, receiver }
    }

    fn command(&self, args: &str) -> Command {
        let args = format!("{args} --mongodb-uri {} --database {}", mongodb_uri(), self.name);
        let mut command = streampulse(self.dir.path(), &args);
        command.env("OPS_URL", format!("http://127.0.0.1:{}/s3cret", self.receiver.port()));
        command.env("NO_PROXY", "127.0.0.1").env("RUST_LOG", "info");
        command
    }

    fn run(&self, args: &str, code: i32) -> String {
        String::from_utf8(run(self.command(args), code).stdout).expect("text")
    }

    /// `deliver`, once it has begun: until then it does not listen for an interrupt.
    fn deliver(&self) -> Running {
        let begun = || self.log().matches("delivering alerts").count();
        let before = begun();
        let log = std::fs::File::options().append(true).create(true).open(self.dir.path().join("log.txt"));
        let mut command = self.command("deliver");
        command.stdout(Stdio::piped()).stderr(log.expect("a file"));
        let running = Running(command.spawn().expect("the command starts"));
        let until = Instant::now() + PATIENCE;
        while begun() == before {
            assert!(Instant::now() < until, "it does not begin: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        running
    }

    /// What `deliver` has logged.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log.txt")).unwrap_or_default()
    }

    /// Writes an alert as the detector does.
    async fn alert(&self, id: &str, country: &str, observed: i64, status: &str) {
        let now = DateTime::now();
        let closed = (status == "closed").then_some(now);
        let alert = doc! {
            "_id": id, "kind": "surge", "severity": if observed >= 200 { "critical" } else { "warning" },
            "entity": { "scope": "country", "country": country }, "ts": now, "incident": id,
            "observed": observed, "expected": 50.0, "limit": null, "score": 3.0, "status": status,
            "opened_at": now, "closed_at": closed, "text": format!("{observed} accesses from {country}"),
        };
        let alerts = self.database.collection::<Document>("access_alerts");
        alerts.replace_one(doc! { "_id": id }, alert).upsert(true).await.expect("it is stored");
    }

    async fn record(&self, id: &str) -> Document {
        let records = self.database.collection::<Document>("access_deliveries");
        let found = records.find_one(doc! { "_id": format!("ops|{id}") }).await.expect("an answer");
        found.unwrap_or_default()
    }

    async fn until_record(&self, id: &str, state: &str) -> Document {
        let until = Instant::now() + PATIENCE;
        loop {
            let record = self.record(id).await;
            if record.get_str("state").is_ok_and(|found| found == state) {
                return record;
            }
            assert!(Instant::now() < until, "{id} is not {state}: {record}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the receiver has taken so much.
    async fn until(&self, what: &str, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let taken = self.receiver.taken("/s3cret");
            if done(&taken) {
                return taken;
            }
            assert!(Instant::now() < until, "not {what}: {taken:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A command that runs; it is killed in the end.
struct Running(Child);

impl Running {
    fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }

    fn interrupt(mut self) -> String {
        let status = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        assert!(status.expect("kill runs").success());
        assert!(self.0.wait().expect("it ends").success());
        let mut text = String::new();
        let stdout = self.0.stdout.as_mut().expect("piped");
        std::io::Read::read_to_string(stdout, &mut text).expect("text");
        text
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for has no process any more.
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.0.kill().expect("it runs");
            self.0.wait().expect("it ends");
        }
    }
}

/// Incident and event of what was taken, in order.
fn events(taken: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &'static str| move |found: &Value| found[value].as_str().is_some();
    assert!(taken.iter().all(text("key")), "each has a key");
    let event = |found: &Value| match found["event"].as_str() {
        Some("opened") => "opened",
        Some("escalated") => "escalated",
        Some("updated") => "updated",
        Some("closed") => "closed",
        other => panic!("{other:?}"),
    };
    taken.iter().map(|found| (found["incident"]["id"].as_str().expect("an id"), event(found))).collect()
}

/// Panics when a key came twice.
fn check_keys(taken: &[Value]) {
    let mut keys: Vec<&Value> = taken.iter().map(|found| &found["key"]).collect();
    keys.sort_by_key(|key| key.to_string());
    keys.dedup();
    assert_eq!(keys.len(), taken.len(), "{taken:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_arrives_once_and_in_the_end_the_right_one_however_the_receiver_fails() {
    let case = Case::new("deliver", "rate_per_minute = 6000", "").await;
    let running = case.deliver();
    case.alert("a", "BR", 150, "open").await;
    case.until("opened", |taken| taken.len() == 1).await;
    case.alert("a", "BR", 160, "open").await;
    case.alert("a", "BR", 250, "open").await;
    let taken = case.until("worse", |taken| taken.len() == 2).await;
    assert_eq!(events(&taken), [("a", "opened"), ("a", "escalated")]);
    assert_eq!(taken[0]["incident"]["entity"]["country"], "BR");

    case.receiver.mood(Mood::Answer(500));
    case.alert("b", "PT", 150, "open").await;
    case.alert("a", "BR", 250, "closed").await;
    case.until_record("b", "waiting").await;
    case.receiver.stop();
    case.alert("c", "DE", 150, "open").await;
    case.alert("b", "PT", 150, "closed").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    case.receiver.mood(Mood::Hang);
    case.receiver.again();
    case.alert("d", "ES", 150, "open").await;
    case.alert("d", "ES", 151, "closed").await;
    case.receiver.until_asked().await;
    case.receiver.stop();
    case.receiver.mood(Mood::Answer(200));
    case.receiver.again();
    let taken = case.until("all", |taken| taken.len() >= 6).await;
    case.until_record("c", "open").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(case.receiver.taken("/s3cret").len(), 6, "nothing is repeated");
    check_keys(&taken);
    let mut after: Vec<_> = events(&taken)[2..].to_vec();
    after.sort_unstable();
    // What is over before it could be told is told once, as closed.
    assert_eq!(after, [("a", "closed"), ("b", "closed"), ("c", "opened"), ("d", "closed")]);
    running.interrupt();
    assert!(!case.log().contains("s3cret"), "{}", case.log());
    assert!(case.log().contains("the receiver of alerts answers again"), "{}", case.log());

    // What changed while nothing ran is found, and nothing else is told again.
    case.alert("c", "DE", 150, "closed").await;
    case.alert("e", "FR", 150, "closed").await;
    let running = case.deliver();
    case.until("the rest", |taken| taken.len() >= 8).await;
    case.until_record("e", "closed").await;
    running.interrupt();
    assert_eq!(events(&case.receiver.taken("/s3cret"))[6..].len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn joined_incidents_end_and_one_that_was_over_before_is_not_told() {
    let case = Case::new("joined", "", "").await;
    case.alert("old", "BR", 150, "closed").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let running = case.deliver();
    case.alert("later", "BR", 150, "open").await;
    case.until("opened", |taken| taken.len() == 1).await;
    let alerts = case.database.collection::<Document>("access_alerts");
    case.alert("first", "BR", 140, "open").await;
    let join = doc! { "$set": { "incident": "first" } };
    alerts.update_one(doc! { "_id": "later" }, join).await.expect("it is there");
    let taken = case.until("joined", |taken| taken.len() == 3).await;
    let mut last: Vec<_> = events(&taken)[1..].to_vec();
    last.sort_unstable();
    assert_eq!(last, [("first", "opened"), ("later", "closed")]);
    let ended = taken.iter().find(|found| found["event"] == "closed").expect("one");
    assert_eq!(ended["incident"]["text"], "now part of first: 150 accesses from BR");
    running.interrupt();
}

/// Minutes above and below the limit; an incident each three minutes.
fn bursts(incidents: i64) -> Sample {
    let mut sample = Sample::default();
    for minute in 0..incidents * 3 {
        let count = if minute % 3 == 0 { 60 } else { 2 };
        for i in 0..count {
            sample.push(&format!("u{i}"), 1_790_000_040_000 + minute * 60_000 + i * 900, 0, 0, 0);
        }
    }
    sample
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_of_the_pipeline_and_no_receiver_that_goes_loses_an_alert() {
    let case = Case::new("killed", "rate_per_minute = 6000", "").await;
    let sample = bursts(100);
    std::fs::write(case.dir.path().join("log"), sample.file()).expect("a written file");
    let up = "up --file log --until-drained --data-dir data --limit-per-minute 50";
    let lines = sample.lines.len() as u64;
    let kills = 4;
    for kill in 1..=kills {
        if kill == 2 {
            case.receiver.stop();
        }
        if kill == 4 {
            case.receiver.again();
        }
        let mut command = case.command(up);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        kill_after(&case.database, lines * kill / (kills + 1), command).await;
    }
    case.run(up, 0);
    let alerts = all(&case.database, "access_alerts").await;
    assert_eq!(alerts.len(), 100);
    let running = case.deliver();
    for alert in &alerts {
        case.until_record(alert.get_str("incident").expect("an incident"), "closed").await;
    }
    running.interrupt();
    let taken = case.receiver.taken("/s3cret");
    let mut repeated = taken.len();
    for alert in &alerts {
        let id = alert.get_str("incident").expect("an incident");
        let of_incident: Vec<_> = events(&taken).into_iter().filter(|(found, _)| *found == id).collect();
        assert_eq!(of_incident.last().map(|(_, event)| *event), Some("closed"), "{id}");
    }
    let mut keys: Vec<String> = taken.iter().map(|found| found["key"].to_string()).collect();
    keys.sort_unstable();
    keys.dedup();
    repeated -= keys.len();
    // A kill between an answer and its record repeats the one notification that was under way.
    assert!(repeated as u64 <= kills, "{repeated} were repeated");
    assert_eq!(case.run("alerts --dead", 0), "No dead letters.\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_is_kept_newer_states_replace_older_ones_and_an_alertmanager_is_refreshed() {
    let more = "[[alerts.receivers]]\nname = \"am\"\nformat = \"alertmanager\"\nurl = \"http://127.0.0.1:PORT\"\n\
                [[alerts.receivers]]\nname = \"slack\"\nformat = \"slack\"\nurl = \"http://127.0.0.1:PORT/slack\"\n\
                severity_min = \"critical\"\n";
    let case = Case::new("rate", "rate_per_minute = 3", more).await;
    let running = case.deliver();
    case.alert("worst", "BR", 900, "open").await;
    for id in ["i1", "i2", "i3", "i4"] {
        case.alert(id, "PT", 150, "open").await;
    }
    let taken = case.until("three", |taken| taken.len() == 3).await;
    let first = Instant::now();
    let told: Vec<&str> = events(&taken).iter().map(|(id, _)| *id).collect();
    let waiting: Vec<&str> =
        ["worst", "i1", "i2", "i3", "i4"].into_iter().filter(|id| !told.contains(id)).collect();
    case.alert(waiting[0], "PT", 150, "closed").await;
    let all = case.until("the rest", |taken| taken.len() >= 5).await;
    assert!(first.elapsed() >= Duration::from_secs(50), "the rate was not kept");
    let mut rest: Vec<_> = events(&all)[3..].to_vec();
    rest.sort_unstable();
    let mut expected = [(waiting[0], "closed"), (waiting[1], "opened")];
    expected.sort_unstable();
    assert_eq!(rest, expected);

    let of_worst = |alerts: &&Value| {
        let alerts = alerts.as_array().expect("a list");
        alerts
            .iter()
            .any(|alert| alert["labels"]["incident"] == "worst" && alert["labels"]["country"] == "BR")
    };
    let refreshed = || case.receiver.taken("/api/v2/alerts").iter().filter(of_worst).count();
    while refreshed() < 2 {
        assert!(first.elapsed() < PATIENCE, "open alerts are not sent again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let slack = case.receiver.taken("/slack");
    assert_eq!(slack.len(), 1, "{slack:#?}");
    assert_eq!(slack[0]["text"], "Opened: surge, country BR, critical");
    running.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_is_a_dead_letter_and_a_receiver_is_waited_for() {
    let case = Case::new("dead", "give_up_after_s = 2", "").await;
    let running = case.deliver();
    case.receiver.mood(Mood::Answer(404));
    case.alert("refused", "BR", 150, "open").await;
    let record = case.until_record("refused", "dead").await;
    assert_eq!(record.get_i64("tries").ok(), Some(1), "a refusal is final");
    assert_eq!(record.get_str("reason").ok(), Some("it answered 404 Not Found: not now"));
    case.receiver.stop();
    case.alert("away", "PT", 150, "open").await;
    case.alert("away too", "DE", 150, "open").await;
    case.until_record("away", "dead").await;
    let record = case.until_record("away too", "dead").await;
    assert!(record.get_str("reason").is_ok_and(|reason| !reason.contains("s3cret")), "{record}");
    let dead = case.run("alerts --dead", 0);
    assert_eq!(dead.lines().count(), 6, "{dead}");
    assert!(dead.contains("open    warning   ops: 150 accesses from BR\n"), "{dead}");
    assert!(dead.contains("refused after 1 tries: it answered 404 Not Found: not now\n"), "{dead}");
    let json = case.run("alerts --dead --format json", 0);
    assert_eq!(json.lines().filter(|line| line.contains("\"state\":\"dead\"")).count(), 3, "{json}");

    // What comes after it is told all the same, once the receiver has had the time it asks for.
    case.receiver.mood(Mood::After(3));
    case.receiver.again();
    case.alert("away", "PT", 150, "closed").await;
    case.receiver.until_asked().await;
    let asked = Instant::now();
    case.receiver.mood(Mood::Answer(200));
    let taken = case.until("closed", |taken| !taken.is_empty()).await;
    assert!(asked.elapsed() >= Duration::from_millis(2_500), "sooner than asked for");
    assert_eq!(events(&taken), [("away", "closed")]);
    case.until_record("away", "closed").await;
    assert!(case.run("status", 1).ends_with("no receiver has taken: 2 (`streampulse alerts --dead`)\n"));

    let revived = case.run("alerts retry --receiver ops", 0);
    assert_eq!(revived, "2 dead letters are tried again by the process that delivers.\n");
    let taken = case.until("tried again", |taken| taken.len() == 3).await;
    let mut again = events(&taken[1..]);
    again.sort_unstable();
    assert_eq!(again, [("away too", "opened"), ("refused", "opened")]);
    case.until_record("refused", "open").await;
    assert_eq!(case.run("alerts retry", 0), "No dead letters.\n");
    running.interrupt();
    assert!(case.log().contains("given up"), "{}", case.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_keep_back_what_they_name_for_their_time() {
    let case = Case::new("silences", "", "").await;
    assert_eq!(case.run("alerts silences", 0), "No silences.\n");
    let mut silence = case.command("alerts silence --for 1h --country br --kind surge");
    silence.args(["--reason", "$moving house"]);
    let added = String::from_utf8(run(silence, 0).stdout).expect("text");
    assert!(added.contains("kind surge, country BR: $moving house"), "{added}");
    assert_eq!(case.run("alerts silences", 0), added);
    let id = added.split(' ').next().expect("an id");
    let running = case.deliver();
    case.alert("br", "BR", 150, "open").await;
    case.alert("over", "BR", 150, "open").await;
    let record = case.until_record("br", "silenced").await;
    assert_eq!(record.get_str("silence").ok(), Some(id));
    case.until_record("over", "silenced").await;
    case.alert("pt", "PT", 150, "open").await;
    case.alert("over", "BR", 150, "closed").await;
    assert_eq!(events(&case.until("the other", |taken| taken.len() == 1).await), [("pt", "opened")]);
    let until = Instant::now() + PATIENCE;
    while case.record("over").await.get_str("status").ok() != Some("closed") {
        assert!(Instant::now() < until, "the record follows its incident");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    case.run(&format!("alerts unsilence {id}"), 0);
    let taken = case.until("what is still open", |taken| taken.len() == 2).await;
    assert_eq!(events(&taken), [("pt", "opened"), ("br", "opened")]);
    run(case.command(&format!("alerts unsilence {id}")), 2);

    case.run("alerts silence --for 4s --reason short", 0);
    case.alert("de", "DE", 150, "open").await;
    case.alert("pt", "PT", 150, "closed").await;
    case.until_record("de", "silenced").await;
    let taken = case.until("the end of the silence", |taken| taken.len() == 4).await;
    assert_eq!(events(&taken)[2..], [("pt", "closed"), ("de", "opened")], "an end is told in silence too");
    running.interrupt();
    for wrong in ["--for 91d --reason x", "--for 1h --country XX --reason x", "--for 0s --reason x"] {
        run(case.command(&format!("alerts silence {wrong}")), 2);
    }
    run(streampulse(case.dir.path(), "alerts silence --for 1h"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_processes_delivers_and_the_other_takes_over() {
    let case = Case::new("two", "", "").await;
    let first = case.deliver();
    case.alert("a", "BR", 150, "open").await;
    case.until("opened", |taken| taken.len() == 1).await;
    let second = case.deliver();
    case.alert("b", "BR", 150, "open").await;
    case.until("opened", |taken| taken.len() == 2).await;
    case.until_record("b", "open").await;
    first.kill();
    case.alert("a", "BR", 150, "closed").await;
    let taken = case.until("closed", |taken| taken.len() == 3).await;
    assert_eq!(events(&taken), [("a", "opened"), ("b", "opened"), ("a", "closed")]);
    check_keys(&taken);
    second.interrupt();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_each_goes_to_standard_output_and_what_is_set_wrong_is_told() {
    let stdout = "[[alerts.receivers]]\nname = \"here\"\nformat = \"stdout\"\n";
    let case = Case::new("stdout", "", stdout).await;
    std::fs::write(case.dir.path().join("log"), bursts(3).file()).expect("a written file");
    let up = "up --file log --until-drained --data-dir data --limit-per-minute 50";
    // What is due when the input ends is told before the command does.
    let printed = case.run(up, 0);
    let lines: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let closed = lines.iter().filter(|line| line["event"] == "closed").count();
    assert_eq!(closed, 3, "{printed}");
    assert_eq!(case.receiver.taken("/s3cret").iter().filter(|found| found["event"] == "closed").count(), 3);

    let error = |command: Command| String::from_utf8(run(command, 2).stderr).expect("text");
    assert!(error(case.command(&format!("{up} --summary json"))).contains("has standard output to itself"));
    let mut unset = case.command("deliver");
    unset.env_remove("OPS_URL");
    let told = error(unset);
    assert!(told.contains("ops: the variable OPS_URL of the environment is not set"), "{told}");
    std::fs::write(case.dir.path().join("fluvio.toml"), "").expect("a written file");
    assert!(error(case.command("deliver")).contains("there is nobody to deliver alerts to"));
}
