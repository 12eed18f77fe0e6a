//! A model of how the jobs keep their positions, with all faults at all moments, up to a bound of each.
//!
//! It is a model: jobs, logs, MongoDB, leases and the network are told here again (`world.rs`, `system.rs`), as a
//! machine of few states, and a checker goes through every order in which their steps and the faults can come. Of the
//! real code only [`domain::Positions`] takes part, which decides about a frame. So it shows that the protocol is
//! right, and not that the jobs keep to it: that is for the tests with a real MongoDB.
//!
//! In the world are: a primary that has what no majority has, and loses its place with it; answers that do not come,
//! of a write that took effect, or that takes effect later, or never; processes that die, or are slow while another
//! one takes their lease; logs that forget what they are allowed to; batches that are forwarded or appended again.
//! Left out are: several partitions and shards, topics created anew, changed settings, ticks, which windows are
//! known, and MongoDB's own mistakes.
//!
//! Each mutilated protocol leaves out one thing, and has to be found wanting: what it leaves out is needed, and the
//! model can tell.

mod system;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stateright::{Checker, HasDiscoveries, Model};
use system::{
    ALERTS_NEWER, COUNTED_ONCE, ENDS_COMPLETE, FORGOTTEN_COUNTS, FORGOTTEN_LINES, NOTHING_MISSING, Seen, System,
};
use world::{Faults, Job, Mutilation};

const NO_FAULTS: Faults = Faults { crashes: 0, elections: 0, lost: 0, doubled: 0, takeovers: 0 };
/// One fault of each kind, and a second process.
const TWO_PROCESSES: Faults = Faults { crashes: 1, elections: 1, lost: 1, takeovers: 1, ..NO_FAULTS };

/// A system with `batches` stored batches of lines. Without job events their counts are in `access-rollups` from the
/// start: once, twice after each other, and each one twice.
fn system(jobs: &[Job], batches: u8, faults: Faults) -> System {
    let once: Vec<u8> = (0..batches).collect();
    let frames = if jobs.contains(&Job::Events) {
        vec![Vec::new()]
    } else {
        vec![once.repeat(2), once.iter().flat_map(|batch| [*batch; 2]).collect(), once]
    };
    System { jobs: jobs.to_vec(), batches, frames, faults, without: None, seen: Arc::default() }
}

/// Goes through all states that there are. They have to be at least `states_min`, so that a model that has become
/// trivial is noticed.
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
fn the_jobs_of_a_pipeline_survive_a_crash() {
    explore(system(&Job::ALL, 2, Faults { crashes: 1, ..NO_FAULTS }), 600_000);
}

#[test]
fn the_jobs_of_a_pipeline_survive_a_lost_answer_and_an_election() {
    explore(system(&Job::ALL, 2, Faults { elections: 1, lost: 1, ..NO_FAULTS }), 500_000);
}

#[test]
fn counts_forwarded_again_are_counted_once() {
    let faults = Faults { crashes: 1, doubled: 1, ..NO_FAULTS };
    explore(system(&[Job::Events, Job::Rollups], 2, faults), 1);
}

#[test]
fn both_readers_of_counts_hold_the_log_until_they_have_them() {
    let faults = Faults { crashes: 1, elections: 1, lost: 1, ..NO_FAULTS };
    explore(system(&[Job::Rollups, Job::Alerts], 2, faults), 300_000);
}

#[test]
fn each_job_survives_two_faults_of_a_kind() {
    let faults = Faults { crashes: 2, elections: 2, lost: 2, ..NO_FAULTS };
    for job in Job::ALL {
        explore(system(&[job], 2, faults), 1);
    }
}

#[test]
fn a_second_process_may_take_over_job_events() {
    explore(system(&[Job::Events], 2, TWO_PROCESSES), 1);
}

#[test]
fn a_second_process_may_take_over_job_rollups() {
    explore(system(&[Job::Rollups], 2, TWO_PROCESSES), 1);
}

#[test]
fn a_second_process_may_take_over_job_alerts() {
    explore(system(&[Job::Alerts], 3, TWO_PROCESSES), 1);
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
        println!("{mutilation:?} of {job:?}, in {} steps: not {expected}", found.into_actions().len());
    }
}
