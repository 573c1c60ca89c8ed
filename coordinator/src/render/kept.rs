//! Snapshots, and the log of a rollout's steps.

use super::{SHORT, counted, duration, one_line};
use crate::{
    api::document::{
        DamagedSnapshot, JudgedBy, SnapshotDocument, SnapshotRow, SnapshotsDocument, StepDocument, StepsDocument,
    },
    output::Rows,
};

/// Hosts without steps that are named; more are counted.
const MAX_SILENT: usize = 8;

fn judged_by(row: &SnapshotRow) -> String {
    let names = row.baselines.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ");
    let by = match row.judged_by {
        JudgedBy::Baseline => names,
        plain @ (JudgedBy::All | JudgedBy::Security) => plain.as_str().to_owned(),
        other => format!("{}: {names}", other.as_str()),
    };
    if row.install_override_list { format!("{by}, with an install override list") } else { by }
}

fn packages(row: &SnapshotRow) -> String {
    row.packages.map_or_else(|| "by its rules".to_owned(), |packages| packages.to_string())
}

/// `get snapshots`; with whole ids if `wide`. What cannot be used comes last.
pub fn snapshots(document: &SnapshotsDocument, wide: bool) -> Rows {
    let mut rows = Rows::new(&["id", "frozen at", "judged by", "packages", "releases"]);
    let shown = |id: &str| if wide { id.to_owned() } else { id.chars().take(SHORT).collect() };
    for row in &document.snapshots {
        let id = shown(&row.id);
        let releases = one_line(&row.releases.join(", "));
        rows.push(vec![id, row.frozen_at.to_string(), judged_by(row), packages(row), releases]);
    }
    for DamagedSnapshot { id, text } in &document.damaged {
        let text = format!("damaged: {}", one_line(text));
        rows.push(vec![shown(id), String::new(), text, String::new(), String::new()]);
    }
    rows
}

/// The versions of `describe snapshot`.
pub fn snapshot_rows(document: &SnapshotDocument) -> Rows {
    let mut rows = Rows::new(&["package", "arch", "version", "os", "os version", "sha256"]);
    for version in document.versions.iter().flatten() {
        let cells = [&version.name, &version.arch, &version.version, &version.os, &version.os_version, &version.sha256];
        rows.push(cells.map(|cell| one_line(cell)).to_vec());
    }
    rows
}

/// The whole of `describe snapshot`.
pub fn snapshot(document: &SnapshotDocument) -> String {
    let row = &document.row;
    let lines = [
        ("id", row.id.clone()),
        ("frozen at", row.frozen_at.to_string()),
        ("judged by", judged_by(row)),
        ("packages", packages(row)),
        ("releases", one_line(&row.releases.join(", "))),
    ];
    let line =
        |(name, value): (&str, String)| format!("{name:<10} {}\n", if value.is_empty() { "-" } else { value.as_str() });
    let mut out: String = lines.into_iter().map(line).collect();
    out.push('\n');
    out.push_str(&match document.versions.as_deref() {
        None => "no version is frozen: every host resolves by the rules\n".to_owned(),
        Some([]) => "no version was resolved: there was nothing to install\n".to_owned(),
        Some(_) => snapshot_rows(document).table(),
    });
    out
}

fn last_line(step: &StepDocument) -> String {
    match &step.output {
        Some(output) => output.lines().map(one_line).rfind(|line| !line.is_empty()).unwrap_or_default(),
        None => "left out".to_owned(),
    }
}

/// `rollout steps`, one row per step, with the last line of its output.
pub fn step_rows(document: &StepsDocument) -> Rows {
    let mut rows = Rows::new(&["host", "step", "attempt", "status", "code", "started", "took", "output"]);
    for host in &document.hosts {
        for step in &host.steps {
            rows.push(vec![
                host.host.clone(),
                step.name.as_str().to_owned(),
                step.attempt.to_string(),
                step.status.as_str().to_owned(),
                step.code.as_deref().map(one_line).unwrap_or_default(),
                step.started_at.to_string(),
                duration(step.duration_seconds.0 / 1000),
                last_line(step),
            ]);
        }
    }
    rows
}

/// The whole of `rollout steps`: with every line of output if `whole`.
pub fn steps(document: &StepsDocument, whole: bool) -> String {
    let silent: Vec<_> = document.hosts.iter().filter(|host| host.steps.is_empty()).collect();
    let mut out = match document.hosts.len() - silent.len() {
        0 => String::new(),
        _ => step_rows(document).table(),
    };
    for host in &document.hosts {
        for step in host.steps.iter().filter(|_| whole) {
            let lines: Vec<_> = step.output.iter().flat_map(|output| output.lines()).map(one_line).collect();
            if lines.iter().any(|line| !line.is_empty()) {
                out.push_str(&format!("\n{} {} (attempt {}):\n", host.host, step.name.as_str(), step.attempt));
                lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
            }
        }
    }
    if document.left_out > 0 {
        let outputs = counted(document.left_out as usize, "output");
        out.push_str(&format!("\n{outputs} did not fit: ask for one host with --host NAME\n"));
    }
    if !silent.is_empty() {
        if !out.is_empty() {
            out.push('\n');
        }
        let named = silent.iter().take(MAX_SILENT);
        let names: Vec<_> = named.map(|host| format!("{} ({})", host.host, host.outcome.as_str())).collect();
        let rest = silent.len() - names.len();
        let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        out.push_str(&format!("no steps are reported of {}{rest}\n", names.join(", ")));
    }
    out
}
