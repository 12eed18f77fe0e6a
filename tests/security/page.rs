//! The live page and the HTML report against hostile names and hostile pages: what came from a log stays text
//! through the whole pipeline, a browser is told to do nothing but show it, and a page of somebody else gets
//! nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use mongodb::bson::{DateTime, doc};

use crate::browser::devtools::Browser;
use crate::serve::{Running, serve};
use crate::support::{database, database_name, mongodb_uri, run, streampulse};

const PATIENCE: Duration = Duration::from_secs(60);
/// What every answer says.
const HEADERS: [&str; 7] = [
    "content-security-policy: default-src 'none'",
    "x-content-type-options: nosniff",
    "x-frame-options: deny",
    "referrer-policy: no-referrer",
    "cache-control: no-store",
    "cross-origin-resource-policy: same-origin",
    "cross-origin-opener-policy: same-origin",
];
/// What would run if it were taken for more than text.
const HOSTILE: [&str; 4] = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\"><svg onload=window.pwned=1>",
    "</title></style></script><script>window.pwned=1</script>",
];

/// Sends a request, and gives what has come when the answer ends or `enough` of it is there.
fn ask(address: &str, line: &str, host: &str, enough: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    write!(stream, "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("a request");
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let n = stream.read(&mut piece).expect("it answers");
        answer.extend_from_slice(&piece[..n]);
        let text = String::from_utf8_lossy(&answer);
        if n == 0 || !enough.is_empty() && text.contains(enough) {
            return text.into_owned();
        }
    }
}

/// An hour of accesses with hostile names, and alerts that name what is hostile. Gives the flags of the place.
async fn fill(dir: &Path, test: &str) -> String {
    let name = database_name(test);
    let place = format!("--database {name} --mongodb-uri {}", mongodb_uri());
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut lines = String::new();
    for i in 0..400 {
        let hostile = HOSTILE[i % HOSTILE.len()];
        let line = serde_json::json!({
            "user_id": hostile, "timestamp": now_ms - 120_000 - i as i64, "device": hostile,
            "content_type": hostile, "country": if i % 2 == 0 { "BR" } else { "PT" }, "city": hostile,
            hostile: hostile,
        });
        lines += &format!("{line}\n{hostile}\n");
    }
    std::fs::write(dir.join("log"), lines).expect("a file");
    run(
        streampulse(
            dir,
            &format!("up --file log --until-drained --limit-per-minute 50 --data-dir d {place}"),
        ),
        0,
    );
    let database = database(&name).await;
    let alerts = database.collection("access_alerts");
    assert!(alerts.count_documents(doc! {}).await.expect("a count") > 0, "the limit alerts");
    // More than the detector can say: a document that somebody else wrote.
    let now = DateTime::from_millis(now_ms);
    let alert = |(i, hostile): (usize, &&str)| {
        doc! {
            "_id": format!("{i}{hostile}"), "kind": *hostile, "severity": *hostile, "status": "open",
            "entity": { "scope": *hostile, "country": *hostile }, "ts": now, "incident": *hostile,
            "opened_at": now, "closed_at": null, "text": *hostile, "observed": 9_i64,
        }
    };
    let written = HOSTILE.iter().enumerate().map(alert);
    alerts.insert_many(written).bypass_document_validation(true).await.expect("what the server lets pass");
    place
}

/// No name has become an element or left an attribute.
fn assert_is_text(html: &str) {
    assert!(html.contains("&lt;script&gt;window.pwned=1&lt;/script&gt;"), "it is shown: {html}");
    for harm in ["<script>w", "<img", "<svg onload", "</title></style>"] {
        assert!(!html.contains(harm), "{harm} in {html}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_stay_text_on_page_and_report() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = fill(dir.path(), "hostile").await;
    let report = run(streampulse(dir.path(), &format!("report --format html --cities {place}")), 0);
    let report = String::from_utf8(report.stdout).expect("UTF-8");
    assert_is_text(&report);
    assert!(report.contains("content=\"default-src 'none'; style-src 'sha256-"), "{report}");
    std::fs::write(dir.path().join("report.html"), report).expect("a file");

    let (_page, address) = serve(dir.path(), &place);
    let page = ask(&address, "GET /?last=1h", &address, "");
    assert_is_text(page.split_once("<body").expect("a body").1.rsplit_once("<script src").expect("ours").0);
    // The same in the JSON of the stream, and no sign in it can end a line of the stream early.
    let live = ask(&address, "GET /live?last=1h", &address, "window.pwned");
    assert!(live.contains("&lt;script&gt;window.pwned") && !live.contains("<script>w"), "{live}");

    let Some(mut browser) = Browser::start() else { return };
    for url in
        [format!("http://{address}/?last=1h"), format!("file://{}", dir.path().join("report.html").display())]
    {
        browser.open(&url, 1280, false);
        assert_eq!(browser.value("document.body.innerText.includes('<script>window.pwned')"), true, "{url}");
        assert!(browser.errors().is_empty(), "{url}: {:?}", browser.errors());
        // And if a name were more than text, the policy would stop it.
        browser.value(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=window.pwned=1>');
             document.body.append(Object.assign(document.createElement('script'), { text: 'window.pwned=1' }));
             new Promise((resolve) => setTimeout(resolve, 300))",
        );
        assert_eq!(browser.value("window.pwned === undefined"), true, "{url}");
        assert!(!browser.errors().is_empty(), "{url}: the policy stopped nothing");
    }
}

#[test]
fn every_answer_tells_the_browser_to_do_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("headers"), mongodb_uri());
    run(streampulse(dir.path(), &format!("mongodb init {place}")), 0);
    let (_page, address) = serve(dir.path(), &place);
    for (line, host, status) in [
        ("GET /", address.as_str(), 200),
        ("GET /", "localhost", 200),
        ("HEAD /", &address, 200),
        ("GET /live", &address, 200),
        ("GET /live.js", &address, 200),
        ("GET /favicon.ico", &address, 200),
        ("GET /?last=%3Cscript%3E", &address, 400),
        ("GET /%3Cscript%3E", &address, 404),
        ("POST /", &address, 405),
        ("DELETE /", &address, 405),
        ("TRACE /other", &address, 405),
        ("GET /", "rebound.example", 421),
        ("GET /live", "rebound.example:8480", 421),
    ] {
        let answer = ask(&address, line, host, "\r\n\r\n");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {host}: {answer}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let head = head.to_lowercase();
        for header in HEADERS {
            assert!(head.contains(&format!("\r\n{header}")), "{line}: no {header} in {head}");
        }
        assert!(head.contains("frame-ancestors 'none'") && !head.contains("unsafe"), "{head}");
        assert!(!body.contains("<script>"), "{line}: {body}");
        assert!(status != 421 || !body.contains("<html"), "{body}");
    }
}

#[test]
fn an_address_that_others_reach_is_warned_of() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("public"), mongodb_uri());
    for (listen, warned) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
        let mut command = streampulse(dir.path(), &format!("serve --listen {listen} {place}"));
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut page = Running(piped.spawn().expect("it starts"));
        let mut line = String::new();
        BufReader::new(page.0.stdout.take().expect("stdout")).read_line(&mut line).expect("an address");
        assert!(line.starts_with("http://"), "{line}");
        let mut stderr = page.0.stderr.take().expect("stderr");
        drop(page);
        let mut told = String::new();
        stderr.read_to_string(&mut told).expect("text");
        assert_eq!(told.contains("neither a password nor TLS"), warned, "{listen}: {told}");
    }
}
