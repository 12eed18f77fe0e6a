//! The live page: what happens now, the last hour, the answers for a longer period, and how the pipeline
//! keeps up. The server draws it whole, so it is there at once; a script of a few lines then puts in the
//! parts that have changed.

mod cache;
mod now;
mod period;
mod pipeline;
mod texts;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{TimeDelta, Utc};
use maud::{Markup, PreEscaped, html};
use mongodb::Database;
use tokio::sync::watch;

use self::cache::Cache;
pub use self::period::Period;
use self::texts::Texts;
use crate::report::html;
use crate::report::words::Words;
use crate::report::{Lang, ReportSpec, TOP_DEFAULT, answer};

/// What the page runs: it puts the parts of each message into their places.
pub const SCRIPT: &str = include_str!("page/live.js");
/// The page's icon, SVG.
pub const ICON: &str = include_str!("page/icon.svg");
const STYLE: &str = include_str!("page/style.css");
/// The script of our own, its stream of parts, and the icon.
const RULES: &str = "; script-src 'self'; connect-src 'self'; img-src 'self'";
/// How often what happens now is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// How the page speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// The clock of hours and weekdays.
    pub timezone: chrono_tz::Tz,
    /// The language.
    pub lang: Lang,
}

/// Parts of the page as HTML, by the id of their place.
pub type Parts = BTreeMap<&'static str, String>;

/// The places above the choice of a period, and of the answers below it.
const ABOVE: [&str; 2] = ["now", "hour"];
const ANSWERS: [&str; 6] = ["totals", "timeline", "peaks", "devices", "contents", "alerts"];

/// The page over a database: what everybody sees is looked up once, however many look.
#[derive(Debug)]
pub struct Page {
    database: Database,
    shown: Shown,
    moving: Cache,
    /// The periods that a reader can choose; the first one is shown unless another is asked for.
    periods: Vec<(Period, Cache)>,
}

impl Page {
    /// A page that shows `first` unless a reader chooses another period.
    pub fn new(database: Database, shown: Shown, first: Period) -> Self {
        let periods = Period::offered(first).map(|period| (period, Cache::new(period.answered_every())));
        Self { database, shown, moving: Cache::new(EVERY), periods: periods.collect() }
    }

    /// The period of this name, or the first one; `None` when there is none of this name.
    pub fn period(&self, name: Option<&str>) -> Option<Period> {
        let mut periods = self.periods.iter().map(|(period, _)| *period);
        match name {
            None => periods.next(),
            Some(name) => periods.find(|period| period.name() == name),
        }
    }

    /// What a browser may do with the page; nobody may frame it.
    pub fn policy() -> String {
        html::policy(STYLE, RULES) + "; frame-ancestors 'none'"
    }

    /// The names of the periods, in their order.
    pub fn period_names(&self) -> Vec<String> {
        self.periods.iter().map(|(period, _)| period.name()).collect()
    }

    /// The whole page.
    ///
    /// # Errors
    /// When MongoDB cannot be read.
    pub async fn whole(&self, period: Period) -> Result<String> {
        let mut parts = self.moving.fresh(self.look()).await?;
        parts.extend(self.answers(period).fresh(self.answer(period)).await?);
        Ok(self.render(&parts, period))
    }

    /// The parts of the page as they come to be known: those of now, and those of a period.
    pub fn follow(&self, period: Period) -> [watch::Receiver<Parts>; 2] {
        [self.moving.follow(), self.answers(period).follow()]
    }

    /// Keeps the parts that somebody follows up to date, for ever.
    pub async fn keep_up_to_date(&self) {
        let moving = async {
            loop {
                self.moving.time_to_renew().await;
                self.moving.renew(self.look()).await;
            }
        };
        let answers = self.periods.iter().map(|(period, cache)| async move {
            loop {
                cache.time_to_renew().await;
                cache.renew(self.answer(*period)).await;
            }
        });
        tokio::select! {
            never = moving => never,
            _ = futures_util::future::join_all(answers) => {}
        }
    }

    /// The answers for a period that is offered.
    fn answers(&self, period: Period) -> &Cache {
        let found = self.periods.iter().find(|(offered, _)| *offered == period);
        found.map_or(&self.periods[0].1, |(_, cache)| cache)
    }

    async fn look(&self) -> Result<Parts> {
        let (now, hour) = now::parts(&self.database, self.shown, Utc::now()).await?;
        let pipeline = pipeline::part(&self.database, self.shown, Utc::now()).await?;
        Ok(Parts::from([("now", now), ("hour", hour), ("pipeline", pipeline)]))
    }

    async fn answer(&self, period: Period) -> Result<Parts> {
        let now = Utc::now();
        let from = TimeDelta::from_std(period.length).ok().and_then(|length| now.checked_sub_signed(length));
        let spec = ReportSpec {
            from: Some(from.context("the period begins before there was time")?),
            to: Some(now),
            timezone: self.shown.timezone,
            top: TOP_DEFAULT,
            lang: self.shown.lang,
            cities: true,
            country: None,
        };
        let report = answer(&self.database, &spec).await?;
        // What there is nothing to say about any more is emptied.
        let mut parts: Parts = ANSWERS.into_iter().map(|place| (place, String::new())).collect();
        let said = html::totals(&report, self.shown.lang);
        let told = html::parts(&report, self.shown.lang);
        let all = std::iter::once(("totals", said)).chain(told);
        parts.extend(all.map(|(place, part)| (place, part.into_string())));
        Ok(parts)
    }

    fn render(&self, parts: &Parts, period: Period) -> String {
        let texts = Texts::of(self.shown.lang);
        let part = |place: &str| PreEscaped(parts.get(place).map_or("", String::as_str));
        let places = |places: &[&str]| -> Markup {
            html! { @for place in places { div id=(place) { (part(place)) } } }
        };
        let body = html! {
            main {
                h1 { "streampulse" }
                (places(&ABOVE))
                nav aria-label=(texts.period) {
                    @for (offered, _) in &self.periods {
                        @let is_shown = *offered == period;
                        a href=(format!("?last={}#totals", offered.name())) aria-current=[is_shown.then_some("page")] {
                            (offered.told(Words(self.shown.lang)))
                        }
                    }
                }
                (places(&ANSWERS))
                (places(&["pipeline"]))
                p.away role="alert" { (texts.away) }
                div id=(cache::TROUBLE) role="alert" {}
            }
            script src="live.js" {}
        };
        html::document(self.shown.lang, "streampulse", STYLE, &html::policy(STYLE, RULES), &body)
    }
}
