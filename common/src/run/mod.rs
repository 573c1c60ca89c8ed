//! One host's patch run: what the coordinator and the host say to each other, and the machine that obeys.
//!
//! [`machine::PatchRun`] is a fold of its [`journal`]. Whatever it does next, after a step, after a restart or after a reboot,
//! comes from one table ([`recovery`]) over the last stored phase: there is no other recovery.

pub mod act;
pub mod compare;
pub mod frame;
pub mod gate;
mod guard;
mod handshake;
pub mod journal;
pub mod machine;
pub mod message;
mod phases;
pub mod recovery;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

/// The phases of a run, in order. A run never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// `Go` was accepted and saved; nothing has begun.
    Granted,
    /// Pre-install hooks. Disruptive.
    PreInstall,
    /// The package manager at work. Disruptive.
    Transaction,
    /// Post-install hooks. Disruptive.
    PostInstall,
    /// The reboot. Disruptive.
    Reboot,
    /// Post-reboot hooks; only after a reboot.
    PostReboot,
    /// Scanning to see what is really installed.
    Verify,
    /// On-exit hooks; always, once pre-install has begun.
    OnExit,
    /// The outcome is fixed and saved.
    Settled,
}

impl Phase {
    /// Whether the phase may only begin inside an opening, before its deadline, and under no STOP.
    pub fn is_disruptive(self) -> bool {
        matches!(self, Self::PreInstall | Self::Transaction | Self::PostInstall | Self::Reboot)
    }

    /// The word in reports and hook environments.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::PreInstall => "pre-install",
            Self::Transaction => "transaction",
            Self::PostInstall => "post-install",
            Self::Reboot => "reboot",
            Self::PostReboot => "post-reboot",
            Self::Verify => "verify",
            Self::OnExit => "on-exit",
            Self::Settled => "settled",
        }
    }
}

/// The code of a run in which a hook ended badly, could not be run, or may not be.
pub const HOOK_FAILED: &str = "hook-failed";
/// The code of a run in which a hook ran out of its time.
pub const HOOK_TIMED_OUT: &str = "hook-timed-out";
/// The code of a run whose step was begun as often as is allowed and never ended, because the daemon died in it.
pub const INTERRUPTED: &str = "interrupted";

/// Where hooks are attached to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookPoint {
    /// Before anything is changed; a failure means no install.
    PreInstall,
    /// After the transaction; a failure means no reboot.
    PostInstall,
    /// After a reboot.
    PostReboot,
    /// At the end, whatever happened, once pre-install has begun.
    OnExit,
}

impl HookPoint {
    /// The name of the hook folder and the word in `PATCHMESH_PHASE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PostReboot => "post-reboot",
            Self::OnExit => "on-exit",
        }
    }
}
