//! Real log lines from a file or from standard input.
//!
//! # Delivery
//! A file is known by a fingerprint of its beginning, and the position in it is committed with each batch, so
//! a second run, or one after a kill, goes on where it was, and lines appended later are read. Each partition
//! has a position of its own, since a kill can come when some partitions have their lines and others do not.
//! Of standard input, what was read but not yet stored when the process is killed is gone for good.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use domain::LINE_BYTES_MAX;
use domain::normalize::LINE_KEPT_BYTES_MAX;
use memchr::memchr;
use runtime::Note;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::publish::{Destination, Lines};

/// Most bytes of a file's beginning that tell it from others.
const FINGERPRINT_BYTES_MAX: usize = 64 << 10;
/// How often the end of a followed file is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);
/// Chunks that are read ahead of the topic.
const CHUNKS_AHEAD_MAX: usize = 2;
/// Most files whose positions a topic remembers.
const FILES_MAX: usize = 10_000;

/// Where lines are read.
#[derive(Clone, Debug)]
pub enum Import {
    /// A file.
    File {
        /// Where it is.
        path: PathBuf,
        /// Wait for more lines at its end.
        follow: bool,
    },
    /// Standard input.
    Stdin,
}

/// What a partition remembers of a file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
struct FileNote {
    /// The file's number in this topic.
    file: usize,
    /// The partition.
    partition: u32,
    /// How many partitions the topic had: another number sends lines elsewhere.
    partitions: usize,
    /// How many bytes of the beginning were hashed.
    fingerprint_bytes: usize,
    /// Their hash.
    fingerprint: u64,
    /// Up to where the partition's lines are stored.
    position: u64,
    /// Where the file was last, for people.
    path: String,
}

/// Lines on their way, and the notes that go with them, by partition.
struct Chunk {
    lines: Lines,
    notes: BTreeMap<u32, Note>,
}

impl Import {
    /// Reads until the end, or until `stop` is cancelled. `notes` are those of the topic, which has
    /// `partitions`, and `empty` makes an empty gathering for it. Gives how many lines were sent.
    ///
    /// # Errors
    /// When the file cannot be read, or lines cannot be sent.
    pub async fn run(
        &self,
        to: &Destination,
        (notes, partitions): (&BTreeMap<String, Vec<u8>>, usize),
        empty: impl Fn() -> Lines + Send + 'static,
        stop: &CancellationToken,
    ) -> Result<u64> {
        let (sender, mut chunks) = mpsc::channel(CHUNKS_AHEAD_MAX);
        let reading = match self {
            Self::File { path, follow } => {
                let reader = FileReader::open(path, notes, partitions, *follow, stop.clone())?;
                tokio::task::spawn_blocking(move || reader.run(empty, &sender))
            }
            Self::Stdin => {
                tracing::warn!("reading standard input: lines in flight are lost if this process is killed");
                let stop = stop.clone();
                tokio::task::spawn_blocking(move || read_stdin(empty, &sender, &stop))
            }
        };
        let mut sent = 0;
        loop {
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                () = stop.cancelled() => None,
            };
            match chunk {
                Some(mut chunk) => sent += chunk.lines.send(to, chunk.notes).await?,
                None => break,
            }
        }
        drop(chunks);
        // A thread that waits in a read of standard input cannot be woken; the process ends without it.
        if !stop.is_cancelled() {
            reading.await??;
        }
        Ok(sent)
    }
}

struct FileReader {
    reader: BufReader<File>,
    path: PathBuf,
    follow: bool,
    stop: CancellationToken,
    /// The file's number in the topic.
    file: usize,
    position: u64,
    /// Up to where each partition has its lines, from earlier runs.
    stored_until: Vec<u64>,
    /// The file's beginning as far as it has been read, at most [`FINGERPRINT_BYTES_MAX`].
    head: Vec<u8>,
}

impl FileReader {
    fn open(
        path: &Path,
        notes: &BTreeMap<String, Vec<u8>>,
        partitions: usize,
        follow: bool,
        stop: CancellationToken,
    ) -> Result<Self> {
        let shown = path.display();
        let mut file = File::open(path).with_context(|| format!("cannot open the log file {shown}"))?;
        ensure!(!file.metadata()?.is_dir(), "{shown} is a folder; --file takes a file of log lines");
        let mut head = Vec::new();
        file.by_ref().take(FINGERPRINT_BYTES_MAX as u64).read_to_end(&mut head)?;
        let notes = notes.iter().filter(|(key, _)| key.starts_with("file|"));
        let notes: Vec<FileNote> = notes
            .map(|(_, note)| serde_json::from_slice(note))
            .collect::<Result<_, _>>()
            .context("the topic's notes on files are damaged")?;
        let files: BTreeSet<usize> = notes.iter().map(|note| note.file).collect();
        ensure!(files.len() < FILES_MAX, "this topic has read {FILES_MAX} files; use a new one");
        // Of several files that begin alike, the one at the same place, else the one known best.
        let path_text = path.to_string_lossy();
        let known = notes.iter().filter(|note| note.matches(&head));
        let known = known.max_by_key(|note| (note.path == path_text, note.fingerprint_bytes));
        let (number, stored_until) = match known {
            Some(known) => (known.file, positions(&notes, known.file, partitions)?),
            None => (files.last().map_or(0, |last| last + 1), vec![0; partitions]),
        };
        let position = stored_until.iter().copied().min().unwrap_or(0);
        let length = file.metadata()?.len();
        if position > length {
            bail!("{shown} has {length} bytes, but {position} have been read of it before: it was cut");
        }
        if position > 0 {
            tracing::info!(file = %shown, position, "going on where the last run was");
        }
        file.seek(SeekFrom::Start(position))?;
        head.truncate(usize::try_from(position).unwrap_or(usize::MAX));
        let reader = BufReader::with_capacity(256 << 10, file);
        Ok(Self { reader, path: path.to_owned(), follow, stop, file: number, position, stored_until, head })
    }

    fn run(mut self, empty: impl Fn() -> Lines, sender: &mpsc::Sender<Chunk>) -> Result<()> {
        let mut line = Line::default();
        // A last line without an end was taken by the run before; what follows it is the rest of that end.
        if self.position > 0 && !self.at_line_start()? {
            self.skip_line_end()?;
        }
        loop {
            let mut lines = empty().skipping(self.stored_until.clone());
            let mut ended = false;
            while !lines.is_full() && !ended {
                let read = line
                    .read(&mut self.reader)
                    .with_context(|| format!("cannot read {}", self.path.display()))?;
                match read {
                    LineRead::Whole => self.take(&mut line, &mut lines),
                    LineRead::Cut if !self.follow && !line.is_empty() => self.take(&mut line, &mut lines),
                    LineRead::Cut => ended = true,
                }
            }
            let count = lines.len();
            if count > 0 {
                let notes = self.notes()?;
                if sender.blocking_send(Chunk { lines, notes }).is_err() {
                    return Ok(());
                }
            }
            if ended && !self.follow || self.stop.is_cancelled() {
                return Ok(());
            }
            if ended && count == 0 {
                std::thread::sleep(FOLLOW_EVERY);
            }
        }
    }

    fn take(&mut self, line: &mut Line, lines: &mut Lines) {
        let room = FINGERPRINT_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&line.raw()[..line.raw().len().min(room)]);
        self.position += line.bytes;
        lines.set_position(self.position);
        line.push_to(lines, self.position == line.bytes);
    }

    fn notes(&self) -> Result<BTreeMap<u32, Note>> {
        let fingerprint = domain::hash(&self.head);
        let note = |(partition, stored_until): (u32, &u64)| {
            let note = FileNote {
                file: self.file,
                partition,
                partitions: self.stored_until.len(),
                fingerprint_bytes: self.head.len(),
                fingerprint,
                position: self.position.max(*stored_until),
                path: self.path.to_string_lossy().into_owned(),
            };
            let key = format!("file|{}|{partition}", self.file);
            Ok((partition, Note { key, value: serde_json::to_vec(&note)? }))
        };
        (0..).zip(&self.stored_until).map(note).collect()
    }

    fn at_line_start(&mut self) -> Result<bool> {
        let mut last = [0];
        self.reader.seek(SeekFrom::Start(self.position - 1))?;
        self.reader.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }

    fn skip_line_end(&mut self) -> Result<()> {
        let ahead = self.reader.fill_buf()?;
        let end: usize = if ahead.starts_with(b"\r\n") { 2 } else { usize::from(ahead.starts_with(b"\n")) };
        let skipped = ahead[..end].to_vec();
        self.reader.consume(end);
        self.position += end as u64;
        let room = FINGERPRINT_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&skipped[..end.min(room)]);
        Ok(())
    }
}

impl FileNote {
    fn matches(&self, head: &[u8]) -> bool {
        self.fingerprint_bytes > 0
            && head
                .get(..self.fingerprint_bytes)
                .is_some_and(|beginning| domain::hash(beginning) == self.fingerprint)
    }
}

/// Up to where each of `partitions` has its lines of a file.
fn positions(notes: &[FileNote], file: usize, partitions: usize) -> Result<Vec<u64>> {
    let of_file: BTreeMap<u32, &FileNote> =
        notes.iter().filter(|note| note.file == file).map(|note| (note.partition, note)).collect();
    let position = |partition| of_file.get(&partition).map_or(0, |note| note.position);
    let before = of_file.values().map(|note| note.partitions).max().unwrap_or(partitions);
    if before == partitions {
        return Ok((0..u32::try_from(partitions)?).map(position).collect());
    }
    // With another number of partitions lines go elsewhere, so all must have come equally far.
    let mut all: Vec<u64> = (0..u32::try_from(before)?).map(position).collect();
    all.dedup();
    ensure!(
        all.len() == 1,
        "the topic got other partitions ({before} became {partitions}) while a part of the file was stored; give \
         it {before} again, or read the rest of the file under another name"
    );
    Ok(vec![all[0]; partitions])
}

fn read_stdin(
    empty: impl Fn() -> Lines,
    sender: &mpsc::Sender<Chunk>,
    stop: &CancellationToken,
) -> Result<()> {
    let mut reader = BufReader::with_capacity(256 << 10, std::io::stdin());
    let mut line = Line::default();
    let (mut lines, mut first) = (empty(), true);
    loop {
        let read = line.read(&mut reader).context("cannot read standard input")?;
        let ended = matches!(read, LineRead::Cut);
        if !ended || !line.is_empty() {
            line.push_to(&mut lines, first);
            first = false;
        }
        // A batch is sent when it is full, or when the next line is not there yet.
        if lines.is_full() || ended || memchr(b'\n', reader.buffer()).is_none() {
            let full = std::mem::replace(&mut lines, empty());
            if sender.blocking_send(Chunk { lines: full, notes: BTreeMap::new() }).is_err() {
                return Ok(());
            }
        }
        if ended || stop.is_cancelled() {
            return Ok(());
        }
    }
}

/// What was read of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineRead {
    /// All, and its end.
    Whole,
    /// What there is so far; the input ended before the line did.
    Cut,
}

/// One line, of which at most a bounded part is kept in memory.
#[derive(Debug, Default)]
struct Line {
    kept: Vec<u8>,
    /// Its length with its end.
    bytes: u64,
    /// The line before was handed out, so the next read begins a new one.
    taken: bool,
}

impl Line {
    /// Longest part that is kept: the longest valid line and `\r\n`.
    const KEPT_BYTES_MAX: usize = LINE_BYTES_MAX + 2;

    /// Reads on to the end of the line. A cut line is read on by the next call.
    fn read(&mut self, reader: &mut impl BufRead) -> std::io::Result<LineRead> {
        if std::mem::take(&mut self.taken) {
            self.kept.clear();
            self.bytes = 0;
        }
        loop {
            let ahead = reader.fill_buf()?;
            if ahead.is_empty() {
                return Ok(LineRead::Cut);
            }
            let end = memchr(b'\n', ahead);
            let length = end.map_or(ahead.len(), |end| end + 1);
            let room = Self::KEPT_BYTES_MAX - self.kept.len();
            self.kept.extend_from_slice(&ahead[..length.min(room)]);
            self.bytes += length as u64;
            reader.consume(length);
            if end.is_some() {
                return Ok(LineRead::Whole);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes that are kept, the line's end included.
    fn raw(&self) -> &[u8] {
        &self.kept
    }

    /// Hands the line out. A byte order mark before the first line of an input is no part of it.
    fn push_to(&mut self, lines: &mut Lines, first: bool) {
        let whole = self.bytes == self.kept.len() as u64;
        let mut line = self.kept.as_slice();
        let mut line_bytes = self.bytes;
        if whole {
            line = line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line));
            line_bytes = line.len() as u64;
        }
        if first {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if whole {
            lines.push(line);
        } else {
            lines.push_oversized(&line[..LINE_KEPT_BYTES_MAX], line_bytes - 1);
        }
        self.taken = true;
    }
}

#[cfg(test)]
mod tests;
