//! `serve`: the live page, for those without Grafana.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::Stream;
use serde::Deserialize;
use sink::guard::{guard, listen};
use tokio::net::TcpListener;

use crate::args::ServeArgs;
use crate::page::{ICON, Page, Parts, Period, SCRIPT, Shown};
use crate::plan::Store;

/// Runs the command until it is asked to stop.
pub(super) async fn run(args: ServeArgs) -> Result<ExitCode> {
    let shown = Shown { timezone: args.timezone, lang: args.lang };
    let (listener, address) = listen(args.listen, "--listen").await?;
    let reached = crate::mongodb::reach_to_read(&Store::new(args.store)?).await?;
    println!("http://{address}/");
    let page = Page::new(reached.database.clone(), shown, Period { length: args.last });
    let done = tokio::select! {
        done = serve(listener, page, Router::new()) => done,
        () = sink::connector::asked_to_stop() => Ok(()),
    };
    reached.close().await;
    done.map(|()| ExitCode::SUCCESS)
}

/// Serves a page, and what else there is to be served with it, for ever.
pub(super) async fn serve(listener: TcpListener, page: Page, others: Router) -> Result<()> {
    let page = Arc::new(page);
    let is_local = listener.local_addr()?.ip().is_loopback();
    let routes = Router::new()
        .route("/", get(whole))
        .route("/live", get(live))
        .route("/live.js", get(async || ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT)))
        .route("/favicon.ico", get(async || ([(header::CONTENT_TYPE, "image/svg+xml")], ICON)))
        .with_state(page.clone())
        .merge(others);
    let routes = guard(routes, is_local);
    tokio::select! {
        served = async { axum::serve(listener, routes).await } => served.context("the page's server has ended"),
        () = page.keep_up_to_date() => Ok(()),
    }
}

/// Why a request gets nothing.
type Refusal = (StatusCode, String);

/// What a reader chooses.
#[derive(Deserialize)]
struct Choice {
    /// The name of a period.
    last: Option<String>,
}

impl Choice {
    fn period(&self, page: &Page) -> Result<Period, Refusal> {
        page.period(self.last.as_deref()).ok_or_else(|| {
            let there = page.period_names().join(", ");
            (StatusCode::BAD_REQUEST, format!("no such period; last is one of {there}\n"))
        })
    }
}

async fn whole(State(page): State<Arc<Page>>, Query(choice): Query<Choice>) -> Result<Response, Refusal> {
    let period = choice.period(&page)?;
    let headers = [(header::CONTENT_SECURITY_POLICY, Page::policy())];
    Ok(match page.whole(period).await {
        Ok(text) => (headers, Html(text)).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, headers, format!("{error:#}\n")).into_response(),
    })
}

/// The parts that have changed, each time there are any.
async fn live(
    State(page): State<Arc<Page>>,
    Query(choice): Query<Choice>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let followed = page.follow(choice.period(&page)?);
    let changes = futures_util::stream::unfold((followed, Parts::new()), |(mut followed, mut sent)| async {
        let [moving, answers] = &mut followed;
        let parts = tokio::select! {
            changed = moving.changed() => changed.ok().map(|()| moving.borrow_and_update().clone()),
            changed = answers.changed() => changed.ok().map(|()| answers.borrow_and_update().clone()),
        };
        let mut changed = parts?;
        changed.retain(|place, part| sent.get(place) != Some(part));
        sent.extend(changed.clone());
        let event = Event::default().json_data(changed).unwrap_or_default();
        Some((Ok(event), (followed, sent)))
    });
    Ok(Sse::new(changes).keep_alive(KeepAlive::default()))
}
