//! What the machine asks the host to do, and how that ends. Acts are started; they end as an event with their id.

use serde::{Deserialize, Serialize};

use super::{HookPoint, compare::Comparison, gate::Gate, journal::Journal, message::Refusal, message::Resolution};
use crate::{
    id::{CommandId, LeaseId, RolloutId, SnapshotId},
    inventory::Transaction,
    patch::{
        Approval, Baseline, PatchCounters,
        compliance::HostReport,
        sighting::{Seen, Sighting},
        snapshot::Snapshot,
    },
    rollout::{Operation, RebootOption},
    schedule::Opening,
    time::{BootTime, Now, WallTime},
};

/// Names one started act in one life of the machine. Acts of an earlier life end nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActId(pub u64);

/// Something that takes time. The shell starts it and sends [`super::machine::Event::Ended`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Ask the package manager what it would do. Changes nothing. Ends as [`ActEnd::Resolved`].
    Resolve {
        /// Of the request.
        request: CommandId,
        /// Against what.
        baseline: Baseline,
    },
    /// Keep the snapshot, and for an Install ask the package manager what it would do by it. Changes no package. Ends as
    /// [`ActEnd::Resolved`].
    ResolveBy {
        /// Of the request.
        request: CommandId,
        /// What it is for.
        operation: Operation,
        /// What is approved.
        snapshot: Box<Snapshot>,
        /// Snapshots of leases that are held or offered: these are not forgotten for it.
        held: Vec<SnapshotId>,
    },
    /// Read the host's current report. Ends as [`ActEnd::Patches`].
    Patches,
    /// Read when the host first met the versions that it is offered. Ends as [`ActEnd::Sightings`].
    Sightings,
    /// Ask a service's probe. Changes nothing. Ends as [`ActEnd::Probed`].
    Probe {
        /// Which.
        probe: Gate,
    },
    /// Of a Scan: whether the host could be judged. Of an Install also: whether its gates can be asked here; simulate again and
    /// compare with the lease's transaction. Changes nothing. Ends as [`ActEnd::Checked`].
    Check {
        /// Of the lease.
        operation: Operation,
        /// Against what.
        baseline: Approval,
        /// What the plan froze.
        transaction: Transaction,
        /// Of the lease.
        gates: Vec<Gate>,
    },
    /// Run the hooks of one point in name order. Ends as [`ActEnd::Hooks`].
    Hooks {
        /// Which folder.
        point: HookPoint,
        /// For `PATCHMESH_ROLLOUT`.
        rollout: RolloutId,
        /// For `PATCHMESH_ATTEMPT`: grows whenever a hook of this host may run again for the same rollout.
        attempt: u32,
        /// Time-out of every single hook, in seconds.
        timeout: u32,
        /// What the shell checks as its last act before the first hook; `None` for hooks that are not disruptive.
        guard: Option<Guard>,
    },
    /// Start a runner with exactly this transaction and wait for its result. Ends as [`ActEnd::Transaction`].
    Transaction {
        /// The lease: names the runner's folder.
        lease: LeaseId,
        /// 1, or more if an earlier runner provably never started; names the runner's folder too.
        attempt: u32,
        /// Says from which repositories.
        baseline: Approval,
        /// What to install.
        transaction: Transaction,
        /// What the runner checks as its last act.
        guard: Guard,
        /// Whether to note first which units have failed: a gate asks for new ones.
        note_units: bool,
    },
    /// Find the runner of an earlier life: wait for its end, read its result, or find that it is dead. A runner that has not
    /// started yet must be kept from starting for ever. Ends as [`ActEnd::Adopted`].
    Adopt {
        /// The lease.
        lease: LeaseId,
        /// Of the [`Act::Transaction`].
        attempt: u32,
    },
    /// After a runner died without a result or left the package database unclean: audit, repair if dirty, re-scan. Ends as
    /// [`ActEnd::Repaired`], whose verdict is [`Verdict::Ok`] if and only if the database is sound and the package set exactly
    /// what the transaction leaves.
    Repair {
        /// The lease.
        lease: LeaseId,
        /// Of the [`Act::Transaction`].
        attempt: u32,
        /// Says from which repositories.
        baseline: Approval,
        /// What should have been installed, and all that a repair may install.
        transaction: Transaction,
        /// What went wrong, to be told if the repair does not mend it.
        because: String,
    },
    /// Reboot. Ends as [`ActEnd::Reboot`], or with the process.
    Reboot {
        /// What the shell checks as its last act.
        guard: Guard,
    },
    /// Scan and compare. Changes nothing. Ends as [`ActEnd::Verified`].
    Verify {
        /// The lease: names the folder with the package set before the transaction.
        lease: LeaseId,
        /// For the report.
        operation: Operation,
        /// When it began.
        started: WallTime,
        /// Whether it was to reboot the host.
        reboot: RebootOption,
        /// For the counters.
        baseline: Approval,
        /// What must have changed; empty if nothing may have been installed.
        expected: Transaction,
        /// Whether the operation did its work, so that what is found replaces the host's report: a Scan looks, an Install has tried
        /// its transaction. A run that ended before that leaves the earlier report in place.
        keep: bool,
    },
    /// Ask the gates in their order, up to the first that is not passed. Changes nothing, so that it may be done again. Ends as
    /// [`ActEnd::Gates`].
    Gates {
        /// The lease: names the folder that keeps what is printed, and what was noted before the transaction.
        lease: LeaseId,
        /// For `PATCHMESH_ROLLOUT`.
        rollout: RolloutId,
        /// Of the phase verify; for `PATCHMESH_ATTEMPT`.
        attempt: u32,
        /// Which.
        gates: Vec<Gate>,
    },
}

/// What is checked once more as the last act before a disruptive step: the save before it may have taken long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Guard {
    /// No STOP may cover it.
    pub rollout: RolloutId,
    /// Must admit a step, by the wall clock.
    pub opening: Opening,
    /// Latest start, by time since boot.
    pub latest: BootTime,
    /// Its slot must not have been released. `None` in what a daemon of an earlier release left for its runner.
    #[serde(default)]
    pub lease: Option<LeaseId>,
}

impl Guard {
    /// Why the step must not begin now: a stable word and a sentence. `journal`: what the host has saved.
    pub fn refuses(&self, journal: &Journal, now: Now) -> Option<(&'static str, String)> {
        if journal.stopped(self.rollout) {
            Some(("stopped", String::from("a STOP was saved just before it was to start")))
        } else if self.lease.is_some_and(|lease| journal.released(lease)) {
            Some(("released", String::from("its slot was released just before it was to start")))
        } else if !self.opening.admits_step(now.wall) {
            let (wall, closes) = (now.wall.rfc3339(), self.opening.closes.rfc3339());
            Some(("outside-opening", format!("{wall} is outside the opening that ends {closes}")))
        } else if now.boot > self.latest {
            let late = now.boot.since(self.latest).as_secs();
            Some(("past-deadline", format!("its latest start was {late} s ago")))
        } else {
            None
        }
    }
}

/// How an act ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ActEnd {
    /// Of [`Act::Resolve`] and [`Act::ResolveBy`].
    Resolved(Result<Resolution, Refusal>),
    /// Of [`Act::Patches`].
    Patches(Result<Box<HostReport>, Refusal>),
    /// Of [`Act::Sightings`].
    Sightings(Vec<(Seen, Sighting)>),
    /// Of [`Act::Probe`]: whether it is passed, or in one line why not.
    Probed(Result<(), String>),
    /// Of [`Act::Check`].
    Checked(Result<(), Refusal>),
    /// Of [`Act::Hooks`].
    Hooks(HooksEnd),
    /// Of [`Act::Transaction`].
    Transaction(TransactionEnd),
    /// Of [`Act::Adopt`].
    Adopted(Adoption),
    /// Of [`Act::Reboot`]: accepted, or why not. Accepted is no proof: only a changed boot id is.
    Reboot(Result<(), String>),
    /// Of an act with a [`Guard`] that refused: nothing was begun.
    Declined {
        /// As the guard's codes, e.g. `stopped`.
        code: String,
        /// Why.
        text: String,
    },
    /// Of [`Act::Verify`]; the error says why it could not be seen what is installed.
    Verified(Result<Looked, String>),
    /// Of [`Act::Repair`]. What it left unclean stays so: it is not tried again.
    Repaired(TransactionEnd),
    /// Of [`Act::Gates`]: which gate was not passed and why, and what was seen.
    Gates(HooksEnd),
}

/// How the hooks of one point, or the gates, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HooksEnd {
    /// Which failed and how; `None` if all that were there succeeded.
    pub error: Option<String>,
    /// Whether that one was killed because its time was over.
    pub timed_out: bool,
    /// What they printed, capped.
    pub output: String,
}

/// What a runner did.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Every step ended with 0.
    Ok,
    /// A step failed; the text says which and how.
    Failed(String),
    /// The runner's own last check refused, and nothing was run.
    Declined {
        /// As the guard's codes, e.g. `stopped`.
        code: String,
        /// Why.
        text: String,
    },
}

/// How a transaction ended, and what it left.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionEnd {
    /// What the runner did.
    pub verdict: Verdict,
    /// Tail of the package manager's output.
    pub output: String,
    /// Whether a package asked for a reboot.
    pub reboot_required: bool,
    /// What is wrong with the package database; `None` if nothing is. A dirty database is never rebooted on.
    pub dirty: Option<String>,
}

/// What became of the runner of an earlier life.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Adoption {
    /// It has a result; it may have run until just now.
    Finished(TransactionEnd),
    /// It never started and never will.
    NeverStarted,
    /// It started and is gone without a result.
    Dead,
}

/// What [`Act::Verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Looked {
    /// What is stored and reported.
    pub verified: Verified,
    /// What people should know of how it was found, one per line: repositories that could not be reached, why there is no report.
    pub notes: Vec<String>,
}

impl From<Verified> for Looked {
    fn from(verified: Verified) -> Self {
        Self { verified, notes: Vec::new() }
    }
}

/// What a scan after the work found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verified {
    /// What changed, and what differs from what was expected.
    pub comparison: Comparison,
    /// Against the lease's baseline.
    pub counters: PatchCounters,
    /// What is wrong with the package database, if anything.
    pub dirty: Option<String>,
}
