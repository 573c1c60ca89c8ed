//! The judge: knows the rules of a valid ledger and nothing about how it was made. Planner tests, simulations and audits
//! call the same one.

use std::collections::{BTreeMap, BTreeSet};

use self::{elsewhere::Elsewhere, order::Order, services::Watch};
use super::{
    ledger::{LedgerAct, LedgerEntry, report_of},
    plan::Plan,
    ring::Place,
};
use crate::{
    id::{Epoch, LeaseId, NodeId, RolloutId},
    run::{
        gate::GATE_FAILED,
        message::{OrderStamp, Outcome, StopScope},
    },
    schedule::Opening,
    seal::Sealed,
    time::WallTime,
};

mod elsewhere;
mod order;
mod report;
mod ring_gates;
mod services;

/// The promises that a ledger can show, by their names in design section 4. The others are about what hosts and the mesh do
/// unseen: simulations watch those.
pub const SHOWN: [&str; 12] = [
    "authorship",
    "availability",
    "concurrency",
    "durability",
    "errors",
    "exactness",
    "fencing",
    "hooks",
    "liveness",
    "order",
    "stop",
    "window",
];

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Violation {
    /// Position of the entry, from 0.
    pub entry: u64,
    /// The promise, by its name in design section 4.
    pub promise: &'static str,
    /// The host concerned.
    pub host: Option<NodeId>,
    /// What happened.
    pub text: String,
}

/// A slot that was freed without evidence: exactly this host with exactly this lease is excused from `concurrency`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Excused {
    /// Position of the entry, from 0.
    pub entry: u64,
    /// Which host.
    pub host: NodeId,
    /// Which lease; `None` if the host had not said.
    pub lease: Option<LeaseId>,
    /// Why, in the operator's words.
    pub because: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Rules {
    plan: Plan,
    held: BTreeSet<NodeId>,
    /// Hosts that are done.
    done: BTreeSet<NodeId>,
    failed: u32,
    /// Whether a hook failed that ends the rollout.
    hook_failed: bool,
    halted: bool,
    order: Order,
    ended: bool,
    /// How many leases of each host got a `Go`.
    attempts: BTreeMap<NodeId, u32>,
    /// Leases granted here that were released, and whose hosts have not said since what came of them.
    let_go: BTreeMap<NodeId, LeaseId>,
}

/// Reads a ledger entry by entry and keeps its own books.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Judge {
    entries: u64,
    epoch: Option<Epoch>,
    rules: BTreeMap<RolloutId, Rules>,
    held: BTreeMap<NodeId, LeaseId>,
    /// Every lease that was granted, in which opening and by which entry.
    used: BTreeMap<LeaseId, (Opening, u64)>,
    elsewhere: Elsewhere,
    gap: Option<u64>,
    orders: BTreeMap<StopScope, (u64, bool)>,
    checked: BTreeMap<&'static str, u64>,
    violations: Vec<Violation>,
    excused: Vec<Excused>,
    watch: Watch,
}

impl Judge {
    /// Every slot that was released by name, in order.
    pub fn excused(&self) -> &[Excused] {
        &self.excused
    }

    /// Every violation so far, in order.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// How often each promise was checked.
    pub fn checked(&self) -> &BTreeMap<&'static str, u64> {
        &self.checked
    }

    /// The entry that granted `lease`; `None` if the ledger never did.
    pub fn granted_by(&self, lease: LeaseId) -> Option<u64> {
        self.used.get(&lease).map(|(_, entry)| *entry)
    }

    /// The last entry that says that the ledger may not know every lease: it is a copy or restored, or another coordinator came
    /// in between.
    pub fn gap(&self) -> Option<u64> {
        self.gap
    }

    /// Judges the next entry.
    pub fn read(&mut self, entry: &LedgerEntry) {
        match &entry.act {
            LedgerAct::EpochOpened { epoch, continued } => {
                let grew = self.epoch.is_none_or(|before| epoch.rank() > before.rank());
                self.demand("fencing", grew, None, || "an epoch does not rank above the one before".into());
                self.epoch = Some(*epoch);
                self.watch.opened(self.entries);
                if !continued {
                    self.gap = Some(self.entries);
                    self.elsewhere.opened();
                }
            }
            LedgerAct::Adopted { host, held } => {
                self.watch.adopted(*host, held.map(|(lease, _)| lease));
                let own = self.held.get(host).copied();
                self.elsewhere.adopted(*host, held.map(|(lease, _)| lease), own);
            }
            LedgerAct::Started(rollout) => {
                let rules = Rules {
                    plan: rollout.plan.clone(),
                    held: BTreeSet::new(),
                    done: BTreeSet::new(),
                    failed: 0,
                    hook_failed: false,
                    halted: false,
                    order: Order::new(&rollout.plan),
                    ended: false,
                    attempts: BTreeMap::new(),
                    let_go: BTreeMap::new(),
                };
                self.rules.insert(rollout.id, rules);
            }
            LedgerAct::Granted { rollout, host, lease, attempt, opening } => {
                self.granted(*rollout, *host, (*lease, *attempt, *opening), entry.at);
            }
            LedgerAct::Reported { evidence } => self.reported(evidence),
            LedgerAct::Returned { rollout, host, lease, .. } => {
                self.begins_again(*rollout, *host, *lease);
                self.watch.heard(*lease);
                self.free(*host, *lease);
            }
            LedgerAct::Service(act) => self.watch.read(act),
            LedgerAct::Released { host, lease, because, .. } => self.released(*host, *lease, because),
            LedgerAct::Halted { rollout } => {
                let Some(rules) = self.rules.get_mut(rollout) else { return };
                rules.halted = true;
                let exceeded = rules.failed > rules.plan.max_errors.resolved;
                let right = exceeded || rules.hook_failed || rules.order.is_shut(&rules.plan);
                self.demand("errors", right, None, || "halted without too many failures".into());
            }
            LedgerAct::Stopped { rollout, sequence, .. } => {
                self.ordered(OrderStamp { scope: StopScope::Rollout(*rollout), sequence: *sequence, stop: true });
            }
            LedgerAct::Ordered { evidence } => {
                if let Ok(order) = evidence.read() {
                    self.ordered(order.stamp());
                }
            }
            LedgerAct::Refused { rollout, host, .. } => {
                self.rules.get_mut(rollout).into_iter().for_each(|rules| rules.order.over(*host));
            }
            LedgerAct::StepSettled { rollout, ring, step, without } => {
                self.settled(*rollout, Some(Place { ring: *ring, step: *step }), *ring, without, entry.at);
            }
            LedgerAct::RingSettled { rollout, ring, without } => self.settled(*rollout, None, *ring, without, entry.at),
            LedgerAct::Approved { evidence } | LedgerAct::Rejected { evidence } => {
                let rules = evidence.read().ok().and_then(|(_, verdict)| self.rules.get_mut(&verdict.rollout));
                let Some(judged) = rules.map(|rules| rules.order.judged(evidence)) else { return };
                self.demand("order", judged.is_ok(), None, || judged.err().unwrap_or_default());
            }
            LedgerAct::Ended { rollout } => {
                let stopped = self.is_stopped(*rollout);
                if let Some(rules) = self.rules.get_mut(rollout) {
                    let again = core::mem::replace(&mut rules.ended, true);
                    let off = stopped || rules.halted;
                    let begun = |host: &NodeId| rules.attempts.contains_key(host) || rules.done.contains(host);
                    let shown = rules.order.ended(&rules.plan, &begun).filter(|_| !off);
                    self.demand("liveness", !again, None, || "ended twice".into());
                    if let Some(shown) = shown {
                        self.demand("order", shown.is_ok(), None, || shown.err().unwrap_or_default());
                    }
                }
            }
            LedgerAct::RingAsked { rollout, ring, attempt } => {
                let Some(rules) = self.rules.get_mut(rollout) else { return };
                let asked = rules.order.asked(&rules.plan, (*ring, *attempt), rules.held.len(), entry.at);
                self.demand("order", asked.is_ok(), None, || asked.err().unwrap_or_default());
            }
            LedgerAct::RingGated { rollout, ring, attempt, verdict } => {
                let Some(rules) = self.rules.get_mut(rollout) else { return };
                let gated = rules.order.gated(*ring, *attempt, verdict);
                self.demand("order", gated.is_ok(), None, || gated.err().unwrap_or_default());
            }
            LedgerAct::Paused { .. } | LedgerAct::Resumed { .. } | LedgerAct::Intent { .. } => {}
        }
        self.entries += 1;
    }

    /// A step settled: the last one of the ring, if it is not said which.
    fn settled(&mut self, id: RolloutId, step: Option<Place>, ring: u16, without: &[NodeId], at: WallTime) {
        let Some(rules) = self.rules.get_mut(&id) else { return };
        let place = step.unwrap_or_else(|| rules.plan.last_step(ring));
        let settled = rules.order.settled(&rules.plan, place, without, &rules.held, at);
        self.demand("order", settled.is_ok(), None, || settled.err().unwrap_or_default());
    }

    /// Whether a STOP of the rollout stands, or of every one.
    fn is_stopped(&self, rollout: RolloutId) -> bool {
        let stands = |scope| self.orders.get(&scope).is_some_and(|(_, stop)| *stop);
        stands(StopScope::All) || stands(StopScope::Rollout(rollout))
    }

    /// The highest sequence of a scope stands, and a tie is stop.
    fn ordered(&mut self, order: OrderStamp) {
        let before = self.orders.insert(order.scope, order.rank());
        self.demand("stop", before.is_none_or(|before| order.rank() > before), None, || {
            format!("order {} of {:?} was saved over {before:?}", order.sequence, order.scope)
        });
    }

    fn granted(
        &mut self,
        rollout: RolloutId,
        host: NodeId,
        (lease, attempt, opening): (LeaseId, u32, Opening),
        at: WallTime,
    ) {
        self.available(rollout, host);
        let stopped = self.is_stopped(rollout);
        let Some(rules) = self.rules.get_mut(&rollout) else { return };
        let limit = rules.plan.max_concurrency.resolved;
        let outside = |host: &NodeId| self.elsewhere.may_hold(host) && !rules.held.contains(host);
        let unknown = match self.elsewhere.admitted {
            true => rules.plan.hosts.iter().filter(|planned| outside(&planned.node)).count(),
            false => 0,
        };
        let room = rules.held.len() + unknown < limit as usize;
        let errors = match () {
            () if rules.hook_failed => Err("granted after a hook had failed that ends the rollout"),
            () if rules.halted || rules.failed > rules.plan.max_errors.resolved => {
                Err("granted after too many hosts failed")
            }
            () => Ok(()),
        };
        let window = rules.plan.openings.contains(&opening) && opening.admits_start(at);
        let (ended, done) = (rules.ended, rules.done.contains(&host));
        rules.held.insert(host);
        let before = rules.attempts.insert(host, attempt).unwrap_or(0);
        let order = rules.order.granted(&rules.plan, host, at);
        self.demand("order", order.is_ok(), Some(host), || order.err().unwrap_or_default());
        self.demand("concurrency", room, Some(host), || {
            format!("granted while {limit} hosts held a slot, or may have")
        });
        self.demand("errors", errors.is_ok(), Some(host), || errors.err().unwrap_or_default().to_owned());
        self.demand("window", window, Some(host), || format!("granted at {}, outside every opening", at.rfc3339()));
        self.demand("stop", !stopped, Some(host), || "granted after the rollout was stopped".into());
        self.demand("liveness", !ended, Some(host), || "granted after the rollout had ended".into());
        self.demand("durability", !done && attempt > before, Some(host), || match done {
            true => "granted again after its report was kept".into(),
            false => format!("attempt {attempt} was granted after attempt {before}"),
        });
        let alone =
            self.held.insert(host, lease).is_none() & self.used.insert(lease, (opening, self.entries)).is_none();
        self.demand("fencing", alone, Some(host), || {
            "granted while another lease of the host is live, or twice".into()
        });
    }

    fn reported(&mut self, evidence: &Sealed) {
        let Ok(report) = report_of(evidence) else { return };
        let host = evidence.author;
        if report.outcome == Outcome::Deferred {
            self.begins_again(report.rollout, host, report.lease);
        }
        let ours = self.held.get(&host) == Some(&report.lease);
        self.watch.heard(report.lease);
        self.free(host, report.lease);
        self.elsewhere.ended(host, report.lease);
        let Some(rules) = self.rules.get_mut(&report.rollout) else { return };
        let planned = rules.plan.hosts.iter().any(|planned| planned.node == host);
        // A run that another ledger permitted counts too, unless the host holds a slot of this one.
        let counts = planned && !rules.held.contains(&host) && report.outcome != Outcome::Deferred;
        if counts && !rules.done.contains(&host) {
            rules.order.changes(&rules.plan, host);
        }
        if counts {
            rules.let_go.remove(&host);
            rules.order.over(host);
            if report.error.as_ref().is_some_and(|error| error.code == GATE_FAILED) {
                rules.order.gate_failed(host);
            }
        }
        if counts && rules.done.insert(host) {
            let on_hook_failure = rules.plan.on_hook_failure;
            rules.failed += u32::from(report.outcome == Outcome::Failed && !on_hook_failure.leaves_out(&report));
            rules.hook_failed |= on_hook_failure.halts(&report);
        }
        if !ours && !self.excused.iter().any(|excused| excused.lease == Some(report.lease)) {
            return;
        }
        for (promise, broken) in report::shown(&rules.plan, host, &report) {
            self.demand(promise, broken.is_empty(), Some(host), || broken);
        }
        if let Some((opening, _)) = self.used.get(&report.lease) {
            let outside = report::outside(&report.steps, opening);
            self.demand("window", outside.is_empty(), Some(host), || outside);
        }
    }

    /// The host did nothing under `lease`: if that was granted here and released, and nothing else came of the host since,
    /// somebody waits for it again.
    fn begins_again(&mut self, rollout: RolloutId, host: NodeId, lease: LeaseId) {
        let Some(rules) = self.rules.get_mut(&rollout) else { return };
        if rules.let_go.get(&host) == Some(&lease) {
            rules.let_go.remove(&host);
            rules.order.again(host);
        }
    }

    fn released(&mut self, host: NodeId, lease: Option<LeaseId>, because: &str) {
        self.excused.push(Excused { entry: self.entries, host, lease, because: because.to_owned() });
        self.elsewhere.released(host, lease);
        let Some(lease) = lease else { return };
        if self.held.get(&host) == Some(&lease) {
            let own = self.rules.values_mut().filter(|rules| rules.held.contains(&host));
            own.for_each(|rules| {
                rules.let_go.insert(host, lease);
                rules.order.over(host);
            });
            if self.is_at_work(&host) {
                let granted = self.used.get(&lease).map_or(u64::MAX, |(_, entry)| *entry);
                self.watch.released(host, lease, granted);
            }
        }
        self.free(host, lease);
    }

    /// A host holds one slot, by one lease.
    fn free(&mut self, host: NodeId, lease: LeaseId) {
        if self.held.get(&host) == Some(&lease) {
            self.held.remove(&host);
            self.rules.values_mut().for_each(|rules| {
                rules.held.remove(&host);
            });
        }
    }

    /// Counts that `promise` was looked at, at the entry that is read next, and what was found.
    pub(super) fn demand(
        &mut self,
        promise: &'static str,
        kept: bool,
        host: Option<NodeId>,
        text: impl FnOnce() -> String,
    ) {
        *self.checked.entry(promise).or_default() += 1;
        if !kept {
            self.violations.push(Violation { entry: self.entries, promise, host, text: text() });
        }
    }
}
