//! From what a rollout asks for to what its hosts are asked with.

use std::collections::BTreeSet;

use patchmesh_common::{
    patch::{
        Baseline,
        baseline::{OperatingSystem, PatchBaseline},
        library::Library,
        snapshot::{Choice, Registered, Rules, Snapshot, Written},
    },
    rollout::spec::{Asked, RolloutSpec},
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
