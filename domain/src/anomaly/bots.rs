//! Bots, from what a minute tells of users: single ones with an abnormal rate (rule A), and groups by the
//! accesses of a user on average (rule C). Both go by what frames tell.

use std::collections::BTreeMap;

use super::bytes::{Reader, Writer};
use super::season::move_mean;

/// Most users whose own level is known; the one seen longest ago makes room.
pub const KNOWN_USERS_MAX: usize = 256;
/// Accesses a minute that nobody is suspected for.
pub const USER_RATE_MIN: f64 = 30.0;
/// Accesses a minute from which on a user's own level is learned.
const KNOWN_RATE_MIN: f64 = 15.0;
/// How far above the heaviest user of a typical minute, of those not known, a rate is abnormal.
const TYPICAL_FACTOR: f64 = 3.0;
/// How far above its own level a known heavy user is abnormal, and minutes to know it.
const OWN_FACTOR: f64 = 4.0;
const OWN_MINUTES_MIN: u32 = 60;
/// Minutes in a row.
const STREAK_MINUTES: u32 = 2;
/// A user is told once in 12 hours.
const AGAIN_AFTER_MS: i64 = 12 * 3_600_000;
/// Span of typical levels, in minutes.
const TYPICAL_SPAN: f64 = 60.0;
/// Span of a user's own level, in minutes.
const OWN_SPAN: f64 = 120.0;
/// Minutes before the first alert.
pub const WARM_UP_MINUTES: u32 = 60;

/// Span of the accesses per user, in minutes.
const PER_USER_SPAN: f64 = 60.0;
/// Standard deviations, share and accesses by which a minute has too many accesses for its users.
const PER_USER_DEVIATIONS: f64 = 5.0;
const PER_USER_SHARE: f64 = 0.2;
const PER_USER_ACCESSES: f64 = 20.0;
/// Squared deviations are cut at this many times their mean.
const OUTLIER: f64 = 9.0;
/// Quiet minutes that end an attack.
const QUIET_MINUTES: u32 = 5;
/// Minutes after which accesses per user that stay high are the new normal.
const ADOPT_MINUTES: u32 = 360;

/// What a closed minute tells of users.
#[derive(Clone, Copy, Debug)]
pub struct UserMinute<'a> {
    /// Start of the minute, in milliseconds since 1970.
    pub ts_ms: i64,
    /// All accesses.
    pub accesses: u64,
    /// Accesses that were expected.
    pub expected: f64,
    /// Distinct users, estimated.
    pub users: f64,
    /// The heaviest users by hash, with their accesses, each once.
    pub heavy: &'a [(u64, u32)],
}

/// An attack that begins or ends.
#[derive(Clone, Debug, PartialEq)]
pub enum BotAlert {
    /// Users with an abnormal rate: hash, accesses and limit. Told again when more join.
    Users(Vec<(u64, u32, f64)>),
    /// Too many accesses for the users there are.
    Group {
        /// Accesses per user.
        per_user: f64,
        /// What is usual.
        usual: f64,
    },
    /// The group is gone, or usual by now.
    GroupEnded,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    level: f64,
    minutes: u32,
    streak: u32,
    seen_ms: i64,
    told_ms: i64,
}

/// Rules A and C.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Bots {
    minutes: u32,
    /// The rate of the heaviest user of a minute, of those not known, smoothed.
    typical: f64,
    known: BTreeMap<u64, Known>,
    per_user: f64,
    /// Mean square of surplus accesses, per access.
    variance: f64,
    streak: u32,
    group_minutes: u32,
    quiet_minutes: u32,
}

impl Bots {
    /// Takes in a closed minute.
    pub fn minute(&mut self, minute: UserMinute) -> Vec<BotAlert> {
        let mut alerts = Vec::new();
        alerts.extend(self.judge_users(minute));
        alerts.extend(self.judge_group(minute));
        self.minutes = self.minutes.saturating_add(1);
        alerts
    }

    fn judge_users(&mut self, minute: UserMinute) -> Option<BotAlert> {
        let limit = USER_RATE_MIN.max(TYPICAL_FACTOR * self.typical);
        let warm = self.minutes >= WARM_UP_MINUTES;
        let (mut told, mut any, mut greatest) = (Vec::new(), false, 0.0_f64);
        for &(user, n) in minute.heavy {
            let rate = f64::from(n);
            if rate < KNOWN_RATE_MIN {
                greatest = greatest.max(rate);
                continue;
            }
            let known = self.known_user(user, rate, minute.ts_ms);
            let is_new = known.minutes < OWN_MINUTES_MIN;
            let limit = if is_new { limit } else { limit.max(OWN_FACTOR * known.level) };
            let in_a_row = minute.ts_ms.saturating_sub(known.seen_ms) <= 60_000;
            known.streak = match rate > limit {
                true if in_a_row => known.streak.saturating_add(1),
                true => 1,
                false => 0,
            };
            known.seen_ms = minute.ts_ms;
            let is_due = minute.ts_ms.saturating_sub(known.told_ms) > AGAIN_AFTER_MS;
            if warm && known.streak >= STREAK_MINUTES && is_due {
                known.told_ms = minute.ts_ms;
                told.push((user, n, limit));
            }
            if rate <= limit {
                move_mean(&mut known.level, rate, OWN_SPAN, known.minutes);
                known.minutes = known.minutes.saturating_add(1);
            }
            any |= rate > limit;
            greatest = greatest.max(if is_new { rate } else { 0.0 });
        }
        if !any || !warm {
            move_mean(&mut self.typical, greatest, TYPICAL_SPAN, self.minutes);
        }
        (!told.is_empty()).then_some(BotAlert::Users(told))
    }

    /// What is known of a user; of a new one, that it was not seen before.
    fn known_user(&mut self, user: u64, rate: f64, now_ms: i64) -> &mut Known {
        if !self.known.contains_key(&user) {
            self.make_room();
        }
        let (seen_ms, told_ms) = (now_ms - 120_000, now_ms - AGAIN_AFTER_MS - 1);
        let unseen = Known { level: rate, minutes: 0, streak: 0, seen_ms, told_ms };
        self.known.entry(user).or_insert(unseen)
    }

    fn make_room(&mut self) {
        if self.known.len() >= KNOWN_USERS_MAX {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.seen_ms).map(|(&user, _)| user);
            oldest.map(|user| self.known.remove(&user));
        }
    }

    fn judge_group(&mut self, minute: UserMinute) -> Option<BotAlert> {
        let accesses = minute.accesses as f64;
        if minute.users < 1.0 {
            return None;
        }
        let per_user = accesses / minute.users;
        let usual = self.per_user * minute.users;
        let surplus = accesses - usual;
        let deviation = (self.variance * accesses).sqrt();
        let least = (PER_USER_DEVIATIONS * deviation).max(PER_USER_SHARE * usual).max(PER_USER_ACCESSES);
        // Bots come on top of the others: viewers who come back after an outage do not.
        let is_more = accesses - minute.expected > surplus / 2.0;
        let is_high = self.minutes >= WARM_UP_MINUTES && surplus > least && is_more;
        let alert = self.follow_group(is_high, surplus > 2.0 * least, per_user);
        if !is_high && self.group_minutes == 0 {
            move_mean(&mut self.per_user, per_user, PER_USER_SPAN, self.minutes);
            let most = if self.minutes < WARM_UP_MINUTES { f64::MAX } else { OUTLIER * self.variance };
            let square = surplus * surplus / accesses;
            if self.minutes > 0 {
                move_mean(&mut self.variance, square.min(most), PER_USER_SPAN, self.minutes);
            }
        }
        alert
    }

    fn follow_group(&mut self, is_high: bool, is_very_high: bool, per_user: f64) -> Option<BotAlert> {
        self.streak = if is_high { self.streak.saturating_add(1) } else { 0 };
        if self.group_minutes == 0 {
            if self.streak >= STREAK_MINUTES || is_high && is_very_high {
                self.group_minutes = 1;
                self.quiet_minutes = 0;
                return Some(BotAlert::Group { per_user, usual: self.per_user });
            }
            return None;
        }
        self.group_minutes = self.group_minutes.saturating_add(1);
        self.quiet_minutes = if is_high { 0 } else { self.quiet_minutes.saturating_add(1) };
        let adopted = self.group_minutes >= ADOPT_MINUTES;
        if adopted {
            self.per_user = per_user;
        }
        if adopted || self.quiet_minutes >= QUIET_MINUTES {
            self.group_minutes = 0;
            return Some(BotAlert::GroupEnded);
        }
        None
    }
}

impl Bots {
    /// Appends the bytes to `out`.
    pub(super) fn encode(&self, out: &mut Writer) {
        for number in [self.minutes, self.streak, self.group_minutes, self.quiet_minutes] {
            out.u32(number);
        }
        for number in [self.typical, self.per_user, self.variance] {
            out.f64(number);
        }
        out.count(self.known.len());
        for (&user, known) in &self.known {
            out.u64(user);
            out.f64(known.level);
            out.u32(known.minutes);
            out.u32(known.streak);
            out.i64(known.seen_ms);
            out.i64(known.told_ms);
        }
    }

    /// Reads the bytes that [`Bots::encode`] wrote; `None` when they are cut.
    pub(super) fn decode(bytes: &mut Reader) -> Option<Self> {
        let mut bots = Self { minutes: bytes.u32()?, streak: bytes.u32()?, ..Self::default() };
        (bots.group_minutes, bots.quiet_minutes) = (bytes.u32()?, bytes.u32()?);
        (bots.typical, bots.per_user, bots.variance) = (bytes.f64()?, bytes.f64()?, bytes.f64()?);
        let count = bytes.u32()?.into();
        bots.known = bytes.map(count, |bytes| {
            let user = bytes.u64()?;
            let (level, minutes, streak) = (bytes.f64()?, bytes.u32()?, bytes.u32()?);
            Some((user, Known { level, minutes, streak, seen_ms: bytes.i64()?, told_ms: bytes.i64()? }))
        })?;
        (bots.known.len() <= KNOWN_USERS_MAX).then_some(bots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: i64, accesses: u64, users: f64, heavy: &[(u64, u32)]) -> UserMinute<'_> {
        UserMinute { ts_ms: minute * 60_000, accesses, expected: 1_000.0, users, heavy }
    }

    /// Has seen two hours with an office.
    fn bots() -> Bots {
        let mut bots = Bots::default();
        for i in 0..120 {
            let accesses = 990 + i as u64 * 7 % 20;
            assert_eq!(bots.minute(minute(i, accesses, 800.0, &[(1, 50), (2, 9)])), []);
        }
        bots
    }

    #[test]
    fn a_fast_user_is_told_once_after_two_minutes() {
        let mut bots = bots();
        let heavy = [(1, 50), (7, 300)];
        assert_eq!(bots.minute(minute(120, 1_000, 800.0, &heavy)), []);
        let alerts = bots.minute(minute(121, 1_000, 800.0, &heavy));
        assert!(matches!(&alerts[..], [BotAlert::Users(users)] if users[0].0 == 7), "{alerts:?}");
        assert_eq!(bots.minute(minute(122, 1_000, 800.0, &heavy)), []);
    }

    #[test]
    fn an_office_is_judged_by_its_own_level() {
        let mut bots = bots();
        for i in 120..140 {
            assert_eq!(bots.minute(minute(i, 1_000, 800.0, &[(1, 190)])), []);
        }
    }

    #[test]
    fn a_group_has_many_accesses_for_its_users() {
        let mut bots = bots();
        let alerts = bots.minute(minute(120, 3_000, 840.0, &[]));
        assert!(matches!(alerts[..], [BotAlert::Group { .. }]), "{alerts:?}");
        assert_eq!(bots.minute(minute(121, 3_000, 840.0, &[])), []);
        let ended = (122..127).map(|i| bots.minute(minute(i, 1_000, 800.0, &[])).len()).sum::<usize>();
        assert_eq!(ended, 1);
    }

    #[test]
    fn a_crowd_is_no_group() {
        let mut bots = bots();
        assert_eq!(bots.minute(minute(120, 3_000, 2_400.0, &[])), []);
    }

    #[test]
    fn users_who_come_back_are_no_group() {
        let mut bots = bots();
        assert_eq!(bots.minute(minute(120, 1_000, 400.0, &[])), []);
    }

    #[test]
    fn known_users_are_bounded_and_bytes_go_both_ways() {
        let mut bots = bots();
        for user in 0..KNOWN_USERS_MAX as u64 + 9 {
            bots.minute(minute(120 + user as i64, 1_000, 800.0, &[(1_000 + user, 19)]));
        }
        assert_eq!(bots.known.len(), KNOWN_USERS_MAX);
        let mut bytes = Vec::new();
        bots.encode(&mut Writer(&mut bytes));
        assert_eq!(Bots::decode(&mut Reader(&bytes)), Some(bots));
        assert_eq!(Bots::decode(&mut Reader(&bytes[..bytes.len() - 1])), None);
    }
}
