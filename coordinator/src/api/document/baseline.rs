//! Baselines and patch groups as a coordinator keeps them.

use serde::{Deserialize, Serialize};

use crate::manifest::baseline::Written;

/// A baseline in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaselineRow {
    /// Its name.
    pub name: String,
    /// Whose patches it judges.
    pub operating_system: String,
    /// What it says of itself.
    pub description: Option<String>,
    /// Whether it exists without being written.
    pub predefined: bool,
    /// Whether it judges the hosts of its operating system whose group has no baseline.
    pub default: bool,
    /// Its file, if it comes from a folder of manifests.
    pub file: Option<String>,
    /// The patch groups that have it.
    pub groups: Vec<String>,
}

/// `patchmesh.baselines/v1`: `get baselines`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaselinesDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name.
    pub baselines: Vec<BaselineRow>,
}

impl BaselinesDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.baselines/v1";

    /// The list of `baselines`.
    pub fn new(mut baselines: Vec<BaselineRow>) -> Self {
        baselines.sort_by(|a, b| a.name.cmp(&b.name));
        Self { schema: Self::SCHEMA.to_owned(), baselines }
    }
}

/// `patchmesh.baseline/v1`: `describe baseline`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaselineDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Whose patches it judges.
    pub operating_system: String,
    /// Whether it exists without being written.
    pub predefined: bool,
    /// Whether it judges the hosts of its operating system whose group has no baseline.
    pub default: bool,
    /// Its file, if it comes from a folder of manifests.
    pub file: Option<String>,
    /// The patch groups that have it.
    pub groups: Vec<String>,
    /// All of it.
    pub manifest: Written,
}

impl BaselineDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.baseline/v1";

    /// What `row` says, and the whole manifest.
    pub fn new(row: BaselineRow, manifest: Written) -> Self {
        let BaselineRow { name, operating_system, predefined, default, file, groups, .. } = row;
        let schema = Self::SCHEMA.to_owned();
        Self { schema, name, operating_system, predefined, default, file, groups, manifest }
    }
}

/// That a patch group has a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRow {
    /// The value of the hosts' tag.
    pub group: String,
    /// For which of its hosts.
    pub operating_system: String,
    /// The baseline's name.
    pub baseline: String,
}

/// Which baseline judges the hosts whose group has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefaultRow {
    /// Of which operating system.
    pub operating_system: String,
    /// The baseline's name.
    pub baseline: String,
}

/// `patchmesh.groups/v1`: `get groups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By group, then operating system.
    pub groups: Vec<GroupRow>,
    /// One for every operating system, by its name.
    pub defaults: Vec<DefaultRow>,
}

impl GroupsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.groups/v1";

    /// The list of both.
    pub fn new(mut groups: Vec<GroupRow>, mut defaults: Vec<DefaultRow>) -> Self {
        groups.sort_by(|a, b| (&a.group, &a.operating_system).cmp(&(&b.group, &b.operating_system)));
        defaults.sort_by(|a, b| a.operating_system.cmp(&b.operating_system));
        Self { schema: Self::SCHEMA.to_owned(), groups, defaults }
    }
}

/// Which baseline a patch group is to have, or to have no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterRequest {
    /// Its name.
    pub baseline: String,
    /// The operating system that it is expected to be for; `null` for whatever it is for.
    pub operating_system: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// It is new.
    Created,
    /// It took the place of another one of its name.
    Replaced,
    /// Everything was so already.
    Unchanged,
    /// It is gone.
    Deleted,
    /// The group has the baseline.
    Registered,
    /// The group has it no more.
    Deregistered,
    /// The baseline is the default.
    MadeDefault,
}

/// `patchmesh.changed/v1`: what was done to a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// What.
    pub change: Change,
    /// The baseline's name.
    pub baseline: String,
    /// What it is for; `null` if it is not there any more and nobody knows.
    pub operating_system: Option<String>,
    /// The group that was registered or deregistered.
    pub group: Option<String>,
}

impl ChangedDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.changed/v1";
}
