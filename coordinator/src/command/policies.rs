//! `get policies`, `describe policy` and `export policy`: what comes again and again, and what became of it.

use clap::Args;

use super::{
    block_on,
    get::{LIST, ListArgs, NameArgs, ONE},
};
use crate::{
    api::document::{PoliciesDocument, PolicyDocument, PolicyLogs, PolicyRow, TargetsDocument},
    cli::Socket,
    fault::Fault,
    manifest,
    output::{self, Format, Rows},
    render::one_line,
};

/// Names of hosts or groups that a table shows.
const MAX_NAMES: usize = 3;

/// Flags of `export policy`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    socket: Socket,
}

/// Runs `get policies`.
///
/// # Errors
/// What the coordinator says, or a format that makes no sense.
pub(super) fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get policies", &LIST)?;
    let document = block_on(args.socket.client().policies())?;
    let mut rows = rows(&document, format != Format::Table);
    if format == Format::Name {
        rows.rows.dedup_by(|a, b| a.first() == b.first());
    }
    output::print_rows(&document, &rows, format)
}

/// Runs `describe policy`.
///
/// # Errors
/// What the coordinator says, or a format that makes no sense.
pub(super) fn show(args: &NameArgs) -> Result<(), Fault> {
    let format = args.output.format.among("describe policy", &ONE)?;
    let document = block_on(args.socket.client().policy(&args.name))?;
    match format {
        Format::Table => output::print(&text(document)?),
        _ => output::print_document(&document, format),
    }
}

/// Runs `export policy`: prints the manifest.
///
/// # Errors
/// What the coordinator says.
pub(super) fn export(args: &ExportArgs) -> Result<(), Fault> {
    let document = block_on(args.socket.client().policy(&args.name))?;
    output::print(&yaml(document)?)
}

fn yaml(document: PolicyDocument) -> Result<String, Fault> {
    let name = document.name;
    let policy = document.manifest.policy().ok_or_else(|| {
        let message = format!("the coordinator's policy {name} is of another version");
        let remedy = "use a patchmesh of the coordinator's version";
        Fault::new("bad-answer", message, "nothing was changed", remedy)
    })?;
    manifest::policy::yaml(policy)
}

/// Which hosts, in few words.
pub(super) fn targets(document: &TargetsDocument) -> String {
    let listed = |what: &str, names: &[String]| {
        let shown: Vec<_> = names.iter().take(MAX_NAMES).map(|name| one_line(name)).collect();
        let more = names.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{what} {}{more}", shown.join(", "))
    };
    let TargetsDocument { all: _, names, selector, matching, patch_groups } = document;
    if let Some(names) = names {
        return listed("hosts", names);
    }
    if let Some(groups) = patch_groups {
        return listed("groups", groups);
    }
    if let Some(selector) = matching {
        return one_line(&selector.to_string());
    }
    match selector {
        Some(selector) => {
            let terms: Vec<_> = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            one_line(&terms.join(","))
        }
        None => "all".to_owned(),
    }
}

fn rows(document: &PoliciesDocument, wide: bool) -> Rows {
    let mut header = vec!["name", "operation", "schedule", "targets", "next run", "last run", "last result"];
    if wide {
        header.extend(["zone", "rollout", "predefined", "logs", "description"]);
    }
    let mut rows = Rows::new(&header);
    for one in &document.policies {
        let mut cells = vec![one.name.clone(), word(one).to_owned(), one_line(&one.schedule)];
        cells.extend([targets(&one.targets), next(one), last(one), result(one)]);
        if wide {
            cells.push(one.zone.clone());
            cells.push(one.last_run.as_ref().map(|run| run.rollout.clone()).unwrap_or_default());
            cells.push(if one.predefined { "yes" } else { "no" }.to_owned());
            cells.push(one.logs.as_ref().map(|logs| one_line(&logs.folder)).unwrap_or_default());
            cells.push(one.description.as_deref().map(one_line).unwrap_or_default());
        }
        rows.push(cells);
    }
    rows
}

fn word(row: &PolicyRow) -> &'static str {
    patchmesh_common::rollout::policy::word(row.operation)
}

fn next(row: &PolicyRow) -> String {
    match row.next_run {
        Some(next) => next.to_string(),
        None if row.enabled => "never again".to_owned(),
        None => "not enabled".to_owned(),
    }
}

fn last(row: &PolicyRow) -> String {
    row.last_run.as_ref().map(|run| run.started_at.to_string()).unwrap_or_default()
}

fn result(row: &PolicyRow) -> String {
    let result = row.last_result.as_ref().map(|last| last.result.clone()).unwrap_or_default();
    match &row.logs {
        Some(PolicyLogs { error: Some(_), .. }) => format!("{result}, logs not written"),
        _ => result,
    }
}

fn text(document: PolicyDocument) -> Result<String, Fault> {
    let mut out = String::new();
    for row in &document.operations {
        out.push_str(&format!(
            "{} {} {} of {}\n",
            one_line(&row.name),
            word(row),
            one_line(&row.schedule),
            targets(&row.targets)
        ));
        out.push_str(&format!("  next run     {} ({})\n", next(row), row.zone));
        if let Some(run) = &row.last_run {
            out.push_str(&format!(
                "  last run     {} ({}), for {}: {}\n",
                run.name,
                run.rollout,
                run.due_at,
                run.state.as_str()
            ));
        }
        if let Some(last) = &row.last_result {
            let text = last.text.as_deref().map(|text| format!(": {}", one_line(text))).unwrap_or_default();
            out.push_str(&format!("  last result  {} at {}{text}\n", last.result, last.at));
        }
        if let Some(logs) = &row.logs {
            let error = logs.error.as_deref().map(|error| format!(": {}", one_line(error))).unwrap_or_default();
            out.push_str(&format!("  logs         {}{error}\n", one_line(&logs.folder)));
        }
    }
    out.push('\n');
    out.push_str(&yaml(document)?);
    Ok(out)
}
