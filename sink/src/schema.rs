//! The collections: their names, what they are made of, and how a database comes to have them.

pub mod daily;
pub mod definition;
pub mod plan;
pub mod sharding;
pub mod users;

pub use definition::{EventsBy, Retention};
pub use plan::ensure;

/// Raw events: a collection, or the view over those of [`daily`].
pub const EVENTS: &str = "access_events";
/// Lines that are no events.
pub const REJECTS: &str = "access_rejects";
/// Totals by minute.
pub const MINUTES: &str = "access_minutes";
/// Alerts.
pub const ALERTS: &str = "access_alerts";
/// What receivers of alerts were told.
pub const DELIVERIES: &str = "access_deliveries";
/// Checkpoints and topic epochs.
pub const STATE: &str = "pipeline_state";

/// The window sizes of rollups and user sketches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, UTC.
    Day,
}

impl Level {
    /// All sizes.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// Window size in minutes.
    pub fn size_minutes(self) -> u32 {
        match self {
            Self::Minute => 1,
            Self::Hour => 60,
            Self::Day => 24 * 60,
        }
    }

    /// The collection of rollups.
    pub const fn rollups(self) -> &'static str {
        match self {
            Self::Minute => "access_rollups_1m",
            Self::Hour => "access_rollups_1h",
            Self::Day => "access_rollups_1d",
        }
    }

    /// The collection of user sketches; those of minutes lie with the minutes' totals.
    pub const fn users(self) -> &'static str {
        match self {
            Self::Minute => MINUTES,
            Self::Hour => "access_users_1h",
            Self::Day => "access_users_1d",
        }
    }

    /// The next smaller size.
    pub fn finer(self) -> Option<Self> {
        match self {
            Self::Minute => None,
            Self::Hour => Some(Self::Minute),
            Self::Day => Some(Self::Hour),
        }
    }

    /// The start of the window that a minute lies in, in minutes since 1970.
    pub fn window(self, minute: u32) -> u32 {
        minute - minute % self.size_minutes()
    }
}
