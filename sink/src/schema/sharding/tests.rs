//! The commands for clusters that are given, and what a model of the cluster makes of them.

use expect_test::expect;

use super::*;

fn cluster(shards: &[&str]) -> Found {
    let shards = shards.iter().map(|name| ((*name).to_owned(), Shard::default())).collect();
    Found { shards, ..Found::default() }
}

fn zone(number: u8, countries: &[&str], shards: &[&str]) -> Zone {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Zone { number, countries: owned(countries), shards: owned(shards) }
}

fn wanted(zones: &Zones, partitions: u32) -> Wanted<'_> {
    Wanted { database: "p", zones, partitions, epoch: 0, events: Parts::one() }
}

/// Does what is to be done, and gives what was shown.
fn carry_out(found: &mut Found, steps: &[Step]) -> Vec<String> {
    steps.iter().flat_map(|step| step.commands(true)).for_each(|command| found.apply(command));
    steps.iter().filter(|step| step.change != Change::Keep).map(ToString::to_string).collect()
}

fn spread(found: &mut Found, wanted: &Wanted, newest: &Newest) -> Vec<String> {
    let steps = layout(found, wanted, EVENTS, &assign(found, wanted, EVENTS, newest));
    carry_out(found, &steps)
}

fn ready(shards: &[&str], wanted: &Wanted) -> Found {
    let mut found = cluster(shards);
    let steps = define(&found, wanted);
    carry_out(&mut found, &steps);
    assert_eq!(carry_out(&mut found.clone(), &define(&found, wanted)), [""; 0], "done twice");
    found
}

/// How many partitions' coming events each shard takes.
fn taken(found: &Found, wanted: &Wanted, zone: u8) -> BTreeMap<String, u32> {
    let mut taken = BTreeMap::new();
    for partition in 0..wanted.partitions {
        let last = id(u32::from(zone), wanted.epoch, partition, OFFSETS_MAX - 1);
        let shard = found.collections["p.access_events"].shard_of(last).expect("every id lies somewhere");
        *taken.entry(shard.to_owned()).or_default() += 1;
    }
    taken
}

/// Steps with their commands.
fn shown(steps: &[Step]) -> String {
    let lines = steps.iter().flat_map(|step| {
        let commands = step.commands(true).iter().map(|command| format!("  {command}"));
        std::iter::once(step.to_string()).chain(commands)
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn all_collections_but_state_and_deliveries_are_sharded() {
    let collections = super::super::definition::collections(&super::super::Retention::default());
    let names: Vec<&str> = collections.iter().map(|collection| collection.name.as_str()).collect();
    let unsharded = [super::super::DELIVERIES, super::super::STATE];
    assert_eq!(names, [&BESIDE_EVENTS[..], &unsharded].concat());
}

#[test]
fn zones_and_shard_keys_are_golden() {
    let zones = Zones::from([("EU".to_owned(), zone(1, &["DE"], &["a"]))]);
    let steps = define(&cluster(&["a", "b"]), &wanted(&zones, 2));
    expect![[r#"
        create   zone EU on a
          { "addShardToZone": "a", "zone": "EU" }
        create   zone EU of p.access_events: 288230376151711744 to 576460752303423488
          { "updateZoneKeyRange": "p.access_events", "min": { "_id": 288230376151711744 }, "max": { "_id": 576460752303423488 }, "zone": "EU" }
        create   zone EU of p.access_rollups_1d: "1|" to "1}"
          { "updateZoneKeyRange": "p.access_rollups_1d", "min": { "_id": "1|" }, "max": { "_id": "1}" }, "zone": "EU" }
        create   zone EU of p.access_rollups_1h: "1|" to "1}"
          { "updateZoneKeyRange": "p.access_rollups_1h", "min": { "_id": "1|" }, "max": { "_id": "1}" }, "zone": "EU" }
        create   zone EU of p.access_rollups_1m: "1|" to "1}"
          { "updateZoneKeyRange": "p.access_rollups_1m", "min": { "_id": "1|" }, "max": { "_id": "1}" }, "zone": "EU" }
        create   database p
          { "enableSharding": "p" }
        create   shard key of access_events
          { "shardCollection": "p.access_events", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_rejects
          { "shardCollection": "p.access_rejects", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_rollups_1m
          { "shardCollection": "p.access_rollups_1m", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_rollups_1h
          { "shardCollection": "p.access_rollups_1h", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_rollups_1d
          { "shardCollection": "p.access_rollups_1d", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_minutes
          { "shardCollection": "p.access_minutes", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_users_1h
          { "shardCollection": "p.access_users_1h", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_users_1d
          { "shardCollection": "p.access_users_1d", "key": { "_id": 1 }, "unique": true }
        create   shard key of access_alerts
          { "shardCollection": "p.access_alerts", "key": { "_id": 1 }, "unique": true }"#]].assert_eq(&shown(&steps));
}

#[test]
fn moves_are_golden() {
    let zones = Zones::from([("EU".to_owned(), zone(1, &["DE"], &["a", "b"]))]);
    let wanted = wanted(&zones, 4);
    let found = ready(&["a", "b", "c"], &wanted);
    let steps = layout(&found, &wanted, EVENTS, &assign(&found, &wanted, EVENTS, &Newest::new()));
    expect![[r#"
        create   access_events of zone 0, epoch 0, partitions 0 to 3 on c
          { "moveRange": "p.access_events", "min": { "_id": 0 }, "max": { "_id": 8796093022208 }, "toShard": "c" }
        create   access_events of zone 0, epoch 1, partitions 0 to 3 on c
          { "moveRange": "p.access_events", "min": { "_id": 2251799813685248 }, "max": { "_id": 2260595906707456 }, "toShard": "c" }
        keep     access_events of zone 1, epoch 0, partitions 0 to 1 on b
        create   access_events of zone 1, epoch 0, partitions 2 to 3 on a
          { "moveRange": "p.access_events", "min": { "_id": 288234774198222848 }, "max": { "_id": 288239172244733952 }, "toShard": "a" }
        keep     access_events of zone 1, epoch 1, partitions 0 to 1 on b
        create   access_events of zone 1, epoch 1, partitions 2 to 3 on a
          { "moveRange": "p.access_events", "min": { "_id": 290486574011908096 }, "max": { "_id": 290490972058419200 }, "toShard": "a" }"#]].assert_eq(&shown(&steps));
}

#[test]
fn every_shard_gets_its_share_whatever_there_was() {
    let names: Vec<String> = (0..8).map(|shard| format!("s{shard}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let zones = Zones::new();
    for partitions in [1, 2, 7, 8, 64] {
        let wanted = wanted(&zones, partitions);
        let mut found = ready(&names[..1], &wanted);
        for shards in [1, 2, 3, 8] {
            found.shards = cluster(&names[..shards]).shards;
            spread(&mut found, &wanted, &Newest::new());
            assert_eq!(spread(&mut found, &wanted, &Newest::new()), [""; 0], "{partitions} on {shards}");
            let taken = taken(&found, &wanted, 0);
            let (share, shards) = (partitions / shards as u32, shards as u32);
            let larger = taken.values().filter(|taken| **taken == share + 1).count() as u32;
            assert!(taken.values().all(|taken| (share..=share + 1).contains(taken)), "{taken:?}");
            assert_eq!(larger, partitions % shards, "{taken:?}");
        }
    }
}

#[test]
fn a_cluster_that_grows_moves_no_stored_event() {
    let zones = Zones::new();
    let wanted = wanted(&zones, 8);
    let mut found = ready(&["a", "b"], &wanted);
    spread(&mut found, &wanted, &Newest::new());
    let stored: Vec<i64> = (0..8).map(|partition| id(0, 0, partition, 1_000)).collect();
    let before: Vec<_> = stored.iter().map(|id| found.collections["p.access_events"].shard_of(*id)).collect();
    let mut grown = found.clone();
    grown.shards.extend(cluster(&["c", "d"]).shards);
    let newest: Newest = (0..8).map(|partition| ((0, partition), 1_000)).collect();
    let shown = spread(&mut grown, &wanted, &newest);
    let repairs = shown.iter().filter(|step| step.starts_with("repair   access_events of zone 0, epoch 0"));
    assert_eq!(repairs.count(), 4, "{shown:#?}");
    let after: Vec<_> = stored.iter().map(|id| grown.collections["p.access_events"].shard_of(*id)).collect();
    assert_eq!(before, after);
    assert_eq!(taken(&grown, &wanted, 0).into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
    // What a balancer does with stored events is its own affair.
    let first = Bson::Int64(id(0, 0, 0, 0));
    let events = grown.collections.get_mut("p.access_events").expect("it is sharded");
    events.move_range(&first, &Bson::Int64(stored[0]), "b");
    assert_eq!(spread(&mut grown, &wanted, &newest), [""; 0]);
}

#[test]
fn a_zone_stays_on_its_shards_and_the_rest_away_from_them() {
    let zones = Zones::from([
        ("APAC".to_owned(), zone(2, &["JP"], &["c"])),
        ("EU".to_owned(), zone(1, &["DE"], &["a", "b"])),
    ]);
    let wanted = wanted(&zones, 4);
    let mut found = ready(&["a", "b", "c", "d"], &wanted);
    spread(&mut found, &wanted, &Newest::new());
    let of = |found: &Found, zone| taken(found, &wanted, zone).into_iter().collect::<Vec<_>>();
    let on = |shards: &[(&str, u32)]| shards.iter().map(|(s, n)| ((*s).to_owned(), *n)).collect::<Vec<_>>();
    assert_eq!(of(&found, 1), on(&[("a", 2), ("b", 2)]));
    assert_eq!(of(&found, 2), on(&[("c", 4)]));
    assert_eq!(of(&found, 0), on(&[("d", 4)]));
    // A shard that is being removed gets nothing more.
    found.shards.get_mut("a").expect("a shard").draining = true;
    spread(&mut found, &wanted, &Newest::new());
    assert_eq!(of(&found, 1), on(&[("b", 4)]));
}

#[test]
fn what_stands_in_the_way_is_told() {
    let zones = Zones::from([("EU".to_owned(), zone(1, &["DE"], &["x"]))]);
    let mut found = cluster(&["a"]);
    let told = |found: &Found, zones: &Zones| -> Vec<String> {
        let steps = define(found, &wanted(zones, 2));
        let is_finding = |step: &&Step| !matches!(step.change, Change::Keep | Change::Create(_));
        steps.iter().filter(is_finding).map(ToString::to_string).collect()
    };
    assert_eq!(
        told(&found, &zones),
        [
            "differs  zone EU on x: there is no such shard; there are a",
            "differs  zone EU: no shard carries it: name some in [mongodb.zones.EU]"
        ]
    );
    let key = doc! { "country": 1 };
    found.collections.insert("p.access_events".to_owned(), Sharded { key, chunks: Vec::new() });
    let range = ZoneRange { min: "1|".into(), max: "3|".into(), zone: "OLD".to_owned() };
    found.ranges.push(("p.access_rollups_1m".to_owned(), range));
    found.shards.get_mut("a").expect("a shard").zones.insert("EU".to_owned());
    let by_cluster = Zones::from([("EU".to_owned(), zone(1, &["DE"], &[]))]);
    assert_eq!(
        told(&found, &by_cluster),
        [
            r#"repair   zone OLD of p.access_rollups_1m: "1|" to "3|": it is not in [mongodb.zones]"#,
            r#"repair   zone EU of p.access_rollups_1m: "1|" to "1}": there lies zone OLD from "1|" to "3|""#,
            "differs  shard key of access_events: it is { \"country\": 1 }, not { \"_id\": 1 }; stop the pipeline and \
             reshard it (docs/mongodb.md)"
        ]
    );
}

#[test]
fn each_day_is_sharded_and_only_coming_ones_are_laid_out() {
    let zones = Zones::from([("EU".to_owned(), zone(1, &["DE"], &["b"]))]);
    let names = |names: &[&str]| names.iter().map(|name| format!("access_events_{name}")).collect();
    let all: Vec<String> = names(&["other", "20261125", "20261126"]);
    let events = Parts { coming: names(&["other", "20261126"]), all };
    let wanted = Wanted { events, ..wanted(&zones, 4) };
    let found = ready(&["a", "b"], &wanted);
    assert_eq!(found.collections.len(), 3 + 8);
    let of_zone = |name: &str| found.ranges.iter().filter(|(namespace, _)| namespace.ends_with(name)).count();
    assert_eq!(["other", "20261125", "20261126"].map(of_zone), [1, 1, 1]);
    let laid_out: Vec<&str> = wanted.laid_out().collect();
    assert_eq!(laid_out, ["access_events_other", "access_events_20261126", "access_rejects"]);
}
