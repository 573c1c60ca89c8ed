//! The promise `order`: no ring starts before the one before it settled, soaked, passed its gates and was approved; and the same of its steps.

use std::collections::{BTreeMap, BTreeSet};

use super::ring_gates::RingBooks;
use crate::{
    id::NodeId,
    rollout::{Operation, approval::SignedVerdict, plan::Plan, ring::Place, ring_gate::RingVerdict},
    time::WallTime,
};

/// Where one rollout stands, by its own books.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    index: BTreeMap<NodeId, usize>,
    /// Hosts for which nobody waits any more: done, refused, released, with nothing to do, or passed over.
    over: BTreeSet<NodeId>,
    place: Place,
    since: Option<WallTime>,
    opened: bool,
    approved: BTreeSet<NodeId>,
    rejected: bool,
    /// Positions of hosts that failed a gate.
    gate_failed: BTreeSet<usize>,
    rings: RingBooks,
}

impl Order {
    pub(super) fn new(plan: &Plan) -> Self {
        let skipped = |transaction: &crate::inventory::Transaction| {
            plan.operation == Operation::Install && transaction.is_empty()
        };
        Self {
            index: plan.hosts.iter().enumerate().map(|(at, host)| (host.node, at)).collect(),
            over: plan.hosts.iter().filter(|host| skipped(&host.transaction)).map(|host| host.node).collect(),
            place: Place::default(),
            since: None,
            opened: false,
            approved: BTreeSet::new(),
            rejected: false,
            gate_failed: BTreeSet::new(),
            rings: RingBooks::default(),
        }
    }

    /// Nobody waits for the host any more.
    pub(super) fn over(&mut self, host: NodeId) {
        self.over.insert(host);
    }

    /// The host did nothing before its slot was released: it is started again.
    pub(super) fn again(&mut self, host: NodeId) {
        self.over.remove(&host);
    }

    /// The host did everything and failed a gate.
    pub(super) fn gate_failed(&mut self, host: NodeId) {
        self.gate_failed.extend(self.index.get(&host));
    }

    /// Whether a host failed a gate that keeps a step from beginning: the present one or one that follows it.
    pub(super) fn is_shut(&self, plan: &Plan) -> bool {
        let step = plan.step_range(self.place);
        let end = if plan.after(self.place).is_some() { step.end } else { step.start };
        self.gate_failed.range(..end).next().is_some() || self.rings.has_failed()
    }

    /// The gates of a ring begin to be asked, while `held` hosts hold a slot.
    pub(super) fn asked(
        &mut self,
        plan: &Plan,
        (ring, attempt): (u16, u32),
        held: usize,
        at: WallTime,
    ) -> Result<(), String> {
        self.rings.asked(ring, attempt)?;
        let next = self.place.step == 0 && self.place.ring.checked_sub(1) == Some(ring) && !self.opened;
        // Nobody is left for whom anything would open.
        let done = plan.hosts.iter().all(|host| self.over.contains(&host.node));
        match next && !done {
            true => self.soaking(plan, at).map_or(Ok(()), Err),
            false if ring > self.place.ring && !done => {
                Err(format!("the gates of ring {ring} were asked before it began"))
            }
            false if held > 0 => Err(format!("the gates of ring {ring} were asked before it had settled")),
            false => Ok(()),
        }
    }

    /// The gates of a ring were answered.
    pub(super) fn gated(&mut self, ring: u16, attempt: u32, verdict: &RingVerdict) -> Result<(), String> {
        self.rings.gated(ring, attempt, verdict)
    }

    /// The rollout ended, nobody called it off, and `begun` are the hosts that were granted or reported in it. `None` if there is
    /// nothing to be shown: no gates, or hosts that are not done.
    pub(super) fn ended(&self, plan: &Plan, begun: &dyn Fn(&NodeId) -> bool) -> Option<Result<(), String>> {
        let done = plan.hosts.iter().all(|host| self.over.contains(&host.node));
        if plan.ring_gates.is_empty() || self.rejected || self.rings.has_failed() || !done {
            return None;
        }
        let at = plan.hosts.iter().rposition(|host| begun(&host.node))?;
        let ring = (0..u16::MAX).find(|ring| at < plan.ring_range(Place { ring: *ring, step: 0 }).end)?;
        let passed = self.rings.has_passed(ring);
        Some(if passed { Ok(()) } else { Err(format!("ended before the gates of ring {ring} had passed")) })
    }

    pub(super) fn judged(&mut self, evidence: &SignedVerdict) -> Result<(), String> {
        let (by, verdict) = evidence.read().map_err(|error| error.to_string())?;
        let place = Place { ring: verdict.ring, step: 0 };
        if place != self.place || self.opened {
            return Err(format!("{by} judged ring {}, at which the rollout does not stand", verdict.ring));
        }
        self.rejected |= !verdict.approve;
        if verdict.approve && !self.approved.insert(evidence.verdict.author) {
            return Err(format!("{by} approved twice"));
        }
        Ok(())
    }

    /// `held` are the hosts that hold a slot.
    pub(super) fn settled(
        &mut self,
        plan: &Plan,
        place: Place,
        without: &[NodeId],
        held: &BTreeSet<NodeId>,
        at: WallTime,
    ) -> Result<(), String> {
        let Some(next) = plan.after(place) else { return Err("the last step of all settled".into()) };
        if self.place == next && !self.opened {
            // The clock was set back, and the pause begins again.
            self.since = Some(at);
            if next.step == 0 {
                self.rings.baked_again(place.ring);
            }
            return Ok(());
        }
        if self.place != place {
            return Err(format!("ring {}, step {} settled out of turn", place.ring, place.step));
        }
        // What comes after depends on its turn as well.
        let early = if self.opened { None } else { self.closed(plan, at) };
        let busy = without.iter().find(|host| held.contains(host));
        let hosts = &plan.hosts[..plan.step_range(place).end];
        let open = hosts.iter().find(|host| !self.over.contains(&host.node) && !without.contains(&host.node));
        (self.place, self.since, self.opened) = (next, Some(at), false);
        if next.step == 0 {
            self.approved.clear();
            self.rings.baked_again(place.ring);
        }
        let failed = self.gate_failed.range(..plan.step_range(place).end).next();
        match (early, busy, open) {
            _ if let Some(at) = failed => Err(format!("settled although {} failed a gate", plan.hosts[*at].name)),
            (Some(why), ..) => Err(why),
            (_, Some(host), _) => Err(format!("settled without {}, which holds a slot", host.short())),
            (.., Some(host)) => Err(format!("settled before {} was done", host.name)),
            _ => Ok(()),
        }
    }

    /// The host begins, or says what it did.
    pub(super) fn changes(&mut self, plan: &Plan, host: NodeId) {
        if let Some(position) = self.index.get(&host) {
            self.rings.changed(plan.ring_of(*position));
        }
    }

    pub(super) fn granted(&mut self, plan: &Plan, host: NodeId, at: WallTime) -> Result<(), String> {
        let Some(position) = self.index.get(&host).copied() else { return Ok(()) };
        self.changes(plan, host);
        if self.rejected {
            return Err("granted after a ring was rejected".into());
        }
        if self.rings.has_failed() {
            return Err("granted after a ring failed its gates".into());
        }
        let step = plan.step_range(self.place);
        if position >= step.end {
            return Err(format!("granted before ring {}, step {} had settled", self.place.ring, self.place.step));
        }
        if let Some(at) = self.gate_failed.range(..step.start).next().filter(|_| step.contains(&position)) {
            return Err(format!("granted although {} failed a gate in a step before", plan.hosts[*at].name));
        }
        if step.contains(&position) && !self.opened {
            self.opened = true;
            return self.closed(plan, at).map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Why the step at which the rollout stands may not begin yet.
    fn closed(&self, plan: &Plan, at: WallTime) -> Option<String> {
        let soaking = self.soaking(plan, at);
        if soaking.is_some() {
            return soaking;
        }
        let before = self.place.ring.checked_sub(1).filter(|_| self.place.step == 0 && !plan.ring_gates.is_empty());
        if let Some(ring) = before.filter(|ring| !self.rings.has_passed(*ring)) {
            return Some(format!("begun before the gates of ring {ring} had passed"));
        }
        let (given, needed) = (self.approved.len(), plan.approvals_before(self.place));
        (given < usize::from(needed)).then(|| format!("begun with {given} of {needed} approvals"))
    }

    /// Whether the pause before the step at which the rollout stands is not over.
    fn soaking(&self, plan: &Plan, at: WallTime) -> Option<String> {
        let pause = plan.pause_before(self.place);
        let until = self.since.filter(|_| !pause.is_zero()).map(|since| since.plus(pause));
        let until = until.filter(|until| at < *until)?;
        Some(format!("begun at {}, its pause was to last until {}", at.rfc3339(), until.rfc3339()))
    }
}
