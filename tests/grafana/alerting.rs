//! Alert rules: Grafana's server runs them, where no variable is replaced, and it takes only two shapes of a frame.

use std::collections::BTreeSet;

use mongodb::bson::Document;

use super::frames::{Field, Frame, Kind, parse};

/// Parses the query of a rule as it is written.
pub fn check_rule_text(query_text: &str) -> Result<Vec<Document>, String> {
    if let Some(macro_text) = ["$__", "${", "[[__"].iter().find(|text| query_text.contains(**text)) {
        return Err(format!("{macro_text} in a rule is not replaced: filter by $$NOW"));
    }
    // The browser would take a semicolon off.
    if query_text.trim_end().ends_with(';') {
        return Err("a semicolon in a rule stays".to_owned());
    }
    parse(query_text)
}

/// Checks what a rule's query gives: either a number to each set of labels, or series that a reduce step then makes
/// numbers of. No rows are no error but "no data".
pub fn check_rule_frame(frame: &Frame, has_reduce: bool) -> Result<(), String> {
    if frame.fields.is_empty() {
        return Ok(());
    }
    let wrong = |field: &Field| {
        field.name == "_id" || field.is_unsupported() || matches!(field.kind, Kind::Bool | Kind::Json)
    };
    if let Some(field) = frame.fields.iter().find(|field| wrong(field)) {
        return Err(format!("{} {:?} is neither a label nor a value", field.name, field.kind));
    }
    let (times, numbers, texts) = (frame.times(), frame.numbers(), frame.texts());
    match (times.as_slice(), numbers.len(), texts.len()) {
        ([], 1, _) => check_labels(frame),
        ([], count, _) => Err(format!("{count} numbers in a row, not one")),
        ([_], _, 1..) => Err("input data must be a wide series but got type long".to_owned()),
        ([_], 0, 0) => Err("times without numbers".to_owned()),
        ([time], _, 0) if !time.is_ascending() => Err(format!("{} is not ascending or is null", time.name)),
        ([_], _, 0) if !has_reduce => Err("a series needs a reduce step before its threshold".to_owned()),
        ([_], _, 0) => Ok(()),
        (times, _, _) => Err(format!("{} times", times.len())),
    }
}

/// Grafana refuses two rows with the same labels.
fn check_labels(frame: &Frame) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for row in 0..frame.rows() {
        let labels: Vec<_> = frame.texts().iter().map(|field| field.values[row].clone()).collect();
        if !seen.insert(format!("{labels:?}")) {
            return Err(format!("two rows with the labels {labels:?}"));
        }
    }
    Ok(())
}
