//! The work of `access-filter-map` on one stored batch: lines become documents and rejects.

use crate::event_id::EventId;
use crate::json::quote;
use crate::normalize::{Outcome, Reject, RejectReason, country_text, write_reject};
use crate::oversized::Oversized;
use crate::params::FilterMapSettings;
use crate::wire::{EventsFrameWriter, Header, STORED_AT_MS};
use crate::zones::ZONE_OTHER;
use crate::{CODE_HASH, time, window, wire};

/// One record of a stored batch.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// True offset in its partition.
    pub offset: u64,
    /// The log line.
    pub value: &'a [u8],
}

/// What is known of a stored batch before its lines.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// Offset of its first line.
    pub base_offset: u64,
    /// When it was stored, in milliseconds since 1970, as whoever produced it says.
    pub stored_at_ms: i64,
}

/// Appends the events frame of one stored batch to `out`. A pure function of its arguments; `writer` only
/// lends its buffers. Where the batch says a time that cannot be ([`STORED_AT_MS`]), which is also how Fluvio
/// says that there is none, it counts as stored at the median of its events' times.
pub fn write_frame<'a>(
    settings: &FilterMapSettings,
    batch: Batch,
    lines: impl Iterator<Item = Line<'a>> + Clone,
    writer: &mut EventsFrameWriter,
    out: &mut Vec<u8>,
) {
    writer.clear();
    let stored_at_ms = stored_at_ms(settings, batch, lines.clone());
    let mut last_offset = batch.base_offset;
    for line in lines {
        last_offset = line.offset;
        let id = |zone: u8| {
            EventId::new(u32::from(zone), settings.source, line.offset)
                .expect("41 bits of offsets last for years")
        };
        let (outcome, kept, line_bytes) = outcome(settings, line.value);
        match outcome {
            Outcome::Accepted(event) => {
                let id = id(settings.zones.of(&event.country));
                settings.normalizer.write_event(&event, id, &mut writer.documents);
                writer.accepted += 1;
            }
            Outcome::Rejected(reject) => {
                let id = id(ZONE_OTHER);
                write_reject(&reject, kept, line_bytes, stored_at_ms, id, &mut writer.rejects);
                writer.rejected[reject.reason as usize] += 1;
            }
        }
    }
    let header = Header {
        code_hash: CODE_HASH,
        settings_hash: settings.hash,
        source: settings.source,
        base_offset: batch.base_offset,
        last_offset,
        stored_at_ms,
    };
    writer.write(&header, out);
}

fn stored_at_ms<'a>(
    settings: &FilterMapSettings,
    Batch { stored_at_ms, .. }: Batch,
    lines: impl Iterator<Item = Line<'a>>,
) -> i64 {
    if STORED_AT_MS.contains(&stored_at_ms) {
        return stored_at_ms;
    }
    let time = |line: Line<'a>| match outcome(settings, line.value).0 {
        Outcome::Accepted(event) => Some(event.ts_ms),
        Outcome::Rejected(_) => None,
    };
    window::median(lines.filter_map(time).collect()).unwrap_or(wire::stored_at(stored_at_ms))
}

/// The JSON that a person sees for one line: the event, or why it is none.
pub fn to_json(settings: &FilterMapSettings, line: Line) -> String {
    let (outcome, kept, line_bytes) = outcome(settings, line.value);
    let mut json = format!("{{\"offset\":{}", line.offset);
    let mut text = |name: &str, value: &str| {
        json.extend([",\"", name, "\":"]);
        quote(value, &mut json);
    };
    match outcome {
        Outcome::Accepted(event) => {
            let normalizer = &settings.normalizer;
            text("timestamp", &time::rfc_3339(event.ts_ms));
            text("user_id", &event.user_id);
            text("device", normalizer.devices().name(event.device));
            text("content_type", normalizer.content_types().name(event.content_type));
            text("country", country_text(&event.country));
            text("city", &event.city);
            if !event.extra.is_empty() {
                json.push_str(",\"extra\":");
                event.extra.to_json(&mut json);
            }
        }
        Outcome::Rejected(reject) => {
            text("rejected", reject.reason.name());
            if let Some(field) = reject.field {
                text("field", field.name());
            }
            text("line", &String::from_utf8_lossy(kept));
            json.push_str(&format!(",\"bytes\":{line_bytes}"));
        }
    }
    json.push('}');
    json
}

/// What a line became, the part of it that is at hand, and its whole length in bytes.
fn outcome<'a>(settings: &FilterMapSettings, line: &'a [u8]) -> (Outcome<'a>, &'a [u8], u64) {
    match Oversized::decode(line) {
        Some(Oversized { line_bytes, head }) => {
            let reject = Reject { reason: RejectReason::TooLarge, field: None };
            (Outcome::Rejected(reject), head, line_bytes)
        }
        None => (settings.normalizer.normalize(line), line, line.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bson::{Element, documents, elements};
    use crate::params::Params;
    use crate::wire::EventsFrame;

    const VALID: &[u8] =
        br#"{"user_id":"u","timestamp":"2026-11-22T10:00:00Z","device":"TV","content_type":"filme","country":"BR","city":"Rio","x":1}"#;

    #[test]
    fn a_batch_becomes_one_frame_that_accounts_for_every_line() {
        let oversized = Oversized { line_bytes: 9_000_000, head: b"{\"user" }.encode();
        let values = [VALID, b"", VALID, &oversized, b"[]"];
        let params =
            Params::from([("epoch".to_owned(), "2".to_owned()), ("partition".to_owned(), "3".to_owned())]);
        let settings = FilterMapSettings::parse(&params).expect("valid");
        let lines = (40..).zip(values).map(|(offset, value)| Line { offset, value });
        let mut bytes = Vec::new();
        let batch = Batch { base_offset: 40, stored_at_ms: 5 };
        write_frame(&settings, batch, lines, &mut EventsFrameWriter::default(), &mut bytes);
        let frame = EventsFrame::decode(&bytes).expect("a frame");
        assert_eq!((frame.header.base_offset, frame.header.last_offset), (40, 44));
        assert_eq!(frame.accepted as usize, documents(frame.documents).count());
        assert_eq!(frame.rejected.iter().sum::<u32>() as usize, documents(frame.rejects).count());
        assert_eq!((frame.accepted, frame.rejected), (2, [1, 1, 0, 0, 0, 0, 1, 0]));
    }

    #[test]
    fn a_batch_with_an_impossible_time_counts_as_stored_when_its_events_were() {
        const TS_MS: i64 = 1_795_341_600_000;
        let settings = FilterMapSettings::parse(&Params::new()).expect("valid");
        let header = |values: &[&'static [u8]], stored_at_ms: i64| {
            let lines = (0..).zip(values).map(|(offset, value)| Line { offset, value });
            let (mut writer, mut bytes) = (EventsFrameWriter::default(), Vec::new());
            write_frame(&settings, Batch { base_offset: 0, stored_at_ms }, lines, &mut writer, &mut bytes);
            let frame = EventsFrame::decode(&bytes).expect("a frame");
            let seen = documents(frame.rejects).flat_map(elements).find(|(name, _)| *name == "seen_at");
            assert_eq!(seen.map(|(_, seen)| seen), Some(Element::Date(frame.header.stored_at_ms)));
            frame.header.stored_at_ms
        };
        let end = STORED_AT_MS.end;
        for possible in [STORED_AT_MS.start, end - 1] {
            assert_eq!(header(&[VALID, b"[]"], possible), possible);
        }
        for impossible in [i64::MIN, -1, end, i64::MAX] {
            assert_eq!(header(&[b"[]", VALID], impossible), TS_MS, "{impossible}");
        }
        assert_eq!([header(&[b"[]"], -1), header(&[b"[]"], i64::MAX)], [0, end - 1], "no event tells");
    }

    #[test]
    fn people_see_json() {
        let settings = FilterMapSettings::parse(&Params::new()).expect("valid");
        expect_test::expect![[r#"{"offset":7,"timestamp":"2026-11-22T10:00:00.000Z","user_id":"u","device":"tv","content_type":"movie","country":"BR","city":"Rio","extra":{"x":1}}"#]]
        .assert_eq(&to_json(&settings, Line { offset: 7, value: VALID }));
        expect_test::expect![[r#"{"offset":8,"rejected":"not_object","line":"[]","bytes":2}"#]]
            .assert_eq(&to_json(&settings, Line { offset: 8, value: b"[]" }));
    }
}
