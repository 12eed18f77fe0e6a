//! The work of `access-window-aggregate` on one stored batch: its events are counted by minute, country,
//! city, device and content type. The counts are a mergeable partial aggregate: no state outlives the batch,
//! so a batch that runs twice gives the same bytes twice, and windows are merged downstream.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHashMap;

use crate::MINUTE_MS;
use crate::bson::{Reader, documents};
use crate::event_id::EventId;
use crate::params::WindowSettings;
use crate::vocabulary::NAMES_MAX;
use crate::wire::{Cell, Delta, EventsFrame, HeavyUser, WireError};

/// Most heavy users that are named in the counts of one batch.
pub const HEAVY_USERS_MAX: usize = 64;
/// Accesses in one batch and minute from which on a user can be a heavy one, whatever the size of the batch;
/// in a small one it takes as much less as leaves [`HEAVY_USERS_MAX`].
pub const HEAVY_USER_N_MIN: u32 = 4;
/// How far a line's event time may lie ahead of the time at which it was stored and still tell the time, in
/// milliseconds.
pub const EVENT_TIME_AHEAD_MS_MAX: i64 = 5 * MINUTE_MS;

/// The counts of an events frame.
///
/// # Errors
/// When `bytes` is not an events frame, or a document in it is not one that `access-filter-map` makes.
pub fn aggregate(settings: WindowSettings, bytes: &[u8]) -> Result<Delta, WireError> {
    let frame = EventsFrame::decode(bytes)?;
    let mut counter = Counter::default();
    for document in documents(frame.documents) {
        counter.count(&Access::read(document).ok_or(WireError::Value)?).ok_or(WireError::Value)?;
    }
    let stored_at_ms = frame.header.stored_at_ms;
    let late_before_ms = stored_at_ms.saturating_sub(settings.lateness_ms_allowed);
    let late = counter.times_ms.iter().filter(|&&ts_ms| ts_ms < late_before_ms).count();
    let event_time_ms = event_time(std::mem::take(&mut counter.times_ms), stored_at_ms);
    let mut delta = counter.into_delta().ok_or(WireError::Text)?;
    delta.rejected = frame.rejected;
    delta.late = u32::try_from(late).expect("a batch has less than 2^32 lines");
    delta.event_time_ms = event_time_ms;
    Ok(delta)
}

/// The batch's event time: the median of those lines that do not come from the future. The median, because
/// one wrong clock must not move the time of the whole log.
fn event_time(mut times_ms: Vec<i64>, stored_at_ms: i64) -> Option<i64> {
    times_ms.retain(|&ts_ms| ts_ms <= stored_at_ms.saturating_add(EVENT_TIME_AHEAD_MS_MAX));
    median(times_ms)
}

/// The median of some times; `None` of none.
pub(crate) fn median(mut times_ms: Vec<i64>) -> Option<i64> {
    let middle = times_ms.len() / 2;
    (!times_ms.is_empty()).then(|| *times_ms.select_nth_unstable(middle).1)
}

/// The fields of an event's document that are counted; texts in UTF-8.
struct Access<'a> {
    ts_ms: i64,
    user_id: &'a [u8],
    device: &'a [u8],
    content_type: &'a [u8],
    place: Place<'a>,
}

/// A window and where its accesses come from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    /// Minutes since 1970.
    minute: u32,
    zone: u8,
    country: [u8; 2],
    city: &'a [u8],
}

impl Hash for Place<'_> {
    /// Cities come from the log, so they are hashed well.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(crate::hash(self.city));
        state.write_u32(self.minute);
        state.write_u16(u16::from_le_bytes(self.country));
    }
}

impl<'a> Access<'a> {
    /// Reads the fields in the order in which `Normalizer::write_event` writes them.
    fn read(document: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(document);
        let id = reader.int64("_id")?;
        let ts_ms = reader.date("ts")?;
        let user_id = reader.text("user_id")?;
        let device = reader.text("device")?;
        let content_type = reader.text("content_type")?;
        let country = reader.text("country")?.try_into().ok()?;
        let city = reader.text("city")?;
        let minute = u32::try_from(ts_ms / MINUTE_MS).ok()?;
        let zone = u8::try_from(EventId::from_number(id)?.zone()).expect("zones have 5 bits");
        Some(Self { ts_ms, user_id, device, content_type, place: Place { minute, zone, country, city } })
    }
}

/// Accesses by device and content type, which are indexes of their names.
type Counts = Vec<(u8, u8, u32)>;

#[derive(Default)]
struct Counter<'a> {
    devices: Vec<&'a [u8]>,
    content_types: Vec<&'a [u8]>,
    /// Where in `cells` a place is.
    places: FxHashMap<Place<'a>, usize>,
    cells: Vec<(Place<'a>, Counts)>,
    users: Vec<Seen<'a>>,
    times_ms: Vec<i64>,
}

/// A user in a minute, once for every access.
struct Seen<'a> {
    minute: u32,
    hash: u64,
    user_id: &'a [u8],
}

impl<'a> Counter<'a> {
    /// `None` when there are more names than vocabularies have.
    fn count(&mut self, access: &Access<'a>) -> Option<()> {
        let device = index(&mut self.devices, access.device)?;
        let content_type = index(&mut self.content_types, access.content_type)?;
        let cell = *self.places.entry(access.place).or_insert_with(|| {
            self.cells.push((access.place, Vec::new()));
            self.cells.len() - 1
        });
        let counts = &mut self.cells[cell].1;
        match counts.iter_mut().find(|(d, c, _)| (*d, *c) == (device, content_type)) {
            Some((_, _, n)) => *n += 1,
            None => counts.push((device, content_type, 1)),
        }
        let (minute, user_id) = (access.place.minute, access.user_id);
        self.users.push(Seen { minute, hash: crate::hash(user_id), user_id });
        self.times_ms.push(access.ts_ms);
        Some(())
    }

    /// `None` when a text is not UTF-8.
    fn into_delta(mut self) -> Option<Delta> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let names = |names: &[&[u8]]| names.iter().map(|name| text(name)).collect::<Option<_>>();
        self.cells.sort_unstable_by_key(|(place, _)| *place);
        let cells = self.cells.into_iter().map(|(place, mut counts)| {
            counts.sort_unstable();
            let Place { minute, zone, country, city } = place;
            Some(Cell { minute, zone, country, city: text(city)?, counts })
        });
        let cells = cells.collect::<Option<_>>()?;
        self.users.sort_unstable_by_key(|seen| (seen.minute, seen.hash));
        let of_user = |a: &Seen, b: &Seen| (a.minute, a.hash) == (b.minute, b.hash);
        let mut users = Vec::<(u32, Vec<u64>)>::new();
        for Seen { minute, hash, .. } in self.users.chunk_by(of_user).map(|accesses| &accesses[0]) {
            match users.last_mut().filter(|(last, _)| last == minute) {
                Some((_, hashes)) => hashes.push(*hash),
                None => users.push((*minute, vec![*hash])),
            }
        }
        let accesses = u32::try_from(self.users.len()).expect("a batch has less than 2^32 lines");
        let heavy = heavy_users(self.users.chunk_by(of_user), accesses);
        let heavy = heavy
            .into_iter()
            .map(|(n, seen)| Some(HeavyUser { minute: seen.minute, n, user_id: text(seen.user_id)? }));
        Some(Delta {
            devices: names(&self.devices)?,
            content_types: names(&self.content_types)?,
            cells,
            users,
            heavy_users: heavy.collect::<Option<_>>()?,
            ..Delta::default()
        })
    }
}

/// The users with most accesses, of all users with their accesses.
fn heavy_users<'s, 'a>(
    users: impl Iterator<Item = &'s [Seen<'a>]>,
    accesses: u32,
) -> Vec<(u32, &'s Seen<'a>)> {
    let n_min = (accesses / HEAVY_USERS_MAX as u32).clamp(1, HEAVY_USER_N_MIN);
    let mut heavy: Vec<_> = users
        .filter_map(|accesses| Some((u32::try_from(accesses.len()).ok()?, accesses.first()?)))
        .filter(|(n, _)| *n >= n_min)
        .collect();
    heavy.sort_unstable_by(|(a_n, a), (b_n, b)| {
        b_n.cmp(a_n).then_with(|| (a.minute, a.user_id).cmp(&(b.minute, b.user_id)))
    });
    heavy.truncate(HEAVY_USERS_MAX);
    heavy
}

/// The index of a name, which is appended when it is new; `None` when a vocabulary has no place for it.
fn index<'a>(names: &mut Vec<&'a [u8]>, name: &'a [u8]) -> Option<u8> {
    let index = names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    u8::try_from(index).ok().filter(|_| index < NAMES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter_map::{Batch, Line, write_frame};
    use crate::params::{FilterMapSettings, Params};
    use crate::wire::EventsFrameWriter;

    fn line(user: &str, ts_ms: i64, device: &str, city: &str) -> String {
        format!(
            r#"{{"user_id":"{user}","timestamp":{ts_ms},"device":"{device}","content_type":"movie","country":"BR","city":"{city}"}}"#
        )
    }

    fn delta(lines: &[String], stored_at_ms: i64) -> Delta {
        let settings = FilterMapSettings::parse(&Params::new()).expect("valid");
        let lines = (0..).zip(lines).map(|(offset, line)| Line { offset, value: line.as_bytes() });
        let mut frame = Vec::new();
        let batch = Batch { base_offset: 0, stored_at_ms };
        write_frame(&settings, batch, lines, &mut EventsFrameWriter::default(), &mut frame);
        aggregate(WindowSettings::parse(&Params::new()).expect("valid"), &frame).expect("a frame of ours")
    }

    const T: i64 = 1_763_805_600_000;

    #[test]
    fn lines_are_counted_by_minute_and_place() {
        let lines = [
            line("a", T, "tv", "Rio"),
            line("a", T + 59_999, "tablet", "Rio"),
            line("b", T + MINUTE_MS, "tv", "Rio"),
            line("b", T, "tv", "Recife"),
            line("c", T + 1, "tv", "Rio"),
            "not a line".to_owned(),
        ];
        let delta = delta(&lines, T + 2 * MINUTE_MS);
        let cells: Vec<_> = delta
            .cells
            .iter()
            .map(|c| (i64::from(c.minute) - T / MINUTE_MS, c.city.as_str(), c.counts.clone()))
            .collect();
        let expected = [
            (0, "Recife", vec![(0, 0, 1)]),
            (0, "Rio", vec![(0, 0, 2), (1, 0, 1)]),
            (1, "Rio", vec![(0, 0, 1)]),
        ];
        assert_eq!(cells, expected);
        assert_eq!(delta.users.iter().map(|(_, hashes)| hashes.len()).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(delta.rejected.iter().sum::<u32>(), 1);
    }

    #[test]
    fn late_is_later_than_allowed() {
        let stored = T + LATENESS;
        const LATENESS: i64 = crate::params::LATENESS_MS_ALLOWED;
        assert_eq!(delta(&[line("a", T, "tv", "Rio")], stored).late, 0);
        assert_eq!(delta(&[line("a", T - 1, "tv", "Rio")], stored).late, 1);
        assert_eq!(delta(&[line("a", T - 1, "tv", "Rio")], i64::MAX).late, 0, "nobody knows when");
    }

    #[test]
    fn one_wrong_clock_does_not_move_the_time() {
        let mut lines: Vec<_> = (0..9).map(|i| line("a", T + i, "tv", "Rio")).collect();
        lines.push(line("b", T + EVENT_TIME_AHEAD_MS_MAX + 1, "tv", "Rio"));
        assert_eq!(delta(&lines, T).event_time_ms, Some(T + 4));
        let future = [line("b", T + EVENT_TIME_AHEAD_MS_MAX + 1, "tv", "Rio")];
        assert_eq!(delta(&future, T).event_time_ms, None);
        assert!(delta(&[line("b", T + EVENT_TIME_AHEAD_MS_MAX, "tv", "Rio")], T).event_time_ms.is_some());
    }

    #[test]
    fn heavy_users_are_named_and_bounded() {
        let mut lines = Vec::new();
        for user in 0..HEAVY_USERS_MAX + 2 {
            lines.extend(
                (0..HEAVY_USER_N_MIN as usize + user).map(|_| line(&format!("u{user}"), T, "tv", "Rio")),
            );
        }
        lines.extend((1..HEAVY_USER_N_MIN).map(|_| line("light", T, "tv", "Rio")));
        let heavy = delta(&lines, T).heavy_users;
        assert_eq!(heavy.len(), HEAVY_USERS_MAX);
        let heaviest = format!("u{}", HEAVY_USERS_MAX + 1);
        assert_eq!(
            (&heavy[0].user_id, heavy[0].n),
            (&heaviest, HEAVY_USER_N_MIN + HEAVY_USERS_MAX as u32 + 1)
        );
        let few: Vec<_> = ["a", "b", "b"].map(|user| line(user, T, "tv", "Rio")).into();
        let named: Vec<_> =
            delta(&few, T).heavy_users.into_iter().map(|user| (user.user_id, user.n)).collect();
        assert_eq!(named, [("b".to_owned(), 2), ("a".to_owned(), 1)], "everybody in a small batch");
    }
}
