//! The simulated package manager: versions, a repository, transactions that may fail half-way, and repairs.

use std::collections::BTreeMap;

use patchmesh_common::{
    inventory::{PackageChange, Transaction},
    run::compare::{PackageSet, Unfinished},
};

/// How many packages every host has.
pub(crate) const PACKAGES: u32 = 5;
/// The architecture of all of them.
pub(crate) const ARCH: &str = "amd64";

/// Versions that the repository offers, by package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository(BTreeMap<u32, u32>);

impl Default for Repository {
    fn default() -> Self {
        Self((0..PACKAGES).map(|package| (package, 1)).collect())
    }
}

impl Repository {
    /// Publishes the next version of `package`.
    pub(crate) fn publish(&mut self, package: u32) {
        *self.0.entry(package % PACKAGES).or_insert(1) += 1;
    }
}

/// What one host has installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    versions: BTreeMap<u32, u32>,
    /// Unpacked and not configured.
    unclean: BTreeMap<u32, u32>,
}

impl Default for Installed {
    fn default() -> Self {
        Self { versions: (0..PACKAGES).map(|package| (package, 1)).collect(), unclean: BTreeMap::new() }
    }
}

fn version(number: u32) -> String {
    format!("1.{number}")
}

fn package_name(package: u32) -> String {
    format!("pkg-{package}")
}

fn parse(change: &PackageChange) -> Option<(u32, u32)> {
    Some((change.name.strip_prefix("pkg-")?.parse().ok()?, change.to.strip_prefix("1.")?.parse().ok()?))
}

impl Installed {
    /// What the package manager would do.
    pub(crate) fn resolve(&self, repository: &Repository) -> Transaction {
        let changes = self.versions.iter().filter_map(|(package, have)| {
            let offered = *repository.0.get(package)?;
            (offered > *have).then(|| PackageChange {
                name: package_name(*package),
                arch: ARCH.into(),
                from: Some(version(*have)),
                to: version(offered),
                sha256: format!("{package:032x}{offered:032x}"),
            })
        });
        Transaction { changes: changes.collect(), removals: Vec::new() }
    }

    /// Unpacks the first `count` packages of `transaction`: the database is unclean until they are configured.
    pub(crate) fn unpack(&mut self, transaction: &Transaction, count: usize) {
        self.unclean.extend(transaction.changes.iter().take(count).filter_map(parse));
    }

    /// Configures what is unpacked.
    pub(crate) fn configure(&mut self) {
        let unclean = std::mem::take(&mut self.unclean);
        self.versions.extend(unclean);
    }

    /// What is wrong with the database.
    pub(crate) fn dirty(&self) -> Option<String> {
        let names: Vec<_> = self.unclean.keys().map(|package| package_name(*package)).collect();
        (!names.is_empty()).then(|| format!("half-configured: {}", names.join(", ")))
    }

    /// What is unpacked and not configured.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let word = |package: &u32| ((package_name(*package), ARCH.into()), "half-configured".into());
        self.unclean.keys().map(word).collect()
    }

    /// Whether a package of `transaction` asks for a reboot: every third version of a package does.
    pub(crate) fn asks_for_reboot(transaction: &Transaction) -> bool {
        transaction.changes.iter().filter_map(parse).any(|(package, version)| (package + version) % 3 != 0)
    }

    /// Installed versions as the package manager lists them; what is only unpacked counts as installed.
    pub(crate) fn set(&self) -> PackageSet {
        let mut all = self.versions.clone();
        all.extend(&self.unclean);
        all.into_iter().map(|(package, number)| ((package_name(package), ARCH.into()), version(number))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_resolved_unpacked_and_configured() {
        let (mut repository, mut installed) = (Repository::default(), Installed::default());
        assert!(installed.resolve(&repository).is_empty());
        repository.publish(1);
        repository.publish(3);
        let transaction = installed.resolve(&repository);
        assert_eq!(transaction.changes.len(), 2);
        installed.unpack(&transaction, 1);
        assert_eq!(installed.dirty().as_deref(), Some("half-configured: pkg-1"));
        installed.configure();
        assert_eq!((installed.dirty(), installed.resolve(&repository).changes.len()), (None, 1));
    }
}
