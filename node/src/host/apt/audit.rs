//! Whether the package database is sound, and what a transaction really did.

use std::collections::BTreeMap;

use patchmesh_common::{
    inventory::{PackageChange, Transaction},
    run::message::Refusal,
};

use super::{
    Apt, Step,
    command::{argv, environment, failed},
    config, status,
    status::{Installed, Versions},
    unreadable,
};

/// What a transaction did, by reading what is installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// What changed since before, by (name, architecture); `sha256` is the transaction's, empty for what it did not ask for.
    pub changed: Vec<PackageChange>,
    /// Where that is not exactly the transaction, one sentence each; empty if it was done exactly.
    pub differences: Vec<String>,
}

impl Apt {
    /// What is wrong with the package database, one line each; empty if it is sound. `dpkg --audit` exits with 0 even when it
    /// prints problems, so its output is judged, and the half states in its file.
    ///
    /// # Errors
    /// `ManagerFailed` if dpkg cannot be asked or its file cannot be read.
    pub async fn audit(&self) -> Result<Vec<String>, Refusal> {
        let mut words = argv(&["dpkg"]);
        // The log option is for what writes the log.
        words.extend(config::dpkg_options(&self.root).into_iter().filter(|option| option.starts_with("--root=")));
        words.push("--audit".into());
        let output = self.look_with(&words).await?;
        if !output.success() {
            return Err(failed(format!("dpkg --audit: {}", output.errors()), "nothing was changed; repair dpkg"));
        }
        let mut problems = self.problems(&self.packages()?)?;
        problems.extend(output.stdout.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
        Ok(problems)
    }

    /// What dpkg's own files say is unfinished.
    pub(super) fn problems(&self, packages: &[Installed]) -> Result<Vec<String>, Refusal> {
        let broken = packages.iter().filter_map(|package| {
            package.broken.as_ref().map(|state| format!("{}:{} is {state}", package.name, package.arch))
        });
        let mut problems: Vec<_> = broken.collect();
        if status::interrupted(&self.root).map_err(|error| unreadable("var/lib/dpkg/updates", &error))? {
            problems.push("dpkg was interrupted and left notes in var/lib/dpkg/updates".into());
        }
        Ok(problems)
    }

    /// The commands that repair the database after an interrupted dpkg: finish what was unpacked, then let apt supply what is
    /// missing, removing nothing.
    pub fn repair_plan(&self) -> Vec<Step> {
        let env = environment(&self.change);
        let mut configure = argv(&["dpkg"]);
        configure.extend(config::dpkg_options(&self.root));
        configure.extend(argv(&["--force-confdef", "--force-confold", "--configure", "--pending"]));
        let fix = argv(&["apt-get", "-y", "-q", "-f", "--no-remove", "install"]);
        [configure, fix].map(|argv| Step { argv, env: env.clone() }).into()
    }

    /// Compares what is installed now with what was installed `before` and with what `transaction` asked for.
    ///
    /// # Errors
    /// `ManagerFailed` with file and line of the package database.
    pub fn verify(&self, before: &Versions, transaction: &Transaction) -> Result<Verified, Refusal> {
        Ok(compare(&self.native, before, &self.installed()?, transaction))
    }
}

/// Keys by (name, architecture as apt files it), so that a package that turns from `amd64` to `all` stays itself.
fn filed<'a>(native: &'a str, versions: &'a Versions) -> BTreeMap<(&'a str, &'a str), (&'a str, &'a str)> {
    versions
        .iter()
        .map(|((name, arch), version)| {
            ((name.as_str(), if arch == "all" { native } else { arch.as_str() }), (arch.as_str(), version.as_str()))
        })
        .collect()
}

fn compare(native: &str, before: &Versions, now: &Versions, transaction: &Transaction) -> Verified {
    let mut verified = Verified::default();
    let asked: BTreeMap<_, _> = transaction
        .changes
        .iter()
        .map(|change| {
            let arch = if change.arch == "all" { native } else { change.arch.as_str() };
            ((change.name.as_str(), arch), change)
        })
        .collect();
    let removals: Vec<_> = transaction
        .removals
        .iter()
        .map(|removal| (removal.name.as_str(), if removal.arch == "all" { native } else { removal.arch.as_str() }))
        .collect();
    let (before, now) = (filed(native, before), filed(native, now));
    for (key, (arch, version)) in &now {
        let from = before.get(key).map(|(_, version)| *version);
        let wanted = asked.get(key);
        if from != Some(*version) {
            verified.changed.push(PackageChange {
                name: key.0.to_owned(),
                arch: (*arch).to_owned(),
                from: from.map(str::to_owned),
                to: (*version).to_owned(),
                sha256: wanted.filter(|w| w.to == *version).map(|w| w.sha256.clone()).unwrap_or_default(),
            });
            if wanted.is_none() {
                verified.differences.push(format!("{}:{} is now {version}, which was not planned", key.0, key.1));
            }
        }
        if let Some(wanted) = wanted.filter(|wanted| wanted.to != *version) {
            verified.differences.push(format!("{}:{} is {version} instead of {}", key.0, key.1, wanted.to));
        }
        if removals.contains(key) {
            verified.differences.push(format!("{}:{} is still installed", key.0, key.1));
        }
    }
    for (key, wanted) in asked.iter().filter(|(key, _)| !now.contains_key(*key)) {
        verified.differences.push(format!("{}:{} is not installed; {} was planned", key.0, key.1, wanted.to));
    }
    for key in
        before.keys().filter(|key| !now.contains_key(*key) && !removals.contains(key) && !asked.contains_key(*key))
    {
        verified.differences.push(format!("{}:{} is gone, which was not planned", key.0, key.1));
    }
    verified
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(list: &[(&str, &str, &str)]) -> Versions {
        list.iter().map(|(name, arch, version)| (((*name).into(), (*arch).into()), (*version).into())).collect()
    }

    fn change(name: &str, arch: &str, to: &str) -> PackageChange {
        PackageChange { name: name.into(), arch: arch.into(), from: None, to: to.into(), sha256: "5".into() }
    }

    #[test]
    fn exactly_what_was_planned_has_no_difference() {
        let before = versions(&[("a", "amd64", "1"), ("b", "amd64", "1")]);
        let now = versions(&[("a", "all", "2"), ("b", "amd64", "1"), ("new", "amd64", "1")]);
        let changes = vec![change("a", "all", "2"), change("new", "amd64", "1")];
        let verified = compare("amd64", &before, &now, &Transaction { changes, removals: vec![] });
        assert_eq!(verified.differences, Vec::<String>::new());
        let told: Vec<_> = verified.changed.iter().map(|c| (c.name.as_str(), c.from.as_deref())).collect();
        assert_eq!(told, [("a", Some("1")), ("new", None)]);
        assert!(verified.changed.iter().all(|change| change.sha256 == "5"));
    }

    #[test]
    fn every_kind_of_difference_is_told() {
        let before = versions(&[("a", "amd64", "1"), ("b", "amd64", "1"), ("gone", "all", "1")]);
        let now = versions(&[("a", "amd64", "1"), ("b", "amd64", "2")]);
        let changes = vec![change("a", "amd64", "2"), change("new", "amd64", "1")];
        let verified = compare("amd64", &before, &now, &Transaction { changes, removals: vec![] });
        assert_eq!(
            verified.differences,
            [
                "a:amd64 is 1 instead of 2",
                "b:amd64 is now 2, which was not planned",
                "new:amd64 is not installed; 1 was planned",
                "gone:amd64 is gone, which was not planned"
            ]
        );
    }
}
