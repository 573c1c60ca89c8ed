//! What a coordinator and a host say to each other. Every message is sealed end to end by its author and may travel over
//! any member; the receiver checks author, role, addressee, epoch and expiry itself.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Phase, gate::Gate};
use crate::{
    id::{CommandId, Epoch, LeaseId, MeshId, NodeId, Nonce, RolloutId},
    inventory::{PackageChange, Transaction},
    membership::Credential,
    patch::{
        Approval, Baseline, PatchCounters,
        compliance::HostReport,
        sighting::{Seen, Sighting},
        snapshot::Snapshot,
    },
    rollout::{Operation, RebootOption, chain::Head},
    schedule::Opening,
    seal::{Payload, Sealed},
    time::WallTime,
};

/// How long after `Ready` a `Go` may still start work, by the host's own boot time.
pub const GO_WITHIN: Duration = Duration::from_secs(10);
/// How far a clock may be from the mesh's median before nothing disruptive begins.
pub const MAX_SKEW: Duration = Duration::from_secs(30);
/// How long a command is worth obeying after it was sealed, by wall clock: short, because every command is repeated.
pub const COMMAND_LIFETIME: Duration = Duration::from_secs(60);
/// Largest lease frame: a transaction of [`crate::inventory::MAX_CHANGES`] packages fits.
pub const MAX_FRAME: usize = 2 << 20;
/// Most bytes of the sightings of one answer.
pub const MAX_SIGHTINGS: usize = 1 << 20;
/// Longest text of an error or a log tail in a report, in bytes.
pub const MAX_TEXT: usize = 16 << 10;

/// A permission: one host, one run, exact contents.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// Random.
    pub id: LeaseId,
    /// The rollout that it belongs to.
    pub rollout: RolloutId,
    /// The only host that may use it.
    pub host: NodeId,
    /// 1 for the first lease of this host in this rollout.
    pub attempt: u32,
    /// Scan or Install.
    pub operation: Operation,
    /// What the host resolves against before it says `Ready`.
    pub baseline: Approval,
    /// Exactly what will be installed; frozen by the plan. Empty for a Scan.
    pub transaction: Transaction,
    /// Whether to reboot, and when.
    pub reboot: RebootOption,
    /// Time-out of every single hook, in seconds.
    pub hook_timeout: u32,
    /// The opening in which the coordinator grants; the host checks it by its own clock.
    pub opening: Opening,
    /// Deadlines relative to `Go`.
    pub latest_start: LatestStart,
    /// What the host must show after an Install, within the phase verify; asked in this order.
    pub gates: Vec<Gate>,
}

/// The latest start of each disruptive phase, in seconds since the host accepted `Go`, by its boot time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LatestStart {
    /// Pre-install hooks.
    pub pre_install: u64,
    /// The transaction.
    pub transaction: u64,
    /// Post-install hooks.
    pub post_install: u64,
    /// The reboot.
    pub reboot: u64,
}

/// What a STOP covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StopScope {
    /// Every rollout of the mesh.
    All,
    /// One rollout.
    Rollout(RolloutId),
}

/// A STOP or its end. The highest sequence of a scope wins; a tie is stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StopOrder {
    /// Which mesh.
    pub mesh: MeshId,
    /// What it covers.
    pub scope: StopScope,
    /// Orders STOPs of one scope.
    pub sequence: u64,
    /// `true` stops, `false` resumes.
    pub stop: bool,
}

impl StopOrder {
    /// What decides between two orders of one scope: the higher one wins, so that a tie is stop.
    pub fn rank(&self) -> (u64, bool) {
        (self.sequence, self.stop)
    }

    /// Which order this is.
    pub fn stamp(&self) -> OrderStamp {
        OrderStamp { scope: self.scope, sequence: self.sequence, stop: self.stop }
    }
}

/// Which order of a scope somebody has saved, without its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OrderStamp {
    /// What it covers.
    pub scope: StopScope,
    /// Of the order.
    pub sequence: u64,
    /// `true` stops, `false` resumes.
    pub stop: bool,
}

impl OrderStamp {
    /// As [`StopOrder::rank`].
    pub fn rank(&self) -> (u64, bool) {
        (self.sequence, self.stop)
    }

    /// Of a fold: the sequence and the direction of every scope's winning order.
    pub fn list(fold: &BTreeMap<StopScope, (u64, bool)>) -> Vec<Self> {
        fold.iter().map(|(scope, (sequence, stop))| Self { scope: *scope, sequence: *sequence, stop: *stop }).collect()
    }

    /// What decides which orders are kept where not all of them fit: those that cover everything, then the latest.
    pub fn weight(&self) -> (bool, u64, bool, StopScope) {
        (self.scope == StopScope::All, self.sequence, self.stop, self.scope)
    }
}

impl Payload for StopOrder {
    const CONTEXT: &'static str = "patchmesh/stop/1";
    const LIMIT: usize = 128;
}

/// What a coordinator tells a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToHost {
    /// Save this epoch, and say which lease you hold.
    Adopt,
    /// Say what your package manager would do for this baseline. Changes nothing.
    Resolve {
        /// Echoed in the answer.
        request: CommandId,
        /// What to resolve against.
        baseline: Baseline,
    },
    /// A lease that may be started after the handshake. Starts nothing.
    Offer(Box<Lease>),
    /// Start, if this is your `Ready`'s nonce and it is fresh.
    Go {
        /// Which lease.
        lease: LeaseId,
        /// The nonce of the host's `Ready`.
        nonce: Nonce,
    },
    /// The report is in the ledger; the host may forget it.
    Acknowledge {
        /// Whose report.
        lease: LeaseId,
    },
    /// A STOP, sealed by its own signer: a coordinator or an operator.
    Stop(Box<SignedStop>),
    /// The lease is not to be started any more: refuse it, unless it has begun.
    Withdraw {
        /// Which lease.
        lease: LeaseId,
    },
    /// An operator released the lease's slot: refuse it, or begin nothing disruptive under it any more.
    Release {
        /// Which lease.
        lease: LeaseId,
    },
    /// Keep this snapshot; and for an Install say what your package manager would do by it. Changes no package.
    ResolveBy {
        /// Echoed in the answer.
        request: CommandId,
        /// What it is for.
        operation: Operation,
        /// What is approved.
        snapshot: Box<Snapshot>,
    },
    /// Say what your last report found.
    Patches {
        /// Echoed in the answer.
        request: CommandId,
    },
    /// Say when you first met the versions that you are offered.
    Sightings {
        /// Echoed in the answer.
        request: CommandId,
    },
    /// Say whether you pass the probe of a service whose member you are. Changes nothing.
    Probe {
        /// Echoed in the answer.
        request: CommandId,
        /// What is asked.
        probe: Gate,
    },
}

/// Largest encoded [`SignedStop`]: an order and two memberships at their limits, with room for lengths and signatures.
pub const MAX_STOP: usize = StopOrder::LIMIT + 2 * 2048 + 512;

/// A sealed [`StopOrder`] and the right of its signer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignedStop {
    /// A sealed [`StopOrder`].
    pub order: Sealed,
    /// The signer's membership: role coordinator or operator.
    pub credential: Credential,
}

/// A command to one host. Sealed by a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Command {
    /// Random; for deduplication and logs.
    pub id: CommandId,
    /// Which mesh.
    pub mesh: MeshId,
    /// The only host that may obey.
    pub to: NodeId,
    /// The coordinator's epoch.
    pub epoch: Epoch,
    /// The epoch that the host must have saved last, because the present one continues it and no other coordinator may have
    /// come in between; `None` if the host may have saved any, because its leases are asked for.
    pub after: Option<Epoch>,
    /// Where the coordinator's ledger ended when it was sealed: of a `Go` behind its grant.
    pub head: Head,
    /// Not to be obeyed from this moment on, by the host's wall clock.
    pub expires: WallTime,
    /// What to do.
    pub body: ToHost,
}

impl Command {
    /// Whether a host that saved `saved` last may obey.
    pub fn follows(&self, saved: Epoch) -> bool {
        self.epoch == saved || (saved.admits(&self.epoch) && self.after.is_none_or(|after| after == saved))
    }
}

impl Payload for Command {
    const CONTEXT: &'static str = "patchmesh/command/1";
    const LIMIT: usize = MAX_FRAME;
}

/// How a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Everything asked for was done and verified.
    Succeeded,
    /// Something failed; `error` says what.
    Failed,
    /// Ended before anything was installed, because the time or a STOP did not allow it. Not an error; may be leased again.
    Deferred,
}

/// What went wrong, for people and for scripts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunError {
    /// A stable kebab-case word, e.g. `hook-failed`.
    pub code: String,
    /// One or two sentences: what, where, what was left unchanged, what to do.
    pub text: String,
    /// The tail of the output of the step that failed; empty if it had none.
    pub log: String,
}

/// What a failed transaction is told with if its package database is left unclean, before what is wrong with it.
pub const LEFT_UNCLEAN: &str = "the package database is left unclean";
/// What mends a package database that a run could not repair. Nothing is installed and nobody reboots before that.
pub const MEND_DATABASE: &str = "dpkg --configure -a && apt-get -f install";

impl RunError {
    /// Whether the package database of the host was unclean when the run ended.
    pub fn left_unclean(&self) -> bool {
        self.code == RefusalCode::DirtyDatabase.as_str() || self.text.contains(LEFT_UNCLEAN)
    }
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepReport {
    /// The phase, or for hooks the phase of their point.
    pub phase: Phase,
    /// 1 unless the step had to run again.
    pub attempt: u32,
    /// Whether it did what it should.
    pub ok: bool,
    /// When it began, by the host's wall clock.
    pub started: WallTime,
    /// When it ended, by the host's wall clock.
    pub ended: WallTime,
    /// Tail of its output, at most [`MAX_TEXT`] bytes.
    pub output: String,
}

/// How one lease ended on its host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Report {
    /// Which lease.
    pub lease: LeaseId,
    /// Which rollout.
    pub rollout: RolloutId,
    /// How it ended.
    pub outcome: Outcome,
    /// The phase last begun before `Settled`.
    pub phase: Phase,
    /// Whether the boot id changed by the run's own reboot.
    pub rebooted: bool,
    /// What really changed: before and after, by scanning.
    pub packages: Vec<PackageChange>,
    /// Why it did not succeed.
    pub error: Option<RunError>,
    /// Counters after the run.
    pub counters: PatchCounters,
    /// Every step, in order.
    pub steps: Vec<StepReport>,
    /// When `Go` was accepted.
    pub started: WallTime,
    /// When the run settled.
    pub ended: WallTime,
}

/// Why a host does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The host's own file does not say `mode = "enforce"`.
    ObserveMode,
    /// It runs, or has to report, another lease.
    Busy,
    /// The package manager would now do something else than the plan froze.
    PlanChanged,
    /// A planned version is no longer in the indexes.
    VersionGone,
    /// The indexes could not be refreshed.
    RepositoryUnreachable,
    /// Another process holds the package manager's lock; the text names it.
    Locked,
    /// The package database needs repair.
    DirtyDatabase,
    /// The host's clock is too far from the mesh's median.
    ClockSkew,
    /// The host's clock places now outside the opening.
    OutsideOpening,
    /// A STOP covers the rollout.
    Stopped,
    /// The command's epoch is too low, or a twin's.
    StaleEpoch,
    /// The package manager failed or is not there; the text says how.
    ManagerFailed,
    /// `Go` came too late, for another nonce, or after a pause: the offer must be repeated.
    StaleGo,
    /// The resolver would have to remove packages.
    RemovalsNeeded,
    /// A file system of the host has no room for the transaction; the text names it.
    NoSpace,
    /// The daemon aborted too often of late and begins nothing new for a while.
    SafeMode,
    /// A package of the transaction was put on hold, or pinned below the planned version.
    Held,
    /// dpkg would have to ask about a configuration file that was changed here and by the package.
    ConfigConflict,
    /// Another package manager changes packages; the text names it.
    OtherManager,
    /// No baseline of the snapshot judges this host, or it has not kept the snapshot.
    NoBaseline,
    /// There is no report yet.
    NoReport,
    /// The baseline sends the host to a repository, or with an option, that the host's own file does not allow; the text names it.
    SourceNotAllowed,
    /// A gate of the rollout could never be passed here; the text says which and why.
    GateNotApplicable,
}

impl RefusalCode {
    /// The stable word for outputs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ObserveMode => "observe-mode",
            Self::Busy => "busy",
            Self::PlanChanged => "plan-changed",
            Self::VersionGone => "version-gone",
            Self::RepositoryUnreachable => "repository-unreachable",
            Self::Locked => "locked",
            Self::DirtyDatabase => "dirty-database",
            Self::ClockSkew => "clock-skew",
            Self::OutsideOpening => "outside-opening",
            Self::Stopped => "stopped",
            Self::StaleEpoch => "stale-epoch",
            Self::ManagerFailed => "manager-failed",
            Self::StaleGo => "stale-go",
            Self::RemovalsNeeded => "removals-needed",
            Self::NoSpace => "no-space",
            Self::SafeMode => "safe-mode",
            Self::Held => "held",
            Self::ConfigConflict => "config-conflict",
            Self::OtherManager => "other-manager",
            Self::NoBaseline => "no-baseline",
            Self::NoReport => "no-report",
            Self::SourceNotAllowed => "source-not-allowed",
            Self::GateNotApplicable => "gate-not-applicable",
        }
    }
}

/// A host's no: a code, a sentence and a remedy. Nothing was changed on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Refusal {
    /// For scripts.
    pub code: RefusalCode,
    /// For people: what and where.
    pub text: String,
    /// For people: what to do.
    pub remedy: String,
}

/// What a host's package manager would do for a baseline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resolution {
    /// The closed transaction.
    pub transaction: Transaction,
    /// Counters of the scan that it was made from.
    pub counters: PatchCounters,
}

/// What a host tells a coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// The epoch is saved. `held` is the lease that the host runs or has to report.
    Adopted {
        /// The lease and its rollout.
        held: Option<(LeaseId, RolloutId)>,
    },
    /// The command's epoch is not admitted: `saved` is the highest that the host knows.
    Fenced {
        /// The host's epoch.
        saved: Epoch,
        /// The lease that it holds.
        held: Option<(LeaseId, RolloutId)>,
    },
    /// Answer to `Resolve` and to `ResolveBy`; for a Scan the transaction is empty.
    Resolved {
        /// Of the request.
        request: CommandId,
        /// The closed transaction, or why there is none.
        result: Result<Resolution, Refusal>,
    },
    /// The lease can be started now; nothing has begun.
    Ready {
        /// Which lease.
        lease: LeaseId,
        /// To be repeated by `Go`.
        nonce: Nonce,
    },
    /// The offer, or the `Go`, is refused; nothing has begun.
    Refused {
        /// Which lease.
        lease: LeaseId,
        /// Why.
        refusal: Refusal,
    },
    /// The lease is running; sent at each phase and every few seconds.
    Progress {
        /// Which lease.
        lease: LeaseId,
        /// The phase last begun.
        phase: Phase,
        /// The last line of output, at most 160 bytes.
        detail: String,
    },
    /// The lease has ended; repeated until acknowledged.
    Reported(Box<Report>),
    /// The STOP is saved.
    StopSaved {
        /// Of the STOP.
        scope: StopScope,
        /// Of the STOP.
        sequence: u64,
    },
    /// Answer to `Patches`.
    Patches {
        /// Of the request.
        request: CommandId,
        /// The report, or why there is none.
        result: Result<Box<HostReport>, Refusal>,
    },
    /// Answer to `Sightings`: as many as [`MAX_SIGHTINGS`] bytes hold, those with the earliest evidence first.
    Sightings {
        /// Of the request.
        request: CommandId,
        /// By what was seen.
        result: Result<Vec<(Seen, Sighting)>, Refusal>,
    },
    /// Answer to `Probe`.
    Probed {
        /// Of the request.
        request: CommandId,
        /// Whether the host passes it, or in one line why not.
        result: Result<(), String>,
    },
}

/// An answer to one coordinator. Sealed by the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Answer {
    /// Which mesh.
    pub mesh: MeshId,
    /// The coordinator that it is for.
    pub to: NodeId,
    /// The highest epoch that the host has saved.
    pub epoch: Epoch,
    /// Where the ledger of this coordinator ended by the last `Go` that the host accepted from it: the host's testimony that
    /// this is how the ledger began. `None` if another coordinator gave the last one, or nobody did.
    pub head: Option<Head>,
    /// What it says.
    pub body: ToCoordinator,
}

impl Payload for Answer {
    const CONTEXT: &'static str = "patchmesh/answer/1";
    const LIMIT: usize = MAX_FRAME;
}

/// What travels over `/patchmesh/lease/1`: a sealed [`Command`] or [`Answer`], with the right of its author.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseFrame {
    /// The author's membership.
    pub credential: Credential,
    /// A sealed [`Command`] (from a coordinator) or [`Answer`] (from a host).
    pub sealed: Sealed,
}
