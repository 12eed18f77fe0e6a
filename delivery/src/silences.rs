//! What people have ordered: silences, so that for a time incidents that match are not told, and that dead
//! letters are tried again. All of it lies in one document of `pipeline_state`, which bounds the number of
//! silences; one that is over goes when the next is added.

use anyhow::{Context, Result, ensure};
use mongodb::Database;
use mongodb::bson::{DateTime, Document, doc};
use sink::schema::{DELIVERIES, STATE};

use crate::incident::Incident;

/// Most silences at a time.
pub const SILENCES_MAX: i32 = 100;
/// Longest silence, in milliseconds.
pub const SILENCE_MS_MAX: i64 = 90 * 24 * 60 * 60 * 1_000;
/// Longest text of a silence, in characters.
const TEXT_CHARS_MAX: usize = 500;
/// The document that they lie in.
const KEY: &str = "silences";
/// How often dead letters were to be tried again.
const RETRIES: &str = "retries";

/// What people have ordered.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// The silences in force, the one that ends first in front.
    pub silences: Vec<Silence>,
    /// Grows when dead letters are to be tried again.
    pub retries: i64,
}

/// Which incidents are not told, until when and why. What is not named matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    /// How it is called when it is ended.
    pub id: String,
    pub from_ms: i64,
    pub until_ms: i64,
    pub reason: String,
    pub matching: Matching,
}

/// Which incidents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    pub kind: Option<String>,
    pub country: Option<String>,
    pub device: Option<String>,
    pub content_type: Option<String>,
}

impl Matching {
    /// What is named, by the name that alerts give it.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { kind, country, device, content_type } = self;
        let all = [("kind", kind), ("country", country), ("device", device), ("content_type", content_type)];
        all.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }

    fn matches(&self, incident: &Incident) -> bool {
        self.named().all(|(key, value)| match key {
            "kind" => incident.kind == value,
            _ => incident.entity.get(key).is_some_and(|found| found == value),
        })
    }
}

impl Silence {
    /// A new one, from now on.
    pub fn new(matching: Matching, reason: &str, for_ms: i64, now_ms: i64) -> Self {
        let id = format!("{:08x}", rand::random::<u32>());
        let until_ms = now_ms.saturating_add(for_ms);
        Self { id, from_ms: now_ms, until_ms, reason: reason.to_owned(), matching }
    }

    /// Whether it keeps back `incident` at a time.
    pub fn keeps_back(&self, incident: &Incident, now_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&now_ms) && self.matching.matches(incident)
    }

    fn document(&self) -> Document {
        let mut document = doc! {
            "id": &self.id, "from": DateTime::from_millis(self.from_ms),
            "until": DateTime::from_millis(self.until_ms), "reason": &self.reason,
        };
        document.extend(self.matching.named().map(|(key, value)| (key.to_owned(), value.into())));
        document
    }

    fn from_document(document: &Document) -> Option<Self> {
        let text = |key: &str| document.get_str(key).ok().map(str::to_owned);
        let ms = |key: &str| document.get_datetime(key).ok().map(|at| at.timestamp_millis());
        Some(Self {
            id: text("id")?,
            from_ms: ms("from")?,
            until_ms: ms("until")?,
            reason: text("reason")?,
            matching: Matching {
                kind: text("kind"),
                country: text("country"),
                device: text("device"),
                content_type: text("content_type"),
            },
        })
    }

    fn check(&self) -> Result<()> {
        let lasts_ms = self.until_ms - self.from_ms;
        ensure!(
            (1..=SILENCE_MS_MAX).contains(&lasts_ms),
            "a silence lasts at most {} days",
            SILENCE_MS_MAX / (24 * 60 * 60 * 1_000)
        );
        ensure!(!self.reason.trim().is_empty(), "a silence needs a reason, for those who come after");
        for (key, text) in self.matching.named().chain([("reason", self.reason.as_str())]) {
            ensure!(
                (1..=TEXT_CHARS_MAX).contains(&text.chars().count()),
                "{key} must have 1 to {TEXT_CHARS_MAX} characters"
            );
        }
        Ok(())
    }
}

/// Those that are in force, the one that ends first in front.
///
/// # Errors
/// As the driver's.
pub async fn in_force(database: &Database, now_ms: i64) -> Result<Vec<Silence>, mongodb::error::Error> {
    orders(database, now_ms).await.map(|orders| orders.silences)
}

pub(crate) async fn orders(database: &Database, now_ms: i64) -> Result<Orders, mongodb::error::Error> {
    let found = database.collection::<Document>(STATE).find_one(doc! { "_id": KEY }).await?;
    let found = found.unwrap_or_default();
    let all = found.get_array(KEY).into_iter().flatten().filter_map(|silence| silence.as_document());
    let mut all: Vec<Silence> =
        all.filter_map(Silence::from_document).filter(|silence| silence.until_ms > now_ms).collect();
    all.sort_by(|a, b| (a.until_ms, &a.id).cmp(&(b.until_ms, &b.id)));
    Ok(Orders { silences: all, retries: found.get_i64(RETRIES).unwrap_or(0) })
}

/// Lets dead letters, of one receiver or of all, be tried again; gives how many.
///
/// # Errors
/// As the driver's.
pub async fn retry(database: &Database, receiver: Option<&str>) -> Result<u64, mongodb::error::Error> {
    let mut dead = doc! { "state": "dead" };
    dead.extend(receiver.map(|receiver| ("receiver".to_owned(), receiver.into())));
    let fresh = doc! { "state": "waiting", "tries": 0_i64, "failing_since": null, "at": DateTime::now() };
    let revived =
        database.collection::<Document>(DELIVERIES).update_many(dead, doc! { "$set": fresh }).await?;
    if revived.modified_count > 0 {
        let order = doc! { "$inc": { RETRIES: 1_i64 }, "$setOnInsert": { KEY: [] } };
        database.collection::<Document>(STATE).update_one(doc! { "_id": KEY }, order).upsert(true).await?;
    }
    Ok(revived.modified_count)
}

/// Adds one; those that are over make room.
///
/// # Errors
/// When it is not valid, when there are too many, or when MongoDB refuses.
pub async fn add(database: &Database, silence: &Silence) -> Result<()> {
    silence.check()?;
    let states = database.collection::<Document>(STATE);
    let empty = doc! { "$setOnInsert": { KEY: [] } };
    states.update_one(doc! { "_id": KEY }, empty).upsert(true).await.context("cannot store silences")?;
    let now = DateTime::from_millis(silence.from_ms);
    let left = doc! { "$filter": { "input": format!("${KEY}"), "cond": { "$gt": ["$$this.until", now] } } };
    let has_room = doc! { "$lt": [{ "$size": left.clone() }, SILENCES_MAX] };
    // Without `$literal` a text that begins with a dollar sign would be taken for a field.
    let added = doc! { "$concatArrays": [left, [{ "$literal": silence.document() }]] };
    let done = states
        .update_one(doc! { "_id": KEY, "$expr": has_room }, vec![doc! { "$set": { KEY: added } }])
        .await
        .context("cannot store the silence")?;
    ensure!(done.matched_count == 1, "there are {SILENCES_MAX} silences already; end one with unsilence");
    Ok(())
}

/// Ends one; says whether there was one.
///
/// # Errors
/// As the driver's.
pub async fn end(database: &Database, id: &str) -> Result<bool, mongodb::error::Error> {
    let states = database.collection::<Document>(STATE);
    let pull = doc! { "$pull": { KEY: { "id": id } } };
    Ok(states.update_one(doc! { "_id": KEY }, pull).await?.modified_count == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::group;
    use crate::incident::tests::alert;

    fn incident(kind: &str, entity: Document) -> Incident {
        let mut alert = alert(5, 5, 150, None);
        alert.insert("kind", kind);
        alert.insert("entity", entity);
        group([alert]).into_values().next().expect("one")
    }

    fn silence(kind: Option<&str>, country: Option<&str>) -> Silence {
        let [kind, country] = [kind, country].map(|text| text.map(str::to_owned));
        let matching = Matching { kind, country, ..Matching::default() };
        Silence { id: "a".to_owned(), from_ms: 10, until_ms: 20, reason: "r".to_owned(), matching }
    }

    #[test]
    fn what_is_named_must_match_and_the_time_too() {
        let brazil = incident("drop", doc! { "scope": "country", "country": "BR" });
        let all = incident("limit", doc! { "scope": "platform" });
        let keeps_back = |silence: &Silence| [&brazil, &all].map(|incident| silence.keeps_back(incident, 15));
        assert_eq!(keeps_back(&silence(None, None)), [true, true]);
        assert_eq!(keeps_back(&silence(Some("limit"), None)), [false, true]);
        assert_eq!(keeps_back(&silence(None, Some("BR"))), [true, false]);
        assert_eq!(keeps_back(&silence(None, Some("PT"))), [false, false]);
        assert_eq!(keeps_back(&silence(Some("limit"), Some("BR"))), [false, false]);
        let at = |now_ms| silence(None, None).keeps_back(&all, now_ms);
        assert_eq!([9, 10, 19, 20].map(at), [false, true, true, false]);
    }

    #[test]
    fn a_silence_is_read_as_it_was_written_and_says_what_is_wrong() {
        let mut silence = silence(Some("limit"), Some("BR"));
        assert_eq!(Silence::from_document(&silence.document()).as_ref(), Some(&silence));
        silence.check().expect("valid");
        silence.reason = " ".to_owned();
        assert!(silence.check().expect_err("no reason").to_string().contains("needs a reason"));
        silence.reason = "r".to_owned();
        silence.until_ms = silence.from_ms + SILENCE_MS_MAX + 1;
        assert!(silence.check().expect_err("too long").to_string().contains("at most 90 days"));
    }
}
