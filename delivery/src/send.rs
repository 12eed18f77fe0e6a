//! Sending to a receiver once, and what came of it.

use std::error::Error;
use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
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
        Ok(response) => judge(response, url).await,
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

async fn judge(response: Response, url: &Url) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken;
    }
    let retry_after_ms = retry_after_ms(response.headers(), chrono::Utc::now().timestamp_millis());
    let answer: String =
        without_secret(&beginning(response).await, url).chars().take(ANSWER_CHARS_MAX).collect();
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

/// Some answers repeat what was asked for, and that part of a URL is often its secret.
fn without_secret(answer: &str, url: &Url) -> String {
    let parts = [url.query().unwrap_or_default(), url.path().trim_matches('/')];
    let secrets = parts.into_iter().filter(|part| !part.is_empty());
    secrets.fold(answer.to_owned(), |answer, part| answer.replace(part, "(..)"))
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
    use super::*;

    #[test]
    fn only_trouble_and_load_are_worth_another_try() {
        let judged = [200, 301, 400, 404, 408, 410, 429, 500, 503].map(|code| {
            let status = StatusCode::from_u16(code).expect("a status");
            status.is_success() || is_final(status)
        });
        assert_eq!(judged, [true, true, true, true, false, true, false, false, false]);
    }

    #[test]
    fn an_answer_that_repeats_the_url_shows_no_secret() {
        let url = |text: &str| Url::parse(text).expect("valid");
        let shown = without_secret("no /T0/s3cret?key=k1 here", &url("https://a/T0/s3cret?key=k1"));
        assert_eq!(shown, "no /(..)?(..) here");
        assert_eq!(without_secret("a/b", &url("https://a/")), "a/b");
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
