//! Lines on their way into the topic: partitioned by user, gathered into batches of bounded size, and
//! appended together with notes of how far their source has been read.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use domain::LINE_BYTES_MAX;
use domain::oversized::Oversized;
use memchr::{memchr, memmem};
use runtime::{Batch, Note, Record, Topic};

/// Bytes of lines for one partition from which on a batch is sent.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Lines for one partition from which on a batch is sent.
pub const BATCH_LINES_MAX: usize = 5_000;

/// Where lines go.
pub enum Destination {
    /// Into a topic.
    Topic(Arc<dyn Topic>),
    /// To standard output.
    Print,
}

/// Lines gathered for the partitions of a topic.
#[derive(Debug)]
pub struct Lines {
    /// The `"user_id"` of the log, in quotes, as it stands in a line.
    user_id_key: Vec<u8>,
    /// Where in its source the line that comes next ends.
    position: u64,
    /// Up to which position of its source each partition has its lines already; empty where that is not
    /// known.
    stored_until: Vec<u64>,
    by_partition: Vec<Gathered>,
    count: u64,
}

/// Lines of one partition, one after the other in memory.
#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Where each ends, and where in it its key is.
    lines: Vec<(usize, Option<Range<usize>>)>,
}

impl Gathered {
    fn records(self) -> Vec<Record> {
        let (bytes, mut begin) = (Bytes::from(self.bytes), 0);
        let record = |(end, key): (usize, Option<Range<usize>>)| {
            let value = bytes.slice(begin..end);
            begin = end;
            Record { key: key.map(|key| value.slice(key)), value }
        };
        self.lines.into_iter().map(record).collect()
    }
}

impl Lines {
    /// No lines yet, for `partitions` partitions of a log that calls the user `user_id_field`.
    pub fn new(partitions: usize, user_id_field: &str) -> Self {
        let user_id_key = format!("\"{user_id_field}\"").into_bytes();
        let by_partition = (0..partitions.max(1)).map(|_| Gathered::default()).collect();
        Self { user_id_key, position: 0, stored_until: Vec::new(), by_partition, count: 0 }
    }

    /// Leaves lines out that their partition has already, by its position in the source.
    pub fn skipping(self, stored_until: Vec<u64>) -> Self {
        Self { stored_until, ..self }
    }

    /// Where in its source the line that comes next ends.
    pub fn set_position(&mut self, position: u64) {
        self.position = position;
    }

    /// Adds a line. A user's lines go to one partition.
    pub fn push(&mut self, line: &[u8]) {
        if line.len() > LINE_BYTES_MAX {
            self.push_oversized(line, line.len() as u64);
            return;
        }
        let key = user_id(line, &self.user_id_key);
        self.add(key.clone().map_or(line, |key| &line[key]), key, line);
    }

    /// Adds a line of `line_bytes` bytes that is too long, of which `head` is the beginning.
    pub fn push_oversized(&mut self, head: &[u8], line_bytes: u64) {
        self.add(head, None, &Oversized { line_bytes, head }.encode());
    }

    /// Whether it is time to send.
    pub fn is_full(&self) -> bool {
        let is_full = |of: &Gathered| of.bytes.len() >= BATCH_BYTES_MAX || of.lines.len() >= BATCH_LINES_MAX;
        self.by_partition.iter().any(is_full)
    }

    /// How many lines are gathered.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// How many lines are gathered for each partition.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.by_partition.iter().map(|gathered| gathered.lines.len()).collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sends the lines, with the notes of the partitions, and begins anew. Gives how many there were.
    ///
    /// # Errors
    /// When not all were stored.
    pub async fn send(&mut self, to: &Destination, mut notes: BTreeMap<u32, Note>) -> Result<u64> {
        let count = std::mem::take(&mut self.count);
        let batches = (0..).zip(self.by_partition.iter_mut().map(std::mem::take));
        let batches = batches
            .map(|(partition, gathered)| {
                let (records, note) = (gathered.records(), notes.remove(&partition));
                Batch { partition, records, note }
            })
            .filter(|batch| !batch.records.is_empty() || batch.note.is_some());
        let batches: Vec<_> = batches.collect();
        match to {
            _ if batches.is_empty() => {}
            Destination::Topic(topic) => topic.append(batches, crate::now_ms()).await?,
            Destination::Print => print(&batches).context("cannot write to standard output")?,
        }
        Ok(count)
    }

    fn add(&mut self, placed_by: &[u8], key: Option<Range<usize>>, value: &[u8]) {
        let partition = partition_of(placed_by, self.by_partition.len());
        if self.stored_until.get(partition).is_some_and(|until| self.position <= *until) {
            return;
        }
        let gathered = &mut self.by_partition[partition];
        gathered.bytes.extend_from_slice(value);
        gathered.lines.push((gathered.bytes.len(), key));
        self.count += 1;
    }
}

/// The partition, of so many, of the lines of a user (or of a line without one).
pub fn partition_of(placed_by: &[u8], partitions: usize) -> usize {
    usize::try_from(domain::hash(placed_by) % partitions as u64).expect("below the number of partitions")
}

fn print(batches: &[Batch]) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for record in batches.iter().flat_map(|batch| &batch.records) {
        stdout.write_all(&record.value)?;
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// The user of a line, found without parsing it: it only decides on the partition, so a line that hides it in
/// escapes or nested objects is only placed otherwise.
fn user_id(line: &[u8], quoted_key: &[u8]) -> Option<Range<usize>> {
    let behind = memmem::find(line, quoted_key)? + quoted_key.len();
    let rest = line[behind..].trim_ascii_start().strip_prefix(b":")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let (begin, length) = (line.len() - rest.len(), memchr(b'"', rest)?);
    Some(begin..begin + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_in_a_line() {
        let find = |line: &str| user_id(line.as_bytes(), b"\"user_id\"").map(|user| line[user].to_owned());
        assert_eq!(find(r#"{"a":1,"user_id" : "u7","b":2}"#).as_deref(), Some("u7"));
        assert_eq!(find(r#"{"user_id":7}"#), None);
        assert_eq!(find("nothing"), None);
        assert_eq!(find(r#"{"user_id":"cut"#), None);
    }

    #[test]
    fn a_users_lines_go_to_one_partition_and_long_lines_become_envelopes() {
        let mut lines = Lines::new(4, "user_id");
        for i in 0..10 {
            lines.push(format!(r#"{{"user_id":"u7","i":{i}}}"#).as_bytes());
        }
        assert_eq!(lines.counts().iter().filter(|count| **count > 0).count(), 1);
        lines.push(&vec![b'x'; LINE_BYTES_MAX]);
        lines.push(&vec![b'x'; LINE_BYTES_MAX + 1]);
        let records: Vec<_> =
            std::mem::take(&mut lines.by_partition).into_iter().flat_map(Gathered::records).collect();
        assert!(records.iter().all(|record| record.key.as_deref().is_none_or(|key| key == b"u7")));
        let longest = records.iter().map(|record| record.value.len()).max();
        assert_eq!(longest, Some(LINE_BYTES_MAX));
        let envelopes = records.iter().filter_map(|record| Oversized::decode(&record.value));
        assert_eq!(
            envelopes.map(|envelope| envelope.line_bytes).collect::<Vec<_>>(),
            [LINE_BYTES_MAX as u64 + 1]
        );
        assert_eq!(lines.len(), 12);
    }

    #[test]
    fn batches_are_bounded() {
        let mut lines = Lines::new(1, "user_id");
        for _ in 1..BATCH_LINES_MAX {
            lines.push(b"{}");
        }
        assert!(!lines.is_full());
        lines.push(b"{}");
        assert!(lines.is_full());
    }
}
