//! Checkpoints against a real MongoDB: whoever was followed moves nothing, and every write waits for a majority.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::options::Acknowledgment;
use sink::Progress;
use sink::checkpoint::Checkpoint;
use sink::reach::{Reads, reach};

use crate::support::{database, database_name, mongodb_uri};

#[tokio::test(flavor = "multi_thread")]
async fn who_loaded_a_checkpoint_before_moves_it_no_more() {
    let database = database(&database_name("checkpoint")).await;
    let progress = Progress::new(1);
    let load = || Checkpoint::load(&database, "job", "topic", 0, 7);
    let (mut first, document) = load().await.expect("a new checkpoint");
    assert_eq!(document.get_i64("next").ok(), Some(7));
    first.commit(&progress, (7, 9), doc! { "by": "first" }, &[]).await.expect("it is the only one");
    let (mut second, document) = load().await.expect("the same checkpoint");
    assert_eq!(document.get_i64("next").ok(), Some(9));
    for to in [9, 12] {
        let refused = first.commit(&progress, (9, to), doc! { "by": "first again" }, &[]).await;
        let told = format!("{:#}", refused.expect_err("it was followed"));
        assert!(told.contains("another process writes to this database"), "{told}");
    }
    second.commit(&progress, (9, 12), doc! { "by": "second" }, &[]).await.expect("it is the last one");
    let states = database.collection::<Document>("pipeline_state");
    let stored =
        states.find_one(doc! { "_id": "job|topic|0" }).await.expect("an answer").expect("a checkpoint");
    assert_eq!((stored.get_i64("next").ok(), stored.get_str("by").ok()), (Some(12), Some("second")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_weaker_write_concern_in_the_uri_is_not_taken() {
    let uri = format!("{}&w=1&journal=false", mongodb_uri());
    let reached = reach(&uri, "any", Duration::from_secs(60), Reads::Primary).await.expect("it is there");
    let concern = reached.database.write_concern().expect("one is set");
    assert_eq!((&concern.w, concern.journal), (&Some(Acknowledgment::Majority), None));
}
