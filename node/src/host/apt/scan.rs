//! Scans and inventories: dpkg's file, the indexes and one simulation, read at the same time.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::SystemTime,
};

use patchmesh_common::{
    inventory::deb,
    patch::{Baseline, Blocked, Candidate, Manager, PatchCounters, PatchState, judge},
    run::message::Refusal,
};
use serde::{Deserialize, Serialize};

use super::{
    Apt,
    command::{Output, argv, failed, shorten},
    fingerprint::{Fingerprint, elsewhere},
    lists::{self, Offers, Target},
    memory::Fresh,
    native::{self, Doubt, Draft, Reading},
    options::Options,
    simulate::{self, Install, Simulation},
    status::Installed,
};

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Reading dpkg's file and the indexes was enough.
    Native,
    /// apt was asked.
    Manager,
    /// Nothing that the last answer depends on has changed.
    Unchanged,
}

impl Source {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Manager => "manager",
            Self::Unchanged => "unchanged",
        }
    }
}

/// One installed (name, architecture).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Binary package name.
    pub name: String,
    /// Architecture, `all` as it is.
    pub arch: String,
    /// Installed version.
    pub installed: String,
    /// The version that is missing.
    pub available: Option<String>,
    /// `Security` if that version, or without one the installed version, is in a security pocket.
    pub classification: Option<String>,
    /// The archive's priority of the package (spec 2.2).
    pub severity: Option<String>,
    /// Suite of the missing version.
    pub archive: Option<String>,
    /// By baseline and version.
    pub state: PatchState,
    /// What keeps the missing version from being installed.
    pub blocked: Option<Blocked>,
    /// Why it is missing or blocked, for people.
    pub reason: Option<String>,
}

/// A scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Who decided.
    pub source: Source,
    /// By (name, architecture).
    pub rows: Vec<Row>,
    /// Sums over the rows.
    pub counters: PatchCounters,
}

/// One installed package and everything that repositories offer from its version on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stocked {
    /// What is installed.
    pub package: Installed,
    /// Versions not older than it, in ascending order; one entry per archive.
    pub candidates: Vec<Candidate>,
}

/// A scan and what it depends on.
struct Answer {
    scan: Scan,
    /// Indexes outside of apt's folder of lists; `None` if not everything is known that the answer depends on.
    elsewhere: Option<Vec<String>>,
}

/// What could be read without apt's resolver.
struct Direct {
    /// The error says what is in doubt; it is empty where asking apt fails with better words.
    reading: Result<Reading, String>,
    /// As in [`Answer`].
    elsewhere: Option<Vec<String>>,
}

/// What a scan is made from.
pub(super) struct Survey {
    pub(super) packages: Vec<Installed>,
    pub(super) offers: Offers,
    pub(super) simulation: Option<Simulation>,
}

impl Apt {
    /// Judges every installed package. Changes nothing, needs no right but to read.
    ///
    /// # Errors
    /// `ManagerFailed` with apt's own message where apt fails, or with file and line of what cannot be read.
    pub async fn scan(&self, baseline: Baseline) -> Result<Scan, Refusal> {
        let Some(memory) = &self.memory else { return Ok(self.answer(baseline).await?.scan) };
        let is_noted = self.diary.as_ref().is_none_or(|diary| !diary.is_new());
        if let Some(known) = memory.recall(&self.root, baseline).filter(|_| is_noted) {
            return Ok(known.scan);
        }
        let began = SystemTime::now();
        let before = Fingerprint::take(&self.root, &[]);
        let answer = self.answer(baseline).await?;
        if let (Some(before), Some(more)) = (before, answer.elsewhere) {
            let fresh = Fresh { root: &self.root, baseline, native: &self.native, more, began };
            memory.keep(&before, fresh, &answer.scan);
        }
        Ok(answer.scan)
    }

    async fn answer(&self, baseline: Baseline) -> Result<Answer, Refusal> {
        let Direct { reading, elsewhere } = self.read_directly().await?;
        let reading = match reading {
            Ok(reading) => reading,
            Err(why) => {
                let survey = self.survey(baseline).await.map_err(|refusal| doubted(refusal, &why))?;
                self.sight(&survey.packages, &survey.offers);
                return Ok(Answer { scan: self.judged(baseline, &survey), elsewhere });
            }
        };
        let simulation = decided(reading.decided);
        let native = simulation.is_some();
        let mut survey = Survey { packages: reading.packages, offers: reading.offers, simulation };
        self.sight(&survey.packages, &survey.offers);
        let needed = baseline == Baseline::All || self.judged(baseline, &survey).counters.missing > 0;
        if survey.simulation.is_none() && needed {
            survey.simulation = Some(self.simulate(&upgrade_args()).await?);
        }
        let mut scan = self.judged(baseline, &survey);
        if native {
            scan.source = Source::Native;
        }
        Ok(Answer { scan, elsewhere })
    }

    /// Reads dpkg's file and the indexes without asking apt's resolver.
    async fn read_directly(&self) -> Result<Direct, Refusal> {
        let (root, native) = (self.root.clone(), self.native.clone());
        let draft = tokio::task::spawn_blocking(move || Draft::read(&root, &native));
        let (options, named, draft) = tokio::join!(self.options(), self.named(), draft);
        // Where these fail, asking apt fails with its own words.
        let unknown = Direct { reading: Err(String::new()), elsewhere: None };
        let (Ok(options), Ok(named)) = (options, named) else { return Ok(unknown) };
        let targets = native::present(&self.root, named, &self.nowhere).filter(|_| options.is_watched(&self.root));
        let Some(mut targets) = targets.filter(|_| options.native() == self.native) else { return Ok(unknown) };
        targets.iter_mut().for_each(Target::describe);
        let elsewhere = elsewhere(&self.root, targets.iter().map(|target| &target.file));
        let (root, config) = (self.root.clone(), self.read.clone());
        let finish =
            tokio::task::spawn_blocking(move || draft.map(|draft| draft?.finish(&root, &options, &targets, &config)));
        let ended = |error| failed(format!("reading the indexes ended: {error}"), "try again");
        let reading = finish.await.and_then(|read| read).map_err(ended)?;
        if let Err(Doubt(why)) = &reading {
            tracing::debug!(why, "apt is asked");
        }
        Ok(Direct { reading: reading.map_err(|Doubt(why)| why), elsewhere })
    }

    /// What a baseline of rules is judged from: as much as can be read directly, and a simulation only if that is certain.
    pub(super) async fn survey_directly(&self) -> Result<Survey, Refusal> {
        match self.read_directly().await?.reading {
            Ok(Reading { packages, offers, decided: known }) => {
                Ok(Survey { packages, offers, simulation: decided(known) })
            }
            Err(why) => {
                let packages = self.packages()?;
                let offers = self.offers(names(&packages)).await.map_err(|refusal| doubted(refusal, &why))?;
                Ok(Survey { packages, offers, simulation: None })
            }
        }
    }

    pub(super) async fn options(&self) -> Result<Options, Refusal> {
        let output = self.look_with(&argv(&["apt-config", "dump"])).await?;
        if !output.success() {
            return Err(failed(format!("apt-config: {}", output.errors()), "correct the configuration"));
        }
        Ok(Options::parse(&output.stdout))
    }

    /// The indexes that the sources name.
    async fn named(&self) -> Result<Vec<Target>, Refusal> {
        let output = self.look_with(&lists::named_args(&self.nowhere.display().to_string())).await?;
        self.read_targets(&output)
    }

    /// Every installed package with what repositories offer. Changes nothing, needs no right but to read.
    ///
    /// # Errors
    /// As [`Self::scan`].
    pub async fn inventory(&self) -> Result<Vec<Stocked>, Refusal> {
        let packages = self.packages()?;
        let offers = self.offers(names(&packages)).await?;
        Ok(self.stocked(packages, offers))
    }

    pub(super) fn stocked(&self, packages: Vec<Installed>, mut offers: Offers) -> Vec<Stocked> {
        let stocked = packages.into_iter().map(|package| {
            let mut candidates = offers.remove(&self.key(&package)).unwrap_or_default();
            candidates.retain(|candidate| deb::compare(&candidate.version, &package.version) != Ordering::Less);
            candidates.sort_by(|a, b| deb::compare(&a.version, &b.version).then_with(|| a.archive.cmp(&b.archive)));
            Stocked { package, candidates }
        });
        stocked.collect()
    }

    /// The release of the newest installed kernel; `None` if none is installed.
    ///
    /// # Errors
    /// `ManagerFailed` with file and line.
    pub fn newest_kernel(&self) -> Result<Option<String>, Refusal> {
        let packages = self.packages()?;
        let releases = packages.iter().filter_map(|package| kernel_release(&package.name));
        Ok(releases.max_by(|a, b| deb::compare(a, b)).map(str::to_owned))
    }

    pub(super) async fn survey(&self, baseline: Baseline) -> Result<Survey, Refusal> {
        let packages = self.packages()?;
        match baseline {
            Baseline::All => {
                let upgrade = upgrade_args();
                let (simulation, offers) = tokio::try_join!(self.simulate(&upgrade), self.offers(names(&packages)))?;
                Ok(Survey { packages, offers, simulation: Some(simulation) })
            }
            Baseline::Security => {
                let mut survey = Survey { offers: self.offers(names(&packages)).await?, packages, simulation: None };
                if self.judged(baseline, &survey).counters.missing > 0 {
                    survey.simulation = Some(self.simulate(&upgrade_args()).await?);
                }
                Ok(survey)
            }
        }
    }

    /// Runs a simulation and reads it; where apt fails, its message is the error.
    pub(super) async fn simulate(&self, argv: &[String]) -> Result<Simulation, Refusal> {
        let output = self.look_with(argv).await?;
        if !output.success() {
            return Err(failed(explain(&output), "run `apt-get -s dist-upgrade` to see it all"));
        }
        self.read_simulation(&output)
    }

    pub(super) fn read_simulation(&self, output: &Output) -> Result<Simulation, Refusal> {
        simulate::parse(&output.stdout, &self.native).map_err(|why| failed(why, "report this with the version of apt"))
    }

    /// What the indexes offer of these names.
    pub(super) async fn offers(&self, names: BTreeSet<String>) -> Result<Offers, Refusal> {
        let targets = self.targets().await?;
        let (native, config): (String, PathBuf) = (self.native.clone(), self.read.clone());
        let read = tokio::task::spawn_blocking(move || lists::read(&targets, &names, &native, &config));
        Ok(read.await.map_err(|error| failed(format!("reading the indexes ended: {error}"), "try again"))??)
    }

    /// Whether any package index is there.
    ///
    /// # Errors
    /// `ManagerFailed` if apt cannot say.
    pub async fn has_indexes(&self) -> Result<bool, Refusal> {
        let targets = self.read_targets(&self.look_with(&lists::target_args()).await?)?;
        Ok(targets.iter().any(|target| target.file.exists()))
    }

    async fn targets(&self) -> Result<Vec<Target>, Refusal> {
        let output = self.look_with(&lists::target_args()).await?;
        let mut targets = self.read_targets(&output)?;
        targets.iter_mut().for_each(Target::date);
        Ok(targets)
    }

    fn read_targets(&self, output: &Output) -> Result<Vec<Target>, Refusal> {
        if !output.success() {
            return Err(failed(format!("apt-get indextargets: {}", output.errors()), "correct the sources"));
        }
        lists::parse_targets(&output.stdout).map_err(|why| failed(why, "report this with the version of apt"))
    }

    pub(super) fn key(&self, package: &Installed) -> (String, String) {
        let arch = if package.arch == "all" { &self.native } else { &package.arch };
        (package.name.clone(), arch.clone())
    }

    pub(super) fn judged(&self, baseline: Baseline, survey: &Survey) -> Scan {
        let index = survey.simulation.as_ref().map(Index::new);
        let mut scan = Scan {
            source: if index.is_some() { Source::Manager } else { Source::Native },
            rows: vec![],
            counters: PatchCounters::default(),
        };
        for package in &survey.packages {
            let key = self.key(package);
            let manager = index.as_ref().map_or(Manager::Silent, |index| index.says(&key));
            let candidates = survey.offers.get(&key).map(Vec::as_slice).unwrap_or_default();
            let row = row(baseline, package, candidates, manager);
            let counter = match row.state {
                PatchState::Installed => &mut scan.counters.installed,
                PatchState::InstalledOther => &mut scan.counters.installed_other,
                PatchState::Missing => &mut scan.counters.missing,
            };
            *counter += 1;
            scan.counters.blocked += u32::from(row.blocked.is_some());
            scan.rows.push(row);
        }
        scan
    }
}

/// apt does not always say which file it cannot read.
fn doubted(refusal: Refusal, why: &str) -> Refusal {
    if why.is_empty() { refusal } else { Refusal { text: format!("{} ({why})", refusal.text), ..refusal } }
}

fn decided(known: Result<Simulation, Doubt>) -> Option<Simulation> {
    known.inspect_err(|Doubt(why)| tracing::debug!(why, "apt is asked")).ok()
}

/// The simulation that decides what is missing.
pub(super) fn upgrade_args() -> Vec<String> {
    argv(&["apt-get", "-s", "-y", "dist-upgrade"])
}

fn names(packages: &[Installed]) -> BTreeSet<String> {
    packages.iter().map(|package| package.name.clone()).collect()
}

/// Why a simulation failed: apt's errors, and what it says of dependencies on standard output.
pub(super) fn explain(output: &Output) -> String {
    let detail = output.stdout.split_once("The following packages have unmet dependencies:");
    let detail = detail.map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>().join(" "));
    match detail.filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("apt-get: {} ({})", output.errors(), shorten(&detail)),
        None => format!("apt-get: {}", output.errors()),
    }
}

/// `6.1.0-18-amd64` of `linux-image-6.1.0-18-amd64`; meta packages and debug images are no kernels.
pub(super) fn kernel_release(name: &str) -> Option<&str> {
    let release = name.strip_prefix("linux-image-")?;
    let release = release.strip_prefix("unsigned-").unwrap_or(release);
    let release = release.strip_suffix("-unsigned").unwrap_or(release);
    (release.starts_with(|c: char| c.is_ascii_digit()) && !release.ends_with("-dbg")).then_some(release)
}

/// A simulation by (name, architecture).
pub(super) struct Index<'a> {
    upgrades: BTreeMap<(&'a str, &'a str), &'a Install>,
    removes: BTreeSet<(&'a str, &'a str)>,
    simulation: &'a Simulation,
}

impl<'a> Index<'a> {
    pub(super) fn new(simulation: &'a Simulation) -> Self {
        let upgrades = simulation.installs.iter().filter(|install| install.old.is_some());
        Self {
            upgrades: upgrades.map(|install| ((install.name.as_str(), install.filed.as_str()), install)).collect(),
            removes: simulation.removes.iter().map(|(name, arch, _)| (name.as_str(), arch.as_str())).collect(),
            simulation,
        }
    }

    pub(super) fn says(&self, key: &(String, String)) -> Manager<'a> {
        let borrowed = (key.0.as_str(), key.1.as_str());
        if let Some(install) = self.upgrades.get(&borrowed) {
            Manager::Chose(&install.new)
        } else if self.removes.contains(&borrowed) {
            Manager::Removes
        } else if self.simulation.phased.contains(key) {
            Manager::Phased
        } else if self.simulation.kept_back.contains(key) {
            Manager::KeptBack
        } else {
            Manager::Silent
        }
    }
}

fn row(baseline: Baseline, package: &Installed, candidates: &[Candidate], manager: Manager<'_>) -> Row {
    let judged = judge(baseline, &package.version, package.hold, candidates, manager);
    // Of several archives with the same version the security pocket tells more.
    let of = |version: &str| {
        let mut same = candidates.iter().filter(|candidate| candidate.version == version);
        same.clone().find(|candidate| candidate.security).or_else(|| same.next())
    };
    let missing = judged.available.and_then(of);
    let told = missing.or_else(|| of(&package.version));
    let archive = missing.and_then(|candidate| candidate.archive.clone());
    let reason = judged.available.map(|version| {
        let place = archive.as_deref().map(|archive| format!(" in {archive}")).unwrap_or_default();
        let why = judged.blocked.map(|blocked| format!("; {}", blocked.words())).unwrap_or_default();
        format!("{version} is{place}{}{why}", if place.is_empty() { " available" } else { "" })
    });
    let other = judged.state == PatchState::InstalledOther;
    Row {
        name: package.name.clone(),
        arch: package.arch.clone(),
        installed: package.version.clone(),
        available: judged.available.map(str::to_owned),
        classification: told.filter(|candidate| candidate.security && !other).map(|_| "Security".to_owned()),
        severity: told.and_then(|candidate| candidate.priority.clone()).or(package.priority.clone()).filter(|_| !other),
        archive,
        state: judged.state,
        blocked: judged.blocked,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_from_what_only_carries_the_name() {
        assert_eq!(kernel_release("linux-image-6.1.0-18-amd64"), Some("6.1.0-18-amd64"));
        assert_eq!(kernel_release("linux-image-6.1.0-18-amd64-unsigned"), Some("6.1.0-18-amd64"));
        for other in ["linux-image-amd64", "linux-image-6.1.0-18-amd64-dbg", "linux-headers-6.1.0-18-amd64"] {
            assert_eq!(kernel_release(other), None);
        }
    }

    #[test]
    fn a_row_names_the_security_pocket_of_a_version_that_two_archives_have() {
        let package = Installed {
            name: "a".into(),
            arch: "all".into(),
            version: "1".into(),
            hold: false,
            broken: None,
            section: None,
            priority: Some("optional".into()),
            unpacked: None,
        };
        let offer = |suite: &str, security| Candidate {
            version: "2".into(),
            archive: Some(suite.into()),
            security,
            ..Candidate::default()
        };
        let offers = [offer("stable", false), offer("stable-security", true)];
        let row = row(Baseline::All, &package, &offers, Manager::Chose("2"));
        assert_eq!(row.archive.as_deref(), Some("stable-security"));
        assert_eq!(row.classification.as_deref(), Some("Security"));
        assert_eq!(row.severity.as_deref(), Some("optional"));
        assert_eq!(row.reason.as_deref(), Some("2 is in stable-security"));
    }
}
