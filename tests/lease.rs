//! Leases against a real MongoDB: one holder at a time, and how the next one follows.

use std::time::{Duration, Instant};

use runtime::lease::{Holder, LEASE_MS, Lease};

use crate::support::{database, database_name};

fn holder(host: &str, process: &str) -> Holder {
    Holder { host: host.to_owned(), process: process.to_owned(), name: format!("{process} on {host}") }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_one_follows_when_a_lease_is_given_back_and_not_before() {
    let database = database(&database_name("lease")).await;
    let (first, second) = (holder("a", "1 1"), holder("b", "1 1"));
    let held = Lease::acquire(&database, "work", &first).await.expect("nobody holds it");
    let waiting = Lease::acquire(&database, "work", &second);
    tokio::pin!(waiting);
    // Longer than a lease holds without being renewed.
    let longer = Duration::from_millis(LEASE_MS as u64 + 2_000);
    assert!(tokio::time::timeout(longer, &mut waiting).await.is_err(), "it is renewed");
    assert!(held.is_held().await.expect("an answer") && held.check().is_ok());
    drop(held);
    let begun = Instant::now();
    let next = waiting.await.expect("it was given back");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(next.is_held().await.expect("an answer"));

    let again = Lease::acquire(&database, "work", &second).await.expect("the same holder");
    assert!(again.token() > next.token());
    assert!(!next.is_held().await.expect("an answer"), "a holder that comes again has one lease");
    next.lost().await;
    assert!(next.check().is_err());
    drop(next);
    assert!(again.is_held().await.expect("an answer"), "giving back what was lost changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_process_of_this_machine_is_followed_at_once() {
    let database = database(&database_name("deadlease")).await;
    let me = Holder::this_process();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep starts");
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("it lives");
    let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).expect("a time");
    let other = Holder { process: format!("{} {started}", child.id()), ..me.clone() };
    let held = Lease::acquire(&database, "work", &other).await.expect("nobody holds it");
    let waiting = Lease::acquire(&database, "work", &me);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_secs(2), &mut waiting).await.is_err(), "it lives");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let begun = Instant::now();
    let mine = waiting.await.expect("its holder is dead");
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(mine.is_held().await.expect("an answer") && !held.is_held().await.expect("an answer"));
}
