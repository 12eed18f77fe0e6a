//! Files that grow, end without a line end, or hold long lines, against a topic of the embedded runtime.

use std::sync::Arc;

use runtime::{Embedded, Runtime, Storage, Topic, TopicSpec, Writers};

use super::*;

struct Log {
    dir: tempfile::TempDir,
    topic: Arc<dyn Topic>,
}

impl Log {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let runtime = Embedded::open(&dir.path().join("topics")).expect("a runtime");
        let spec = TopicSpec {
            name: "access-logs".to_owned(),
            partitions: 1,
            bytes_max: 64 << 20,
            writers: Writers::One,
            storage: Storage::default(),
        };
        let topic = runtime.topic(&spec).await.expect("a topic");
        Self { dir, topic }
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("a written file");
        path
    }

    async fn import(&self, path: &Path) -> Result<u64> {
        let import = Import::File { path: path.to_owned(), follow: false };
        let notes = self.topic.notes().await?;
        let to = Destination::Topic(self.topic.clone());
        import.run(&to, (&notes, 1), || Lines::new(1, "user_id"), &CancellationToken::new()).await
    }

    async fn lines(&self) -> Vec<String> {
        let end = self.topic.state().await.expect("a state").partitions[0].end;
        let mut stream = self.topic.open(0, 0, Vec::new()).await.expect("a stream");
        let mut lines = Vec::new();
        while (lines.len() as u64) < end {
            let output = stream.next().await.expect("a batch");
            lines.extend(output.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()));
        }
        lines
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_read_once_and_what_is_appended_later() {
    let log = Log::new().await;
    let path = log.write("a.ndjson", b"one\r\n\ntwo\n");
    assert_eq!(log.import(&path).await.expect("read"), 3);
    assert_eq!(log.import(&path).await.expect("read"), 0);
    let path = log.write("renamed.ndjson", b"one\r\n\ntwo\nthree\nfour");
    assert_eq!(log.import(&path).await.expect("read"), 2);
    assert_eq!(log.import(&path).await.expect("read"), 0);
    log.write("renamed.ndjson", b"one\r\n\ntwo\nthree\nfour\nfive\n");
    assert_eq!(log.import(&path).await.expect("read"), 1, "the end of a line taken before is no line");
    assert_eq!(log.lines().await, ["one", "", "two", "three", "four", "five"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_file_is_another_source_and_a_cut_one_is_refused() {
    let log = Log::new().await;
    let path = log.write("a", b"one\ntwo\n");
    assert_eq!(log.import(&path).await.expect("read"), 2);
    assert_eq!(log.import(&log.write("b", b"uno\n")).await.expect("read"), 1);
    assert_eq!(log.import(&log.write("c", b"one\n")).await.expect("another file"), 1);
    assert!(log.import(&log.dir.path().join("missing")).await.is_err());
    assert!(log.import(log.dir.path()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lines_are_bounded_and_a_byte_order_mark_is_none() {
    let log = Log::new().await;
    let longest = "x".repeat(LINE_BYTES_MAX);
    let content = format!("\u{feff}first\n{longest}\r\n{longest}y\n{}\nlast", "z".repeat(2_000_000));
    let path = log.write("a", content.as_bytes());
    assert_eq!(log.import(&path).await.expect("read"), 5);
    let lines = log.lines().await;
    assert_eq!(
        (lines[0].as_str(), lines[1].as_str(), lines[4].as_str()),
        ("first", longest.as_str(), "last")
    );
    let oversized =
        |line: &str| domain::oversized::Oversized::decode(line.as_bytes()).map(|long| long.line_bytes);
    assert_eq!(oversized(&lines[2]), Some(LINE_BYTES_MAX as u64 + 1));
    assert_eq!(oversized(&lines[3]), Some(2_000_000));
}

/// Partitions that a kill left at different positions.
#[test]
fn only_what_a_partition_lacks_is_read_again() {
    let note = |partition, partitions, position| FileNote {
        file: 0,
        partition,
        partitions,
        fingerprint_bytes: 1,
        fingerprint: 0,
        position,
        path: String::new(),
    };
    let check = |notes: &[FileNote], partitions| positions(notes, 0, partitions);
    assert_eq!(check(&[note(0, 2, 30), note(1, 2, 10)], 2).expect("known"), [30, 10]);
    assert_eq!(check(&[note(1, 2, 10)], 2).expect("known"), [0, 10]);
    assert_eq!(check(&[note(0, 2, 30), note(1, 2, 30)], 3).expect("equally far"), [30; 3]);
    assert!(check(&[note(0, 2, 30), note(1, 2, 10)], 3).is_err());

    let mut lines = Lines::new(2, "user_id").skipping(vec![30, 10]);
    for end in [10, 20, 30, 40] {
        lines.set_position(end);
        (0..20).for_each(|i| lines.push(format!(r#"{{"user_id":"{i}"}}"#).as_bytes()));
    }
    let mut all = Lines::new(2, "user_id");
    (0..20).for_each(|i| all.push(format!(r#"{{"user_id":"{i}"}}"#).as_bytes()));
    let [first, second] = all.counts()[..] else { panic!("two partitions") };
    assert!(first > 0 && second > 0);
    assert_eq!(lines.counts(), [first, 3 * second]);
}
