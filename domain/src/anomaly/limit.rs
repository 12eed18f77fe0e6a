//! Fixed limits: accesses a minute of the platform or of a slice, judged while a minute is being counted.
//! An alert opens the moment its minute passes the limit, follows the count, and closes with the minute.

use std::collections::{BTreeMap, BTreeSet};

use super::alert::{self, Alert as Document, Entity, Severity, minute_text};
use super::platform::Slice;
use crate::MINUTE_MS;

/// How far behind the watermark a minute is still judged, in milliseconds; later lines change counts, not
/// alerts.
pub const JUDGED_MS: i64 = 180 * MINUTE_MS;
/// How long after its end a minute closes, in milliseconds of event time, or of silence.
pub const CLOSE_AFTER_MS: i64 = MINUTE_MS;
/// Most minutes that are kept, of the platform and of all slices with a limit together, each of which has
/// an equal part of them; those from the future make room, and then the oldest. So many have a state far
/// below the 16 MB of one document in MongoDB.
pub const MINUTES_MAX: usize = 100_000;

/// The minutes that are still judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Minutes {
    /// Event time that every partition with lines to read has passed, in milliseconds.
    pub watermark_ms: i64,
    pub by_minute: BTreeMap<u32, Minute>,
}

impl Default for Minutes {
    fn default() -> Self {
        Self { watermark_ms: i64::MIN, by_minute: BTreeMap::new() }
    }
}

/// One minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Minute {
    pub n: u64,
    pub closed: bool,
    pub alert: Option<Alert>,
}

/// The alert of a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    /// First minute of the run of adjacent minutes it belongs to.
    pub incident: u32,
    pub opened_at_ms: i64,
    pub closed_at_ms: Option<i64>,
}

/// What one batch changed: minutes counted, and alerts as they stand after it.
#[derive(Debug, Default)]
pub(super) struct Changes {
    counted: BTreeSet<u32>,
    alerts: BTreeMap<u32, (u64, Alert)>,
}

impl Minutes {
    /// Counts `n` accesses more.
    pub fn add(&mut self, minute: u32, n: u64, changes: &mut Changes) {
        if end_ms(minute) <= self.judged_from_ms() {
            return;
        }
        let count = &mut self.by_minute.entry(minute).or_default().n;
        *count = count.saturating_add(n);
        changes.counted.insert(minute);
    }

    /// Opens or updates the alerts of the minutes counted since the last call.
    pub fn judge(&mut self, limit: u64, now_ms: i64, changes: &mut Changes) {
        for minute in std::mem::take(&mut changes.counted) {
            let Some(&Minute { n, closed, alert }) = self.by_minute.get(&minute) else { continue };
            if n <= limit {
                continue;
            }
            let opened = alert.is_none();
            let alert = alert.unwrap_or_else(|| Alert {
                incident: minute
                    .checked_sub(1)
                    .and_then(|before| self.by_minute.get(&before)?.alert)
                    .map_or(minute, |before| before.incident),
                opened_at_ms: now_ms,
                closed_at_ms: closed.then_some(now_ms),
            });
            self.by_minute.insert(minute, Minute { n, closed, alert: Some(alert) });
            changes.alerts.insert(minute, (n, alert));
            if opened {
                self.join(minute, alert.incident, changes);
            }
        }
    }

    /// Drops minutes where there are more than `minutes_max`: those after `present`, the last that can be
    /// now, and then the oldest.
    pub fn bound(&mut self, minutes_max: usize, present: u32, now_ms: i64, changes: &mut Changes) {
        while self.by_minute.len() > minutes_max {
            let from_the_future = self.by_minute.last_key_value().is_some_and(|(&last, _)| last > present);
            let dropped =
                if from_the_future { self.by_minute.pop_last() } else { self.by_minute.pop_first() };
            if let Some((minute, mut state)) = dropped {
                close(minute, &mut state, now_ms, changes);
            }
        }
    }

    /// Closes the minutes that end at or before `end_ms_max`; says whether there were any.
    pub fn close_until(&mut self, end_ms_max: i64, now_ms: i64, changes: &mut Changes) -> bool {
        let mut any = false;
        for (&minute, state) in
            self.by_minute.iter_mut().take_while(|(minute, _)| end_ms(**minute) <= end_ms_max)
        {
            if !state.closed {
                any = true;
                close(minute, state, now_ms, changes);
            }
        }
        any
    }

    /// Forgets the minutes that are no longer judged; all of them are closed.
    pub fn forget(&mut self) {
        let judged_from_ms = self.judged_from_ms();
        while self.by_minute.first_key_value().is_some_and(|(&minute, _)| end_ms(minute) <= judged_from_ms) {
            self.by_minute.pop_first();
        }
    }

    fn judged_from_ms(&self) -> i64 {
        self.watermark_ms.saturating_sub(JUDGED_MS)
    }

    /// Takes the alerts right after `minute` into its incident. So an incident is named after the first
    /// minute of its run in whatever order the minutes passed the limit.
    fn join(&mut self, minute: u32, incident: u32, changes: &mut Changes) {
        for (expected, (&next, state)) in (minute + 1..).zip(self.by_minute.range_mut(minute + 1..)) {
            let Some(alert) = &mut state.alert else { break };
            if next != expected || alert.incident == incident {
                break;
            }
            alert.incident = incident;
            changes.alerts.insert(next, (state.n, *alert));
        }
    }
}

fn close(minute: u32, state: &mut Minute, now_ms: i64, changes: &mut Changes) {
    state.closed = true;
    if let Some(alert) = &mut state.alert
        && alert.closed_at_ms.is_none()
    {
        alert.closed_at_ms = Some(now_ms);
        changes.alerts.insert(minute, (state.n, *alert));
    }
}

fn end_ms(minute: u32) -> i64 {
    (i64::from(minute) + 1) * MINUTE_MS
}

impl Changes {
    /// The alerts of a slice as they stand.
    pub fn alerts(&self, slice: &Slice, limit: u64) -> impl Iterator<Item = Document> {
        self.alerts.iter().map(move |(&minute, (n, alert))| document(slice, minute, *n, alert, limit))
    }
}

fn document(slice: &Slice, minute: u32, n: u64, alert: &Alert, limit: u64) -> Document {
    let id = |minute: u32| alert::id("limit", &slice.key(), i64::from(minute) * MINUTE_MS);
    let times = n as f64 / limit.max(1) as f64;
    let ts_ms = i64::from(minute) * MINUTE_MS;
    let (at, place) = (minute_text(ts_ms), slice.place());
    Document {
        id: id(minute),
        kind: "limit",
        severity: if n >= limit.saturating_mul(2) { Severity::Critical } else { Severity::Warning },
        entity: Entity::Slice(slice.clone()),
        ts_ms,
        incident: id(alert.incident),
        observed: n as f64,
        expected: None,
        limit: Some(limit as f64),
        score: times,
        opened_at_ms: alert.opened_at_ms,
        closed_at_ms: alert.closed_at_ms,
        extent: None,
        text: format!("{n} accesses{place} in the minute {at}, {times:.2} times the limit of {limit}"),
    }
}
