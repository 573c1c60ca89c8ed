//! What really happened, whatever a machine believes: the stream that the promises are held against.

use patchmesh_common::{
    id::{BootId, Epoch, Incarnation, LeaseId, NodeId, RolloutId},
    inventory::{PackageChange, Transaction},
    rollout::{OnHookFailure, Operation, ring::Place},
    run::{
        HookPoint, Phase,
        message::{LatestStart, OrderStamp, Outcome, StopScope},
    },
    schedule::Opening,
    time::{BootTime, Now, WallTime},
};

/// A machine of the world: hosts, coordinators, clones. Not an identity.
pub type Spot = u32;

/// A disruptive step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Pre-install hooks.
    PreInstall,
    /// The package manager.
    Transaction,
    /// Post-install hooks.
    PostInstall,
    /// The reboot.
    Reboot,
}

impl Step {
    /// The phase that it is.
    pub fn phase(self) -> Phase {
        match self {
            Self::PreInstall => Phase::PreInstall,
            Self::Transaction => Phase::Transaction,
            Self::PostInstall => Phase::PostInstall,
            Self::Reboot => Phase::Reboot,
        }
    }
}

/// A step of a ring, as operators applied it.
#[derive(Clone, Debug, PartialEq)]
pub struct RingStep {
    /// Which.
    pub place: Place,
    /// Hosts that it adds, without those that have nothing to do.
    pub hosts: Vec<NodeId>,
    /// How long after the one before it begins, in milliseconds.
    pub pause: u64,
    /// Whether operators must approve it.
    pub approved: bool,
}

/// A run of a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRun {
    /// Its name.
    pub policy: String,
    /// What of it.
    pub operation: Operation,
    /// For this time.
    pub of: WallTime,
}

/// One transition of the truth.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    /// A coordinator's ledger has a new rollout.
    Applied {
        /// Which.
        rollout: RolloutId,
        /// Its limit.
        max_concurrency: u32,
        /// Its limit.
        max_errors: u32,
        /// What the failure of a hook means for it.
        on_hook_failure: OnHookFailure,
    },
    /// A coordinator's ledger has a new run of a policy.
    RunStarted {
        /// The rollout that it is.
        rollout: RolloutId,
        /// Which.
        run: PolicyRun,
    },
    /// A coordinator says why it starts nothing for a time.
    NotStarted {
        /// Which run there is not.
        run: PolicyRun,
        /// What it says.
        why: String,
    },
    /// Every fault has healed, and the coordinator looks what is due while this time has come.
    Due {
        /// What is due.
        run: PolicyRun,
        /// Whether an earlier run was on its way at that time, by its ledger.
        busy: bool,
    },
    /// Operators keep no policy any more.
    PoliciesDropped,
    /// A `Go` is durable.
    GoSaved {
        /// Which rollout.
        rollout: RolloutId,
        /// For this identity.
        host: NodeId,
        /// By this lease.
        lease: LeaseId,
        /// Whether that takes it down.
        disrupts: bool,
        /// In this opening.
        opening: Opening,
        /// The coordinator's clocks.
        now: Now,
        /// How far its wall clock is wrong, in milliseconds.
        error: i64,
    },
    /// A coordinator's ledger keeps a service, or keeps it no more.
    Serves {
        /// Its name.
        service: String,
        /// How many members stay up; `None`: it is dropped.
        least: Option<u32>,
        /// Identities of its members, as the scenario has them.
        members: Vec<NodeId>,
        /// Whether they must pass a probe to count as up.
        probed: bool,
    },
    /// A host fails its probe from now on, until then in milliseconds.
    Ails {
        /// When it passes again.
        until: u64,
    },
    /// Operators allow so many hosts at a coordinator that starts, over all rollouts.
    FleetLimited(u32),
    /// A coordinator's ledger says that nothing began under a lease: its slot is free.
    Returned {
        /// Which rollout.
        rollout: RolloutId,
        /// This identity's.
        host: NodeId,
        /// This one.
        lease: LeaseId,
    },
    /// A ledger says that a slot was released by name.
    Released {
        /// This identity's.
        host: NodeId,
        /// Held by this lease; by whatever it is if `None`.
        lease: Option<LeaseId>,
    },
    /// A ledger says that a host has named what it holds.
    Adopted(NodeId),
    /// A coordinator started on a store that was copied or restored once, at this time of its machine.
    CopyStarted(BootTime),
    /// Such a coordinator saved a new epoch.
    CopyOpened(BootTime),
    /// Such a coordinator heard from a host that obeys another one's epoch.
    RivalHeard {
        /// By the clock of its machine.
        now: BootTime,
        /// Whether the host had adopted this one's before.
        adopted: bool,
    },
    /// A report is durable in a ledger.
    Folded {
        /// Which rollout.
        rollout: RolloutId,
        /// This identity's.
        host: NodeId,
        /// Of this lease.
        lease: LeaseId,
        /// As the ledger understands it.
        outcome: Outcome,
        /// Whether it changed where the host stands in this ledger.
        counted: bool,
        /// What it says of a failed hook: whether there was one, and whether nothing is left of what came before it.
        hook: (bool, bool),
    },
    /// Operators apply a rollout that does not go all at once, or whose rings must show that all is well.
    Ringed {
        /// Which.
        rollout: RolloutId,
        /// In order.
        steps: Vec<RingStep>,
        /// Whether every ring must show that all is well: before the next one begins, and the last one before the rollout ends.
        shown: bool,
    },
    /// An operator approves a ring.
    Approved {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which.
        ring: u16,
    },
    /// A ledger waits for these hosts no longer: they refused for good, were released by name, or are passed over.
    LetGo {
        /// In this rollout.
        rollout: RolloutId,
        /// These identities.
        hosts: Vec<NodeId>,
    },
    /// A ledger says that a step has settled.
    StepSettled {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which.
        place: Place,
        /// The coordinator's clocks.
        now: Now,
        /// How far its wall clock is wrong, in milliseconds.
        error: i64,
    },
    /// A host was asked its gates, and this is how it really is.
    Gated {
        /// Under this lease.
        lease: LeaseId,
        /// Of this rollout.
        rollout: RolloutId,
        /// Whether it is well.
        ok: bool,
    },
    /// A coordinator begins to ask the gates of a ring.
    RingAsked {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which ring.
        ring: u16,
        /// The first, second, … time, as its ledger says.
        attempt: u32,
        /// The coordinator's clocks.
        now: Now,
        /// How far its wall clock is wrong, in milliseconds.
        error: i64,
    },
    /// A coordinator has asked the gates of a ring, and this is how it really was when it began to.
    RingShown {
        /// Of this rollout.
        rollout: RolloutId,
        /// Which ring.
        ring: u16,
        /// As when it began.
        attempt: u32,
        /// Whether all was well.
        ok: bool,
    },
    /// A ledger has latched.
    Halted(RolloutId),
    /// A ledger says that nothing moves any more.
    Ended {
        /// In this rollout.
        rollout: RolloutId,
        /// How many hosts of it might still begin, or are lost at work, as the ledger says.
        left: u32,
    },
    /// A host saved an epoch.
    EpochSaved(Epoch),
    /// A host saved a STOP or its end, or a coordinator's ledger has it.
    StopSaved {
        /// What it covers.
        scope: StopScope,
        /// Orders them.
        sequence: u64,
        /// Whether it stops.
        stop: bool,
    },
    /// A machine lets its record name orders: whoever gave them reads that they are saved.
    Confirmed(Vec<OrderStamp>),
    /// A host saved that the slot of a lease was released.
    ReleaseSaved(LeaseId),
    /// A host saved that a lease may run.
    Granted {
        /// Which.
        lease: LeaseId,
        /// Its rollout.
        rollout: RolloutId,
        /// Scan or Install.
        operation: Operation,
        /// What may be installed.
        transaction: Transaction,
        /// When.
        opening: Opening,
        /// Relative to now.
        latest: LatestStart,
        /// The epoch of the command that said `Go`.
        epoch: Epoch,
        /// The host's clocks.
        now: Now,
        /// Its boot.
        boot: BootId,
    },
    /// A disruptive step begins.
    Step {
        /// Under this lease.
        lease: LeaseId,
        /// Of this rollout.
        rollout: RolloutId,
        /// Which.
        step: Step,
        /// The host's clocks.
        now: Now,
        /// Its boot.
        boot: BootId,
        /// How far the host's wall clock is wrong, in milliseconds.
        error: i64,
    },
    /// A host's machine has asked for a reboot.
    Reboots {
        /// Under this lease.
        lease: LeaseId,
        /// What is wrong with the package database at that moment.
        dirty: Option<String>,
    },
    /// Hooks begin.
    Hook {
        /// Under this lease.
        lease: LeaseId,
        /// Of this rollout.
        rollout: RolloutId,
        /// Which.
        point: HookPoint,
        /// As they are told.
        attempt: u32,
    },
    /// Hooks have ended.
    HookEnded {
        /// Under this lease.
        lease: LeaseId,
        /// Which.
        point: HookPoint,
        /// How.
        ok: bool,
    },
    /// A host saved how the hooks of a run ended, whatever it believes.
    HookSaved(LeaseId),
    /// A host saved how a transaction ended.
    ResultSaved(LeaseId),
    /// A host saved how a run ended.
    Settled {
        /// Under this lease.
        lease: LeaseId,
        /// Of this rollout.
        rollout: RolloutId,
        /// How.
        outcome: Outcome,
        /// What the report says was changed.
        reported: Vec<PackageChange>,
        /// What really differs from before the run.
        changed: Vec<PackageChange>,
        /// Whether the host could look at its packages.
        verified: bool,
        /// Whether the report says that the on-exit hooks were begun as often as is allowed, and never ended.
        in_vain: bool,
        /// Whether the report says that a hook failed first, or that those after the reboot never ended.
        hook: bool,
    },
    /// A host saved that its report needs no repetition.
    Acknowledged(LeaseId),
    /// A member sealed a record.
    Sealed {
        /// Whose.
        author: NodeId,
        /// Its stamp.
        rank: (Incarnation, u64),
        /// Of its bytes.
        digest: u64,
    },
    /// A view took a record.
    Believed {
        /// Whose.
        author: NodeId,
        /// Its stamp.
        rank: (Incarnation, u64),
        /// Of its bytes.
        digest: u64,
        /// The reader's wall clock.
        wall: WallTime,
    },
    /// A view starts from what was remembered.
    ViewStarted,
    /// A daemon, or a whole host, died.
    Died {
        /// Whether the power failed or the host rebooted.
        power: bool,
    },
    /// A process, or a whole machine, was paused: it does and hears nothing.
    Paused,
    /// It goes on.
    Resumed,
    /// A daemon dies of a message.
    Aborted {
        /// Which.
        poison: u32,
        /// Its boot.
        boot: BootId,
        /// By its wall clock.
        at: WallTime,
    },
    /// A daemon runs again.
    Started {
        /// Its boot.
        boot: BootId,
        /// By its wall clock.
        at: WallTime,
    },
}
