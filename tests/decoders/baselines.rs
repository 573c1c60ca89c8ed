//! Baselines, what overrides them, the inventories that they judge, and snapshots of all that.

use std::collections::BTreeMap;

use patchmesh_common::{
    inventory::document::{self, Advisory, Host, Inventory, MAX_OFFERS, Offer, Package, Requirement},
    patch::{
        baseline::{Checked, OperatingSystem, PatchBaseline, RejectedAction, aws::AwsBaseline, predefined},
        evaluation::{Row, State, evaluate},
        overrides::{self, InstallList, MAX_LISTED},
        snapshot::{By, MAX_SNAPSHOT, Snapshot, Subject},
    },
    time::WallTime,
    wire,
};
use patchmesh_coordinator::{
    baselines,
    fault::Fault,
    manifest::{self, Manifest, baseline as manifests, groups},
};

use super::wire::comes_back;

/// Of the judge.
const AT: WallTime = WallTime(1_790_000_000_000);
/// When everything of [`stocked`] was released.
const RELEASED: WallTime = WallTime(1_789_000_000_000);

/// The first byte chooses a manifest or AWS's JSON. What is read is judged by, and the same once it was written.
pub(super) fn baseline(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    let file = if *kind == 0 { "b.yaml" } else { "b.json" };
    let read = if *kind == 0 { manifests::parse(file, &text) } else { manifests::parse_aws(file, &text) };
    let Some(baseline) = placed(file, read) else { return };
    judges(&baseline);
    // What cannot be written so that it comes back is refused.
    if let Ok(written) = baselines::yaml(baseline.clone()) {
        assert_eq!(manifests::parse(file, &written).ok().as_ref(), Some(&baseline), "{written}");
    }
    if let Ok(theirs) = AwsBaseline::try_from(baseline.clone()) {
        let written = serde_json::to_string(&theirs).unwrap_or_default();
        assert_eq!(manifests::parse_aws(file, &written).ok(), Some(baseline), "{written}");
    }
}

/// The first byte chooses a `BaselineOverride`, an `InstallOverrideList`, a manifest of any kind, or the coordinator's `groups.yaml`.
pub(super) fn overrides(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(bytes);
    match kind {
        0 => {
            for one in placed("o.json", manifests::parse_override("o.json", &text)).iter().flatten() {
                judges(one);
            }
        }
        1 => {
            // A list says nothing of itself, so that `patches` alone tells it.
            if let Some(Manifest::InstallList(list)) = placed("o.yaml", manifest::parse("o.yaml", &text)) {
                chooses(&list);
            }
        }
        2 => {
            placed("o.yaml", manifest::parse("o.yaml", &text));
        }
        _ => {
            let Some(found) = placed("g.yaml", groups::parse("g.yaml", &text)) else { return };
            if let Ok(written) = groups::text(&found) {
                assert_eq!(groups::parse("g.yaml", &written).ok(), Some(found), "{written}");
            }
        }
    }
}

/// The first byte chooses one of the predefined baselines, the rest is an inventory.
pub(super) fn inventory(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let Ok(inventory) = serde_json::from_slice::<Inventory>(bytes) else { return };
    if inventory.check().is_err() {
        return;
    }
    assert!(inventory.packages.iter().all(|package| package.candidates.len() <= MAX_OFFERS), "over the bound");
    let all = predefined::all();
    if let Some(baseline) = all.get(usize::from(*which) % all.len())
        && let Ok(checked) = baseline.check()
    {
        let list = InstallList { patches: vec![overrides::Listed { id: "*".into(), title: None }] };
        judged(&checked, &inventory, Some(&list));
    }
}

/// A snapshot, which comes back under its id, and what it says of hosts.
pub(super) fn snapshot(bytes: &[u8]) {
    comes_back::<Snapshot>(bytes, MAX_SNAPSHOT);
    let Ok(snapshot) = wire::decode::<Snapshot>(bytes, MAX_SNAPSHOT) else { return };
    assert_eq!(snapshot.check(), Ok(()));
    snapshot.rules.needs_sightings();
    snapshot.first_seen();
    let tags = |pairs: &[(&str, &str)]| -> BTreeMap<_, _> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    for (os, tags) in [
        ("debian", tags(&[])),
        ("debian", tags(&[("Patch Group", "prod")])),
        ("ubuntu", tags(&[("PatchGroup", "prod")])),
        ("amzn", tags(&[("PatchGroup", "a"), ("Patch Group", "b")])),
        ("", tags(&[])),
    ] {
        let host = Subject { os, os_version: "12", tags: &tags };
        let judgement = snapshot.judge(&host);
        if let Ok(By::Baseline(checked, list)) = judgement.map(|judgement| judgement.by) {
            judged(&checked, &stocked(checked.os), list.as_ref());
        }
        let pinned = snapshot.pinned(&host).map(Iterator::count);
        assert!(pinned.unwrap_or_default() <= snapshot.versions.as_ref().map_or(0, Vec::len));
    }
}

/// What was read; an error says where it is.
fn placed<T>(file: &str, read: Result<T, Fault>) -> Option<T> {
    read.map_err(|fault| assert!(fault.chain().contains(file), "{} does not say where", fault.chain())).ok()
}

/// A baseline that was read keeps every limit, and judges a host of its system.
#[expect(clippy::panic, reason = "panicking is what this is for")]
fn judges(baseline: &PatchBaseline) {
    match baseline.check() {
        Ok(checked) => judged(&checked, &stocked(checked.os), None),
        Err(problems) => panic!("it was read, and breaks {problems:?}"),
    }
}

/// A list that was read keeps its bounds, and chooses from what hosts of every system are offered.
fn chooses(list: &InstallList) {
    assert!(list.check().is_ok() && list.patches.len() <= MAX_LISTED, "over the bound");
    // Every entry is held against every offer: a few show what many would.
    let few = InstallList { patches: list.patches.iter().take(64).cloned().collect() };
    for checked in predefined::all().iter().filter_map(|baseline| baseline.check().ok()) {
        judged(&checked, &stocked(checked.os), Some(&few));
    }
}

/// Every package has one place at most in what a baseline says, and what is blocked is approved by nothing.
fn judged(baseline: &Checked, inventory: &Inventory, list: Option<&InstallList>) {
    let Ok(evaluation) = evaluate(baseline, inventory, AT) else { return };
    let said = evaluation.rows.len() + usize::try_from(evaluation.not_applicable).unwrap_or(usize::MAX);
    assert!(said <= inventory.packages.len(), "{said} of {} packages", inventory.packages.len());
    let sorted = |row: &Row| (row.name.clone(), row.arch.clone(), row.installed.clone());
    assert!(evaluation.rows.is_sorted_by_key(sorted), "unsorted");
    for row in &evaluation.rows {
        assert!(!row.reason.text.is_empty(), "{} has its state for no reason", row.name);
        let rejected = row.available.as_ref().and_then(|version| baseline.rejects(&row.name, &row.arch, version));
        let missing = row.state == State::Missing && baseline.action == RejectedAction::Block;
        assert!(rejected.is_none() || !missing, "{} is blocked, and missing all the same", row.name);
    }
    for package in &inventory.packages {
        if let Some(chosen) = list.and_then(|list| list.choice(baseline, inventory, package, AT)) {
            assert!(package.candidates.contains(chosen), "what nobody offers");
        }
    }
}

/// A host of `os` on which each kind of filter, gate and list has something to decide.
fn stocked(os: OperatingSystem) -> Inventory {
    let text = |text: &str| Some(text.to_owned());
    let advisory = Advisory {
        id: "RHSA-2026:1".into(),
        kind: text("Security"),
        severity: text("Critical"),
        issued: Some(RELEASED),
        updated: Some(RELEASED),
        cves: vec!["CVE-2026-0001".into()],
        bugs: vec!["1234567".into()],
    };
    let offer = |version: &str, security: bool| Offer {
        version: version.into(),
        archive: text("main"),
        section: text("net"),
        priority: text("required"),
        released: Some(RELEASED),
        first_seen: Some(RELEASED),
        security,
        advisories: if security { vec![advisory.clone()] } else { Vec::new() },
        product: text("WindowsServer2022"),
        product_family: text("Windows"),
        patch_set: text("OS"),
        requires: vec![Requirement { name: "libc6".into(), arch: "amd64".into(), version: "2".into() }],
        ..Offer::default()
    };
    let package = |name: &str, installed: Option<&str>, candidates: Vec<Offer>| Package {
        name: name.into(),
        arch: "amd64".into(),
        installed: installed.map(str::to_owned),
        applicable: true,
        section: text("net"),
        priority: text("required"),
        candidates,
    };
    Inventory {
        schema: document::SCHEMA.into(),
        host: Host { os: text(os.as_str()), os_version: text("12"), ..Host::default() },
        collected_at: None,
        packages: vec![
            package("libc6", Some("1"), vec![offer("2", true), offer("1:0-1", false)]),
            package("nginx", Some("1.0~rc1-1"), vec![offer("1.0-1", false)]),
            package("nano", Some("7"), vec![]),
            package("KB5001", None, vec![offer("1", true)]),
        ],
    }
}
