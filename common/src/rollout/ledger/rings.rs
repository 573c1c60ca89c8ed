//! Where a rollout stands among its rings: what settled, what operators said, and who has begun.

use super::{FoldError, Ledger, RolloutState};
use crate::{
    id::RolloutId,
    rollout::{
        approval::SignedVerdict,
        ring::{Course, Place, Rejection},
    },
    time::WallTime,
};

impl Ledger {
    /// The step at `place` settled: the next one opens after its pause. Said again, the pause begins again, as long as nobody
    /// of the next step has begun.
    pub(super) fn fold_settled(&mut self, id: RolloutId, place: Place, at: WallTime) -> Result<(), FoldError> {
        let state = self.rollout(id)?;
        let next = state.plan.after(place).ok_or(FoldError::OtherStep(id, place))?;
        let course = &mut state.course;
        if course.place == place {
            let other = next.ring != place.ring;
            *course = Course {
                place: next,
                since: Some(at),
                opened: false,
                begun: if other { 0 } else { course.begun },
                approved: Default::default(),
                rejected: course.rejected.take(),
                settled: core::mem::take(&mut course.settled),
                gates: core::mem::take(&mut course.gates),
            };
            course.settled.extend(other.then_some(at));
            if other {
                self.bakes_anew(id, place.ring);
            }
            return Ok(());
        }
        if course.place != next || course.opened {
            return Err(FoldError::OtherStep(id, place));
        }
        course.since = Some(at);
        if let Some(last) = course.settled.last_mut().filter(|_| next.step == 0) {
            *last = at;
            self.bakes_anew(id, place.ring);
        }
        Ok(())
    }

    /// What a ring showed before it began to bake says nothing of how it is after that.
    fn bakes_anew(&mut self, id: RolloutId, ring: u16) {
        let gates = self.rollouts.get_mut(&id).and_then(|state| state.course.gates.get_mut(&ring));
        gates.into_iter().for_each(|gates| gates.answer = gates.answer.looked_too_early());
    }

    pub(super) fn fold_verdict(&mut self, evidence: &SignedVerdict, at: WallTime) -> Result<(), FoldError> {
        let (by, verdict) = evidence.read().map_err(FoldError::Verdict)?;
        let state = self.rollout(verdict.rollout)?;
        let place = Place { ring: verdict.ring, step: 0 };
        let ring = state.plan.ring(place).map(|ring| ring.name.clone());
        let ring = ring.filter(|_| state.course.place == place).ok_or(FoldError::OtherStep(verdict.rollout, place))?;
        if verdict.approve {
            state.course.approved.insert(evidence.verdict.author, by);
        } else {
            state.course.rejected = Some(Rejection { ring, by, because: verdict.because, at });
        }
        Ok(())
    }
}

impl RolloutState {
    /// The host at `at` gets a `Go`; to be told before that is counted.
    pub(super) fn begins(&mut self, at: usize) {
        let (place, first) = (self.course.place, self.hosts[at].attempts == 0);
        self.course.begun += u32::from(first && self.plan.ring_range(place).contains(&at));
        self.course.opened |= self.plan.step_range(place).contains(&at);
    }

    /// A host that failed a gate before which no other step begins: one of a step before the present one, or of the present one
    /// if another follows. However many failures are allowed, such a step would begin upon a host that is known to be unwell.
    pub fn failed_gate(&self) -> Option<usize> {
        let (plan, place) = (&self.plan, self.course.place);
        let step = plan.step_range(place);
        let end = if plan.after(place).is_some() { step.end } else { step.start };
        self.tally.gate_failed.range(..end).next().copied()
    }

    /// How many hosts of the present ring ever got a `Go`, computed from the hosts alone.
    pub fn recounted_begun(&self) -> u32 {
        let range = self.plan.ring_range(self.course.place);
        let begun = self.hosts[range].iter().filter(|host| host.attempts > 0).count();
        u32::try_from(begun).unwrap_or(u32::MAX)
    }
}
