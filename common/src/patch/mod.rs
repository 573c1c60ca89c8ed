//! Patches, baselines and states.

pub mod baseline;
pub mod candidate;
pub mod compliance;
pub mod evaluation;
pub mod glob;
pub mod groups;
pub mod judge;
pub mod library;
pub mod overrides;
pub mod sighting;
pub mod snapshot;

pub use candidate::{Automatic, Candidate};
use core::fmt;
pub use judge::{Blocked, Judgement, Manager, PatchState, blocked, judge};

use serde::{Deserialize, Serialize};

use crate::id::SnapshotId;

/// Which patches are approved, where no baseline of the user's decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Baseline {
    /// Every newer version that the package manager would choose.
    All,
    /// Versions from a security archive only.
    Security,
}

impl Baseline {
    /// The word in manifests and flags.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Security => "security",
        }
    }
}

/// What a plan was resolved against, and what a lease is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// As [`Baseline::All`].
    All,
    /// As [`Baseline::Security`].
    Security,
    /// What was frozen under this id.
    Snapshot(SnapshotId),
}

impl From<Baseline> for Approval {
    fn from(baseline: Baseline) -> Self {
        match baseline {
            Baseline::All => Self::All,
            Baseline::Security => Self::Security,
        }
    }
}

impl Approval {
    /// The id of what was frozen, if something was.
    pub fn snapshot(self) -> Option<SnapshotId> {
        match self {
            Self::Snapshot(id) => Some(id),
            Self::All | Self::Security => None,
        }
    }
}

impl fmt::Display for Approval {
    /// The word in manifests and flags; of a snapshot its id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(Baseline::All.as_str()),
            Self::Security => f.write_str(Baseline::Security.as_str()),
            Self::Snapshot(id) => write!(f, "{id}"),
        }
    }
}

/// Counters of one host, for its gossiped record (spec 3.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PatchCounters {
    /// Approved and present.
    pub installed: u32,
    /// Present, not approved.
    pub installed_other: u32,
    /// Installed by a run, waiting for a reboot.
    pub installed_pending_reboot: u32,
    /// Approved and not present.
    pub missing: u32,
    /// Tried and not present.
    pub failed: u32,
    /// Missing and held back by a hold, a pin, phasing or the resolver.
    pub blocked: u32,
}
