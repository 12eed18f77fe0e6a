//! The counts of one stored batch: mergeable partial aggregates by minute, so that late lines always land in
//! their window. In the topic `access-rollups` they travel in numbered parts of bounded size.

use super::{Decoder, Encoder, Header, Kind, RejectCounts, WireError, check};
use crate::event_id::ZONES_MAX;
use crate::normalize::{CITY_BYTES_MAX, EVENT_TIME_MS_END, USER_ID_BYTES_MAX};
use crate::vocabulary::is_name;

/// Most cells in one part.
pub const CELLS_PER_PART_MAX: usize = 2_000;
/// Most devices, and content types, that are named: as many as have an index. A replay of what is stored
/// can have those of several vocabularies.
const NAMES_LISTED_MAX: usize = 256;
/// Most users in one part.
pub const USERS_PER_PART_MAX: usize = 100_000;

/// Accesses of one minute in one city.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Window start in minutes since 1970.
    pub minute: u32,
    /// The zone that the country's events lie in.
    pub zone: u8,
    /// ISO 3166-1 alpha-2.
    pub country: [u8; 2],
    /// City.
    pub city: String,
    /// (device, content type, accesses), the first two as indexes into the delta's names; ascending, each
    /// pair once.
    pub counts: Vec<(u8, u8, u32)>,
}

/// A user with many accesses in one minute of the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeavyUser {
    /// Window start in minutes since 1970.
    pub minute: u32,
    /// Accesses.
    pub n: u32,
    /// Who.
    pub user_id: String,
}

/// The counts of one stored batch, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Delta {
    /// Names of the devices.
    pub devices: Vec<String>,
    /// Names of the content types.
    pub content_types: Vec<String>,
    /// Ascending by (minute, zone, country, city), each once.
    pub cells: Vec<Cell>,
    /// Hashes of the users seen in a minute, ascending, each once.
    pub users: Vec<(u32, Vec<u64>)>,
    /// The users with most accesses.
    pub heavy_users: Vec<HeavyUser>,
    /// Rejects by reason; they count in the minute in which the batch was stored.
    pub rejected: RejectCounts,
    /// Late lines; they count in the minute in which the batch was stored.
    pub late: u32,
    /// The batch's event time as far as it can be trusted, in milliseconds; `None` where no line tells it.
    pub event_time_ms: Option<i64>,
}

impl Delta {
    /// Appends the encoded counts to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder(out);
        for names in [&self.devices, &self.content_types] {
            encoder.count(names.len());
            names.iter().for_each(|name| encoder.text(name));
        }
        encoder.count(self.cells.len());
        for cell in &self.cells {
            encoder.u32(cell.minute);
            encoder.u8(cell.zone);
            encoder.0.extend_from_slice(&cell.country);
            encoder.text(&cell.city);
            encoder.count(cell.counts.len());
            for &(device, content_type, n) in &cell.counts {
                encoder.u8(device);
                encoder.u8(content_type);
                encoder.u32(n);
            }
        }
        encoder.count(self.users.len());
        for (minute, hashes) in &self.users {
            encoder.u32(*minute);
            encoder.count(hashes.len());
            hashes.iter().for_each(|hash| encoder.u64(*hash));
        }
        encoder.count(self.heavy_users.len());
        for user in &self.heavy_users {
            encoder.u32(user.minute);
            encoder.u32(user.n);
            encoder.text(&user.user_id);
        }
        self.rejected.iter().for_each(|count| encoder.u32(*count));
        encoder.u32(self.late);
        encoder.u8(u8::from(self.event_time_ms.is_some()));
        encoder.i64(self.event_time_ms.unwrap_or(0));
    }

    /// Reads encoded counts.
    ///
    /// # Errors
    /// When the bytes are cut, too long, or hold what no counts of ours do.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder(bytes);
        let delta = Self::decode_from(&mut decoder)?;
        decoder.end().map(|()| delta)
    }

    /// Cuts the counts into parts of at most [`CELLS_PER_PART_MAX`] cells and [`USERS_PER_PART_MAX`] users.
    /// What is not counted by cell goes into the last part, so that event time moves when all is counted.
    pub fn into_parts(mut self) -> Vec<Self> {
        let mut parts = Vec::new();
        while self.cells.len() > CELLS_PER_PART_MAX || self.user_count() > USERS_PER_PART_MAX {
            let rest = self.cells.split_off(self.cells.len().min(CELLS_PER_PART_MAX));
            let cells = std::mem::replace(&mut self.cells, rest);
            let users = self.take_users(USERS_PER_PART_MAX);
            let (devices, content_types) = (self.devices.clone(), self.content_types.clone());
            parts.push(Self { devices, content_types, cells, users, ..Self::default() });
        }
        parts.push(self);
        parts
    }

    pub(super) fn user_count(&self) -> usize {
        self.users.iter().map(|(_, hashes)| hashes.len()).sum()
    }

    fn take_users(&mut self, most: usize) -> Vec<(u32, Vec<u64>)> {
        let mut left = most;
        let whole = self.users.iter().take_while(|(_, hashes)| {
            let is_whole = hashes.len() <= left;
            left -= if is_whole { hashes.len() } else { 0 };
            is_whole
        });
        let rest = self.users.split_off(whole.count());
        let mut taken = std::mem::replace(&mut self.users, rest);
        if let Some((minute, hashes)) = self.users.first_mut().filter(|_| left > 0) {
            let rest = hashes.split_off(left);
            taken.push((*minute, std::mem::replace(hashes, rest)));
        }
        taken
    }

    fn decode_from(decoder: &mut Decoder) -> Result<Self, WireError> {
        let mut delta = Self::default();
        for names in [&mut delta.devices, &mut delta.content_types] {
            let count = decoder.count(4)?;
            check(count <= NAMES_LISTED_MAX)?;
            for _ in 0..count {
                let name = decoder.text()?;
                check(is_name(name))?;
                names.push(name.to_owned());
            }
        }
        let listed = |names: &[String], index: u8| usize::from(index) < names.len();
        for _ in 0..decoder.count(15)? {
            let (minute, zone, country) = (decoder.minute()?, decoder.u8()?, decoder.array::<2>()?);
            check(u32::from(zone) < ZONES_MAX && !country.contains(&0))?;
            let city = decoder.bounded_text(CITY_BYTES_MAX)?.to_owned();
            let count = decoder.count(6)?;
            let mut counts = Vec::with_capacity(count);
            for _ in 0..count {
                let count = (decoder.u8()?, decoder.u8()?, decoder.u32()?);
                check(listed(&delta.devices, count.0) && listed(&delta.content_types, count.1))?;
                counts.push(count);
            }
            delta.cells.push(Cell { minute, zone, country, city, counts });
        }
        for _ in 0..decoder.count(8)? {
            let minute = decoder.minute()?;
            let hashes = (0..decoder.count(8)?).map(|_| decoder.u64()).collect::<Result<_, _>>()?;
            delta.users.push((minute, hashes));
        }
        for _ in 0..decoder.count(12)? {
            let (minute, n) = (decoder.minute()?, decoder.u32()?);
            let user_id = decoder.bounded_text(USER_ID_BYTES_MAX)?.to_owned();
            delta.heavy_users.push(HeavyUser { minute, n, user_id });
        }
        for count in &mut delta.rejected {
            *count = decoder.u32()?;
        }
        delta.late = decoder.u32()?;
        let known = decoder.u8()? != 0;
        delta.event_time_ms = Some(decoder.i64()?).filter(|_| known);
        check(delta.event_time_ms.is_none_or(|ms| (0..EVENT_TIME_MS_END).contains(&ms)))?;
        Ok(delta)
    }
}

/// A part of a batch's counts on its way through the topic `access-rollups`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaFrame {
    /// Where the counts come from.
    pub header: Header,
    /// Number of this part, from 0.
    pub part: u32,
    /// How many parts the batch has.
    pub parts: u32,
    /// The counts.
    pub delta: Delta,
}

impl DeltaFrame {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut encoder = Encoder(out);
        encoder.start(Kind::Delta);
        encoder.header(&self.header);
        encoder.u32(self.part);
        encoder.u32(self.parts);
        self.delta.encode(out);
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// When the bytes are not a delta frame of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut decoder = Decoder::start(bytes, Kind::Delta)?;
        let header = decoder.header()?;
        let (part, parts) = (decoder.u32()?, decoder.u32()?);
        check(part < parts)?;
        let delta = Delta::decode_from(&mut decoder)?;
        decoder.end().map(|()| Self { header, part, parts, delta })
    }
}
