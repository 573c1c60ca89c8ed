//! What a baseline says of a host: the state of every patch, and why (spec 1.4 to 1.7, 2.1, 3).
//!
//! [`evaluate`] is a function of baseline, inventory and time. Pins, holds and phasing are not looked at: they are said beside
//! a state, not in it.

mod counters;
pub mod settle;
mod text;
pub mod verdict;

use std::collections::{BTreeMap, BTreeSet};

pub use counters::Summary;
use serde::{Deserialize, Serialize};
pub use verdict::{Ground, Judge, Verdict};

use super::{
    Automatic,
    baseline::{Checked, ComplianceLevel, Family, OperatingSystem, RejectedAction},
};
use crate::{
    inventory::document::{Host, Inventory, Offer, Package, Requirement},
    time::WallTime,
};

/// The state of a patch on a host (spec 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Approved and present.
    Installed,
    /// Present, not approved.
    InstalledOther,
    /// Installed by a run since the host started.
    InstalledPendingReboot,
    /// Present, rejected, and rejected patches are blocked.
    InstalledRejected,
    /// Approved and not present.
    Missing,
    /// Approved, tried, and not present.
    Failed,
    /// Approved, and the host could not have it. Listed on Windows only.
    NotApplicable,
    /// A security update of Windows that is not approved.
    AvailableSecurityUpdate,
}

impl State {
    /// Every state, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Installed,
        Self::InstalledOther,
        Self::InstalledPendingReboot,
        Self::InstalledRejected,
        Self::Missing,
        Self::Failed,
        Self::NotApplicable,
        Self::AvailableSecurityUpdate,
    ];

    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Installed => "Installed",
            Self::InstalledOther => "InstalledOther",
            Self::InstalledPendingReboot => "InstalledPendingReboot",
            Self::InstalledRejected => "InstalledRejected",
            Self::Missing => "Missing",
            Self::Failed => "Failed",
            Self::NotApplicable => "NotApplicable",
            Self::AvailableSecurityUpdate => "AvailableSecurityUpdate",
        }
    }
}

/// Why a patch has its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A stable kebab-case word.
    pub code: &'static str,
    /// A lower-case fragment for people.
    pub text: String,
    /// The rule that decided, from 1; `None` if none did.
    pub rule: Option<u32>,
    /// When the gate opens that keeps the patch from being approved.
    pub opens_at: Option<WallTime>,
    /// The rule has a date gate, and that does not count on this operating system.
    pub ignored_date_gate: bool,
}

/// One patch of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Installed version; `None` if it is not installed.
    pub installed: Option<String>,
    /// The newer version that is missing, or that the reason speaks of; `None` if none is newer.
    pub available: Option<String>,
    /// Its state.
    pub state: State,
    /// The level that came with the approval.
    pub level: ComplianceLevel,
    /// Kind of update of what is not as it should be; `None` elsewhere (spec 3.1).
    pub classification: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Everything that a baseline says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evaluation {
    /// By (name, arch, installed).
    pub rows: Vec<Row>,
    /// Approved patches that are not listed because the host does not have what they patch.
    pub not_applicable: u32,
}

/// A baseline cannot judge a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is for another operating system.
    #[error("baseline {baseline} is for {expected}, and the host's operating system is {os}", expected = expected.as_str())]
    OtherSystem {
        /// The baseline.
        baseline: String,
        /// What it is for.
        expected: OperatingSystem,
        /// What the host says of itself.
        os: String,
    },
    /// The host does not say what it is.
    #[error("the inventory does not say the host's operating system")]
    Unknown,
}

/// Whether `baseline` can judge `host`.
///
/// # Errors
/// If it is for another operating system, or the host does not say what it is.
pub fn fits(baseline: &Checked, host: &Host) -> Result<(), Mismatch> {
    let os = host.os.as_deref().filter(|os| !os.is_empty()).ok_or(Mismatch::Unknown)?;
    if host.operating_system().is_some_and(|host| baseline.os.judges(host)) {
        return Ok(());
    }
    let version = host.os_version.as_deref().unwrap_or_default();
    let os = format!("{os} {version}").trim_end().to_owned();
    Err(Mismatch::OtherSystem { baseline: baseline.name.clone(), expected: baseline.os, os })
}

/// Judges every package of `inventory` by `baseline` at the instant `at`.
///
/// # Errors
/// If the baseline is for another operating system.
pub fn evaluate(baseline: &Checked, inventory: &Inventory, at: WallTime) -> Result<Evaluation, Mismatch> {
    let host = &inventory.host;
    fits(baseline, host)?;
    let product = host.product_of(baseline.os);
    let mut named = BTreeMap::<_, Vec<_>>::new();
    if baseline.action == RejectedAction::Block && !baseline.rejected.is_empty() {
        for package in &inventory.packages {
            named.entry(package.name.as_str()).or_default().push(package);
        }
    }
    let newest = newest_installed(baseline, inventory);
    let bench = Bench { judge: Judge { baseline, product: &product, at }, newest, named };
    let mut evaluation = Evaluation { rows: Vec::new(), not_applicable: 0 };
    let mut wanted = BTreeMap::new();
    for package in &inventory.packages {
        match bench.row(package) {
            Judged::Row(row, chosen) => {
                for needed in chosen.iter().flat_map(|offer| &offer.requires) {
                    wanted.entry(needed.name.as_str()).or_insert_with(|| row.name.clone());
                }
                evaluation.rows.push(*row);
            }
            Judged::NotApplicable => evaluation.not_applicable += 1,
            Judged::Nothing => {}
        }
    }
    if baseline.action == RejectedAction::AllowAsDependency {
        for row in evaluation.rows.iter_mut().filter(|row| row.reason.code == "rejected") {
            if let Some(by) = wanted.get(row.name.as_str()) {
                row.reason.text.push_str(&format!("; it may come as a dependency of {by}"));
            }
        }
    }
    evaluation.rows.sort_by(|a, b| (&a.name, &a.arch, &a.installed).cmp(&(&b.name, &b.arch, &b.installed)));
    Ok(evaluation)
}

/// The newest installed version per (name, arch): some packages, e.g. kernels, are installed in several.
fn newest_installed<'a>(baseline: &Checked, inventory: &'a Inventory) -> BTreeMap<(&'a str, &'a str), &'a str> {
    let mut newest = BTreeMap::new();
    for package in &inventory.packages {
        if let Some(version) = package.installed.as_deref() {
            let known = newest.entry((package.name.as_str(), package.arch.as_str())).or_insert(version);
            if baseline.os.family().order(version, known).is_gt() {
                *known = version;
            }
        }
    }
    newest
}

enum Judged<'a> {
    /// A row, and what shall be installed.
    Row(Box<Row>, Option<&'a Offer>),
    /// Approved, not applicable, and not listed.
    NotApplicable,
    /// Nothing to say.
    Nothing,
}

struct Bench<'a> {
    judge: Judge<'a>,
    newest: BTreeMap<(&'a str, &'a str), &'a str>,
    /// By name, where a requirement may be blocked.
    named: BTreeMap<&'a str, Vec<&'a Package>>,
}

impl Bench<'_> {
    fn family(&self) -> Family {
        self.judge.baseline.os.family()
    }

    fn row<'a>(&self, package: &'a Package) -> Judged<'a> {
        match &package.installed {
            Some(installed) => self.present(package, installed),
            None => self.absent(package),
        }
    }

    /// Something that is installed.
    fn present<'a>(&self, package: &'a Package, installed: &str) -> Judged<'a> {
        let own = self.own(package, installed);
        let own_verdict = self.judge.verdict(package, &own);
        let newer = self.newer(package, installed);
        let judged: Vec<_> = newer.iter().map(|offer| (*offer, self.judge.verdict(package, offer))).collect();
        if let Some((offer, verdict)) = judged.iter().find(|(_, verdict)| verdict.approves()) {
            return self.missing(package, offer, verdict);
        }
        let state = match (own_verdict.approves(), own_verdict.rejects(), self.judge.baseline.action) {
            (true, ..) => State::Installed,
            (_, true, RejectedAction::Block) => State::InstalledRejected,
            _ => State::InstalledOther,
        };
        // What opens soonest says most; then why the installed version is approved or rejected; then why the newest is not.
        let waiting = judged.iter().filter_map(|(offer, verdict)| match verdict.ground {
            Ground::Waiting { opens_at, .. } => Some((opens_at, *offer, verdict)),
            _ => None,
        });
        let waiting = waiting.min_by_key(|(opens_at, ..)| *opens_at).map(|(_, offer, verdict)| (offer, verdict));
        let newest = judged.first().map(|(offer, verdict)| (*offer, verdict));
        let decided = own_verdict.rejects() || (waiting.is_none() && own_verdict.approves());
        let spoken = if decided { None } else { waiting.or(newest) };
        let available = spoken.or(newest).map(|(offer, _)| offer.version.clone());
        let (version, verdict) = spoken.map_or((installed, &own_verdict), |(offer, verdict)| (&offer.version, verdict));
        let reason = text::reason(self.judge.baseline, &verdict.ground, version);
        let level = if state == State::Installed { own_verdict.level } else { ComplianceLevel::Unspecified };
        let classification = (state == State::InstalledRejected).then(|| self.classification(&own)).flatten();
        let row = Row { available, state, level, classification, reason, ..row_of(package) };
        Judged::Row(Box::new(row), None)
    }

    fn missing<'a>(&self, package: &'a Package, offer: &'a Offer, verdict: &Verdict) -> Judged<'a> {
        let baseline = self.judge.baseline;
        let mut reason = text::reason(baseline, &verdict.ground, &offer.version);
        let blocks = baseline.action == RejectedAction::Block;
        let needed = |needed: &Requirement| self.offered(needed);
        if let Some((name, entry)) = self.judge.rejected_requirement(offer, needed).filter(|_| blocks) {
            reason.code = "needs-rejected";
            reason.text = format!("{}, but it needs {name}, which {entry:?} of the rejected list blocks", reason.text);
        }
        let row = Row {
            available: Some(offer.version.clone()),
            state: State::Missing,
            level: verdict.level,
            classification: self.classification(offer),
            reason,
            ..row_of(package)
        };
        Judged::Row(Box::new(row), Some(offer))
    }

    /// The version that a requirement names, as a repository offers it.
    fn offered(&self, needed: &Requirement) -> Option<(&Package, &Offer)> {
        let packages = self.named.get(needed.name.as_str())?.iter();
        let same = |offer: &&Offer| self.family().order(&offer.version, &needed.version).is_eq();
        let mut fitting = packages.filter(|package| package.arch == needed.arch);
        fitting.find_map(|package| Some((*package, package.candidates.iter().find(same)?)))
    }

    /// Something that is not installed. On Linux that only counts: nothing new is ever installed for its own sake (spec 2.1).
    fn absent<'a>(&self, package: &'a Package) -> Judged<'a> {
        let family = self.family();
        let mut offers: Vec<_> = package.candidates.iter().collect();
        offers.sort_by(|a, b| family.order(&b.version, &a.version));
        let judged: Vec<_> = offers.iter().map(|offer| (*offer, self.judge.verdict(package, offer))).collect();
        let Some((newest, newest_verdict)) = judged.first() else { return Judged::Nothing };
        let approved = judged.iter().find(|(_, verdict)| verdict.approves());
        match (family, approved) {
            (Family::Windows, Some((offer, verdict))) if !package.applicable => {
                let reason = text::reason(self.judge.baseline, &verdict.ground, &offer.version);
                let row = Row { state: State::NotApplicable, level: verdict.level, reason, ..row_of(package) };
                Judged::Row(Box::new(row), None)
            }
            (Family::Windows, Some((offer, verdict))) => self.missing(package, offer, verdict),
            (Family::Windows, None)
                if package.applicable
                    && !newest_verdict.rejects()
                    && newest_verdict.ground != Ground::NoKb
                    && self.is_security_update(newest) =>
            {
                let row = Row {
                    available: Some(newest.version.clone()),
                    state: State::AvailableSecurityUpdate,
                    classification: self.classification(newest),
                    reason: text::reason(self.judge.baseline, &newest_verdict.ground, &newest.version),
                    ..row_of(package)
                };
                Judged::Row(Box::new(row), None)
            }
            // Updates of the system itself are not installed under the name that they bring.
            (Family::MacOs, Some((offer, verdict)))
                if package.applicable && offer.archive.as_deref() == Some("softwareupdate") =>
            {
                self.missing(package, offer, verdict)
            }
            (_, Some(_)) => Judged::NotApplicable,
            (_, None) => Judged::Nothing,
        }
    }

    /// Newer versions, the newest first; of equals in the host's own order. None of an older one of several installed versions,
    /// and none that the package manager never updates.
    fn newer<'a>(&self, package: &'a Package, installed: &str) -> Vec<&'a Offer> {
        let family = self.family();
        let newest = self.newest.get(&(package.name.as_str(), package.arch.as_str()));
        if newest.is_some_and(|newest| family.order(newest, installed).is_gt()) {
            return Vec::new();
        }
        // A package that is newer than all of the usual archives came from one that offers upgrades only to its own.
        let usual =
            |offer: &Offer| offer.automatic == Automatic::Yes && family.order(&offer.version, installed).is_ge();
        let from_elsewhere = !package.candidates.iter().any(usual);
        let mut newer: Vec<_> = package
            .candidates
            .iter()
            .filter(|offer| family.order(&offer.version, installed).is_gt())
            .filter(|offer| match offer.automatic {
                Automatic::Yes => true,
                Automatic::Upgrades => from_elsewhere,
                Automatic::No => false,
            })
            .filter(|offer| family != Family::MacOs || offer.archive.as_deref() != Some("installer"))
            .collect();
        newer.sort_by(|a, b| family.order(&b.version, &a.version));
        newer
    }

    /// The installed version as repositories offer it. What none offers any more has only its version.
    fn own(&self, package: &Package, installed: &str) -> Offer {
        let family = self.family();
        let same = |offer: &&Offer| family.order(&offer.version, installed).is_eq();
        // The same version may be in several archives, of which one is enough.
        let mut offers: Vec<_> = package.candidates.iter().filter(same).collect();
        offers.sort_by_key(|offer| !self.judge.verdict(package, offer).approves());
        offers
            .first()
            .map(|offer| (*offer).clone())
            .unwrap_or_else(|| Offer { version: installed.to_owned(), ..Offer::default() })
    }

    /// The kind of update (spec 2.2).
    fn classification(&self, offer: &Offer) -> Option<String> {
        match self.family() {
            Family::Apt => offer.security.then(|| "Security".to_owned()),
            Family::MacOs => offer.archive.clone(),
            _ => {
                let kinds: BTreeSet<_> =
                    offer.advisories.iter().filter_map(|advisory| advisory.kind.as_ref()).collect();
                // One that is security makes the whole a security update.
                let security = kinds.iter().find(|kind| counters::is_security(kind));
                security.or(kinds.first()).map(|kind| (*kind).clone())
            }
        }
    }

    fn is_security_update(&self, offer: &Offer) -> bool {
        self.classification(offer).is_some_and(|kind| counters::is_security(&kind))
    }
}

fn row_of(package: &Package) -> Row {
    Row {
        name: package.name.clone(),
        arch: package.arch.clone(),
        installed: package.installed.clone(),
        available: None,
        state: State::InstalledOther,
        level: ComplianceLevel::Unspecified,
        classification: None,
        reason: Reason { code: "no-rule", text: String::new(), rule: None, opens_at: None, ignored_date_gate: false },
    }
}
