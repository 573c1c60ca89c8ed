//! Patches, baselines and states.

pub mod baseline;
pub mod candidate;
pub mod evaluation;
pub mod glob;
pub mod groups;
pub mod judge;
pub mod library;
pub mod overrides;
pub mod sighting;

pub use candidate::{Automatic, Candidate};
pub use judge::{Blocked, Judgement, Manager, PatchState, blocked, judge};
use serde::{Deserialize, Serialize};

/// Which patches are approved. `all` and `security` are built in.
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
