//! Traps of columns: kinds, order, and values that cannot be drawn.

use std::collections::BTreeSet;

use mongodb::bson::{Bson, DateTime, Decimal128, Timestamp, doc, oid::ObjectId};
use serde_json::{Value, json};

use super::{framed, refused};
use crate::grafana::frames::{Kind, frame};

#[test]
fn a_column_of_numbers_becomes_as_wide_as_it_must() {
    let values = [Bson::Null, 1_i32.into(), 2_i64.into(), 3_i32.into(), 0.5.into(), 4_i64.into()];
    let kinds = [None, Some(Kind::Int32), Some(Kind::Int64), Some(Kind::Int64), Some(Kind::Float64)];
    for (count, kind) in (1..).zip(kinds) {
        let documents: Vec<_> = values[..count].iter().map(|value| doc! { "n": value.clone() }).collect();
        let frame = framed(&documents);
        assert_eq!(frame.field("n").map(|field| field.kind), kind, "{documents:?}");
    }
    let documents = values.map(|value| doc! { "n": value });
    let wide = [Value::Null, json!(1.0), json!(2.0), json!(3.0), json!(0.5), json!(4.0)];
    let field = framed(&documents).fields.remove(0);
    assert_eq!(field.values.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(), wide);
}

#[test]
fn a_column_that_changes_its_kind_fails_the_query() {
    let changes = [
        (Bson::from("x"), Bson::from(1), "field c should have type *string, but got 32-bit integer"),
        (1.into(), "x".into(), "field c should have type *int32, but got string"),
        (DateTime::MIN.into(), "x".into(), "field c should have type *time.Time, but got string"),
        (true.into(), 1.into(), "field c should have type *bool"),
        (doc! {}.into(), 1.into(), "field c should have type *string"),
    ];
    for (first, second, error) in changes {
        refused(frame(&[doc! { "c": first }, doc! { "c": second }], 1), error);
    }
    let cast = [doc! { "c": "x" }, doc! { "c": "1" }, doc! { "c": null }, doc! {}];
    assert_eq!((framed(&cast).fields[0].kind, framed(&cast).rows()), (Kind::Text, 4));
}

#[test]
fn the_order_of_columns_is_another_each_time() {
    let documents = [doc! { "a": 1, "b": 2, "c": 3, "d": 4, "_id": 5 }];
    let order = |seed| {
        let frame = frame(&documents, seed).expect("a frame");
        frame.fields.into_iter().map(|field| field.name).collect::<Vec<_>>()
    };
    let orders: BTreeSet<_> = (0..20).map(order).collect();
    assert!(orders.len() > 5, "{orders:?}");
    assert!(orders.iter().all(|order| order[0] == "_id"), "{orders:?}");
    assert_eq!(order(7), order(7), "a seed is an order");
}

#[test]
fn a_column_of_nulls_is_not_there() {
    let frame = framed(&[doc! { "n": 1, "none": null }, doc! { "n": 2, "none": null }]);
    assert_eq!((frame.fields.len(), frame.rows()), (1, 2));
    assert!(frame.field("none").is_none());
    assert_eq!(framed(&[]).rows(), 0);
}

#[test]
fn types_become_what_grafana_knows() {
    let id = ObjectId::from_bytes([1; 12]);
    let frame = framed(&[doc! {
        "_id": { "t": 1 },
        "time": DateTime::from_millis(1500),
        "stamp": Timestamp { time: 2, increment: 0 },
        "oid": id,
        "list": [1, "x"],
        "inner": { "n": 1 },
        "decimal": "1".parse::<Decimal128>().expect("a number"),
    }]);
    let expected = [
        ("time", Kind::Time, json!(1500)),
        ("stamp", Kind::Time, json!(2000)),
        ("oid", Kind::Text, json!(format!("ObjectID(\"{id}\")"))),
        ("list", Kind::Json, json!([1, "x"])),
        ("inner", Kind::Json, json!({ "n": 1 })),
        ("decimal", Kind::Text, json!("[Unsupported type 128-bit decimal]")),
        // The plugin leaves this one a text.
        ("_id", Kind::Text, json!("{\"t\":1}")),
    ];
    for (name, kind, value) in expected {
        let field = frame.field(name).expect("a column");
        assert_eq!((field.kind, &field.values[0]), (kind, &Some(value)), "{name}");
        assert_eq!(field.is_unsupported(), name == "decimal", "{name}");
    }
    let mixed = framed(&[doc! { "c": [1] }, doc! { "c": "x" }]);
    assert_eq!(mixed.fields[0].texts().collect::<Vec<_>>(), ["[1]", "x"]);
}
