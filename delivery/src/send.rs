//! Sending to a receiver once, and what came of it.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::settings::Receiver;

/// How long a receiver may take to be reached.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a receiver may take altogether.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Most of an answer that goes into the reason when the receiver refuses, in characters.
const ANSWER_CHARS_MAX: usize = 200;
/// A part of a URL or header that is as long as this is not shown when a receiver repeats it, in bytes.
const SECRET_BYTES_MIN: usize = 8;
/// The same when a notification is sent again, so that a receiver can tell.
const KEY_HEADER: &str = "idempotency-key";

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it.
    Taken,
    /// It may have it another time; how long it asks to wait, in milliseconds.
    Later { reason: String, retry_after_ms: Option<i64> },
    /// It does not want it, whenever it comes.
    Refused(String),
}

/// The HTTP client. It follows no redirects, which would turn what is sent into a question.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client() -> Result<Client> {
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("streampulse/", env!("CARGO_PKG_VERSION")))
        .build();
    client.context("cannot set up the HTTP client")
}

/// Sends `body`; `key` names it.
pub async fn send(client: &Client, receiver: &Receiver, key: Option<&str>, body: &Value) -> Outcome {
    let Some(url) = &receiver.url else { return print(body).await };
    let mut request = client.post(url.clone()).header(CONTENT_TYPE, "application/json");
    // An id with signs that cannot stand in a header stands in the body all the same.
    if let Some(key) = key.filter(|key| key.chars().all(|char| char.is_ascii() && !char.is_control())) {
        request = request.header(KEY_HEADER, key);
    }
    match request.headers(receiver.headers.clone()).body(body.to_string()).send().await {
        Ok(response) => judge(response, receiver).await,
        Err(error) => Outcome::Later { reason: reason(error), retry_after_ms: None },
    }
}

async fn print(body: &Value) -> Outcome {
    let mut stdout = tokio::io::stdout();
    let written = async {
        stdout.write_all(format!("{body}\n").as_bytes()).await?;
        stdout.flush().await
    };
    match written.await {
        Ok(()) => Outcome::Taken,
        Err(error) => Outcome::Later { reason: format!("standard output: {error}"), retry_after_ms: None },
    }
}

async fn judge(response: Response, receiver: &Receiver) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken;
    }
    let retry_after_ms = retry_after_ms(response.headers(), chrono::Utc::now().timestamp_millis());
    let answer = without_secrets(&beginning(response).await, &secrets(receiver));
    let answer: String = answer.chars().take(ANSWER_CHARS_MAX).collect();
    let reason = match answer.as_str() {
        "" => format!("it answered {status}"),
        answer => format!("it answered {status}: {answer}"),
    };
    match is_final(status) {
        true => Outcome::Refused(reason),
        false => Outcome::Later { reason, retry_after_ms },
    }
}

/// Whether the same would be answered another time. Only servers in trouble or under load change their mind.
fn is_final(status: StatusCode) -> bool {
    let is_load = status == StatusCode::REQUEST_TIMEOUT || status == StatusCode::TOO_MANY_REQUESTS;
    !is_load && !status.is_server_error()
}

/// How long to wait: seconds, or until a date.
fn retry_after_ms(headers: &HeaderMap, now_ms: i64) -> Option<i64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    match text.parse::<i64>() {
        Ok(seconds) => Some(seconds.saturating_mul(1_000)),
        Err(_) => Some(chrono::DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis() - now_ms),
    }
}

/// The first words of an answer, which often say what is wrong.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < ANSWER_BYTES_MAX {
        match response.chunk().await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES_MAX)]),
            // The status has said enough.
            Ok(None) | Err(_) => break,
        }
    }
    bytes.truncate(ANSWER_BYTES_MAX);
    String::from_utf8_lossy(&bytes).replace(char::is_control, " ").trim().to_owned()
}

/// Some answers repeat what was asked for, or what of it they do not know: of a URL its path, query and
/// password, whole or a longer part of them, and the headers.
fn secrets(receiver: &Receiver) -> Vec<String> {
    let mut wholes: Vec<String> = receiver
        .headers
        .values()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if let Some(url) = &receiver.url {
        let parts = [url.query(), url.password(), Some(url.path().trim_matches('/'))];
        wholes.extend(parts.into_iter().flatten().filter(|part| !part.is_empty()).map(str::to_owned));
    }
    let parts = wholes.iter().flat_map(|whole| whole.split(['/', '&', '=', ' ']));
    let long = parts.filter(|part| part.len() >= SECRET_BYTES_MIN).map(str::to_owned);
    let long: Vec<String> = long.collect();
    wholes.into_iter().chain(long).collect()
}

fn without_secrets(answer: &str, secrets: &[String]) -> String {
    secrets.iter().fold(answer.to_owned(), |answer, secret| answer.replace(secret.as_str(), "(..)"))
}

/// What went wrong, without the URL.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let (mut reason, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use reqwest::Url;
    use reqwest::header::AUTHORIZATION;

    use super::*;
    use crate::incident::Severity;
    use crate::settings::Format;

    #[test]
    fn only_trouble_and_load_are_worth_another_try() {
        let judged = [200, 301, 400, 404, 408, 410, 429, 500, 503].map(|code| {
            let status = StatusCode::from_u16(code).expect("a status");
            status.is_success() || is_final(status)
        });
        assert_eq!(judged, [true, true, true, true, false, true, false, false, false]);
    }

    #[test]
    fn an_answer_that_repeats_what_was_asked_shows_no_secret() {
        let shown = |answer: &str, url: &str, header: &'static str| {
            let receiver = Receiver {
                name: "ops".to_owned(),
                format: Format::Webhook,
                url: Some(Url::parse(url).expect("valid")),
                headers: HeaderMap::from_iter([(AUTHORIZATION, header.parse().expect("a header"))]),
                severity_min: Severity::Warning,
                rate_per_minute: 1,
                give_up_after_ms: 1,
            };
            without_secrets(answer, &secrets(&receiver))
        };
        let url = "https://u:pass@a/T0/s3cr3ts3?key=k1";
        assert_eq!(shown("no /T0/s3cr3ts3?key=k1 here", url, "Bearer t0k3nt0k3n"), "no /(..)?(..) here");
        assert_eq!(shown("no token s3cr3ts3, T0 is there", url, "x"), "no token (..), T0 is there");
        assert_eq!(shown("not t0k3nt0k3n, not pass", url, "Bearer t0k3nt0k3n"), "not (..), not (..)");
        assert_eq!(shown("a/b", "https://a/", "Bearer t0k3nt0k3n"), "a/b");
    }

    #[test]
    fn a_receiver_says_for_how_long_or_until_when() {
        let after = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a header"))]);
            retry_after_ms(&headers, 1_445_412_470_000)
        };
        assert_eq!(after("7"), Some(7_000));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(10_000));
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after_ms(&HeaderMap::new(), 0), None);
    }
}
