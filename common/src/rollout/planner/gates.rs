//! Which ring's gates are to be asked: those of one that has settled and baked, before the next one begins, and those of the last
//! one in which anything was done, before the rollout ends.

use super::{Desk, Ledger, front, held};
use crate::{
    id::RolloutId,
    rollout::{ledger::RolloutState, ring::Place, waiting::Waiting},
    time::Now,
};

/// The ring after which nothing begins any more, if it has yet to show that all is well: every host is done, or silent and passed
/// over. If all are done, it does not matter whether a step is still closed: nobody is left for whom it would open.
pub(super) fn last(ledger: &Ledger, id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Option<u16> {
    let complete = || {
        let mut open = state.tally.eligible.iter();
        state.tally.busy.is_empty() && open.all(|at| front::is_down(ledger, state, *at, desk, now))
    };
    if state.plan.ring_gates.is_empty()
        || state.is_latched()
        || (!state.tally.eligible.is_empty() && front::gate(id, state, desk, now).is_some())
        || !complete()
    {
        return None;
    }
    // While others are awaited, only what has had its turn is asked about.
    let had_turn = |ring: &u16| state.tally.eligible.is_empty() || *ring <= state.course.place.ring;
    state.last_begun().filter(|ring| !state.has_shown(*ring)).filter(had_turn)
}

/// The ring before the present one, if its bake is over and it has yet to show that all is well.
fn before(id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Option<u16> {
    let ring = state.course.place.ring.checked_sub(1)?;
    matches!(front::gate(id, state, desk, now), Some(Waiting::RingGates { .. })).then_some(ring)
}

/// The ring whose gates keep the rollout from going on.
fn due(ledger: &Ledger, id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Option<u16> {
    before(id, state, desk, now).or_else(|| last(ledger, id, state, desk, now))
}

/// The ring whose gates this process is to ask now: nobody asks while the rollout is held up, and nobody asks twice.
pub(super) fn asks(ledger: &Ledger, id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Option<u16> {
    let ring = due(ledger, id, state, desk, now).filter(|_| held(ledger, state, desk, now).is_none())?;
    // Who came back after the ring had settled is waited for, as long as he is heard.
    let end = state.plan.ring_range(Place { ring, step: 0 }).end;
    if state.tally.busy.range(..end).any(|at| !desk.is_lost(ledger, state, *at, now.boot)) {
        return None;
    }
    let attempt = state.course.gates.get(&ring).map(|gates| gates.attempt);
    let asked = desk.asking.get(&id).is_some_and(|asking| Some(*asking) == attempt.map(|attempt| (ring, attempt)));
    (!asked || state.has_gone_stale(ring)).then_some(ring)
}

/// What the rollout waits for while the gates of a ring are to be asked, or are being asked; whether or not a host waits with it.
pub fn gating(ledger: &Ledger, id: RolloutId, desk: &Desk, now: Now) -> Option<Waiting> {
    let state = ledger.rollouts.get(&id).filter(|state| state.ended_at.is_none())?;
    let ring = due(ledger, id, state, desk, now)?;
    held(ledger, state, desk, now).or_else(|| Some(waiting(state, ring)))
}

/// The gates of `ring` have yet to be passed.
pub(super) fn waiting(state: &RolloutState, ring: u16) -> Waiting {
    let place = state.course.place;
    Waiting::RingGates {
        ring: state.plan.ring_name(ring),
        next: (place.ring > ring).then(|| state.plan.ring_name(place.ring)),
        attempt: state.course.gates.get(&ring).map_or(0, |gates| gates.attempt),
    }
}
