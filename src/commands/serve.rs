//! `serve`: the live page, for those without Grafana.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::mongodb::Database;
use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use chrono::Utc;
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::args::ServeArgs;
use crate::page::{Parts, SCRIPT, Shown, answers, moving, render};
use crate::plan::Store;

/// How often what happens now is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Every how many looks the answers are computed anew, which costs more.
const LOOKS_PER_ANSWER: u32 = 5;
/// The page loads nothing from elsewhere, and nobody frames it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// Runs the command until it is asked to stop.
pub(super) async fn run(args: ServeArgs) -> Result<ExitCode> {
    let shown = Shown { last: args.last, timezone: args.timezone, lang: args.lang };
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener
        .with_context(|| format!("cannot listen on {}; choose another with --listen", args.listen))?;
    let reached = crate::mongodb::reach_to_read(&Store::new(args.store)?).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/");
    let done = tokio::select! {
        done = serve(listener, reached.database.clone(), shown) => done,
        () = sink::connector::asked_to_stop() => Ok(()),
    };
    reached.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

/// What the requests share.
struct Page {
    database: Database,
    shown: Shown,
    /// The newest parts.
    parts: watch::Sender<Parts>,
}

async fn serve(listener: TcpListener, database: Database, shown: Shown) -> Result<()> {
    let page = Arc::new(Page { database, shown, parts: watch::Sender::new(Parts::new()) });
    let routes = Router::new()
        .route("/", get(whole))
        .route("/live", get(live))
        .route("/live.js", get(async || ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT)))
        .with_state(page.clone());
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served.context("the server has ended"),
        never = look(&page) => match never {},
    }
}

/// Keeps the parts up to date while somebody looks.
async fn look(page: &Page) -> Infallible {
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(EVERY).await;
        if page.parts.receiver_count() == 0 {
            looks = 0;
            continue;
        }
        match page.parts(looks.is_multiple_of(LOOKS_PER_ANSWER)).await {
            Ok(parts) => page.parts.send_modify(|all| all.extend(parts)),
            Err(error) => tracing::warn!("cannot update the page: {error:#}"),
        }
        looks = looks.wrapping_add(1);
    }
}

impl Page {
    async fn parts(&self, with_answers: bool) -> Result<Parts> {
        let now = Utc::now();
        let mut parts = moving(&self.database, &self.shown, now).await?;
        if with_answers {
            parts.extend(answers(&self.database, &self.shown, now).await?);
        }
        Ok(parts)
    }
}

async fn whole(State(page): State<Arc<Page>>) -> Response {
    let headers: [(HeaderName, &str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::CACHE_CONTROL, "no-store")];
    match page.parts(true).await {
        Ok(parts) => (headers, Html(render(&parts, &page.shown))).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{error:#}\n")).into_response(),
    }
}

/// The parts that have changed, each time there are any.
async fn live(State(page): State<Arc<Page>>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut receiver = page.parts.subscribe();
    receiver.mark_unchanged();
    let changes = futures_util::stream::unfold((receiver, Parts::new()), |(mut receiver, mut sent)| async {
        receiver.changed().await.ok()?;
        let parts = receiver.borrow_and_update().clone();
        let mut changed = parts.clone();
        changed.retain(|place, part| sent.get(place) != Some(part));
        sent = parts;
        let event = Event::default().json_data(changed).unwrap_or_default();
        Some((Ok(event), (receiver, sent)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}
