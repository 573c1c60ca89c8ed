//! The state of one installed package (spec 3.1, 3.3): judged by baseline and version only. What keeps a version from being
//! installed is said beside it.

use core::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::{Automatic, Baseline, Candidate};
use crate::inventory::deb;

/// The state of a patch on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PatchState {
    /// Approved and present.
    Installed,
    /// Present, not approved.
    InstalledOther,
    /// Approved and not present.
    Missing,
}

impl PatchState {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "Installed",
            Self::InstalledOther => "InstalledOther",
            Self::Missing => "Missing",
        }
    }
}

/// What keeps a missing version from being installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Blocked {
    /// An administrator put the package on hold.
    Hold,
    /// A pin makes the package manager prefer another version.
    Pin,
    /// The archive hands the version out in phases and this host is not in yet.
    Phased,
    /// The resolver keeps it back: its dependencies cannot be met, or it would be removed.
    KeptBack,
}

impl Blocked {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Pin => "pin",
            Self::Phased => "phased",
            Self::KeptBack => "keptBack",
        }
    }

    /// What it means, as a fragment for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Hold => "the package is on hold",
            Self::Pin => "a pin keeps another version",
            Self::Phased => "it is handed out in phases and this host is not in yet",
            Self::KeptBack => "apt keeps the installed version back",
        }
    }
}

/// What the package manager's own simulation says of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager<'a> {
    /// It would install this version over the installed one.
    Chose(&'a str),
    /// It sees a better version and keeps the installed one.
    KeptBack,
    /// It keeps the installed one because of phasing.
    Phased,
    /// It would remove the package.
    Removes,
    /// It sees nothing better.
    Silent,
}

/// The state of a package and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement<'a> {
    /// By baseline and version.
    pub state: PatchState,
    /// The version that is missing; `None` if none is.
    pub available: Option<&'a str>,
    /// What keeps it from being installed; `None` if nothing does, or nothing is missing.
    pub blocked: Option<Blocked>,
}

/// The newest of `candidates` that `baseline` approves over `installed`, pins and holds not looked at.
pub fn newest<'a>(baseline: Baseline, installed: &str, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
    // A package that is newer than all of the usual archives came from one that offers upgrades only to its own.
    let came_from_elsewhere = !candidates
        .iter()
        .any(|candidate| candidate.automatic == Automatic::Yes && deb::compare(&candidate.version, installed).is_ge());
    candidates
        .iter()
        .filter(|candidate| baseline == Baseline::All || candidate.security)
        .filter(|candidate| match candidate.automatic {
            Automatic::Yes => true,
            Automatic::Upgrades => came_from_elsewhere,
            Automatic::No => false,
        })
        .filter(|candidate| deb::compare(&candidate.version, installed) == Ordering::Greater)
        // `max_by` takes the last of equals; the first archive in the host's own order shall win.
        .rev()
        .max_by(|a, b| deb::compare(&a.version, &b.version))
}

/// Judges one installed package. `manager` is what a simulation of everything says; it decides `blocked`, and under the
/// baseline `all` also which version is available.
pub fn judge<'a>(
    baseline: Baseline,
    installed: &'a str,
    hold: bool,
    candidates: &'a [Candidate],
    manager: Manager<'a>,
) -> Judgement<'a> {
    if let (Baseline::All, Manager::Chose(version)) = (baseline, manager) {
        return Judgement { state: PatchState::Missing, available: Some(version), blocked: None };
    }
    let Some(missing) = newest(baseline, installed, candidates) else {
        let approved = baseline == Baseline::All
            || candidates.iter().any(|candidate| candidate.security && candidate.version == installed);
        let state = if approved { PatchState::Installed } else { PatchState::InstalledOther };
        return Judgement { state, available: None, blocked: None };
    };
    let blocked = blocked(hold, missing, manager);
    Judgement { state: PatchState::Missing, available: Some(&missing.version), blocked }
}

/// What keeps `missing` from being installed; `None` if nothing does. `manager` is what a simulation of everything says of its
/// package, and `hold` whether that is on hold.
pub fn blocked(hold: bool, missing: &Candidate, manager: Manager<'_>) -> Option<Blocked> {
    match manager {
        _ if hold => Some(Blocked::Hold),
        Manager::Chose(version) if deb::compare(version, &missing.version).is_ge() => None,
        Manager::Chose(_) | Manager::Silent => Some(Blocked::Pin),
        Manager::Phased => Some(Blocked::Phased),
        Manager::KeptBack if missing.phased.is_some_and(|percent| percent < 100) => Some(Blocked::Phased),
        Manager::KeptBack | Manager::Removes => Some(Blocked::KeptBack),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(version: &str, security: bool) -> Candidate {
        Candidate { version: version.into(), security, ..Candidate::default() }
    }

    fn say<'a>(baseline: Baseline, hold: bool, candidates: &'a [Candidate], manager: Manager<'a>) -> String {
        let judged = judge(baseline, "1.0", hold, candidates, manager);
        let blocked = judged.blocked.map_or("free", Blocked::as_str);
        format!("{} {} {blocked}", judged.state.as_str(), judged.available.unwrap_or("-"))
    }

    #[test]
    fn what_the_manager_chose_is_missing_and_free() {
        let offers = [candidate("2.0", false), candidate("3.0", false)];
        assert_eq!(say(Baseline::All, false, &offers, Manager::Chose("2.0")), "Missing 2.0 free");
        assert_eq!(say(Baseline::All, false, &[], Manager::Chose("1.0")), "Missing 1.0 free");
    }

    #[test]
    fn a_newer_version_that_the_manager_does_not_choose_is_missing_and_blocked() {
        let offers = [candidate("2.0", false)];
        let phased = [Candidate { phased: Some(10), ..candidate("2.0", false) }];
        for (hold, offers, manager, expected) in [
            (true, &offers, Manager::KeptBack, "Missing 2.0 hold"),
            (false, &offers, Manager::Silent, "Missing 2.0 pin"),
            (false, &offers, Manager::KeptBack, "Missing 2.0 keptBack"),
            (false, &offers, Manager::Removes, "Missing 2.0 keptBack"),
            (false, &offers, Manager::Phased, "Missing 2.0 phased"),
            (false, &phased, Manager::KeptBack, "Missing 2.0 phased"),
        ] {
            assert_eq!(say(Baseline::All, hold, offers, manager), expected);
        }
    }

    #[test]
    fn nothing_newer_is_installed_and_a_hold_on_it_blocks_nothing() {
        let offers = [candidate("1.0", false), candidate("0.9", false)];
        assert_eq!(say(Baseline::All, true, &offers, Manager::Silent), "Installed - free");
        assert_eq!(say(Baseline::All, false, &[], Manager::Silent), "Installed - free");
    }

    #[test]
    fn security_takes_the_newest_security_version_below_a_newer_usual_one() {
        let offers = [candidate("3.0", false), candidate("2.0", true), candidate("1.5", true)];
        assert_eq!(say(Baseline::Security, false, &offers, Manager::Chose("3.0")), "Missing 2.0 free");
        assert_eq!(say(Baseline::Security, false, &offers, Manager::Chose("1.5")), "Missing 2.0 pin");
    }

    #[test]
    fn security_calls_a_version_from_elsewhere_other() {
        assert_eq!(
            say(Baseline::Security, false, &[candidate("2.0", false)], Manager::Chose("2.0")),
            "InstalledOther - free"
        );
        assert_eq!(say(Baseline::Security, false, &[candidate("1.0", true)], Manager::Silent), "Installed - free");
    }

    #[test]
    fn an_archive_that_does_not_want_to_be_chosen_is_not_missed() {
        let not_automatic = |version: &str, automatic| Candidate { automatic, ..candidate(version, false) };
        let experimental = [candidate("1.0", false), not_automatic("9", Automatic::No)];
        assert_eq!(say(Baseline::All, false, &experimental, Manager::Silent), "Installed - free");
        let backports = [candidate("1.0", false), not_automatic("2.0", Automatic::Upgrades)];
        assert_eq!(say(Baseline::All, false, &backports, Manager::Silent), "Installed - free");
        let from_backports = [candidate("0.5", false), not_automatic("2.0", Automatic::Upgrades)];
        assert_eq!(say(Baseline::All, true, &from_backports, Manager::KeptBack), "Missing 2.0 hold");
    }

    #[test]
    fn of_equal_versions_the_first_archive_wins() {
        let offers = [
            Candidate { archive: Some("first".into()), ..candidate("2.0", false) },
            Candidate { archive: Some("second".into()), ..candidate("2.0", false) },
        ];
        assert_eq!(newest(Baseline::All, "1.0", &offers).unwrap().archive.as_deref(), Some("first"));
    }
}
