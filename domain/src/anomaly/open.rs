//! Minutes that are still being counted, and not yet judged by what is learned: accesses by slice, distinct
//! users and heavy users. They are judged in order and without gaps; a line that comes after its minute was
//! judged changes counts in MongoDB, not what is learned.

use std::collections::BTreeMap;

use super::platform::Slice;
use super::users::Users;
use crate::MINUTE_MS;
use crate::anomaly::bytes::{Reader, Writer};
use crate::wire::Delta;

/// Most minutes that are open; where there are more, the oldest is judged before event time has passed it.
/// Lines that are further ahead of their batch are not watched, so that a wrong clock takes no memory.
pub const OPEN_MINUTES_MAX: usize = 1_440;
/// A log begins with the first minute that has this part of the most that any open minute has.
const BEGIN_PARTS: u64 = 10;
/// Most heavy users that are kept of a minute, those with most accesses.
pub const HEAVY_USERS_MAX: usize = 64;
/// Most minutes without any access that are judged one by one; a longer gap is a log that was off.
pub const GAP_MINUTES_MAX: u32 = 2 * 24 * 60;

/// What a minute holds.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Counts {
    pub slices: BTreeMap<Slice, u64>,
    /// Heavy users by the hash of their name: accesses and name.
    pub heavy: BTreeMap<u64, (u32, String)>,
    /// Distinct users.
    pub users: Users,
}

impl Counts {
    /// All accesses.
    pub fn accesses(&self) -> u64 {
        self.slices.get(&Slice::Total).copied().unwrap_or(0)
    }
}

/// The open minutes.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Open {
    by_minute: BTreeMap<u32, Counts>,
    /// The minute that is judged next; `None` before the first.
    next: Option<u32>,
}

/// The last minute that a batch whose event time is this can tell of.
fn last_minute(event_time_ms: Option<i64>) -> u32 {
    let minute = |ms: i64| u32::try_from(ms.div_euclid(MINUTE_MS)).unwrap_or(0);
    event_time_ms.map_or(u32::MAX, |ms| minute(ms).saturating_add(OPEN_MINUTES_MAX as u32))
}

impl Open {
    /// Adds counts by minute and slice, and the users of a batch. Event time is that of its partition.
    pub fn add(
        &mut self,
        sums: &BTreeMap<u32, BTreeMap<Slice, u64>>,
        delta: &Delta,
        event_time_ms: Option<i64>,
    ) {
        let last = last_minute(event_time_ms);
        for (&minute, slices) in sums {
            let Some(counts) = self.entry(minute, last) else { continue };
            for (slice, n) in slices {
                match counts.slices.get_mut(slice) {
                    Some(sum) => *sum += n,
                    None => drop(counts.slices.insert(slice.clone(), *n)),
                }
            }
        }
        for (minute, hashes) in &delta.users {
            if let Some(counts) = self.entry(*minute, last) {
                hashes.iter().for_each(|hash| counts.users.add(*hash));
            }
        }
        for user in &delta.heavy_users {
            if let Some(counts) = self.entry(user.minute, last) {
                let hash = crate::hash(user.user_id.as_bytes());
                counts.heavy.entry(hash).or_insert_with(|| (0, user.user_id.clone())).0 += user.n;
                if counts.heavy.len() > HEAVY_USERS_MAX {
                    let least = counts.heavy.iter().min_by_key(|(_, (n, _))| *n).map(|(&hash, _)| hash);
                    least.map(|hash| counts.heavy.remove(&hash));
                }
            }
        }
    }

    fn entry(&mut self, minute: u32, last: u32) -> Option<&mut Counts> {
        let is_judged = self.next.is_some_and(|next| minute < next);
        (!is_judged && minute <= last).then(|| self.by_minute.entry(minute).or_default())
    }

    /// Whether the oldest minute must be judged now.
    pub fn is_full(&self) -> bool {
        self.by_minute.len() > OPEN_MINUTES_MAX
    }

    /// The next minute, if it ends at or before `end_ms_max`; one without accesses is empty.
    pub fn take(&mut self, end_ms_max: i64) -> Option<(u32, Counts)> {
        let first = self.by_minute.first_key_value().map(|(&minute, _)| minute);
        let next = match (self.next, first) {
            (None, _) => self.begin()?,
            (Some(next), Some(first)) if first - next > GAP_MINUTES_MAX => first,
            (Some(next), _) => next,
        };
        if (i64::from(next) + 1) * MINUTE_MS > end_ms_max {
            return None;
        }
        self.next = Some(next + 1);
        Some((next, self.by_minute.remove(&next).unwrap_or_default()))
    }

    /// Where a log begins: some late lines before that would look like next to no traffic.
    fn begin(&mut self) -> Option<u32> {
        let most = self.by_minute.values().map(Counts::accesses).max()?;
        let is_traffic = |(_, counts): &(&u32, &Counts)| counts.accesses() >= most / BEGIN_PARTS;
        let first = *self.by_minute.iter().find(is_traffic)?.0;
        self.by_minute = self.by_minute.split_off(&first);
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
            for (&hash, (n, user_id)) in &counts.heavy {
                out.u64(hash);
                out.u32(*n);
                out.bytes(user_id.as_bytes());
            }
            counts.users.encode(out);
        }
    }

    pub fn decode(bytes: &mut Reader) -> Option<Self> {
        let is_known = bytes.u8()? != 0;
        let mut open = Self { next: Some(bytes.u32()?).filter(|_| is_known), ..Self::default() };
        for _ in 0..bytes.u32()? {
            let (minute, mut counts) = (bytes.u32()?, Counts::default());
            for _ in 0..bytes.u32()? {
                let slice = Slice::decode(bytes)?;
                counts.slices.insert(slice, bytes.u64()?);
            }
            for _ in 0..bytes.u32()? {
                let (hash, n) = (bytes.u64()?, bytes.u32()?);
                counts.heavy.insert(hash, (n, bytes.text()?.to_owned()));
            }
            counts.users = Users::decode(bytes)?;
            open.by_minute.insert(minute, counts);
        }
        Some(open)
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

    const M: u32 = 29_661_120;

    fn add(open: &mut Open, minute: u32, n: u64, batch_minute: u32) {
        let sums = BTreeMap::from([(minute, BTreeMap::from([(Slice::Total, n)]))]);
        open.add(&sums, &Delta::default(), Some(i64::from(batch_minute) * MINUTE_MS));
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
    fn open_minutes_are_bounded_and_a_wrong_clock_is_not_watched() {
        let mut open = Open::default();
        let max = u32::try_from(OPEN_MINUTES_MAX).expect("a day");
        (0..max).for_each(|minute| add(&mut open, M + minute, 1, M + minute));
        add(&mut open, M + max + 1, 1, M);
        assert!(open.by_minute.len() == OPEN_MINUTES_MAX && !open.is_full(), "too far ahead of its batch");
        add(&mut open, M + max, 1, M + max);
        assert!(open.is_full());
    }
}
