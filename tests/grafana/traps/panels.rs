//! Traps of panels: frames that a type of panel cannot draw, or draws otherwise each time.

use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use super::{framed, refused};
use crate::grafana::frames::Frame;
use crate::grafana::panels::{check_annotation, check_panel, check_variable, is_empty};

fn time(ms: i64) -> DateTime {
    DateTime::from_millis(ms)
}

fn checked(panel: &Value, documents: &[Document]) -> Result<(), String> {
    check_panel(panel, &[("A".to_owned(), framed(documents))])
}

fn organized(mut panel: Value, options: Value) -> Value {
    panel["transformations"] = json!([{ "id": "organize", "options": options }]);
    panel
}

fn by_name(kind: &str) -> Value {
    json!({ "type": kind, "fieldConfig": { "defaults": { "color": { "mode": "palette-classic-by-name" } } } })
}

#[test]
fn no_data_is_no_mistake() {
    for kind in ["timeseries", "stat", "piechart", "barchart", "table", "heatmap", "geomap", "state-timeline"]
    {
        assert_eq!(checked(&by_name(kind), &[]), Ok(()), "{kind}");
    }
    // That colors must not follow from an order is known before there is data.
    refused(checked(&json!({ "type": "piechart" }), &[]), "colors by order");
    assert!(is_empty(&[("A".to_owned(), Frame::default())]));
    assert!(!is_empty(&[("A".to_owned(), framed(&[doc! { "n": 1 }]))]));
    refused(checked(&json!({ "type": "piechrat" }), &[doc! { "n": 1 }]), "no contract");
}

#[test]
fn a_stray_id_a_dot_or_an_unknown_type_is_in_no_panel() {
    let stat = json!({ "type": "stat" });
    refused(checked(&stat, &[doc! { "_id": 1, "n": 1 }]), "a stray _id");
    refused(checked(&stat, &[doc! { "a.b": 1 }]), "a name with a dot");
    refused(checked(&stat, &[doc! { "n": 1, "key": mongodb::bson::Bson::MinKey }]), "does not know");
    assert_eq!(checked(&stat, &[doc! { "n": 1 }]), Ok(()));
}

#[test]
fn a_graph_needs_one_ascending_time_and_numbers() {
    let graph = by_name("timeseries");
    let right = [doc! { "ts": time(0), "tv": 1, "phone": null }, doc! { "ts": time(1), "tv": 1, "phone": 2 }];
    assert_eq!(checked(&graph, &right), Ok(()));
    let traps = [
        (vec![doc! { "n": 1 }], "not one time"),
        (vec![doc! { "ts": time(0), "end": time(1), "n": 1 }], "not one time"),
        (vec![doc! { "ts": time(1), "n": 1 }, doc! { "ts": time(0), "n": 1 }], "not ascending"),
        (vec![doc! { "ts": time(1), "n": 1 }, doc! { "n": 1 }], "null somewhere"),
        (vec![doc! { "ts": time(0) }], "nothing to draw"),
        (vec![doc! { "ts": time(0), "n": 1, "list": [1] }], "list Json"),
        (vec![doc! { "ts": time(0), "n": 1, "device": "tv" }], "a long frame"),
    ];
    for (documents, reason) in traps {
        refused(checked(&graph, &documents), reason);
    }
}

#[test]
fn a_long_frame_needs_something_to_split_it() {
    let long =
        [doc! { "ts": time(0), "n": 1, "device": "tv" }, doc! { "ts": time(0), "n": 2, "device": "phone" }];
    let split = |field: &str, disabled: bool| {
        let mut graph = by_name("timeseries");
        let options = json!({ "fields": [field], "keepFields": false });
        graph["transformations"] =
            json!([{ "id": "partitionByValues", "disabled": disabled, "options": options }]);
        graph
    };
    refused(checked(&by_name("timeseries"), &long), "a long frame");
    refused(checked(&split("country", false), &long), "to split by");
    refused(checked(&split("device", true), &long), "a long frame");
    assert_eq!(checked(&split("device", false), &long), Ok(()));
}

#[test]
fn colors_by_order_are_others_each_time() {
    let wide = [doc! { "ts": time(0), "tv": 1, "phone": 1 }];
    let mut graph = json!({ "type": "timeseries" });
    refused(checked(&graph, &wide), "colors by order");
    graph["fieldConfig"] = json!({ "defaults": { "color": { "mode": "palette-classic" } } });
    refused(checked(&graph, &wide), "colors by order");
    // One series has one color, unless its query makes a series of each value.
    assert_eq!(checked(&graph, &[doc! { "ts": time(0), "tv": 1 }]), Ok(()));
    graph["targets"] = json!([{ "queryText": "[{\"$replaceWith\": {\"$arrayToObject\": \"$kv\"}}]" }]);
    refused(checked(&graph, &[doc! { "ts": time(0), "tv": 1 }]), "colors by order");
    graph["fieldConfig"]["defaults"]["color"]["mode"] = json!("palette-classic-by-name");
    assert_eq!(checked(&graph, &wide), Ok(()));
}

#[test]
fn a_fixed_color_needs_an_override_for_each_name() {
    let color = json!([{ "id": "color", "value": { "mode": "fixed", "fixedColor": "blue" } }]);
    let graph = |matchers: &[(&str, &str)]| {
        let overrides: Vec<_> = matchers
            .iter()
            .map(|(id, options)| json!({ "matcher": { "id": id, "options": options }, "properties": color }))
            .collect();
        json!({ "type": "timeseries",
            "fieldConfig": { "defaults": { "color": { "mode": "fixed" } }, "overrides": overrides } })
    };
    let wide = [doc! { "ts": time(0), "tv": 1, "phone": 1 }];
    refused(checked(&graph(&[("byName", "tv")]), &wide), "\"phone\"");
    assert_eq!(checked(&graph(&[("byName", "tv"), ("byName", "phone")]), &wide), Ok(()));
    assert_eq!(checked(&graph(&[("byFrameRefID", "A")]), &wide), Ok(()));
    let renamed =
        organized(graph(&[("byName", "TV"), ("byName", "phone")]), json!({ "renameByName": { "tv": "TV" } }));
    assert_eq!(checked(&renamed, &wide), Ok(()));
}

#[test]
fn several_values_need_names_and_an_order() {
    let two = [doc! { "a": 1, "b": 2 }];
    let stat = json!({ "type": "stat", "options": { "textMode": "value" } });
    let order = json!({ "indexByName": { "a": 0, "b": 1 } });
    assert_eq!(checked(&stat, &[doc! { "a": 1 }]), Ok(()));
    refused(checked(&stat, &[doc! { "a": "x" }]), "nothing to show");
    refused(checked(&stat, &two), "is random");
    refused(checked(&organized(stat.clone(), order.clone()), &two), "without their names");
    refused(checked(&organized(stat, json!({ "indexByName": { "a": 0, "b": 0 } })), &two), "one place");
    assert_eq!(checked(&organized(json!({ "type": "stat" }), order), &two), Ok(()));
    let chosen = |name: &str| json!({ "type": "stat", "options": { "reduceOptions": { "fields": format!("/^{name}$/") } } });
    assert_eq!(checked(&chosen("a"), &two), Ok(()));
    refused(checked(&chosen("c"), &two), "nothing to show");
    let gauge = json!({ "type": "bargauge", "options": { "reduceOptions": { "values": true } } });
    refused(checked(&gauge, &[doc! { "n": 1 }, doc! { "n": 2 }]), "not one text");
    assert_eq!(checked(&gauge, &[doc! { "n": 1, "city": "Rio" }, doc! { "n": 2, "city": "Lima" }]), Ok(()));
}

#[test]
fn a_pie_is_of_one_text_and_one_number_row_by_row() {
    let mut pie = by_name("piechart");
    let devices = [doc! { "device": "tv", "n": 1 }, doc! { "device": "phone", "n": 2 }];
    refused(checked(&pie, &devices), "reduceOptions.values");
    pie["options"] = json!({ "reduceOptions": { "values": true } });
    assert_eq!(checked(&pie, &devices), Ok(()));
    refused(checked(&pie, &[doc! { "device": "tv", "n": 1, "m": 1 }]), "not one text and one number");
    pie["fieldConfig"]["defaults"]["color"]["mode"] = json!("palette-classic");
    refused(checked(&pie, &devices), "colors by order");
}

#[test]
fn bars_need_the_field_that_names_them() {
    let bars = [doc! { "region": "EU", "movie": 1, "live": 2 }];
    let order = json!({ "indexByName": { "region": 0, "movie": 1, "live": 2 } });
    let chart = |x: &str| {
        let mut chart = by_name("barchart");
        chart["options"] = json!({ "xField": x });
        chart
    };
    refused(checked(&by_name("barchart"), &bars), "no xField");
    refused(checked(&chart("country"), &bars), "no field country");
    refused(checked(&chart("region"), &bars), "is random");
    refused(checked(&chart("region"), &[doc! { "region": "EU", "n": "x" }]), "not a number");
    assert_eq!(checked(&organized(chart("region"), order), &bars), Ok(()));
}

#[test]
fn a_table_needs_a_place_for_each_column_and_no_lists() {
    let table = || json!({ "type": "table" });
    let rows = [doc! { "ts": time(0), "city": "Rio", "n": 1 }];
    let places = json!({ "indexByName": { "ts": 0, "city": 1, "n": 2, "list": 3 } });
    refused(checked(&table(), &rows), "is random");
    refused(
        checked(&organized(table(), json!({ "indexByName": { "ts": 0, "city": 1 } })), &rows),
        "the place of n",
    );
    assert_eq!(checked(&organized(table(), places.clone()), &rows), Ok(()));
    let list = [doc! { "city": "Rio", "list": [1] }];
    refused(checked(&organized(table(), places.clone()), &list), "list Json");
    let mut excluding = places;
    excluding["excludeByName"] = json!({ "list": true });
    assert_eq!(checked(&organized(table(), excluding), &list), Ok(()));
}

#[test]
fn a_heatmap_needs_its_x_first() {
    let map = || json!({ "type": "heatmap" });
    let dates = [doc! { "ts": time(0), "0": 1, "1": 2 }];
    refused(checked(&map(), &dates), "x is random");
    refused(
        checked(
            &organized(map(), json!({ "indexByName": { "city": 0 } })),
            &[doc! { "city": "Rio", "1": 1 }],
        ),
        "x is city",
    );
    // Rows whose names are numbers sort themselves.
    let x_first = |x: &str| organized(map(), json!({ "indexByName": { x: 0 } }));
    assert_eq!(checked(&x_first("ts"), &dates), Ok(()));
    let hours = [doc! { "hour": 0, "Mon": 1, "Tue": 2 }];
    refused(checked(&x_first("hour"), &hours), "is random");
    let places = json!({ "indexByName": { "hour": 0, "Mon": 1, "Tue": 2 } });
    assert_eq!(checked(&organized(map(), places), &hours), Ok(()));
    refused(checked(&x_first("ts"), &[doc! { "ts": time(0), "0": "x" }]), "not a number");
}

#[test]
fn a_map_looks_places_up_by_a_text() {
    let map =
        |location: Value| json!({ "type": "geomap", "options": { "layers": [{ "location": location }] } });
    let lookup = |field: &str| json!({ "mode": "lookup", "lookup": field, "gazetteer": "public/gazetteer/countries.json" });
    let countries = [doc! { "country": "BR", "n": 1 }];
    assert_eq!(checked(&map(lookup("country")), &countries), Ok(()));
    refused(checked(&json!({ "type": "geomap" }), &countries), "no layers");
    refused(checked(&map(json!({ "mode": "auto" })), &countries), "look its places up");
    refused(checked(&map(json!({ "mode": "lookup", "lookup": "country" })), &countries), "gazetteer");
    refused(checked(&map(lookup("city")), &countries), "no text city");
    refused(checked(&map(lookup("n")), &countries), "no text n");
    refused(checked(&map(lookup("country")), &[doc! { "country": "BR" }]), "no number");
}

#[test]
fn a_state_timeline_needs_one_time() {
    let states = json!({ "type": "state-timeline" });
    let right = [doc! { "ts": time(0), "state": "open" }, doc! { "ts": time(1), "state": "closed" }];
    assert_eq!(checked(&states, &right), Ok(()));
    refused(checked(&states, &[doc! { "state": "open" }]), "not one time");
    refused(checked(&states, &[doc! { "ts": time(0) }]), "nothing to draw");
    refused(checked(&states, &[doc! { "ts": time(0), "list": [1] }]), "list Json");
}

#[test]
fn an_annotation_is_found_by_its_names() {
    let right =
        doc! { "time": time(0), "timeEnd": null, "text": "t", "tags": "anomaly,critical", "other": [1] };
    assert_eq!(check_annotation(&framed(std::slice::from_ref(&right))), Ok(()));
    assert_eq!(check_annotation(&Frame::default()), Ok(()));
    let traps = [
        ("tags", doc! { "tags": ["anomaly", "critical"] }, "tags is Json"),
        ("text", doc! {}, "no field text"),
        ("time", doc! {}, "no field time"),
        ("time", doc! { "time": "2026-01-01T00:00:00Z" }, "time is Text"),
        ("timeEnd", doc! { "timeEnd": 5 }, "timeEnd is Int32"),
    ];
    for (key, instead, reason) in traps {
        let mut wrong = right.clone();
        wrong.remove(key);
        wrong.extend(instead);
        refused(check_annotation(&framed(&[wrong])), reason);
    }
    let late = framed(&[right, doc! { "text": "t" }]);
    refused(check_annotation(&late), "time is null");
}

#[test]
fn a_variable_lists_values_that_the_plugin_keeps() {
    assert_eq!(check_variable(&framed(&[doc! { "value": "BR", "text": "Brazil" }])), Ok(()));
    assert_eq!(check_variable(&framed(&[doc! { "value": 1, "count": 1 }])), Ok(()));
    assert_eq!(check_variable(&Frame::default()), Ok(()));
    refused(check_variable(&framed(&[doc! { "country": "BR" }])), "no field value");
    refused(check_variable(&framed(&[doc! { "value": 1_i64 }])), "$toString");
    refused(check_variable(&framed(&[doc! { "value": "BR", "text": 1 }])), "text is not a text");
    refused(check_variable(&framed(&[doc! { "value": "BR" }, doc! {}])), "value is null");
}
