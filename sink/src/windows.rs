//! Which windows of `access_rollups_*` are there already, so that the others can be inserted. There is one
//! writer, and the transaction that inserts moves its checkpoint too, so nobody else makes them meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use domain::bson::{Element, elements};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{RawDocumentBuf, doc};

use crate::gathered::Windows;
use crate::schema::Level;

/// Most windows that are remembered.
const KNOWN_MAX: usize = 100_000;

/// Ids of windows, by their size.
pub type WindowIds = BTreeMap<Level, BTreeSet<String>>;

/// Windows that were written before. Should a retention remove one of them, the next update makes it again.
#[derive(Debug, Default)]
pub struct KnownWindows {
    known: WindowIds,
}

impl KnownWindows {
    /// Those of `windows` that are not there yet.
    ///
    /// # Errors
    /// When MongoDB does not answer.
    pub async fn absent(
        &self,
        database: &Database,
        windows: &Windows<'_>,
    ) -> Result<WindowIds, mongodb::error::Error> {
        let mut absent = WindowIds::new();
        for (&level, windows) in windows {
            let known = self.known.get(&level);
            let is_known = |id: &String| known.is_some_and(|known| known.contains(id));
            let mut unknown: BTreeSet<_> =
                windows.keys().filter(|id| !is_known(id)).map(String::as_str).collect();
            if unknown.is_empty() {
                continue;
            }
            let ids: Vec<_> = unknown.iter().copied().collect();
            let stored = database.collection::<RawDocumentBuf>(level.rollups());
            let mut stored =
                stored.find(doc! { "_id": { "$in": ids } }).projection(doc! { "_id": 1 }).await?;
            while let Some(document) = stored.try_next().await? {
                if let Some(("_id", Element::String(id))) = elements(document.as_bytes()).next() {
                    unknown.remove(id);
                }
            }
            absent.insert(level, unknown.into_iter().map(str::to_owned).collect());
        }
        Ok(absent)
    }

    /// Remembers windows that are there now.
    pub fn written(&mut self, windows: Windows) {
        if self.known.values().map(BTreeSet::len).sum::<usize>() > KNOWN_MAX {
            self.known.clear();
        }
        for (level, windows) in windows {
            self.known.entry(level).or_default().extend(windows.into_keys());
        }
    }
}
