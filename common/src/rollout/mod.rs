//! Intent and permission: what a rollout wants, and what the coordinator may grant.

pub mod limit;
pub mod spec;

use serde::{Deserialize, Serialize};

/// The only two operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Report what is missing, change nothing.
    Scan,
    /// Scan, install what is approved, reboot as asked.
    Install,
}

/// When a host reboots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RebootOption {
    /// Never; a pending reboot is reported.
    Never,
    /// If a package asked for it.
    IfNeeded,
}
