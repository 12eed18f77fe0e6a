//! `report`: the answers, from the rollups.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;

use crate::args::{ReportArgs, ReportFormat};
use crate::plan::Store;
use crate::report::{ReportSpec, answer, render_html, render_json, render_text};

/// Width of the text when it does not go to a terminal, in columns.
const WIDTH: usize = 100;

/// Runs the command.
pub(super) async fn run(args: ReportArgs) -> Result<ExitCode> {
    let spec = ReportSpec {
        from: args.from,
        to: args.to,
        timezone: args.timezone,
        top: args.top,
        lang: args.lang,
        cities: args.cities,
        country: args.country.map(|country| country.to_ascii_uppercase()),
    };
    let reached = crate::mongodb::reach_to_read(&Store::new(args.store)?).await?;
    let report = answer(&reached.database, &spec).await;
    reached.close().await;
    let report = report?;
    let text = match args.format {
        ReportFormat::Html => render_html(&report, spec.lang),
        ReportFormat::Json => render_json(&report),
        ReportFormat::Text => render_text(&report, spec.lang, std::io::stdout().is_terminal(), WIDTH),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
