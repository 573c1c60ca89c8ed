//! What a host says about itself: facts, packages, version order.

pub mod deb;
pub mod document;
#[cfg(test)]
mod oracle;
pub mod rpm;

use serde::{Deserialize, Serialize};

/// What kind of machine this is. Small, gossiped with every record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostFacts {
    /// `ID` of os-release, e.g. `debian`.
    pub os: String,
    /// `VERSION_ID` of os-release, e.g. `12`; empty if it has none (testing, unstable).
    pub os_version: String,
    /// Native architecture as the package manager names it, e.g. `amd64`.
    pub arch: String,
    /// Package manager: `apt`.
    pub manager: String,
    /// Version of the daemon.
    pub agent_version: String,
    /// Running kernel release.
    pub kernel: String,
}

/// One package version to be installed, exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageChange {
    /// Binary package name.
    pub name: String,
    /// Architecture of the package, `all` as it is.
    pub arch: String,
    /// Installed version before; `None` for a new package.
    pub from: Option<String>,
    /// Version to be installed.
    pub to: String,
    /// SHA-256 of the archive file in lower-case hex, as the signed index gives it.
    pub sha256: String,
}

/// A package that the transaction removes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageRemoval {
    /// Binary package name.
    pub name: String,
    /// Architecture of the package.
    pub arch: String,
    /// Installed version.
    pub version: String,
}

/// A closed transaction: what the host's own package manager said it would do, in full. Sorted by (name, arch).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Transaction {
    /// Upgrades and new packages, by (name, arch).
    pub changes: Vec<PackageChange>,
    /// Removals, by (name, arch). Empty unless removals were allowed.
    pub removals: Vec<PackageRemoval>,
}

/// Most packages in one transaction. A distribution upgrade of a full desktop has about 3,000.
pub const MAX_CHANGES: usize = 8192;

impl Transaction {
    /// Whether nothing would be done.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.removals.is_empty()
    }

    /// New packages: changes without a version before.
    pub fn new_packages(&self) -> impl Iterator<Item = &PackageChange> {
        self.changes.iter().filter(|change| change.from.is_none())
    }
}
