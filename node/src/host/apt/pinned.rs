//! From exact versions, as a snapshot freezes them, to a closed transaction.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use patchmesh_common::{
    inventory::{MAX_CHANGES, PackageChange, deb},
    patch::{PatchCounters, evaluation::settle::Key, sighting::Seen, snapshot::By},
    run::message::{Refusal, RefusalCode, Resolution},
};

use super::{
    Apt,
    command::{failed, list},
    lists::Offers,
    resolve::{exact_word, simulate_args, sums},
    scan::explain,
    sift::Guard,
    simulate::Simulation,
    status::Installed,
};

/// Most rounds in which further versions of the snapshot are named to apt: each follows the dependencies of the round before.
const MAX_ROUNDS: usize = 16;
/// Most versions that a refusal names.
const MAX_NAMED: usize = 1000;

/// The versions of a snapshot, as they concern one root.
struct Frozen<'a> {
    /// By name and the architecture under which apt files it.
    wanted: BTreeMap<Key, &'a Seen>,
    offers: Offers,
    guard: Guard<'a>,
}

/// What of a snapshot an installed system is behind in.
struct Behind {
    /// To be installed.
    free: Vec<PackageChange>,
    counters: PatchCounters,
}

impl Apt {
    /// What installing exactly `versions` (name, architecture, version, SHA-256) would do now: every installed package that is
    /// older than its version there gets that version with those contents. What is new comes only as a dependency, and in the
    /// version there too. What is on hold or pinned below stays as it is, and is counted. What the baseline of `by` blocks stays as
    /// it is too, unless its override list names it. Changes nothing.
    ///
    /// # Errors
    /// `VersionGone` naming every version that no index offers with these contents, or that apt would not take; `PlanChanged`
    /// naming what would come along and is not in `versions`; `ManagerFailed` naming what would come along and is blocked; and
    /// what [`Self::resolve`] refuses with.
    pub async fn resolve_versions(&self, versions: &[Seen], by: &By) -> Result<Resolution, Refusal> {
        self.ready()?;
        if versions.len() > MAX_CHANGES {
            let text = format!("{} versions are to be installed; at most {MAX_CHANGES} are handled", versions.len());
            return Err(failed(text, "make a smaller snapshot"));
        }
        let names: BTreeSet<_> = versions.iter().map(|(name, ..)| name.clone()).collect();
        let frozen = Frozen {
            wanted: versions.iter().map(|seen| ((seen.0.clone(), self.filed(&seen.1)), seen)).collect(),
            offers: self.offers(names).await?,
            guard: Guard::of_versions(by, versions),
        };
        let Behind { free, counters } = self.behind(&frozen).await?;
        let simulation = self.follow(&frozen, &free).await?;
        frozen.require_none_blocked(&simulation)?;
        let transaction = self.closed(&simulation, frozen.offers.clone()).await?;
        let mut others = Vec::new();
        let mut gone = Vec::new();
        for change in &transaction.changes {
            match frozen.wanted.get(&(change.name.clone(), self.filed(&change.arch))) {
                None => others.push(format!("{}:{} {}", change.name, change.arch, change.to)),
                Some((name, arch, version, sha256)) if (version, sha256) != (&change.to, &change.sha256) => {
                    let contents = if *version == change.to { " with other contents" } else { "" };
                    gone.push(format!("{name}:{arch} {version} (apt would take {}{contents})", change.to));
                }
                Some(_) => {}
            }
        }
        require_none_gone(gone)?;
        if others.is_empty() {
            return Ok(Resolution { transaction, counters });
        }
        Err(Refusal {
            code: RefusalCode::PlanChanged,
            text: format!("apt would also install {}, which the snapshot does not name", list(&others, ", ")),
            remedy: "make a new snapshot".into(),
        })
    }

    /// What is installed in an older version than the frozen one, which must be offered unless the package is on hold. What is
    /// blocked counts as not approved.
    async fn behind(&self, frozen: &Frozen<'_>) -> Result<Behind, Refusal> {
        let packages = self.packages()?;
        let mut counters = PatchCounters::default();
        let mut free = Vec::new();
        for package in &packages {
            match frozen.wanted.get(&self.key(package)) {
                None => counters.installed_other += 1,
                Some(seen) if frozen.guard.blocks(&package.name, &package.arch, &seen.2) => {
                    counters.installed_other += 1;
                }
                Some(seen) if deb::compare(&package.version, &seen.2) == Ordering::Less => {
                    free.push(change(package, seen));
                }
                Some(_) => counters.installed += 1,
            }
        }
        // What no index offers has no candidate either, and would pass for pinned.
        let holds = self.holds()?;
        let missing = |change: &&PackageChange| {
            let held = holds.contains(&(change.name.clone(), change.arch.clone()));
            !held && !frozen.has(&(change.name.clone(), self.filed(&change.arch)))
        };
        let gone = free.iter().filter(missing);
        require_none_gone(gone.map(|change| format!("{}:{} {}", change.name, change.arch, change.to)).collect())?;
        let kept = self.kept(&free).await?;
        counters.missing = u32::try_from(free.len()).unwrap_or(u32::MAX);
        counters.blocked = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        free.retain(|change| !kept.contains_key(&(change.name.clone(), change.arch.clone())));
        Ok(Behind { free, counters })
    }

    /// Simulates installing `free`, and names to apt in the frozen version whatever else it would bring, or cannot bring, in
    /// another one.
    async fn follow(&self, frozen: &Frozen<'_>, free: &[PackageChange]) -> Result<Simulation, Refusal> {
        let mut named: BTreeSet<Key> =
            free.iter().map(|change| (change.name.clone(), self.filed(&change.arch))).collect();
        let mut exact = free
            .iter()
            .map(|change| exact_word(&change.name, &change.arch, &change.to))
            .collect::<Result<Vec<_>, _>>()?;
        let mut simulation = Simulation::default();
        for _ in 0..MAX_ROUNDS {
            if exact.is_empty() {
                break;
            }
            let output = self.look_with(&simulate_args(exact.clone())).await?;
            let wished: Vec<_> = if output.success() {
                simulation = self.read_simulation(&output)?;
                let differs = |key: &Key, new: &str| frozen.wanted.get(key).is_some_and(|seen| seen.2 != new);
                let installs = simulation.installs.iter().map(|install| {
                    let key = (install.name.clone(), install.filed.clone());
                    (differs(&key, &install.new), key)
                });
                installs.filter(|(differs, _)| *differs).map(|(_, key)| key).collect()
            } else {
                // A dependency on exactly the frozen version cannot be met by the one that apt would choose.
                let unmet = self.unmet(&output.stdout);
                frozen.wanted.keys().filter(|key| unmet.contains(key)).cloned().collect()
            };
            let (more, gone): (Vec<_>, Vec<_>) = wished.into_iter().partition(|key| frozen.has(key));
            let more: Vec<_> = more.into_iter().filter(|key| named.insert(key.clone())).collect();
            if more.is_empty() && output.success() {
                return Ok(simulation);
            }
            if more.is_empty() {
                let told = gone.iter().filter_map(|key| frozen.wanted.get(key));
                require_none_gone(told.map(|(name, arch, version, _)| format!("{name}:{arch} {version}")).collect())?;
                return Err(failed(explain(&output), "see what the snapshot lacks, and make a new one"));
            }
            for key in more {
                if let Some((name, arch, version, _)) = frozen.wanted.get(&key) {
                    exact.push(exact_word(name, arch, version)?);
                }
            }
        }
        Ok(simulation)
    }

    /// The packages that a failed simulation says are missing in some version.
    fn unmet(&self, stdout: &str) -> BTreeSet<Key> {
        let mut found = BTreeSet::new();
        for words in stdout.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>()) {
            for pair in words.windows(2).filter(|pair| matches!(pair[0], "Depends:" | "PreDepends:" | "Breaks:")) {
                let (name, arch) = pair[1].split_once(':').unwrap_or((pair[1], self.native()));
                // What may be of any architecture is of the native one where nothing else is said.
                let arch = if matches!(arch, "any" | "native") { self.native() } else { arch };
                found.insert((name.to_owned(), arch.to_owned()));
            }
        }
        found
    }
}

impl Frozen<'_> {
    /// Whether an index offers the frozen version with the frozen contents.
    fn has(&self, key: &Key) -> bool {
        let Some((_, _, version, sha256)) = self.wanted.get(key) else { return false };
        sums(&self.offers, &key.1, &key.0, version).any(|offered| offered == sha256)
    }

    /// Refuses what the baseline blocks and would come along.
    fn require_none_blocked(&self, simulation: &Simulation) -> Result<(), Refusal> {
        let blocked = simulation.installs.iter();
        let blocked = blocked.filter(|install| self.guard.blocks(&install.name, &install.arch, &install.new));
        let named: Vec<_> =
            blocked.map(|install| format!("{}:{} {}", install.name, install.arch, install.new)).collect();
        if named.is_empty() {
            return Ok(());
        }
        let text = format!("{} would come along, which the baseline blocks", list(&named, ", "));
        Err(failed(text, "reject what needs it too, or allow it, then make a new snapshot"))
    }
}

fn change(package: &Installed, (_, _, version, sha256): &Seen) -> PackageChange {
    PackageChange {
        name: package.name.clone(),
        arch: package.arch.clone(),
        from: Some(package.version.clone()),
        to: version.clone(),
        sha256: sha256.clone(),
    }
}

fn require_none_gone(gone: Vec<String>) -> Result<(), Refusal> {
    if gone.is_empty() {
        return Ok(());
    }
    let more = gone.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let named: Vec<_> = gone.into_iter().take(MAX_NAMED).collect();
    Err(Refusal {
        code: RefusalCode::VersionGone,
        text: format!("no repository offers {}{more} any more", named.join(", ")),
        remedy: "make a new snapshot, or add a repository that keeps old versions".into(),
    })
}
