//! Why a host is where it is, as a chain of causes.

use patchmesh_common::{
    gossip::Mode,
    id::{NodeId, RolloutId},
    patch::PatchCounters,
    poison::{QUARANTINE_TAG, SAFE_TAG},
    rollout::ledger::{Progress, RolloutState as Standing},
};
use patchmesh_node::peer::{KnownHost, Presence};

use super::slots;
use crate::{
    api::document::{HostOutcome, Time, WhyDocument, WhyStep},
    status::{self, View},
};

/// Why the host `name` is where it is: what its rollouts say, newest first, then what its own record says. `None` if neither
/// the mesh nor a rollout knows it. A coordinator that has just started has heard of nobody, and its ledger explains all the same.
pub(super) fn why(view: &View<'_>, members: &[KnownHost], name: &str) -> Option<WhyDocument> {
    let heard = members.iter().find(|host| host.membership.name == name);
    let node = heard.map(|host| host.node).or_else(|| planned(view, name))?;
    let mut chain = slots::why(view, node);
    chain.extend(rollouts(view, node));
    match heard {
        Some(host) => own_words(host, &mut chain),
        None => chain.push(WhyStep {
            code: "unheard".into(),
            text: "the coordinator has not heard of it since it started".into(),
            at: None,
            command: Some("systemctl status patchmeshd".into()),
        }),
    }
    let answer = chain.first().map_or_else(
        || format!("{name} lacks nothing that its last scan looked for"),
        |first| format!("{name}: {}", first.text),
    );
    Some(WhyDocument::host(name, answer, chain))
}

/// The host of that name in the rollout that began last.
fn planned(view: &View<'_>, name: &str) -> Option<NodeId> {
    let planned = |state: &Standing| state.plan.hosts.iter().find(|host| host.name == name).map(|host| host.node);
    let found = view.ledger.rollouts.values().filter_map(|state| Some((state.started_at, planned(state)?)));
    found.max_by_key(|(started, _)| *started).map(|(_, node)| node)
}

/// What the rollouts of `node` say, newest first.
fn rollouts(view: &View<'_>, node: NodeId) -> Vec<WhyStep> {
    // A rollout that ended well for the host is no reason for anything.
    let explains = |state: &Standing| {
        let at = state.index.get(&node);
        at.is_some_and(|at| !matches!(view.outcome(state, *at), HostOutcome::Succeeded | HostOutcome::Skipped))
    };
    let mut rollouts: Vec<_> = view.ledger.rollouts.iter().filter(|(_, state)| explains(state)).collect();
    rollouts.sort_by_key(|(_, state)| core::cmp::Reverse(state.started_at));
    rollouts.iter().map(|(id, state)| rollout_step(view, **id, state, node)).collect()
}

/// What its own record says.
fn own_words(host: &KnownHost, chain: &mut Vec<WhyStep>) {
    let body = &host.record.body;
    let seen = Some(Time(host.record.sealed_at));
    let mut add = |code: &str, text: String, command: Option<String>| {
        chain.push(WhyStep { code: code.to_owned(), text, at: seen, command });
    };
    if host.presence == Presence::Silent {
        add("silent", "the mesh does not hear it".into(), Some("systemctl start patchmeshd".into()));
    }
    if body.mode == Mode::Observe {
        add("observe-mode", "its own file does not say mode = \"enforce\"".into(), None);
    }
    if let Some(until) = body.tags.get(SAFE_TAG) {
        let text = format!("its daemon aborted three times in ten minutes; it takes no lease {until}");
        add("safe-mode", text, Some("journalctl -u patchmeshd".into()));
    }
    if let Some(which) = body.tags.get(QUARANTINE_TAG) {
        let text = format!("its daemon died twice over the same message, and drops it unread ({which})");
        add("quarantined", text, Some("journalctl -u patchmeshd".into()));
    }
    let PatchCounters { missing, blocked, failed, installed_pending_reboot, .. } = body.counters;
    if body.reboot_required || installed_pending_reboot > 0 {
        add("reboot-required", "a reboot is pending".into(), None);
    }
    if missing + failed > 0 {
        let text = format!("missing: {missing}, failed: {failed}, blocked on the host: {blocked}");
        add("missing", text, Some("patchmesh plan -f FILE".into()));
    }
    if body.scanned_at.is_none() {
        add("never-scanned", "it has not scanned yet".into(), None);
    }
}

fn rollout_step(view: &View<'_>, id: RolloutId, state: &Standing, node: NodeId) -> WhyStep {
    let at = state.index.get(&node).copied().unwrap_or_default();
    let status = Some(format!("patchmesh rollout status {id}"));
    let step = |code: &str, text: String, at: Option<Time>| WhyStep {
        code: code.to_owned(),
        text,
        at,
        command: status.clone(),
    };
    let rollout = &state.plan.name;
    if let Some(waiting) = view.waiting(id, at).filter(|_| state.ended_at.is_none()) {
        let text = format!("waits in rollout {rollout}: {}", waiting.text());
        let waits = step(waiting.code(), text, Some(Time(view.now.wall)));
        return WhyStep { command: waiting.command(id).or(waits.command), ..waits };
    }
    let outcome = view.outcome(state, at);
    let time = state.hosts[at].report.as_ref().map(|report| Time(report.ended)).or(state.ended_at.map(Time));
    match (&state.hosts[at].progress, outcome) {
        (Progress::Running { since, .. }, HostOutcome::Running) => {
            let phase = view.phase(state, at).map_or("granted", |phase| phase.as_str());
            let said = view.detail(state, at).map(|line| format!(": {line}")).unwrap_or_default();
            step("running", format!("rollout {rollout} is at work on it, in phase {phase}{said}"), Some(Time(*since)))
        }
        (Progress::Released(release), _) => {
            step("released", format!("rollout {rollout}: {}", status::released(release)), Some(Time(release.at)))
        }
        (Progress::Refused(refusal), _) => step(
            refusal.code.as_str(),
            format!("refused rollout {rollout}: {}; {}", refusal.text, refusal.remedy),
            time,
        ),
        (_, outcome) => {
            let error = state.hosts[at].report.as_ref().and_then(|report| report.error.as_ref());
            let (code, text) = match error {
                Some(error) => (error.code.as_str(), format!(": {}", error.text)),
                None => (outcome.as_str(), String::new()),
            };
            step(code, format!("rollout {rollout} ended for it as {}{text}", outcome.as_str()), time)
        }
    }
}
