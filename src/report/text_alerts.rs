//! The last section of the text report: the alerts of the period, one row per incident.

use chrono::TimeDelta;

use super::sentences::local;
use super::table::{Align, Page, Table, Tone};
use super::text::ROWS_MAX;
use super::words::Words;
use super::{Alert, Report};

/// Adds the section to the page.
pub(crate) fn alerts(page: &mut Page, report: &Report, words: Words) {
    let labels = words.labels();
    page.heading(labels.alerts);
    if report.alerts_total == 0 {
        return page.sentence(labels.no_alerts);
    }
    let (rows, hidden, sentence) = incident_rows(report, words);
    page.sentence(&sentence);
    let aligns = {
        use Align::{Left, Right, Toned};
        [Toned, Left, Left, Left, Right, Right, Right, Left]
    };
    let mut table = Table::new(labels.alert_columns.into_iter().zip(aligns));
    for row in rows {
        let tone = if row.is_critical { Tone::Critical } else { Tone::Warning };
        table.row(row.cells, Some(tone));
    }
    page.table(&table);
    if hidden > 0 {
        page.note(&words.earlier(hidden));
    }
}

/// An incident, in the columns of [`super::labels::Labels::alert_columns`].
pub(crate) struct IncidentRow {
    pub is_critical: bool,
    pub cells: [String; 8],
}

/// The newest incidents, how many earlier ones are not among them, and a sentence on all.
pub(crate) fn incident_rows(report: &Report, words: Words) -> (Vec<IncidentRow>, u64, String) {
    let incidents = incidents(&report.alerts);
    let listed = report.alerts.len() as u64;
    let sentence = words.alerts(report.alerts_total, listed, incidents.len() as u64);
    let hidden = incidents.len().saturating_sub(ROWS_MAX);
    let row = |minutes: &Vec<&Alert>| {
        let (first, last) = (minutes[0], minutes[minutes.len() - 1]);
        let value = |alert: &Alert| alert.observed.as_ref().and_then(|n| n.as_f64()).unwrap_or(0.0);
        let highest =
            minutes.iter().max_by(|a, b| value(a).total_cmp(&value(b))).map_or(first, |alert| *alert);
        let critical = minutes.iter().find(|alert| alert.severity == "critical");
        let severity = &critical.map_or(first, |alert| *alert).severity;
        let until = last.ts + TimeDelta::minutes(i64::try_from(last.minutes).unwrap_or(1) - 1);
        let expected = highest.expected.as_ref().and_then(|n| n.as_f64()).map(|n| words.int(n.round()));
        let cells = [
            words.severity(severity).to_owned(),
            words.alert_kind(&first.kind).to_owned(),
            words.moment(local(first.ts, report)),
            local(until, report).format("%H:%M").to_string(),
            words.int(minutes.iter().map(|alert| alert.minutes).sum::<u64>()),
            words.stored(highest.observed.as_ref()),
            highest.limit.as_ref().map_or(expected.unwrap_or_default(), |limit| words.stored(Some(limit))),
            words.status(&last.status).to_owned(),
        ];
        IncidentRow { is_critical: critical.is_some(), cells }
    };
    (incidents[hidden..].iter().map(row).collect(), hidden as u64, sentence)
}

/// The alerts by incident, in order of their first minute. An alert without an incident stands alone.
fn incidents(alerts: &[Alert]) -> Vec<Vec<&Alert>> {
    let mut incidents: Vec<Vec<&Alert>> = Vec::new();
    for alert in alerts {
        let same =
            |other: &&mut Vec<&Alert>| !alert.incident.is_empty() && other[0].incident == alert.incident;
        match incidents.iter_mut().rev().find(same) {
            Some(incident) => incident.push(alert),
            None => incidents.push(vec![alert]),
        }
    }
    incidents
}
