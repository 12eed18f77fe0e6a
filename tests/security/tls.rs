//! TLS and authentication: the whole pipeline with SCRAM-SHA-256 and with X.509, and who is refused and how
//! that is told.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::server::Server;
use crate::sample::Sample;
use crate::serve::Running;
use crate::support::{database_name, run, streampulse};

const LINES: usize = 300;
const WRITER: &str = "streampulse-writer:wr1ter";
const READER: &str = "streampulse-reader:r3ader";

/// A command with its URI in the environment.
fn command(dir: &Path, args: &str, uri: &str) -> Command {
    let mut command = streampulse(dir, args);
    command.env("STREAMPULSE_MONGODB_URI", uri);
    command
}

/// Runs the pipeline over lines from standard input.
fn up(dir: &Path, uri: &str, database: &str) {
    let mut sample = Sample::default();
    let now_ms = chrono::Utc::now().timestamp_millis();
    (0..LINES)
        .for_each(|i| sample.push(&format!("u{i}"), now_ms - 3_600_000 + i as i64, i % 5, i % 4, i % 3));
    let mut command =
        command(dir, &format!("up --file - --until-drained --data-dir d --database {database}"), uri);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    stdin.write_all(&sample.file()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn accesses(dir: &Path, uri: &str, database: &str) -> u64 {
    let report = run(command(dir, &format!("report --format json --database {database}"), uri), 0);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("JSON");
    report["totals"]["accesses"].as_u64().expect("a number")
}

/// What `report` says of a URI that gets nowhere.
fn refusal(dir: &Path, uri: &str) -> String {
    let Output { stderr, .. } = run(command(dir, "report --wait-for-mongodb 2s", uri), 2);
    String::from_utf8(stderr).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_runs_over_tls_with_a_password() {
    let (server, dir, name) = (Server::get(), tempfile::tempdir().expect("a folder"), database_name("scram"));
    server.init(dir.path(), &name, "wr1ter", "r3ader").await;
    up(dir.path(), &server.uri(WRITER, &name), &name);
    let sha_256 = server.uri(READER, &name) + "&authMechanism=SCRAM-SHA-256";
    assert_eq!(accesses(dir.path(), &sha_256, &name), LINES as u64);

    for wrong in ["streampulse-reader:wrong", "nobody:r3ader"] {
        let told = refusal(dir.path(), &server.uri(wrong, &name));
        assert!(told.contains("refused us") && told.contains("Authentication failed"), "{told}");
    }
    let elsewhere = refusal(dir.path(), &server.uri(READER, "admin"));
    assert!(elsewhere.contains("Authentication failed"), "{elsewhere}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_runs_with_a_certificate() {
    let (server, dir, name) = (Server::get(), tempfile::tempdir().expect("a folder"), database_name("x509"));
    server.init(dir.path(), &name, "w", "r").await;
    let uri = server.uri_x509("pipeline.pem");
    up(dir.path(), &uri, &name);
    assert_eq!(accesses(dir.path(), &uri, &name), LINES as u64);

    let stranger = refusal(dir.path(), &server.uri_x509("stranger.pem"));
    assert!(stranger.contains("refused us"), "{stranger}");
    let forged = refusal(dir.path(), &server.uri_x509("forged.pem"));
    assert!(forged.contains("did not answer") || forged.contains("refused us"), "{forged}");
    let missing = refusal(dir.path(), &server.uri_x509("missing.pem"));
    assert!(missing.contains("cannot read tlsCertificateKeyFile of the MongoDB URI"), "{missing}");
}

#[test]
fn a_server_that_is_not_the_one_meant_is_refused() {
    let (server, dir) = (Server::get(), tempfile::tempdir().expect("a folder"));
    let uri = server.uri_without_ca("admin:4dmin");
    let with_ca = |file: &str| format!("{uri}&tlsCAFile={}", server.file(file));
    for (uri, reason) in [
        (uri.clone(), "UnknownIssuer"),
        (with_ca("other-ca.pem"), "invalid peer certificate"),
        (with_ca("ca.pem").replace("127.0.0.1", "localhost"), "not valid for name"),
    ] {
        let told = refusal(dir.path(), &uri);
        assert!(told.contains(reason) && told.contains("belongs into tlsCAFile"), "{reason}: {told}");
    }
    let plain = refusal(dir.path(), &uri.replace("&tls=true", ""));
    assert!(plain.contains("did not answer"), "{plain}");
    let missing = refusal(dir.path(), &with_ca("missing.pem"));
    assert!(missing.contains("cannot read tlsCAFile of the MongoDB URI"), "{missing}");

    let blind = run(command(dir.path(), "report", &format!("{uri}&tlsInsecure=true")), 0);
    let told = String::from_utf8_lossy(&blind.stderr);
    assert!(told.contains("turns off the check of the server's certificate"), "{told}");
}

/// What a client sends first to an SC that a profile names, without an answer.
fn first_bytes(dir: &Path, tls: &str) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("bound");
    let profile = format!(
        "version = \"2.0\"\ncurrent_profile = \"p\"\n[profile.p]\ncluster = \"c\"\n\
         [cluster.c]\nendpoint = \"{endpoint}\"\n[cluster.c.tls]\n{tls}"
    );
    std::fs::write(dir.join("profile.toml"), profile).expect("a file");
    let mut deploy = streampulse(dir, "deploy --dry-run --fluvio-profile p");
    deploy.env("FLV_PROFILE_PATH", dir.join("profile.toml"));
    let _deploy = Running(deploy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let (mut stream, _) = listener.accept().expect("somebody comes");
    let mut bytes = vec![0; 4_096];
    let n = stream.read(&mut bytes).expect("it speaks first");
    bytes.truncate(n);
    bytes
}

/// What can be seen without Fluvio; `cluster::tls` does more.
#[test]
fn the_tls_of_a_fluvio_profile_is_used() {
    let (server, dir) = (Server::get(), tempfile::tempdir().expect("a folder"));
    let is_handshake = |bytes: &[u8]| bytes.starts_with(&[0x16, 0x03]);
    assert!(!is_handshake(&first_bytes(dir.path(), "tls_policy = \"disabled\"\n")));
    let (ca, pem) = (server.file("ca.pem"), server.file("pipeline.pem"));
    let verified = format!(
        "tls_policy = \"verified\"\ntls_source = \"files\"\n[cluster.c.tls.certs]\n\
         domain = \"sc.example\"\nkey = \"{pem}\"\ncert = \"{pem}\"\nca_cert = \"{ca}\"\n"
    );
    let hello = first_bytes(dir.path(), &verified);
    assert!(is_handshake(&hello));
    assert!(String::from_utf8_lossy(&hello).contains("sc.example"), "it asks for the profile's domain");
}
