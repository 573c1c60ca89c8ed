//! What operators keep beside rollouts, in the coordinator's files: the ledger says who asked for it before a file changes.

use serde::{Deserialize, Serialize};

/// What is kept under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A patch baseline.
    Baseline,
    /// A maintenance window.
    Window,
    /// A patch policy.
    Policy,
}

impl Kind {
    /// What people call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Window => "window",
            Self::Policy => "policy",
        }
    }
}

/// BLAKE3 of a manifest as its file has it.
pub type Digest = [u8; 32];

/// What somebody is about to change. Whoever says so has judged it: names keep their limits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Intent {
    /// Something is kept under a name that nothing had.
    Created {
        /// Of this kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// What is kept.
        digest: Digest,
    },
    /// Something else is kept under the name.
    Replaced {
        /// Of this kind.
        kind: Kind,
        /// Its name.
        name: String,
        /// What is kept from now on.
        digest: Digest,
    },
    /// Nothing is kept under the name any more.
    Deleted {
        /// Of this kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// A patch group gets a baseline.
    Registered {
        /// The group.
        group: String,
        /// The baseline's name.
        baseline: String,
    },
    /// A patch group has this baseline no more.
    Deregistered {
        /// The group.
        group: String,
        /// The baseline's name.
        baseline: String,
    },
    /// A baseline becomes the default of its operating system.
    MadeDefault {
        /// The baseline's name.
        baseline: String,
    },
}

/// The digest of a manifest.
pub fn digest(manifest: &str) -> Digest {
    *blake3::hash(manifest.as_bytes()).as_bytes()
}
