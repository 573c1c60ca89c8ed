//! The recovery table: what comes next after every stored value. A run that was never interrupted walks the same table.
//!
//! "Same" and "new" compare the boot of the stored entry with the present one. `done` of the reboot is stored by the new boot.
//!
//! | last stored | same boot | new boot |
//! |---|---|---|
//! | granted | pre-install | barred |
//! | pre-install begun | again | ended as deferred |
//! | pre-install done | transaction | barred |
//! | pre-install failed | verify | verify |
//! | transaction begun | adopt the runner | adopt the runner |
//! | transaction done | post-install | barred |
//! | transaction failed | verify | verify |
//! | post-install begun | again | ended as failed |
//! | post-install done | reboot | barred |
//! | post-install failed | verify | verify |
//! | reboot begun | ask again, at most [`MAX_ATTEMPTS`] times | proven: done |
//! | reboot done | post-reboot | post-reboot |
//! | reboot failed | verify | verify |
//! | post-reboot begun | again | again |
//! | post-reboot done, failed | verify | verify |
//! | verify begun | again | again |
//! | verify done, failed | on-exit | on-exit |
//! | on-exit begun | again | again |
//! | on-exit done, failed | settled | settled |
//! | settled | report | report |
//!
//! Gates belong to verify: a restart while they are asked verifies again, then asks them again.
//!
//! A runner that is dead, or has left the package database unclean, is followed by a repair within the same phase, so that what
//! comes next never meets the damage unmended or unsaid.
//!
//! The lease and earlier faults narrow this down ([`next`]): a Scan goes from granted to verify; after any fault a disruptive
//! phase is replaced by verify; without a reboot to do, post-install is followed by verify; on-exit only follows if
//! pre-install has begun. A reboot at a time that has not come is begun when it comes: until then post-install done is the last
//! stored value, and a restart waits on. "Again" is tried at most [`MAX_ATTEMPTS`] times in all, then the phase has failed.

use super::{Phase, journal::Run};
use crate::{id::BootId, rollout::Operation};

/// How often one phase of one run may begin: a hook that takes the host down with it must not do so for ever.
pub const MAX_ATTEMPTS: u32 = 3;

/// How far a phase came, as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its begin is stored, its end is not.
    Begun,
    /// It ended well.
    Done,
    /// It ended badly.
    Failed,
}

/// The present boot, seen from the stored entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Boot {
    /// The boot in which the entry was stored.
    Same,
    /// Another one.
    New,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// Begin this phase for the first time.
    Begin(Phase),
    /// Begin this phase once more.
    Again(Phase),
    /// Find out what became of the runner.
    Adopt,
    /// The boot id has changed: the reboot is done.
    ProveReboot,
    /// The phase cannot be finished after a boot that was not ours: it has failed.
    Interrupt,
    /// Nothing disruptive begins any more, because deadlines cannot be proven across a boot that was not ours.
    Bar,
    /// Fix the outcome.
    Settle,
    /// Report until acknowledged.
    Report,
}

/// The table itself.
pub fn row(phase: Phase, stage: Stage, boot: Boot) -> Next {
    use {Boot::*, Stage::*};
    match (phase, stage, boot) {
        (Phase::Granted, _, Same) => Next::Begin(Phase::PreInstall),
        (Phase::Granted, _, New) => Next::Bar,
        (Phase::PreInstall, Begun, Same) => Next::Again(Phase::PreInstall),
        (Phase::PreInstall, Begun, New) => Next::Interrupt,
        (Phase::PreInstall, Done, Same) => Next::Begin(Phase::Transaction),
        (Phase::PreInstall, Done, New) => Next::Bar,
        (Phase::PreInstall, Failed, _) => Next::Begin(Phase::Verify),
        (Phase::Transaction, Begun, _) => Next::Adopt,
        (Phase::Transaction, Done, Same) => Next::Begin(Phase::PostInstall),
        (Phase::Transaction, Done, New) => Next::Bar,
        (Phase::Transaction, Failed, _) => Next::Begin(Phase::Verify),
        (Phase::PostInstall, Begun, Same) => Next::Again(Phase::PostInstall),
        (Phase::PostInstall, Begun, New) => Next::Interrupt,
        (Phase::PostInstall, Done, Same) => Next::Begin(Phase::Reboot),
        (Phase::PostInstall, Done, New) => Next::Bar,
        (Phase::PostInstall, Failed, _) => Next::Begin(Phase::Verify),
        (Phase::Reboot, Begun, Same) => Next::Again(Phase::Reboot),
        (Phase::Reboot, Begun, New) => Next::ProveReboot,
        (Phase::Reboot, Done, _) => Next::Begin(Phase::PostReboot),
        (Phase::Reboot, Failed, _) => Next::Begin(Phase::Verify),
        (Phase::PostReboot, Begun, _) => Next::Again(Phase::PostReboot),
        (Phase::PostReboot, Done | Failed, _) => Next::Begin(Phase::Verify),
        (Phase::Verify, Begun, _) => Next::Again(Phase::Verify),
        (Phase::Verify, Done | Failed, _) => Next::Begin(Phase::OnExit),
        (Phase::OnExit, Begun, _) => Next::Again(Phase::OnExit),
        (Phase::OnExit, Done | Failed, _) => Next::Settle,
        (Phase::Settled, _, _) => Next::Report,
    }
}

/// What `run` does next in the boot `present`.
pub fn next(run: &Run, present: BootId) -> Next {
    let boot = if run.last.boot_id == present { Boot::Same } else { Boot::New };
    let reboot = run.reboot_required && run.lease.reboot.reboots();
    match row(run.last.phase, run.last.stage, boot) {
        Next::Begin(Phase::PreInstall) | Next::Bar
            if run.last.phase == Phase::Granted && run.lease.operation == Operation::Scan =>
        {
            Next::Begin(Phase::Verify)
        }
        Next::Begin(_) | Next::Bar if run.last.phase == Phase::PostInstall && !reboot => Next::Begin(Phase::Verify),
        Next::Bar if run.fault.is_some() => Next::Begin(Phase::Verify),
        Next::Begin(phase) if phase.is_disruptive() && run.fault.is_some() => Next::Begin(Phase::Verify),
        Next::Begin(Phase::OnExit) if !run.pre_install_begun => Next::Settle,
        next => next,
    }
}
