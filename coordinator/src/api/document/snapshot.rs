//! Snapshots: what was approved for a rollout, frozen.

use std::collections::BTreeSet;

use patchmesh_common::{
    id::SnapshotId,
    patch::snapshot::{Choice, Pinned, Snapshot, TIMELESS},
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::Time;
use crate::{fault::Fault, snapshots::Snapshots};

/// What a snapshot judges by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JudgedBy {
    /// Every newer version is approved.
    All,
    /// Versions from a security archive are approved.
    Security,
    /// One baseline, whatever the host's group.
    Baseline,
    /// A baseline override: one baseline per operating system.
    Override,
    /// The baseline of the host's patch group, or the default of its operating system.
    Groups,
}

impl JudgedBy {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Security => "security",
            Self::Baseline => "baseline",
            Self::Override => "override",
            Self::Groups => "groups",
        }
    }
}

/// One snapshot of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRow {
    /// Hash of what it says, hex.
    pub id: String,
    /// The instant at which date gates were judged; where none reads the time, when it was frozen last.
    pub frozen_at: Time,
    /// What decides.
    pub judged_by: JudgedBy,
    /// Names of the baselines that it carries.
    pub baselines: Vec<String>,
    /// Whether a list of patches is installed instead of what the baseline approves.
    pub install_override_list: bool,
    /// How many packages have a frozen version; null if only the rules are frozen, and every host resolves by them.
    pub packages: Option<u32>,
    /// Releases of operating systems that have frozen versions.
    pub releases: Vec<String>,
}

/// `patchmesh.snapshots/v1`: `get snapshots`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The newest first.
    pub snapshots: Vec<SnapshotRow>,
    /// Files that cannot be used, by id.
    pub damaged: Vec<DamagedSnapshot>,
    /// Snapshots that are kept and not listed because there are too many: those that were written first.
    pub left_out: u32,
}

/// A file that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamagedSnapshot {
    /// What its name says.
    pub id: String,
    /// Which file, and what is wrong with it.
    pub text: String,
}

/// A version that is installed and no other, on hosts of one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FrozenVersion {
    /// `ID` of os-release.
    pub os: String,
    /// `VERSION_ID` of os-release; empty if it has none.
    pub os_version: String,
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the archive file.
    pub sha256: String,
}

/// `patchmesh.snapshot/v1`: `describe snapshot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The same members as in the list.
    #[serde(flatten)]
    pub row: SnapshotRow,
    /// By release, name and architecture; null if only the rules are frozen.
    pub versions: Option<Vec<FrozenVersion>>,
}

impl SnapshotRow {
    /// `snapshot`, whose id is `id`, and which was `written` last then.
    pub fn new(id: SnapshotId, snapshot: &Snapshot, written: WallTime) -> Self {
        let rules = &snapshot.rules;
        let baselines: BTreeSet<_> = rules.baselines.iter().map(|written| written.name.clone()).collect();
        let releases: BTreeSet<_> = snapshot.versions.iter().flatten().map(release).collect();
        Self {
            id: id.to_string(),
            frozen_at: Time(if snapshot.at == TIMELESS { written } else { snapshot.at }),
            judged_by: match rules.choice {
                Choice::All => JudgedBy::All,
                Choice::Security => JudgedBy::Security,
                Choice::One | Choice::Systems => JudgedBy::Baseline,
                Choice::System => JudgedBy::Override,
                Choice::Group(_) => JudgedBy::Groups,
            },
            baselines: baselines.into_iter().collect(),
            install_override_list: rules.list.is_some(),
            packages: snapshot.versions.as_ref().map(|versions| u32::try_from(versions.len()).unwrap_or(u32::MAX)),
            releases: releases.into_iter().collect(),
        }
    }
}

fn release(pinned: &Pinned) -> String {
    format!("{} {}", pinned.os, pinned.os_version).trim_end().to_owned()
}

impl SnapshotsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.snapshots/v1";

    /// What `kept` has.
    ///
    /// # Errors
    /// As [`Snapshots::list`].
    pub fn of(kept: &Snapshots) -> Result<Self, Fault> {
        let (all, left_out) = kept.list(|id, read, written| match read {
            Ok(snapshot) => Ok(SnapshotRow::new(id, &snapshot, written)),
            Err(fault) => Err(DamagedSnapshot { id: id.to_string(), text: fault.message }),
        })?;
        let (mut snapshots, mut damaged) = (Vec::new(), Vec::new());
        for read in all {
            match read {
                Ok(row) => snapshots.push(row),
                Err(file) => damaged.push(file),
            }
        }
        snapshots.sort_by(|a, b| (b.frozen_at, &a.id).cmp(&(a.frozen_at, &b.id)));
        damaged.sort_by(|a, b| a.id.cmp(&b.id));
        let left_out = u32::try_from(left_out).unwrap_or(u32::MAX);
        Ok(Self { schema: Self::SCHEMA.to_owned(), snapshots, damaged, left_out })
    }
}

impl SnapshotDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.snapshot/v1";

    /// The whole of `snapshot`, whose id is `id`, and which was `written` last then.
    pub fn new(id: SnapshotId, snapshot: Snapshot, written: WallTime) -> Self {
        let row = SnapshotRow::new(id, &snapshot, written);
        let version = |pinned: Pinned| {
            let Pinned { os, os_version, name, arch, version, sha256 } = pinned;
            FrozenVersion { os, os_version, name, arch, version, sha256 }
        };
        let versions = snapshot.versions.map(|mut versions| {
            versions.sort();
            versions.into_iter().map(version).collect()
        });
        Self { schema: Self::SCHEMA.to_owned(), row, versions }
    }
}
