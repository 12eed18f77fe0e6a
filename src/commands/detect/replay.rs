//! Stored rollups, as the frames that they came from would have told them, through the detector.

use std::collections::BTreeMap;

use ::mongodb::bson::{Document, RawDocument, doc};
use ::mongodb::{Cursor, Database};
use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use domain::MINUTE_MS;
use domain::anomaly::Detector;
use domain::bson::documents;
use domain::params::AnomalySettings;
use domain::wire::{AlertsFrame, Cell, Delta, DeltaFrame, Header, PartitionPosition, Tick};
use futures_util::TryStreamExt;
use sink::schema::{Level, MINUTES};

use crate::args::DetectArgs;
use crate::commands::alerts::show;
use crate::config::Config;
use crate::plan::Store;

/// Most distinct users of a minute that are told apart.
const USERS_MAX: u64 = 1_000_000;
/// Minutes between two signs of progress.
const PROGRESS_MINUTES: u32 = 24 * 60;

/// Prints the alerts of a period as they would have ended.
pub(super) async fn run(args: DetectArgs) -> Result<()> {
    let mut config = Config::load(args.store.config.as_deref())?;
    if let Some(limit) = args.limit_per_minute {
        config.anomaly.limit_per_minute = limit;
    }
    if let Some(rate) = args.false_alerts_per_week {
        config.anomaly.false_alerts_per_week = rate;
    }
    let settings = AnomalySettings::parse(&config.params()?.anomaly).map_err(anyhow::Error::msg)?;
    let reached = crate::mongodb::reach_to_read(&Store::new(args.store)?).await?;
    let replayed = tokio::select! {
        replayed = replay(&reached.database, settings, args.from, args.to) => replayed.map(Some),
        () = sink::connector::asked_to_stop() => Ok(None),
    };
    reached.close().await;
    for alert in replayed?.into_iter().flatten() {
        show(&alert, args.format)?;
    }
    Ok(())
}

/// The alerts in order of their minutes.
async fn replay(
    database: &Database,
    settings: AnomalySettings,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<Vec<Document>> {
    let mut period = Document::new();
    let instant = |at: DateTime<Utc>| ::mongodb::bson::DateTime::from_millis(at.timestamp_millis());
    period.extend(from.map(|from| ("$gte".to_owned(), instant(from).into())));
    period.extend(to.map(|to| ("$lt".to_owned(), instant(to).into())));
    let filter = if period.is_empty() {
        doc! {}
    } else {
        doc! { "ts": period }
    };
    let rollups = database.collection::<Document>(Level::Minute.rollups());
    let mut rollups =
        rollups.find(filter.clone()).sort(doc! { "ts": 1 }).await.context("cannot read the rollups")?;
    let mut users = Users::of(database, filter).await?;
    let mut replay = Replay::new(settings)?;
    let mut minute = (0, Delta::default());
    while let Some(rollup) = rollups.try_next().await.context("cannot read the rollups")? {
        let ts_ms = rollup.get_datetime("ts").context("a rollup without a time")?.timestamp_millis();
        let ts = u32::try_from(ts_ms.div_euclid(MINUTE_MS)).context("a rollup before 1970")?;
        if ts != minute.0 {
            let (ts, mut delta) = std::mem::replace(&mut minute, (ts, Delta::default()));
            delta.users = users.minute(ts).await?;
            replay.minute(ts, delta)?;
        }
        add(&mut minute.1, ts, &rollup)?;
    }
    minute.1.users = users.minute(minute.0).await?;
    replay.minute(minute.0, minute.1)?;
    replay.end()
}

/// How many distinct users each minute had, in order.
struct Users {
    minutes: Cursor<Document>,
    /// The minute that was read last, and its users.
    last: (u32, u64),
}

impl Users {
    async fn of(database: &Database, filter: Document) -> Result<Self> {
        let minutes = database.collection::<Document>(MINUTES);
        let found = minutes.find(filter).sort(doc! { "ts": 1 }).projection(doc! { "ts": 1, "users": 1 });
        Ok(Self { minutes: found.await.context("cannot read the minutes")?, last: (0, 0) })
    }

    /// As many made-up users as a minute had, as a frame tells them; minutes are asked for in order.
    async fn minute(&mut self, minute: u32) -> Result<Vec<(u32, Vec<u64>)>> {
        while self.last.0 < minute {
            let Some(document) = self.minutes.try_next().await.context("cannot read the minutes")? else {
                break;
            };
            let ts_ms = document.get_datetime("ts").context("a minute without a time")?.timestamp_millis();
            let users = document.get_i64("users").unwrap_or(0);
            self.last = (u32::try_from(ts_ms.div_euclid(MINUTE_MS))?, u64::try_from(users)?);
        }
        let users = if self.last.0 == minute { self.last.1.min(USERS_MAX) } else { 0 };
        let mut hashes: Vec<u64> = (0..users).map(|user| domain::hash(&user.to_le_bytes())).collect();
        hashes.sort_unstable();
        Ok(vec![(minute, hashes)])
    }
}

/// Adds a rollup to the counts of its minute.
fn add(delta: &mut Delta, minute: u32, rollup: &Document) -> Result<()> {
    let country = rollup.get_str("country").context("a rollup without a country")?;
    let country = country.as_bytes().try_into().context("a country is two letters")?;
    let city = rollup.get_str("city").context("a rollup without a city")?.to_owned();
    let mut counts = Vec::new();
    for (device, contents) in rollup.get_document("x").context("a rollup without counts")? {
        let device = index(&mut delta.devices, device)?;
        for (content_type, n) in contents.as_document().context("counts are by content type")? {
            let content_type = index(&mut delta.content_types, content_type)?;
            let n = n.as_i64().or(n.as_i32().map(i64::from)).context("a count is a whole number")?;
            counts.push((device, content_type, u32::try_from(n).context("a count out of range")?));
        }
    }
    delta.cells.push(Cell { minute, zone: 0, country, city, counts });
    Ok(())
}

fn index(names: &mut Vec<String>, name: &str) -> Result<u8> {
    let found = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u8::try_from(found).context("more devices or content types than there can be")
}

/// The detector, and what it has said.
struct Replay {
    detector: Detector,
    /// Offset of the next line, had there been lines.
    next_line: u64,
    /// Offset of the next frame.
    next_frame: u64,
    alerts: BTreeMap<String, Document>,
    /// Minutes that were replayed, and the end of the last one.
    minutes: u32,
    end_ms: i64,
}

impl Replay {
    fn new(settings: AnomalySettings) -> Result<Self> {
        let detector = Detector::new(settings, &[]).map_err(anyhow::Error::msg)?;
        Ok(Self { detector, next_line: 0, next_frame: 0, alerts: BTreeMap::new(), minutes: 0, end_ms: 0 })
    }

    fn minute(&mut self, minute: u32, mut delta: Delta) -> Result<()> {
        if delta.cells.is_empty() {
            return Ok(());
        }
        let end_ms = (i64::from(minute) + 1) * MINUTE_MS;
        let lines: u64 = delta.cells.iter().flat_map(|cell| &cell.counts).map(|&(.., n)| u64::from(n)).sum();
        delta.event_time_ms = Some(end_ms - 1);
        let (base_offset, last_offset) = (self.next_line, self.next_line + lines.max(1) - 1);
        self.next_line = last_offset + 1;
        let header = Header { base_offset, last_offset, stored_at_ms: end_ms, ..Header::default() };
        let parts = delta.into_parts();
        let count = u32::try_from(parts.len())?;
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for (part, delta) in (0..).zip(parts) {
            let mut frame = Vec::new();
            DeltaFrame { header, part, parts: count, delta }.encode(&mut frame);
            frames.push(frame);
        }
        frames.push(self.tick(end_ms, false));
        self.run(&frames)?;
        (self.minutes, self.end_ms) = (self.minutes + 1, end_ms);
        if self.minutes.is_multiple_of(PROGRESS_MINUTES) && sink::logging::is_watched() {
            let at = DateTime::from_timestamp_millis(end_ms).unwrap_or_default();
            eprintln!("{} minutes, up to {}", self.minutes, at.format("%F %H:%M"));
        }
        Ok(())
    }

    fn end(mut self) -> Result<Vec<Document>> {
        let tick = self.tick(self.end_ms, true);
        self.run(&[tick])?;
        let mut alerts: Vec<Document> = self.alerts.into_values().collect();
        alerts.sort_by_key(|alert| alert.get_datetime("ts").map(|ts| ts.timestamp_millis()).unwrap_or(0));
        Ok(alerts)
    }

    fn tick(&self, wall_ms: i64, end_of_input: bool) -> Vec<u8> {
        let next_offset = self.next_line;
        // Until the end there is more to read.
        let end_offset = next_offset + u64::from(!end_of_input);
        let position = PartitionPosition { source: Header::default().source, next_offset, end_offset };
        let mut frame = Vec::new();
        Tick { wall_ms, end_of_input, positions: vec![position] }.encode(&mut frame);
        frame
    }

    fn run(&mut self, frames: &[Vec<u8>]) -> Result<()> {
        let output = self.detector.run(self.next_frame, frames.iter().map(Vec::as_slice));
        self.next_frame += frames.len() as u64;
        let output = AlertsFrame::decode(output)?;
        anyhow::ensure!(output.fault.is_empty(), "the detector cannot go on: {}", output.fault);
        for alert in documents(output.alerts) {
            let alert: Document = RawDocument::from_bytes(alert)?.try_into()?;
            let id = alert.get_str("_id").context("an alert without an id")?.to_owned();
            self.alerts.insert(id, alert);
        }
        Ok(())
    }
}
