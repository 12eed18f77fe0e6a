//! What holds at an instant: how much each city wants to watch at its local hour, and which incidents are on.
//! The tables are built once a simulated minute (and at each edge of an incident), so that drawing a line's
//! origin costs two binary searches and no time zone conversion.

use std::ops::Range;

use chrono::{DateTime, Offset, TimeZone};

use crate::incident::{Incident, IncidentKind};
use crate::profile::{COUNTRIES, PLACES, day_factor};

/// The earliest instant the producer knows, 2002-01-01: before it, epoch milliseconds look like seconds.
pub const NOW_MS_MIN: i64 = 1_009_843_200_000;
/// The latest instant the producer knows, the end of 2099: later lines would be rejected.
pub const NOW_MS_MAX: i64 = 4_102_444_799_999;

/// Where a line comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The usual viewers.
    Organic,
    /// A viral release, by the index of the incident.
    Viral(usize),
    /// A bot attack, by the index of the incident.
    Bot(usize),
}

/// The tables of the current minute.
#[derive(Clone)]
pub struct Conditions {
    incidents: Vec<Incident>,
    /// The instants for which the tables below hold.
    valid_ms: Range<i64>,
    offsets_valid_ms: Range<i64>,
    /// Minutes east of UTC, by place.
    offsets_minutes: Vec<i32>,
    /// Demand, served or not, summed up over the places; a mean week has a total of 1.
    places_cumulative: Vec<f64>,
    /// Places of each country.
    countries: Vec<Range<usize>>,
    /// Share of the demand that is lost, by country.
    lost: Vec<f64>,
    /// Sources in proportion to the undisturbed traffic of the platform, summed up.
    sources_cumulative: Vec<(f64, Source)>,
    rate_factor: f64,
}

impl Conditions {
    /// Nothing holds before the first [`Conditions::move_to`].
    pub fn new(incidents: Vec<Incident>) -> Conditions {
        let countries = (0..COUNTRIES.len())
            .map(|country| {
                let start = PLACES.partition_point(|place| place.country < country);
                start..PLACES.partition_point(|place| place.country <= country)
            })
            .collect();
        Conditions {
            incidents,
            valid_ms: 0..0,
            offsets_valid_ms: 0..0,
            offsets_minutes: vec![0; PLACES.len()],
            places_cumulative: vec![0.0; PLACES.len()],
            countries,
            lost: vec![0.0; COUNTRIES.len()],
            sources_cumulative: Vec::new(),
            rate_factor: 0.0,
        }
    }

    /// Makes the tables hold at `now_ms`, which is kept between [`NOW_MS_MIN`] and [`NOW_MS_MAX`].
    pub fn move_to(&mut self, now_ms: i64) {
        let now_ms = now_ms.clamp(NOW_MS_MIN, NOW_MS_MAX);
        if self.valid_ms.contains(&now_ms) {
            return;
        }
        self.valid_ms = self.span_around(now_ms);
        self.find_offsets(now_ms);
        self.find_lost(now_ms);
        self.find_demand(now_ms);
        self.find_sources(now_ms);
    }

    /// Whether the tables hold at `now_ms`.
    pub fn hold_at(&self, now_ms: i64) -> bool {
        self.valid_ms.contains(&now_ms)
    }

    /// The first instant at which the tables no longer hold.
    pub fn valid_until_ms(&self) -> i64 {
        self.valid_ms.end
    }

    pub fn incidents(&self) -> &[Incident] {
        &self.incidents
    }

    /// Undisturbed traffic against the mean of a week.
    pub fn volume_factor(&self) -> f64 {
        self.sum_before(PLACES.len())
    }

    /// What the incidents make of the undisturbed traffic: 1 if there are none.
    pub fn rate_factor(&self) -> f64 {
        self.rate_factor
    }

    /// Minutes east of UTC of a place.
    pub fn offset_minutes(&self, place: usize) -> i32 {
        self.offsets_minutes[place]
    }

    /// Share (0 to 1) of a place's traffic that an outage takes.
    pub fn lost_share(&self, place: usize) -> f64 {
        self.lost[PLACES[place].country]
    }

    /// The places of one country, or all.
    pub fn places_of(&self, country: Option<usize>) -> Range<usize> {
        country.map_or(0..PLACES.len(), |country| self.countries[country].clone())
    }

    /// The source at `x` (0 to below 1) of all that happens.
    pub fn source_at(&self, x: f64) -> Source {
        let total = self.sources_cumulative.last().map_or(0.0, |(sum, _)| *sum);
        let index = self.sources_cumulative.partition_point(|(sum, _)| *sum <= x * total);
        self.sources_cumulative.get(index).map_or(Source::Organic, |(_, source)| *source)
    }

    /// The place at `x` (0 to below 1) of the demand, of one country if given.
    pub fn place_at(&self, country: Option<usize>, x: f64) -> usize {
        let places = self.places_of(country);
        let before = self.sum_before(places.start);
        let wanted = before + x * (self.sum_before(places.end) - before);
        let last = places.end - 1;
        let cumulative = &self.places_cumulative[places.clone()];
        (places.start + cumulative.partition_point(|sum| *sum <= wanted)).min(last)
    }

    fn sum_before(&self, place: usize) -> f64 {
        place.checked_sub(1).map_or(0.0, |last| self.places_cumulative[last])
    }

    /// Traffic of a country that outages leave, against that of the undisturbed platform.
    fn served_share(&self, country: usize) -> f64 {
        let places = &self.countries[country];
        let demand = self.sum_before(places.end) - self.sum_before(places.start);
        demand / self.volume_factor() * (1.0 - self.lost[country])
    }

    fn span_around(&self, now_ms: i64) -> Range<i64> {
        let minute_ms = now_ms.div_euclid(60_000) * 60_000;
        let edges = self.incidents.iter().flat_map(|incident| [incident.start_ms, incident.end_ms()]);
        edges.fold(minute_ms..minute_ms + 60_000, |span, edge_ms| {
            if edge_ms <= now_ms {
                span.start.max(edge_ms)..span.end
            } else {
                span.start..span.end.min(edge_ms)
            }
        })
    }

    fn find_offsets(&mut self, now_ms: i64) {
        if self.offsets_valid_ms.contains(&now_ms) {
            return;
        }
        // Clocks are changed at full quarters of an hour of UTC everywhere.
        let quarter_ms = now_ms.div_euclid(900_000) * 900_000;
        self.offsets_valid_ms = quarter_ms..quarter_ms + 900_000;
        let now = DateTime::from_timestamp_millis(quarter_ms).expect("the instant was clamped").naive_utc();
        for (offset, place) in self.offsets_minutes.iter_mut().zip(PLACES.iter()) {
            *offset = place.city.zone.offset_from_utc_datetime(&now).fix().local_minus_utc() / 60;
        }
    }

    fn find_lost(&mut self, now_ms: i64) {
        self.lost.fill(0.0);
        for incident in self.incidents.iter().filter(|incident| incident.is_active(now_ms)) {
            if let (IncidentKind::RegionalOutage, Some(country)) = (incident.kind, incident.country_index()) {
                let served = (1.0 - self.lost[country]) * (1.0 - incident.intensity);
                self.lost[country] = 1.0 - served;
            }
        }
    }

    fn find_demand(&mut self, now_ms: i64) {
        // The epoch was a Thursday; weeks start on Monday.
        let minute_of_week = now_ms.div_euclid(60_000) + 3 * 24 * 60;
        let mut sum = 0.0;
        for (index, place) in PLACES.iter().enumerate() {
            let local = minute_of_week + i64::from(self.offsets_minutes[index]);
            sum += place.share * day_factor(local);
            self.places_cumulative[index] = sum;
        }
    }

    fn find_sources(&mut self, now_ms: i64) {
        let shares: Vec<f64> = (0..COUNTRIES.len()).map(|country| self.served_share(country)).collect();
        let organic = shares.iter().sum();
        let mut sum = organic;
        let mut drop = 1.0;
        self.sources_cumulative.clear();
        self.sources_cumulative.push((organic, Source::Organic));
        for (index, incident) in self.incidents.iter().enumerate() {
            if !incident.is_active(now_ms) {
                continue;
            }
            match incident.kind {
                IncidentKind::BotAttack => {
                    sum += incident.intensity;
                    self.sources_cumulative.push((sum, Source::Bot(index)));
                }
                IncidentKind::ViralRelease => {
                    let normal = incident.country_index().map_or(organic, |country| shares[country]);
                    sum += normal * incident.intensity;
                    self.sources_cumulative.push((sum, Source::Viral(index)));
                }
                IncidentKind::Drop => drop *= incident.intensity,
                IncidentKind::RegionalOutage => {}
            }
        }
        self.rate_factor = sum * drop;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Sunday 2026-11-22, 23:00 UTC: evening in Brazil, night in Europe, morning in Japan.
    const NOW_MS: i64 = 1_795_388_400_000;

    fn conditions(specs: &[&str], now_ms: i64) -> Conditions {
        let parse = |spec: &&str| Incident::parse(spec, NOW_MS).unwrap();
        let mut conditions = Conditions::new(specs.iter().map(parse).collect());
        conditions.move_to(now_ms);
        conditions
    }

    fn share(conditions: &Conditions, code: &str) -> f64 {
        let drawn = |x: u32| PLACES[conditions.place_at(None, f64::from(x) / 100_000.0)].country;
        let of_country = |x: &u32| COUNTRIES[drawn(*x)].code == code;
        (0..100_000).filter(of_country).count() as f64 / 100_000.0
    }

    #[test]
    fn countries_watch_in_their_own_evening() {
        let evening = conditions(&[], NOW_MS);
        let morning = conditions(&[], NOW_MS + 12 * 3_600_000);
        assert!(share(&evening, "BR") > 1.3 * share(&morning, "BR"));
        assert!(share(&morning, "JP") > 1.3 * share(&evening, "JP"));
        assert_eq!(evening.rate_factor(), 1.0);
    }

    #[test]
    fn offsets_follow_summer_time() {
        let new_york = PLACES.iter().position(|place| place.city.name == "New York").unwrap();
        assert_eq!(conditions(&[], NOW_MS).offset_minutes(new_york), -300);
        assert_eq!(conditions(&[], NOW_MS - 90 * 86_400_000).offset_minutes(new_york), -240);
    }

    #[test]
    fn incidents_change_the_rate_exactly_while_they_are_on() {
        let factor = |specs: &[&str], after_ms| conditions(specs, NOW_MS + after_ms).rate_factor();
        let bot = ["bot@+10s/5s*3"];
        assert_eq!(factor(&bot, 9_999), 1.0);
        assert_eq!(factor(&bot, 10_000), 4.0);
        assert_eq!(factor(&bot, 14_999), 4.0);
        assert_eq!(factor(&bot, 15_000), 1.0);
        assert_eq!(factor(&["viral@+0s/1m*2"], 0), 3.0);
        assert_eq!(factor(&["drop@+0s/1m*0.25"], 0), 0.25);
        assert_eq!(factor(&["drop@+0s/1m*0.5", "bot@+0s/1m*3"], 0), 2.0);
        let brazil = share(&conditions(&[], NOW_MS), "BR");
        assert!((factor(&["outage@+0s/1m:BR"], 0) - (1.0 - brazil)).abs() < 1e-3);
        assert!((factor(&["outage@+0s/1m*0.5:BR"], 0) - (1.0 - brazil / 2.0)).abs() < 1e-3);
        assert!((factor(&["viral@+0s/1m*2:BR"], 0) - (1.0 + brazil * 2.0)).abs() < 1e-3);
    }

    #[test]
    fn one_value_moves_through_the_edges_of_an_incident() {
        let mut moving = conditions(&["bot@+10s/5s*3"], NOW_MS + 9_000);
        let mut factors = Vec::new();
        for after_ms in [9_999, 10_000, 14_999, 15_000, 9_999] {
            moving.move_to(NOW_MS + after_ms);
            assert!(moving.hold_at(NOW_MS + after_ms));
            factors.push(moving.rate_factor());
        }
        assert_eq!(factors, [1.0, 4.0, 4.0, 1.0, 1.0]);
        assert_eq!(moving.valid_until_ms(), NOW_MS + 10_000);
    }

    #[test]
    fn outages_of_one_country_add_up_to_at_most_all() {
        let outages = conditions(&["outage@+0s/1m*0.5:BR", "outage@+0s/1m*0.5:BR"], NOW_MS);
        let lost = |code| outages.lost_share(outages.places_of(Some(country_of(code))).start);
        assert_eq!(["BR", "US"].map(lost), [0.75, 0.0]);
    }

    #[test]
    fn places_can_be_drawn_of_one_country() {
        let now = conditions(&[], NOW_MS);
        let japan = country_of("JP");
        assert!((0..100).all(|x| PLACES[now.place_at(Some(japan), f64::from(x) / 100.0)].country == japan));
    }

    #[test]
    fn any_instant_is_accepted() {
        for now_ms in [i64::MIN, -1, NOW_MS_MIN, NOW_MS_MAX, i64::MAX] {
            assert!(conditions(&[], now_ms).volume_factor() > 0.0);
        }
    }

    fn country_of(code: &str) -> usize {
        crate::profile::country_index(code).unwrap()
    }
}
