//! The static limit: accesses of the whole platform per minute, judged while a minute is still being counted.
//! An alert opens the moment its minute passes the limit, follows the count, and closes with the minute.

use std::collections::{BTreeMap, BTreeSet};

use crate::MINUTE_MS;
use crate::bson::Writer;

/// How far behind the watermark a minute is still judged, in milliseconds; later lines change counts, not
/// alerts.
pub const JUDGED_MS: i64 = 180 * MINUTE_MS;
/// How long after its end a minute closes, in milliseconds of event time, or of silence.
pub const CLOSE_AFTER_MS: i64 = MINUTE_MS;
/// Most minutes that are kept; the oldest make room.
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
        self.by_minute.entry(minute).or_default().n += n;
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
        while self.by_minute.len() > MINUTES_MAX {
            self.drop_first(now_ms, changes);
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

    fn drop_first(&mut self, now_ms: i64, changes: &mut Changes) {
        if let Some((minute, mut state)) = self.by_minute.pop_first() {
            close(minute, &mut state, now_ms, changes);
        }
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
    /// Appends the documents of `access_alerts` to `out`.
    pub fn write(&self, limit: u64, out: &mut Vec<u8>) {
        for (&minute, (n, alert)) in &self.alerts {
            write_alert(minute, *n, alert, limit, out);
        }
    }
}

fn write_alert(minute: u32, n: u64, alert: &Alert, limit: u64, out: &mut Vec<u8>) {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let times = n as f64 / limit.max(1) as f64;
    let mut document = Writer::new(out);
    document.string("_id", &alert_id(minute));
    document.string("kind", "limit");
    document.string("severity", if n >= limit.saturating_mul(2) { "critical" } else { "warning" });
    document.document("entity", |entity| entity.string("scope", "platform"));
    document.date("ts", i64::from(minute) * MINUTE_MS);
    document.string("incident", &alert_id(alert.incident));
    document.int64("observed", whole(n));
    document.null("expected");
    document.int64("limit", whole(limit));
    document.double("score", times);
    document.string("status", if alert.closed_at_ms.is_some() { "closed" } else { "open" });
    document.date("opened_at", alert.opened_at_ms);
    match alert.closed_at_ms {
        Some(closed_at_ms) => document.date("closed_at", closed_at_ms),
        None => document.null("closed_at"),
    }
    let at = time(minute, "%Y-%m-%d %H:%M");
    document.string(
        "text",
        &format!("{n} accesses in the minute {at} UTC, {times:.2} times the limit of {limit}"),
    );
    document.finish();
}

fn alert_id(minute: u32) -> String {
    format!("limit|platform|{}", time(minute, "%Y-%m-%dT%H:%MZ"))
}

fn time(minute: u32, format: &str) -> String {
    chrono::DateTime::from_timestamp_millis(i64::from(minute) * MINUTE_MS)
        .map(|time| time.format(format).to_string())
        .unwrap_or_default()
}
