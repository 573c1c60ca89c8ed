//! What a host saves about its runs, and the fold of it. State is the fold: nothing that decides lives anywhere else.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    Phase,
    act::Verified,
    message::{Lease, MAX_FRAME, OrderStamp, Outcome, Report, RunError, StepReport, StopOrder, StopScope},
    recovery::Stage,
};
use crate::{
    id::{BootId, Epoch, LeaseId, NodeId, RolloutId},
    rollout::chain::Head,
    time::{BootInstant, WallTime},
    wire::{self, Malformed},
};

/// Largest encoded entry: a lease or a report fits, and both fit a frame of the wire.
pub const MAX_ENTRY: usize = MAX_FRAME;
/// How many ended leases are remembered, so that a late repetition of their offer starts nothing. Commands expire in a
/// minute and a host runs one lease at a time: more can never be in flight.
pub const REMEMBERED: usize = 64;

/// One durable fact. Append-only: variants and fields are added at the end, in a new version of the file, and never moved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum JournalEntry {
    /// The highest epoch seen. Saved before anything is done under it.
    Epoch(Epoch),
    /// A STOP or its end. Saved before it is honoured.
    Stop(StopOrder),
    /// `Go` was accepted.
    Granted {
        /// What may be done.
        lease: Box<Lease>,
        /// Who granted.
        coordinator: NodeId,
        /// When, by boot time: deadlines count from here.
        at: BootInstant,
        /// When, by wall clock.
        wall: WallTime,
        /// Where the coordinator's ledger ended, as it said.
        head: Head,
    },
    /// A phase is about to begin. Saved before it does.
    Began {
        /// Which.
        phase: Phase,
        /// 1 for the first time.
        attempt: u32,
        /// When, by boot time.
        at: BootInstant,
        /// When, by wall clock.
        wall: WallTime,
    },
    /// A phase has ended.
    Ended {
        /// Which.
        phase: Phase,
        /// Which attempt.
        attempt: u32,
        /// When, by boot time; for a reboot of the new boot.
        at: BootInstant,
        /// When, by wall clock.
        wall: WallTime,
        /// How.
        result: StepResult,
    },
    /// A phase was not begun, and nothing disruptive begins any more.
    Barred(Fault),
    /// The outcome is fixed.
    Settled(Box<Report>),
    /// The report is in the coordinator's ledger.
    Acknowledged {
        /// Whose report.
        lease: LeaseId,
    },
    /// The lease was refused, and never starts: the coordinator may free its slot whenever it hears of it.
    Refused {
        /// Which.
        lease: LeaseId,
    },
    /// An operator released the slot of a lease that has begun. Saved before it is honoured.
    Released {
        /// Which.
        lease: LeaseId,
    },
}

impl JournalEntry {
    /// The stored bytes.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// From stored bytes.
    ///
    /// # Errors
    /// [`Malformed`]: not an entry of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        wire::decode(bytes, MAX_ENTRY)
    }
}

/// Why a run will not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// `Failed` or `Deferred`.
    pub outcome: Outcome,
    /// What is reported.
    pub error: RunError,
}

/// How a phase ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StepResult {
    /// `None` if it did what it should.
    pub fault: Option<Fault>,
    /// Tail of its output.
    pub output: String,
    /// After a transaction: whether a package asked for a reboot.
    pub reboot_required: bool,
    /// After verifying: what is there.
    pub verified: Option<Box<Verified>>,
}

/// The phase last begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Last {
    /// Which.
    pub phase: Phase,
    /// Which attempt.
    pub attempt: u32,
    /// How far it came.
    pub stage: Stage,
    /// The boot of the entry that said so.
    pub boot_id: BootId,
}

/// One granted lease.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// What may be done.
    pub lease: Lease,
    /// Who granted.
    pub coordinator: NodeId,
    /// When, by boot time.
    pub granted: BootInstant,
    /// When, by wall clock.
    pub started: WallTime,
    /// Where it is.
    pub last: Last,
    /// Every step so far, in order.
    pub steps: Vec<StepReport>,
    /// Whether on-exit hooks are owed.
    pub pre_install_begun: bool,
    /// Whether a transaction has ended that may have changed packages.
    pub touched: bool,
    /// Whether a package asked for a reboot.
    pub reboot_required: bool,
    /// Whether the run's own reboot is proven.
    pub rebooted: bool,
    /// What the last scan found.
    pub verified: Option<Box<Verified>>,
    /// Whether its slot was released: nothing disruptive begins any more.
    pub released: bool,
    /// The worst fault so far; of equal ones the first.
    pub fault: Option<Fault>,
    /// Set when the outcome is fixed.
    pub report: Option<Report>,
}

/// The fold of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Journal {
    /// The highest epoch seen.
    pub epoch: Option<Epoch>,
    /// The winning order of every scope.
    pub stops: BTreeMap<StopScope, (u64, bool)>,
    /// The lease that runs, or whose report is not acknowledged.
    pub run: Option<Run>,
    /// Leases that ended and were acknowledged, oldest first.
    pub ended: VecDeque<LeaseId>,
    /// Leases that were refused, oldest first.
    pub refused: VecDeque<LeaseId>,
    /// Whose ledger ended where, by the last `Go`.
    pub head: Option<(NodeId, Head)>,
    /// The attempt number that the hooks of each point were last told, by rollout, oldest first.
    pub hooks: VecDeque<(RolloutId, BTreeMap<Phase, u32>)>,
}

impl Journal {
    /// Folds `entries` in order.
    pub fn fold<'a>(entries: impl IntoIterator<Item = &'a JournalEntry>) -> Self {
        let mut journal = Self::default();
        entries.into_iter().for_each(|entry| journal.push(entry));
        journal
    }

    /// Folds one more entry. Entries that belong to no granted lease change nothing.
    pub fn push(&mut self, entry: &JournalEntry) {
        match entry {
            JournalEntry::Epoch(epoch) => self.epoch = Some(*epoch),
            JournalEntry::Stop(order) => {
                self.stops.insert(order.scope, (order.sequence, order.stop));
            }
            JournalEntry::Granted { lease, coordinator, at, wall, head } => {
                self.head = Some((*coordinator, *head));
                self.run = Some(Run::granted((**lease).clone(), *coordinator, *at, *wall));
            }
            JournalEntry::Acknowledged { lease } => {
                self.run = self.run.take().filter(|run| run.lease.id != *lease);
                self.ended.push_back(*lease);
                if self.ended.len() > REMEMBERED {
                    self.ended.pop_front();
                }
            }
            JournalEntry::Refused { lease } => {
                self.refused.push_back(*lease);
                if self.refused.len() > REMEMBERED {
                    self.refused.pop_front();
                }
            }
            JournalEntry::Released { lease } => {
                if let Some(run) = self.run.as_mut().filter(|run| run.lease.id == *lease) {
                    run.released = true;
                }
            }
            JournalEntry::Began { .. }
            | JournalEntry::Ended { .. }
            | JournalEntry::Barred(_)
            | JournalEntry::Settled(_) => {
                if let Some(run) = &mut self.run {
                    run.push(entry);
                    if let JournalEntry::Began { phase, .. } = entry {
                        let (rollout, least) = (run.lease.rollout, run.lease.attempt);
                        self.count_hooks(rollout, *phase, least);
                    }
                }
            }
        }
    }

    /// Hooks of `phase` begin: their attempt number grows, whichever lease of the rollout, and whoever's, they belong to.
    fn count_hooks(&mut self, rollout: RolloutId, phase: Phase, least: u32) {
        let mut told = match self.hooks.iter().position(|(known, _)| *known == rollout) {
            Some(at) => self.hooks.remove(at).map(|(_, told)| told).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let number = told.entry(phase).or_default();
        *number = number.saturating_add(1).max(least);
        self.hooks.push_back((rollout, told));
        if self.hooks.len() > REMEMBERED {
            self.hooks.pop_front();
        }
    }

    /// The attempt number of the hooks of `phase` that began last for `rollout`; 0 if none did.
    pub fn hook_attempt(&self, rollout: RolloutId, phase: Phase) -> u32 {
        let told = self.hooks.iter().find(|(known, _)| *known == rollout);
        told.and_then(|(_, told)| told.get(&phase)).copied().unwrap_or(0)
    }

    /// Whether a saved STOP covers `rollout`.
    pub fn stopped(&self, rollout: RolloutId) -> bool {
        [StopScope::All, StopScope::Rollout(rollout)]
            .iter()
            .any(|scope| self.stops.get(scope).is_some_and(|(_, stop)| *stop))
    }

    /// Whether the slot of `lease`, which runs, was released.
    pub fn released(&self, lease: LeaseId) -> bool {
        self.run.as_ref().is_some_and(|run| run.lease.id == lease && run.released)
    }

    /// Whether `order` changes what is saved: the highest sequence of a scope wins, a tie is stop.
    pub fn accepts_stop(&self, order: &StopOrder) -> bool {
        self.stops.get(&order.scope).is_none_or(|saved| order.rank() > *saved)
    }

    /// The winning order of every scope, by scope.
    pub fn orders(&self) -> Vec<OrderStamp> {
        OrderStamp::list(&self.stops)
    }

    /// The lease that the host runs or has to report.
    pub fn held(&self) -> Option<(LeaseId, RolloutId)> {
        self.run.as_ref().map(|run| (run.lease.id, run.lease.rollout))
    }
}

impl Run {
    fn granted(lease: Lease, coordinator: NodeId, granted: BootInstant, started: WallTime) -> Self {
        let last = Last { phase: Phase::Granted, attempt: 1, stage: Stage::Done, boot_id: granted.boot_id };
        Self {
            lease,
            coordinator,
            granted,
            started,
            last,
            steps: Vec::new(),
            pre_install_begun: false,
            touched: false,
            reboot_required: false,
            rebooted: false,
            verified: None,
            released: false,
            fault: None,
            report: None,
        }
    }

    fn push(&mut self, entry: &JournalEntry) {
        match entry {
            JournalEntry::Began { phase, attempt, at, wall } => {
                self.last = Last { phase: *phase, attempt: *attempt, stage: Stage::Begun, boot_id: at.boot_id };
                self.pre_install_begun |= *phase == Phase::PreInstall;
                self.steps.push(StepReport {
                    phase: *phase,
                    attempt: *attempt,
                    ok: false,
                    started: *wall,
                    ended: *wall,
                    output: String::from("interrupted"),
                });
            }
            JournalEntry::Ended { phase, attempt, at, wall, result } => {
                let stage = if result.fault.is_none() { Stage::Done } else { Stage::Failed };
                self.last = Last { phase: *phase, attempt: *attempt, stage, boot_id: at.boot_id };
                if let Some(step) = self.steps.last_mut() {
                    (step.ok, step.ended) = (result.fault.is_none(), *wall);
                    step.output.clone_from(&result.output);
                }
                match phase {
                    Phase::Transaction => {
                        let declined = result.fault.as_ref().is_some_and(|fault| fault.outcome == Outcome::Deferred);
                        self.touched |= !declined;
                        self.reboot_required = result.reboot_required;
                    }
                    Phase::Reboot => self.rebooted |= result.fault.is_none(),
                    Phase::Verify => self.verified.clone_from(&result.verified),
                    _ => {}
                }
                result.fault.iter().for_each(|fault| self.blame(fault));
            }
            JournalEntry::Barred(fault) => self.blame(fault),
            JournalEntry::Settled(report) => {
                self.last.phase = Phase::Settled;
                self.report = Some((**report).clone());
            }
            _ => {}
        }
    }

    /// A failure outweighs a deferral; of equals the first stays.
    fn blame(&mut self, fault: &Fault) {
        let worse = match &self.fault {
            None => true,
            Some(known) => known.outcome == Outcome::Deferred && fault.outcome == Outcome::Failed,
        };
        if worse {
            self.fault = Some(fault.clone());
        }
    }
}
