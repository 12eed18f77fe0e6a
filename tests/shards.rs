//! The sharding of a database on real shards: a config server and mongods.
//! There is no mongos among them, so the commands are translated into those that a mongos would send; what
//! comes of them is asked of the servers. With a mongos on PATH the command itself is run against it.

mod cluster;

use std::collections::BTreeSet;

use mongodb::bson::{Bson, Document, doc};
use sink::schema::daily::Parts;
use sink::schema::plan::{self, Change, Plan, Step};
use sink::schema::sharding::{self, Found, Newest, Wanted, Zone, Zones};
use sink::schema::{EVENTS, EventsBy, REJECTS, Retention};

use self::cluster::ShardedCluster;
use crate::support::{run, streampulse};

const PARTITIONS: u32 = 4;

fn wanted(zones: &Zones) -> Wanted<'_> {
    Wanted { database: "sharded", zones, partitions: PARTITIONS, epoch: 0, events: Parts::one() }
}

/// Does the steps on the servers and on the model of them.
async fn carry_out(cluster: &ShardedCluster, model: &mut Found, steps: &[Step]) -> usize {
    let commands: Vec<&Document> = steps.iter().flat_map(|step| step.commands(true)).collect();
    for command in &commands {
        cluster.run(command).await;
        model.apply(command);
    }
    commands.len()
}

async fn layout(
    cluster: &ShardedCluster,
    model: &mut Found,
    wanted: &Wanted<'_>,
    newest: &Newest,
) -> Vec<Step> {
    let mut all = Vec::new();
    for collection in wanted.laid_out() {
        let found = cluster.found().await;
        let steps = sharding::layout(
            &found,
            wanted,
            collection,
            &sharding::assign(&found, wanted, collection, newest),
        );
        carry_out(cluster, model, &steps).await;
        all.extend(steps.into_iter().filter(|step| step.change != Change::Keep));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn real_shards_become_what_the_definitions_say() {
    let cluster = ShardedCluster::start(3).await;
    let zone = Zone { number: 1, countries: vec!["DE".to_owned()], shards: vec!["shard1".to_owned()] };
    let zones = Zones::from([("EU".to_owned(), zone)]);
    let wanted = wanted(&zones);

    // The collections first, as `mongodb init` does, on the database's primary shard.
    let primary = cluster.shard("shard0");
    let retention = Retention { events_days: 30.try_into().ok(), ..Retention::default() };
    let steps = plan::plan(&primary, &retention).await.expect("a plan").steps;
    plan::apply(&primary, &steps, true).await.expect("collections");
    let mut model = cluster.found().await;
    let steps = sharding::define(&model, &wanted);
    assert_eq!(carry_out(&cluster, &mut model, &steps).await, 14, "zone, ranges, collections: {steps:#?}");
    let found = cluster.found().await;
    assert!(sharding::define(&found, &wanted).iter().all(|step| step.change == Change::Keep));
    assert_eq!(found.ranges.len(), 4, "{:?}", found.ranges);
    let names: BTreeSet<&String> = found.collections.keys().collect();
    assert_eq!(names, model.collections.keys().collect());
    for (name, sharded) in &found.collections {
        let bounds = |sharded: &sharding::Sharded| -> Vec<(Bson, Bson)> {
            sharded.chunks.iter().map(|chunk| (chunk.min.clone(), chunk.max.clone())).collect()
        };
        assert_eq!(bounds(sharded), bounds(&model.collections[name]), "the first chunks of {name}");
    }

    // From here on the model has to say exactly what the servers do.
    model = found;
    let moved = layout(&cluster, &mut model, &wanted, &Newest::new()).await;
    assert!(!moved.is_empty());
    assert_eq!(cluster.found().await, model);
    assert_eq!(layout(&cluster, &mut model, &wanted, &Newest::new()).await, []);
    let shard_of =
        |found: &Found, id: i64| found.collections["sharded.access_events"].shard_of(id).map(str::to_owned);
    let id = |zone: i64, partition: i64, offset: i64| zone << 58 | partition << 41 | offset;
    assert!((0..4).all(|partition| shard_of(&model, id(1, partition, 5)).as_deref() == Some("shard1")));
    let others: Vec<_> = (0..4).filter_map(|partition| shard_of(&model, id(0, partition, 5))).collect();
    let taken_by = |name: &str| others.iter().filter(|shard| *shard == name).count();
    assert_eq!([taken_by("shard0"), taken_by("shard2")], [2, 2], "{others:?}");

    // A move takes options, validators and indexes along: each shard has what a single server would have.
    let there = cluster.shard("shard1");
    let steps = plan::plan(&there, &retention).await.expect("a plan").steps;
    let of_events = steps.iter().filter(|step| step.what.contains(EVENTS));
    let changes: Vec<_> = of_events.map(|step| (step.what.as_str(), &step.change)).collect();
    assert_eq!(changes.len(), 3, "collection, validator, index: {changes:?}");
    assert!(changes.iter().all(|(_, change)| **change == Change::Keep), "{changes:?}");
    let wrong = there.collection(EVENTS).insert_one(doc! { "_id": id(1, 0, 0), "ts": 5 }).await;
    assert!(wrong.expect_err("no event").to_string().contains("Document failed validation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_joins_takes_coming_events_and_no_stored_one() {
    let mut cluster = ShardedCluster::start(2).await;
    let zones = Zones::new();
    let wanted = wanted(&zones);
    cluster.run(&doc! { "create": EVENTS, "clusteredIndex": { "key": { "_id": 1 }, "unique": true } }).await;
    let mut model = cluster.found().await;
    let steps = sharding::define(&model, &wanted);
    carry_out(&cluster, &mut model, &steps).await;
    model = cluster.found().await;
    layout(&cluster, &mut model, &wanted, &Newest::new()).await;
    assert_eq!(cluster.found().await, model);
    let mut newest = Newest::new();
    for partition in 0..PARTITIONS {
        let first = i64::from(partition) << 41;
        let shard = model.collections["sharded.access_events"].shard_of(first).expect("a shard").to_owned();
        let documents: Vec<Document> = (0..100).map(|offset| doc! { "_id": first + offset }).collect();
        cluster.shard(&shard).collection(EVENTS).insert_many(documents).await.expect("stored");
        let found = sharding::newest(&cluster.shard(&shard), &wanted, EVENTS).await.expect("ids");
        assert_eq!(found[&(0, partition)], 99);
        newest.insert((0, partition), 99);
    }
    let stored = cluster.count_by_shard(EVENTS).await;
    assert_eq!(stored, [200, 200]);

    cluster.add_shard().await;
    model = cluster.found().await;
    let moved = layout(&cluster, &mut model, &wanted, &newest).await;
    let repaired = |step: &&Step| step.what.contains(EVENTS) && matches!(step.change, Change::Repair { .. });
    assert_eq!(moved.iter().filter(repaired).count(), 1, "one of four partitions: {moved:#?}");
    assert_eq!(cluster.found().await, model);
    assert_eq!(cluster.count_by_shard(EVENTS).await, [200, 200, 0]);
    assert_eq!(layout(&cluster, &mut model, &wanted, &newest).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_day_lies_on_the_shards_before_anything_happens_on_it() {
    let cluster = ShardedCluster::start(2).await;
    let zones = Zones::new();
    let primary = cluster.shard("shard0");
    let retention =
        Retention { events_days: 30.try_into().ok(), events_by: EventsBy::Drop, ..Retention::default() };
    let Plan { steps, events } = plan::plan(&primary, &retention).await.expect("a plan");
    plan::apply(&primary, &steps, false).await.expect("collections and the view");
    let wanted = Wanted { events, ..wanted(&zones) };
    let mut model = cluster.found().await;
    let steps = sharding::define(&model, &wanted);
    carry_out(&cluster, &mut model, &steps).await;
    model = cluster.found().await;
    assert_eq!(model.collections.len(), 9 + 8, "other, eight days and what is beside events");
    layout(&cluster, &mut model, &wanted, &Newest::new()).await;
    assert_eq!(cluster.found().await, model);
    assert_eq!(layout(&cluster, &mut model, &wanted, &Newest::new()).await, []);
    for day in &wanted.events.coming {
        let owners: BTreeSet<&str> = (0..i64::from(PARTITIONS))
            .filter_map(|partition| model.collections[&wanted.namespace(day)].shard_of(partition << 41))
            .collect();
        assert_eq!(owners.len(), 2, "{day} lies on {owners:?}");
    }
}

/// Runs where there is a mongos; `cargo xtask test` says where there is none.
#[tokio::test(flavor = "multi_thread")]
async fn through_a_mongos_everything_is_spread_and_counted_once() {
    let cluster = ShardedCluster::start(2).await;
    let Some(mongos) = cluster.start_mongos() else { return };
    let uri = &mongos.uri;
    let dir = tempfile::tempdir().expect("a folder");
    let config = "[mongodb.zones.EU]\nnumber = 1\ncountries = [\"DE\", \"FR\", \"PT\"]\nshards = [\"shard1\"]\n\
                  [topics.access-logs]\npartitions = 4\n";
    std::fs::write(dir.path().join("fluvio.toml"), config).expect("a file");
    let place = format!("--mongodb-uri {uri} --database sharded");
    let init = |code| {
        let output = run(streampulse(dir.path(), &format!("mongodb init --sharded {place}")), code);
        String::from_utf8(output.stdout).expect("text")
    };
    init(0);
    assert!(init(0).ends_with("\n0 done\n"));
    let traffic = "--events 20000 --rate 100000 --seed 5 --malformed 0.01";
    run(streampulse(dir.path(), &format!("up --until-drained --data-dir d {traffic} {place}")), 0);
    let database = mongodb::Client::with_uri_str(uri).await.expect("a client").database("sharded");
    let count = async |name: &str| {
        database.collection::<Document>(name).count_documents(doc! {}).await.expect("a count")
    };
    let events = count(EVENTS).await;
    assert_eq!(events + count(REJECTS).await, 20_000);
    let sum = [doc! { "$group": { "_id": null, "n": { "$sum": "$n" } } }];
    let mut sums = database.collection::<Document>("access_rollups_1d").aggregate(sum).await.expect("a sum");
    assert!(sums.advance().await.expect("a document"));
    assert_eq!(sums.deserialize_current().expect("BSON").get_i64("n").ok(), i64::try_from(events).ok());
    let shards = run(streampulse(dir.path(), &format!("mongodb shards --for 100ms {place}")), 0);
    assert!(String::from_utf8(shards.stdout).expect("text").contains("Nothing stands out."));
}

#[test]
fn a_server_that_is_no_mongos_is_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    for command in ["mongodb init --sharded", "mongodb shards"] {
        let args = format!("{command} --mongodb-uri {}", crate::support::mongodb_uri());
        let refused = run(streampulse(dir.path(), &args), 2);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("this server is no mongos"), "{refused:?}");
        assert!(refused.stdout.is_empty(), "nothing was begun");
    }
}
