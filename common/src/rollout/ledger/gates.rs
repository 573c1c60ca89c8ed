//! Gates after a ring: when they were asked, and how they were answered.

use super::{FoldError, Ledger, RolloutState};
use crate::{
    id::RolloutId,
    rollout::ring_gate::{Answered, RingGates, RingVerdict},
    time::WallTime,
};

impl RolloutState {
    /// The host at `at` begins, or says what it did: what its ring and those after it showed before says nothing any more.
    pub(super) fn changes(&mut self, at: usize) {
        let ring = self.plan.ring_of(at);
        self.course.gates.range_mut(ring..).for_each(|(_, gates)| gates.answer = gates.answer.looked_too_early());
    }
}

impl Ledger {
    /// The gates of `ring` begin to be asked, once more than before.
    pub(super) fn fold_asked(&mut self, id: RolloutId, ring: u16, attempt: u32, at: WallTime) -> Result<(), FoldError> {
        let state = self.rollout(id)?;
        let before = state.course.gates.get(&ring);
        let answered = before.is_some_and(|gates| matches!(gates.answer, Answered::With(_)));
        let next = before.map_or(0, |gates| gates.attempt).checked_add(1) == Some(attempt);
        // Another coordinator may have gone further than this one.
        let begun = Some(ring) <= state.last_begun().max(Some(state.course.place.ring));
        if state.plan.ring_gates.is_empty() || !begun || answered || !next {
            return Err(FoldError::OtherAsking(id, ring, attempt));
        }
        state.course.gates.insert(ring, RingGates { attempt, at, answer: Answered::NotYet });
        Ok(())
    }

    /// What came of the last asking. An answer to an earlier one does not fit.
    pub(super) fn fold_gated(
        &mut self,
        id: RolloutId,
        ring: u16,
        attempt: u32,
        verdict: &RingVerdict,
        at: WallTime,
    ) -> Result<(), FoldError> {
        let state = self.rollout(id)?;
        let known = match verdict {
            RingVerdict::Passed => true,
            RingVerdict::Failed { gate, .. } => usize::from(*gate) < state.plan.ring_gates.len(),
        };
        let gates = state.course.gates.get_mut(&ring);
        let asked = gates.filter(|gates| known && gates.attempt == attempt && gates.answer == Answered::NotYet);
        let gates = asked.ok_or(FoldError::OtherAsking(id, ring, attempt))?;
        (gates.at, gates.answer) = (at, Answered::With(verdict.clone()));
        Ok(())
    }
}
