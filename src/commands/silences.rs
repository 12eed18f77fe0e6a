//! `alerts silence`, `silences` and `unsilence`: which alerts are not told for a while; `alerts retry`: which
//! are told once more.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, SecondsFormat, Utc};
use delivery::silences::{self, Matching, SILENCE_MS_MAX, Silence};
use serde_json::{Map, Value};

use crate::args::{Format, RetryArgs, SilenceArgs, SilencesArgs, UnsilenceArgs};
use crate::mongodb::{reach, reach_to_read};
use crate::plan::Store;
use crate::report::table::printable;

/// Adds a silence.
pub(super) async fn silence(args: SilenceArgs) -> Result<ExitCode> {
    let SilenceArgs { store, for_time, kind, country, device, content_type, reason } = args;
    let country = country.map(|country| country.to_ascii_uppercase());
    if let Some(country) = &country {
        let is_known = isocountry::CountryCode::for_alpha2(country).is_ok();
        ensure!(is_known, "--country {country} is no country of ISO 3166-1 (two letters, e.g. BR)");
    }
    let matching = Matching { kind, country, device, content_type };
    let for_ms = i64::try_from(for_time.as_millis()).unwrap_or(i64::MAX).min(SILENCE_MS_MAX + 1);
    let silence = Silence::new(matching, &reason, for_ms, Utc::now().timestamp_millis());
    let reached = reach(&Store::new(store)?).await?;
    let added = silences::add(&reached.database, &silence).await;
    reached.close().await;
    added?;
    println!("{}", shown(&silence));
    Ok(ExitCode::SUCCESS)
}

/// Lists the silences in force.
pub(super) async fn list(args: SilencesArgs) -> Result<ExitCode> {
    let reached = reach_to_read(&Store::new(args.store)?).await?;
    let found = silences::in_force(&reached.database, Utc::now().timestamp_millis()).await;
    reached.close().await;
    let found = found.context("cannot read the silences")?;
    let mut stdout = std::io::stdout().lock();
    match args.format {
        Format::Json => found.iter().try_for_each(|silence| writeln!(stdout, "{}", json(silence)))?,
        Format::Text if found.is_empty() => writeln!(stdout, "No silences.")?,
        Format::Text => found.iter().try_for_each(|silence| writeln!(stdout, "{}", shown(silence)))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends a silence.
pub(super) async fn unsilence(args: UnsilenceArgs) -> Result<ExitCode> {
    let reached = reach(&Store::new(args.store)?).await?;
    let ended = silences::end(&reached.database, &args.id).await;
    reached.close().await;
    if !ended.context("cannot end the silence")? {
        bail!("there is no silence {}; `streampulse alerts silences` lists them", args.id);
    }
    println!("{} ended", args.id);
    Ok(ExitCode::SUCCESS)
}

/// Lets dead letters be tried again.
pub(super) async fn retry(args: RetryArgs) -> Result<ExitCode> {
    let reached = reach(&Store::new(args.store)?).await?;
    let revived = silences::retry(&reached.database, args.receiver.as_deref()).await;
    reached.close().await;
    match revived.context("cannot change the dead letters")? {
        0 => println!("No dead letters."),
        1 => println!("1 dead letter is tried again by the process that delivers."),
        revived => println!("{revived} dead letters are tried again by the process that delivers."),
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(silence: &Silence) -> String {
    let named: Vec<String> =
        silence.matching.named().map(|(key, value)| format!("{} {value}", key.replace('_', " "))).collect();
    let what = if named.is_empty() { "all alerts".to_owned() } else { named.join(", ") };
    printable(&format!("{} until {}  {what}: {}", silence.id, time(silence.until_ms), silence.reason))
}

fn json(silence: &Silence) -> Value {
    let fields = [
        ("id", silence.id.clone()),
        ("from", time(silence.from_ms)),
        ("until", time(silence.until_ms)),
        ("reason", silence.reason.clone()),
    ];
    let named = silence.matching.named().map(|(key, value)| (key, value.to_owned()));
    let all: Map<String, Value> =
        fields.into_iter().chain(named).map(|(key, value)| (key.to_owned(), value.into())).collect();
    Value::Object(all)
}

fn time(ms: i64) -> String {
    let time = DateTime::<Utc>::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
