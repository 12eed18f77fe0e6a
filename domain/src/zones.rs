//! Zones: countries whose data stay together, e.g. on the shards of one jurisdiction. The zone of an event is
//! a function of its country, and the first thing in its `_id`, so a zone is a range of `_id`.

use std::collections::{BTreeMap, BTreeSet};

use crate::event_id::ZONES_MAX;

/// The zone of every country that no other zone names.
pub const ZONE_OTHER: u8 = 0;

/// Which country lies in which zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zones(BTreeMap<[u8; 2], u8>);

impl Zones {
    /// Countries (ISO 3166-1 alpha-2) by the number of their zone.
    ///
    /// # Errors
    /// When a number is not 1 to 31, a country is none, or lies in two zones.
    pub fn new(countries_by_number: &BTreeMap<u8, Vec<String>>) -> Result<Self, String> {
        let mut zones = BTreeMap::new();
        for (&number, countries) in countries_by_number {
            if number == ZONE_OTHER || u32::from(number) >= ZONES_MAX {
                return Err(format!("a zone has number {number}, must be 1 to {}", ZONES_MAX - 1));
            }
            for country in countries {
                let code = all_countries()
                    .find(|code| code == country.as_bytes())
                    .ok_or_else(|| format!("{country:?} is not a country of ISO 3166-1 alpha-2"))?;
                if let Some(other) = zones.insert(code, number).filter(|other| *other != number) {
                    return Err(format!("country {country} lies in zones {other} and {number}"));
                }
            }
        }
        Ok(Self(zones))
    }

    /// The zone of a country.
    pub fn of(&self, country: &[u8; 2]) -> u8 {
        self.0.get(country).copied().unwrap_or(ZONE_OTHER)
    }

    /// The numbers of all zones.
    pub fn numbers(&self) -> BTreeSet<u8> {
        self.0.values().copied().chain([ZONE_OTHER]).collect()
    }
}

/// All countries of ISO 3166-1, by their two letters.
pub(crate) fn all_countries() -> impl Iterator<Item = [u8; 2]> {
    let letters = |country: &isocountry::CountryCode| country.alpha2().as_bytes().try_into();
    isocountry::CountryCode::iter().map(move |country| letters(country).expect("two letters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(number: u8, countries: &[&str]) -> Result<Zones, String> {
        Zones::new(&BTreeMap::from([
            (1, vec!["DE".to_owned()]),
            (number, countries.iter().map(|country| (*country).to_owned()).collect()),
        ]))
    }

    #[test]
    fn a_country_lies_in_one_zone_and_the_rest_in_zone_0() {
        let zones = zones(31, &["BR", "AR"]).expect("valid");
        assert_eq!([b"DE", b"BR", b"AR", b"US"].map(|country| zones.of(country)), [1, 31, 31, ZONE_OTHER]);
        assert_eq!(zones.numbers(), BTreeSet::from([0, 1, 31]));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |number, countries: &[&str]| zones(number, countries).expect_err("wrong");
        assert_eq!(refused(0, &["BR"]), "a zone has number 0, must be 1 to 31");
        assert_eq!(refused(32, &["BR"]), "a zone has number 32, must be 1 to 31");
        assert_eq!(refused(2, &["XX"]), "\"XX\" is not a country of ISO 3166-1 alpha-2");
        assert_eq!(refused(2, &["DE"]), "country DE lies in zones 1 and 2");
    }
}
