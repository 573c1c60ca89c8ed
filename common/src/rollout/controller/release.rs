//! Slots that an operator releases by name, and the talk with their hosts until evidence has come.

use core::time::Duration;

use super::{Controller, Effect, RESEND};
use crate::{
    id::{LeaseId, NodeId},
    machine::Cx,
    rollout::{
        ledger::LedgerAct,
        slots::{self, Hold},
    },
    run::message::{Refusal, ToHost},
    time::BootTime,
};

/// A host that the mesh does not hear is not told anything if it was silent for this long: it may never come back.
const REACHED: Duration = Duration::from_secs(30);

impl Controller {
    /// Frees what `host` holds, saved first. What is not held is not written.
    pub(super) fn release(&mut self, cx: &mut Cx<'_, Effect>, host: NodeId, by: &str, because: &str) {
        let held = slots::slots(&self.ledger, &self.desk, cx.now.boot);
        let mut held: Vec<(Option<LeaseId>, Hold)> =
            held.into_iter().filter(|slot| slot.host == host).map(|slot| (slot.lease, slot.held)).collect();
        if held.is_empty() {
            return;
        }
        // Beside the lease that was granted here it may hold another one that nobody knows.
        if held.iter().all(|(lease, _)| lease.is_some()) && self.ledger.is_unclear(&host) {
            held.push((None, Hold::Unknown));
        }
        for (lease, held) in held {
            self.save(cx, LedgerAct::Released { host, lease, held, by: by.to_owned(), because: because.to_owned() });
            if let Some(lease) = lease {
                cx.emit(Effect::Tell { to: host, body: ToHost::Release { lease } });
            }
        }
        let contact = self.contact(host, cx.now.boot);
        (contact.progress, contact.resent) = (None, cx.now.boot);
    }

    /// A refusal proves that nothing runs under the lease, and never will.
    pub(super) fn released_refused(&mut self, cx: &mut Cx<'_, Effect>, host: NodeId, lease: LeaseId, refusal: Refusal) {
        match self.ledger.released_in(host, lease) {
            Some(rollout) => self.save(cx, LedgerAct::Returned { rollout, host, lease, refusal }),
            // Granted elsewhere: only its own word on what it holds is an entry here.
            None => cx.emit(Effect::Tell { to: host, body: ToHost::Adopt }),
        }
    }

    /// Whether what is said to the host has a chance to be heard.
    pub(super) fn is_reached(&self, node: &NodeId, now: BootTime) -> bool {
        self.desk.contacts.get(node).is_some_and(|contact| contact.alive || now.since(contact.heard) < REACHED)
    }

    pub(super) fn repeat_releases(&self, cx: &Cx<'_, Effect>, sends: &mut Vec<(NodeId, Effect)>) {
        for (lease, node) in &self.ledger.released {
            let due = |contact: &super::Contact| cx.now.boot.since(contact.resent) >= RESEND;
            if self.desk.contacts.get(node).is_some_and(due) && self.is_reached(node, cx.now.boot) {
                sends.push((*node, Effect::Tell { to: *node, body: ToHost::Release { lease: *lease } }));
            }
        }
    }
}
