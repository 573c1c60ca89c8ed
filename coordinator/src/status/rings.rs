//! How the rings of a rollout stand.

use patchmesh_common::{
    id::RolloutId,
    rollout::{ledger::RolloutState as Standing, ring::Place},
};

use super::View;
use crate::api::document::{HostCounts, RingGatesDocument, RingProgress, RingState, Time, WaitingDocument};

impl View<'_> {
    /// Every ring, in order.
    pub(super) fn rings(&self, id: RolloutId, state: &Standing) -> Vec<RingProgress> {
        let waits = self.waits(id).filter(|_| state.ended_at.is_none());
        let rings = state.plan.rings.iter().enumerate();
        rings
            .map(|(at, ring)| {
                let place = Place { ring: u16::try_from(at).unwrap_or(u16::MAX), step: 0 };
                let (own, course) = (state.plan.ring_range(place), &state.course);
                let open = || state.tally.eligible.range(own.clone());
                let is_done = open().next().is_none() && state.tally.busy.range(own.clone()).next().is_none();
                let standing = match place.ring.cmp(&course.place.ring) {
                    core::cmp::Ordering::Less => RingState::Settled,
                    core::cmp::Ordering::Equal if is_done => RingState::Settled,
                    core::cmp::Ordering::Equal if course.place.step > 0 || course.opened => RingState::Open,
                    _ => RingState::Pending,
                };
                let own_now = place.ring == course.place.ring;
                let steps = u32::try_from(ring.steps.len()).unwrap_or(u32::MAX);
                // What the last of its hosts waits for is what keeps the ring: those before it may only wait for a slot.
                let waiting = waits.as_ref().and_then(|waits| waits.at(*open().next_back()?));
                let gates = state.course.gates.get(&place.ring);
                RingProgress {
                    name: ring.name.clone(),
                    state: standing,
                    step: match standing {
                        RingState::Settled => steps,
                        _ if own_now => u32::from(course.place.step) + 1,
                        _ => 1,
                    },
                    steps,
                    hosts: HostCounts::of(own.clone().map(|at| self.outcome(state, at))),
                    settled_at: course.settled.get(at).copied().map(Time),
                    approved_by: course.approved.values().filter(|_| own_now).cloned().collect(),
                    approvals: ring.approvals,
                    gates: gates.map(RingGatesDocument::from),
                    waiting: waiting.map(|waiting| WaitingDocument {
                        code: waiting.code().to_owned(),
                        text: waiting.text(),
                        command: waiting.command(id),
                    }),
                }
            })
            .collect()
    }
}
