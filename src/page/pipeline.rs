//! How the pipeline keeps up: its processes, what its jobs have to go, and what was rejected.

use std::collections::BTreeMap;

use anyhow::Result;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use mongodb::Database;
use mongodb::bson::Document;

use super::now::{MINUTE_MS, number};
use super::{Shown, Texts};
use crate::queries::{self, Asked};
use crate::report::words::Words;

const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The section.
pub(super) async fn part(database: &Database, shown: Shown, at: DateTime<Utc>) -> Result<String> {
    let now_ms = at.timestamp_millis();
    let hour = Asked::period(now_ms - HOUR_MS, now_ms, MINUTE_MS);
    let processes = queries::processes().ask(database, &hour).await?;
    let jobs = queries::jobs().ask(database, &hour).await?;
    let mut rejects = queries::rejects_by_reason().ask(database, &hour).await?;
    rejects.sort_by_key(|reject| std::cmp::Reverse(number(reject, "lines")));
    let (words, texts) = (Words(shown.lang), Texts::of(shown.lang));
    let text = |document: &Document, key: &str| document.get_str(key).unwrap_or_default().to_owned();
    let count = |document: &Document, key: &str| words.int(number(document, key).unwrap_or(0));
    let processes = processes.iter().map(|process| {
        let name = format!("{}, {}", text(process, "process"), text(process, "runtime"));
        let state = text(process, "state");
        (state == "gone", [name, words.process(&state).to_owned(), count(process, "seconds")])
    });
    let jobs = by_job(&jobs).into_iter().map(|(job, (partitions, lag))| {
        (false, [words.job(&job).to_owned(), words.int(partitions), words.int(lag)])
    });
    let rejects = rejects.iter().map(|reject| (false, [text(reject, "reason"), count(reject, "lines")]));
    let section = html! {
        section {
            h2 { (texts.pipeline) }
            @if processes.len() == 0 { p { (texts.no_process) } }
            (table(texts.process, processes))
            div.pair {
                (table(texts.jobs, jobs))
                (table(texts.rejects, rejects))
            }
        }
    };
    Ok(section.into_string())
}

/// Each job with its partitions and what they have to go together.
fn by_job(jobs: &[Document]) -> BTreeMap<String, (u64, u64)> {
    let mut sums = BTreeMap::<String, (u64, u64)>::new();
    for job in jobs {
        let (partitions, lag) = sums.entry(job.get_str("job").unwrap_or_default().to_owned()).or_default();
        *partitions += 1;
        *lag += number(job, "lag").unwrap_or(0);
    }
    sums
}

/// A table, if there is something in it; its last column has numbers.
fn table<const N: usize>(
    heads: [&str; N],
    rows: impl ExactSizeIterator<Item = (bool, [String; N])>,
) -> Markup {
    let heads = heads.iter().enumerate();
    let is_number = |index: usize| index + 1 == N;
    html! {
        @if rows.len() > 0 {
            table {
                thead {
                    tr { @for (index, head) in heads { th.n[is_number(index)] { (head) } } }
                }
                tbody {
                    @for (is_bad, cells) in rows {
                        tr.critical[is_bad] {
                            @for (index, cell) in cells.iter().enumerate() {
                                td.n[is_number(index)] { (cell) }
                            }
                        }
                    }
                }
            }
        }
    }
}
