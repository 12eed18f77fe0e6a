//! Which collection an event goes to: the one there is, or that of the day it happened on.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use anyhow::{Context, Result};
use domain::bson::{Element, elements};
use mongodb::Database;
use mongodb::bson::RawDocumentBuf;

use crate::Progress;
use crate::schema::daily::{Day, KEPT_DAYS_MAX, Kept, OTHER, grow};
use crate::schema::{EVENTS, EventsBy, Retention};
use crate::write::{Retry, insert_commands};

/// Where events go.
pub enum Routes {
    /// All to one collection.
    One,
    /// To a collection a day.
    Daily {
        /// For how many days they are kept.
        days: u32,
        /// Days whose collections are known to be there; at most those that are kept at one time, and as
        /// many as this process is up.
        known: BTreeSet<Day>,
    },
}

impl Routes {
    /// Those of a retention.
    pub fn new(retention: &Retention) -> Self {
        match retention.events_by {
            EventsBy::Ttl => Self::One,
            EventsBy::Drop => Self::Daily {
                days: retention.events_days.map_or(KEPT_DAYS_MAX, NonZeroU32::get),
                known: BTreeSet::new(),
            },
        }
    }

    /// The commands that insert events, once their collections are there. The clock decides which days are
    /// kept, so an event that is written again can have another collection: whoever starts looks up in all of
    /// them what is stored.
    ///
    /// # Errors
    /// When a document is no event, or MongoDB refuses for good.
    pub async fn insert_commands<'d>(
        &mut self,
        database: &Database,
        progress: &Progress,
        now_ms: i64,
        events: impl Iterator<Item = &'d [u8]>,
    ) -> Result<Vec<RawDocumentBuf>> {
        let Self::Daily { days, known } = self else { return insert_commands(EVENTS, events) };
        let kept = Kept::at(now_ms, *days);
        let mut by_day: BTreeMap<Option<Day>, Vec<&[u8]>> = BTreeMap::new();
        for event in events {
            by_day.entry(kept.day_of(time(event)?)).or_default().push(event);
        }
        let mut commands = Vec::new();
        for (day, events) in by_day {
            let collection = match day {
                None => Cow::Borrowed(OTHER),
                Some(day) => Cow::Owned(day.collection()),
            };
            if let Some(day) = day
                && !known.contains(&day)
            {
                ensure(database, progress, day).await?;
                known.insert(day);
            }
            commands.extend(insert_commands(&collection, events)?);
        }
        Ok(commands)
    }
}

async fn ensure(database: &Database, progress: &Progress, day: Day) -> Result<()> {
    let mut retry = Retry::new(progress, "create a day's collection");
    while let Err(error) = grow(database, day).await {
        retry.after(error).await?;
    }
    retry.done();
    Ok(())
}

/// When an event happened, in milliseconds since 1970.
fn time(event: &[u8]) -> Result<i64> {
    let time = elements(event).find_map(|element| match element {
        ("ts", Element::Date(ms)) => Some(ms),
        _ => None,
    });
    time.context("an event without a time")
}
