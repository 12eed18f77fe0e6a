//! What goes wrong with this plugin and these panels, each beside the form that works: the checks must tell them
//! apart.

mod dashboards;
mod frames;
mod panels;
mod queries;
mod rules;

use std::fmt::Debug;

use mongodb::bson::Document;

use super::frames::{Frame, frame};

/// Whether it was refused for this reason.
#[track_caller]
fn refused<T: Debug>(result: Result<T, String>, reason: &str) {
    let error = result.expect_err("it is a trap");
    assert!(error.contains(reason), "{error:?} says nothing of {reason:?}");
}

/// A frame of documents that can be one.
#[track_caller]
fn framed(documents: &[Document]) -> Frame {
    frame(documents, 1).expect("columns of one kind")
}
