//! The live page over HTTP: what it shows at once, and what it is told as lines come in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::sample::Sample;
use crate::support::{database_name, mongodb_uri, run, streampulse};

const PATIENCE: Duration = Duration::from_secs(120);
/// Lines of the burst.
const BURST: usize = 640;

/// A process that ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it ends");
    }
}

/// Starts the page, and gives where it listens.
pub fn serve(dir: &std::path::Path, flags: &str) -> (Running, String) {
    let mut command = streampulse(dir, &format!("serve --listen 127.0.0.1:0 {flags}"));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("stdout")).read_line(&mut line).expect("an address");
    let address = line.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    (Running(child), address)
}

fn request(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").expect("a request");
    stream
}

fn get(address: &str, path: &str) -> String {
    let mut answer = String::new();
    request(address, path).read_to_string(&mut answer).expect("UTF-8");
    answer
}

#[test]
fn the_page_is_whole_before_any_script_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("page"), mongodb_uri());
    run(streampulse(dir.path(), &format!("mongodb init {place}")), 0);
    let (_page, address) = serve(dir.path(), &format!("--lang pt {place}"));
    let empty = get(&address, "/");
    assert!(empty.starts_with("HTTP/1.1 200") && empty.contains("<html lang=\"pt\">"), "{empty}");
    assert!(empty.contains("default-src 'none'") && empty.contains("A última hora"), "{empty}");

    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut sample = Sample::default();
    (0..1_234).for_each(|i| sample.push(&format!("u{i}"), now_ms - 3 * 3_600_000 - i * 10, 0, 1, 2));
    std::fs::write(dir.path().join("log"), sample.file()).expect("a file");
    run(streampulse(dir.path(), &format!("up --file log --until-drained --data-dir d {place}")), 0);
    // Answers are renewed every few seconds.
    let began = Instant::now();
    while !get(&address, "/").contains("<p>O minuto mais movimentado foi") {
        assert!(began.elapsed() < PATIENCE, "{}", get(&address, "/"));
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(get(&address, "/").contains("<p>1.234 acessos em 1.440 minutos.</p>"));
    let hour = get(&address, "/?last=1h");
    assert!(hour.contains("<p>Nenhum acesso neste período.</p>"), "{hour}");
    let refused = get(&address, "/?last=9y");
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("24h, 1h, 7d, 30d"), "{refused}");
    assert!(get(&address, "/live.js").contains("EventSource"));
    assert!(get(&address, "/other").starts_with("HTTP/1.1 404"));
}

#[test]
fn a_burst_shows_without_asking_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let place = format!("--database {} --mongodb-uri {}", database_name("burst"), mongodb_uri());
    let log = dir.path().join("log");
    std::fs::write(&log, "").expect("a file");
    let mut up =
        streampulse(dir.path(), &format!("up --file log --data-dir d --limit-per-minute 100 {place}"));
    let _up = Running(up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let (_page, address) = serve(dir.path(), &place);
    let live = request(&address, "/live");
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut sample = Sample::default();
    (0..BURST).for_each(|i| sample.push(&format!("u{i}"), now_ms, i % 5, i % 4, i % 4));
    std::fs::write(&log, sample.file()).expect("a file");
    let began = Instant::now();
    let mut lines = BufReader::new(live)
        .lines()
        .map_while(Result::ok)
        .inspect(|_| assert!(began.elapsed() < PATIENCE, "it is not shown"));
    let shown = lines.find(|line| line.contains(&format!("0–{BURST}"))).expect("the stream goes on");
    assert!(!shown.contains("<html"), "only parts come: {shown}");
    // The limit is known from the next sign of life on.
    assert!(lines.any(|line| line.contains("class=\\\"limit\\\"")));
}

#[test]
fn an_address_in_use_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dir = tempfile::tempdir().expect("a folder");
    let listen = taken.local_addr().expect("an address");
    for (command, flag) in [("serve", "--listen"), ("up", "--serve")] {
        let refused = format!("{command} {flag} {listen} --mongodb-uri {}", mongodb_uri());
        let refused = run(streampulse(dir.path(), &refused), 2);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(told.contains(&format!("choose another with {flag}")), "{told}");
    }
}
