//! Lists and single things of the API as columns.

use super::one_line;
use crate::{
    api::document::{
        HostDocument, HostRow, HostsDocument, ReleaseDocument, RolloutsDocument, SlotState, SlotsDocument, WhyDocument,
        WhyStep,
    },
    output::Rows,
};
use patchmesh_common::{
    gossip::Mode,
    poison::{QUARANTINE_TAG, SAFE_TAG},
};

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn tags(row: &HostRow) -> String {
    row.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// Why a host is not simply fine, in words.
fn reason(row: &HostRow) -> String {
    let mut reasons = Vec::new();
    if row.presence != crate::api::document::Presence::Live {
        reasons.push("not heard".to_owned());
    }
    if row.mode == Mode::Observe {
        reasons.push("observes only".to_owned());
    }
    if let Some(until) = row.tags.get(SAFE_TAG) {
        reasons.push(format!("safe mode {until}"));
    }
    if let Some(which) = row.tags.get(QUARANTINE_TAG) {
        reasons.push(format!("quarantined messages: {which}"));
    }
    if let Some(held) = &row.held {
        reasons.push(format!("at work for rollout {}", held.rollout));
    }
    if row.counters.is_none() {
        reasons.push("not scanned yet".to_owned());
    }
    if row.reboot_required == Some(true) {
        reasons.push("reboot pending".to_owned());
    }
    reasons.join(", ")
}

/// `get hosts`; more columns if `wide`.
pub fn hosts(document: &HostsDocument, wide: bool) -> Rows {
    let mut header = vec!["host", "presence", "mode", "os", "missing", "blocked", "failed", "reboot", "reason"];
    if wide {
        header.extend(["arch", "tags", "last heard", "node id"]);
    }
    let mut rows = Rows::new(&header);
    for row in &document.hosts {
        let counter = |pick: fn(&crate::api::document::Counters) -> u32| {
            row.counters.as_ref().map(|counters| pick(counters).to_string()).unwrap_or_default()
        };
        let mut cells = vec![
            row.host.clone(),
            row.presence.as_str().to_owned(),
            mode(row.mode).to_owned(),
            format!("{} {}", row.os, row.os_version.as_deref().unwrap_or("")).trim().to_owned(),
            counter(|counters| counters.missing),
            counter(|counters| counters.blocked),
            counter(|counters| counters.failed),
            row.reboot_required.map(|pending| if pending { "pending" } else { "no" }.to_owned()).unwrap_or_default(),
            reason(row),
        ];
        if wide {
            let heard = row.last_heard.map(|time| time.to_string()).unwrap_or_default();
            cells.extend([row.arch.clone(), tags(row), heard, row.node_id.clone()]);
        }
        rows.push(cells);
    }
    rows
}

/// `describe host`.
pub fn host(document: &HostDocument) -> String {
    let row = &document.row;
    let time = |time: Option<crate::api::document::Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let mut lines = vec![
        ("host", row.host.clone()),
        ("node id", row.node_id.clone()),
        ("os", format!("{} {}", row.os, row.os_version.as_deref().unwrap_or("")).trim().to_owned()),
        ("arch", row.arch.clone()),
        ("manager", document.manager.clone()),
        ("kernel", document.kernel.clone()),
        ("agent", document.agent_version.clone()),
        ("mode", mode(row.mode).to_owned()),
        ("tags", tags(row)),
        ("presence", row.presence.as_str().to_owned()),
        ("last heard", time(row.last_heard)),
        ("scanned at", time(document.scanned_at)),
        ("member until", time(document.membership_expires)),
        ("addresses", document.addresses.join(" ")),
    ];
    if let Some(counters) = row.counters {
        lines.push((
            "packages",
            format!(
                "{} installed, {} other, {} missing, {} blocked, {} failed, {} pending reboot",
                counters.installed,
                counters.installed_other,
                counters.missing,
                counters.blocked,
                counters.failed,
                counters.installed_pending_reboot
            ),
        ));
    }
    lines.push(("reason", reason(row)));
    lines
        .into_iter()
        .map(|(name, value)| {
            format!("{name:<13} {}\n", if value.is_empty() { "-".to_owned() } else { one_line(&value) })
        })
        .collect()
}

/// `get rollouts`.
pub fn rollouts(document: &RolloutsDocument) -> Rows {
    let mut rows = Rows::new(&[
        "id",
        "name",
        "operation",
        "state",
        "done",
        "failed",
        "lost",
        "hosts",
        "started",
        "ended",
        "urgent",
    ]);
    for row in &document.rollouts {
        rows.push(vec![
            row.id.clone(),
            row.name.clone(),
            format!("{:?}", row.operation),
            row.state.as_str().to_owned(),
            row.hosts.succeeded.to_string(),
            row.hosts.failed.to_string(),
            row.hosts.lost.to_string(),
            row.hosts.total.to_string(),
            row.started_at.map(|time| time.to_string()).unwrap_or_default(),
            row.ended_at.map(|time| time.to_string()).unwrap_or_default(),
            row.outside_window.as_ref().map(|given| one_line(&given.because)).unwrap_or_default(),
        ]);
    }
    rows
}

fn slot_state(state: SlotState) -> &'static str {
    match state {
        SlotState::Busy => "busy",
        SlotState::Lost => "lost",
        SlotState::Foreign => "foreign",
        SlotState::Unknown => "unknown",
    }
}

/// `slots ls`; more columns if `wide`.
pub fn slots(document: &SlotsDocument, wide: bool) -> Rows {
    let mut header = vec!["host", "state", "rollout", "since", "last heard", "phase", "reason", "release"];
    if wide {
        header.extend(["lease", "node id"]);
    }
    let mut rows = Rows::new(&header);
    let time = |time: Option<crate::api::document::Time>| time.map(|time| time.to_string()).unwrap_or_default();
    for slot in &document.slots {
        let mut cells = vec![
            slot.host.clone(),
            slot_state(slot.state).to_owned(),
            slot.rollout_name.clone().unwrap_or_default(),
            time(slot.since),
            time(slot.last_heard),
            slot.phase.map(|phase| phase.as_str().to_owned()).unwrap_or_default(),
            one_line(&slot.text),
            one_line(&slot.release),
        ];
        if wide {
            cells.extend([slot.lease.clone().unwrap_or_default(), slot.node_id.clone()]);
        }
        rows.push(cells);
    }
    rows
}

/// `slots release`.
pub fn release(document: &ReleaseDocument) -> String {
    let mut out = format!(
        "released {} at {} by {}: {}\n",
        document.host,
        document.at,
        one_line(&document.by),
        one_line(&document.because)
    );
    for slot in &document.released {
        let lease = slot.lease.as_deref().unwrap_or("that nobody here knows");
        out.push_str(&format!(
            "  lease {lease} is fenced: the host begins nothing disruptive under it once it hears of it\n"
        ));
        out.push_str(&format!("  risk ({}): {}\n", slot_state(slot.state), slot.risk));
    }
    out
}

/// `why`.
pub fn why(document: &WhyDocument) -> String {
    // The answer names its subject, and mostly ends with the first cause, which is not told twice then.
    let first = document.chain.first().filter(|first| document.answer.ends_with(&first.text));
    let mut out = one_line(&document.answer);
    match first {
        Some(first) => out.push_str(&ending(first)),
        None => out.push('\n'),
    }
    for step in document.chain.iter().skip(usize::from(first.is_some())) {
        out.push_str(&format!("  because {}{}", one_line(&step.text), ending(step)));
    }
    out
}

/// What follows the words of a cause.
fn ending(step: &WhyStep) -> String {
    let since = step.at.map(|at| format!(", since {at}")).unwrap_or_default();
    let command = step.command.as_ref().map(|command| format!("    try: {}\n", one_line(command))).unwrap_or_default();
    format!(" ({}){since}\n{command}", step.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_whose_daemon_aborts_says_so() {
        let text = include_str!("../../schemas/hosts.v1.example.json");
        let mut row = serde_json::from_str::<HostsDocument>(text).unwrap().hosts.remove(0);
        let before = reason(&row);
        row.tags.insert(SAFE_TAG.into(), "until 2026-12-01T02:00:00Z".into());
        row.tags.insert(QUARANTINE_TAG.into(), "1: 07070707".into());
        let after = reason(&row);
        assert!(after.contains("safe mode until 2026-12-01T02:00:00Z, quarantined messages: 1: 07070707"), "{after}");
        assert!(!before.contains("safe mode") && !before.contains("quarantined"));
    }
}
