//! Minutes that are still being counted, and not yet judged by what is learned: accesses by slice, distinct
//! users and heavy users. They are judged in order and without gaps; a line that comes after its minute was
//! judged changes counts in MongoDB, not what is learned.

use std::collections::BTreeMap;

use super::minute_of;
use super::platform::Slice;
use super::users::Users;
use crate::anomaly::bytes::{Reader, Writer};
use crate::window::EVENT_TIME_AHEAD_MS_MAX;
use crate::wire::Delta;
use crate::{MINUTE_MS, MINUTES_END};

/// Most minutes that are open, a week; where there are more, the oldest is judged before event time has
/// passed it. A sparse log that is read in has hours in a batch, and partitions that are batches apart.
pub const OPEN_MINUTES_MAX: usize = 7 * 1_440;
/// The same of their bytes in a checkpoint, about.
pub const OPEN_BYTES_MAX: usize = 6 << 20;
/// A log begins with the first minute that has this part of the most that any open minute has.
const BEGIN_PARTS: u64 = 10;
/// Most users that are kept of a minute. One who makes more than this part of the accesses told of is always
/// among them.
pub const HEAVY_USERS_MAX: usize = 128;
/// Most minutes without any access that are judged one by one; a longer gap is a log that was off.
pub const GAP_MINUTES_MAX: u32 = 2 * 24 * 60;

/// What a minute holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Counts {
    pub slices: BTreeMap<Slice, u64>,
    /// The heaviest users by the hash of their name.
    pub heavy: BTreeMap<u64, Heavy>,
    /// Bytes of their names.
    heavy_bytes: usize,
    /// Distinct users.
    pub users: Users,
}

/// A user who may be heavy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heavy {
    /// Accesses, at most.
    most: u32,
    /// How many of them may be another user's, whose place this one took.
    error: u32,
    pub name: String,
}

impl Heavy {
    /// Accesses that are certainly this user's.
    pub fn accesses(&self) -> u32 {
        self.most - self.error
    }
}

impl Counts {
    /// Counts a user: Space-Saving (Metwally, Agrawal and El Abbadi 2005).
    fn add_heavy(&mut self, name: &str, n: u32) {
        let hash = crate::hash(name.as_bytes());
        if let Some(heavy) = self.heavy.get_mut(&hash) {
            heavy.most = heavy.most.saturating_add(n);
            return;
        }
        let mut error = 0;
        if self.heavy.len() == HEAVY_USERS_MAX {
            let least = self.heavy.iter().min_by_key(|(_, heavy)| heavy.most);
            if let Some((hash, least)) = least.map(|(&hash, heavy)| (hash, heavy.most)) {
                let forgotten = self.heavy.remove(&hash);
                self.heavy_bytes -= forgotten.map_or(0, |heavy| heavy.name.len());
                error = least;
            }
        }
        self.heavy_bytes += name.len();
        self.heavy.insert(hash, Heavy { most: error.saturating_add(n), error, name: name.to_owned() });
    }

    /// Bytes in a checkpoint, about.
    fn bytes(&self) -> usize {
        const SLICE_BYTES: usize = 24;
        const HEAVY_BYTES: usize = 20;
        SLICE_BYTES * self.slices.len()
            + HEAVY_BYTES * self.heavy.len()
            + self.heavy_bytes
            + self.users.bytes()
    }

    /// All accesses.
    pub fn accesses(&self) -> u64 {
        self.slices.get(&Slice::Total).copied().unwrap_or(0)
    }

    fn decode(bytes: &mut Reader) -> Option<Self> {
        let count = bytes.u32()?.into();
        let slices = bytes.map(count, |bytes| Some((Slice::decode(bytes)?, bytes.u64()?)))?;
        let count = bytes.u32()?.into();
        let heavy = bytes.map(count, |bytes| {
            let (hash, most, error) = (bytes.u64()?, bytes.u32()?, bytes.u32()?);
            Some((hash, Heavy { most, error: error.min(most), name: bytes.text()?.to_owned() }))
        })?;
        let heavy_bytes = heavy.values().map(|heavy| heavy.name.len()).sum();
        let counts = Self { slices, heavy, heavy_bytes, users: Users::decode(bytes)? };
        (counts.heavy.len() <= HEAVY_USERS_MAX).then_some(counts)
    }
}

/// The open minutes.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Open {
    by_minute: BTreeMap<u32, Counts>,
    /// Bytes of them in a checkpoint, about.
    bytes: usize,
    /// The minute that is judged next; `None` before the first.
    next: Option<u32>,
}

impl Open {
    /// Adds counts by minute and slice, and the users of a batch that was stored at `stored_at_ms`. Where its
    /// lines tell the time, those far ahead of it are not watched: a wrong clock opens no minutes.
    pub fn add(&mut self, sums: &BTreeMap<u32, BTreeMap<Slice, u64>>, delta: &Delta, stored_at_ms: i64) {
        let last = delta.event_time_ms.and_then(|_| {
            let last_ms = stored_at_ms.saturating_add(EVENT_TIME_AHEAD_MS_MAX);
            u32::try_from(last_ms.div_euclid(MINUTE_MS)).ok()
        });
        let last = last.unwrap_or(u32::MAX);
        for (&minute, slices) in sums {
            self.change(minute, last, |counts| {
                for (slice, n) in slices {
                    match counts.slices.get_mut(slice) {
                        Some(sum) => *sum = sum.saturating_add(*n),
                        None => drop(counts.slices.insert(slice.clone(), *n)),
                    }
                }
            });
        }
        for (minute, hashes) in &delta.users {
            self.change(*minute, last, |counts| hashes.iter().for_each(|hash| counts.users.add(*hash)));
        }
        for user in &delta.heavy_users {
            self.change(user.minute, last, |counts| counts.add_heavy(&user.user_id, user.n));
        }
    }

    /// Changes a minute, unless it is judged or after `last`.
    fn change(&mut self, minute: u32, last: u32, change: impl FnOnce(&mut Counts)) {
        let is_judged = self.next.is_some_and(|next| minute < next);
        if is_judged || minute > last {
            return;
        }
        let counts = self.by_minute.entry(minute).or_default();
        let before = counts.bytes();
        change(counts);
        self.bytes = self.bytes + counts.bytes() - before;
    }

    /// Whether the oldest minute must be judged now.
    pub fn is_full(&self) -> bool {
        self.by_minute.len() > OPEN_MINUTES_MAX || self.bytes > OPEN_BYTES_MAX
    }

    /// Forgets as many of the minutes after `present`, the last that can be now, as are too many.
    pub fn make_room(&mut self, present: u32) {
        while self.is_full() && self.ends_after(present) {
            self.forget_last();
        }
    }

    /// Forgets the minutes after `present`. A batch that said a wrong time of itself opened them.
    pub fn forget_after(&mut self, present: u32) {
        while self.ends_after(present) {
            self.forget_last();
        }
    }

    fn ends_after(&self, present: u32) -> bool {
        self.by_minute.last_key_value().is_some_and(|(&last, _)| last > present)
    }

    fn forget_last(&mut self) {
        let forgotten = self.by_minute.pop_last();
        self.bytes -= forgotten.map_or(0, |(_, counts)| counts.bytes());
    }

    /// The next minute, if it ends at or before `end_ms_max`; one without accesses is empty. Of a log that is
    /// off there is none until lines come again, however far a clock jumps.
    pub fn take(&mut self, end_ms_max: i64) -> Option<(u32, Counts)> {
        let end = minute_of(end_ms_max);
        let first = self.by_minute.first_key_value().map(|(&minute, _)| minute);
        let next = match (self.next, first) {
            (None, _) => self.begin()?,
            (Some(next), Some(first)) if first - next > GAP_MINUTES_MAX => first,
            (Some(next), None) if end.saturating_sub(next) > GAP_MINUTES_MAX => return None,
            (Some(next), _) => next,
        };
        if next >= end {
            return None;
        }
        self.next = Some(next + 1);
        let counts = self.by_minute.remove(&next).unwrap_or_default();
        self.bytes -= counts.bytes();
        Some((next, counts))
    }

    /// Where a log begins: some late lines before that would look like next to no traffic.
    fn begin(&mut self) -> Option<u32> {
        let most = self.by_minute.values().map(Counts::accesses).max()?;
        let is_traffic = |(_, counts): &(&u32, &Counts)| counts.accesses() >= most / BEGIN_PARTS;
        let first = *self.by_minute.iter().find(is_traffic)?.0;
        self.by_minute = self.by_minute.split_off(&first);
        self.bytes = self.by_minute.values().map(Counts::bytes).sum();
        Some(first)
    }

    /// The start of the last minute that holds something, in milliseconds; `None` where none does.
    pub fn last_ms(&self) -> Option<i64> {
        self.by_minute.last_key_value().map(|(&minute, _)| i64::from(minute) * MINUTE_MS)
    }

    pub fn encode(&self, out: &mut Writer) {
        out.u8(u8::from(self.next.is_some()));
        out.u32(self.next.unwrap_or(0));
        out.count(self.by_minute.len());
        for (&minute, counts) in &self.by_minute {
            out.u32(minute);
            out.count(counts.slices.len());
            for (slice, &n) in &counts.slices {
                slice.encode(out.0);
                out.u64(n);
            }
            out.count(counts.heavy.len());
            for (&hash, heavy) in &counts.heavy {
                out.u64(hash);
                out.u32(heavy.most);
                out.u32(heavy.error);
                out.bytes(heavy.name.as_bytes());
            }
            counts.users.encode(out);
        }
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let is_known = bytes.u8()? != 0;
        let next = Some(bytes.u32()?).filter(|_| is_known);
        let count = bytes.u32()?.into();
        let by_minute = bytes.map(count, |bytes| Some((bytes.u32()?, Counts::decode(bytes)?)))?;
        let is_open = |minute: u32| minute < MINUTES_END && next.is_none_or(|next| minute >= next);
        let are_open = by_minute.keys().all(|minute| is_open(*minute));
        let bytes = by_minute.values().map(Counts::bytes).sum();
        (are_open && next.is_none_or(|next| next <= MINUTES_END)).then_some(Self { by_minute, bytes, next })
    }
}

/// Accesses of a batch by minute and slice.
pub(super) fn sums(delta: &Delta) -> BTreeMap<u32, BTreeMap<Slice, u64>> {
    let mut sums = BTreeMap::<u32, BTreeMap<Slice, u64>>::new();
    let mut add = |minute: u32, slice: Slice, n: u64| {
        *sums.entry(minute).or_default().entry(slice).or_default() += n;
    };
    // Cells are ordered by minute, so each minute's devices and content types are named once.
    for cells in delta.cells.chunk_by(|a, b| a.minute == b.minute) {
        let minute = cells[0].minute;
        let mut devices = vec![0; delta.devices.len()];
        let mut content_types = vec![0; delta.content_types.len()];
        for cell in cells {
            let mut of_cell = 0;
            for &(device, content_type, n) in &cell.counts {
                let n = u64::from(n);
                of_cell += n;
                devices[usize::from(device)] += n;
                content_types[usize::from(content_type)] += n;
            }
            add(minute, Slice::Country(cell.country), of_cell);
            add(minute, Slice::Total, of_cell);
        }
        let named = delta.devices.iter().zip(devices).filter(|(_, n)| *n > 0);
        named.for_each(|(name, n)| add(minute, Slice::Device(name.clone()), n));
        let named = delta.content_types.iter().zip(content_types).filter(|(_, n)| *n > 0);
        named.for_each(|(name, n)| add(minute, Slice::ContentType(name.clone()), n));
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::HeavyUser;

    const M: u32 = 29_661_120;

    fn add(open: &mut Open, minute: u32, n: u64, batch_minute: u32) {
        let sums = BTreeMap::from([(minute, BTreeMap::from([(Slice::Total, n)]))]);
        let stored_at_ms = i64::from(batch_minute) * MINUTE_MS;
        open.add(&sums, &Delta { event_time_ms: Some(stored_at_ms), ..Delta::default() }, stored_at_ms);
    }

    /// The minutes that are judged up to the end of `last`, with their accesses.
    fn taken(open: &mut Open, last: u32) -> Vec<(u32, u64)> {
        let end_ms = (i64::from(last) + 1) * MINUTE_MS;
        std::iter::from_fn(|| open.take(end_ms))
            .map(|(minute, counts)| (minute - M, counts.accesses()))
            .collect()
    }

    #[test]
    fn minutes_are_judged_in_order_and_without_gaps() {
        let mut open = Open::default();
        [(M + 3, 7), (M, 5)].into_iter().for_each(|(minute, n)| add(&mut open, minute, n, M + 3));
        assert_eq!(taken(&mut open, M + 1), [(0, 5), (1, 0)]);
        add(&mut open, M + 1, 9, M + 3);
        assert_eq!(taken(&mut open, M + 4), [(2, 0), (3, 7), (4, 0)], "a judged minute is not judged again");
        let far = M + 5 + GAP_MINUTES_MAX + 1;
        add(&mut open, far, 2, far);
        assert_eq!(taken(&mut open, far), [(far - M, 2)], "a log that was off");
    }

    #[test]
    fn a_log_begins_where_there_is_traffic() {
        let mut open = Open::default();
        let traffic = [(M, 1), (M + 60, 100), (M + 61, 90)];
        traffic.into_iter().for_each(|(minute, n)| add(&mut open, minute, n, M + 60));
        assert_eq!(taken(&mut open, M + 61), [(60, 100), (61, 90)]);
    }

    #[test]
    fn a_heavy_user_is_found_among_many() {
        let (mut counts, mut bot) = (Counts::default(), 0);
        for n in 0..100 * HEAVY_USERS_MAX {
            counts.add_heavy(&format!("u{n}"), 1);
            if n >= 50 * HEAVY_USERS_MAX && n % 60 == 0 {
                counts.add_heavy("bot", 1);
                bot += 1;
            }
        }
        assert_eq!(counts.heavy.len(), HEAVY_USERS_MAX);
        let mut heaviest: Vec<(u32, &str)> =
            counts.heavy.values().map(|heavy| (heavy.accesses(), heavy.name.as_str())).collect();
        heaviest.sort_unstable();
        assert_eq!(heaviest.last(), Some(&(bot, "bot")));
        assert_eq!(heaviest[HEAVY_USERS_MAX - 2].0, 1);
    }

    #[test]
    fn open_minutes_are_bounded_and_a_wrong_clock_is_not_watched() {
        let mut open = Open::default();
        let max = u32::try_from(OPEN_MINUTES_MAX).expect("few");
        (0..max).for_each(|minute| add(&mut open, M + minute, 1, M + minute));
        add(&mut open, M + max + 6, 1, M + max);
        assert!(open.by_minute.len() == OPEN_MINUTES_MAX && !open.is_full(), "too far ahead of its batch");
        add(&mut open, M + max + 5, 1, M + max);
        open.make_room(M + max + 5);
        assert!(open.is_full());
        open.make_room(M + max);
        assert!(!open.is_full(), "one from the future makes room");

        let mut open = Open::default();
        let delta = |minute: u32| Delta {
            heavy_users: (0..HEAVY_USERS_MAX)
                .map(|user| HeavyUser { minute, n: 1, user_id: format!("{user:0>250}") })
                .collect(),
            ..Delta::default()
        };
        let full = (M..).find(|&minute| {
            open.add(&BTreeMap::new(), &delta(minute), i64::from(minute) * MINUTE_MS);
            open.is_full()
        });
        let mut bytes = Vec::new();
        open.encode(&mut Writer(&mut bytes));
        assert!(bytes.len() > OPEN_BYTES_MAX && bytes.len() < OPEN_BYTES_MAX * 9 / 8, "{full:?}");
    }
}
