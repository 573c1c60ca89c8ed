//! STOPs: those of one rollout, which this coordinator orders, and those that were given at another member.

use super::{Controller, Effect};
use crate::{
    id::{NodeId, RolloutId},
    machine::Cx,
    rollout::ledger::LedgerAct,
    run::message::{RefusalCode, SignedStop, StopOrder, StopScope},
};

impl Controller {
    pub(super) fn stop(&mut self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, by: String) {
        if !self.ledger.active.contains(&rollout) || self.is_latched(rollout) {
            return;
        }
        let sequence = self.ledger.stop_sequence.saturating_add(1);
        self.save(cx, LedgerAct::Stopped { rollout, sequence, by });
        self.spread_stop(cx, rollout, sequence);
        self.demand_stop(cx, rollout, sequence);
    }

    /// An order that was given at another member.
    pub(super) fn ordered(&mut self, cx: &mut Cx<'_, Effect>, signed: Box<SignedStop>) {
        let Ok(order) = signed.order(self.settings.mesh, cx.now.wall, cx.keys) else { return };
        if !self.ledger.lacks(&order.stamp()) {
            return;
        }
        self.save(cx, LedgerAct::Ordered { evidence: signed });
        // What a host refused under a STOP says nothing of what it does after it.
        for contact in self.desk.contacts.values_mut() {
            contact.refused = contact.refused.take().filter(|(no, ..)| no.code != RefusalCode::Stopped);
        }
    }

    pub(super) fn spread_stop(&self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, sequence: u64) {
        let scope = StopScope::Rollout(rollout);
        cx.emit(Effect::Order(StopOrder { mesh: self.settings.mesh, scope, sequence, stop: true }));
    }

    pub(super) fn demand_stop(&mut self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, sequence: u64) {
        let holders = self.ledger.leased.iter().filter(|(_, (id, _))| *id == rollout).map(|(node, _)| *node);
        for node in holders {
            self.unstopped.insert(node, (rollout, sequence));
            cx.emit(self.stop_effect(node, rollout, sequence));
        }
    }

    pub(super) fn stop_effect(&self, to: NodeId, rollout: RolloutId, sequence: u64) -> Effect {
        let order = StopOrder { mesh: self.settings.mesh, scope: StopScope::Rollout(rollout), sequence, stop: true };
        Effect::TellStop { to, order }
    }
}
