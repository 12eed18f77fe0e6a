//! How events should lie: in one collection, or in one a day under a view.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use mongodb::bson::{Document, doc};

use super::{COLLECTION, Change, Found, Step, compare};
use crate::schema::EVENTS;
use crate::schema::daily::{Day, KEPT_DAYS_MAX, Kept, OTHER, Parts, is_view, set_view, view};
use crate::schema::definition::{EventsBy, Retention, events};

/// Whether events lie in a collection a day.
pub fn are_daily(found: &BTreeMap<String, Found>) -> bool {
    found.get(EVENTS).is_some_and(|events| events.kind == "view" && is_view(&events.options))
}

/// The steps of the collections of events, and those that there will be then. What is there decides
/// how they lie; what should be, only where there is nothing.
pub fn steps(retention: &Retention, found: &BTreeMap<String, Found>, now_ms: i64) -> (Vec<Step>, Parts) {
    let is_new = !found.contains_key(EVENTS);
    if are_daily(found) || is_new && retention.events_by == EventsBy::Drop {
        return daily(retention, found, now_ms);
    }
    let there = found.get(EVENTS);
    let steps = match there {
        Some(there) if there.kind == COLLECTION && retention.events_by == EventsBy::Drop => vec![Step {
            what: format!("collection {EVENTS}"),
            change: Change::Differs(format!(
                "it holds the events of all days: to have a collection a day, stop the pipeline, rename it to \
                 {OTHER}, and run `streampulse mongodb init --apply` (docs/mongodb.md)"
            )),
        }],
        _ => compare(&events(EVENTS, retention.events_days), there),
    };
    (steps, Parts::one())
}

fn daily(retention: &Retention, found: &BTreeMap<String, Found>, now_ms: i64) -> (Vec<Step>, Parts) {
    let there: BTreeSet<Day> = found.keys().filter_map(|name| Day::of_collection(name)).collect();
    let kept = Kept::at(now_ms, retention.events_days.map_or(KEPT_DAYS_MAX, NonZeroU32::get));
    let all: BTreeSet<Day> = there.iter().copied().chain(kept.ahead()).collect();
    let mut steps = compare(&events(OTHER, retention.events_days), found.get(OTHER));
    let mut right = BTreeSet::new();
    for day in &all {
        let name = day.collection();
        let mut due = compare(&events(&name, None), found.get(&name));
        due.retain(|step| step.change != Change::Keep);
        if due.is_empty() {
            right.insert(*day);
        }
        steps.extend(due);
    }
    if let Some(what) = named(&right) {
        steps.push(Step { what, change: Change::Keep });
    }
    steps.push(view_step(retention, found.get(EVENTS), &all));
    let over: BTreeSet<Day> = there.into_iter().filter(|day| kept.is_over(*day)).collect();
    if let (EventsBy::Drop, Some(days), Some(what)) =
        (retention.events_by, retention.events_days, named(&over))
    {
        let left = &all - &over;
        let drops = over.iter().map(|day| doc! { "drop": day.collection() });
        let commands = std::iter::once(set_view(&left)).chain(drops).collect();
        let how = format!("all events are older than {days} days and will be DELETED");
        steps.push(Step { what, change: Change::Repair { how, commands } });
    }
    (steps, Parts::daily(&all, kept))
}

fn view_step(retention: &Retention, found: Option<&Found>, days: &BTreeSet<Day>) -> Step {
    let what = format!("view {EVENTS} of {} days", days.len());
    let Some(found) = found else {
        let mut create: Document = doc! { "create": EVENTS };
        create.extend(view(days));
        return Step { what, change: Change::Create(vec![create]) };
    };
    let change = if retention.events_by == EventsBy::Ttl {
        Change::Differs(
            "it has a collection a day, not one for all; docs/mongodb.md says how to go back".to_owned(),
        )
    } else if found.options == view(days) {
        Change::Keep
    } else if is_of_days(found) {
        Change::Create(vec![set_view(days)])
    } else {
        Change::Repair { how: "it is another".to_owned(), commands: vec![set_view(days)] }
    };
    Step { what, change }
}

/// Whether a view is as we would have set it for some days.
fn is_of_days(found: &Found) -> bool {
    let Ok(stages) = found.options.get_array("pipeline") else { return false };
    let day_of =
        |stage: &mongodb::bson::Bson| Day::of_collection(stage.as_document()?.get_str("$unionWith").ok()?);
    let days: BTreeSet<Day> = stages.iter().filter_map(day_of).collect();
    found.options == view(&days)
}

/// Days, for people; none: nothing.
fn named(days: &BTreeSet<Day>) -> Option<String> {
    let (first, last) = (days.first()?.collection(), days.last()?.collection());
    Some(match days.len() {
        1 => format!("collection {first}"),
        n => format!("collections of {n} days, {first} to {last}"),
    })
}
