//! A receiver of alerts: an HTTP server that takes, refuses, hangs, goes away and comes back on its port.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::runtime::Runtime;

/// How it treats whoever asks.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// With this status; with 200 it has taken what came.
    Answer(u16),
    /// Busy, and says for how many seconds.
    After(u32),
    /// Not at all.
    Hang,
}

#[derive(Debug)]
struct Seen {
    mood: Mood,
    taken: Vec<(String, Value)>,
    /// How often it was asked since its mood changed.
    asked: usize,
}

/// The server; it runs on threads of its own, so that stopping it ends its connections too.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    runtime: Mutex<Option<Runtime>>,
}

impl Receiver {
    /// One that takes everything.
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let seen = Seen { mood: Mood::Answer(200), taken: Vec::new(), asked: 0 };
        let this = Self { address, seen: Arc::new(Mutex::new(seen)), runtime: Mutex::new(None) };
        this.serve(listener);
        this
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn mood(&self, mood: Mood) {
        let mut seen = self.seen.lock().expect("no panic");
        (seen.mood, seen.asked) = (mood, 0);
    }

    /// What it has taken at a path.
    pub fn taken(&self, path: &str) -> Vec<Value> {
        let seen = self.seen.lock().expect("no panic");
        seen.taken.iter().filter(|(at, _)| at == path).map(|(_, body)| body.clone()).collect()
    }

    /// Waits until somebody has asked in this mood.
    pub async fn until_asked(&self) {
        let until = Instant::now() + super::PATIENCE;
        while self.seen.lock().expect("no panic").asked == 0 {
            assert!(Instant::now() < until, "nobody asks");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it, with its connections; who comes now is refused.
    pub fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().expect("no panic").take() {
            runtime.shutdown_background();
        }
    }

    /// Starts it again, on its port.
    pub fn again(&self) {
        let until = Instant::now() + super::PATIENCE;
        let listener = loop {
            match std::net::TcpListener::bind(self.address) {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        self.serve(listener);
    }

    fn serve(&self, listener: std::net::TcpListener) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        listener.set_nonblocking(true).expect("a socket");
        let app = Router::new().fallback(take).with_state(self.seen.clone());
        runtime.spawn(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, app).await
        });
        *self.runtime.lock().expect("no panic") = Some(runtime);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, uri: Uri, headers: HeaderMap, body: String) -> Response {
    let mood = {
        let mut seen = seen.lock().expect("no panic");
        seen.asked += 1;
        if let Mood::Answer(200) = seen.mood {
            let body: Value = serde_json::from_str(&body).expect("JSON");
            if body["key"].is_string() {
                assert_eq!(headers["idempotency-key"], body["key"].as_str().expect("text"));
            }
            seen.taken.push((uri.path().to_owned(), body));
        }
        seen.mood
    };
    match mood {
        Mood::Answer(code) => (StatusCode::from_u16(code).expect("a status"), "not now").into_response(),
        Mood::After(seconds) => {
            let header = [("retry-after", seconds.to_string())];
            (StatusCode::TOO_MANY_REQUESTS, header).into_response()
        }
        Mood::Hang => std::future::pending().await,
    }
}
