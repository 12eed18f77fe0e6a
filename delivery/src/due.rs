//! What a receiver is to be told next of an incident. Pure: silences and time are arguments.

use serde::Serialize;

use crate::incident::{Incident, Severity, Status};
use crate::record::{Record, Stage};

/// How often news of an incident that only goes on are sent, in milliseconds.
pub const UPDATE_EVERY_MS: i64 = 5 * 60 * 1_000;

/// Why a receiver is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It has begun, or begun again.
    Opened,
    /// It is worse than before.
    Escalated,
    /// It goes on with other numbers.
    Updated,
    /// It is over.
    Closed,
}

impl Event {
    /// As it stands in what is sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Escalated => "escalated",
            Self::Updated => "updated",
            Self::Closed => "closed",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing now.
    Nothing,
    /// A silence keeps it back, which is written down.
    Silence,
    /// It is to be told.
    Tell(Event),
}

/// Whom the question is about.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// What closed before this was never its business, in milliseconds.
    pub since_ms: i64,
    /// The least severity that it is told of.
    pub severity_min: Severity,
    /// Whether it wants news of incidents that only go on.
    pub wants_updates: bool,
}

/// What is to be done about `incident`, given what the receiver knows, and whether it is silenced.
pub fn due(asker: Asker, incident: &Incident, record: Option<&Record>, silenced: bool, now_ms: i64) -> Due {
    let state = incident.state;
    let is_stage = |stage: Stage| record.is_some_and(|record| record.stage == stage);
    if is_stage(Stage::Dead) && record.is_some_and(|record| record.state == state) {
        return Due::Nothing;
    }
    let delivered = record.and_then(|record| record.delivered);
    let event = match delivered {
        None => {
            let is_old = record.is_none() && incident.closed_at_ms.is_some_and(|at| at < asker.since_ms);
            if is_old || state.severity < asker.severity_min {
                return Due::Nothing;
            }
            match state.status {
                Status::Open => Event::Opened,
                // What began and ended in silence stays silent.
                Status::Closed if is_stage(Stage::Silenced) => return kept_back(record, incident),
                Status::Closed => Event::Closed,
            }
        }
        Some(before) => match (before.state.status, state.status) {
            // Who was told of the beginning is told of the end, silence or not.
            (Status::Open, Status::Closed) => return Due::Tell(Event::Closed),
            (Status::Closed, Status::Open) => Event::Opened,
            _ if state.severity > before.state.severity => Event::Escalated,
            (Status::Open, Status::Open) => {
                let is_news = incident.observed != before.observed;
                let is_time = now_ms - before.at_ms >= UPDATE_EVERY_MS;
                if silenced || !(asker.wants_updates && is_news && is_time) {
                    return Due::Nothing;
                }
                Event::Updated
            }
            (Status::Closed, Status::Closed) => return Due::Nothing,
        },
    };
    if silenced { kept_back(record, incident) } else { Due::Tell(event) }
}

/// It is written down once.
fn kept_back(record: Option<&Record>, incident: &Incident) -> Due {
    let is_written =
        record.is_some_and(|record| record.stage == Stage::Silenced && record.state == incident.state);
    if is_written { Due::Nothing } else { Due::Silence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::group;
    use crate::incident::tests::alert;

    const ASKER: Asker = Asker { since_ms: 0, severity_min: Severity::Warning, wants_updates: true };

    fn incident(observed: i64, closed_at_ms: Option<i64>) -> Incident {
        group([alert(5, 5, observed, closed_at_ms)]).into_values().next().expect("one")
    }

    fn told(incident: &Incident, at_ms: i64) -> Record {
        let mut record = Record::new("ops", incident);
        record.delivered(incident, at_ms);
        record
    }

    fn check(incident: &Incident, record: Option<&Record>, expected: Due) {
        assert_eq!(due(ASKER, incident, record, false, 1_000), expected);
    }

    #[test]
    fn each_state_is_told_once() {
        let (open, worse, closed) = (incident(150, None), incident(250, None), incident(150, Some(9)));
        check(&open, None, Due::Tell(Event::Opened));
        check(&open, Some(&told(&open, 0)), Due::Nothing);
        check(&worse, Some(&told(&open, 0)), Due::Tell(Event::Escalated));
        check(&closed, Some(&told(&open, 0)), Due::Tell(Event::Closed));
        check(&closed, Some(&told(&closed, 0)), Due::Nothing);
        check(&open, Some(&told(&closed, 0)), Due::Tell(Event::Opened));
        check(&closed, None, Due::Tell(Event::Closed));
        check(&open, Some(&told(&worse, 0)), Due::Nothing);
        let worse_closed = incident(250, Some(9));
        check(&worse_closed, Some(&told(&closed, 0)), Due::Tell(Event::Escalated));
    }

    #[test]
    fn news_come_every_five_minutes_and_only_if_there_are_any() {
        let (open, more) = (incident(150, None), incident(160, None));
        let at = |now_ms| due(ASKER, &more, Some(&told(&open, 0)), false, now_ms);
        assert_eq!(at(UPDATE_EVERY_MS - 1), Due::Nothing);
        assert_eq!(at(UPDATE_EVERY_MS), Due::Tell(Event::Updated));
        assert_eq!(due(ASKER, &open, Some(&told(&open, 0)), false, i64::MAX), Due::Nothing);
        let asker = Asker { wants_updates: false, ..ASKER };
        assert_eq!(due(asker, &more, Some(&told(&open, 0)), false, i64::MAX), Due::Nothing);
        assert_eq!(due(ASKER, &more, Some(&told(&open, 0)), true, i64::MAX), Due::Nothing);
    }

    #[test]
    fn what_was_over_before_anybody_asked_or_is_too_mild_is_not_told() {
        let asker = Asker { since_ms: 10, ..ASKER };
        assert_eq!(due(asker, &incident(150, Some(9)), None, false, 1_000), Due::Nothing);
        assert_eq!(due(asker, &incident(150, Some(10)), None, false, 1_000), Due::Tell(Event::Closed));
        assert_eq!(due(asker, &incident(150, None), None, false, 1_000), Due::Tell(Event::Opened));
        let asker = Asker { severity_min: Severity::Critical, ..ASKER };
        assert_eq!(due(asker, &incident(199, None), None, false, 1_000), Due::Nothing);
        assert_eq!(due(asker, &incident(200, None), None, false, 1_000), Due::Tell(Event::Opened));
    }

    #[test]
    fn a_silence_keeps_back_the_beginning_and_not_the_end() {
        let (open, closed) = (incident(150, None), incident(150, Some(9)));
        let silenced =
            |incident: &Incident, record: Option<&Record>| due(ASKER, incident, record, true, 1_000);
        assert_eq!(silenced(&open, None), Due::Silence);
        let mut record = Record::new("ops", &open);
        record.follow(&open, Stage::Silenced);
        assert_eq!(silenced(&open, Some(&record)), Due::Nothing, "it is written down once");
        check(&open, Some(&record), Due::Tell(Event::Opened));
        check(&closed, Some(&record), Due::Silence);
        record.follow(&closed, Stage::Silenced);
        check(&closed, Some(&record), Due::Nothing);
        assert_eq!(silenced(&closed, Some(&told(&open, 0))), Due::Tell(Event::Closed));
        assert_eq!(silenced(&open, Some(&told(&closed, 0))), Due::Silence);
    }

    #[test]
    fn a_dead_letter_is_not_tried_again_but_what_comes_after_it_is() {
        let (open, closed) = (incident(150, None), incident(150, Some(9)));
        let mut record = Record::new("ops", &open);
        record.failed(&open, "refused", 5);
        record.stage = Stage::Dead;
        check(&open, Some(&record), Due::Nothing);
        check(&closed, Some(&record), Due::Tell(Event::Closed));
        record.failed(&closed, "busy", 6);
        assert_eq!((record.tries, record.failing_since_ms), (1, Some(6)), "counted anew");
    }
}
