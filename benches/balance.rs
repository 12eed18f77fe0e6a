//! `cargo xtask bench balance`: how the events of each zone would spread over 2, 8 and 64 shards, by the
//! ranges that `mongodb init --sharded` makes, the partitions that the producer chooses and synthetic traffic
//! of a day; and the same with ten times the viewers in a tenth of the time. It ends with an error where the
//! promise of docs/mongodb.md does not hold. `STREAMPULSE_BENCH_EVENTS=1000000` takes another number.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use domain::event_id::{EventId, Source};
use domain::normalize::{Normalizer, Outcome};
use domain::params::{FilterMapSettings, Params};
use producer::pace::Backfill;
use producer::publish::partition_of;
use producer::{Generator, GeneratorConfig};
use sink::schema::EVENTS;
use sink::schema::daily::Parts;
use sink::schema::sharding::{
    Found, Newest, Shard, Wanted, Zone, Zones, assign, countries_by_number, define, layout,
};

const EVENTS_DEFAULT: &str = "10000000";
/// Viewers today.
const USERS: u32 = 2_000_000;
const GROWTH: u32 = 10;
const START_MS: i64 = 1_793_491_200_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Shards and partitions; of each number of shards some that the partitions are no multiple of.
const CASES: [(usize, u32); 12] = [
    (2, 2),
    (2, 3),
    (2, 16),
    (8, 8),
    (8, 12),
    (8, 16),
    (8, 64),
    (64, 64),
    (64, 96),
    (64, 128),
    (64, 256),
    (64, 512),
];
/// A shard of eight has at most this many times the mean, where partitions are a multiple of shards.
const TIMES_MEAN_MAX: f64 = 1.10;
/// And at most this share of a minute's writes.
const MINUTE_SHARE_MAX: f64 = 0.20;
/// A minute with fewer events in a zone tells little about it.
const MINUTE_EVENTS_MIN: u32 = 500;
/// Continents of the synthetic traffic, about a third of it each.
const ZONES: [(&str, u8, &[&str]); 2] = [
    ("EU", 1, &["PT", "ES", "FR", "DE", "IT", "NL", "PL", "SE"]),
    ("LATAM", 2, &["BR", "MX", "AR", "CO", "CL", "PE"]),
];

/// An event: in which zone, and what decides on its partition.
struct Drawn {
    zone: u8,
    minute: u32,
    user: Vec<u8>,
}

fn main() -> Result<()> {
    let events = std::env::var("STREAMPULSE_BENCH_EVENTS").unwrap_or_else(|_| EVENTS_DEFAULT.to_owned());
    let events: u32 = events.parse().context("STREAMPULSE_BENCH_EVENTS is no number")?;
    println!(
        "Largest shard as times the mean, and the largest share of a minute's writes that one shard takes:"
    );
    let mut broken = Vec::new();
    for (growth, title) in [(1, "a day"), (GROWTH, "ten times the viewers, a tenth of a day")] {
        println!("\n## {events} events, {title}\n");
        println!("| shards | partitions | multiple | other | EU | LATAM | all |");
        println!("|---|---|---|---|---|---|---|");
        let counts = count(events, growth)?;
        for (case, counts) in CASES.iter().zip(counts) {
            show(*case, &spread(*case, &counts)?, &mut broken);
        }
    }
    ensure!(broken.is_empty(), "the promise does not hold: {broken:?}");
    Ok(())
}

/// Events by zone, minute and partition, of one number of partitions.
type Counts = BTreeMap<(u8, u32), Vec<u32>>;

fn count(events: u32, growth: u32) -> Result<Vec<Counts>> {
    let zones = countries_by_number(&zones(1)).map_err(anyhow::Error::msg)?;
    let params = Params::from([("zones".to_owned(), serde_json::to_string(&zones)?)]);
    let settings = FilterMapSettings::parse(&params).map_err(anyhow::Error::msg)?;
    let span_ms = DAY_MS / i64::from(growth);
    let rate = f64::from(events) / (span_ms as f64 / 1e3);
    let users = USERS * growth;
    let mut generator = Generator::new(GeneratorConfig { seed: 3, users, ..GeneratorConfig::default() });
    let mut counts = vec![Counts::new(); CASES.len()];
    let mut line = Vec::new();
    // Until all are there: the rate is a mean over a week.
    for now_ms in Backfill::new(START_MS, START_MS + 10 * span_ms, rate, 3).take(events as usize) {
        line.clear();
        generator.next_line(now_ms, &mut line);
        let Some(drawn) = draw(&settings, &line, now_ms) else { continue };
        for ((_, partitions), counts) in CASES.iter().zip(&mut counts) {
            let partition = partition_of(&drawn.user, *partitions as usize);
            let of_minute = counts.entry((drawn.zone, drawn.minute));
            of_minute.or_insert_with(|| vec![0; *partitions as usize])[partition] += 1;
        }
    }
    Ok(counts)
}

/// `None` for a line that is no event.
fn draw(settings: &FilterMapSettings, line: &[u8], now_ms: i64) -> Option<Drawn> {
    match Normalizer::normalize(&settings.normalizer, line) {
        Outcome::Accepted(event) => Some(Drawn {
            zone: settings.zones.of(&event.country),
            // Writes come when a line does, whatever its event time.
            minute: u32::try_from(now_ms / 60_000).expect("a minute of this century"),
            user: event.user_id.as_bytes().to_vec(),
        }),
        Outcome::Rejected(_) => None,
    }
}

/// Of a zone (or all, `None`): the largest shard against the mean, and the largest share of a minute.
type Spread = BTreeMap<Option<u8>, (f64, f64)>;

fn spread((shards, partitions): (usize, u32), counts: &Counts) -> Result<Spread> {
    let zones = zones(shards);
    let wanted = Wanted { database: "p", zones: &zones, partitions, epoch: 0, events: Parts::one() };
    let names = (0..shards).map(|shard| (shard_name(shard), Shard::default()));
    let mut found = Found { shards: names.collect(), ..Found::default() };
    for step in define(&found, &wanted) {
        step.commands(true).iter().for_each(|command| found.apply(command));
    }
    let assignments = assign(&found, &wanted, EVENTS, &Newest::new());
    for step in layout(&found, &wanted, EVENTS, &assignments) {
        step.commands(true).iter().for_each(|command| found.apply(command));
    }
    let events = &found.collections["p.access_events"];
    let mut totals = BTreeMap::<Option<u8>, BTreeMap<&str, u64>>::new();
    let mut minutes = BTreeMap::<(Option<u8>, u32), BTreeMap<&str, u32>>::new();
    for ((zone, minute), by_partition) in counts {
        for (partition, n) in (0..).zip(by_partition) {
            let source = Source::new(0, partition).context("a partition")?;
            let id = EventId::new(u32::from(*zone), source, 0).context("an id")?;
            let shard = events.shard_of(id.get()).context("every id lies somewhere")?;
            for of in [Some(*zone), None] {
                *totals.entry(of).or_default().entry(shard).or_default() += u64::from(*n);
                *minutes.entry((of, *minute)).or_default().entry(shard).or_default() += n;
            }
        }
    }
    let mut spread = Spread::new();
    for (zone, by_shard) in totals {
        let mean = by_shard.values().sum::<u64>() as f64 / shards as f64;
        let largest = by_shard.values().max().copied().unwrap_or(0) as f64 / mean;
        let of_zone = minutes.iter().filter(|((of, _), _)| *of == zone).map(|(_, by_shard)| by_shard);
        let share = |by_shard: &BTreeMap<&str, u32>| {
            let n: u32 = by_shard.values().sum();
            let most = by_shard.values().max().copied().unwrap_or(0);
            if n < MINUTE_EVENTS_MIN { 0.0 } else { f64::from(most) / f64::from(n) }
        };
        spread.insert(zone, (largest, of_zone.map(share).fold(0.0, f64::max)));
    }
    Ok(spread)
}

fn show((shards, partitions): (usize, u32), spread: &Spread, broken: &mut Vec<String>) {
    let is_multiple = (partitions as usize).is_multiple_of(shards);
    let mut row = format!("| {shards} | {partitions} | {} |", if is_multiple { "yes" } else { "no" });
    for zone in [Some(0), Some(1), Some(2), None] {
        let (times, share) = spread.get(&zone).copied().unwrap_or_default();
        let share_text = if share > 0.0 { format!("{:.1}%", 100.0 * share) } else { "-".to_owned() };
        row += &format!(" {times:.2}, {share_text} |");
        if shards == 8 && is_multiple && (times > TIMES_MEAN_MAX || share > MINUTE_SHARE_MAX) {
            broken.push(format!("8 shards, {partitions} partitions, zone {zone:?}: {times:.3}, {share:.3}"));
        }
    }
    println!("{row}");
}

fn shard_name(shard: usize) -> String {
    format!("shard{shard:02}")
}

/// Every zone on all shards.
fn zones(shards: usize) -> Zones {
    let shards: Vec<String> = (0..shards).map(shard_name).collect();
    let zone = |(name, number, countries): &(&str, u8, &[&str])| {
        let countries = countries.iter().map(|country| (*country).to_owned()).collect();
        ((*name).to_owned(), Zone { number: *number, countries, shards: shards.clone() })
    };
    ZONES.iter().map(zone).collect()
}
