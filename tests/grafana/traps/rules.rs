//! Traps of alert rules: what is not replaced, and frames that are neither numbers nor series.

use mongodb::bson::{DateTime, doc};

use super::{framed, refused};
use crate::grafana::alerting::{check_rule_frame, check_rule_text};
use crate::grafana::frames::Frame;

#[test]
fn a_macro_in_a_rule_is_not_replaced() {
    let traps = [
        (r#"[{"$match": {"ts": {"$gte": {"$date": {"$numberLong": "$__from"}}}}}]"#, "$__"),
        (r#"[{"$match": {"country": "${f_country}"}}]"#, "${"),
        (r#"[{"$limit": 1}];"#, "semicolon"),
        (r#"[{"$limit": 1,}]"#, "JsonExt"),
    ];
    for (text, reason) in traps {
        refused(check_rule_text(text), reason);
    }
    let by_clock = r#"[{"$match": {"$expr": {"$gte": ["$ts", {"$dateSubtract": {
        "startDate": "$$NOW", "unit": "minute", "amount": 5}}]}}}]"#;
    assert_eq!(check_rule_text(by_clock).expect("JSON").len(), 1);
}

#[test]
fn a_rule_takes_numbers_with_labels_or_a_wide_series() {
    let time = DateTime::from_millis;
    let traps = [
        (vec![doc! { "ts": time(0), "device": "tv", "n": 1 }], "got type long"),
        (vec![doc! { "n": 1, "m": 2 }], "2 numbers"),
        (vec![doc! { "device": "tv" }], "0 numbers"),
        (vec![doc! { "n": 1, "is_open": true }], "is_open Bool"),
        (vec![doc! { "n": 1, "list": [1] }], "list Json"),
        (vec![doc! { "_id": "x", "n": 1 }], "_id"),
        (vec![doc! { "ts": time(0), "end": time(1), "n": 1 }], "2 times"),
        (vec![doc! { "ts": time(0) }], "times without numbers"),
        (vec![doc! { "ts": time(1), "n": 1 }, doc! { "ts": time(0), "n": 1 }], "not ascending"),
        (vec![doc! { "device": "tv", "n": 1 }, doc! { "device": "tv", "n": 2 }], "two rows with the labels"),
    ];
    for (documents, reason) in traps {
        refused(check_rule_frame(&framed(&documents), true), reason);
    }
    let series = framed(&[doc! { "ts": time(0), "tv": 1, "phone": 2 }, doc! { "ts": time(1), "tv": 1 }]);
    refused(check_rule_frame(&series, false), "a reduce step");
    assert_eq!(check_rule_frame(&series, true), Ok(()));
    let numbers = framed(&[doc! { "device": "tv", "n": 1 }, doc! { "device": "phone", "n": 2.5 }]);
    assert_eq!(check_rule_frame(&numbers, false), Ok(()));
    assert_eq!(check_rule_frame(&framed(&[doc! { "n": 1 }]), false), Ok(()));
    assert_eq!(check_rule_frame(&Frame::default(), false), Ok(()), "no data");
}
