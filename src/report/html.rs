//! The report as one HTML file that needs nothing else: words first, then charts made of plain elements and
//! SVG, light or dark as the reader's system is, readable on a phone and on paper. No script.

pub(crate) mod charts;
#[cfg(test)]
mod tests;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::sentences;
use super::table::printable;
use super::text::ROWS_MAX;
use super::text_alerts::incident_rows;
use super::words::Words;
use super::{BusyTime, ContentShare, Lang, Report};

/// Colours and shapes.
const STYLE: &str = include_str!("html/style.css");

/// Renders the report in `lang`.
pub fn render_html(report: &Report, lang: Lang) -> String {
    let words = Words(lang);
    let title = sentences::title(report, words);
    let body = html! {
        main {
            header {
                h1 { (title) }
                (totals(report, lang))
            }
            @for (_, part) in parts(report, lang) { (part) }
            footer { "streampulse " (env!("CARGO_PKG_VERSION")) }
        }
    };
    document(lang, &title, "", &policy("", ""), &body) + "\n"
}

/// The sums of the period in words.
pub(crate) fn totals(report: &Report, lang: Lang) -> Markup {
    said(&sentences::totals(report, Words(lang)))
}

/// What a reader's browser may do with a document: take our style, with `more` style, and beyond that only what
/// `rules` allow. So a name from a log that got into it as more than text could neither run nor tell anybody.
pub(crate) fn policy(more: &str, rules: &str) -> String {
    let hash = BASE64_STANDARD.encode(Sha256::digest(format!("{STYLE}{more}")));
    format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'{rules}")
}

/// A whole document in our style, with `more` style, and its [`policy`].
pub(crate) fn document(lang: Lang, title: &str, more: &str, policy: &str, body: &Markup) -> String {
    let language = match lang {
        Lang::En => "en",
        Lang::Pt => "pt",
    };
    let page = html! {
        (DOCTYPE)
        html lang=(language) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(more)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// The sections that there is something to say in, with what they are called.
pub(crate) fn parts(report: &Report, lang: Lang) -> Vec<(&'static str, Markup)> {
    let words = Words(lang);
    let mut parts = Vec::new();
    if report.totals.accesses > 0 {
        parts.extend([
            ("timeline", timeline(report, words)),
            ("peaks", peaks(report, words)),
            ("devices", devices(report, words)),
            ("contents", contents(report, words)),
        ]);
    }
    if report.totals.accesses > 0 || report.alerts_total > 0 {
        parts.push(("alerts", alerts(report, words)));
    }
    parts
}

fn said(sentences: &[String]) -> Markup {
    html! { @for sentence in sentences { p { (sentence) } } }
}

fn timeline(report: &Report, words: Words) -> Markup {
    let labels = words.labels();
    html! {
        section {
            h2 { (labels.timeline) }
            (charts::timeline(&report.timeline, None, words))
        }
    }
}

fn peaks(report: &Report, words: Words) -> Markup {
    let (peaks, labels) = (&report.peaks, words.labels());
    html! {
        section {
            h2 { (labels.peaks) }
            (said(&sentences::peaks(report, words)))
            div.pair {
                (busy_times(labels.busiest_minutes, &peaks.busiest_minutes, words))
                (busy_times(labels.busiest_hours, &peaks.busiest_hours, words))
            }
            @if sentences::shows_week(report) {
                h3 { (labels.week_title) }
                (charts::week(&peaks.hours_by_weekday, words))
            }
        }
    }
}

/// One line is no list: the sentence above has said it.
fn busy_times(title: &str, times: &[BusyTime], words: Words) -> Markup {
    if times.len() < 2 {
        return html! {};
    }
    let labels = words.labels();
    html! {
        table {
            thead { tr { th { (title) } th.n { (labels.accesses) } th.n { (labels.times_average) } th {} } }
            tbody {
                @for time in times {
                    tr {
                        td { (words.moment(time.local)) }
                        td.n { (words.int(time.n)) }
                        td.n { (words.decimal(time.times_average)) }
                        td.bar { (charts::bar(time.n, times[0].n)) }
                    }
                }
            }
        }
    }
}

fn devices(report: &Report, words: Words) -> Markup {
    let labels = words.labels();
    let Some(first) = report.devices.first() else { return html! {} };
    html! {
        section {
            h2 { (labels.devices) }
            (said(&sentences::devices(report, words)))
            table {
                thead { tr { th { (labels.device) } th.n { (labels.accesses) } th.n { (labels.share) } th {} } }
                tbody {
                    @for device in &report.devices {
                        tr {
                            td { (words.device(&device.device)) }
                            td.n { (words.int(device.n)) }
                            td.n { (words.percent(device.share)) }
                            td.bar { (charts::bar(device.n, first.n)) }
                        }
                    }
                }
            }
        }
    }
}

fn contents(report: &Report, words: Words) -> Markup {
    let labels = words.labels();
    let names: Vec<&str> = report.content_types.iter().map(|content| content.content_type.as_str()).collect();
    let countries = report.content_by_country.len() as u64;
    let cities = report.content_by_city.as_deref().unwrap_or_default();
    html! {
        section {
            h2 { (labels.contents) }
            (said(&sentences::contents(report, words)))
            (charts::legend(&names, words))
            table {
                thead {
                    tr { th { (labels.country) } th.n { (labels.accesses) } th.n { (labels.share) } th {} }
                }
                tbody {
                    @for (country, share) in report.content_by_country.iter().zip(&report.countries).take(ROWS_MAX) {
                        tr {
                            td { (country.country) }
                            td.n { (words.int(country.n)) }
                            td.n { (words.percent(share.share)) }
                            (mix(&country.contents, &names, words))
                        }
                    }
                }
            }
            (more(countries, words))
            @if !cities.is_empty() {
                table {
                    thead {
                        tr { th { (labels.city) } th { (labels.country) } th.n { (labels.accesses) } th {} }
                    }
                    tbody {
                        @for city in cities.iter().take(ROWS_MAX) {
                            tr {
                                td { (printable(&city.city)) }
                                td { (city.country) }
                                td.n { (words.int(city.n)) }
                                (mix(&city.contents, &names, words))
                            }
                        }
                    }
                }
                (more(report.cities_total.unwrap_or_default(), words))
            }
        }
    }
}

fn mix(contents: &[ContentShare], names: &[&str], words: Words) -> Markup {
    html! { td.bar { (charts::stacked(contents, names, words)) } }
}

fn more(total: u64, words: Words) -> Markup {
    let more = total.saturating_sub(ROWS_MAX as u64);
    html! { @if more > 0 { p.note { (words.more(more)) } } }
}

fn alerts(report: &Report, words: Words) -> Markup {
    let labels = words.labels();
    if report.alerts_total == 0 {
        return html! { section { h2 { (labels.alerts) } p { (labels.no_alerts) } } };
    }
    let (rows, hidden, sentence) = incident_rows(report, words);
    html! {
        section {
            h2 { (labels.alerts) }
            p { (sentence) }
            div.wide tabindex="0" {
                table {
                    thead { tr { @for label in labels.alert_columns { th { (label) } } } }
                    tbody {
                        @for row in &rows {
                            tr.critical[row.is_critical] { @for cell in &row.cells { td { (cell) } } }
                        }
                    }
                }
            }
            @if hidden > 0 { p.note { (words.earlier(hidden)) } }
        }
    }
}
