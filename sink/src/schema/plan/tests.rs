//! What is compared, and what is to be done about it.

use super::super::definition;
use super::*;

fn collection(name: &str, retention: &Retention) -> Collection {
    let events = definition::events(EVENTS, retention.events_days);
    let mut all = std::iter::once(events).chain(collections(retention));
    all.find(|collection| collection.name == name).expect("one of ours")
}

/// What the server has after the definition's own commands.
fn as_created(collection: &Collection) -> Found {
    let mut options = collection.options.clone();
    options.insert("validator", collection.validator.clone());
    let own = doc! { "v": 2, "key": { "_id": 1 }, "name": "_id_" };
    let command = collection.create_indexes(&collection.indexes);
    let indexes = command.get_array("indexes").expect("indexes").iter();
    let indexes = indexes.filter_map(|index| index.as_document().cloned());
    Found { kind: COLLECTION.to_owned(), options, indexes: std::iter::once(own).chain(indexes).collect() }
}

fn changes(collection: &Collection, found: &Found) -> Vec<String> {
    let steps = compare(collection, Some(found));
    steps.iter().filter(|step| step.change != Change::Keep).map(ToString::to_string).collect()
}

#[test]
fn what_was_created_is_kept_with_and_without_retention() {
    let kept = Retention {
        events_days: NonZeroU32::new(30),
        minutes_days: NonZeroU32::new(7),
        ..Retention::default()
    };
    for retention in [Retention::default(), kept] {
        for collection in collections(&retention) {
            assert_eq!(changes(&collection, &as_created(&collection)), [""; 0]);
        }
    }
}

#[test]
fn what_is_missing_is_created_with_its_indexes() {
    let rollups = collection("access_rollups_1m", &Retention::default());
    let commands: Vec<Document> =
        compare(&rollups, None).iter().flat_map(|step| step.commands(false).to_vec()).collect();
    assert_eq!(commands.len(), 2);
    assert_eq!(commands[0].get_str("create").ok(), Some("access_rollups_1m"));
    let index = doc! { "key": { "ts": 1 }, "name": "ts_1" };
    assert_eq!(commands[1], doc! { "createIndexes": "access_rollups_1m", "indexes": [index] });
}

#[test]
fn a_validator_made_by_hand_is_replaced() {
    let events = collection(EVENTS, &Retention::default());
    let mut found = as_created(&events);
    found.options.insert("validationAction", "warn");
    assert_eq!(
        changes(&events, &found),
        [
            "repair   validator of access_events: it has level strict and action warn instead of strict and error"
        ]
    );
    found.options.insert("validator", doc! { "n": 1 });
    assert_eq!(changes(&events, &found), ["repair   validator of access_events: it is another"]);
    found.options.remove("validator");
    assert_eq!(changes(&events, &found), ["repair   validator of access_events: there is none"]);
}

#[test]
fn a_wrong_index_is_made_anew_and_a_foreign_one_left_alone() {
    let rollups = collection("access_rollups_1m", &Retention::default());
    let mut found = as_created(&rollups);
    found.indexes[1] = doc! { "key": { "ts": -1 }, "name": "ts_1", "unique": true };
    found.indexes.push(doc! { "key": { "city": 1 }, "name": "city_1" });
    assert_eq!(
        changes(&rollups, &found),
        [
            r#"repair   index ts_1 of access_rollups_1m: it is on { "ts": -1 }, unique"#,
            "foreign  index city_1 of access_rollups_1m: not ours, left alone"
        ]
    );
}

#[test]
fn what_cannot_be_changed_in_place_is_told() {
    let events = collection(EVENTS, &Retention::default());
    let mut found = as_created(&events);
    found.options.remove("clusteredIndex");
    found.options.remove("storageEngine");
    let told = changes(&events, &found);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("differs  collection access_events: it is not clustered by _id; "),
        "{told:?}"
    );
}

#[test]
fn what_is_no_collection_is_told() {
    let events = collection(EVENTS, &Retention::default());
    let told = |kind: &str, options| {
        changes(&events, &Found { kind: kind.to_owned(), options, indexes: Vec::new() })
    };
    let rest = "which the pipeline cannot use: rename it, or use another --database";
    let is_a = |kind: &str| [format!("differs  collection access_events: it is a {kind}, {rest}")];
    assert_eq!(told("view", doc! { "viewOn": "x" }), is_a("view"));
    assert_eq!(told("timeseries", doc! {}), is_a("timeseries"));
    assert_eq!(told(COLLECTION, doc! { "capped": true }), is_a("capped collection"));
}

#[test]
fn retention_begins_and_ends_only_when_it_is_mended() {
    let forever = collection(EVENTS, &Retention::default());
    let month = collection(EVENTS, &Retention { events_days: NonZeroU32::new(30), ..Retention::default() });
    let begins = compare(&month, Some(&as_created(&forever)));
    let begins = begins.iter().find(|step| step.change != Change::Keep).expect("a step");
    assert_eq!(
        begins.to_string(),
        "repair   index ts_1 of access_events: documents older than 30 days will be DELETED"
    );
    assert!(begins.commands(false).is_empty());
    assert_eq!(begins.commands(true).len(), 1);
    assert_eq!(
        changes(&forever, &as_created(&month)),
        ["repair   index ts_1 of access_events: documents go after 30 days, and should stay"]
    );
    let minutes = |days| {
        collection(
            "access_rollups_1m",
            &Retention { minutes_days: NonZeroU32::new(days), ..Retention::default() },
        )
    };
    assert_eq!(
        changes(&minutes(0), &as_created(&minutes(7))),
        ["repair   index ts_1 of access_rollups_1m: documents go, and should stay"]
    );
    assert_eq!(
        changes(&minutes(8), &as_created(&minutes(7))),
        ["repair   index ts_1 of access_rollups_1m: documents older than 8 days will be DELETED"]
    );
}
