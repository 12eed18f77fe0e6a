//! Panels of a dashboard: what they say, where they stand, what they ask for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{all_panels, check_data_source, is_plain, is_text, items, panel_name};

const COLUMNS: u64 = 24;

/// Those of Grafana's units that accesses, times, sizes and shares can be in.
const UNITS: &str = "none string short percent percentunit sci locale bytes decbytes kbytes mbytes gbytes binBps Bps \
    dateTimeAsIso dateTimeAsIsoNoDateIfToday dateTimeAsUS dateTimeAsLocal dateTimeAsSystem \
    dateTimeFromNow ns µs ms s m h d dtdurationms dtdurations dthms dtdhms clockms clocks cps ops reqps \
    rps wps cpm opm rpm wpm bool bool_yes_no bool_on_off";

pub fn check(dashboard: &Value, findings: &mut Vec<String>) {
    let panels = all_panels(dashboard);
    if panels.iter().all(|panel| is_plain(panel)) {
        findings.push("no panel shows data".to_owned());
    }
    let mut ids = BTreeSet::new();
    for panel in panels {
        let name = panel_name(panel);
        if !panel["id"].as_u64().is_some_and(|id| ids.insert(id)) {
            findings.push(format!("{name}: its id is no number or not its own"));
        }
        check_place(&name, panel, findings);
        if !is_plain(panel) {
            check_content(&name, panel, findings);
        }
    }
    check_overlaps(items(&dashboard["panels"]), findings);
    // Panels of a collapsed row take no place until it is opened.
    for row in items(&dashboard["panels"]) {
        check_overlaps(items(&row["panels"]), findings);
    }
}

fn check_content(name: &str, panel: &Value, findings: &mut Vec<String>) {
    if !is_text(&panel["title"]) || !is_text(&panel["description"]) {
        findings.push(format!("{name}: panel-title-description-rule: no title or description"));
    }
    let has_unit_rule = matches!(panel["type"].as_str(), Some("stat" | "gauge" | "table" | "timeseries"));
    if has_unit_rule && !has_unit(panel) {
        findings.push(format!("{name}: panel-units-rule: no unit that Grafana knows"));
    }
    if !is_text(&panel["fieldConfig"]["defaults"]["noValue"]) {
        findings.push(format!("{name}: no noValue for when there is no data"));
    }
    check_data_source(&format!("{name}: panel-datasource-rule"), &panel["datasource"], findings);
    let targets = items(&panel["targets"]);
    if targets.is_empty() {
        findings.push(format!("{name}: panel-no-targets-rule: no targets"));
    }
    let mut ref_ids = BTreeSet::new();
    for target in targets {
        let ref_id = target["refId"].as_str().unwrap_or_default();
        if ref_id.is_empty() || !ref_ids.insert(ref_id) {
            findings.push(format!("{name}: the refId {ref_id:?} is not one target's own"));
        }
    }
}

/// Whether it has a known unit or value mappings, in the defaults or in an override, which comes first.
fn has_unit(panel: &Value) -> bool {
    let config = &panel["fieldConfig"];
    let properties: Vec<_> =
        items(&config["overrides"]).iter().flat_map(|one| items(&one["properties"])).collect();
    let has_mappings = config["defaults"]["mappings"].is_array()
        || properties.iter().any(|property| property["id"] == "mappings" && !property["value"].is_null());
    let overridden = properties.iter().rev().find(|property| property["id"] == "unit");
    let unit = overridden.map_or(&config["defaults"]["unit"], |property| &property["value"]);
    has_mappings || unit.as_str().is_some_and(|unit| UNITS.split(' ').any(|known| known == unit))
}

/// A panel's rectangle in the grid.
struct Place {
    x: u64,
    y: u64,
    w: u64,
    h: u64,
}

impl Place {
    fn of(panel: &Value) -> Option<Self> {
        let side = |key: &str| panel["gridPos"][key].as_u64();
        let place = Self { x: side("x")?, y: side("y")?, w: side("w")?, h: side("h")? };
        (place.w > 0 && place.h > 0 && place.x + place.w <= COLUMNS).then_some(place)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }
}

fn check_place(name: &str, panel: &Value, findings: &mut Vec<String>) {
    if Place::of(panel).is_none() {
        findings.push(format!("{name}: its gridPos is not within {COLUMNS} columns: {}", panel["gridPos"]));
    }
}

fn check_overlaps(panels: &[Value], findings: &mut Vec<String>) {
    let placed: Vec<_> =
        panels.iter().filter_map(|panel| Place::of(panel).map(|place| (panel, place))).collect();
    for (index, (panel, place)) in placed.iter().enumerate() {
        for (other, _) in placed[index + 1..].iter().filter(|(_, other)| place.overlaps(other)) {
            findings.push(format!("{} overlaps {}", panel_name(panel), panel_name(other)));
        }
    }
}
