//! How a rollout stands or ended, one line per host.

use patchmesh_common::rollout::limit::based;

use super::{counted, duration, one_line};
use crate::{
    api::document::{
        HostResult, OutsideWindow, ReplanDocument, RingGatesDocument, RingProgress, RingState, RolloutDocument,
    },
    output::Rows,
};

/// Lines of a failed step's output that a recap shows.
const MAX_LOG_LINES: usize = 5;

/// One row per host: always with a reason column.
pub fn recap_rows(rollout: &RolloutDocument) -> Rows {
    let mut rows = Rows::new(&["host", "outcome", "phase", "attempts", "rebooted", "packages", "reason"]);
    for result in &rollout.results {
        rows.push(vec![
            result.host.clone(),
            result.outcome.as_str().to_owned(),
            result.phase.map(|phase| phase.as_str().to_owned()).unwrap_or_default(),
            result.attempts.to_string(),
            if result.rebooted { "yes" } else { "no" }.to_owned(),
            packages(result),
            result
                .error
                .as_ref()
                .map(|error| &error.text)
                .or(result.detail.as_ref())
                .map(|text| one_line(text))
                .unwrap_or_default(),
        ]);
    }
    rows
}

fn ring_line(ring: &RingProgress) -> String {
    let hosts = ring.hosts;
    let done = hosts.total - hosts.running.min(hosts.total) - hosts.not_started.min(hosts.total);
    let standing = match (ring.state, ring.settled_at) {
        (RingState::Settled, Some(at)) => format!("settled at {at}"),
        (RingState::Settled, None) => "settled".to_owned(),
        (RingState::Open, _) => format!("at step {} of {}", ring.step, ring.steps),
        (RingState::Pending, _) => "not begun".to_owned(),
    };
    let approved = match ring.approved_by.as_slice() {
        [] => String::new(),
        names => format!("; approved by {}", names.iter().map(|name| one_line(name)).collect::<Vec<_>>().join(", ")),
    };
    let gates = ring.gates.as_ref().map(gates).unwrap_or_default();
    let waiting = ring.waiting.as_ref().map_or_else(String::new, |waiting| format!("; {}", one_line(&waiting.text)));
    format!(
        "ring {}: {standing}, {done} of {} done{approved}{gates}{waiting}\n",
        ring.name,
        counted(hosts.total as usize, "host")
    )
}

/// What the gates of a ring showed, with the first line of why not.
fn gates(gates: &RingGatesDocument) -> String {
    let why = gates.text.lines().next().map(|line| format!(": {}", one_line(line))).unwrap_or_default();
    let again = if gates.attempt > 1 { format!(" (attempt {})", gates.attempt) } else { String::new() };
    format!("; gates {}{again} at {}{why}", gates.state.as_str(), gates.at)
}

fn packages(result: &HostResult) -> String {
    match result.packages.as_slice() {
        [] => String::new(),
        few if few.len() <= 3 => {
            few.iter().map(|p| format!("{}={}", one_line(&p.name), one_line(&p.to))).collect::<Vec<_>>().join(" ")
        }
        many => counted(many.len(), "package"),
    }
}

/// The whole recap for people.
pub fn recap(rollout: &RolloutDocument) -> String {
    let mut out = recap_rows(rollout).table();
    for result in &rollout.results {
        let Some(error) = &result.error else { continue };
        let lines: Vec<_> = error.log.lines().map(one_line).filter(|line| !line.is_empty()).collect();
        if lines.is_empty() {
            continue;
        }
        out.push_str(&format!("\n{} ended with:\n", result.host));
        for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
            out.push_str(&format!("  {line}\n"));
        }
    }
    // One ring that goes all at once is the rollout itself.
    if rollout.rings.len() > 1 || rollout.rings.iter().any(|ring| ring.steps > 1) {
        out.push('\n');
        rollout.rings.iter().for_each(|ring| out.push_str(&ring_line(ring)));
    }
    let counts = rollout.hosts;
    out.push_str(&format!("\n{} {} ({}): ", rollout.state.as_str(), rollout.name, rollout.id));
    let parts: Vec<_> = [
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.lost, "lost"),
        (counts.refused, "refused"),
        (counts.skipped, "skipped"),
        (counts.not_started, "not started"),
        (counts.running, "running"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    out.push_str(&if parts.is_empty() { "no hosts".to_owned() } else { parts.join(", ") });
    out.push_str(&format!(" of {}", counted(counts.total as usize, "host")));
    let (limit, planned) =
        (&rollout.limits.max_concurrency, rollout.rings.iter().map(|ring| ring.hosts.total).sum::<u32>());
    let limit = based(&limit.given, limit.resolved, planned as usize);
    out.push_str(&format!("; at most {} at once, limit {limit}", rollout.peak_concurrency));
    if let Some(seconds) = rollout.duration_seconds {
        out.push_str(&format!("; {}", duration(seconds.0 / 1000)));
    }
    out.push('\n');
    if let Some(OutsideWindow { because, by }) = &rollout.outside_window {
        out.push_str(&format!("urgent: outside windows, because: {} (by {})\n", one_line(because), one_line(by)));
    }
    if let Some(reason) = &rollout.reason {
        out.push_str(&format!("reason: {} ({})\n", one_line(&reason.text), reason.code));
    }
    if let Some(ReplanDocument { name, id: Some(id) }) = &rollout.replans {
        out.push_str(&format!("plans {name} ({id}) again, where versions were superseded\n"));
    }
    match &rollout.replanned_as {
        Some(ReplanDocument { name, id: Some(id) }) => {
            out.push_str(&format!("superseded versions are planned again as {name} ({id})\n"));
        }
        Some(ReplanDocument { name, id: None }) => {
            out.push_str(&format!("superseded versions are to be planned again as {name}\n"));
        }
        None => {}
    }
    out
}
