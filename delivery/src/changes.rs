//! Which incidents have changed. MongoDB tells of each alert that is written (a change stream); whenever that
//! begins anew, all incidents are looked at once, so nothing that changed meanwhile is missed.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::Document;
use mongodb::options::FullDocumentType;
use runtime::retry::{backoff, is_transient};
use sink::schema::ALERTS;

use crate::incident::touched;
use crate::store::patient;

/// Most changed incidents that wait to be looked at; beyond it all are looked at.
const WAITING_MAX: usize = 10_000;

/// Incidents that one receiver's worker has to look at.
#[derive(Debug, Default)]
pub struct Inbox {
    ids: Mutex<BTreeSet<String>>,
    everything: AtomicBool,
}

impl Inbox {
    /// All incidents are to be looked at.
    pub fn everything(&self) {
        self.everything.store(true, Ordering::Release);
    }

    /// Whether all incidents are to be looked at; asked once.
    pub fn take_everything(&self) -> bool {
        self.everything.swap(false, Ordering::AcqRel)
    }

    /// At most `count` of the incidents that have changed.
    pub fn take(&self, count: usize) -> BTreeSet<String> {
        let mut ids = self.ids.lock().expect("no holder of this lock panics");
        let taken: BTreeSet<String> = ids.iter().take(count).cloned().collect();
        ids.retain(|id| !taken.contains(id));
        taken
    }

    fn add(&self, changed: &BTreeSet<String>) {
        let mut ids = self.ids.lock().expect("no holder of this lock panics");
        if ids.len() >= WAITING_MAX {
            ids.clear();
            self.everything();
        } else {
            ids.extend(changed.iter().cloned());
        }
    }
}

/// Tells `inboxes` of what changes, for ever.
///
/// # Errors
/// When MongoDB refuses.
pub async fn watch(database: &Database, inboxes: &[std::sync::Arc<Inbox>]) -> Result<()> {
    let alerts = database.collection::<Document>(ALERTS);
    let mut attempt = 0;
    loop {
        // The detector replaces alerts; what others only change in them is looked up.
        let begin = || alerts.watch().full_document(FullDocumentType::UpdateLookup).into_future();
        let mut changes = patient("tell of new alerts", begin).await?;
        inboxes.iter().for_each(|inbox| inbox.everything());
        loop {
            match changes.try_next().await {
                Ok(Some(change)) => {
                    attempt = 0;
                    // What MongoDB removes when its time is over is not to be told.
                    let Some(alert) = change.full_document else { continue };
                    let changed = touched(&alert);
                    inboxes.iter().for_each(|inbox| inbox.add(&changed));
                }
                Ok(None) => break,
                Err(error) => {
                    // Even where the server has forgotten where we were, looking at everything makes up.
                    tracing::debug!(%error, transient = is_transient(&error), "alerts are watched anew");
                    break;
                }
            }
        }
        backoff(attempt).await;
        attempt += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_found_by_looking_at_everything() {
        let inbox = Inbox::default();
        let id = |n: usize| BTreeSet::from([format!("{n:05}")]);
        (0..WAITING_MAX).for_each(|n| inbox.add(&id(n)));
        assert!(!inbox.take_everything());
        assert_eq!(inbox.take(2), BTreeSet::from(["00000".to_owned(), "00001".to_owned()]));
        assert_eq!(inbox.take(1), id(2));
        (0..4).for_each(|n| inbox.add(&id(n)));
        assert!(inbox.take_everything() && !inbox.take_everything());
    }
}
