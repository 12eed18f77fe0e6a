//! The `_id` of an event: where its line lies in the log, packed into one int64 that sorts by zone, topic
//! epoch, partition and offset. A line read again gets the same id, which makes its insert idempotent.

use std::fmt;

/// Bits of the zone: data residency groups, e.g. EU.
const ZONE_BITS: u32 = 5;
/// Bits of the topic epoch: how often the topic was created anew under the same database.
const EPOCH_BITS: u32 = 7;
/// Bits of the partition.
const PARTITION_BITS: u32 = 10;
/// Bits of the offset: 2.2e12 lines a partition, which is 1.4 years at 50,000 a second.
const OFFSET_BITS: u32 = 41;

/// One past the largest zone.
pub const ZONES_MAX: u32 = 1 << ZONE_BITS;
/// One past the largest topic epoch.
pub const EPOCHS_MAX: u32 = 1 << EPOCH_BITS;
/// One past the largest partition.
pub const PARTITIONS_MAX: u32 = 1 << PARTITION_BITS;
/// One past the largest offset.
pub const OFFSETS_MAX: u64 = 1 << OFFSET_BITS;

const _: () = assert!(ZONE_BITS + EPOCH_BITS + PARTITION_BITS + OFFSET_BITS == 63);

/// A partition of one incarnation of the log topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Source {
    /// Which incarnation of the topic; a topic created anew starts again at offset 0 with another epoch.
    pub epoch: u32,
    /// The partition within the topic.
    pub partition: u32,
}

impl Source {
    /// `None` when a part is out of its range ([`EPOCHS_MAX`], [`PARTITIONS_MAX`]).
    pub fn new(epoch: u32, partition: u32) -> Option<Self> {
        (epoch < EPOCHS_MAX && partition < PARTITIONS_MAX).then_some(Self { epoch, partition })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "partition {} of epoch {}", self.partition, self.epoch)
    }
}

/// The `_id` of an event or a reject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(i64);

impl EventId {
    /// `None` when zone or offset is out of range.
    pub fn new(zone: u32, source: Source, offset: u64) -> Option<Self> {
        let in_range = zone < ZONES_MAX && offset < OFFSETS_MAX;
        in_range.then(|| {
            let head = (u64::from(zone) << EPOCH_BITS | u64::from(source.epoch)) << PARTITION_BITS;
            let bits = (head | u64::from(source.partition)) << OFFSET_BITS | offset;
            Self(i64::try_from(bits).expect("the parts sum up to 63 bits"))
        })
    }

    /// The id with this number; `None` for a negative one.
    pub fn from_number(number: i64) -> Option<Self> {
        (number >= 0).then_some(Self(number))
    }

    /// The zone.
    pub fn zone(self) -> u32 {
        u32::try_from(self.0 >> (EPOCH_BITS + PARTITION_BITS + OFFSET_BITS)).expect("a zone has 5 bits")
    }

    /// The offset in its partition.
    pub fn offset(self) -> u64 {
        self.0.cast_unsigned() % OFFSETS_MAX
    }

    /// The number stored in MongoDB; never negative.
    pub fn get(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(zone: u32, epoch: u32, partition: u32, offset: u64) -> Option<i64> {
        EventId::new(zone, Source::new(epoch, partition)?, offset).map(EventId::get)
    }

    #[test]
    fn ids_sort_by_zone_epoch_partition_and_offset() {
        let in_order = [(0, 0, 0, 0), (0, 0, 0, OFFSETS_MAX - 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)];
        let ids: Vec<_> = in_order.iter().map(|&(z, e, p, o)| id(z, e, p, o).expect("in range")).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    }

    #[test]
    fn an_id_gives_back_its_parts() {
        let number = id(31, 127, 3, 77).expect("in range");
        let id = EventId::from_number(number).expect("not negative");
        assert_eq!((id.zone(), id.offset()), (31, 77));
        assert_eq!(EventId::from_number(-1), None);
    }

    #[test]
    fn the_edges_of_every_part_hold() {
        assert_eq!(id(ZONES_MAX - 1, EPOCHS_MAX - 1, PARTITIONS_MAX - 1, OFFSETS_MAX - 1), Some(i64::MAX));
        assert_eq!(id(ZONES_MAX, 0, 0, 0), None);
        assert_eq!(id(0, EPOCHS_MAX, 0, 0), None);
        assert_eq!(id(0, 0, PARTITIONS_MAX, 0), None);
        assert_eq!(id(0, 0, 0, OFFSETS_MAX), None);
    }
}
