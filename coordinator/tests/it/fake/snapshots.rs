//! The snapshots that the fake keeps: versions by groups' baselines, the rules of one baseline, and what all updates came to.

use std::path::Path;

use patchmesh_common::{
    patch::snapshot::{Choice, Pinned, Registered, Rules, Snapshot, Written},
    time::WallTime,
};
use patchmesh_coordinator::snapshots::Snapshots;

/// Keeps them in `folder`.
pub(crate) fn keep(folder: &Path) -> Snapshots {
    let at = |text: &str| WallTime::parse(text).unwrap();
    let pinned = |os_version: &str, name: &str, version: &str| Pinned {
        os: "debian".into(),
        os_version: os_version.into(),
        name: name.into(),
        arch: "amd64".into(),
        version: version.into(),
        sha256: "5e".repeat(32),
    };
    let written = |name: &str| Written { name: name.into(), spec: "{}".into() };
    let groups = Registered { groups: vec![("prod".into(), "web".into())], defaults: vec!["strict".into()] };
    let by_groups = Snapshot {
        at: at("2026-12-01T02:00:00Z"),
        rules: Rules {
            baselines: vec![written("web"), written("strict")],
            choice: Choice::Group(groups),
            list: None,
            first_seen: vec![],
        },
        versions: Some(vec![
            pinned("13", "nginx", "1.26.3-3+deb13u1"),
            pinned("12", "nginx", "1.22.1-9+deb12u3"),
            pinned("12", "libssl3", "3.0.16-1~deb12u1"),
        ]),
    };
    let rules = Snapshot {
        at: at("2026-11-24T02:00:00Z"),
        rules: Rules { baselines: vec![written("web")], list: Some("{}".into()), ..Rules::plain(Choice::One) },
        versions: None,
    };
    let nothing =
        Snapshot { at: at("2026-11-17T02:00:00Z"), rules: Rules::plain(Choice::Security), versions: Some(vec![]) };
    let kept = Snapshots::new(folder);
    for snapshot in [by_groups, rules, nothing] {
        kept.keep(&snapshot).unwrap();
    }
    kept
}
