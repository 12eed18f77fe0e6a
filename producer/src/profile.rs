//! The world as data: where viewers live, what they hold in their hands, what they like and when they watch.
//! The numbers are invented but shaped like a platform whose home market is Brazil.
//! Nothing here is computed but the day curve, whose mean over a local week is exactly 1.

use std::sync::LazyLock;

use chrono_tz::{Africa, America, Asia, Australia, Europe, Pacific, Tz};

/// Canonical device names, in the order of [`Country::devices`].
pub const DEVICES: [&str; 6] = ["tv", "smartphone", "tablet", "desktop", "console", "other"];
/// Canonical content types, in the order of [`Country::contents`].
pub const CONTENTS: [&str; 6] = ["movie", "series", "documentary", "live", "short", "other"];

/// Percentages over six kinds; they add up to 100.
pub type Mix = [u8; 6];

/// A market: its share of the platform's traffic, its habits and its cities.
pub struct Country {
    /// ISO 3166-1 alpha-2.
    pub code: &'static str,
    /// Relative share of the traffic over a week; the weights of all countries add up to 100.
    pub weight: f64,
    pub devices: Mix,
    pub contents: Mix,
    pub cities: &'static [City],
}

/// A city; its weight is relative to the other cities of its country.
pub struct City {
    pub name: &'static str,
    pub zone: Tz,
    pub weight: f64,
}

/// A city in the flat list of all cities, with its share (0 to 1) of the traffic over a week.
pub struct Place {
    /// Index into [`COUNTRIES`].
    pub country: usize,
    pub city: &'static City,
    pub share: f64,
}

/// Every city of every country, in the order of [`COUNTRIES`]; the shares add up to 1.
pub static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let total: f64 = COUNTRIES.iter().map(|country| country.weight).sum();
    let mut places = Vec::new();
    for (index, country) in COUNTRIES.iter().enumerate() {
        let city_total: f64 = country.cities.iter().map(|city| city.weight).sum();
        places.extend(country.cities.iter().map(|city| Place {
            country: index,
            city,
            share: country.weight / total * city.weight / city_total,
        }));
    }
    places
});

/// Index into [`COUNTRIES`] of an upper-case ISO 3166-1 alpha-2 code, if viewers live there.
pub fn country_index(code: &str) -> Option<usize> {
    COUNTRIES.iter().position(|country| country.code == code)
}

/// Minutes in a week.
pub const WEEK_MINUTES: i64 = 7 * 24 * 60;

/// How busy a local minute is, against a mean of 1.0 over the local week.
/// Minutes count from Monday 00:00 local time and wrap around at [`WEEK_MINUTES`].
pub fn day_factor(minute_of_week: i64) -> f64 {
    let minute = minute_of_week.rem_euclid(WEEK_MINUTES) as usize;
    let hour = minute / 60;
    let from = hour_weight(hour);
    let to = hour_weight((hour + 1) % HOURS_PER_WEEK);
    (from + (to - from) * (minute % 60) as f64 / 60.0) / WEEK_MEAN
}

const HOURS_PER_WEEK: usize = 7 * 24;
const SATURDAY: usize = 5;

/// Activity at the start of each local hour: a small lunch peak and a tall one in the evening.
const WEEKDAY: [f64; 24] = [
    0.55, 0.32, 0.18, 0.12, 0.10, 0.13, 0.25, 0.42, 0.48, 0.50, 0.52, 0.62, //
    0.80, 0.78, 0.66, 0.66, 0.74, 0.92, 1.20, 1.60, 2.00, 2.15, 1.70, 1.05,
];
/// Saturday and Sunday: later nights, and people are at home in the afternoon.
const WEEKEND: [f64; 24] = [
    0.95, 0.65, 0.40, 0.24, 0.17, 0.15, 0.20, 0.34, 0.58, 0.85, 1.05, 1.15, //
    1.20, 1.25, 1.35, 1.40, 1.42, 1.45, 1.60, 1.85, 2.15, 2.25, 1.95, 1.45,
];

const fn hour_weight(hour_of_week: usize) -> f64 {
    let hour = hour_of_week % 24;
    if hour_of_week / 24 >= SATURDAY { WEEKEND[hour] } else { WEEKDAY[hour] }
}

// Linear steps between the hours keep the mean of the minutes equal to the mean of the hours.
const WEEK_MEAN: f64 = {
    let mut sum = 0.0;
    let mut hour = 0;
    while hour < HOURS_PER_WEEK {
        sum += hour_weight(hour);
        hour += 1;
    }
    sum / HOURS_PER_WEEK as f64
};

const fn country(
    code: &'static str,
    weight: f64,
    devices: Mix,
    contents: Mix,
    cities: &'static [City],
) -> Country {
    Country { code, weight, devices, contents, cities }
}

const fn city(name: &'static str, zone: Tz, weight: f64) -> City {
    City { name, zone, weight }
}

//                          tv phone tablet desktop console other
const DEVICES_BRAZIL: Mix = [38, 41, 4, 10, 5, 2];
const DEVICES_LATIN_AMERICA: Mix = [33, 45, 5, 11, 4, 2];
const DEVICES_NORTH_AMERICA: Mix = [52, 20, 8, 8, 10, 2];
const DEVICES_EUROPE: Mix = [44, 24, 9, 14, 7, 2];
const DEVICES_SOUTH_ASIA: Mix = [12, 71, 4, 9, 1, 3];
const DEVICES_EAST_ASIA: Mix = [30, 40, 9, 12, 8, 1];
const DEVICES_AFRICA: Mix = [14, 66, 4, 11, 1, 4];
const DEVICES_OCEANIA: Mix = [49, 22, 9, 10, 8, 2];

//                           movie series documentary live short other
const CONTENTS_BRAZIL: Mix = [24, 36, 5, 21, 11, 3];
const CONTENTS_LATIN_AMERICA: Mix = [27, 38, 4, 17, 11, 3];
const CONTENTS_NORTH_AMERICA: Mix = [29, 39, 9, 14, 7, 2];
const CONTENTS_EUROPE: Mix = [30, 36, 14, 12, 5, 3];
const CONTENTS_SOUTH_ASIA: Mix = [33, 18, 3, 22, 21, 3];
const CONTENTS_EAST_ASIA: Mix = [22, 47, 7, 8, 14, 2];
const CONTENTS_AFRICA: Mix = [36, 23, 5, 20, 13, 3];
const CONTENTS_OCEANIA: Mix = [28, 37, 13, 15, 5, 2];

/// Where the viewers live.
#[rustfmt::skip]
pub static COUNTRIES: [Country; 30] = [
    country("BR", 26.0, DEVICES_BRAZIL, CONTENTS_BRAZIL, &[
        city("São Paulo", America::Sao_Paulo, 34.0),
        city("Rio de Janeiro", America::Sao_Paulo, 20.0),
        city("Brasília", America::Sao_Paulo, 11.0),
        city("Salvador", America::Bahia, 10.0),
        city("Recife", America::Recife, 9.0),
        city("Manaus", America::Manaus, 6.0),
    ]),
    country("US", 14.0, DEVICES_NORTH_AMERICA, CONTENTS_NORTH_AMERICA, &[
        city("New York", America::New_York, 30.0),
        city("Los Angeles", America::Los_Angeles, 24.0),
        city("Chicago", America::Chicago, 16.0),
        city("Houston", America::Chicago, 13.0),
        city("Denver", America::Denver, 8.0),
        city("Phoenix", America::Phoenix, 9.0),
    ]),
    country("MX", 6.0, DEVICES_LATIN_AMERICA, CONTENTS_LATIN_AMERICA, &[
        city("Ciudad de México", America::Mexico_City, 50.0),
        city("Guadalajara", America::Mexico_City, 20.0),
        city("Monterrey", America::Monterrey, 20.0),
        city("Tijuana", America::Tijuana, 10.0),
    ]),
    country("AR", 4.0, DEVICES_LATIN_AMERICA, [25, 37, 5, 20, 10, 3], &[
        city("Buenos Aires", America::Argentina::Buenos_Aires, 65.0),
        city("Córdoba", America::Argentina::Cordoba, 20.0),
        city("Rosario", America::Argentina::Cordoba, 15.0),
    ]),
    country("CO", 3.0, DEVICES_LATIN_AMERICA, CONTENTS_LATIN_AMERICA, &[
        city("Bogotá", America::Bogota, 60.0),
        city("Medellín", America::Bogota, 25.0),
        city("Cali", America::Bogota, 15.0),
    ]),
    country("CL", 2.0, DEVICES_LATIN_AMERICA, CONTENTS_LATIN_AMERICA, &[
        city("Santiago", America::Santiago, 80.0),
        city("Valparaíso", America::Santiago, 20.0),
    ]),
    country("PE", 2.0, DEVICES_LATIN_AMERICA, CONTENTS_LATIN_AMERICA, &[
        city("Lima", America::Lima, 85.0),
        city("Arequipa", America::Lima, 15.0),
    ]),
    country("CA", 2.0, DEVICES_NORTH_AMERICA, CONTENTS_NORTH_AMERICA, &[
        city("Toronto", America::Toronto, 45.0),
        city("Montréal", America::Toronto, 27.0),
        city("Vancouver", America::Vancouver, 18.0),
        city("Calgary", America::Edmonton, 10.0),
    ]),
    country("PT", 3.0, [40, 30, 7, 14, 7, 2], CONTENTS_EUROPE, &[
        city("Lisboa", Europe::Lisbon, 58.0),
        city("Porto", Europe::Lisbon, 34.0),
        city("Ponta Delgada", chrono_tz::Atlantic::Azores, 8.0),
    ]),
    country("ES", 3.0, DEVICES_EUROPE, [28, 37, 11, 16, 5, 3], &[
        city("Madrid", Europe::Madrid, 50.0),
        city("Barcelona", Europe::Madrid, 38.0),
        city("Las Palmas", chrono_tz::Atlantic::Canary, 12.0),
    ]),
    country("FR", 3.0, DEVICES_EUROPE, CONTENTS_EUROPE, &[
        city("Paris", Europe::Paris, 60.0),
        city("Lyon", Europe::Paris, 22.0),
        city("Marseille", Europe::Paris, 18.0),
    ]),
    country("DE", 3.0, [46, 20, 9, 17, 6, 2], [28, 33, 20, 11, 5, 3], &[
        city("Berlin", Europe::Berlin, 40.0),
        city("München", Europe::Berlin, 26.0),
        city("Hamburg", Europe::Berlin, 20.0),
        city("Köln", Europe::Berlin, 14.0),
    ]),
    country("IT", 2.0, DEVICES_EUROPE, [31, 34, 11, 16, 5, 3], &[
        city("Roma", Europe::Rome, 48.0),
        city("Milano", Europe::Rome, 37.0),
        city("Napoli", Europe::Rome, 15.0),
    ]),
    country("GB", 4.0, [50, 20, 9, 11, 8, 2], [27, 37, 15, 14, 5, 2], &[
        city("London", Europe::London, 60.0),
        city("Manchester", Europe::London, 22.0),
        city("Glasgow", Europe::London, 18.0),
    ]),
    country("NL", 1.0, DEVICES_EUROPE, CONTENTS_EUROPE, &[
        city("Amsterdam", Europe::Amsterdam, 60.0),
        city("Rotterdam", Europe::Amsterdam, 40.0),
    ]),
    country("PL", 1.5, DEVICES_EUROPE, CONTENTS_EUROPE, &[
        city("Warszawa", Europe::Warsaw, 62.0),
        city("Kraków", Europe::Warsaw, 38.0),
    ]),
    country("SE", 1.0, [49, 18, 9, 13, 9, 2], CONTENTS_EUROPE, &[
        city("Stockholm", Europe::Stockholm, 65.0),
        city("Göteborg", Europe::Stockholm, 35.0),
    ]),
    country("TR", 1.5, [30, 44, 6, 14, 4, 2], [24, 44, 5, 16, 9, 2], &[
        city("İstanbul", Europe::Istanbul, 65.0),
        city("Ankara", Europe::Istanbul, 35.0),
    ]),
    country("ZA", 1.5, [26, 50, 5, 13, 4, 2], CONTENTS_AFRICA, &[
        city("Johannesburg", Africa::Johannesburg, 58.0),
        city("Cape Town", Africa::Johannesburg, 42.0),
    ]),
    country("NG", 1.5, DEVICES_AFRICA, CONTENTS_AFRICA, &[
        city("Lagos", Africa::Lagos, 72.0),
        city("Abuja", Africa::Lagos, 28.0),
    ]),
    country("EG", 1.0, DEVICES_AFRICA, [33, 32, 4, 17, 11, 3], &[
        city("Cairo", Africa::Cairo, 75.0),
        city("Alexandria", Africa::Cairo, 25.0),
    ]),
    country("AO", 0.5, DEVICES_AFRICA, CONTENTS_AFRICA, &[
        city("Luanda", Africa::Luanda, 85.0),
        city("Huambo", Africa::Luanda, 15.0),
    ]),
    country("SA", 1.0, [34, 46, 6, 7, 5, 2], [31, 33, 4, 17, 12, 3], &[
        city("Riyadh", Asia::Riyadh, 60.0),
        city("Jeddah", Asia::Riyadh, 40.0),
    ]),
    country("IN", 4.5, DEVICES_SOUTH_ASIA, CONTENTS_SOUTH_ASIA, &[
        city("Mumbai", Asia::Kolkata, 34.0),
        city("Delhi", Asia::Kolkata, 30.0),
        city("Bengaluru", Asia::Kolkata, 22.0),
        city("Chennai", Asia::Kolkata, 14.0),
    ]),
    country("ID", 2.0, [14, 70, 4, 8, 2, 2], [31, 27, 3, 14, 22, 3], &[
        city("Jakarta", Asia::Jakarta, 64.0),
        city("Surabaya", Asia::Jakarta, 24.0),
        city("Makassar", Asia::Makassar, 12.0),
    ]),
    country("PH", 1.0, DEVICES_SOUTH_ASIA, [29, 33, 3, 13, 19, 3], &[
        city("Manila", Asia::Manila, 70.0),
        city("Cebu", Asia::Manila, 30.0),
    ]),
    country("JP", 2.0, DEVICES_EAST_ASIA, CONTENTS_EAST_ASIA, &[
        city("東京", Asia::Tokyo, 62.0),
        city("大阪", Asia::Tokyo, 38.0),
    ]),
    country("KR", 1.5, [27, 46, 8, 14, 4, 1], [18, 50, 5, 9, 16, 2], &[
        city("Seoul", Asia::Seoul, 72.0),
        city("Busan", Asia::Seoul, 28.0),
    ]),
    country("AU", 1.0, DEVICES_OCEANIA, CONTENTS_OCEANIA, &[
        city("Sydney", Australia::Sydney, 45.0),
        city("Melbourne", Australia::Melbourne, 38.0),
        city("Perth", Australia::Perth, 17.0),
    ]),
    country("NZ", 0.5, DEVICES_OCEANIA, CONTENTS_OCEANIA, &[
        city("Auckland", Pacific::Auckland, 72.0),
        city("Wellington", Pacific::Auckland, 28.0),
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_consistent() {
        assert_eq!(COUNTRIES.iter().map(|country| country.weight).sum::<f64>(), 100.0);
        for country in &COUNTRIES {
            assert_eq!(country.devices.iter().map(|&part| u32::from(part)).sum::<u32>(), 100);
            assert_eq!(country.contents.iter().map(|&part| u32::from(part)).sum::<u32>(), 100);
            assert!((2..=6).contains(&country.cities.len()), "{}", country.code);
            assert_eq!(COUNTRIES.iter().filter(|other| other.code == country.code).count(), 1);
        }
        let shares: f64 = PLACES.iter().map(|place| place.share).sum();
        assert!((shares - 1.0).abs() < 1e-9);
    }

    #[test]
    fn habits_differ_by_region() {
        let tv = |code| COUNTRIES[country_index(code).unwrap()].devices[0];
        let short = |code| COUNTRIES[country_index(code).unwrap()].contents[4];
        assert!(tv("US") > 2 * tv("IN"));
        assert!(short("IN") > 2 * short("DE"));
        assert_eq!(country_index("XX"), None);
    }

    #[test]
    fn the_day_curve_has_mean_one_and_an_evening_peak() {
        let mean = (0..WEEK_MINUTES).map(day_factor).sum::<f64>() / WEEK_MINUTES as f64;
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
        let at = |day: i64, hour: i64| day_factor((day * 24 + hour) * 60);
        for day in 0..7 {
            assert!(at(day, 21) > 5.0 * at(day, 4), "day {day}");
        }
        assert!(at(5, 15) > 1.5 * at(2, 15));
        assert_eq!(day_factor(WEEK_MINUTES + 61), day_factor(61));
    }
}
