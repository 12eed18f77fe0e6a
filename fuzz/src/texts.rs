//! Texts that people write: files of connectors and pipelines, and flags.

use std::collections::BTreeMap;

use clap::Parser;
use domain::MINUTE_MS;
use producer::Incident;
use sink::connector::config::ConnectorConfig;
use streampulse::args::Cli;
use streampulse::config::Config;

/// Nothing shows it.
const SECRET: &str = "gYc7Qn2Zw";

/// A connector's configuration: it is refused or taken, and nothing shows a secret.
pub fn connector(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let uri = format!("mongodb://user:{SECRET}@localhost/");
    let secrets = BTreeMap::from([("MONGODB_URI".to_owned(), uri), ("S".to_owned(), SECRET.to_owned())]);
    let shown = match ConnectorConfig::parse(text, &secrets) {
        Ok(config) => format!("{config:?}"),
        Err(error) => format!("{error:#} {error:?}"),
    };
    assert!(text.contains(SECRET) || !shown.contains(SECRET), "{shown}");
}

/// A pipeline file: it is refused or taken, and what is taken gives parameters.
pub fn pipeline(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(config) = Config::parse(text) {
        config.params().expect("what was checked");
        config.topics();
    }
}

/// Words of a command line, one a line: refused with a text, or taken. The first is taken for an incident
/// too.
pub fn flags(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let words: Vec<&str> = text.lines().collect();
    if let Err(error) = Cli::try_parse_from(["streampulse"].iter().chain(&words)) {
        assert!(!error.to_string().is_empty());
    }
    if let Some(Ok(incident)) = words.first().map(|word| Incident::parse(word, MINUTE_MS)) {
        assert!(incident.duration_ms >= 0);
    }
}
