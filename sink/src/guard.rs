//! What holds for everything that is served over HTTP, whatever the route: it is only read, a browser does
//! nothing with it but show it, and a foreign name that was made to point at this machine gets nothing.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

/// What a browser may do with an answer that says nothing about it itself.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Headers of each answer.
fn headers() -> [(HeaderName, &'static str); 6] {
    [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ]
}

/// Takes the address that `flag` has given, and gives the one that was taken.
///
/// # Errors
/// When it cannot be taken.
pub async fn listen(address: SocketAddr, flag: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await;
    let listener =
        listener.with_context(|| format!("cannot listen on {address}; choose another with {flag}"))?;
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            "whoever reaches {address} can read what is served there: it has neither a password nor TLS; put a proxy \
             that has both before it, or leave it on 127.0.0.1"
        );
    }
    Ok((listener, address))
}

/// Puts the guard before all of `routes`. On a loopback address (`is_local`) only its own names are answered:
/// there a page of somebody else could reach us through the browser of a person at this machine, by a name of
/// its own that resolves to 127.0.0.1.
pub fn guard(routes: Router, is_local: bool) -> Router {
    routes.layer(from_fn(move |request: Request, next: Next| async move {
        let mut response = if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let allow = [(header::ALLOW, "GET, HEAD")];
            (StatusCode::METHOD_NOT_ALLOWED, allow, "this is only read\n").into_response()
        } else if is_local && !names_this_machine(request.headers()) {
            const WHY: &str =
                "the page answers to localhost and to addresses; a proxy has to send such a Host\n";
            (StatusCode::MISDIRECTED_REQUEST, WHY).into_response()
        } else {
            next.run(request).await
        };
        let policy = response.headers_mut().entry(header::CONTENT_SECURITY_POLICY);
        policy.or_insert(HeaderValue::from_static(POLICY));
        for (name, value) in headers() {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }))
}

/// Whether `Host` is an address or `localhost`. No browser leaves it out.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_this_machine() {
        for (host, expected) in [
            ("127.0.0.1:8480", true),
            ("localhost:8480", true),
            ("LOCALHOST.", true),
            ("[::1]:8480", true),
            ("192.0.2.7", true),
            ("evil.example:8480", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            assert_eq!(names_this_machine(&headers), expected, "{host}");
        }
        assert!(names_this_machine(&HeaderMap::new()));
    }
}
