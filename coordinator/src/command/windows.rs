//! `patchmesh windows next`: when a maintenance window opens, offline and as a function of its arguments; `get windows` and
//! `describe window`: those that the coordinator keeps.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_common::{
    rollout::{policy::word, task::TargetText},
    schedule::window::{MaintenanceWindow, Window},
    time::WallTime,
};
use patchmesh_node::clock;

use super::{
    baseline::time,
    block_on,
    get::{LIST, ListArgs, NameArgs, ONE},
    policies::targets,
};
use crate::{
    api::document::{
        NextDocument, RecurringResult, TargetsDocument, TaskRow, Time, WindowDocument, WindowListDocument,
        WindowOpeningDocument,
    },
    cli::Output,
    fault::{Exit, Fault},
    manifest,
    output::{self, Format, Rows},
    render::{counted, one_line},
};

/// Most openings that are shown: half a week of the most frequent ones.
const MAX_OPENINGS: u16 = 1000;
/// Tasks of a window that a list shows.
const MAX_TASKS: usize = 3;

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
    output::print_rows(&document, &openings(&document.openings), format)?;
    Ok(Exit::Done)
}

/// Runs `get windows`.
///
/// # Errors
/// What the coordinator says, or a format that makes no sense.
pub(super) fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get windows", &LIST)?;
    let document = block_on(args.socket.client().windows())?;
    output::print_rows(&document, &list_rows(&document, format != Format::Table), format)
}

/// Runs `describe window`.
///
/// # Errors
/// What the coordinator says, or a format that makes no sense.
pub(super) fn show(args: &NameArgs) -> Result<(), Fault> {
    let format = args.output.format.among("describe window", &ONE)?;
    let document = block_on(args.socket.client().window(&args.name))?;
    match format {
        Format::Table => output::print(&text(document)?),
        _ => output::print_document(&document, format),
    }
}

/// The window of a manifest that was read.
///
/// # Errors
/// The first limit that it breaks.
fn checked(window: &MaintenanceWindow) -> Result<Window, Fault> {
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

fn openings(list: &[WindowOpeningDocument]) -> Rows {
    let mut rows = Rows::new(&["opens", "last start", "closes", "local", "zone", "note"]);
    for one in list {
        let times = [one.opens, one.last_start, one.closes].map(|time| time.to_string());
        let rest = [one.local.clone(), one.zone.clone(), one.note.clone().unwrap_or_default()];
        rows.push(times.into_iter().chain(rest).collect());
    }
    rows
}

fn list_rows(document: &WindowListDocument, wide: bool) -> Rows {
    let mut header = vec!["name", "schedule", "zone", "next", "closes", "tasks"];
    if wide {
        header.extend(["enabled", "description"]);
    }
    let mut rows = Rows::new(&header);
    for one in &document.windows {
        let (opens, closes) = match &one.next {
            Some(next) => (next.opens.to_string(), next.closes.to_string()),
            None if one.enabled => ("never again".to_owned(), String::new()),
            None => ("not enabled".to_owned(), String::new()),
        };
        let mut cells =
            vec![one.name.clone(), one_line(&one.schedule), one.zone.clone(), opens, closes, stood(&one.tasks)];
        if wide {
            cells.push(if one.enabled { "yes" } else { "no" }.to_owned());
            cells.push(one.description.as_deref().map(one_line).unwrap_or_default());
        }
        rows.push(cells);
    }
    rows
}

fn text(document: WindowDocument) -> Result<String, Fault> {
    let WindowDocument { name, next, tasks, manifest, .. } = document;
    let Some(MaintenanceWindow { spec, .. }) = manifest.window() else {
        let message = format!("the coordinator's window {name} is of another version");
        let remedy = "use a patchmesh of the coordinator's version";
        return Err(Fault::new("bad-answer", message, "nothing was changed", remedy));
    };
    let or = |text: &Option<String>, usual: &str| text.clone().unwrap_or_else(|| usual.to_owned());
    let mut lines = vec![
        ("window", name),
        ("description", or(&spec.description, "-")),
        ("schedule", spec.schedule),
        ("timezone", or(&spec.timezone, "UTC")),
        ("duration", spec.duration),
        ("cutoff", or(&spec.cutoff, "0h")),
        ("cutoff behavior", or(&spec.cutoff_behavior, "CONTINUE_TASK")),
    ];
    lines.extend(
        spec.offset_days.filter(|days| *days > 0).map(|days| ("offset", counted(days.unsigned_abs() as usize, "day"))),
    );
    lines.extend(spec.start_date.map(|date| ("start date", date)));
    lines.extend(spec.end_date.map(|date| ("end date", date)));
    if spec.enabled == Some(false) {
        lines.push(("enabled", "no".to_owned()));
    }
    let enabled = spec.enabled != Some(false);
    let hosts =
        |target: &TargetText| target.hosts().targets().ok().map(|hosts| targets(&TargetsDocument::from(&hosts)));
    lines
        .extend(spec.targets.iter().map(|one| ("target", format!("{}: {}", one.name, hosts(one).unwrap_or_default()))));
    let mut out: String = lines.iter().map(|(label, value)| format!("{label:<17}{}\n", one_line(value))).collect();
    out.push('\n');
    match next.as_slice() {
        [] => out.push_str("it never opens again\n"),
        several => out.push_str(&openings(several).table()),
    }
    if !tasks.is_empty() {
        out.push('\n');
        out.push_str(&task_table(&tasks, enabled).table());
    }
    for one in &tasks {
        if let Some(RecurringResult { at, result, text: Some(text) }) = &one.last_result {
            let (task, target) = (&one.name, &one.target);
            out.push_str(&format!("{task} on {target}: {result} at {at}: {}\n", one_line(text)));
        }
    }
    Ok(out)
}

/// What became of the first few of `tasks`, in few words.
fn stood(tasks: &[TaskRow]) -> String {
    let told = |one: &TaskRow| {
        let several = tasks.iter().filter(|other| other.name == one.name).count() > 1;
        let on = if several { format!(" on {}", one.target) } else { String::new() };
        let result = one.last_result.as_ref().map(|last| format!(" {}", last.result)).unwrap_or_default();
        format!("{}{on}{result}", one.name)
    };
    let shown: Vec<_> = tasks.iter().take(MAX_TASKS).map(told).collect();
    let more = tasks.len() - shown.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

fn task_table(tasks: &[TaskRow], enabled: bool) -> Rows {
    let mut rows = Rows::new(&[
        "priority",
        "task",
        "operation",
        "target",
        "cutoff behavior",
        "next run",
        "last run",
        "last result",
    ]);
    for one in tasks {
        let next = match one.next_run {
            Some(next) => next.to_string(),
            None if enabled => "never again".to_owned(),
            None => "not enabled".to_owned(),
        };
        rows.push(vec![
            one.priority.to_string(),
            one.name.clone(),
            word(one.operation).to_owned(),
            one.target.clone(),
            one.cutoff_behavior.as_str().to_owned(),
            next,
            one.last_run.as_ref().map(|run| run.started_at.to_string()).unwrap_or_default(),
            one.last_result.as_ref().map(|last| last.result.clone()).unwrap_or_default(),
        ]);
    }
    rows
}
