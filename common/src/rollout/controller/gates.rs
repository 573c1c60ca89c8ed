//! Gates after a ring: asked by the shell, which ends what it began with a verdict.

use super::{Controller, Effect};
use crate::{
    id::RolloutId,
    machine::Cx,
    rollout::{ledger::LedgerAct, ring_gate::RingVerdict},
};

impl Controller {
    /// That they are asked is durable before it is begun: whoever starts before they are answered asks with a higher attempt, so
    /// that no answer to this one is taken for one to that.
    pub(super) fn ask_gates(&mut self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, ring: u16) {
        let Some(state) = self.ledger.rollouts.get(&rollout) else { return };
        let before = state.course.gates.get(&ring).map_or(0, |gates| gates.attempt);
        let (Some(attempt), name) = (before.checked_add(1), state.plan.ring_name(ring)) else { return };
        let gates = state.plan.ring_gates.clone();
        self.save(cx, LedgerAct::RingAsked { rollout, ring, attempt });
        self.desk.asking.insert(rollout, (ring, attempt));
        cx.emit(Effect::AskGates { rollout, ring, name, attempt, gates });
    }

    /// What came of an asking. An answer to an earlier one, or of a rollout that has ended, is not written.
    pub(super) fn gated(
        &mut self,
        cx: &mut Cx<'_, Effect>,
        rollout: RolloutId,
        (ring, attempt): (u16, u32),
        verdict: RingVerdict,
    ) {
        if self.ledger.active.contains(&rollout) {
            let verdict = verdict.bounded();
            self.save(cx, LedgerAct::RingGated { rollout, ring, attempt, verdict });
        }
        if self.desk.asking.get(&rollout) == Some(&(ring, attempt)) {
            self.desk.asking.remove(&rollout);
        }
    }
}
