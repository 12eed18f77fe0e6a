//! Who watches: viewers whose home, habits and client follow from their number alone.
//! Nothing is stored per viewer, so memory does not grow with their count.

use crate::line::TimestampForm;
use crate::profile::{COUNTRIES, Mix, PLACES};
use crate::vocabulary::{APP_VERSIONS, CONTENT_SPELLINGS, DEVICE_SPELLINGS, Spelling};

/// The most viewers there can be; numbers above are left to bots.
pub const USERS_MAX: u32 = 1_000_000_000;

/// One account. Its traits are hashed from its number and the seed.
#[derive(Clone, Copy, Debug)]
pub struct Viewer {
    /// Unique over the platform.
    pub number: u32,
    /// Index into [`PLACES`] of its home.
    pub place: u16,
    hash: u64,
}

impl Viewer {
    pub fn new(number: u32, place: usize, seed: u64) -> Viewer {
        let place = u16::try_from(place).expect("there are fewer than 65,536 places");
        Viewer { number, place, hash: mix(seed ^ mix(u64::from(number))) }
    }

    /// The device it uses most.
    pub fn usual_device(&self) -> usize {
        draw(&self.country().devices, self.below(Trait::UsualDevice, 100))
    }

    /// The device it uses otherwise; it may be the same one.
    pub fn second_device(&self) -> usize {
        draw(&self.country().devices, self.below(Trait::SecondDevice, 100))
    }

    /// The content type it likes best.
    pub fn usual_content(&self) -> usize {
        draw(&self.country().contents, self.below(Trait::Content, 100))
    }

    /// How its client writes a device.
    pub fn device_name(&self, device: usize, canonical: &'static str) -> &'static str {
        self.spell(&DEVICE_SPELLINGS[device], canonical)
    }

    /// How its client writes a content type.
    pub fn content_name(&self, content: usize, canonical: &'static str) -> &'static str {
        self.spell(&CONTENT_SPELLINGS[content], canonical)
    }

    /// How its client writes timestamps: mostly RFC 3339 in UTC.
    pub fn timestamp_form(&self) -> TimestampForm {
        match self.below(Trait::TimestampForm, 100) {
            0..86 => TimestampForm::Utc,
            86..93 => TimestampForm::Local,
            93..97 => TimestampForm::EpochMs,
            _ => TimestampForm::EpochS,
        }
    }

    /// Whether its client puts spaces after separators and escapes all that is not ASCII, as some do.
    pub fn writes_ascii(&self) -> bool {
        self.below(Trait::Ascii, 100) < ASCII_PERCENT
    }

    /// The version that its client tells, if it tells one.
    pub fn app_version(&self) -> Option<&'static str> {
        let drawn = self.below(Trait::AppVersion, 10) as usize;
        APP_VERSIONS.get(drawn * drawn / 8).copied()
    }

    fn spell(&self, spelling: &Spelling, canonical: &'static str) -> &'static str {
        if self.below(Trait::Spelling, 100) >= VARIANT_PERCENT {
            return canonical;
        }
        let portuguese = matches!(self.country().code, "BR" | "PT" | "AO");
        let variants = if portuguese { spelling.portuguese } else { spelling.english };
        variants[self.below(Trait::Variant, variants.len() as u32) as usize]
    }

    fn country(&self) -> &'static crate::profile::Country {
        &COUNTRIES[PLACES[usize::from(self.place)].country]
    }

    /// A number below `bound` that stays the same for this viewer and trait.
    fn below(&self, of: Trait, bound: u32) -> u32 {
        let hash = mix(self.hash.wrapping_add(of as u64));
        (((hash >> 32) * u64::from(bound)) >> 32) as u32
    }
}

/// All viewers: a range of numbers for each city, with a heavy tail of activity inside it.
pub struct Population {
    seed: u64,
    homes: Vec<Home>,
}

/// Viewers of one place. Their activity falls with rank `r` as `(r + FLATNESS)^(-2/3)`, whose inverse sum
/// is a cube: a draw needs no power or logarithm.
struct Home {
    number_first: u32,
    viewers: u32,
    root_low: f64,
    root_span: f64,
}

impl Population {
    /// About `users` viewers (at most [`USERS_MAX`]), by the share of each place, at least one in each.
    pub fn new(users: u32, seed: u64) -> Population {
        let users = f64::from(users.min(USERS_MAX));
        let mut number_first = 0;
        let homes = PLACES
            .iter()
            .map(|place| {
                let viewers = (users * place.share).round().max(1.0);
                let root_low = FLATNESS.cbrt();
                let root_span = (FLATNESS + viewers).cbrt() - root_low;
                let home = Home { number_first, viewers: viewers as u32, root_low, root_span };
                number_first += home.viewers;
                home
            })
            .collect();
        Population { seed, homes }
    }

    /// The viewer at `x` (0 to below 1) of the activity of a place.
    pub fn viewer_at(&self, place: usize, x: f64) -> Viewer {
        let home = &self.homes[place];
        let root = home.root_low + x * home.root_span;
        let rank = (root * root * root - FLATNESS).max(0.0) as u32;
        Viewer::new(home.number_first + rank.min(home.viewers - 1), place, self.seed)
    }
}

/// The kind at `x` (0 to 99) of a mix.
pub fn draw(percentages: &Mix, x: u32) -> usize {
    let mut left = x;
    for (kind, &part) in percentages.iter().enumerate() {
        match left.checked_sub(u32::from(part)) {
            Some(rest) => left = rest,
            None => return kind,
        }
    }
    percentages.len() - 1
}

/// Spreads a number over all 64 bits (the finalizer of SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[derive(Clone, Copy)]
enum Trait {
    UsualDevice,
    SecondDevice,
    Content,
    Spelling,
    Variant,
    TimestampForm,
    Ascii,
    AppVersion,
}

/// How many of the top viewers of a place are about equally active.
const FLATNESS: f64 = 10.0;
/// Viewers whose client spells devices and content types its own way.
const VARIANT_PERCENT: u32 = 12;
/// Viewers whose client writes spaced, ASCII-only JSON.
const ASCII_PERCENT: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activity_is_heavy_tailed_and_every_viewer_can_come() {
        let population = Population::new(200_000, 1);
        let viewers = population.homes[0].viewers;
        let mut counts = vec![0_u32; viewers as usize];
        for x in 0..1_000_000 {
            counts[population.viewer_at(0, f64::from(x) / 1e6).number as usize] += 1;
        }
        let top: u32 = counts[..viewers as usize / 100].iter().sum();
        assert!((100_000..300_000).contains(&top), "{top}");
        assert!(counts[0] < 10_000, "{}", counts[0]);
        assert!(counts.iter().all(|&count| count > 0));
    }

    #[test]
    fn places_do_not_share_viewers() {
        let population = Population::new(1_000, 1);
        let mut free = 0;
        for place in 0..PLACES.len() {
            assert_eq!(population.viewer_at(place, 0.0).number, free);
            free = population.viewer_at(place, 0.999_999_999).number + 1;
        }
        assert!((950..1_050).contains(&free), "{free}");
    }

    #[test]
    fn any_count_of_viewers_works() {
        for users in [0, 1, u32::MAX] {
            let population = Population::new(users, 1);
            let last = population.viewer_at(PLACES.len() - 1, 0.999_999_999);
            assert!(last.number < USERS_MAX + 1_000);
        }
    }

    #[test]
    fn devices_follow_the_mix_of_the_country() {
        let tvs = (0..10_000).filter(|&number| Viewer::new(number, 0, 5).usual_device() == 0).count();
        let wanted = usize::from(COUNTRIES[0].devices[0]) * 100;
        assert!(tvs.abs_diff(wanted) < 200, "{tvs}");
    }

    #[test]
    fn draw_finds_each_edge() {
        let mix: Mix = [10, 0, 30, 20, 30, 10];
        let drawn = [0, 9, 10, 39, 40, 99, 100].map(|x| draw(&mix, x));
        assert_eq!(drawn, [0, 0, 2, 2, 3, 5, 5]);
    }
}
