//! Which of many targets can be installed together, without bringing what is rejected.

use std::collections::BTreeSet;

use patchmesh_common::{
    inventory::document::{Offer, Package, Requirement},
    patch::{
        Blocked,
        baseline::{Checked, Family, RejectedAction},
        sighting::Seen,
        snapshot::By,
    },
    run::message::Refusal,
};

use super::{
    Apt,
    command::failed,
    judged::{LeftOut, Target},
    resolve::{exact_word, simulate_args},
    scan::explain,
    simulate::{Install, Simulation},
};

/// Most simulations of one search. Each takes about as long as a scan; who needs more has more wrong than a search tells.
const MAX_TRIALS: u32 = 200;

/// What must not come along.
pub(super) struct Guard<'a> {
    /// `None`: nothing is blocked.
    baseline: Option<&'a Checked>,
    /// (name, architecture) of what an override list names: that comes, rejected or not.
    listed: BTreeSet<(&'a str, &'a str)>,
}

/// What a simulation of some targets says.
pub(super) enum Trial {
    /// They can be installed, with all of this.
    Good(Simulation),
    /// They cannot.
    Bad {
        /// What to say of a target that is the only one.
        left_out: LeftOut,
        /// apt's words, or what it would bring.
        why: String,
    },
}

impl<'a> Guard<'a> {
    pub(super) fn new(baseline: &'a Checked, listed: impl IntoIterator<Item = &'a Target>) -> Self {
        let listed = listed.into_iter().map(|target| (target.name.as_str(), target.arch.as_str()));
        Self { baseline: Some(baseline), listed: listed.collect() }
    }

    /// Of exact versions, for a host that is judged by `by`.
    pub(super) fn of_versions(by: &'a By, versions: &'a [Seen]) -> Self {
        let By::Baseline(baseline, list) = by else { return Self { baseline: None, listed: BTreeSet::new() } };
        let named = |(name, arch, version, _): &&Seen| {
            let package = Package { name: name.clone(), arch: arch.clone(), ..Package::default() };
            let offer = Offer { version: version.clone(), ..Offer::default() };
            list.as_ref().is_some_and(|list| list.names(Family::Apt, &package, &offer))
        };
        let listed = versions.iter().filter(named).map(|(name, arch, ..)| (name.as_str(), arch.as_str()));
        Self { baseline: Some(baseline), listed: listed.collect() }
    }

    /// The first of what a simulation would install that the baseline blocks.
    pub(super) fn rejected<'s>(&self, simulation: &'s Simulation) -> Option<&'s Install> {
        simulation.installs.iter().find(|install| self.blocks(&install.name, &install.arch, &install.new))
    }

    /// Whether the baseline blocks a package in a version.
    pub(super) fn blocks(&self, name: &str, arch: &str, version: &str) -> bool {
        self.baseline.is_some_and(|baseline| {
            baseline.action == RejectedAction::Block
                && !self.listed.contains(&(name, arch))
                && baseline.rejects(name, arch, version).is_some()
        })
    }
}

impl Apt {
    /// Simulates installing exactly these targets. What would remove a package is as bad as what apt refuses.
    ///
    /// # Errors
    /// If apt cannot be run, or a target is no plain name and version.
    pub(super) async fn trial(&self, targets: &[&Target], guard: &Guard<'_>) -> Result<Trial, Refusal> {
        if targets.is_empty() {
            return Ok(Trial::Good(Simulation::default()));
        }
        let exact = targets.iter().map(|target| exact_word(&target.name, &target.arch, &target.version));
        let output = self.look_with(&simulate_args(exact.collect::<Result<_, _>>()?)).await?;
        if !output.success() {
            return Ok(Trial::Bad { left_out: LeftOut::Blocked(Blocked::KeptBack), why: explain(&output) });
        }
        let simulation = self.read_simulation(&output)?;
        if let Some((name, arch, version)) = simulation.removes.first() {
            let why = format!("apt would remove {name}:{arch} {version}");
            return Ok(Trial::Bad { left_out: LeftOut::Blocked(Blocked::KeptBack), why });
        }
        let Some(Install { name, arch, new, .. }) = guard.rejected(&simulation) else {
            return Ok(Trial::Good(simulation));
        };
        Ok(Trial::Bad {
            why: format!("{name}:{arch} {new} would come along, which the baseline blocks"),
            left_out: LeftOut::NeedsRejected(Requirement {
                name: name.clone(),
                arch: arch.clone(),
                version: new.clone(),
            }),
        })
    }

    /// Of targets that cannot be installed together, those to be left out, and why: by halves, so that few culprits among many
    /// targets cost few simulations.
    ///
    /// # Errors
    /// As [`Self::trial`], or if there is no end to it.
    pub(super) async fn sift<'t>(
        &self,
        targets: &[&'t Target],
        guard: &Guard<'_>,
    ) -> Result<Vec<(&'t Target, LeftOut)>, Refusal> {
        let mut trials = 0;
        let mut count = || {
            trials += 1;
            let text = || format!("too many of {} approved versions cannot be installed", targets.len());
            if trials > MAX_TRIALS { Err(failed(text(), "run `apt-get -s dist-upgrade` to see why")) } else { Ok(()) }
        };
        let mut groups = vec![targets.to_vec()];
        let mut culprits = Vec::new();
        while let Some(group) = groups.pop() {
            count()?;
            match (self.trial(&group, guard).await?, group.as_slice()) {
                (Trial::Good(_), _) | (_, []) => {}
                (Trial::Bad { left_out, .. }, [target]) => culprits.push((*target, left_out)),
                (Trial::Bad { .. }, _) => {
                    let (one, other) = group.split_at(group.len() / 2);
                    groups.extend([other.to_vec(), one.to_vec()]);
                }
            }
        }
        // What only needs another target in its own version cannot come alone, and can with the rest.
        let is_culprit = |target: &Target| culprits.iter().any(|(culprit, _)| std::ptr::eq(*culprit, target));
        let mut rest: Vec<_> = targets.iter().copied().filter(|target| !is_culprit(target)).collect();
        let mut left_out = Vec::new();
        for (target, why) in culprits {
            count()?;
            rest.push(target);
            if let Trial::Bad { .. } = self.trial(&rest, guard).await? {
                rest.pop();
                left_out.push((target, why));
            }
        }
        Ok(left_out)
    }
}
