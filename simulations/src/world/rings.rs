//! Rings of waves: what operators apply, what they approve, and for whom a ledger waits no longer.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::{NodeId, RolloutId},
    membership::Role,
    rollout::{
        Operation,
        approval::{SignedVerdict, Verdict, takes},
        controller::Event,
        ledger::{HostState, Ledger, LedgerAct, LedgerEntry, Progress, RolloutState},
        plan::Plan,
        planner,
        ring::Place,
        ring_gate::{Answered, RingGates, RingVerdict},
        waiting::Waiting,
    },
    seal::Sealed,
    time::WallTime,
};

use super::{Happening, World, desk::Desk, operators::Order};
use crate::{
    keys::{Key, MESH, OPERATOR, credential, node},
    truth::{RingStep, Truth},
};

/// How often operators look whether a ring waits for them.
const LOOK: u64 = 15_000;

/// Whether the rollout of `plan` goes in steps, or its only one must show that all is well.
fn is_ringed(plan: &Plan) -> bool {
    let first = Place::default();
    plan.after(first).is_some() || plan.approvals_before(first) > 0 || !plan.ring_gates.is_empty()
}

/// What the operators of `plan` mean by it; `None` if all hosts go at once, and nothing is asked about them.
pub(super) fn ringed(rollout: RolloutId, plan: &Plan) -> Option<Truth> {
    let shown = !plan.ring_gates.is_empty();
    is_ringed(plan).then(|| Truth::Ringed { rollout, steps: steps(plan), shown })
}

fn steps(plan: &Plan) -> Vec<RingStep> {
    let mut steps = Vec::new();
    let mut next = Some(Place::default());
    while let Some(place) = next {
        let works = |at: &usize| plan.operation == Operation::Scan || !plan.hosts[*at].transaction.is_empty();
        steps.push(RingStep {
            place,
            hosts: plan.step_range(place).filter(works).map(|at| plan.hosts[at].node).collect(),
            pause: u64::try_from(plan.pause_before(place).as_millis()).unwrap_or(u64::MAX),
            approved: plan.approvals_before(place) > 0,
        });
        next = plan.after(place);
    }
    steps
}

/// The last ring in which a ledger that says `state` knows of a host that began.
pub(super) fn begun(state: &RolloutState) -> Option<u16> {
    let begun = |host: &HostState| host.attempts > 0 || matches!(host.progress, Progress::Reported | Progress::LeftOut);
    state.hosts.iter().rposition(begun).map(|at| state.plan.ring_of(at))
}

/// The rings that have shown that all is well, as a ledger says, and by which asking.
pub(super) fn passed(state: &RolloutState) -> BTreeMap<u16, u32> {
    let passed = |gates: &RingGates| gates.answer == Answered::With(RingVerdict::Passed);
    let gates = state.course.gates.iter().filter(|(_, gates)| passed(gates));
    gates.map(|(ring, gates)| (*ring, gates.attempt)).collect()
}

/// For whom a ledger that says `before` waits no longer because of `entry`; of rollouts with steps.
pub(super) fn let_go(before: &Ledger, entry: &LedgerEntry) -> Option<(RolloutId, Vec<NodeId>)> {
    let (rollout, hosts) = match &entry.act {
        LedgerAct::Refused { rollout, host, .. } => (*rollout, vec![*host]),
        LedgerAct::Released { host, lease, .. } => {
            let (rollout, _) = before.leased.get(host).filter(|(_, held)| Some(*held) == *lease)?;
            (*rollout, vec![*host])
        }
        LedgerAct::StepSettled { rollout, without, .. } | LedgerAct::RingSettled { rollout, without, .. } => {
            (*rollout, without.clone())
        }
        _ => return None,
    };
    let plan = &before.rollouts.get(&rollout)?.plan;
    (is_ringed(plan) && !hosts.is_empty()).then_some((rollout, hosts))
}

/// The step that `entry` settles.
pub(super) fn settled(ledger: &Ledger, entry: &LedgerEntry) -> Option<(RolloutId, Place)> {
    match &entry.act {
        LedgerAct::StepSettled { rollout, ring, step, .. } => Some((*rollout, Place { ring: *ring, step: *step })),
        LedgerAct::RingSettled { rollout, ring, .. } => {
            Some((*rollout, ledger.rollouts.get(rollout)?.plan.last_step(*ring)))
        }
        _ => None,
    }
}

impl World {
    /// An operator looks now and then whether a ring of the wave waits for an approval, as long as the rollout has not ended.
    pub(super) fn approve(&mut self, wave: usize) {
        if self.approves(self.rollout_id(wave)) {
            self.after(LOOK, Happening::Operator { order: Order::Approve { wave } });
        }
    }

    /// The same of every rollout, once: nobody waits for those that plan others again, and a store that was restored may have forgotten an approval, and that its rollout had ended.
    pub(super) fn approve_all(&mut self) {
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        let active: Vec<_> = desk.into_iter().flat_map(|desk| desk.shadow.active.iter().copied()).collect();
        active.into_iter().for_each(|rollout| {
            self.approves(rollout);
        });
    }

    /// Approves the ring of the rollout that waits for it. Answers whether it is there and has not ended.
    fn approves(&mut self, rollout: RolloutId) -> bool {
        let Some(spot) = self.primary() else { return false };
        let state = self.seats[spot as usize].desk().and_then(|desk| desk.shadow.rollouts.get(&rollout));
        let Some(state) = state.filter(|state| state.ended_at.is_none()) else { return false };
        let ring = state.course.place.ring;
        let verdict = Verdict { mesh: MESH, rollout, ring, approve: true, because: String::new() };
        if self.awake(spot) && takes(state, node(OPERATOR), &verdict).is_ok() {
            let right = credential(OPERATOR, Role::Operator, WallTime::MAX);
            let signed = SignedVerdict { verdict: Sealed::seal(&Key(node(OPERATOR)), &verdict), credential: right };
            self.tell(spot, Truth::Approved { rollout, ring });
            self.desk_event(spot, Event::Judged(Box::new(signed)));
        }
        true
    }

    /// Rings that nobody is left to show anything in, and hosts that wait for versions that nobody will offer again: operators stop
    /// their rollouts.
    pub(super) fn stop_stuck(&mut self) {
        let Some(spot) = self.primary().filter(|spot| self.awake(*spot)) else { return };
        let now = self.seats[spot as usize].clock.now(self.now);
        let Some(desk) = self.seats[spot as usize].desk() else { return };
        let stuck = desk.shadow.active.iter().copied().filter(|rollout| desk.is_stuck(*rollout, now));
        for rollout in stuck.collect::<Vec<_>>() {
            self.desk_event(spot, Event::Stop { rollout, by: "operator".into() });
        }
    }
}

impl Desk {
    /// How many hosts of the rollout might still begin, or are at work, as its ledger says.
    pub(super) fn left(&self, rollout: RolloutId) -> u32 {
        let left = self.shadow.rollouts.get(&rollout).map(|state| state.tally.eligible.len() + state.tally.busy.len());
        u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// Whether the ring that is open has only hosts that never began and are silent, or a host waits for a version.
    fn is_stuck(&self, rollout: RolloutId, now: patchmesh_common::time::Now) -> bool {
        let last = self.shadow.rollouts.get(&rollout).and_then(|state| state.tally.eligible.last().copied());
        let waiting = last.and_then(|at| planner::waiting(self.ledger(), rollout, at, self.talk(), now));
        let silent = matches!(waiting, Some(Waiting::Ring { left, down, alone: true, .. }) if left == down);
        let state = self.shadow.rollouts.get(&rollout);
        let eligible = state.into_iter().flat_map(|state| state.tally.eligible.iter().copied());
        let waits = |at| planner::waiting(self.ledger(), rollout, at, self.talk(), now);
        silent || eligible.map(waits).any(|waiting| matches!(waiting, Some(Waiting::Outdated(_))))
    }
}
