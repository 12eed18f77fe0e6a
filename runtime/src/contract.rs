//! What every runtime promises, as tests: the embedded one runs them in its own tests, a cluster's against a
//! real cluster. Each panics where the promise is broken. Topic names are made by the caller, so that tests
//! of one cluster stay out of each other's way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Batch, BatchStream, Bounds, Module, Note, Output, Record, Runtime, Storage, Topic, TopicSpec, Writers,
};

/// Longest time that anything in these tests may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// All promises, each on a topic of its own: `name` is the beginning of the topics' names, `filter_map` the
/// code of the SmartModule `access-filter-map`.
pub async fn check(runtime: &dyn Runtime, name: &str, filter_map: Arc<[u8]>) {
    a_topic_is_created_once(runtime, &format!("{name}-created")).await;
    offsets_are_contiguous_by_partition(runtime, &format!("{name}-offsets")).await;
    a_stream_waits_and_starts_anywhere(runtime, &format!("{name}-stream")).await;
    notes_travel_with_their_batches(runtime, &format!("{name}-notes")).await;
    a_chain_gives_one_frame_a_batch(runtime, &format!("{name}-chain"), filter_map.clone()).await;
    more_than_fits_into_an_answer_is_read_whole(runtime, &format!("{name}-more")).await;
    a_huge_batch_is_not_skipped(runtime, &format!("{name}-huge"), filter_map.clone()).await;
    a_wrong_parameter_is_told(runtime, &format!("{name}-params"), filter_map).await;
    what_is_not_there_is_an_error(runtime, &format!("{name}-missing")).await;
}

/// A topic as the tests use it.
pub fn spec(name: &str, partitions: u32) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        bytes_max: 64 << 20,
        writers: Writers::One,
        storage: Storage::default(),
    }
}

/// A batch of plain texts.
pub fn batch(partition: u32, values: &[&str]) -> Batch {
    let record = |value: &&str| Record { key: Some("k".into()), value: (*value).to_owned().into() };
    Batch { partition, records: values.iter().map(record).collect(), note: None }
}

/// The next output, or a panic when it does not come.
pub async fn next(stream: &mut BatchStream) -> Output {
    tokio::time::timeout(PATIENCE, stream.next()).await.expect("an output in time").expect("an output")
}

async fn topic(runtime: &dyn Runtime, name: &str, partitions: u32) -> Arc<dyn Topic> {
    runtime.topic(&spec(name, partitions)).await.expect("a topic")
}

fn texts(output: &Output) -> Vec<String> {
    output.values.iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

async fn a_topic_is_created_once(runtime: &dyn Runtime, name: &str) {
    let first = topic(runtime, name, 2).await.state().await.expect("a state");
    let second = topic(runtime, name, 2).await.state().await.expect("a state");
    assert_eq!(first, second);
    assert_eq!(first.partitions, [Bounds::default(); 2]);
    assert!(!first.id.is_empty());
    let other = topic(runtime, &format!("{name}-other"), 2).await.state().await.expect("a state");
    assert_ne!(first.id, other.id);
}

async fn offsets_are_contiguous_by_partition(runtime: &dyn Runtime, name: &str) {
    let topic = topic(runtime, name, 2).await;
    for _ in 0..3 {
        let batches = vec![batch(0, &["a", "b"]), batch(1, &["c"])];
        topic.append(batches, 7).await.expect("stored");
    }
    let state = topic.state().await.expect("a state");
    assert_eq!(state.partitions, [Bounds { start: 0, end: 6 }, Bounds { start: 0, end: 3 }]);
    let mut stream = topic.open(0, 0, Vec::new()).await.expect("a stream");
    let mut expected = 0;
    while expected < 6 {
        let output = next(&mut stream).await;
        assert_eq!(output.base_offset, expected);
        assert_eq!(output.values.len() as u64, output.last_offset + 1 - output.base_offset);
        assert_eq!(texts(&output), ["a", "b"]);
        expected = output.last_offset + 1;
    }
}

async fn a_stream_waits_and_starts_anywhere(runtime: &dyn Runtime, name: &str) {
    let topic = topic(runtime, name, 1).await;
    let mut early = topic.open(0, 0, Vec::new()).await.expect("a stream on an empty partition");
    assert!(matches!(early.try_next(), Ok(None)));
    for values in [["a", "b"], ["c", "d"]] {
        topic.append(vec![batch(0, &values)], 7).await.expect("stored");
    }
    assert_eq!(texts(&next(&mut early).await), ["a", "b"]);
    let mut late = topic.open(0, 2, Vec::new()).await.expect("a stream");
    assert_eq!(texts(&next(&mut late).await), ["c", "d"]);
    let mut inside = topic.open(0, 3, Vec::new()).await.expect("a stream");
    assert_eq!(next(&mut inside).await.base_offset, 2, "a batch is given whole");
}

async fn notes_travel_with_their_batches(runtime: &dyn Runtime, name: &str) {
    let topic = topic(runtime, name, 1).await;
    let note = |value: &str| Some(Note { key: "file".to_owned(), value: value.as_bytes().to_vec() });
    for (value, texts) in [("1", &["a"][..]), ("2", &["b"]), ("3", &[])] {
        topic.append(vec![Batch { note: note(value), ..batch(0, texts) }], 7).await.expect("stored");
        let notes = topic.notes().await.expect("notes");
        assert_eq!(notes, BTreeMap::from([("file".to_owned(), value.as_bytes().to_vec())]));
    }
    assert_eq!(topic.state().await.expect("a state").partitions, [Bounds { start: 0, end: 2 }]);
}

async fn a_chain_gives_one_frame_a_batch(runtime: &dyn Runtime, name: &str, filter_map: Arc<[u8]>) {
    let topic = topic(runtime, name, 1).await;
    for values in [&["no event"][..], &["neither", "nor"][..]] {
        topic.append(vec![batch(0, values)], 7).await.expect("stored");
    }
    let chain = vec![module(filter_map, &[("output", "frame")])];
    let mut stream = topic.open(0, 0, chain).await.expect("a stream");
    for (base_offset, last_offset) in [(0, 0), (1, 2)] {
        let output = next(&mut stream).await;
        assert_eq!(
            (output.base_offset, output.last_offset, output.values.len()),
            (base_offset, last_offset, 1)
        );
    }
}

/// Many batches that wait, each of another size, so that whatever cuts answers cuts within one.
async fn more_than_fits_into_an_answer_is_read_whole(runtime: &dyn Runtime, name: &str) {
    let topic = topic(runtime, name, 1).await;
    let sizes: Vec<usize> = (0..60).map(|i| 200_000 + i * 7_919).collect();
    for size in &sizes {
        let large = "x".repeat(*size);
        topic.append(vec![batch(0, &[&large, "end"])], 7).await.expect("stored");
    }
    let mut stream = topic.open(0, 0, Vec::new()).await.expect("a stream");
    for (base_offset, size) in (0..).step_by(2).zip(sizes) {
        let output = next(&mut stream).await;
        let lengths: Vec<_> = output.values.iter().map(Vec::len).collect();
        assert_eq!((output.base_offset, output.last_offset), (base_offset, base_offset + 1));
        assert_eq!(lengths, [size, 3]);
    }
}

/// One batch of which the chain makes more than an answer usually holds, between two small ones.
async fn a_huge_batch_is_not_skipped(runtime: &dyn Runtime, name: &str, filter_map: Arc<[u8]>) {
    const LINES: usize = 60_000;
    let topic = topic(runtime, name, 1).await;
    let line = r#"{"user_id":"u1","timestamp":1790000000000,"device":"tv","content_type":"movie","country":"BR","city":"Rio"}"#;
    for lines in [vec![line], vec![line; LINES], vec![line]] {
        topic.append(vec![batch(0, &lines)], 7).await.expect("stored");
    }
    let chain = vec![module(filter_map, &[("output", "frame")])];
    let mut stream = topic.open(0, 0, chain).await.expect("a stream");
    let last = LINES as u64;
    for (base_offset, last_offset) in [(0, 0), (1, last), (last + 1, last + 1)] {
        let output = next(&mut stream).await;
        assert_eq!((output.base_offset, output.last_offset), (base_offset, last_offset));
    }
}

async fn a_wrong_parameter_is_told(runtime: &dyn Runtime, name: &str, filter_map: Arc<[u8]>) {
    let topic = topic(runtime, name, 1).await;
    topic.append(vec![batch(0, &["x"])], 7).await.expect("stored");
    let error = match topic.open(0, 0, vec![module(filter_map, &[("output", "xml")])]).await {
        Err(error) => error,
        Ok(mut stream) => stream.next().await.expect_err("an error"),
    };
    assert!(format!("{error:#}").contains("must be \"records\" or \"frame\""), "{error:#}");
}

async fn what_is_not_there_is_an_error(runtime: &dyn Runtime, name: &str) {
    let topic = topic(runtime, name, 1).await;
    assert!(topic.open(0, 1, Vec::new()).await.is_err(), "beyond the end");
    assert!(topic.open(1, 0, Vec::new()).await.is_err(), "no such partition");
    assert!(topic.append(vec![batch(1, &["x"])], 7).await.is_err(), "no such partition");
    assert_eq!(topic.state().await.expect("a state").partitions, [Bounds::default()]);
}

fn module(wasm: Arc<[u8]>, params: &[(&str, &str)]) -> Module {
    let params = params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Module { name: "access-filter-map".to_owned(), wasm, params, accumulator: None }
}
