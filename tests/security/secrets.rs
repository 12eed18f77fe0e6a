//! Passwords and tokens that come from files and the environment are shown nowhere, whatever fails and however
//! much is logged: not in what a command prints or logs, nor in the list of processes, the files that it
//! writes, and the database.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use super::server::Server;
use crate::support::{database_name, streampulse};

const PASSWORD: &str = "m4rkedPassw0rd";
const TOKEN: &str = "m4rkedT0ken";
/// What both have in common, so that parts of them are found too.
const MARK: &str = "m4rked";
/// Where nobody listens.
const AWAY: &str = "127.0.0.1:1";

/// A receiver that refuses everything and repeats what it was sent. Gives its port and what it has got.
fn echo() -> (u16, Arc<Mutex<String>>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let got = Arc::new(Mutex::new(String::new()));
    let theirs = got.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            // Tokens first: only the beginning of an answer is kept.
            let told: Vec<&str> =
                head.split(['/', ' ', '\r', '\n']).filter(|part| part.contains(MARK)).collect();
            let body = format!("{} {head}", told.join(" "));
            theirs.lock().expect("no panic").push_str(&head);
            let answer = format!(
                "HTTP/1.1 400 No\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            // Whoever asked may have gone.
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    (port, got)
}

/// A folder in which commands run, with everything that they are to keep to themselves in the environment.
struct Case {
    dir: tempfile::TempDir,
    /// The files that hold secrets because we wrote them.
    ours: Vec<PathBuf>,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder"), ours: Vec::new() }
    }

    fn file(&mut self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        if !self.ours.contains(&path) {
            self.ours.push(path);
        }
    }

    fn command(&self, args: &str, uri: &str) -> Command {
        let mut command = streampulse(self.dir.path(), args);
        command.env("RUST_LOG", "trace").env("NO_PROXY", "127.0.0.1").env("RUST_BACKTRACE", "full");
        if !uri.is_empty() {
            command.env("STREAMPULSE_MONGODB_URI", uri);
        }
        command.env("OPS_TOKEN", format!("Bearer {TOKEN}"));
        command.env("STREAMPULSE_WRITER_PASSWORD", PASSWORD).env("STREAMPULSE_READER_PASSWORD", PASSWORD);
        command
    }

    /// Runs a command that is given no secret in its words, and gives what it has said.
    #[track_caller]
    fn run(&self, mut command: Command, code: i32) -> String {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = piped.spawn().expect("it starts");
        let words = std::fs::read_to_string(format!("/proc/{}/cmdline", child.id())).expect("its words");
        assert!(!words.contains(MARK), "{words}");
        let output = child.wait_with_output().expect("it ends");
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert_eq!(output.status.code(), Some(code), "{command:?}: {}", tail(&said));
        assert_is_kept(&format!("{command:?}"), &said);
        said
    }

    /// What the commands have written.
    fn check_files(&self) -> usize {
        fn walk(dir: &Path, ours: &[PathBuf], seen: &mut usize) {
            for entry in std::fs::read_dir(dir).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, ours, seen);
                } else if !ours.contains(&path) {
                    let bytes = std::fs::read(&path).expect("a file");
                    assert!(
                        !bytes.windows(MARK.len()).any(|bytes| bytes == MARK.as_bytes()),
                        "{}",
                        path.display()
                    );
                    *seen += 1;
                }
            }
        }
        let mut seen = 0;
        walk(self.dir.path(), &self.ours, &mut seen);
        seen
    }
}

fn tail(text: &str) -> &str {
    text.char_indices().rev().nth(2_000).map_or(text, |(at, _)| &text[at..])
}

#[track_caller]
fn assert_is_kept(what: &str, said: &str) {
    if let Some(line) = said.lines().find(|line| line.contains(MARK)) {
        panic!("{what} shows a secret: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_receivers_that_refuse_shows_no_secret() {
    let (server, name, mut case) = (Server::get(), database_name("secrets"), Case::new());
    let (port, got) = echo();
    server.init(case.dir.path(), &name, PASSWORD, PASSWORD).await;
    let receivers = [("ops", port), ("away", 1)].map(|(receiver, port)| {
        format!(
            "[[alerts.receivers]]\nname = \"{receiver}\"\nformat = \"slack\"\n\
             url = \"http://u:{PASSWORD}@127.0.0.1:{port}/services/T0/{TOKEN}?key={TOKEN}\"\n\
             headers_env = {{ X-Token = \"OPS_TOKEN\" }}\ngive_up_after_s = 1\n"
        )
    });
    case.file("fluvio.toml", &receivers.concat());
    let uri = server.uri(&format!("streampulse-writer:{PASSWORD}"), &name);
    let command = |args: &str| case.command(&format!("{args} --database {name}"), &uri);
    let up = "up --events 300 --rate 1000 --malformed 0 --limit-per-minute 1 --until-drained --data-dir d";
    let said = case.run(command(up), 0);
    assert!(said.contains("TRACE") && said.contains("writing"), "everything is logged: {}", tail(&said));
    let got = got.lock().expect("no panic").clone();
    assert!(got.contains(&format!("/services/T0/{TOKEN}?key={TOKEN}")) && got.contains("Bearer"), "{got}");
    for args in ["alerts --dead", "alerts --dead --format json"] {
        let dead = case.run(command(args), 0);
        assert!(
            dead.contains("it answered 400 Bad Request: (..)") && dead.contains("POST /(..)"),
            "{}",
            dead.lines().next().unwrap_or_default()
        );
    }
    case.run(command("status"), 1);
    case.run(command("doctor --data-dir d"), 0);
    case.run(command("report --help"), 0);
    let admin = server.uri("admin:4dmin", "admin");
    let users = case.run(case.command("mongodb init --users --dry-run --database more", &admin), 0);
    assert!(users.contains("createUser") && users.contains("***"), "{}", tail(&users));
    case.run(case.command("mongodb init --users --database more", &admin), 0);
    assert!(case.check_files() > 0);
    let mode = std::fs::metadata(case.dir.path().join("d")).expect("the data directory").permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can look into the data directory");
    for database in [&*name, "more"] {
        let dump = server.dump(database).await;
        assert!(dump.contains("access_") || database == "more");
        assert_is_kept(database, &dump);
    }
}

#[test]
fn no_failure_to_reach_mongodb_shows_its_password() {
    let (server, mut case) = (Server::get(), Case::new());
    let user = format!("somebody:{PASSWORD}");
    let ca = |file: &str| format!("{}&tlsCAFile={}", server.uri_without_ca(&user), server.file(file));
    let away = format!("mongodb://{user}@{AWAY}/?directConnection=true");
    for uri in [
        server.uri(&user, "admin"),
        ca("other-ca.pem"),
        ca("missing.pem"),
        ca("ca.pem").replace("127.0.0.1", "localhost"),
        server.uri_without_ca(&user).replace("&tls=true", ""),
        away.clone(),
        format!("mongodb://{user}@/"),
        format!("mongodb:/{user}@{AWAY}/"),
        format!("mongodb://{user}@{AWAY}:x/"),
        format!("mongodb://{user}:@{AWAY}/"),
        format!("mongodb://{user}@{AWAY}/?authMechanism={PASSWORD}"),
        format!("mongodb://{user}@{AWAY}/?tls={PASSWORD}&readPreference={PASSWORD}"),
        format!("mongodb+srv://{user}@nowhere.invalid/"),
        PASSWORD.to_owned(),
    ] {
        let said = case.run(case.command("report --wait-for-mongodb 1s", &uri), 2);
        assert!(said.contains("error: "), "{uri}: {}", tail(&said));
    }
    // The same from the pipeline file, for the other commands.
    case.file("fluvio.toml", &format!("[mongodb]\nuri = \"{away}\"\n"));
    for (args, code) in [
        ("up --events 1 --data-dir d", 2),
        ("status", 2),
        ("serve --listen 127.0.0.1:0", 2),
        ("alerts", 2),
        ("detect", 2),
        ("mongodb init", 2),
        ("doctor --data-dir d", 1),
    ] {
        case.run(case.command(&format!("{args} --wait-for-mongodb 1s"), ""), code);
    }
    case.check_files();
}

#[test]
fn no_mistake_in_a_file_shows_a_secret_of_it() {
    let mut case = Case::new();
    let uri = format!("mongodb://u:{PASSWORD}@{AWAY}/");
    let hook = format!("https://hooks.example/T0/{TOKEN}");
    let receiver =
        |settings: &str| format!("[[alerts.receivers]]\nname = \"ops\"\nformat = \"slack\"\n{settings}\n");
    for text in [
        format!("[mongodb]\nurl = \"{uri}\""),
        format!("[mongodb]\nuri = \"{uri}"),
        format!("[mongodb]\nuri = {{ text = \"{uri}\" }}"),
        format!("[mongodb]\nstore_events = \"{PASSWORD}\""),
        format!("[mongodb]\nretention = \"{PASSWORD}\""),
        format!("[mongodb.retention]\nevents_by = \"{PASSWORD}\""),
        format!("[topics.access-logs]\ncompression = \"{PASSWORD}\""),
        format!("[alerts]\nreceivers = \"{hook}\""),
        receiver(&format!("ulr = \"{hook}\"")),
        receiver(&format!("url_env = \"{hook}\"")),
        receiver(&format!("url_env = \"{TOKEN}\"")),
        receiver(&format!("url = \"hooks.example/{TOKEN}\"")),
        receiver(&format!("url = \"{hook}\"\nheaders_env = {{ Authorization = \"Bearer {TOKEN}\" }}")),
        receiver(&format!("url = \"{hook}\"\nheaders_env = {{ \"Bearer {TOKEN}\" = \"A\" }}")),
        receiver(&format!("url = \"{hook}\"\nseverity_min = \"{TOKEN}\"")),
    ] {
        case.file("fluvio.toml", &text);
        for args in ["up --events 1", "deliver"] {
            let said = case.run(case.command(args, ""), 2);
            assert!(said.contains("error: "), "{text}: {}", tail(&said));
        }
        case.run(case.command("doctor", &format!("mongodb://{AWAY}/")), 1);
    }
    // A connector, with its secret in a file and used in right and in wrong places.
    case.file("fluvio.toml", "");
    case.file("secrets", &format!("URI={uri}\n"));
    let config = |uri: &str, more: &str| {
        format!(
            "apiVersion: 0.1.0\nmeta:\n  name: c\n  type: mongodb-sink\n  version: 0.1.0\n  topic: access-rollups\n\
             \x20 secrets: [{{name: URI}}]\nmongodb:\n  job: rollups\n  wait_ms_max: 500\n  uri: {uri}\n{more}"
        )
    };
    let secret = "${{ secrets.URI }}";
    for text in [
        config(secret, ""),
        config(secret, &format!("  database: {secret}\n")),
        config(secret, &format!("  wait: {secret}\n")),
        config(secret, &format!("  store_events: {secret}\n")),
        config(&uri, ""),
        config(&uri, &format!("  database: {uri}\n")),
        config(&uri, &format!("  url: {uri}\n")),
        config(secret, "  endpoint: '${{ secrets.NO }}'\n"),
        config(&format!("'{uri}"), ""),
    ] {
        case.file("c.yaml", &text);
        let said = case.run(case.command("connector --config c.yaml --secrets secrets", ""), 2);
        assert!(said.contains("error: "), "{text}: {}", tail(&said));
    }
    case.check_files();
}

#[test]
fn a_password_that_was_typed_is_warned_of_and_not_repeated() {
    let case = Case::new();
    let uri = format!("mongodb://u:{PASSWORD}@{AWAY}/");
    for args in [
        format!("report --wait-for-mongodb 1s --mongodb-uri {uri}"),
        format!("report --wait-for-mongodb 1s --mongodb-uri={uri}"),
        format!("report --mongod-port 1 --mongodb-uri {uri}"),
        format!("report --mongodb-uri {uri} --bogus"),
        format!("report {uri}"),
        format!("report --listen {uri}"),
        uri.to_string(),
        format!("report --from {uri}"),
        format!("report --lang={uri}"),
        format!("report --database {uri} --wait-for-mongodb 1s --mongodb-uri mongodb://{AWAY}/"),
    ] {
        let output = case.command(&args, "").output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{args}");
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert_is_kept(&args, &said);
        let is_parsed = args.contains("1s");
        assert!(
            !is_parsed || said.contains("can read a password in a command line"),
            "{args}: {}",
            tail(&said)
        );
    }
}
