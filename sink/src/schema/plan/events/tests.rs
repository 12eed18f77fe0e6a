//! A database that has a collection a day, from the first start to the first drop.

use expect_test::expect;

use super::*;
use crate::schema::definition::DAY_S;

/// 2026-11-26, noon.
const NOON_MS: i64 = 1_795_694_400_000;
const DAY_MS: i64 = DAY_S * 1_000;

fn by_drop(days: u32) -> Retention {
    Retention { events_days: NonZeroU32::new(days), events_by: EventsBy::Drop, ..Retention::default() }
}

/// What a server makes of the commands that are used here.
fn run(found: &mut BTreeMap<String, Found>, command: &Document) {
    let (verb, name) = command.iter().next().expect("a command");
    let name = name.as_str().expect("a name").to_owned();
    let there = found.entry(name.clone()).or_default();
    let mut options = command.clone();
    options.remove(verb);
    match verb.as_str() {
        "create" => {
            let kind = if options.contains_key("viewOn") { "view" } else { COLLECTION };
            *there = Found { kind: kind.to_owned(), options, indexes: Vec::new() };
        }
        "createIndexes" => {
            let indexes = command.get_array("indexes").expect("indexes").iter();
            there.indexes.extend(indexes.filter_map(|index| index.as_document().cloned()));
        }
        "collMod" if options.contains_key("viewOn") => there.options = options,
        "drop" => drop(found.remove(&name)),
        _ => panic!("{command}"),
    }
}

/// Does what is to be done, and gives what was shown, without what is kept.
fn carry_out(
    retention: &Retention,
    found: &mut BTreeMap<String, Found>,
    now_ms: i64,
    repair: bool,
) -> Vec<String> {
    let (steps, _) = steps(retention, found, now_ms);
    steps.iter().flat_map(|step| step.commands(repair)).for_each(|command| run(found, command));
    steps.iter().filter(|step| step.change != Change::Keep).map(ToString::to_string).collect()
}

#[test]
fn days_are_made_ahead_and_dropped_only_when_asked() {
    let (retention, mut found) = (by_drop(2), BTreeMap::new());
    let made = carry_out(&retention, &mut found, NOON_MS, false);
    expect![[r"
        create   collection access_events_other
        create   index ts_1 of access_events_other
        create   collection access_events_20261126
        create   collection access_events_20261127
        create   collection access_events_20261128
        create   collection access_events_20261129
        create   collection access_events_20261130
        create   collection access_events_20261201
        create   collection access_events_20261202
        create   collection access_events_20261203
        create   view access_events of 8 days"]]
    .assert_eq(&made.join("\n"));
    assert!(are_daily(&found));
    assert_eq!(carry_out(&retention, &mut found, NOON_MS, false), [""; 0]);

    // A day later there is one more, which the view shows without asking.
    let made = carry_out(&retention, &mut found, NOON_MS + DAY_MS, false);
    assert_eq!(made, ["create   collection access_events_20261204", "create   view access_events of 9 days"]);

    // On the fifth day the first two are over: what happened on them was too old two days ago.
    let now_ms = NOON_MS + 5 * DAY_MS;
    carry_out(&retention, &mut found, now_ms, false);
    let over = "repair   collections of 2 days, access_events_20261126 to access_events_20261127: all events \
                are older than 2 days and will be DELETED";
    assert_eq!(carry_out(&retention, &mut found, now_ms, false), [over]);
    assert_eq!(carry_out(&retention, &mut found, now_ms, true), [over]);
    assert_eq!(carry_out(&retention, &mut found, now_ms, true), [""; 0], "the view was set, too");
    assert!(!found.contains_key("access_events_20261127") && found.contains_key("access_events_20261128"));
}

#[test]
fn what_is_there_decides_how_events_lie() {
    let mut found = BTreeMap::new();
    carry_out(&Retention::default(), &mut found, NOON_MS, false);
    let (one, parts) = steps(&by_drop(30), &found, NOON_MS);
    assert_eq!((one.len(), parts), (1, Parts::one()));
    assert!(matches!(one[0].change, Change::Differs(_)), "{}", one[0]);

    // Renamed, it holds what is of no day.
    let events = found.remove(EVENTS).expect("it was made");
    found.insert(OTHER.to_owned(), events);
    let mended = carry_out(&by_drop(30), &mut found, NOON_MS, true);
    let first = "repair   index ts_1 of access_events_other: documents older than 30 days will be DELETED";
    assert_eq!((mended.len(), mended[0].as_str()), (10, first));
    assert_eq!(carry_out(&by_drop(30), &mut found, NOON_MS, true), [""; 0]);

    // And back: what is there is not touched, and no day is dropped.
    let forever = Retention::default();
    let later = NOON_MS + 1_000 * DAY_MS;
    let told = carry_out(&forever, &mut found, later, false).join("\n");
    assert!(told.contains("differs  view access_events of 16 days: it has a collection a day"), "{told}");
    assert!(!told.contains("DELETED"), "{told}");
}

#[test]
fn a_view_that_somebody_changed_is_mended_only_when_asked() {
    let (retention, mut found) = (by_drop(2), BTreeMap::new());
    carry_out(&retention, &mut found, NOON_MS, false);
    let stages = found.get_mut(EVENTS).and_then(|view| view.options.get_array_mut("pipeline").ok());
    stages.expect("the view").push(doc! { "$match": { "country": "BR" } }.into());
    let changed = ["repair   view access_events of 8 days: it is another"];
    assert_eq!(carry_out(&retention, &mut found, NOON_MS, false), changed);
    assert_eq!(carry_out(&retention, &mut found, NOON_MS, true), changed);
    assert_eq!(carry_out(&retention, &mut found, NOON_MS, true), [""; 0]);
}
