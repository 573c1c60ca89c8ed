//! Who watches a rollout, and what changed since they last looked.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        intent::Intent,
        ledger::{LedgerAct, RolloutState as Standing},
        service::ServiceAct,
        why::release_command,
    },
    run::Phase,
};
use tokio::sync::mpsc;

use crate::{
    api::document::{EventDocument, EventKind, HostOutcome, ProgressDocument, RolloutState, WatchEvent},
    status::View,
};

/// What a watcher was last shown of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    outcome: HostOutcome,
    phase: Option<Phase>,
    waiting: Option<&'static str>,
}

/// One client that watches one rollout.
pub struct Watcher {
    rollout: RolloutId,
    out: mpsc::Sender<WatchEvent>,
    hosts: BTreeMap<usize, Shown>,
    state: Option<RolloutState>,
    progress: Option<ProgressDocument>,
}

impl Watcher {
    /// A watcher and the queue that it fills. A full queue loses events, never the recap.
    pub fn new(rollout: RolloutId, queue: usize) -> (Self, mpsc::Receiver<WatchEvent>) {
        let (out, events) = mpsc::channel(queue);
        (Self { rollout, out, hosts: BTreeMap::new(), state: None, progress: None }, events)
    }

    /// Sends what changed. Answers whether the watcher is to be kept.
    pub fn show(&mut self, view: &View<'_>) -> bool {
        let Some(state) = view.ledger.rollouts.get(&self.rollout) else { return false };
        for event in self.changes(view, state) {
            let _ = self.out.try_send(WatchEvent::Event(event));
        }
        let progress = view.progress(self.rollout, state);
        if self.progress.as_ref() != Some(&progress)
            && self.out.try_send(WatchEvent::Progress(progress.clone())).is_ok()
        {
            self.progress = Some(progress);
        }
        if state.ended_at.is_none() {
            return !self.out.is_closed();
        }
        let recap = WatchEvent::Recap(Box::new(view.recap(self.rollout, state)));
        match self.out.try_send(recap) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => true,
        }
    }

    fn changes(&mut self, view: &View<'_>, state: &Standing) -> Vec<EventDocument> {
        let mut events = Vec::new();
        let waits = view.waits(self.rollout);
        for (at, host) in state.plan.hosts.iter().enumerate() {
            let waiting = waits.as_ref().and_then(|waits| waits.at(at));
            let now = Shown {
                outcome: view.outcome(state, at),
                phase: view.phase(state, at),
                waiting: waiting.as_ref().map(|waiting| waiting.code()),
            };
            let before = self.hosts.insert(at, now.clone());
            if before.as_ref() == Some(&now) {
                continue;
            }
            let mut event = self.event(view, kind_of(before.as_ref(), &now));
            event.host = Some(host.name.clone());
            event.node_id = Some(host.node.to_string());
            event.phase = now.phase;
            event.outcome = Some(now.outcome);
            if let Some(waiting) = waiting {
                event.code = Some(waiting.code().to_owned());
                event.text = waiting.text();
            } else if now.outcome == HostOutcome::Lost {
                event.code = Some("lost".to_owned());
                event.text = format!("the host is silent; if it never returns: {}", release_command(&host.name));
            } else if let Some(error) = state.hosts[at].report.as_ref().and_then(|report| report.error.as_ref()) {
                event.code = Some(error.code.clone());
                event.text.clone_from(&error.text);
            }
            events.push(event);
        }
        let (name, reason) = view.state(self.rollout, state);
        if self.state.replace(name) != Some(name) {
            let mut event = self.event(view, EventKind::State);
            event.state = Some(name);
            event.code = reason.as_ref().map(|reason| reason.code.clone());
            event.text = reason.map(|reason| reason.text).unwrap_or_default();
            events.push(event);
        }
        events
    }

    fn event(&self, view: &View<'_>, kind: EventKind) -> EventDocument {
        EventDocument {
            schema: EventDocument::SCHEMA.to_owned(),
            at: view.now.wall.rfc3339_millis(),
            rollout: self.rollout.to_string(),
            kind,
            host: None,
            node_id: None,
            phase: None,
            outcome: None,
            state: None,
            code: None,
            text: String::new(),
        }
    }
}

fn kind_of(before: Option<&Shown>, now: &Shown) -> EventKind {
    match (before, now) {
        (_, now) if now.waiting.is_some() => EventKind::HostWaiting,
        (Some(before), now) if before.outcome == now.outcome => EventKind::HostPhase,
        (_, now) if now.outcome == HostOutcome::Running => EventKind::HostPhase,
        _ => EventKind::HostOutcome,
    }
}

/// The kind of a ledger entry, for the log.
pub fn act_name(act: &LedgerAct) -> &'static str {
    match act {
        LedgerAct::EpochOpened { .. } => "epoch-opened",
        LedgerAct::Adopted { .. } => "adopted",
        LedgerAct::Started(_) => "started",
        LedgerAct::Granted { .. } => "granted",
        LedgerAct::Reported { .. } => "reported",
        LedgerAct::Returned { .. } => "returned",
        LedgerAct::Refused { .. } => "refused",
        LedgerAct::Paused { .. } => "paused",
        LedgerAct::Resumed { .. } => "resumed",
        LedgerAct::Halted { .. } => "halted",
        LedgerAct::Stopped { .. } => "stopped",
        LedgerAct::Ordered { .. } => "ordered",
        LedgerAct::Ended { .. } => "ended",
        LedgerAct::Released { .. } => "released",
        LedgerAct::StepSettled { .. } => "step-settled",
        LedgerAct::RingSettled { .. } => "ring-settled",
        LedgerAct::Approved { .. } => "approved",
        LedgerAct::Rejected { .. } => "rejected",
        LedgerAct::RingAsked { .. } => "ring-asked",
        LedgerAct::RingGated { .. } => "ring-gated",
        LedgerAct::Intent { intent, .. } => match intent {
            Intent::Created { .. } => "created",
            Intent::Replaced { .. } => "replaced",
            Intent::Deleted { .. } => "deleted",
            Intent::Registered { .. } => "registered",
            Intent::Deregistered { .. } => "deregistered",
            Intent::MadeDefault { .. } => "made-default",
        },
        LedgerAct::Service(ServiceAct::Kept { .. }) => "service-kept",
        LedgerAct::Service(ServiceAct::Dropped { .. }) => "service-dropped",
        LedgerAct::Service(ServiceAct::Fleet { .. }) => "fleet-limited",
        LedgerAct::Service(ServiceAct::Members { .. }) => "members",
        LedgerAct::Service(ServiceAct::Seen { .. }) => "members-seen",
        LedgerAct::Service(ServiceAct::Probed { .. }) => "members-probed",
    }
}

#[cfg(test)]
mod tests;
