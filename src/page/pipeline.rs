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

/// Seconds that a checkpoint may stand still although there is more; with only ticks to count some stand
/// still for a minute.
const STANDSTILL_S_MAX: u64 = 180;
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
        let mib = words.int(number(process, "memory").unwrap_or(0) >> 20);
        let row = [
            name,
            words.process(&state).to_owned(),
            mib,
            count(process, "retries"),
            count(process, "seconds"),
        ];
        (state == "gone", row)
    });
    let jobs = by_job(&jobs).into_iter().map(|(job, Job { partitions, lag, standstill_s })| {
        let [partitions, lag, seconds] = [partitions, lag, standstill_s].map(|n| words.int(n));
        (standstill_s > STANDSTILL_S_MAX, [words.job(&job).to_owned(), partitions, lag, seconds])
    });
    let rejects = rejects.iter().map(|reject| (false, [text(reject, "reason"), count(reject, "lines")]));
    let section = html! {
        section {
            h2 { (texts.pipeline) }
            @if processes.len() == 0 { p { (texts.no_process) } }
            (table(texts.process, 2, processes))
            div.pair {
                (table(texts.jobs, 1, jobs))
                (table(texts.rejects, 1, rejects))
            }
        }
    };
    Ok(section.into_string())
}

/// A job in all its partitions.
#[derive(Default)]
struct Job {
    partitions: u64,
    /// What they have to go together.
    lag: u64,
    /// The longest time that one of them stands still.
    standstill_s: u64,
}

fn by_job(jobs: &[Document]) -> BTreeMap<String, Job> {
    let mut sums = BTreeMap::<String, Job>::new();
    for job in jobs {
        let sum = sums.entry(job.get_str("job").unwrap_or_default().to_owned()).or_default();
        sum.partitions += 1;
        sum.lag += number(job, "lag").unwrap_or(0);
        sum.standstill_s = sum.standstill_s.max(number(job, "standstill").unwrap_or(0));
    }
    sums
}

/// A table, if there is something in it; behind `texts` columns there are numbers.
fn table<const N: usize>(
    heads: [&str; N],
    texts: usize,
    rows: impl ExactSizeIterator<Item = (bool, [String; N])>,
) -> Markup {
    let heads = heads.iter().enumerate();
    let is_number = |index: usize| index >= texts;
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
