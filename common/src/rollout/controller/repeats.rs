//! What is said again because it may have been lost, and when to look again.

use core::time::Duration;

use super::{Contact, Controller, Effect, RESEND, TICK, make_lease};
use crate::{
    machine::Cx,
    run::message::ToHost,
    schedule::{Standing, standing},
    time::BootTime,
};

impl Controller {
    /// Repeats what may have been lost: epochs, leases that were granted and show no sign of life, STOPs.
    pub(super) fn repeat(&mut self, cx: &mut Cx<'_, Effect>) {
        let due = |contact: &Contact| cx.now.boot.since(contact.resent) >= RESEND;
        let mut sends = Vec::new();
        if self.ledger.discontinuous {
            let listens = self.desk.stands_back(cx.now.boot);
            for node in self.targets().filter(|node| listens || self.is_unsure(node)) {
                if self.desk.contacts.get(&node).is_none_or(due) {
                    sends.push((node, Effect::Tell { to: node, body: ToHost::Adopt }));
                }
            }
        }
        for node in self.unsure_members(cx.now.boot) {
            if self.desk.contacts.get(&node).is_none_or(due) && !self.asks_anyway(&node) {
                sends.push((node, Effect::Tell { to: node, body: ToHost::Adopt }));
            }
        }
        for (node, (id, lease)) in &self.ledger.leased {
            let Some((contact, state)) = self.desk.contacts.get(node).zip(self.ledger.rollouts.get(id)) else {
                continue;
            };
            let silent = cx.now.boot.since(contact.heard) >= RESEND || contact.progress.is_none();
            let (true, true, Some((at, opening))) = (due(contact), silent, self.running(*id, *node)) else { continue };
            // What has begun says so, whichever of the two it hears.
            let body = if self.may_begin(cx, *id, opening) {
                let attempt = state.hosts[at].attempts;
                ToHost::Offer(Box::new(make_lease(&state.plan, *id, at, attempt, *lease, opening, cx.now.wall)))
            } else {
                ToHost::Withdraw { lease: *lease }
            };
            sends.push((*node, Effect::Tell { to: *node, body }));
        }
        let ledger = &self.ledger;
        self.unstopped.retain(|node, (rollout, sequence)| {
            let stands = ledger.rollouts.get(rollout).is_some_and(|state| state.stopped == Some(*sequence));
            stands && ledger.leased.get(node).is_some_and(|(id, _)| id == rollout)
        });
        for (node, (rollout, sequence)) in &self.unstopped {
            if self.desk.contacts.get(node).is_some_and(due) {
                sends.push((*node, self.stop_effect(*node, *rollout, *sequence)));
            }
        }
        self.repeat_releases(cx, &mut sends);
        self.hold_back(cx, &mut sends);
        for (node, effect) in sends {
            self.contact(node, cx.now.boot).resent = cx.now.boot;
            cx.emit(effect);
        }
    }

    /// When it wants to be woken next.
    pub(super) fn next_wake(&self, cx: &Cx<'_, Effect>) -> Option<BootTime> {
        let states = || self.ledger.active.iter().filter_map(|id| self.ledger.rollouts.get(id));
        let opens = states().filter_map(|state| match standing(&state.plan.openings, cx.now.wall) {
            Standing::Before(next) => u64::try_from(next.opens.0.saturating_sub(cx.now.wall.0)).ok(),
            _ => None,
        });
        let fenced = self.ledger.released.values().any(|node| self.is_reached(node, cx.now.boot));
        let unsure = self.unsure_members(cx.now.boot).next().is_some();
        let work = !self.ledger.active.is_empty() || !self.ledger.leased.is_empty();
        let busy = work || fenced || unsure || self.has_probes();
        let tick = busy.then_some(TICK.as_millis() as u64);
        let soonest = opens.chain(tick).min()?;
        Some(cx.now.boot.plus(Duration::from_millis(soonest)))
    }
}
