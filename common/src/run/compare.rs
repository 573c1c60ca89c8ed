//! Exactness: is the package set after a run what the closed transaction says?

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inventory::{PackageChange, Transaction};

/// Installed versions by (name, architecture).
pub type PackageSet = BTreeMap<(String, String), String>;

/// The package manager's word for what it has begun and not finished, by (name, architecture).
pub type Unfinished = BTreeMap<(String, String), String>;

/// Most differences that are listed; the rest is counted. A report must stay readable.
pub const MAX_DIFFERENCES: usize = 32;

/// What changed, and what should not have, or did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Comparison {
    /// Every package whose version differs from before, by (name, arch). `to` is empty for a removed one; `sha256` is the
    /// transaction's where the version is, and empty otherwise.
    pub changed: Vec<PackageChange>,
    /// One sentence fragment per difference between what is installed and what was expected. Empty means exact.
    pub differences: Vec<String>,
}

impl Comparison {
    /// Without what is `unfinished`: that is not installed, whatever version the package manager's database names.
    pub fn finished(mut self, unfinished: &Unfinished) -> Self {
        self.changed.retain(|change| !unfinished.contains_key(&(change.name.clone(), change.arch.clone())));
        self
    }
}

/// Compares the sets before and after with what `expected` leaves of the set before.
///
/// Without a set before (it was never taken, because no runner was launched) only the packages of `expected` are judged.
pub fn compare(before: Option<&PackageSet>, after: &PackageSet, expected: &Transaction) -> Comparison {
    let known_before = before.map_or_else(|| reconstruct(after, expected), |before| follow(before, after));
    let mut wanted = known_before.clone();
    for change in &expected.changes {
        wanted.insert((change.name.clone(), change.arch.clone()), change.to.clone());
    }
    for removal in &expected.removals {
        wanted.remove(&(removal.name.clone(), removal.arch.clone()));
    }
    Comparison { changed: changed(&known_before, after, expected), differences: differences(&wanted, after) }
}

/// The set before, under the architecture that each package has now: one that turned from `amd64` into `all`, or back, stays
/// itself.
fn follow(before: &PackageSet, after: &PackageSet) -> PackageSet {
    let place = |key: &(String, String)| {
        // Nearly every package: looking for it elsewhere costs a walk over all.
        if after.contains_key(key) {
            return key.clone();
        }
        let (name, arch) = key;
        let turned = after.keys().find(|(other, now)| other == name && now != arch && (now == "all" || arch == "all"));
        turned.filter(|turned| !before.contains_key(*turned)).unwrap_or(key).clone()
    };
    before.iter().map(|(key, version)| (place(key), version.clone())).collect()
}

/// The set before, as the transaction says that it was.
fn reconstruct(after: &PackageSet, expected: &Transaction) -> PackageSet {
    let mut before = after.clone();
    for change in &expected.changes {
        let key = (change.name.clone(), change.arch.clone());
        match &change.from {
            Some(from) => before.insert(key, from.clone()),
            None => before.remove(&key),
        };
    }
    for removal in &expected.removals {
        before.insert((removal.name.clone(), removal.arch.clone()), removal.version.clone());
    }
    before
}

fn changed(before: &PackageSet, after: &PackageSet, expected: &Transaction) -> Vec<PackageChange> {
    let hash = |name: &str, arch: &str, version: &str| {
        let planned = expected.changes.iter().find(|c| c.name == name && c.arch == arch && c.to == version);
        planned.map(|change| change.sha256.clone()).unwrap_or_default()
    };
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| {
            let to = after.get(key).cloned().unwrap_or_default();
            PackageChange {
                sha256: hash(&key.0, &key.1, &to),
                name: key.0.clone(),
                arch: key.1.clone(),
                from: before.get(key).cloned(),
                to,
            }
        })
        .collect()
}

fn differences(wanted: &PackageSet, after: &PackageSet) -> Vec<String> {
    let mut found = Vec::new();
    let mut more = 0usize;
    let mut keys: Vec<_> = wanted.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let text = match (wanted.get(key), after.get(key)) {
            (Some(want), Some(have)) if want == have => continue,
            (Some(want), Some(have)) => format!("{}:{} is {have}, planned was {want}", key.0, key.1),
            (Some(want), None) => format!("{}:{} is not installed, planned was {want}", key.0, key.1),
            (None, Some(have)) => format!("{}:{} is {have}, planned was its absence", key.0, key.1),
            (None, None) => continue,
        };
        if found.len() < MAX_DIFFERENCES { found.push(text) } else { more += 1 }
    }
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::PackageRemoval;

    fn set(rows: &[(&str, &str)]) -> PackageSet {
        rows.iter().map(|(name, version)| ((String::from(*name), "amd64".into()), String::from(*version))).collect()
    }

    fn planned() -> Transaction {
        let change = |name: &str, from: Option<&str>, to: &str| PackageChange {
            name: name.into(),
            arch: "amd64".into(),
            from: from.map(Into::into),
            to: to.into(),
            sha256: format!("hash-of-{name}"),
        };
        Transaction {
            changes: vec![change("new", None, "1"), change("tool", Some("1"), "2")],
            removals: vec![PackageRemoval { name: "old".into(), arch: "amd64".into(), version: "1".into() }],
        }
    }

    #[test]
    fn an_exact_run_has_changes_and_no_difference() {
        let before = set(&[("base", "1"), ("old", "1"), ("tool", "1")]);
        let after = set(&[("base", "1"), ("new", "1"), ("tool", "2")]);
        let exact = compare(Some(&before), &after, &planned());
        assert_eq!(exact.differences, Vec::<String>::new());
        let rows: Vec<_> = exact
            .changed
            .iter()
            .map(|c| (c.name.as_str(), c.from.as_deref(), c.to.as_str(), c.sha256.as_str()))
            .collect();
        assert_eq!(
            rows,
            [("new", None, "1", "hash-of-new"), ("old", Some("1"), "", ""), ("tool", Some("1"), "2", "hash-of-tool")]
        );
        assert_eq!(compare(None, &after, &planned()), exact);
    }

    #[test]
    fn what_was_only_begun_has_not_changed() {
        let after = set(&[("new", "1"), ("tool", "2")]);
        let exact = compare(Some(&set(&[("tool", "1")])), &after, &planned());
        let unfinished = Unfinished::from([(("tool".into(), "amd64".into()), "half-configured".into())]);
        let finished = exact.clone().finished(&unfinished);
        assert_eq!((finished.changed.as_slice(), finished.differences), (&exact.changed[..1], exact.differences));
    }

    #[test]
    fn a_package_that_turns_from_native_into_all_stays_itself() {
        let before = set(&[("tool", "1")]);
        let after = PackageSet::from([(("tool".into(), "all".into()), "2".into())]);
        let mut planned = planned();
        planned.changes.remove(0);
        planned.changes[0].arch = "all".into();
        planned.removals.clear();
        let found = compare(Some(&before), &after, &planned);
        assert_eq!((found.differences, found.changed), (Vec::<String>::new(), planned.changes));
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let before = set(&[("base", "1"), ("old", "1"), ("tool", "1")]);
        let after = set(&[("base", "2"), ("extra", "1"), ("tool", "1")]);
        assert_eq!(
            compare(Some(&before), &after, &planned()).differences,
            [
                "base:amd64 is 2, planned was 1",
                "extra:amd64 is 1, planned was its absence",
                "new:amd64 is not installed, planned was 1",
                "tool:amd64 is 1, planned was 2",
            ]
        );
    }

    #[test]
    fn a_long_list_of_differences_is_cut_and_counted() {
        let after = (0..40).map(|n| ((format!("p{n:02}"), "all".into()), "1".into())).collect();
        let found = compare(Some(&PackageSet::new()), &after, &Transaction::default()).differences;
        assert_eq!(found.len(), MAX_DIFFERENCES + 1);
        assert_eq!(found.last().map(String::as_str), Some("and 8 more"));
    }
}
