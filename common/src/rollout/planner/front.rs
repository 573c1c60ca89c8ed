//! How far a rollout has come among its rings: which hosts may begin now, what the others wait for, and what has settled.

use core::{ops::Range, time::Duration};

use super::{Desk, Ledger, blocked, gates};
use crate::{
    id::{NodeId, RolloutId},
    rollout::{
        ledger::RolloutState,
        limit::{Ramp, ramp_allows},
        ring::Place,
        waiting::Waiting,
    },
    run::message::MAX_SKEW,
    time::Now,
};

/// Which hosts may begin.
pub(super) struct Front {
    /// Those at positions below this one.
    pub(super) open: usize,
    /// What keeps the step at which the rollout stands closed; `None` if it is open.
    pub(super) closed: Option<Waiting>,
}

/// How far `state` may go now.
pub(super) fn front(id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Front {
    let step = state.plan.step_range(state.course.place);
    let closed = gate(id, state, desk, now);
    Front { open: if closed.is_none() { step.end } else { step.start }, closed }
}

/// What keeps the step at which the rollout stands closed.
pub(super) fn gate(id: RolloutId, state: &RolloutState, desk: &Desk, now: Now) -> Option<Waiting> {
    let (plan, course) = (&state.plan, &state.course);
    let place = course.place;
    let ring = plan.ring(place).filter(|_| !course.opened)?;
    let pause = plan.pause_before(place);
    if let Some(since) = course.since.filter(|_| !pause.is_zero()) {
        // Both clocks must say so: the wall clock may be set, and boot time knows of this process only.
        let left = desk.opens.get(&id).map_or(Duration::ZERO, |at| at.since(now.boot));
        let by_boot = now.wall.plus(left);
        let until = since.plus(pause).max(by_boot);
        if now.wall < until {
            let before = plan.before(place).and_then(|before| plan.ring(before));
            return Some(match place.step {
                0 => Waiting::Bake {
                    ring: ring.name.clone(),
                    after: before.map(|ring| ring.name.clone()).unwrap_or_default(),
                    until,
                },
                step => Waiting::StepWait { ring: ring.name.clone(), step: step + 1, steps: steps(ring), until },
            });
        }
    }
    let unproven = place.ring.checked_sub(1).filter(|before| place.step == 0 && !state.has_shown(*before));
    if let Some(before) = unproven {
        return Some(gates::waiting(state, before));
    }
    let (given, needed) = (course.approved.len(), plan.approvals_before(place));
    (given < usize::from(needed)).then(|| Waiting::Approval { rollout: id, ring: ring.name.clone(), given, needed })
}

fn steps(ring: &crate::rollout::ring::PlannedRing) -> u16 {
    u16::try_from(ring.steps.len()).unwrap_or(u16::MAX)
}

/// The step that has settled, if one has, and the hosts of it that are passed over: they were never leased, and are silent for
/// too long. A step of whose ring nobody else is done does not settle by their silence: it would prove nothing.
pub(super) fn settles(
    ledger: &Ledger,
    id: RolloutId,
    state: &RolloutState,
    desk: &Desk,
    now: Now,
) -> Option<(Place, Vec<NodeId>)> {
    let (plan, course, tally) = (&state.plan, &state.course, &state.tally);
    let place = course.place;
    if state.is_latched() || desk.stands_back(now.boot) {
        return None;
    }
    // The clock was set back to before the settling: nobody could say how much of the pause is over. It begins again.
    let ahead = course.since.is_some_and(|since| since > now.wall.plus(MAX_SKEW));
    if ahead && !course.opened && !plan.pause_before(place).is_zero() {
        return plan.before(place).map(|before| (before, Vec::new()));
    }
    plan.after(place)?;
    let (ring, end) = (plan.ring_range(place), plan.step_range(place).end);
    if tally.busy.range(..end).next().is_some() || gate(id, state, desk, now).is_some() {
        return None;
    }
    let open = || tally.eligible.range(..end);
    if open().next().is_none() {
        return Some((place, Vec::new()));
    }
    if !open().all(|at| is_down(ledger, state, *at, desk, now)) || blocked(ledger, state, desk, now).is_some() {
        return None;
    }
    let without = || open().map(|at| plan.hosts[*at].node).collect();
    (!is_alone(state, ring.start.min(end)..end)).then(|| (place, without()))
}

/// Whether the host at `at`, which is not at work, is silent for too long, and holds no slot.
pub(super) fn is_down(ledger: &Ledger, state: &RolloutState, at: usize, desk: &Desk, now: Now) -> bool {
    let node = &state.plan.hosts[at].node;
    let holds = ledger.foreign.contains_key(node) || ledger.is_unclear(node);
    !holds && desk.is_lost(ledger, state, at, now.boot)
}

/// Whether none of these hosts is done.
fn is_alone(state: &RolloutState, range: Range<usize>) -> bool {
    let open = state.tally.eligible.range(range.clone()).count() + state.tally.busy.range(range.clone()).count();
    open == range.len()
}

/// How many more hosts of the present ring may begin before more of those that did have said so; `None` if any number.
pub(super) fn ramp_room(state: &RolloutState, desk: &Desk) -> Option<usize> {
    let (place, begun) = (state.course.place, state.course.begun);
    state.plan.ring(place).filter(|ring| ring.ramp == Ramp::Aws)?;
    let acknowledged = begun.saturating_sub(unacknowledged(state, desk));
    let allowed = ramp_allows(acknowledged, state.plan.max_concurrency.resolved)?;
    Some(allowed.saturating_sub(begun) as usize)
}

/// Hosts of the present ring that got a `Go` and have not been heard at work.
fn unacknowledged(state: &RolloutState, desk: &Desk) -> u32 {
    let unheard = |at: &&usize| {
        let contact = desk.contacts.get(&state.plan.hosts[**at].node);
        contact.is_none_or(|contact| contact.progress.is_none())
    };
    let busy = state.tally.busy.range(state.plan.ring_range(state.course.place));
    u32::try_from(busy.filter(unheard).count()).unwrap_or(u32::MAX)
}

/// What hosts of later steps wait for.
pub(super) fn beyond(ledger: &Ledger, state: &RolloutState, front: &Front, desk: &Desk, now: Now) -> Waiting {
    if let Some(closed) = &front.closed {
        return closed.clone();
    }
    let (place, end) = (state.course.place, front.open);
    let silent = |at: &&usize| desk.is_lost(ledger, state, **at, now.boot);
    let down = |at: &&usize| is_down(ledger, state, **at, desk, now);
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let (busy, eligible) = (|| state.tally.busy.range(..end), || state.tally.eligible.range(..end));
    let ring = state.plan.ring(place);
    Waiting::Ring {
        ring: ring.map(|ring| ring.name.clone()).unwrap_or_default(),
        step: place.step + 1,
        steps: ring.map_or(0, steps),
        left: count(busy().count() + eligible().count()),
        lost: count(busy().chain(eligible().filter(|at| !down(at))).filter(silent).count()),
        down: count(eligible().filter(down).count()),
        alone: is_alone(state, state.plan.ring_range(place).start.min(end)..end),
    }
}

/// What an eligible host waits for while more of its ring have to say that they are at work.
pub(super) fn ramping(state: &RolloutState, desk: &Desk) -> Option<Waiting> {
    ramp_room(state, desk).filter(|room| *room == 0).map(|_| Waiting::Ramp {
        ring: state.plan.ring(state.course.place).map(|ring| ring.name.clone()).unwrap_or_default(),
        begun: state.course.begun,
        unacknowledged: unacknowledged(state, desk),
    })
}
