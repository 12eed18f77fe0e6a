//! The live page: what happens now, the last hour, and the answers for a longer period. The server draws it
//! whole, so it is there at once; a script of a few lines then puts in the parts that have changed.

mod now;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{PreEscaped, html};
use mongodb::Database;

use crate::report::html;
use crate::report::{Lang, ReportSpec, TOP_DEFAULT, answer};

/// What the page runs: it puts the parts of each message into their places.
pub const SCRIPT: &str = include_str!("page/live.js");
const STYLE: &str = include_str!("page/style.css");

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How far back the answers reach.
    pub last: Duration,
    /// The clock of hours and weekdays.
    pub timezone: chrono_tz::Tz,
    /// The language.
    pub lang: Lang,
}

/// Parts of the page as HTML, by the id of their place.
pub type Parts = BTreeMap<&'static str, String>;

/// The places, from top to bottom.
const PLACES: [&str; 7] = ["now", "hour", "timeline", "peaks", "devices", "contents", "alerts"];

/// The parts that change from second to second.
///
/// # Errors
/// When MongoDB cannot be read.
pub async fn moving(database: &Database, shown: &Shown, at: DateTime<Utc>) -> Result<Parts> {
    let (now, hour) = now::parts(database, shown, at).await?;
    Ok(Parts::from([("now", now), ("hour", hour)]))
}

/// The answers for the period that ends now.
///
/// # Errors
/// When MongoDB cannot be read.
pub async fn answers(database: &Database, shown: &Shown, at: DateTime<Utc>) -> Result<Parts> {
    let spec = ReportSpec {
        from: Some(at - TimeDelta::from_std(shown.last)?),
        to: Some(at),
        timezone: shown.timezone,
        top: TOP_DEFAULT,
        lang: shown.lang,
        cities: true,
        country: None,
    };
    let report = answer(database, &spec).await?;
    Ok(html::parts(&report, shown.lang)
        .into_iter()
        .map(|(place, part)| (place, part.into_string()))
        .collect())
}

/// The whole page.
pub fn render(parts: &Parts, shown: &Shown) -> String {
    let body = html! {
        main {
            h1 { "streampulse" }
            @for place in PLACES {
                div id=(place) { (PreEscaped(parts.get(place).map_or("", String::as_str))) }
            }
            p.note.away role="alert" { (now::Texts::of(shown.lang).away) }
        }
        script src="live.js" {}
    };
    html::document(shown.lang, "streampulse", STYLE, &body)
}
