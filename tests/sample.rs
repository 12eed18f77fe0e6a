//! Log lines made for tests, and what a database must hold after them, counted here and not by the pipeline.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use mongodb::Database;
use mongodb::bson::{Document, doc};

/// (window start in ms, country, city, device, content type) to accesses.
pub type Cells = BTreeMap<(i64, String, String, String, String), i64>;

/// Lines and what they stand for.
#[derive(Clone, Default)]
pub struct Sample {
    /// The lines, valid and not.
    pub lines: Vec<Vec<u8>>,
    /// The valid ones, by minute.
    pub cells: Cells,
    /// How many are valid.
    pub accepted: i64,
    /// The others by reason.
    pub rejected: BTreeMap<String, i64>,
}

const START_MS: i64 = 1_790_000_040_000;
const DEVICES: [(&str, &str); 5] = [
    ("tv", "tv"),
    ("Smart TV", "tv"),
    ("celular", "smartphone"),
    ("Console", "console"),
    ("fridge", "other"),
];
const CONTENTS: [(&str, &str); 4] =
    [("filme", "movie"), ("série", "series"), ("documentário", "documentary"), ("LIVE", "live")];
const PLACES: [(&str, &str); 4] =
    [("BR", "São Paulo"), ("BR", "Rio|de.Janeiro"), ("PT", "Porto"), ("DE", "Köln")];

impl Sample {
    /// `count` valid lines over two days, somewhat out of order; `seed` makes others.
    pub fn valid(count: usize, seed: i64) -> Self {
        let mut sample = Self::default();
        for i in 0..count as i64 {
            let drawn =
                (i + seed * 1_000_003).wrapping_mul(2_862_933_555_777_941_757).wrapping_shr(17) & 0xffff;
            let ts_ms = START_MS + i * 172_800_000 / count as i64 - drawn % 1_800_000 / 4;
            let pick = |n: usize, shift: i64| (drawn / shift) as usize % n;
            sample.push(&format!("u{}", drawn % 997), ts_ms, pick(5, 1), pick(4, 5), pick(4, 20));
        }
        sample
    }

    /// Adds a valid line.
    pub fn push(&mut self, user: &str, ts_ms: i64, device: usize, content: usize, place: usize) {
        let ((spelled, device), (title, content), (country, city)) =
            (DEVICES[device], CONTENTS[content], PLACES[place]);
        let time = match self.accepted % 3 {
            0 => ts_ms.to_string(),
            1 => format!(
                "\"{}\"",
                chrono::DateTime::from_timestamp_millis(ts_ms).expect("in range").to_rfc3339()
            ),
            _ => format!("{}.{:03}", ts_ms / 1_000, ts_ms % 1_000),
        };
        let line = format!(
            r#"{{"user_id":"{user}","timestamp":{time},"device":"{spelled}","content_type":"{title}","country":"{country}","city":"{city}","$where":1}}"#
        );
        self.lines.push(line.into_bytes());
        let key = [country, city, device, content].map(str::to_owned);
        let [country, city, device, content] = key;
        *self.cells.entry((ts_ms - ts_ms % 60_000, country, city, device, content)).or_default() += 1;
        self.accepted += 1;
    }

    /// Adds a line that is rejected for `reason`.
    pub fn push_bad(&mut self, reason: &str, line: impl Into<Vec<u8>>) {
        self.lines.push(line.into());
        *self.rejected.entry(reason.to_owned()).or_default() += 1;
    }

    /// The lines as a file.
    pub fn file(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    /// This sample after another one.
    pub fn and(mut self, other: Self) -> Self {
        self.lines.extend(other.lines);
        self.accepted += other.accepted;
        other.cells.into_iter().for_each(|(key, n)| *self.cells.entry(key).or_default() += n);
        other.rejected.into_iter().for_each(|(key, n)| *self.rejected.entry(key).or_default() += n);
        self
    }

    /// Accesses by minute, most first.
    pub fn minutes(&self) -> Vec<(i64, i64)> {
        let mut minutes = BTreeMap::<i64, i64>::new();
        self.cells.iter().for_each(|((minute, ..), n)| *minutes.entry(*minute).or_default() += n);
        let mut minutes: Vec<_> = minutes.into_iter().map(|(minute, n)| (n, minute)).collect();
        minutes.sort_unstable_by(|a, b| b.cmp(a));
        minutes
    }

    /// Panics unless the database holds exactly these lines, in every form.
    pub async fn check(&self, database: &Database) {
        let events = database.collection::<Document>("access_events");
        let count = events.count_documents(doc! {}).await.expect("a count");
        assert_eq!(count as i64, self.accepted, "events");
        self.check_all_but_events(database).await;
    }

    /// Checks everything that is made of the events, and the rejects.
    pub async fn check_all_but_events(&self, database: &Database) {
        let mut reasons = BTreeMap::<String, i64>::new();
        for reject in all(database, "access_rejects").await {
            *reasons.entry(reject.get_str("reason").expect("a reason").to_owned()).or_default() += 1;
        }
        assert_eq!(reasons, self.rejected, "rejects");
        for (name, window_ms) in [
            ("access_rollups_1m", 60_000),
            ("access_rollups_1h", 3_600_000),
            ("access_rollups_1d", 86_400_000),
        ] {
            let mut expected = Cells::new();
            for ((ts, country, city, device, content), n) in &self.cells {
                let [country, city, device, content] = [country, city, device, content].map(String::clone);
                *expected.entry((ts - ts % window_ms, country, city, device, content)).or_default() += n;
            }
            let found = cells(all(database, name).await);
            assert!(found == expected, "{name}: {} cells, expected {}", found.len(), expected.len());
        }
        let minutes = all(database, "access_minutes").await;
        let sum = |key: &str| minutes.iter().map(|minute| minute.get_i64(key).expect(key)).sum::<i64>();
        assert_eq!((sum("n"), sum("rejected")), (self.accepted, self.rejected.values().sum()), "minutes");
        let found = minutes.iter().map(|minute| (minute.get_i64("n").expect("n"), millis(minute)));
        let mut found: Vec<_> = found.filter(|(n, _)| *n > 0).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        assert!(found == self.minutes(), "minutes differ");
    }
}

/// All documents of a collection.
pub async fn all(database: &Database, name: &str) -> Vec<Document> {
    let found = database.collection::<Document>(name).find(doc! {}).sort(doc! { "_id": 1 }).await;
    found.expect("a cursor").try_collect().await.expect("documents")
}

/// The `ts` of a document in milliseconds.
pub fn millis(document: &Document) -> i64 {
    document.get_datetime("ts").expect("a time").timestamp_millis()
}

fn cells(rollups: Vec<Document>) -> Cells {
    let mut cells = Cells::new();
    for rollup in rollups {
        let text = |key: &str| rollup.get_str(key).expect("a text").to_owned();
        let mut sum = 0;
        for (device, contents) in rollup.get_document("x").expect("counts") {
            for (content, n) in contents.as_document().expect("counts by content") {
                let n = n.as_i64().expect("a whole number");
                sum += n;
                let key = (millis(&rollup), text("country"), text("city"), device.clone(), content.clone());
                assert!(cells.insert(key, n).is_none(), "a cell is there twice");
            }
        }
        assert_eq!(rollup.get_i64("n").expect("n"), sum, "n is the sum of x");
    }
    cells
}
