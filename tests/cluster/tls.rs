//! A cluster that takes nobody without a certificate.

use std::path::Path;

use rcgen::SanType;

use super::Case;
use crate::fluvio::{Fluvio, Options, Tls, installed};
use crate::sample::Sample;
use crate::security::Authority;
use crate::support::{run, streampulse};

const DOMAIN: &str = "fluvio.example";

/// The profiles of a cluster: one for each client, by name, with the text of its TLS.
fn profiles(endpoint: &str, clients: &[(&str, String)]) -> String {
    let profile = |(name, tls): &(&str, String)| {
        format!(
            "[profile.{name}]\ncluster = \"{name}\"\n[cluster.{name}]\nendpoint = \"{endpoint}\"\n\
             use_spu_local_address = false\n[cluster.{name}.tls]\n{tls}"
        )
    };
    let profiles: String = clients.iter().map(profile).collect();
    format!("version = \"2.0\"\ncurrent_profile = \"ours\"\n{profiles}")
}

/// The TLS of a client that shows a certificate and trusts an authority.
fn verified(dir: &Path, name: &str, domain: &str, (certificate, ca): (&str, &str)) -> String {
    let file = |file: &str| dir.join(file).display().to_string();
    format!(
        "tls_policy = \"verified\"\ntls_source = \"files\"\n[cluster.{name}.tls.certs]\n\
         domain = \"{domain}\"\nkey = \"{0}\"\ncert = \"{0}\"\nca_cert = \"{1}\"\n",
        file(certificate),
        file(ca)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_runs_over_tls_and_strangers_are_refused() {
    if installed().is_none() {
        return;
    }
    let files = tempfile::tempdir().expect("a folder");
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let places = [DOMAIN.to_owned(), format!("*.{DOMAIN}")];
    let places = places.map(|place| SanType::DnsName(place.try_into().expect("a name"))).to_vec();
    for (name, text) in [
        ("ca.pem", &ours.pem),
        ("other-ca.pem", &other.pem),
        ("server.pem", &ours.sign("server", places)),
        ("client.pem", &ours.sign("client", vec![])),
        ("forged.pem", &other.sign("client", vec![])),
    ] {
        std::fs::write(files.path().join(name), text).expect("a file");
    }
    let tls = Tls { server: files.path().join("server.pem"), ca: files.path().join("ca.pem") };
    let options = Options { tls: Some(tls), ..Options::default() };
    let case = Case::on(Fluvio::start_with(2, options).expect("Fluvio is installed"), "clustertls").await;

    let of = |name, domain, files_of| (name, verified(files.path(), name, domain, files_of));
    let clients = [
        of("ours", DOMAIN, ("client.pem", "ca.pem")),
        of("forged", DOMAIN, ("forged.pem", "ca.pem")),
        of("trusting", DOMAIN, ("client.pem", "other-ca.pem")),
        of("elsewhere", "fluvio.test", ("client.pem", "ca.pem")),
        ("plain", "tls_policy = \"disabled\"\n".to_owned()),
    ];
    let profile = files.path().join("profile.toml");
    std::fs::write(&profile, profiles(&case.fluvio.endpoint(), &clients)).expect("a file");
    let command = |args: &str| {
        let mut command = streampulse(case.path(), args);
        command.env("FLV_PROFILE_PATH", &profile);
        command
    };

    let sample = Sample::valid(2_000, 13);
    case.write("log", sample.file());
    let summary = run(command(&case.up_args()), 0);
    let summary: serde_json::Value = serde_json::from_slice(&summary.stdout).expect("the summary, alone");
    assert_eq!(summary["read"], 2_000);
    sample.check(&case.database).await;
    for (stranger, reason) in [
        ("forged", "received fatal alert: UnknownCA"),
        ("trusting", "invalid peer certificate: UnknownIssuer"),
        ("elsewhere", "not valid for name"),
        ("plain", "bytes remaining on stream"),
    ] {
        let refused = run(command(&format!("deploy --dry-run --fluvio-profile {stranger}")), 2);
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(told.contains(reason) && told.contains("the TLS of the profile"), "{stranger}: {told}");
    }
}
