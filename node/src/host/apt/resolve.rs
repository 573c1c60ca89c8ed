//! From a baseline to a closed transaction, and from that to the commands that install exactly it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufReader},
};

use patchmesh_common::{
    inventory::{MAX_CHANGES, PackageChange, PackageRemoval, Transaction, deb},
    patch::{Baseline, PatchState, evaluation::settle::Key},
    run::message::{Refusal, RefusalCode, Resolution},
};

use super::{
    Apt, Step,
    command::{argv, environment, failed, list},
    lists::Offers,
    scan::{explain, kernel_release, upgrade_args},
    simulate::Simulation,
    space::{self, Growth, needs, shortage},
    stanza::{Capped, StanzaError},
    status,
};

/// apt's file of automatic marks, below a root.
const EXTENDED_STATES: &str = "var/lib/apt/extended_states";
/// Largest such file that is read.
const MAX_EXTENDED_STATES: u64 = 64 << 20;

impl Apt {
    /// What apt would do for `baseline` now: the closed transaction. Changes nothing.
    ///
    /// # Errors
    /// `Locked`, `DirtyDatabase`, `RemovalsNeeded` naming the packages, or `ManagerFailed` with apt's message.
    pub async fn resolve(&self, baseline: Baseline) -> Result<Resolution, Refusal> {
        self.ready()?;
        let survey = self.survey(baseline).await?;
        let scan = self.judged(baseline, &survey);
        let simulation = match baseline {
            Baseline::All => match survey.simulation {
                Some(simulation) => simulation,
                None => self.simulate(&upgrade_args()).await?,
            },
            Baseline::Security => {
                let missing = scan.rows.iter().filter(|row| row.state == PatchState::Missing && row.blocked.is_none());
                let exact: Vec<_> = missing
                    .filter_map(|row| Some(format!("{}:{}={}", row.name, row.arch, row.available.as_deref()?)))
                    .collect();
                if exact.is_empty() { Simulation::default() } else { self.simulate(&simulate_args(exact)).await? }
            }
        };
        let transaction = self.closed(&simulation, survey.offers).await?;
        Ok(Resolution { transaction, counters: scan.counters })
    }

    /// The closed transaction of a simulation that removes nothing and fits on the disks. `offers` may lack packages.
    pub(super) async fn closed(&self, simulation: &Simulation, offers: Offers) -> Result<Transaction, Refusal> {
        if !simulation.removes.is_empty() {
            let told: Vec<_> =
                simulation.removes.iter().map(|(name, arch, version)| format!("{name}:{arch} {version}")).collect();
            return Err(Refusal {
                code: RefusalCode::RemovalsNeeded,
                text: format!("apt would remove {}", list(&told, ", ")),
                remedy: "hold what wants it, or remove it by hand".into(),
            });
        }
        let (transaction, offers) = self.close(simulation, offers).await?;
        self.require_space(&transaction, &offers)?;
        Ok(transaction)
    }

    /// Simulates exactly `transaction` now. Changes nothing.
    ///
    /// # Errors
    /// `VersionGone` if a version is in no index any more, `Held` if a package was put on hold or pinned, `PlanChanged` with
    /// the difference if apt would now do something else, `ConfigConflict` if dpkg would have to ask about a configuration
    /// file, and what [`Self::resolve`] refuses with.
    pub async fn check(&self, transaction: &Transaction) -> Result<(), Refusal> {
        self.ready()?;
        if transaction.is_empty() {
            return Ok(());
        }
        let exact = exact(transaction)?;
        let offers = self.offers(transaction.changes.iter().map(|change| change.name.clone()).collect()).await?;
        let gone: Vec<_> = transaction
            .changes
            .iter()
            .filter(|change| sums(&offers, &self.filed(&change.arch), &change.name, &change.to).next().is_none())
            .map(|change| format!("{}:{} {}", change.name, change.arch, change.to))
            .collect();
        if !gone.is_empty() {
            return Err(Refusal {
                code: RefusalCode::VersionGone,
                text: format!("no repository offers {} any more", list(&gone, ", ")),
                remedy: "make a new plan".into(),
            });
        }
        // What no index offers has no candidate either, and would pass for pinned.
        self.require_free(transaction).await?;
        let output = self.look_with(&simulate_args(exact)).await?;
        if !output.success() {
            return Err(plan_changed(&explain(&output)));
        }
        let (now, offers) = self.close(&self.read_simulation(&output)?, offers).await?;
        let differences = differences(transaction, &now);
        if !differences.is_empty() {
            return Err(plan_changed(&list(&differences, ", ")));
        }
        self.require_space(transaction, &offers)?;
        self.require_no_conflict(transaction).await
    }

    /// Refuses what was put on hold, or pinned below the planned version, since it was planned.
    async fn require_free(&self, transaction: &Transaction) -> Result<(), Refusal> {
        let kept = self.kept(&transaction.changes).await?;
        if kept.is_empty() {
            return Ok(());
        }
        Err(Refusal {
            code: RefusalCode::Held,
            text: list(&kept.into_values().collect::<Vec<_>>(), ", "),
            remedy: "make a new plan, which leaves it out, or remove the hold or pin".into(),
        })
    }

    /// What is on hold or pinned below the version that it would become, with words about it: naming a version to apt would
    /// override a pin.
    pub(super) async fn kept(&self, changes: &[PackageChange]) -> Result<BTreeMap<Key, String>, Refusal> {
        if changes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut words = argv(&["apt-cache", "policy"]);
        words.extend(changes.iter().map(|change| format!("{}:{}", change.name, self.filed(&change.arch))));
        let output = self.look_with(&words).await?;
        if !output.success() {
            return Err(failed(format!("apt-cache policy: {}", output.errors()), "repair the configuration of apt"));
        }
        let (holds, candidates) = (self.holds()?, candidates(&output.stdout, &self.native));
        let kept = changes.iter().filter_map(|change| {
            let key = (change.name.clone(), change.arch.clone());
            if holds.contains(&key) {
                let text = format!("{}:{} is on hold", change.name, change.arch);
                return Some((key, text));
            }
            let candidate = candidates.get(&(change.name.clone(), self.filed(&change.arch)))?;
            let below = candidate.as_ref().is_none_or(|version| deb::compare(version, &change.to) == Ordering::Less);
            let to = candidate.as_deref().unwrap_or("no version");
            below.then(|| (key, format!("{}:{} is pinned to {to}, below {}", change.name, change.arch, change.to)))
        });
        Ok(kept.collect())
    }

    /// The commands that install exactly `transaction`, for the runner. Packages that apt marks as automatically installed,
    /// and new ones, are marked so again afterwards: naming a package to apt would make it a wish of the administrator.
    ///
    /// # Errors
    /// `ManagerFailed` if a name or version of the transaction is none, or apt's marks cannot be read.
    pub fn install_plan(&self, transaction: &Transaction) -> Result<Vec<Step>, Refusal> {
        if transaction.changes.is_empty() {
            return Ok(Vec::new());
        }
        let env = environment(&self.change);
        let mut install = argv(&["apt-get", "-y", "-q", "--no-remove", "--no-install-recommends", "install"]);
        install.extend(exact(transaction)?);
        let mut steps = vec![Step { argv: install, env: env.clone() }];
        let marks = self.automatic_marks()?;
        let again: Vec<_> = transaction
            .changes
            .iter()
            .filter(|change| change.from.is_none() || marks.contains(&(change.name.clone(), self.filed(&change.arch))))
            .map(|change| format!("{}:{}", change.name, self.filed(&change.arch)))
            .collect();
        if !again.is_empty() {
            let mut mark = argv(&["apt-mark", "-q", "auto"]);
            mark.extend(again);
            steps.push(Step { argv: mark, env });
        }
        Ok(steps)
    }

    /// # Errors
    /// `NoSpace` naming the file system, or `ManagerFailed` if one cannot be asked.
    fn require_space(&self, transaction: &Transaction, offers: &Offers) -> Result<(), Refusal> {
        let installed: BTreeMap<_, _> =
            self.packages()?.into_iter().map(|package| ((package.name, package.arch), package.unpacked)).collect();
        let growth = transaction.changes.iter().map(|change| {
            let new = offers
                .get(&(change.name.clone(), self.filed(&change.arch)))
                .and_then(|offered| offered.iter().find(|candidate| candidate.version == change.to));
            let old = installed.get(&(change.name.clone(), change.arch.clone())).copied().flatten();
            Growth {
                kernel: kernel_release(&change.name).is_some(),
                download: new.and_then(|new| new.download).unwrap_or_default(),
                unpacked: new.and_then(|new| new.unpacked).unwrap_or_default(),
                replaced: old.unwrap_or_default(),
            }
        });
        let needs = needs(&growth.collect::<Vec<_>>());
        let rooms = space::rooms(&self.root, &needs).map_err(|why| failed(why, "check the host's mounts"))?;
        match shortage(&rooms) {
            None => Ok(()),
            Some(text) => Err(Refusal {
                code: RefusalCode::NoSpace,
                text,
                remedy: "free some there, for example with `apt-get clean` and `apt-get autoremove`".into(),
            }),
        }
    }

    /// The architecture under which apt files a package.
    pub(super) fn filed(&self, arch: &str) -> String {
        if arch == "all" { self.native.clone() } else { arch.to_owned() }
    }

    fn automatic_marks(&self) -> Result<BTreeSet<(String, String)>, Refusal> {
        let path = self.root.join(EXTENDED_STATES);
        let place = path.display().to_string();
        match fs::File::open(&path) {
            Ok(file) => {
                let reader = BufReader::new(Capped::new(file, MAX_EXTENDED_STATES));
                let marks = status::automatic(reader, &place)?;
                Ok(marks.into_iter().map(|(name, arch)| (name, self.filed(&arch))).collect())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(source) => Err(StanzaError::Io { place, line: 0, source }.into()),
        }
    }

    /// A simulation with checksums, sorted, and what is offered of its packages.
    async fn close(&self, simulation: &Simulation, mut offers: Offers) -> Result<(Transaction, Offers), Refusal> {
        if simulation.installs.len() > MAX_CHANGES {
            let text =
                format!("apt would install {} packages; at most {MAX_CHANGES} are handled", simulation.installs.len());
            return Err(failed(text, "upgrade this host by hand"));
        }
        let unknown: BTreeSet<_> = simulation
            .installs
            .iter()
            .filter(|install| !offers.contains_key(&(install.name.clone(), install.filed.clone())))
            .map(|install| install.name.clone())
            .collect();
        if !unknown.is_empty() {
            offers.extend(self.offers(unknown).await?);
        }
        let mut transaction = Transaction::default();
        for install in &simulation.installs {
            let arch = self.filed(&install.arch);
            let Some(sha256) = sums(&offers, &arch, &install.name, &install.new).next() else {
                let text = format!("no index has a SHA-256 of {}:{} {}", install.name, install.arch, install.new);
                return Err(failed(text, "refresh the indexes"));
            };
            transaction.changes.push(PackageChange {
                name: install.name.clone(),
                arch: install.arch.clone(),
                from: install.old.clone(),
                to: install.new.clone(),
                sha256: sha256.to_owned(),
            });
        }
        for (name, arch, version) in &simulation.removes {
            transaction.removals.push(PackageRemoval {
                name: name.clone(),
                arch: arch.clone(),
                version: version.clone(),
            });
        }
        transaction.changes.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        transaction.removals.sort_by(|a, b| (&a.name, &a.arch).cmp(&(&b.name, &b.arch)));
        Ok((transaction, offers))
    }
}

/// Every package's candidate by `apt-cache policy`; `None` where preferences leave none.
fn candidates(policy: &str, native: &str) -> BTreeMap<(String, String), Option<String>> {
    let mut found = BTreeMap::new();
    let mut package = None;
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            let (name, arch) = name.split_once(':').unwrap_or((name, native));
            package = Some((name.to_owned(), arch.to_owned()));
        } else if let Some(version) = line.strip_prefix("  Candidate: ")
            && let Some(package) = package.take()
        {
            found.insert(package, (version != "(none)").then(|| version.to_owned()));
        }
    }
    found
}

fn plan_changed(difference: &str) -> Refusal {
    Refusal {
        code: RefusalCode::PlanChanged,
        text: format!("apt would now do something else: {difference}"),
        remedy: "make a new plan".into(),
    }
}

/// The checksums under which a version is offered.
pub(super) fn sums<'a>(offers: &'a Offers, filed: &str, name: &str, version: &str) -> impl Iterator<Item = &'a str> {
    let known = offers.get(&(name.to_owned(), filed.to_owned())).map(Vec::as_slice).unwrap_or_default();
    let version = version.to_owned();
    known
        .iter()
        .filter(move |candidate| candidate.version == version)
        .filter_map(|candidate| candidate.sha256.as_deref())
}

/// A simulation of installing exactly these, with everything that they need.
pub(super) fn simulate_args(exact: Vec<String>) -> Vec<String> {
    let mut words = argv(&["apt-get", "-s", "-y", "--no-install-recommends", "install"]);
    words.extend(exact);
    words
}

/// `name:arch=version` for every change.
fn exact(transaction: &Transaction) -> Result<Vec<String>, Refusal> {
    transaction.changes.iter().map(exact_one).collect()
}

pub(super) fn exact_one(change: &PackageChange) -> Result<String, Refusal> {
    exact_word(&change.name, &change.arch, &change.to)
}

/// `name:arch=version`, one plain word of a command line.
pub(super) fn exact_word(name: &str, arch: &str, version: &str) -> Result<String, Refusal> {
    let bad = |why: String| failed(why, "make a new plan");
    let name_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(name_ok) {
        return Err(bad(format!("{name:?} is not a package name")));
    }
    let arch_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !arch.starts_with(|c: char| c.is_ascii_lowercase()) || !arch.chars().all(arch_ok) {
        return Err(bad(format!("{arch:?} is not an architecture")));
    }
    deb::check(version).map_err(|error| bad(error.to_string()))?;
    Ok(format!("{name}:{arch}={version}"))
}

fn differences(planned: &Transaction, now: &Transaction) -> Vec<String> {
    fn keyed(transaction: &Transaction) -> BTreeMap<(&str, &str), &PackageChange> {
        transaction.changes.iter().map(|change| ((change.name.as_str(), change.arch.as_str()), change)).collect()
    }
    let (planned_by, now_by) = (keyed(planned), keyed(now));
    let mut told = Vec::new();
    for (key, planned) in &planned_by {
        let name = format!("{}:{}", key.0, key.1);
        match now_by.get(key) {
            None => told.push(format!("{name} would not be installed as {}", planned.to)),
            Some(now) if now.to != planned.to => {
                told.push(format!("{name} would become {} instead of {}", now.to, planned.to))
            }
            Some(now) if now.from != planned.from => {
                let version = |from: &Option<String>| from.clone().unwrap_or_else(|| "not installed".into());
                told.push(format!("{name} is {} now, it was {}", version(&now.from), version(&planned.from)));
            }
            Some(now) if now.sha256 != planned.sha256 => told.push(format!("{name} {} has other contents", now.to)),
            Some(_) => {}
        }
    }
    for (key, now) in now_by.iter().filter(|(key, _)| !planned_by.contains_key(*key)) {
        told.push(format!("{}:{} {} would be installed too", key.0, key.1, now.to));
    }
    for removal in now.removals.iter().filter(|removal| !planned.removals.contains(removal)) {
        told.push(format!("{}:{} would be removed", removal.name, removal.arch));
    }
    for removal in planned.removals.iter().filter(|removal| !now.removals.contains(removal)) {
        told.push(format!("{}:{} would not be removed", removal.name, removal.arch));
    }
    told
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(name: &str, from: Option<&str>, to: &str) -> PackageChange {
        PackageChange {
            name: name.into(),
            arch: "amd64".into(),
            from: from.map(str::to_owned),
            to: to.into(),
            sha256: "00".into(),
        }
    }

    fn transaction(changes: Vec<PackageChange>) -> Transaction {
        Transaction { changes, removals: vec![] }
    }

    #[test]
    fn what_is_no_package_never_reaches_a_command_line() {
        assert_eq!(exact_one(&change("g++", None, "1:2-3~x")).unwrap(), "g++:amd64=1:2-3~x");
        for bad in [change("-o", None, "1"), change("a b", None, "1"), change("", None, "1"), change("a", None, "1 2")]
        {
            assert!(exact_one(&bad).is_err(), "{bad:?}");
        }
        assert!(exact_one(&PackageChange { arch: "x=1".into(), ..change("a", None, "1") }).is_err());
    }

    #[test]
    fn a_hostile_transaction_is_refused_whole() {
        let good = change("tool", Some("1"), "2");
        let names = [
            "-o",
            "--force-yes",
            "-oDPkg::Pre-Invoke::=reboot",
            "tool/stable",
            "/tmp/evil.deb",
            "./evil.deb",
            "tool=1",
            "tool:i386",
            "tool\n-o",
            "tool -o",
            "tööl",
            "Tool",
            "tool\0",
            "",
            "+tool",
            "$(reboot)",
            "`reboot`",
            "tool;reboot",
            "*",
        ];
        let versions = ["", "-o", "2 -o", "2\n-o", "2/stable", "2-", "２", "2;reboot", "$(reboot)", "2\0", "a2"];
        let arches = ["", "-o", "amd64=1", "amd64/x", "amd64 -o", "any\n", "ämd64"];
        let hostile = names
            .iter()
            .map(|name| PackageChange { name: (*name).into(), ..good.clone() })
            .chain(versions.iter().map(|to| PackageChange { to: (*to).into(), ..good.clone() }))
            .chain(arches.iter().map(|arch| PackageChange { arch: (*arch).into(), ..good.clone() }));
        for bad in hostile {
            let refusal = exact(&transaction(vec![good.clone(), bad.clone()])).unwrap_err();
            assert_eq!(refusal.remedy, "make a new plan", "{bad:?}");
            assert!(!refusal.text.contains(['\n', '\0']), "{refusal:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_one_plain_word(name in ".{0,6}|[a-z0-9+.-]{1,6}", arch in ".{0,4}|[a-z0-9-]{1,5}", to in ".{0,6}|[0-9][a-z0-9.+~:-]{0,6}") {
            let change = PackageChange { name: name.clone(), arch: arch.clone(), to: to.clone(), ..change("x", None, "1") };
            if let Ok(word) = exact_one(&change) {
                prop_assert!(word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()), "{}", word);
                prop_assert!(word.chars().all(|c| c.is_ascii_alphanumeric() || "+-.:=~".contains(c)), "{}", word);
                prop_assert_eq!(word, format!("{name}:{arch}={to}"));
            }
        }
    }

    #[test]
    fn every_kind_of_change_of_plan_is_told() {
        let planned = transaction(vec![
            change("a", Some("1"), "2"),
            change("b", Some("1"), "2"),
            change("c", Some("1"), "2"),
            change("d", Some("1"), "2"),
        ]);
        assert!(differences(&planned, &planned).is_empty());
        let mut now = transaction(vec![
            change("a", Some("1"), "3"),
            change("b", Some("1.5"), "2"),
            PackageChange { sha256: "11".into(), ..change("c", Some("1"), "2") },
            change("e", None, "1"),
        ]);
        now.removals.push(PackageRemoval { name: "f".into(), arch: "all".into(), version: "1".into() });
        assert_eq!(
            differences(&planned, &now),
            [
                "a:amd64 would become 3 instead of 2",
                "b:amd64 is 1.5 now, it was 1",
                "c:amd64 2 has other contents",
                "d:amd64 would not be installed as 2",
                "e:amd64 1 would be installed too",
                "f:all would be removed"
            ]
        );
    }
}
