//! What a baseline of rules says of a root, and from that to a closed transaction.
//!
//! States come from baseline, inventory and time alone ([`evaluate`]). What keeps an approved version from being installed is said
//! beside them: holds, pins, phasing and dependencies, by apt's own simulation.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    inventory::document::{Inventory, Offer, Package, Requirement},
    patch::{
        Blocked, Candidate, Manager, PatchCounters,
        baseline::Checked,
        blocked,
        evaluation::{Evaluation, Judge, Mismatch, State, evaluate, settle::Key},
        overrides::InstallList,
        sighting::FirstSeen,
    },
    run::message::{Refusal, Resolution},
    time::WallTime,
};

use super::{
    Apt,
    command::failed,
    lists::Offers,
    scan::{Index, Source, Survey, upgrade_args},
    sift::{Guard, Trial},
    simulate::Simulation,
};

/// A root, judged by a baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Who decided what can be installed.
    pub source: Source,
    /// The baseline.
    pub baseline: Checked,
    /// What there is and what is offered, with the dates that gates read.
    pub inventory: Inventory,
    /// The state of every installed package.
    pub evaluation: Evaluation,
    /// What keeps a missing version from being installed, by (name, architecture).
    pub blocked: BTreeMap<Key, Blocked>,
    /// What an Install would take: what is missing, or with an override list what that chooses. By (name, architecture).
    pub targets: Vec<Target>,
    /// Whether an override list chose.
    pub listed: bool,
}

/// A version that an Install is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Binary package name.
    pub name: String,
    /// Architecture of the installed package, `all` as it is.
    pub arch: String,
    /// The version.
    pub version: String,
    /// Why it stays out all the same.
    pub left_out: Option<LeftOut>,
}

/// Why an approved version is not installed.
#[derive(Clone, Debug, PartialEq)]
pub enum LeftOut {
    /// Something keeps it.
    Blocked(Blocked),
    /// This would come along, and the baseline blocks it.
    NeedsRejected(Requirement),
}

impl Target {
    fn blocked(&self) -> Option<(Key, Blocked)> {
        match self.left_out {
            Some(LeftOut::Blocked(blocked)) => Some(((self.name.clone(), self.arch.clone()), blocked)),
            _ => None,
        }
    }
}

impl Look {
    /// Sums for the gossiped record. What is rejected and present counts as not approved there.
    pub fn counters(&self) -> PatchCounters {
        let sums = self.evaluation.summary(self.baseline.security_updates);
        PatchCounters {
            installed: sums.installed,
            installed_other: sums.installed_other + sums.installed_rejected,
            installed_pending_reboot: sums.installed_pending_reboot,
            missing: sums.missing,
            failed: sums.failed,
            blocked: u32::try_from(self.blocked.len()).unwrap_or(u32::MAX),
        }
    }

    /// What an Install tries by its override list, for [`settle::after_install`]; `None` without a list.
    ///
    /// [`settle::after_install`]: patchmesh_common::patch::evaluation::settle::after_install
    pub fn listed(&self) -> Option<BTreeSet<Key>> {
        let key = |target: &Target| (target.name.clone(), target.arch.clone());
        self.listed.then(|| self.targets.iter().map(key).collect())
    }

    fn guard(&self) -> Guard<'_> {
        Guard::new(&self.baseline, self.targets.iter().filter(|_| self.listed))
    }
}

impl Apt {
    /// Judges every installed package by `baseline` at the instant `at`. `list` is AWS's InstallOverrideList, which an Install
    /// follows instead; the states do not change by it. Changes nothing, needs no right but to read.
    ///
    /// # Errors
    /// `ManagerFailed` if the baseline is for another operating system, with apt's own message where apt fails, or with file and
    /// line of what cannot be read.
    pub async fn evaluate(
        &self,
        baseline: &Checked,
        list: Option<&InstallList>,
        at: WallTime,
        first_seen: &FirstSeen,
    ) -> Result<Look, Refusal> {
        let mut survey = self.survey_directly().await?;
        self.sight(&survey.packages, &survey.offers);
        let mut inventory = self.document_from(&survey.packages, &survey.offers, at)?;
        first_seen.fill(&mut inventory);
        let evaluation = judged(baseline, &inventory, at)?;
        let mut targets: Vec<_> = match list {
            None => missing(&evaluation).collect(),
            Some(list) => chosen(baseline, list, &inventory, at),
        };
        let mut source = Source::Native;
        let wanted = !targets.is_empty() || missing(&evaluation).next().is_some();
        if survey.simulation.is_none() && wanted {
            survey.simulation = Some(self.simulate(&upgrade_args()).await?);
            source = Source::Manager;
        }
        let product = inventory.host.product_of(baseline.os);
        let bench = Bench::new(self, &survey, Judge { baseline, product: &product, at });
        bench.look_at(&inventory, &mut targets, list.is_none());
        let mut look = Look {
            source,
            baseline: baseline.clone(),
            blocked: match list {
                None => targets.iter().filter_map(Target::blocked).collect(),
                Some(_) => {
                    let mut rows: Vec<_> = missing(&evaluation).collect();
                    bench.look_at(&inventory, &mut rows, true);
                    rows.iter().filter_map(Target::blocked).collect()
                }
            },
            inventory,
            evaluation,
            listed: list.is_some(),
            targets,
        };
        if bench.doubts(&look) {
            look.source = Source::Manager;
            self.leave_out(&mut look, at).await?;
        }
        Ok(look)
    }

    /// Finds the targets that cannot be installed, and says so of them and of their rows.
    async fn leave_out(&self, look: &mut Look, at: WallTime) -> Result<(), Refusal> {
        let out = {
            let free: Vec<_> = look.targets.iter().filter(|target| target.left_out.is_none()).collect();
            let found = self.sift(&free, &look.guard()).await?;
            found.into_iter().map(|(target, why)| (target.clone(), why)).collect::<Vec<_>>()
        };
        let mut needed = false;
        for (target, why) in out {
            if !look.listed {
                match &why {
                    LeftOut::Blocked(blocked) => {
                        look.blocked.insert((target.name.clone(), target.arch.clone()), *blocked);
                    }
                    LeftOut::NeedsRejected(requirement) => {
                        needed = true;
                        offers_of(&mut look.inventory, &target).for_each(|offer| {
                            offer.requires = vec![requirement.clone()];
                        });
                    }
                }
            }
            let known = look.targets.iter_mut().filter(|known| **known == target);
            known.for_each(|known| known.left_out = Some(why.clone()));
        }
        if needed {
            look.evaluation = judged(&look.baseline, &look.inventory, at)?;
        }
        Ok(())
    }

    /// What apt would do now for the targets of `look`: the closed transaction. What the baseline blocks is never in it, and what
    /// needs that is left out. Changes nothing.
    ///
    /// # Errors
    /// As [`Self::resolve`].
    pub async fn resolve_by(&self, look: &Look) -> Result<Resolution, Refusal> {
        self.ready()?;
        let guard = look.guard();
        let mut targets: Vec<_> = look.targets.iter().filter(|target| target.left_out.is_none()).collect();
        let mut trial = self.trial(&targets, &guard).await?;
        if let Trial::Bad { .. } = trial {
            let out = self.sift(&targets, &guard).await?;
            targets.retain(|target| !out.iter().any(|(left_out, _)| left_out == target));
            trial = self.trial(&targets, &guard).await?;
        }
        let remedy = "run `apt-get -s dist-upgrade` to see why";
        let simulation = match trial {
            Trial::Good(simulation) => simulation,
            Trial::Bad { why, .. } => return Err(failed(why, remedy)),
        };
        let transaction = self.closed(&simulation, Offers::new()).await?;
        let blocked = transaction.changes.iter().find(|change| guard.blocks(&change.name, &change.arch, &change.to));
        if let Some(change) = blocked {
            let text =
                format!("{}:{} {} would come along, which the baseline blocks", change.name, change.arch, change.to);
            return Err(failed(text, remedy));
        }
        Ok(Resolution { transaction, counters: look.counters() })
    }
}

fn judged(baseline: &Checked, inventory: &Inventory, at: WallTime) -> Result<Evaluation, Refusal> {
    let mismatch = |why: Mismatch| failed(why.to_string(), "give a baseline of the host's operating system");
    evaluate(baseline, inventory, at).map_err(mismatch)
}

fn missing(evaluation: &Evaluation) -> impl Iterator<Item = Target> + '_ {
    let missing = evaluation.rows.iter().filter(|row| row.state == State::Missing);
    missing.filter_map(|row| Some(target(&row.name, &row.arch, row.available.as_deref()?)))
}

fn chosen(baseline: &Checked, list: &InstallList, inventory: &Inventory, at: WallTime) -> Vec<Target> {
    let choice = |package: &Package| list.choice(baseline, inventory, package, at).map(|offer| offer.version.clone());
    let chosen = inventory.packages.iter().filter_map(|package| Some((package, choice(package)?)));
    chosen.map(|(package, version)| target(&package.name, &package.arch, &version)).collect()
}

fn target(name: &str, arch: &str, version: &str) -> Target {
    Target { name: name.to_owned(), arch: arch.to_owned(), version: version.to_owned(), left_out: None }
}

fn offers_of<'a>(inventory: &'a mut Inventory, target: &'a Target) -> impl Iterator<Item = &'a mut Offer> {
    let is = |package: &&mut Package| package.name == target.name && package.arch == target.arch;
    let candidates = inventory.packages.iter_mut().filter(is).flat_map(|package| &mut package.candidates);
    candidates.filter(|offer| offer.version == target.version)
}

/// What apt's simulation of everything says of single versions.
struct Bench<'a> {
    apt: &'a Apt,
    offers: &'a Offers,
    holds: BTreeSet<(&'a str, &'a str)>,
    index: Option<Index<'a>>,
    survey: &'a Survey,
    judge: Judge<'a>,
}

impl<'a> Bench<'a> {
    fn new(apt: &'a Apt, survey: &'a Survey, judge: Judge<'a>) -> Self {
        let held = survey.packages.iter().filter(|package| package.hold);
        Self {
            apt,
            offers: &survey.offers,
            holds: held.map(|package| (package.name.as_str(), package.arch.as_str())).collect(),
            index: survey.simulation.as_ref().map(Index::new),
            survey,
            judge,
        }
    }

    /// Says of targets what keeps them from being installed. `approved`: only with contents that the baseline approves.
    fn look_at(&self, inventory: &Inventory, targets: &mut [Target], approved: bool) {
        let packages = inventory.packages.iter();
        let packages: BTreeMap<_, _> =
            packages.map(|package| ((package.name.as_str(), package.arch.as_str()), package)).collect();
        for target in targets {
            let package = packages.get(&(target.name.as_str(), target.arch.as_str()));
            let other = approved && package.is_some_and(|package| self.takes_other_contents(package, target));
            let blocked = if other { Some(Blocked::Pin) } else { self.blocked(target) };
            target.left_out = blocked.map(LeftOut::Blocked);
        }
    }

    /// Whether an archive that comes first offers other contents under the number of an approved version: nobody has approved
    /// those.
    fn takes_other_contents(&self, package: &Package, target: &Target) -> bool {
        let Some(first) = self.offered(target).next() else { return false };
        let same = package.candidates.iter().filter(|offer| offer.version == target.version);
        !same.filter(|offer| offer.sha256 == first.sha256).any(|offer| self.judge.verdict(package, offer).approves())
    }

    /// The version of a target, in the order of the host's sources.
    fn offered(&self, target: &Target) -> impl Iterator<Item = &'a Candidate> {
        let offered = self.offers.get(&(target.name.clone(), self.apt.filed(&target.arch)));
        let version = target.version.clone();
        offered.into_iter().flatten().filter(move |candidate| candidate.version == version)
    }

    fn manager(&self, target: &Target) -> Manager<'_> {
        let key = (target.name.clone(), self.apt.filed(&target.arch));
        self.index.as_ref().map_or(Manager::Silent, |index| index.says(&key))
    }

    fn blocked(&self, target: &Target) -> Option<Blocked> {
        let hold = self.holds.contains(&(target.name.as_str(), target.arch.as_str()));
        let phased = self.offered(target).next().and_then(|candidate| candidate.phased);
        let version = Candidate { version: target.version.clone(), phased, ..Candidate::default() };
        blocked(hold, &version, self.manager(target))
    }

    /// Whether the simulation of everything does not tell what installing the targets alone does: where another version is wanted
    /// than apt would choose, the baseline blocks something of what apt would install, or apt would remove something.
    fn doubts(&self, look: &Look) -> bool {
        let guard = look.guard();
        let mut free = look.targets.iter().filter(|target| target.left_out.is_none()).peekable();
        let unlike = |simulation: &Simulation| !simulation.removes.is_empty() || guard.rejected(simulation).is_some();
        (free.peek().is_some() && self.survey.simulation.as_ref().is_some_and(unlike))
            || free.any(|target| self.manager(target) != Manager::Chose(&target.version))
    }
}
