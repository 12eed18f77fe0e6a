//! What the section `[alerts]` of the pipeline file says: who is told of incidents, in which format, and how
//! patiently. Secrets are named by variables of the environment, which are read only by what delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use sink::secret::Secret;

use crate::incident::Severity;

/// Most receivers.
pub const RECEIVERS_MAX: usize = 16;
/// Longest name of a receiver, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Most headers of a receiver.
const HEADERS_MAX: usize = 16;
/// Most notifications a minute that can be asked for.
pub const RATE_PER_MINUTE_MAX: u32 = 6_000;
/// Notifications a minute when nothing is said.
const RATE_PER_MINUTE: u32 = 30;
/// Longest time that a notification can be tried, in seconds.
const GIVE_UP_AFTER_S_MAX: u64 = 7 * 24 * 60 * 60;
/// For how long a notification is tried when nothing is said, in seconds.
const GIVE_UP_AFTER_S: u64 = 60 * 60;
/// Where an Alertmanager takes alerts.
const ALERTMANAGER_PATH: &str = "/api/v2/alerts";

/// The section `[alerts]`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Who is told.
    pub receivers: Vec<ReceiverSettings>,
}

/// A receiver, as it stands in the file.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ReceiverSettings {
    /// Its name, which its records in MongoDB bear too.
    pub name: String,
    /// What it is sent.
    pub format: Format,
    /// Where to; for an Alertmanager its address is enough.
    #[serde(default)]
    pub url: Option<Secret>,
    /// The variable of the environment that holds the URL instead.
    #[serde(default)]
    pub url_env: Option<String>,
    /// Incidents below this severity are none of its business.
    #[serde(default = "severity_min")]
    pub severity_min: Severity,
    /// Most notifications a minute; those beyond wait.
    #[serde(default = "rate_per_minute")]
    pub rate_per_minute: u32,
    /// For how long a notification is tried before it becomes a dead letter, in seconds.
    #[serde(default = "give_up_after_s")]
    pub give_up_after_s: u64,
    /// Further headers, each with the variable of the environment that holds its value.
    #[serde(default)]
    pub headers_env: BTreeMap<String, String>,
}

fn severity_min() -> Severity {
    Severity::Warning
}

fn rate_per_minute() -> u32 {
    RATE_PER_MINUTE
}

fn give_up_after_s() -> u64 {
    GIVE_UP_AFTER_S
}

/// What a receiver is sent.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own JSON.
    Webhook,
    /// What Slack's incoming webhooks take.
    Slack,
    /// What Alertmanager's API takes.
    Alertmanager,
    /// Our own JSON, one document a line.
    Stdout,
}

/// A receiver, ready to be told.
#[derive(Clone)]
pub struct Receiver {
    /// Its name.
    pub name: String,
    /// What it is sent.
    pub format: Format,
    /// Where to; `None` for standard output.
    pub url: Option<Url>,
    /// Further headers.
    pub headers: HeaderMap,
    /// The least severity that it is told of.
    pub severity_min: Severity,
    /// Most notifications a minute.
    pub rate_per_minute: usize,
    /// For how long a notification is tried, in milliseconds.
    pub give_up_after_ms: i64,
}

/// URL and headers may hold secrets.
impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, format, severity_min, .. } = self;
        write!(f, "receiver {name} ({format:?}, from {severity_min:?})")
    }
}

impl Alerts {
    /// Makes sure that every receiver can be told, as far as the file alone shows it.
    ///
    /// # Errors
    /// Says which setting is wrong, and shows no URL.
    pub fn check(&self) -> Result<()> {
        let count = self.receivers.len();
        ensure!(count <= RECEIVERS_MAX, "alerts.receivers are {count}, must be at most {RECEIVERS_MAX}");
        let mut names = BTreeSet::new();
        for receiver in &self.receivers {
            let name = &receiver.name;
            ensure!(is_name(name), "alerts.receivers: the name {name:?} is not of letters, digits, - and _");
            ensure!(names.insert(name), "alerts.receivers: two are called {name:?}");
            receiver.check().with_context(|| format!("alerts.receivers: {name}"))?;
        }
        Ok(())
    }

    /// The receivers, with what the environment holds for them.
    ///
    /// # Errors
    /// When a variable is not set, or does not hold what it should.
    pub fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<Vec<Receiver>> {
        let resolved = self.receivers.iter().map(|receiver| {
            receiver.resolve(&env).with_context(|| format!("alerts.receivers: {}", receiver.name))
        });
        resolved.collect()
    }
}

fn is_name(name: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain)
}

impl ReceiverSettings {
    fn check(&self) -> Result<()> {
        let Self { url, url_env, rate_per_minute: rate, give_up_after_s, headers_env, .. } = self;
        match (self.format, url, url_env) {
            (Format::Stdout, None, None) if headers_env.is_empty() => {}
            (Format::Stdout, ..) => bail!("standard output has neither a URL nor headers; remove them"),
            (_, None, None) => bail!("url is missing; or name the variable that holds it with url_env"),
            (_, Some(_), Some(_)) => bail!("url and url_env both say where to; remove one"),
            (format, Some(url), None) => drop(parse(format, url.reveal())?),
            (_, None, Some(variable)) => check_variable("url_env", variable)?,
        }
        ensure!(
            (1..=RATE_PER_MINUTE_MAX).contains(rate),
            "rate_per_minute is {rate}, must be 1 to {RATE_PER_MINUTE_MAX}"
        );
        ensure!(
            (1..=GIVE_UP_AFTER_S_MAX).contains(give_up_after_s),
            "give_up_after_s is {give_up_after_s}, must be 1 to {GIVE_UP_AFTER_S_MAX}"
        );
        ensure!(
            headers_env.len() <= HEADERS_MAX,
            "headers_env has {} headers, must be at most {HEADERS_MAX}",
            headers_env.len()
        );
        for (header, variable) in headers_env {
            header_name(header)?;
            check_variable("headers_env", variable)?;
        }
        Ok(())
    }

    fn resolve(&self, env: impl Fn(&str) -> Option<String>) -> Result<Receiver> {
        let value = |variable: &str| {
            let value = env(variable).filter(|value| !value.is_empty());
            value.with_context(|| format!("the variable {variable} of the environment is not set"))
        };
        let url = match (&self.url, &self.url_env) {
            (Some(url), _) => Some(parse(self.format, url.reveal())?),
            (None, Some(variable)) => {
                Some(parse(self.format, &value(variable)?).with_context(|| format!("in {variable}"))?)
            }
            (None, None) => None,
        };
        let mut headers = HeaderMap::new();
        for (header, variable) in &self.headers_env {
            let text = HeaderValue::from_str(&value(variable)?);
            let mut text = text.map_err(|_| anyhow::anyhow!("{variable} cannot stand in a header"))?;
            text.set_sensitive(true);
            headers.insert(header_name(header)?, text);
        }
        Ok(Receiver {
            name: self.name.clone(),
            format: self.format,
            url,
            headers,
            severity_min: self.severity_min,
            rate_per_minute: self.rate_per_minute as usize,
            give_up_after_ms: i64::try_from(self.give_up_after_s * 1_000)?,
        })
    }
}

fn header_name(name: &str) -> Result<HeaderName> {
    let name = HeaderName::try_from(name);
    name.context("headers_env: a key (its text is not shown) is no name of a header")
}

/// Where a name belongs, a secret may have been written; such a name would be shown when it is not set.
fn check_variable(key: &str, name: &str) -> Result<()> {
    let is_usual = |char: char| char.is_ascii_uppercase() || char.is_ascii_digit() || char == '_';
    ensure!(
        !name.is_empty() && name.chars().all(is_usual),
        "{key} names a variable of the environment, of A-Z, 0-9 and _ (what it holds now is not shown); \
         put the secret into the variable"
    );
    Ok(())
}

/// The parser's own error says what is wrong and not where.
fn parse(format: Format, text: &str) -> Result<Url> {
    let mut url = Url::parse(text).context("the URL (its text is not shown) is not valid")?;
    ensure!(
        matches!(url.scheme(), "http" | "https"),
        "the URL (its text is not shown) does not begin with http:// or https://"
    );
    if format == Format::Alertmanager && !url.path().ends_with(ALERTMANAGER_PATH) {
        let path = format!("{}{ALERTMANAGER_PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(format: Format, url: Option<&str>) -> ReceiverSettings {
        ReceiverSettings {
            name: "ops".to_owned(),
            format,
            url: url.map(|url| Secret::from(url.to_owned())),
            url_env: None,
            severity_min: severity_min(),
            rate_per_minute: RATE_PER_MINUTE,
            give_up_after_s: GIVE_UP_AFTER_S,
            headers_env: BTreeMap::new(),
        }
    }

    fn resolved(receiver: ReceiverSettings) -> Result<Receiver> {
        let env = |name: &str| (name == "SET").then(|| "https://hooks.example/T0/secret".to_owned());
        let receivers = Alerts { receivers: vec![receiver] }.resolve(env)?;
        Ok(receivers.into_iter().next().expect("one receiver"))
    }

    #[test]
    fn an_alertmanager_is_named_by_its_address() {
        for url in ["http://a:9093", "http://a:9093/", "http://a:9093/api/v2/alerts"] {
            let url = resolved(receiver(Format::Alertmanager, Some(url))).expect("valid").url;
            assert_eq!(url.expect("it has one").as_str(), "http://a:9093/api/v2/alerts");
        }
        let url = resolved(receiver(Format::Alertmanager, Some("http://a/am/"))).expect("valid").url;
        assert_eq!(url.expect("it has one").path(), "/am/api/v2/alerts");
    }

    #[test]
    fn secrets_come_from_the_environment_and_are_not_shown() {
        let mut settings = receiver(Format::Slack, None);
        settings.url_env = Some("SET".to_owned());
        settings.headers_env = BTreeMap::from([("x-token".to_owned(), "SET".to_owned())]);
        let found = resolved(settings.clone()).expect("valid");
        assert_eq!(found.url.as_ref().map(Url::path), Some("/T0/secret"));
        assert_eq!(found.headers.len(), 1);
        settings.url = Some("https://hooks.example/T0/secret".to_owned().into());
        assert!(!format!("{settings:?}{found:?}{:?}", found.headers).contains("secret"));
        settings.headers_env = BTreeMap::from([("x-token".to_owned(), "UNSET".to_owned())]);
        let error = format!("{:#}", resolved(settings).expect_err("it is not set"));
        assert!(error.contains("ops: the variable UNSET of the environment is not set"), "{error}");
    }
}
