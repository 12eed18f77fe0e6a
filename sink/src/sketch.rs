//! Distinct users per window: HyperLogLog sketches, merged by the one writer and stored with their estimate.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use datasketches::hll::{HllSketch, HllType};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, doc};

use crate::schema::Level;

/// Most sketches kept in memory between two flushes.
const SKETCHES_CACHED_MAX: usize = 512;

/// A window's sketch: its size, and its start in minutes since 1970.
pub type Window = (Level, u32);

/// Sketches of the windows that were counted last; others are read from MongoDB when they are needed.
#[derive(Default)]
pub struct Sketches {
    cached: HashMap<Window, HllSketch>,
}

impl Sketches {
    /// Adds users (hashes by minute) to all windows they lie in. Adding them twice changes nothing. Gives the
    /// windows that were touched, with their new estimate and bytes.
    ///
    /// # Errors
    /// When a stored sketch cannot be read.
    pub async fn add(
        &mut self,
        database: &Database,
        users: &BTreeMap<u32, Vec<u64>>,
    ) -> Result<BTreeMap<Window, (i64, Binary)>, SketchError> {
        let windows: BTreeSet<Window> =
            users.keys().flat_map(|&minute| Level::ALL.map(|level| (level, level.window(minute)))).collect();
        self.load(database, &windows).await?;
        for (&minute, hashes) in users {
            for level in Level::ALL {
                let sketch =
                    self.cached.get_mut(&(level, level.window(minute))).expect("all windows were loaded");
                hashes.iter().for_each(|hash| sketch.update(hash));
            }
        }
        let bytes =
            |sketch: &HllSketch| Binary { subtype: BinarySubtype::Generic, bytes: sketch.serialize() };
        let touched = windows.iter().map(|window| {
            let sketch = &self.cached[window];
            // The estimate that depends on the registers alone, so that the same users give the same number
            // in whatever order and batches they came. It is a count far below 2^53.
            (*window, (sketch.composite_estimate().round() as i64, bytes(sketch)))
        });
        let touched = touched.collect();
        if self.cached.len() > SKETCHES_CACHED_MAX {
            self.cached.retain(|window, _| windows.contains(window));
        }
        Ok(touched)
    }

    async fn load(&mut self, database: &Database, windows: &BTreeSet<Window>) -> Result<(), SketchError> {
        for level in Level::ALL {
            let missing =
                windows.iter().filter(|window| window.0 == level && !self.cached.contains_key(*window));
            let missing: Vec<u32> = missing.map(|window| window.1).collect();
            if missing.is_empty() {
                continue;
            }
            let ids: Vec<_> = missing.iter().map(|&minute| date(minute)).collect();
            let stored = database.collection::<Document>(level.users());
            let stored = stored.find(doc! { "_id": { "$in": ids } }).projection(doc! { "sketch": 1 }).await?;
            let stored: Vec<Document> = stored.try_collect().await?;
            for minute in missing {
                self.cached.insert((level, minute), empty(level));
            }
            for document in stored {
                let Ok(bytes) = document.get_binary_generic("sketch") else { continue };
                let start = document.get_datetime("_id").context("a sketch without a window")?;
                let minute = u32::try_from(start.timestamp_millis() / domain::MINUTE_MS)
                    .context("a window before 1970")?;
                let sketch = HllSketch::deserialize(bytes).map_err(|error| {
                    anyhow::anyhow!("the sketch of {start} in {} is damaged: {error}", level.users())
                })?;
                self.cached.insert((level, minute), sketch);
            }
        }
        Ok(())
    }
}

/// Why sketches could not be added to.
pub enum SketchError {
    /// MongoDB did not answer.
    MongoDb(mongodb::error::Error),
    /// What is stored cannot be read.
    Stored(anyhow::Error),
}

impl From<mongodb::error::Error> for SketchError {
    fn from(error: mongodb::error::Error) -> Self {
        Self::MongoDb(error)
    }
}

impl From<anyhow::Error> for SketchError {
    fn from(error: anyhow::Error) -> Self {
        Self::Stored(error)
    }
}

/// A minute since 1970 as a BSON date.
pub fn date(minute: u32) -> DateTime {
    DateTime::from_millis(i64::from(minute) * domain::MINUTE_MS)
}

/// 2^14 registers for hours and days, 2^12 for minutes, of which there are many more.
fn empty(level: Level) -> HllSketch {
    let lg_k = if level == Level::Minute { 12 } else { 14 };
    HllSketch::new(lg_k, HllType::Hll8).expect("4 to 21 are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root mean square of the relative errors over this many independent sets of users.
    const TRIALS: u32 = 40;

    fn error(level: Level, users: u32) -> f64 {
        let of_trial = |trial: u32| {
            let mut sketch = empty(level);
            let hash = |user: u32| domain::hash(format!("{trial}:u{user:08x}").as_bytes());
            (0..users).for_each(|user| sketch.update(hash(user)));
            // What a restart and a batch that comes twice do.
            let mut sketch = HllSketch::deserialize(&sketch.serialize()).expect("just written");
            (0..users / 10).for_each(|user| sketch.update(hash(user)));
            sketch.composite_estimate() / f64::from(users) - 1.0
        };
        ((0..TRIALS).map(|trial| of_trial(trial).powi(2)).sum::<f64>() / f64::from(TRIALS)).sqrt()
    }

    #[test]
    fn hours_and_days_are_within_a_percent_up_to_a_million_users() {
        for users in [100, 10_000, 100_000, 1_000_000] {
            let error = error(Level::Day, users);
            println!("{users} users of a day: standard error {:.2}%", error * 100.0);
            assert!(error < 0.01, "{users} users: {error}");
        }
    }

    #[test]
    fn minutes_are_within_two_percent() {
        for users in [100, 10_000, 100_000] {
            let error = error(Level::Minute, users);
            println!("{users} users of a minute: standard error {:.2}%", error * 100.0);
            assert!(error < 0.02, "{users} users: {error}");
        }
    }
}
