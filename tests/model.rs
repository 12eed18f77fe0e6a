//! A model of how the jobs keep their positions, with faults at every moment, up to a bound of each.
//!
//! It is a model: the jobs, the logs, MongoDB, leases and the network are told here once more (`system.rs`,
//! `world.rs`), as a machine with few states, and a checker goes through every order in which their steps
//! and the faults can come. Of the real code only [`domain::Positions`] takes part, which decides about each
//! frame. So it shows that the protocol is right, not that the jobs keep to it: that is for the tests with a
//! real MongoDB.
//!
//! In it are: a primary that loses its place, and with it what no majority has; answers that do not come, of
//! a write that took effect, or will later, or never does; processes that die between any two steps, and
//! others that are only slow while one takes over their lease; logs that forget what they may; counts that
//! are forwarded or appended again. Left out are: several partitions or shards, frames that are written
//! together, topics created anew, changed settings, ticks, users, and which windows are known.
//!
//! Each mutilated protocol leaves out one thing, and has to be found wanting: so that is needed, and the
//! model can tell.

mod system;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};
use system::{
    ALERTS_NEWER, COUNTED_ONCE, ENDS_COMPLETE, FORGOTTEN_COUNTS, FORGOTTEN_LINES, NOTHING_MISSING, Seen,
    System,
};
use world::{Faults, Job, Mutilation};

const NO_FAULTS: Faults = Faults { crashes: 0, elections: 0, lost: 0, doubled: 0, takeovers: 0 };
/// One fault of each kind, and a second process.
const TWO_PROCESSES: Faults = Faults { crashes: 1, elections: 1, lost: 1, takeovers: 1, ..NO_FAULTS };

/// A system with so many stored batches of lines. Without job events their counts are in `access-rollups`
/// from the start: all of them twice, each one twice, and once.
fn system(jobs: &[Job], batches: u8, faults: Faults) -> System {
    let once: Vec<u8> = (0..batches).collect();
    let frames = if jobs.contains(&Job::Events) {
        vec![Vec::new()]
    } else {
        vec![once.repeat(2), once.iter().flat_map(|batch| [*batch; 2]).collect(), once]
    };
    System { jobs: jobs.to_vec(), batches, frames, faults, without: None, seen: Arc::default() }
}

/// Goes through all states. There have to be `states_min` at least, and each fault has to have come and done
/// something: else the model has become trivial.
fn explore(system: System, states_min: usize) {
    let System { jobs, faults, seen, .. } = system.clone();
    let checker = system.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    println!("{jobs:?}, {faults:?}: {states} states, {} steps deep", checker.max_depth());
    assert!(states >= states_min, "only {states} states");
    let Seen { crashes, taken_back, late, late_refused, fenced, skipped_lines, skipped_frames } = &*seen;
    let (events, readers) = (jobs.contains(&Job::Events), jobs != [Job::Events]);
    let lost = faults.lost > 0;
    let expected = [
        (crashes, faults.crashes > 0),
        (taken_back, faults.elections > 0),
        (late, lost),
        (late_refused, lost),
        (fenced, lost || faults.takeovers > 0),
        (skipped_lines, events && faults.crashes > 0),
        (skipped_frames, readers && (!events || faults.crashes + faults.doubled > 0)),
    ];
    for (counter, has_to_be) in expected {
        assert!(!has_to_be || counter.load(Ordering::Relaxed) > 0, "what can happen did not: {seen:?}");
    }
}

#[test]
fn a_pipeline_survives_a_crash() {
    explore(system(&Job::ALL, 2, Faults { crashes: 1, ..NO_FAULTS }), 350_000);
}

#[test]
fn a_pipeline_survives_a_lost_answer_and_an_election() {
    explore(system(&Job::ALL, 2, Faults { elections: 1, lost: 1, ..NO_FAULTS }), 200_000);
}

#[test]
fn what_is_stored_is_counted_once() {
    let jobs = [Job::Events, Job::Rollups];
    explore(system(&jobs, 2, Faults { crashes: 1, elections: 1, lost: 1, ..NO_FAULTS }), 500_000);
    explore(system(&jobs, 2, Faults { crashes: 1, doubled: 1, ..NO_FAULTS }), 100_000);
}

#[test]
fn counts_are_kept_until_both_their_readers_have_them() {
    let faults = Faults { crashes: 1, elections: 1, lost: 1, ..NO_FAULTS };
    explore(system(&[Job::Rollups, Job::Alerts], 2, faults), 200_000);
}

#[test]
fn each_job_survives_two_faults_of_a_kind() {
    let faults = Faults { crashes: 2, elections: 2, lost: 2, ..NO_FAULTS };
    for (job, states_min) in [(Job::Events, 250_000), (Job::Rollups, 1), (Job::Alerts, 40_000)] {
        explore(system(&[job], 3, faults), states_min);
    }
}

#[test]
fn a_second_process_may_take_a_job_over() {
    explore(system(&[Job::Events], 2, TWO_PROCESSES), 200_000);
    explore(system(&[Job::Rollups], 2, TWO_PROCESSES), 400_000);
    explore(system(&[Job::Alerts], 3, TWO_PROCESSES), 250_000);
}

#[test]
fn a_mutilated_protocol_is_found_wanting() {
    let cases = [
        (Mutilation::LocalPositions, Job::Events, NOTHING_MISSING),
        (Mutilation::LocalPositions, Job::Rollups, FORGOTTEN_COUNTS),
        (Mutilation::LocalPositions, Job::Alerts, FORGOTTEN_COUNTS),
        (Mutilation::LocalLookUps, Job::Events, FORGOTTEN_LINES),
        (Mutilation::WriteConcernOne, Job::Events, FORGOTTEN_LINES),
        (Mutilation::WriteConcernOne, Job::Rollups, FORGOTTEN_COUNTS),
        (Mutilation::WriteConcernOne, Job::Alerts, FORGOTTEN_COUNTS),
        (Mutilation::NoWriter, Job::Alerts, ENDS_COMPLETE),
        (Mutilation::AlertsOutside, Job::Alerts, ALERTS_NEWER),
        (Mutilation::SessionEachTry, Job::Alerts, ENDS_COMPLETE),
        (Mutilation::PositionIsProof, Job::Alerts, ENDS_COMPLETE),
        (Mutilation::CheckpointFirst, Job::Events, ENDS_COMPLETE),
        (Mutilation::TwoTransactions, Job::Rollups, COUNTED_ONCE),
        (Mutilation::TrimFirst, Job::Events, NOTHING_MISSING),
    ];
    for (mutilation, job, expected) in cases {
        let batches = if job == Job::Alerts { 3 } else { 2 };
        let system = System { without: Some(mutilation), ..system(&[job], batches, TWO_PROCESSES) };
        // Breadth first, so that the way to the failure is a short one.
        let checker = system.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let found = checker.discovery(expected);
        let found = found.unwrap_or_else(|| panic!("{mutilation:?} of {job:?} does not break: {expected}"));
        let steps = found.into_actions().len();
        println!("{mutilation:?}, job {job:?}: {steps} steps lead to where this does not hold: {expected}");
    }
}
