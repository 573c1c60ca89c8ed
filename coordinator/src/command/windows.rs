//! `patchmesh windows next`: when a maintenance window opens. Offline, and a function of its arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_common::{
    schedule::window::{MaintenanceWindow, Window},
    time::WallTime,
};
use patchmesh_node::clock;

use super::baseline::time;
use crate::{
    api::document::{NextDocument, Time},
    cli::Output,
    fault::{Exit, Fault},
    manifest,
    output::{self, Format, Rows},
};

/// Most openings that are shown: half a week of the most frequent ones.
const MAX_OPENINGS: u16 = 1000;

/// What can be asked of windows.
#[derive(Debug, Subcommand)]
pub enum WindowsVerb {
    /// Show when a window opens next. Changes nothing, needs no coordinator.
    #[command(
        after_help = "Examples:\n  patchmesh windows next -f patch-tuesday.yaml\n  patchmesh windows next -f patch-tuesday.yaml -n 3 --from 2026-12-01T00:00:00Z -o json"
    )]
    Next(NextArgs),
}

/// Flags of `windows next`.
#[derive(Clone, Debug, Args)]
pub struct NextArgs {
    /// The MaintenanceWindow manifest; - reads stdin
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// How many openings
    #[arg(short = 'n', long = "count", value_name = "K", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_OPENINGS)))]
    count: u16,
    /// Those that open at or after this instant, RFC 3339; default now
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<WallTime>,
    #[command(flatten)]
    output: Output,
}

/// Runs `windows`.
///
/// # Errors
/// What is wrong with the manifest, with file, line and field.
pub fn run(verb: &WindowsVerb) -> Result<Exit, Fault> {
    let WindowsVerb::Next(args) = verb;
    let format = args.output.format.among("windows next", &[Format::Table, Format::Json, Format::Yaml, Format::Csv])?;
    let window = checked(&manifest::window::read(&args.file)?)?;
    let from = args.from.unwrap_or_else(|| clock::now().wall);
    let document = NextDocument::new(&window, Time(from), usize::from(args.count));
    if format == Format::Table && document.openings.is_empty() {
        output::talk(&format!(
            "window {} never opens from {} on: {}\n",
            window.name,
            from.rfc3339(),
            why_never(&window)
        ));
        return Ok(Exit::Done);
    }
    output::print_rows(&document, &rows(&document), format)?;
    Ok(Exit::Done)
}

/// The window of a manifest that was read, or that a coordinator answered.
///
/// # Errors
/// The first limit that it breaks.
pub(super) fn checked(window: &MaintenanceWindow) -> Result<Window, Fault> {
    window.check().map_err(|problems| {
        let first = problems.first().map(ToString::to_string).unwrap_or_default();
        let message = format!("window {}: {first}", window.name);
        Fault::new("manifest-invalid", message, "nothing was changed", "correct the manifest and try again")
    })
}

fn why_never(window: &Window) -> String {
    match window.end {
        _ if !window.enabled => "it is not enabled".to_owned(),
        Some(end) => format!("its endDate is {}", end.rfc3339()),
        None => "its schedule is over".to_owned(),
    }
}

fn rows(document: &NextDocument) -> Rows {
    let mut rows = Rows::new(&["opens", "last start", "closes", "local", "zone", "note"]);
    for one in &document.openings {
        let times = [one.opens, one.last_start, one.closes].map(|time| time.to_string());
        let rest = [one.local.clone(), one.zone.clone(), one.note.clone().unwrap_or_default()];
        rows.push(times.into_iter().chain(rest).collect());
    }
    rows
}
