//! What delivery reads and writes in MongoDB. It waits for a server that is away, for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::error::Error;
use mongodb::options::{FindOptions, ReturnDocument};
use runtime::retry::{backoff, is_transient};
use sink::schema::{ALERTS, DELIVERIES, STATE};

use crate::incident::{Incident, group};
use crate::record::Record;
use crate::silences::{self, Orders};

/// Most alerts that are looked through at a time for incidents.
const SCAN_ALERTS_MAX: i64 = 2_000;

/// Where alerts and records lie.
#[derive(Clone, Debug)]
pub struct Store {
    /// The database.
    pub database: Database,
}

impl Store {
    /// Since when a receiver is told, which is written down when it is first seen.
    pub async fn since_ms(&self, receiver: &str, now_ms: i64) -> Result<i64> {
        let states = self.database.collection::<Document>(STATE);
        let found = patient("read since when a receiver is told", || {
            let first = doc! { "$setOnInsert": { "since": DateTime::from_millis(now_ms) } };
            let found = states.find_one_and_update(doc! { "_id": format!("delivery|{receiver}") }, first);
            found.upsert(true).return_document(ReturnDocument::After).into_future()
        });
        let found = found.await?.unwrap_or_default();
        Ok(found.get_datetime("since").context("a receiver without a beginning")?.timestamp_millis())
    }

    /// Incidents of these ids, as their alerts make them.
    pub async fn incidents(&self, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Incident>> {
        let filter = doc! { "incident": { "$in": Vec::from_iter(ids) } };
        Ok(group(self.all(ALERTS, filter, FindOptions::default()).await?))
    }

    /// What a receiver was told of incidents of these ids.
    pub async fn records(&self, receiver: &str, ids: &BTreeSet<String>) -> Result<BTreeMap<String, Record>> {
        let ids: Vec<String> = ids.iter().map(|id| Record::id(receiver, id)).collect();
        let found = self.all(DELIVERIES, doc! { "_id": { "$in": ids } }, FindOptions::default()).await?;
        let records = found.iter().filter_map(Record::from_document);
        Ok(records.map(|record| (record.incident.clone(), record)).collect())
    }

    /// The ids of incidents that a receiver takes for open, or has not been told of yet.
    pub async fn unsettled(&self, receiver: &str) -> Result<BTreeSet<String>> {
        let filter = doc! { "state": { "$in": ["open", "waiting"] }, "receiver": receiver };
        let found = self.all(DELIVERIES, filter, FindOptions::default()).await?;
        Ok(found.iter().filter_map(|record| record.get_str("incident").ok().map(str::to_owned)).collect())
    }

    /// Ids of incidents after `after`, in order; none: that was all.
    pub async fn incidents_after(&self, after: &str) -> Result<BTreeSet<String>> {
        let options = FindOptions::builder()
            .sort(doc! { "incident": 1 })
            .projection(doc! { "_id": 0, "incident": 1 })
            .limit(SCAN_ALERTS_MAX)
            .build();
        let found = self.all(ALERTS, doc! { "incident": { "$gt": after } }, options).await?;
        Ok(found.iter().filter_map(|alert| alert.get_str("incident").ok().map(str::to_owned)).collect())
    }

    /// The incident that the alert `id` belongs to now.
    pub async fn incident_of(&self, id: &str) -> Result<Option<String>> {
        let found = self.all(ALERTS, doc! { "_id": id }, FindOptions::default()).await?;
        Ok(found.first().and_then(|alert| alert.get_str("incident").ok().map(str::to_owned)))
    }

    /// Writes down what a receiver was told.
    pub async fn put(&self, record: &Record, now_ms: i64) -> Result<()> {
        let document = record.document(now_ms);
        let key = doc! { "_id": document.get("_id") };
        let records = self.database.collection::<Document>(DELIVERIES);
        let put = || records.replace_one(key.clone(), &document).upsert(true).into_future();
        patient("write down what was delivered", put).await.map(drop)
    }

    /// What people have ordered.
    pub async fn orders(&self, now_ms: i64) -> Result<Orders> {
        patient("read the silences", || silences::orders(&self.database, now_ms)).await
    }

    async fn all(&self, collection: &str, filter: Document, options: FindOptions) -> Result<Vec<Document>> {
        let collection = self.database.collection::<Document>(collection);
        patient("read what is to be delivered", || {
            let find = collection.find(filter.clone()).with_options(options.clone());
            async { find.await?.try_collect().await }
        })
        .await
    }
}

/// Does something as often as it takes.
pub async fn patient<T, F: Future<Output = Result<T, Error>>>(what: &str, work: impl Fn() -> F) -> Result<T> {
    let mut attempt = 0;
    loop {
        match work().await {
            Err(error) if is_transient(&error) => {
                tracing::debug!(attempt, %error, "cannot {what}, trying again");
                backoff(attempt).await;
                attempt += 1;
            }
            done => return done.with_context(|| format!("MongoDB refused to {what}")),
        }
    }
}
