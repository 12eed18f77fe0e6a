//! The contract, and what only the embedded runtime promises.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::contract::{self, batch, next, spec};
use crate::{Bounds, Note, Record};

/// The module as `cargo xtask build` makes it; these tests need it.
fn filter_map() -> Arc<[u8]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../smartmodules/target/wasm32-unknown-unknown/release-lto/access_filter_map.wasm");
    std::fs::read(path).expect("the SmartModules are built by `cargo xtask build`").into()
}

fn runtime() -> (tempfile::TempDir, Embedded) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let runtime = Embedded::open(dir.path()).expect("a runtime");
    (dir, runtime)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds() {
    let (_dir, runtime) = runtime();
    contract::check(&runtime, "contract", filter_map()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_when_opened_again() {
    let (dir, runtime) = runtime();
    let topic = runtime.topic(&spec("t", 2)).await.expect("a topic");
    let note = Note { key: "file".to_owned(), value: b"9".to_vec() };
    topic.append(vec![Batch { note: Some(note), ..batch(1, &["a", "b"]) }], 7).await.expect("stored");
    let before = (topic.state().await.expect("a state"), topic.notes().await.expect("notes"));
    drop((topic, runtime));
    let runtime = Embedded::open(dir.path()).expect("a runtime");
    let topic = runtime.topic(&spec("t", 2)).await.expect("a topic");
    assert_eq!((topic.state().await.expect("a state"), topic.notes().await.expect("notes")), before);
    topic.append(vec![batch(1, &["c"])], 7).await.expect("stored");
    let mut stream = topic.open(1, 2, Vec::new()).await.expect("a stream");
    assert_eq!(next(&mut stream).await.base_offset, 2);
    let error = runtime.topic(&spec("other", 0)).await;
    assert!(error.is_ok(), "a topic without partitions is harmless");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_and_the_partitions_of_the_first() {
    let (dir, runtime) = runtime();
    let topic = runtime.topic(&spec("t", 2)).await.expect("a topic");
    let second = Embedded::open(dir.path()).expect("a runtime");
    let error = second.topic(&spec("t", 2)).await.err().expect("refused");
    assert!(format!("{error:#}").contains("another process uses this data directory"), "{error:#}");
    drop((topic, runtime));
    let error = second.topic(&spec("t", 3)).await.err().expect("refused");
    assert!(format!("{error:#}").contains("has 2 partitions, the configuration says 3"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trimmed_is_what_ends_below() {
    let (_dir, runtime) = runtime();
    let topic = runtime.topic(&spec("t", 1)).await.expect("a topic");
    for values in [["a", "b"], ["c", "d"], ["e", "f"]] {
        topic.append(vec![batch(0, &values)], 7).await.expect("stored");
    }
    topic.trim(0, 3).await.expect("trimmed");
    assert_eq!(topic.state().await.expect("a state").partitions, [Bounds { start: 2, end: 6 }]);
    assert!(topic.open(0, 1, Vec::new()).await.is_err());
    let mut stream = topic.open(0, 3, Vec::new()).await.expect("a stream");
    assert_eq!(next(&mut stream).await.base_offset, 2);
    topic.trim(0, 6).await.expect("trimmed");
    assert_eq!(topic.state().await.expect("a state").partitions, [Bounds { start: 6, end: 6 }]);
    topic.append(vec![batch(0, &["g"])], 7).await.expect("stored");
    let mut stream = topic.open(0, 6, Vec::new()).await.expect("a stream");
    assert_eq!(next(&mut stream).await.base_offset, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_topic_pushes_back_until_it_is_trimmed() {
    let (_dir, runtime) = runtime();
    let spec = TopicSpec { bytes_max: 4_000, ..spec("t", 1) };
    let topic = runtime.topic(&spec).await.expect("a topic");
    let large = || {
        let record = Record { key: None, value: vec![b'x'; 3_000].into() };
        vec![Batch { partition: 0, records: vec![record], note: None }]
    };
    topic.append(large(), 7).await.expect("stored");
    let second = tokio::spawn({
        let topic = topic.clone();
        async move { topic.append(large(), 7).await }
    });
    let waited = tokio::time::timeout(Duration::from_millis(300), async {
        while !second.is_finished() {
            tokio::task::yield_now().await;
        }
    });
    assert!(waited.await.is_err(), "it must wait while the topic is full");
    topic.trim(0, 1).await.expect("trimmed");
    second.await.expect("no panic").expect("stored");
    let too_large = Record { key: None, value: vec![b'x'; 5_000].into() };
    let error = topic.append(vec![Batch { partition: 0, records: vec![too_large], note: None }], 7).await;
    assert!(format!("{:#}", error.expect_err("refused")).contains("never fit"));
}
