//! `patchmesh baseline evaluate`: what a baseline says of an inventory. Offline, and a function of its arguments.

use std::path::PathBuf;

use clap::Subcommand;
use patchmesh_common::{
    inventory::document::Inventory,
    patch::{
        baseline::SecurityUpdates,
        evaluation::{self, Evaluation, Row},
    },
    time::WallTime,
};
use serde::Serialize;

use super::scan::now;
use crate::{
    baselines,
    cli::Output,
    fault::{Exit, Fault},
    manifest,
    output::{self, Format, Rows},
};

/// Largest inventory, in bytes. A host with 5,000 packages in five versions each takes some 10 MiB.
const MAX_INVENTORY: usize = 64 << 20;

/// What can be done with baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineVerb {
    /// Show what a baseline says of every package of an inventory, and why. Changes nothing, needs no daemon.
    #[command(
        after_help = "Examples:\n  patchmesh inventory --local -o json > inventory.json\n  patchmesh baseline evaluate --baseline web.yaml --inventory inventory.json\n  patchmesh baseline evaluate --baseline AWS-DebianDefaultPatchBaseline --inventory inventory.json --at 2026-12-01T02:00:00Z -o json"
    )]
    Evaluate(EvaluateArgs),
}

/// Flags of `baseline evaluate`.
#[derive(Clone, Debug, clap::Args)]
pub struct EvaluateArgs {
    /// A manifest of kind PatchBaseline, AWS's JSON (also a BaselineOverride), or the name of a predefined baseline
    #[arg(long, value_name = "FILE")]
    baseline: PathBuf,
    /// What patchmesh inventory -o json printed; - is stdin
    #[arg(long, value_name = "FILE")]
    inventory: PathBuf,
    /// The instant for which dates are judged, RFC 3339; default now
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<WallTime>,
    #[command(flatten)]
    output: Output,
}

/// An RFC 3339 time on the command line.
pub(super) fn time(text: &str) -> Result<WallTime, String> {
    WallTime::parse(text).ok_or_else(|| "this is no RFC 3339 time: write 2026-12-01T02:00:00Z".to_owned())
}

/// `patchmesh.evaluation/v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    schema: &'static str,
    baseline: String,
    at: String,
    summary: Summary,
    patches: Vec<Patch>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    installed: u32,
    installed_other: u32,
    installed_pending_reboot: u32,
    installed_rejected: u32,
    missing: u32,
    failed: u32,
    not_applicable: u32,
    available_security_update: u32,
    critical_non_compliant: u32,
    security_non_compliant: u32,
    other_non_compliant: u32,
    status: &'static str,
    severity: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Patch {
    name: String,
    arch: String,
    installed: Option<String>,
    available: Option<String>,
    state: &'static str,
    compliance_level: &'static str,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason {
    code: &'static str,
    text: String,
    rule: Option<u32>,
    opens_at: Option<String>,
    ignored_date_gate: bool,
}

/// Runs the verb.
///
/// # Errors
/// A baseline or inventory that cannot be read, or a baseline for another operating system. Nothing is changed.
pub fn run(verb: &BaselineVerb) -> Result<Exit, Fault> {
    let BaselineVerb::Evaluate(args) = verb;
    let format = args.output.format.among("baseline evaluate", &[Format::Table, Format::Json, Format::Yaml])?;
    let document = evaluate(args)?;
    match format {
        Format::Table => output::print(&table(&document))?,
        _ => output::print_document(&document, format)?,
    }
    Ok(Exit::Done)
}

/// Reads both files and judges.
///
/// # Errors
/// As [`run`].
pub fn evaluate(args: &EvaluateArgs) -> Result<Document, Fault> {
    let named = baselines::named(&args.baseline)?;
    let (shown, text) = manifest::read_text(&args.inventory, MAX_INVENTORY, "check the path given with --inventory")?;
    let inventory: Inventory = manifest::baseline::json_document(&shown, &text)?;
    inventory.check().map_err(|error| {
        let remedy = "print it with patchmesh inventory -o json";
        Fault::new("inventory-invalid", format!("{shown}: {error}"), "nothing was changed", remedy)
    })?;
    let checked = baselines::for_host(&named, &args.baseline, &inventory.host, &shown)?;
    let at = args.at.or_else(|| WallTime::parse(&now())).unwrap_or_default();
    let found = evaluation::evaluate(&checked, &inventory, at).map_err(|error| baselines::mismatch(&shown, &error))?;
    Ok(document(checked.name, at, found, checked.security_updates))
}

fn document(baseline: String, at: WallTime, found: Evaluation, updates: SecurityUpdates) -> Document {
    let sums = found.summary(updates);
    Document {
        schema: "patchmesh.evaluation/v1",
        baseline,
        at: at.rfc3339(),
        summary: Summary {
            installed: sums.installed,
            installed_other: sums.installed_other,
            installed_pending_reboot: sums.installed_pending_reboot,
            installed_rejected: sums.installed_rejected,
            missing: sums.missing,
            failed: sums.failed,
            not_applicable: sums.not_applicable,
            available_security_update: sums.available_security_update,
            critical_non_compliant: sums.critical_non_compliant,
            security_non_compliant: sums.security_non_compliant,
            other_non_compliant: sums.other_non_compliant,
            status: if sums.is_compliant() { "COMPLIANT" } else { "NON_COMPLIANT" },
            severity: sums.severity.map(|level| level.as_str()),
        },
        patches: found.rows.into_iter().map(patch).collect(),
    }
}

fn patch(row: Row) -> Patch {
    Patch {
        name: row.name,
        arch: row.arch,
        installed: row.installed,
        available: row.available,
        state: row.state.as_str(),
        compliance_level: row.level.as_str(),
        reason: Reason {
            code: row.reason.code,
            text: row.reason.text,
            rule: row.reason.rule,
            opens_at: row.reason.opens_at.map(WallTime::rfc3339),
            ignored_date_gate: row.reason.ignored_date_gate,
        },
    }
}

fn table(document: &Document) -> String {
    let mut rows = Rows::new(&["name", "arch", "installed", "available", "state", "level", "reason"]);
    for patch in &document.patches {
        rows.push(vec![
            patch.name.clone(),
            patch.arch.clone(),
            patch.installed.clone().unwrap_or_default(),
            patch.available.clone().unwrap_or_default(),
            patch.state.to_owned(),
            if patch.compliance_level == "UNSPECIFIED" { String::new() } else { patch.compliance_level.to_owned() },
            patch.reason.text.clone(),
        ]);
    }
    let sums = &document.summary;
    let severity = sums.severity.map(|level| format!(" ({level})")).unwrap_or_default();
    format!(
        "{}\n{} missing, {} installed, {} installed from elsewhere, {} rejected and installed; {}{severity} by baseline {} at {}\n",
        rows.table(),
        sums.missing,
        sums.installed,
        sums.installed_other,
        sums.installed_rejected,
        sums.status,
        document.baseline,
        document.at
    )
}
