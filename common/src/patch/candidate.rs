//! A version that a repository offers for an installed package.

use serde::{Deserialize, Serialize};

use crate::time::WallTime;

/// Whether an archive wants its versions to be chosen by themselves (`NotAutomatic`, `ButAutomaticUpgrades` of its Release).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Automatic {
    /// The usual archive.
    #[default]
    Yes,
    /// Only for a package that already came from there, e.g. backports.
    Upgrades,
    /// Never, e.g. experimental.
    No,
}

impl Automatic {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Upgrades => "upgrades",
            Self::No => "no",
        }
    }
}

/// One version in one archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Candidate {
    /// Version in Debian's order.
    pub version: String,
    /// `Suite` of the archive's Release, e.g. `stable-security`.
    pub archive: Option<String>,
    /// `Origin` of the archive's Release.
    pub origin: Option<String>,
    /// `Label` of the archive's Release.
    pub label: Option<String>,
    /// Component, e.g. `main`; flat repositories have none.
    pub component: Option<String>,
    /// `Section` of the package.
    pub section: Option<String>,
    /// `Priority` of the package.
    pub priority: Option<String>,
    /// SHA-256 of the archive file in lower-case hex; `None` if the index has none.
    pub sha256: Option<String>,
    /// Bytes to download; `None` if the index does not say.
    pub download: Option<u64>,
    /// Bytes on disk once installed; `None` if the index does not say.
    pub unpacked: Option<u64>,
    /// Whether the archive is a security pocket.
    pub security: bool,
    /// Whether the archive wants to be chosen.
    pub automatic: Automatic,
    /// `Phased-Update-Percentage`, 0 to 100: fewer than 100 means that not every host shall have it yet.
    pub phased: Option<u8>,
    /// `Date` of the archive's Release, where that is signed.
    pub dated: Option<WallTime>,
}

/// Whether an archive is a security pocket (spec 2.5): its suite or codename holds the word, its label ends with it
/// (`Debian-Security`), or its host or path does (`security.debian.org`, `…/debian-security`).
///
/// A label that only begins with it is no pocket: public build services have projects of names like `security:tools`.
pub fn is_security(suite: Option<&str>, codename: Option<&str>, label: Option<&str>, site: Option<&str>) -> bool {
    let lower = |text: Option<&str>| text.unwrap_or_default().to_ascii_lowercase();
    let (label, site) = (lower(label), lower(site));
    let host = site.split_once("://").map_or(site.as_str(), |(_, rest)| rest);
    lower(suite).contains("security")
        || lower(codename).contains("security")
        || label.ends_with("security")
        || host.starts_with("security.")
        || host.trim_end_matches('/').ends_with("/debian-security")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_is_told_by_suite_label_or_site() {
        assert!(is_security(Some("stable-security"), None, None, None));
        assert!(is_security(None, Some("bookworm-security"), None, None));
        assert!(is_security(None, None, Some("Debian-Security"), None));
        assert!(is_security(None, None, None, Some("http://security.debian.org")));
        assert!(is_security(None, None, None, Some("http://mirror.example/debian-security")));
        assert!(!is_security(Some("stable"), Some("bookworm"), Some("Debian"), Some("http://mirror.example/debian")));
        assert!(!is_security(None, None, Some("security:tools"), Some("http://download.example.org/security:/tools")));
    }
}
