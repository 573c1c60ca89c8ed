//! Steps and rings that settle, and what operators say before a ring begins.

use core::time::Duration;

use super::{Controller, Effect};
use crate::{
    id::{NodeId, RolloutId},
    machine::Cx,
    rollout::{
        approval::{SignedVerdict, takes},
        ledger::LedgerAct,
        planner::{self, Decision},
        ring::{MAX_RINGS, MAX_STEPS, Place},
    },
    time::BootTime,
};

impl Controller {
    /// What may happen next in a rollout, after every step that has settled is saved as settled.
    pub(super) fn decide(&mut self, cx: &mut Cx<'_, Effect>, id: RolloutId) -> Decision {
        // Every turn moves the rollout on by one step, except that the first may only begin its pause again.
        for _ in 0..=MAX_RINGS * MAX_STEPS {
            let mut decision = planner::plan(&self.ledger, id, &self.desk, cx.now);
            let Some((place, without)) = decision.settles.take() else { return decision };
            self.settle(cx, id, place, without);
        }
        Decision::default()
    }

    fn settle(&mut self, cx: &mut Cx<'_, Effect>, rollout: RolloutId, place: Place, without: Vec<NodeId>) {
        let Place { ring, step } = place;
        let next = self.ledger.rollouts.get(&rollout).and_then(|state| state.plan.after(place));
        self.save(
            cx,
            match next {
                Some(next) if next.ring != ring => LedgerAct::RingSettled { rollout, ring, without },
                _ => LedgerAct::StepSettled { rollout, ring, step, without },
            },
        );
        self.hold_closed(rollout, cx.now.boot, Duration::ZERO);
    }

    /// After a start: what is left of a pause, by the wall clock, is waited for by boot time too. A clock that went back while
    /// nobody ran makes no pause longer than it is.
    pub(super) fn resume_pauses(&mut self, cx: &Cx<'_, Effect>) {
        for id in self.ledger.active.clone() {
            let since = self.ledger.rollouts.get(&id).and_then(|state| state.course.since);
            let over = since.map_or(0, |since| cx.now.wall.0.saturating_sub(since.0).max(0));
            self.hold_closed(id, cx.now.boot, Duration::from_millis(over.unsigned_abs()));
        }
    }

    fn hold_closed(&mut self, id: RolloutId, now: BootTime, over: Duration) {
        let state = self.ledger.rollouts.get(&id);
        let pause = state.map_or(Duration::ZERO, |state| state.plan.pause_before(state.course.place));
        let left = pause.saturating_sub(over);
        if left.is_zero() {
            self.desk.opens.remove(&id);
        } else {
            self.desk.opens.insert(id, now.plus(left));
        }
    }

    /// An operator's word on a ring. What is not taken is not written: the shell asks [`takes`] to say why.
    pub(super) fn judged(&mut self, cx: &mut Cx<'_, Effect>, evidence: Box<SignedVerdict>) {
        let Ok((signer, verdict)) = evidence.open(self.settings.mesh, cx.now.wall, cx.keys) else { return };
        let state = self.ledger.rollouts.get(&verdict.rollout);
        if state.is_some_and(|state| takes(state, signer.key, &verdict).is_ok()) {
            self.save(
                cx,
                if verdict.approve { LedgerAct::Approved { evidence } } else { LedgerAct::Rejected { evidence } },
            );
        }
    }
}
