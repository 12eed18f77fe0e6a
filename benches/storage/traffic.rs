//! Events as the pipeline stores them: lines of the generator, through the code of `access-filter-map`.

use anyhow::{Context, Result, ensure};
use domain::bson::{Element, documents, elements};
use domain::filter_map::{Batch, Line, write_frame};
use domain::params::{FilterMapSettings, Params};
use domain::wire::{EventsFrame, EventsFrameWriter};
use mongodb::bson::{RawDocument, RawDocumentBuf};
use producer::{Generator, GeneratorConfig};

/// Lines a second.
pub const EVENTS_PER_S: usize = 50;
/// Events of one insert, as many as the job `events` writes at once when it has a backlog.
pub const EVENTS_PER_INSERT: usize = 5_000;
/// Partitions of the log; they take turns.
const PARTITIONS: usize = 4;
/// 2025-01-01T00:00:00Z, so that all of it is old enough to be removed.
pub const START_MS: i64 = 1_735_689_600_000;
const SEED: u64 = 7;

/// How long it takes until so many lines have come.
pub fn span_ms(events: usize) -> i64 {
    (events / EVENTS_PER_S) as i64 * 1_000
}

/// Frames of stored batches of `lines_per_batch` lines; all of them together are `events` lines, evenly over
/// `span_ms`.
pub fn frames(events: usize, span_ms: i64, lines_per_batch: usize) -> Result<Vec<Vec<u8>>> {
    let config = GeneratorConfig { seed: SEED, malformed_share: 0.0, ..GeneratorConfig::default() };
    let mut generator = Generator::new(config);
    let settings = |partition: usize| {
        let params = Params::from([("partition".to_owned(), partition.to_string())]);
        FilterMapSettings::parse(&params).map_err(anyhow::Error::msg)
    };
    let settings = (0..PARTITIONS).map(settings).collect::<Result<Vec<_>>>()?;
    let mut writer = EventsFrameWriter::default();
    let mut frames = Vec::new();
    for (batch, first) in (0..events).step_by(lines_per_batch).enumerate() {
        let line = |index: usize| {
            let now_ms = START_MS + (index as f64 / events as f64 * span_ms as f64) as i64;
            let mut line = Vec::new();
            generator.next_line(now_ms, &mut line);
            line
        };
        let values: Vec<Vec<u8>> = (first..events.min(first + lines_per_batch)).map(line).collect();
        let base_offset = (batch / PARTITIONS * lines_per_batch) as u64;
        let lines = (base_offset..).zip(&values).map(|(offset, value)| Line { offset, value });
        let mut frame = Vec::new();
        let stored = Batch { base_offset, stored_at_ms: START_MS };
        write_frame(&settings[batch % PARTITIONS], stored, lines, &mut writer, &mut frame);
        ensure!(EventsFrame::decode(&frame)?.accepted as usize == values.len(), "a line is no event");
        frames.push(frame);
    }
    Ok(frames)
}

/// The documents of a frame, as they go to `access_events`.
pub fn events(frame: &[u8]) -> Result<Vec<RawDocumentBuf>> {
    let documents = documents(EventsFrame::decode(frame)?.documents);
    documents.map(|document| Ok(RawDocument::from_bytes(document)?.to_owned())).collect()
}

/// When an event was, in milliseconds since 1970.
pub fn ts_ms(event: &RawDocumentBuf) -> Result<i64> {
    let ts = elements(event.as_bytes()).find_map(|(key, value)| match value {
        Element::Date(ts_ms) if key == "ts" => Some(ts_ms),
        _ => None,
    });
    ts.context("an event without a time")
}
