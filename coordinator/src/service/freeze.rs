//! From what a rollout asks for to what its hosts are asked with.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::NodeId,
    patch::{
        Baseline,
        baseline::{OperatingSystem, PatchBaseline},
        library::Library,
        snapshot::{Choice, Registered, Rules, Snapshot, Written},
    },
    rollout::{
        plan::PlannedHost,
        spec::{Asked, RolloutSpec},
    },
    time::WallTime,
};

use crate::{fault::Fault, manifest, snapshots::Snapshots};

/// What hosts are asked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Without anything of the user's.
    Plain(Baseline),
    /// With this.
    By(Box<Snapshot>),
}

/// What the hosts of `spec` are asked with, whose operating systems are among `systems`.
///
/// # Errors
/// A [`Fault`] that names the baseline or snapshot that is not there, or is not right.
pub fn question(
    spec: &RolloutSpec,
    library: &Library,
    snapshots: &Snapshots,
    systems: &BTreeSet<OperatingSystem>,
    at: WallTime,
) -> Result<Question, Fault> {
    let (mut rules, versions) = match &spec.baseline {
        Asked::All => return Ok(Question::Plain(Baseline::All)),
        Asked::Security => return Ok(Question::Plain(Baseline::Security)),
        Asked::Baseline(name) => (one(library, name)?, None),
        Asked::Group => (by_group(library, systems), None),
        Asked::Override(text) => (by_system(text)?, None),
        Asked::Snapshot(word) => {
            let (id, snapshot) = snapshots.find(word)?;
            let versions = snapshot.versions.ok_or_else(|| {
                let text = format!("snapshot {id} has no versions: it is what a Scan was asked with");
                Fault::new("snapshot-unresolved", text, NOTHING, "name the snapshot of an Install")
            })?;
            (by_group(library, systems), Some(versions))
        }
    };
    rules.list = match &spec.install_list {
        Some(list) => Some(serde_json::to_string(list).map_err(|error| {
            Fault::new("spec-invalid", "the install override list has no written form", NOTHING, "report this")
                .because(error)
        })?),
        None => None,
    };
    Ok(Question::By(Box::new(Snapshot { at, rules, versions })))
}

const NOTHING: &str = "nothing was planned";

impl Question {
    /// This, if it can be sent: no host is asked otherwise.
    ///
    /// # Errors
    /// `snapshot-too-large`.
    pub fn sendable(self) -> Result<Self, Fault> {
        if let Self::By(snapshot) = &self {
            snapshot.check().map_err(|error| {
                let remedy = "use baselines with fewer entries, or a shorter install override list";
                Fault::new("snapshot-too-large", error.to_string(), NOTHING, remedy)
            })?;
        }
        Ok(self)
    }
}

/// What the hosts of a plan, whose operating systems and versions are in `facts`, resolved by `asked`. `None`, and told in the log,
/// if that takes more than a snapshot may: nothing but a promotion needs it, and it is the hosts that say how much it is.
pub fn versions(
    asked: &Snapshot,
    planned: &[PlannedHost],
    facts: &BTreeMap<NodeId, (String, String)>,
) -> Option<Snapshot> {
    let resolved = planned.iter().filter_map(|host| {
        let (os, os_version) = facts.get(&host.node)?;
        Some((os.as_str(), os_version.as_str(), &host.transaction))
    });
    let frozen = asked.frozen(resolved);
    match frozen.check() {
        Ok(()) => Some(frozen),
        Err(error) => {
            tracing::warn!(%error, "the versions of a plan are not kept as a snapshot");
            None
        }
    }
}

fn rules(baselines: impl IntoIterator<Item = PatchBaseline>, choice: Choice) -> Rules {
    let baselines = baselines.into_iter().map(|baseline| Written::new(&baseline)).collect();
    Rules { baselines, ..Rules::plain(choice) }
}

fn one(library: &Library, name: &str) -> Result<Rules, Fault> {
    let found = library.find(name).ok_or_else(|| {
        let text = format!("there is no baseline {name:?}");
        Fault::new("not-found", text, NOTHING, "see patchmesh get baselines, or import it first")
    })?;
    Ok(rules([found], Choice::One))
}

fn by_group(library: &Library, systems: &BTreeSet<OperatingSystem>) -> Rules {
    let groups = library.groups();
    let registered = Registered {
        groups: groups
            .registered()
            .filter(|(_, os, _)| systems.contains(os))
            .map(|(group, _, baseline)| (group.to_owned(), baseline.to_owned()))
            .collect(),
        defaults: systems.iter().map(|os| groups.default_of(*os).baseline).collect(),
    };
    let found: Vec<_> = registered.names().into_iter().filter_map(|name| library.find(name)).collect();
    rules(found, Choice::Group(registered))
}

fn by_system(text: &str) -> Result<Rules, Fault> {
    let baselines = manifest::baseline::parse_override("baselineOverride", text)?;
    Ok(rules(baselines, Choice::System))
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        inventory::{MAX_CHANGES, PackageChange, Transaction},
        patch::snapshot::MAX_SNAPSHOT,
    };

    use super::*;

    fn asked(list: Option<String>) -> Snapshot {
        Snapshot { at: WallTime(7), rules: Rules { list, ..Rules::plain(Choice::All) }, versions: None }
    }

    fn host(seed: u8, packages: usize) -> PlannedHost {
        let change = |n: usize| PackageChange {
            name: format!("package-{seed}-{n}"),
            arch: "amd64".into(),
            from: None,
            to: "1".into(),
            sha256: "5e".repeat(32),
        };
        let transaction = Transaction { changes: (0..packages).map(change).collect(), removals: vec![] };
        PlannedHost { node: NodeId([seed; 32]), name: format!("host-{seed}"), transaction }
    }

    #[test]
    fn what_is_too_large_to_be_sent_is_asked_of_nobody() {
        let question = |list| Question::By(Box::new(asked(list)));
        assert_eq!(question(None).sendable().unwrap(), question(None));
        let fault = question(Some("x".repeat(MAX_SNAPSHOT))).sendable().unwrap_err();
        assert_eq!((fault.code, fault.unchanged.as_str()), ("snapshot-too-large", "nothing was planned"));
    }

    #[test]
    fn hosts_that_resolve_more_than_a_snapshot_holds_stop_no_plan() {
        let facts: BTreeMap<_, _> =
            [1, 2, 3].map(|seed| (NodeId([seed; 32]), ("debian".to_owned(), "12".to_owned()))).into();
        let frozen = versions(&asked(None), &[host(1, 2)], &facts).unwrap();
        assert_eq!(frozen.versions.unwrap().len(), 2);
        let hosts = [host(1, 2), host(2, MAX_CHANGES), host(3, MAX_CHANGES)];
        assert_eq!(versions(&asked(None), &hosts, &facts), None);
    }
}
