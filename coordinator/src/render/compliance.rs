//! What hosts' reports say, for people: what is wrong comes first.

use std::cmp::Reverse;

use patchmesh_common::{
    patch::{baseline::ComplianceLevel, compliance::Counters, evaluation::State},
    rollout::RebootOption,
};

use super::{SHORT, counted, one_line};
use crate::{
    api::document::{
        ComplianceDocument, ComplianceRow, GroupCompliance, HistoryDocument, PatchDocument, PatchesDocument,
        StandingDocument, Status, Time,
    },
    output::Rows,
};

const RED: u8 = 31;
const GREEN: u8 = 32;
const YELLOW: u8 = 33;

/// Worst first: what is wrong by its level, then by how much of it; what is not known; what is right. Then by name.
fn badness(row: &ComplianceRow) -> impl Ord + use<> {
    let level = row.standing.severity.as_deref().and_then(ComplianceLevel::parse);
    let Counters { missing, failed, installed_pending_reboot, installed_rejected, .. } =
        row.standing.counters.unwrap_or_default();
    let wrong = [missing, failed, installed_pending_reboot, installed_rejected].map(u64::from).iter().sum::<u64>();
    (row.standing.status, Reverse(level), Reverse(failed), Reverse(wrong), row.host.clone())
}

fn sorted(document: &ComplianceDocument) -> Vec<&ComplianceRow> {
    let mut hosts: Vec<_> = document.hosts.iter().collect();
    hosts.sort_by_cached_key(|row| badness(row));
    hosts
}

fn word(text: Option<&String>) -> String {
    text.map(|text| one_line(text)).unwrap_or_default()
}

fn time(time: Option<Time>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn operation(standing: &StandingDocument) -> String {
    standing.operation.map(|operation| format!("{operation:?}")).unwrap_or_default()
}

fn counter(standing: &StandingDocument, pick: fn(&Counters) -> u32) -> String {
    standing.counters.as_ref().map(|counters| pick(counters).to_string()).unwrap_or_default()
}

const STANDING: [&str; 9] =
    ["status", "severity", "missing", "failed", "reboot", "rejected", "baseline", "group", "reported"];

fn standing(standing: &StandingDocument) -> Vec<String> {
    vec![
        standing.status.as_str().to_owned(),
        word(standing.severity.as_ref()),
        counter(standing, |counters| counters.missing),
        counter(standing, |counters| counters.failed),
        counter(standing, |counters| counters.installed_pending_reboot),
        counter(standing, |counters| counters.installed_rejected),
        word(standing.baseline.as_ref()),
        word(standing.patch_group.as_ref()),
        time(standing.reported_at),
    ]
}

const MORE: [&str; 13] = [
    "operation",
    "installed",
    "other",
    "not applicable",
    "blocked",
    "critical",
    "security",
    "rest",
    "began",
    "snapshot",
    "override list",
    "reboot option",
    "last without reboot",
];

fn more(standing: &StandingDocument) -> Vec<String> {
    vec![
        operation(standing),
        counter(standing, |counters| counters.installed),
        counter(standing, |counters| counters.installed_other),
        counter(standing, |counters| counters.not_applicable),
        counter(standing, |counters| counters.blocked),
        counter(standing, |counters| counters.critical_non_compliant),
        counter(standing, |counters| counters.security_non_compliant),
        counter(standing, |counters| counters.other_non_compliant),
        time(standing.operation_started_at),
        snapshot(standing),
        standing.install_override_list.map(|used| if used { "yes" } else { "no" }.to_owned()).unwrap_or_default(),
        reboot_option(standing),
        time(standing.last_no_reboot_install_at),
    ]
}

fn snapshot(standing: &StandingDocument) -> String {
    standing.snapshot.as_deref().map(|id| one_line(id).chars().take(SHORT).collect()).unwrap_or_default()
}

fn reboot_option(standing: &StandingDocument) -> String {
    let word = |reboot| match reboot {
        RebootOption::Never => "never".to_owned(),
        RebootOption::IfNeeded => "ifNeeded".to_owned(),
        RebootOption::At(at) => format!("at {}", at.rfc3339()),
    };
    standing.reboot_option.map(word).unwrap_or_default()
}

/// A line per patch group: hosts that have patches of a kind.
fn groups(document: &ComplianceDocument) -> Rows {
    let mut rows =
        Rows::new(&["patch group", "hosts", "missing", "failed", "reboot", "rejected", "critical", "security", "rest"]);
    for GroupCompliance { patch_group, hosts, with } in &document.groups {
        let counts = [
            *hosts,
            with.missing,
            with.failed,
            with.installed_pending_reboot,
            with.installed_rejected,
            with.critical_non_compliant,
            with.security_non_compliant,
            with.other_non_compliant,
        ];
        rows.push(std::iter::once(one_line(patch_group)).chain(counts.map(|count| count.to_string())).collect());
    }
    rows
}

/// `compliance`, worst first; more columns if `wide`.
pub fn compliance_rows(document: &ComplianceDocument, wide: bool) -> Rows {
    let mut header = vec!["host"];
    header.extend(STANDING);
    if wide {
        header.extend(MORE);
        header.push("node id");
    }
    let mut rows = Rows::new(&header);
    for row in sorted(document) {
        let mut cells = vec![row.host.clone()];
        cells.extend(standing(&row.standing));
        if wide {
            cells.extend(more(&row.standing));
            cells.push(row.node_id.clone());
        }
        rows.push(cells);
    }
    rows
}

/// The whole of `compliance`: a line per host, the fleet in numbers, and how many hosts of every patch group have what.
pub fn compliance(document: &ComplianceDocument, wide: bool, coloured: bool) -> String {
    let colours = sorted(document).into_iter().map(|row| match row.standing.status {
        Status::NonCompliant => RED,
        Status::Unspecified => YELLOW,
        Status::Compliant => GREEN,
    });
    let table = compliance_rows(document, wide).table();
    let mut out = if coloured { paint(&table, colours) } else { table };
    let fleet = &document.fleet;
    out.push_str(&format!(
        "\n{}: {} compliant, {} non-compliant, {} without a report",
        counted(fleet.hosts as usize, "host"),
        fleet.compliant,
        fleet.non_compliant,
        fleet.unspecified
    ));
    let by = &fleet.by_reason;
    let reasons = [
        (by.failed, "failed"),
        (by.missing, "missing"),
        (by.pending_reboot, "waiting for a reboot"),
        (by.rejected, "rejected and there"),
    ];
    let reasons: Vec<_> = reasons
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what} on {}", counted(count as usize, "host")))
        .collect();
    if !reasons.is_empty() {
        out.push_str(&format!("; patches {}", reasons.join(", ")));
    }
    out.push('\n');
    if !document.groups.is_empty() {
        out.push_str(&format!("\n{}", groups(document).table()));
    }
    out
}

/// Every line below the header in its colour.
fn paint(table: &str, colours: impl Iterator<Item = u8>) -> String {
    let mut lines = table.lines();
    let header = lines.next().unwrap_or_default();
    let painted = lines.zip(colours).map(|(line, colour)| format!("\x1b[{colour}m{line}\x1b[0m\n"));
    std::iter::once(format!("{header}\n")).chain(painted).collect()
}

/// Worst first; what is as it should be comes last.
fn order(state: State) -> u8 {
    match state {
        State::Failed => 0,
        State::InstalledRejected => 1,
        State::Missing => 2,
        State::InstalledPendingReboot => 3,
        State::AvailableSecurityUpdate => 4,
        State::InstalledOther => 5,
        State::Installed => 6,
        State::NotApplicable => 7,
    }
}

fn reason(patch: &PatchDocument) -> String {
    let blocked = patch.blocked.map(|blocked| format!("; {}", blocked.words())).unwrap_or_default();
    format!("{}{blocked}", one_line(&patch.reason.text))
}

/// `describe host --patches`, by state; more columns if `wide`.
pub fn patch_rows(document: &PatchesDocument, wide: bool) -> Rows {
    let mut header = vec!["state", "package", "installed", "available", "reason"];
    if wide {
        header.extend(["arch", "level", "classification", "code", "opens at"]);
    }
    let mut rows = Rows::new(&header);
    let mut patches: Vec<_> = document.patches.iter().collect();
    patches.sort_by_key(|patch| order(patch.state));
    for patch in patches {
        let mut cells = vec![
            patch.state.as_str().to_owned(),
            one_line(&patch.name),
            word(patch.installed.as_ref()),
            word(patch.available.as_ref()),
            reason(patch),
        ];
        if wide {
            cells.extend([
                one_line(&patch.arch),
                one_line(&patch.compliance_level),
                word(patch.classification.as_ref()),
                one_line(&patch.reason.code),
                time(patch.reason.opens_at),
            ]);
        }
        rows.push(cells);
    }
    rows
}

/// The whole of `describe host --patches`. `only` are the states that were asked for; none means all.
pub fn patches(document: &PatchesDocument, only: &[State], wide: bool) -> String {
    let mut out = match (document.patches.is_empty(), only) {
        (true, []) => "no patches\n".to_owned(),
        (true, only) => {
            format!("no patch is {}\n", only.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(" or "))
        }
        (false, _) => patch_rows(document, wide).table(),
    };
    let StandingDocument { baseline, patch_group, status, severity, reported_at, .. } = &document.standing;
    out.push_str(&format!("\n{} is {}", document.host, status.as_str()));
    if let Some(severity) = severity {
        out.push_str(&format!(" ({})", one_line(severity)));
    }
    out.push_str(&format!(" by baseline {}", word(baseline.as_ref())));
    if let Some(group) = patch_group {
        out.push_str(&format!(" of patch group {:?}", one_line(group)));
    }
    out.push_str(&format!(", as its {} of {} found", operation(&document.standing), time(*reported_at)));
    if document.left_out > 0 {
        let patches =
            if document.left_out == 1 { "1 patch".to_owned() } else { format!("{} patches", document.left_out) };
        out.push_str(&format!("; {patches} did not fit into its answer, those that are as they should be first"));
    }
    out.push('\n');
    let standing = &document.standing;
    let told = [
        ("began", time(standing.operation_started_at)),
        ("snapshot", snapshot(standing)),
        ("reboot", reboot_option(standing)),
        ("last install without a reboot", time(standing.last_no_reboot_install_at)),
    ];
    let told = told.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name} {value}"));
    let listed = (standing.install_override_list == Some(true)).then(|| "an install override list chose".to_owned());
    let told: Vec<_> = told.chain(listed).collect();
    if !told.is_empty() {
        out.push_str(&format!("{}\n", told.join("; ")));
    }
    out
}

/// `describe host --history`.
pub fn history(document: &HistoryDocument) -> Rows {
    let mut header = vec!["reported", "operation"];
    header.extend(STANDING.iter().filter(|column| **column != "reported"));
    let mut rows = Rows::new(&header);
    for report in &document.reports {
        let mut cells = vec![time(report.reported_at), operation(report)];
        cells.extend(standing(report).into_iter().take(STANDING.len() - 1));
        rows.push(cells);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet() -> ComplianceDocument {
        serde_json::from_str(include_str!("../../schemas/compliance.v1.example.json")).unwrap()
    }

    #[test]
    fn the_worst_host_comes_first_and_the_unknown_before_the_good() {
        let mut document = fleet();
        let bad = document.hosts.iter().position(|row| row.standing.status == Status::NonCompliant).unwrap();
        let mut with = |name: &str, severity: Option<&str>, failed, missing| {
            let mut row = document.hosts[bad].clone();
            row.host = name.to_owned();
            row.standing.severity = severity.map(str::to_owned);
            row.standing.counters = Some(Counters { failed, missing, ..Counters::default() });
            document.hosts.push(row);
        };
        with("low-1", Some("LOW"), 9, 9);
        with("crit-2", Some("CRITICAL"), 0, 1);
        with("crit-1", Some("CRITICAL"), 0, 1);
        with("crit-3", Some("CRITICAL"), 0, 7);
        with("crit-4", Some("CRITICAL"), 1, 0);
        let ours = |row: &&ComplianceRow| row.host.starts_with("crit") || row.host.starts_with("low");
        let order: Vec<_> = sorted(&document).into_iter().filter(ours).map(|row| row.host.as_str()).collect();
        assert_eq!(order, ["crit-4", "crit-3", "crit-1", "crit-2", "low-1"]);
        let status: Vec<_> = sorted(&document).into_iter().map(|row| row.standing.status).collect();
        assert!(status.is_sorted());
    }

    #[test]
    fn only_a_terminal_gets_colour_and_every_line_its_own() {
        let (plain, painted) = (compliance(&fleet(), false, false), compliance(&fleet(), false, true));
        assert!(!plain.contains('\x1b'));
        let bare: String = painted
            .split("\x1b[")
            .enumerate()
            .map(|(at, part)| match at {
                0 => part,
                _ => part.split_once('m').unwrap().1,
            })
            .collect();
        assert_eq!(bare, plain);
        let line = |host: &str| painted.lines().find(|line| line.contains(host)).unwrap();
        assert!(line("db-1").starts_with("\x1b[31m") && line("web-2").starts_with("\x1b[32m"));
    }
}
