//! The ledger: what was permitted and what came of it, as entries that are folded into one state.
//!
//! The shell appends every entry durably before anything that depends on it leaves the process. The counters beside the
//! hosts are incremental; `recounted` computes them from scratch, and a law test holds the two equal.

mod orders;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Operation,
    approval::SignedVerdict,
    estimate::Durations,
    intent::Intent,
    plan::{ExcludedBecause, Plan, Rollout},
    ring::{Course, Place},
    ring_gate::RingVerdict,
    service::{ServiceAct, Services},
    silence::Reboots,
    slots::Hold,
};
use crate::{
    id::{Epoch, LeaseId, NodeId, RolloutId},
    run::message::{Answer, OrderStamp, Refusal, Report, SignedStop, StopScope, ToCoordinator},
    schedule::Opening,
    seal::{Payload, Sealed},
    time::WallTime,
    wire,
};

mod error;
mod gates;
mod release;
mod replan;
mod report;
mod rings;
mod since;
mod tally;

pub use error::FoldError;
pub use since::{Held, Since};
pub use tally::Tally;

/// Longest name of who did something, in characters: it stays in the ledger for ever.
pub const MAX_BY: usize = 128;

/// One entry: when, by the coordinator's wall clock, and what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The coordinator's wall clock.
    pub at: WallTime,
    /// What happened.
    pub act: LedgerAct,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerAct {
    /// A coordinator started, or jumped above a foreign epoch. `continued` is false if it cannot know every lease that is out.
    EpochOpened {
        /// The new epoch.
        epoch: Epoch,
        /// Whether every lease that is out is in this ledger.
        continued: bool,
    },
    /// A host saved the epoch, and named the lease that it holds.
    Adopted {
        /// The host.
        host: NodeId,
        /// The lease that it runs or has to report, and its rollout.
        held: Option<(LeaseId, RolloutId)>,
    },
    /// A plan was applied.
    Started(Box<Rollout>),
    /// `Go`: the host holds a slot from here on.
    Granted {
        /// Which rollout.
        rollout: RolloutId,
        /// Which host.
        host: NodeId,
        /// Its lease.
        lease: LeaseId,
        /// Its first, second, … lease that got a `Go`.
        attempt: u32,
        /// The opening in which it was granted.
        opening: Opening,
    },
    /// The host's own signed answer that carries the report of a lease.
    Reported {
        /// A sealed [`Answer`] with [`ToCoordinator::Reported`].
        evidence: Sealed,
    },
    /// The host refused a granted lease before anything began: the slot is free.
    Returned {
        /// Which rollout.
        rollout: RolloutId,
        /// Which host.
        host: NodeId,
        /// Its lease, which is never offered again.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// The host will not be asked again in this rollout.
    Refused {
        /// Which rollout.
        rollout: RolloutId,
        /// Which host.
        host: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// Nothing is granted until resumed.
    Paused {
        /// Which rollout.
        rollout: RolloutId,
        /// Who paused it.
        by: String,
    },
    /// Grants go on.
    Resumed {
        /// Which rollout.
        rollout: RolloutId,
        /// Who resumed it.
        by: String,
    },
    /// More hosts failed than allowed, a host or ring failed a gate that guards what comes next, or a hook failed that ends the
    /// rollout: nothing is granted any more.
    Halted {
        /// Which rollout.
        rollout: RolloutId,
    },
    /// An operator stopped it here: nothing is granted any more, and hosts begin no further disruptive step.
    Stopped {
        /// Which rollout.
        rollout: RolloutId,
        /// Of the STOP that the hosts get.
        sequence: u64,
        /// Who stopped it.
        by: String,
    },
    /// Nothing moves any more: every host is terminal, lost, or never starts.
    Ended {
        /// Which rollout.
        rollout: RolloutId,
    },
    /// Somebody else's STOP, or the end of one, as its signer sealed it: it was given at another member.
    Ordered {
        /// The order; judged before it was saved.
        evidence: Box<SignedStop>,
    },
    /// An operator released what a host holds: its slot is free without evidence, and the lease is fenced.
    Released {
        /// Which host.
        host: NodeId,
        /// The lease; `None` if the host has not said which it holds.
        lease: Option<LeaseId>,
        /// How it was held: names the risk that is taken.
        held: Hold,
        /// Who released it, as they say.
        by: String,
        /// Why.
        because: String,
    },
    /// Every host of a step is done, or was passed over: the next step of the ring opens after the ring's wait. Not said of the
    /// last step. Said again if the clock was set back to before it: the wait begins again.
    StepSettled {
        /// Which rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// Which of its steps, from 0.
        step: u16,
        /// Hosts that were silent for so long that nobody waits for them: they hold no slot.
        without: Vec<NodeId>,
    },
    /// The same of a ring's last step: the next ring opens after the bake. Not said of the last ring.
    RingSettled {
        /// Which rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// As in [`LedgerAct::StepSettled`].
        without: Vec<NodeId>,
    },
    /// An operator lets a ring begin.
    Approved {
        /// What the operator signed; judged before it was saved.
        evidence: Box<SignedVerdict>,
    },
    /// An operator says no to a ring: nothing is granted any more, running hosts finish.
    Rejected {
        /// What the operator signed; judged before it was saved.
        evidence: Box<SignedVerdict>,
    },
    /// What must stay up, whatever rollouts want.
    Service(ServiceAct),
    /// The coordinator begins to ask the gates of a ring. Whoever starts before they are answered asks them again.
    RingAsked {
        /// Which rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// The first, second, … time.
        attempt: u32,
    },
    /// What the gates of a ring showed. The next ring begins only after one that has passed.
    RingGated {
        /// Which rollout.
        rollout: RolloutId,
        /// Which ring, from 0.
        ring: u16,
        /// The asking that it answers.
        attempt: u32,
        /// What they showed.
        verdict: RingVerdict,
    },
    /// An operator changes what is kept in the coordinator's files. Saved before the file is written: what took effect is in the
    /// ledger, and what a crash or a full disk kept from its file was asked for all the same.
    Intent {
        /// What changes.
        intent: Intent,
        /// Who asked for it.
        by: String,
    },
}

impl Payload for LedgerEntry {
    const CONTEXT: &'static str = "patchmesh/ledger/1";
    const LIMIT: usize = 64 << 20;
}

/// Where a host stands in a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// Holds no slot; may be leased.
    NotStarted,
    /// Holds a slot.
    Running {
        /// By this lease.
        lease: LeaseId,
        /// Since this `Go`.
        since: WallTime,
        /// Granted in this opening.
        opening: Opening,
    },
    /// Done: succeeded or failed, as its report says.
    Reported,
    /// Refused for good.
    Refused(Refusal),
    /// A pre-install hook of its owner's failed, nothing was changed on it, and the plan says that such a host is left out.
    LeftOut,
    /// Nothing to do.
    Skipped,
    /// An operator released its slot, and what became of it is not known.
    Released(Box<Release>),
}

/// A slot that was released by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// The fenced lease.
    pub lease: LeaseId,
    /// When it got its `Go`.
    pub since: WallTime,
    /// When it was released.
    pub at: WallTime,
    /// Who did it, as they say.
    pub by: String,
    /// Why.
    pub because: String,
}

/// One host of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostState {
    /// Where it stands.
    pub progress: Progress,
    /// Leases that got a `Go`.
    pub attempts: u32,
    /// Leases that ended deferred.
    pub deferrals: u32,
    /// The last report.
    pub report: Option<Box<Report>>,
}

/// One rollout as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RolloutState {
    /// The frozen plan.
    pub plan: Plan,
    /// Who applied it.
    pub by: String,
    /// The rollout that it plans again.
    pub replans: Option<RolloutId>,
    /// The rollout that plans it again.
    pub replanned_as: Option<RolloutId>,
    /// When it was applied.
    pub started_at: WallTime,
    /// When nothing moved any more.
    pub ended_at: Option<WallTime>,
    /// Whether grants are paused.
    pub paused: bool,
    /// Whether more hosts failed than allowed, or a gate that guards what comes next, or a hook that ends the rollout.
    pub halted: bool,
    /// The sequence of the STOP of this rollout. A STOP of every rollout is not in here: it ends nothing.
    pub stopped: Option<u64>,
    /// In plan order.
    pub hosts: Vec<HostState>,
    /// Positions by host.
    pub index: BTreeMap<NodeId, usize>,
    /// Incremental counters.
    pub tally: Tally,
    /// Most hosts that ever held a slot at once.
    pub peak: u32,
    /// Where it stands among its rings.
    pub course: Course,
    /// Since when nothing is granted, and why.
    pub since: Since,
}

/// Everything that the entries say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    /// The last epoch opened.
    pub epoch: Option<Epoch>,
    /// The epoch before, if the last one continues it.
    pub follows: Option<Epoch>,
    /// Every epoch opened here.
    pub epochs: BTreeSet<Epoch>,
    /// Whether leases may be out that this ledger does not know.
    pub discontinuous: bool,
    /// Whether a process once started on this ledger that did not continue it: it is a copy, or restored, for ever.
    pub copied: bool,
    /// Hosts that adopted an epoch since the ledger became discontinuous.
    pub adopted: BTreeSet<NodeId>,
    /// Leases that hosts hold and this ledger did not grant.
    pub foreign: BTreeMap<NodeId, LeaseId>,
    /// Every lease that was ever granted here or named by a host.
    pub known: BTreeSet<LeaseId>,
    /// Every lease whose report is in this ledger.
    pub reported: BTreeSet<LeaseId>,
    /// Every rollout.
    pub rollouts: BTreeMap<RolloutId, RolloutState>,
    /// Rollouts that have not ended.
    pub active: BTreeSet<RolloutId>,
    /// Which rollout's lease a host holds.
    pub leased: BTreeMap<NodeId, (RolloutId, LeaseId)>,
    /// The highest sequence of any order.
    pub stop_sequence: u64,
    /// The winning order of every scope.
    pub orders: BTreeMap<StopScope, (u64, bool)>,
    /// Leases whose slot was released by name, and of which no report or refusal has come: whose they are.
    pub released: BTreeMap<LeaseId, NodeId>,
    /// Hosts that were released before they said which lease they hold.
    pub unheard: BTreeSet<NodeId>,
    /// What is known of each host's reboots.
    pub reboots: BTreeMap<NodeId, Reboots>,
    /// What must stay up, whatever rollouts want.
    pub services: Services,
    /// How long runs take.
    pub durations: Durations,
    /// Since when a STOP of every rollout stands.
    pub stopped_all_since: Option<WallTime>,
}

/// The report in a sealed answer whose signature was checked before it was saved.
///
/// # Errors
/// [`FoldError`] if the bytes are something else.
pub fn report_of(evidence: &Sealed) -> Result<Report, FoldError> {
    let answer: Answer = wire::decode(&evidence.body, Answer::LIMIT).map_err(FoldError::Evidence)?;
    match answer.body {
        ToCoordinator::Reported(report) => Ok(*report),
        _ => Err(FoldError::NotAReport),
    }
}

impl Ledger {
    /// Folds one entry.
    ///
    /// # Errors
    /// [`FoldError`] if the entry does not fit; the state is then unchanged.
    pub fn fold(&mut self, entry: &LedgerEntry) -> Result<(), FoldError> {
        match &entry.act {
            LedgerAct::EpochOpened { epoch, continued } => {
                let before = self.epoch.replace(*epoch);
                self.follows = before.filter(|_| *continued);
                self.epochs.insert(*epoch);
                if !continued {
                    // A jump keeps the incarnation of its process, a start has one of its own.
                    let starts = before.is_none_or(|before| before.incarnation != epoch.incarnation);
                    self.copied |= starts && !self.rollouts.is_empty();
                    self.discontinuous = true;
                    self.adopted.clear();
                    self.foreign.clear();
                    self.unheard.clear();
                }
            }
            LedgerAct::Adopted { host, held } => self.fold_adopted(*host, held.map(|(lease, _)| lease)),
            LedgerAct::Started(rollout) => {
                self.fold_replan(rollout)?;
                let mut state = RolloutState::new(rollout.plan.clone(), rollout.by.clone(), entry.at);
                state.replans = rollout.replans;
                let order = self.orders.get(&StopScope::Rollout(rollout.id));
                state.stopped = order.filter(|(_, stop)| *stop).map(|(sequence, _)| *sequence);
                self.rollouts.insert(rollout.id, state);
                self.active.insert(rollout.id);
            }
            LedgerAct::Granted { rollout, host, lease, attempt, opening } => {
                let (state, at) = self.host(*rollout, *host)?;
                state.begins(at);
                state.changes(at);
                state.hosts[at].attempts = *attempt;
                state.settle(at, Progress::Running { lease: *lease, since: entry.at, opening: *opening });
                state.peak = state.peak.max(u32::try_from(state.tally.busy.len()).unwrap_or(u32::MAX));
                let disrupts = state.plan.operation == Operation::Install;
                self.leased.insert(*host, (*rollout, *lease));
                self.known.insert(*lease);
                if disrupts {
                    self.services.taken_down(host);
                }
            }
            LedgerAct::Reported { evidence } => self.fold_report(evidence)?,
            LedgerAct::Returned { rollout, host, lease, .. } => {
                let (state, at) = self.host(*rollout, *host)?;
                if state.hosts[at].progress.is_of(*lease) {
                    state.settle(at, Progress::NotStarted);
                }
                if self.leased.get(host) == Some(&(*rollout, *lease)) {
                    self.leased.remove(host);
                }
                self.released.remove(lease);
            }
            LedgerAct::Refused { rollout, host, refusal } => {
                let (state, at) = self.host(*rollout, *host)?;
                state.settle(at, Progress::Refused(refusal.clone()));
            }
            LedgerAct::Paused { rollout, .. } => self.rollout(*rollout)?.paused = true,
            LedgerAct::Resumed { rollout, .. } => self.rollout(*rollout)?.paused = false,
            LedgerAct::Halted { rollout } => self.rollout(*rollout)?.halted = true,
            LedgerAct::Stopped { rollout, sequence, .. } => {
                self.rollout(*rollout)?;
                let (scope, sequence) = (StopScope::Rollout(*rollout), *sequence);
                self.fold_order(OrderStamp { scope, sequence, stop: true });
            }
            LedgerAct::Ordered { evidence } => {
                let order = evidence.read().map_err(FoldError::Order)?;
                self.fold_order(order.stamp());
            }
            LedgerAct::Ended { rollout } => {
                self.rollout(*rollout)?.ended_at = Some(entry.at);
                self.active.remove(rollout);
            }
            LedgerAct::Released { host, lease, by, because, .. } => {
                let (at, by, because) = (entry.at, by.clone(), because.clone());
                self.fold_release(*host, *lease, |lease, since| Release { lease, since, at, by, because });
            }
            LedgerAct::StepSettled { rollout, ring, step, .. } => {
                self.fold_settled(*rollout, Place { ring: *ring, step: *step }, entry.at)?;
            }
            LedgerAct::RingSettled { rollout, ring, .. } => {
                let last = self.rollout(*rollout)?.plan.last_step(*ring);
                self.fold_settled(*rollout, last, entry.at)?;
            }
            LedgerAct::Approved { evidence } | LedgerAct::Rejected { evidence } => {
                self.fold_verdict(evidence, entry.at)?;
            }
            LedgerAct::Service(act) => self.services.fold(act),
            LedgerAct::RingAsked { rollout, ring, attempt } => self.fold_asked(*rollout, *ring, *attempt, entry.at)?,
            LedgerAct::RingGated { rollout, ring, attempt, verdict } => {
                self.fold_gated(*rollout, *ring, *attempt, verdict, entry.at)?;
            }
            // The files are the truth of what is kept.
            LedgerAct::Intent { .. } => {}
        }
        self.note_since(entry);
        Ok(())
    }

    fn rollout(&mut self, id: RolloutId) -> Result<&mut RolloutState, FoldError> {
        self.rollouts.get_mut(&id).ok_or(FoldError::UnknownRollout(id))
    }

    fn host(&mut self, id: RolloutId, host: NodeId) -> Result<(&mut RolloutState, usize), FoldError> {
        let state = self.rollout(id)?;
        let at = *state.index.get(&host).ok_or(FoldError::UnknownHost(id, host))?;
        Ok((state, at))
    }

    /// How many leases of the host ended deferred in this rollout.
    pub fn deferrals(&self, rollout: RolloutId, host: NodeId) -> u32 {
        let state = self.rollouts.get(&rollout);
        state.and_then(|state| state.index.get(&host).map(|at| state.hosts[*at].deferrals)).unwrap_or(0)
    }

    /// How many of the rollout's slots are held: by running hosts, by hosts with a lease of another ledger, and by hosts
    /// that have not said which lease they hold.
    pub fn slots_held(&self, state: &RolloutState) -> usize {
        let unknown = |node: &NodeId| self.foreign.contains_key(node) || self.is_unclear(node);
        let outside = state
            .plan
            .hosts
            .iter()
            .enumerate()
            .filter(|(at, host)| !state.tally.busy.contains(at) && unknown(&host.node))
            .count();
        state.tally.busy.len() + outside
    }

    /// How many slots are held, over all rollouts.
    pub fn all_slots_held(&self) -> usize {
        let foreign = self.foreign.keys().filter(|node| !self.leased.contains_key(node)).count();
        if !self.discontinuous {
            return self.leased.len() + foreign;
        }
        let active = self.active.iter().filter_map(|id| self.rollouts.get(id));
        let hosts = active.flat_map(|state| state.plan.hosts.iter().map(|host| host.node));
        let known = |node: &NodeId| self.leased.contains_key(node) || self.foreign.contains_key(node);
        let unclear: BTreeSet<NodeId> = hosts.filter(|node| self.is_unclear(node) && !known(node)).collect();
        self.leased.len() + foreign + unclear.len()
    }
}

impl Progress {
    /// Whether this is what `lease`, of which nothing has come yet, led to.
    fn is_of(&self, lease: LeaseId) -> bool {
        match self {
            Self::Running { lease: held, .. } => *held == lease,
            Self::Released(release) => release.lease == lease,
            _ => false,
        }
    }
}

impl RolloutState {
    fn new(plan: Plan, by: String, at: WallTime) -> Self {
        let hosts: Vec<_> = plan
            .hosts
            .iter()
            .map(|host| HostState {
                progress: if plan.operation == Operation::Install && host.transaction.is_empty() {
                    Progress::Skipped
                } else {
                    Progress::NotStarted
                },
                attempts: 0,
                deferrals: 0,
                report: None,
            })
            .collect();
        let index = plan.hosts.iter().enumerate().map(|(at, host)| (host.node, at)).collect();
        let mut state = Self {
            plan,
            by,
            replans: None,
            replanned_as: None,
            started_at: at,
            ended_at: None,
            paused: false,
            halted: false,
            stopped: None,
            hosts,
            index,
            tally: Tally::default(),
            peak: 0,
            course: Course::default(),
            since: Since::default(),
        };
        state.tally = state.recounted();
        state
    }

    fn settle(&mut self, at: usize, next: Progress) {
        self.tally.count(at, &self.hosts[at], -1);
        self.hosts[at].progress = next;
        self.tally.count(at, &self.hosts[at], 1);
    }

    /// The counters, computed from the hosts alone.
    pub fn recounted(&self) -> Tally {
        let mut tally = Tally::default();
        for (at, host) in self.hosts.iter().enumerate() {
            tally.count(at, host, 1);
        }
        tally
    }

    /// Whether nothing is granted any more, whatever time it is.
    pub fn is_latched(&self) -> bool {
        self.halted || self.is_called_off() || self.ended_at.is_some()
    }

    /// Whether an operator ended it: stopped it, or rejected a ring.
    pub fn is_called_off(&self) -> bool {
        self.stopped.is_some() || self.course.rejected.is_some()
    }

    /// Excluded targets of one kind.
    pub fn excluded(&self, because: ExcludedBecause) -> u32 {
        let count = self.plan.excluded.iter().filter(|host| host.because == because).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}
