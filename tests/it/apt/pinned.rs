//! Exact versions, as a snapshot freezes them.

use std::fs;

use patchmesh_common::{
    patch::{
        Baseline,
        overrides::{InstallList, Listed},
        sighting::Seen,
        snapshot::By,
    },
    run::message::RefusalCode,
};
use patchmesh_node::host::apt::Apt;

use super::{
    fixture::{Fixture, possible},
    judged::{everything, rejecting},
    planned,
};

fn frozen(transaction: &patchmesh_common::inventory::Transaction) -> Vec<Seen> {
    let seen = transaction.changes.iter().map(|change| {
        let change = change.clone();
        (change.name, change.arch, change.to, change.sha256)
    });
    seen.collect()
}

#[tokio::test]
async fn frozen_versions_are_installed_though_newer_ones_appeared() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    fixture.publish(|deb| (deb.name, deb.version) != ("mixed", "3"));
    apt.refresh().await.unwrap();
    let before = apt.resolve(Baseline::All).await.unwrap().transaction;
    assert!(planned(&before).contains(&format!("mixed:{} 1 2", fixture.native)));
    let versions = frozen(&before);
    fixture.publish(|_| true);
    apt.refresh().await.unwrap();
    assert_ne!(apt.resolve(Baseline::All).await.unwrap().transaction, before);
    let resolution = apt.resolve_versions(&versions, &By::All).await.unwrap();
    assert_eq!(resolution.transaction, before);
    assert_eq!((resolution.counters.missing, resolution.counters.blocked), (7, 0));
    apt.check(&before).await.unwrap();

    // What is put on hold here stays here, and nothing comes that is not frozen.
    fixture.command("apt-mark").args(["hold", "epo"]).output().unwrap();
    let held = apt.resolve_versions(&versions, &By::All).await.unwrap();
    assert_eq!((held.counters.missing, held.counters.blocked), (7, 1));
    assert!(held.transaction.changes.iter().all(|change| change.name != "epo"));
    let without: Vec<_> = versions.iter().filter(|seen| seen.0 != "newdep").cloned().collect();
    let refusal = apt.resolve_versions(&without, &By::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::PlanChanged);
    assert!(refusal.text.contains(&format!("newdep:{} 1", fixture.native)), "{}", refusal.text);

    let (ok, output) = fixture.perform(&apt.install_plan(&held.transaction).unwrap());
    assert!(ok, "{output}");
    assert!(apt.resolve_versions(&versions, &By::All).await.unwrap().transaction.is_empty());
}

#[tokio::test]
async fn what_the_host_s_own_baseline_blocks_stays_out_though_it_is_frozen() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let native = fixture.native;
    let before = apt.resolve(Baseline::All).await.unwrap();
    let versions = frozen(&before.transaction);
    let by = |names: &[&str], action: &str, list: Option<InstallList>| {
        By::Baseline(Box::new(everything(rejecting(names, action))), list)
    };
    let mut expected = before.transaction.clone();
    expected.changes.retain(|change| change.name != "epo");
    let blocking = apt.resolve_versions(&versions, &by(&["epo"], "BLOCK", None)).await.unwrap();
    assert_eq!((&blocking.transaction, blocking.counters.missing), (&expected, 6));
    // It is of no account that no repository offers it any more.
    let mut gone = versions.clone();
    gone.iter_mut().filter(|seen| seen.0 == "epo").for_each(|seen| seen.3 = "00".repeat(32));
    let without = apt.resolve_versions(&gone, &by(&["epo"], "BLOCK", None)).await.unwrap();
    assert_eq!(without.transaction, expected);
    let refusal = apt.resolve_versions(&versions, &by(&["newdep"], "BLOCK", None)).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ManagerFailed);
    assert_eq!(refusal.text, format!("newdep:{native} 1 would come along, which the baseline blocks"));

    // Only BLOCK keeps out, and not what an override list names.
    let list = InstallList { patches: vec![Listed { id: format!("epo.{native}"), title: None }] };
    for by in [by(&["epo", "newdep"], "ALLOW_AS_DEPENDENCY", None), by(&["epo"], "BLOCK", Some(list))] {
        assert_eq!(apt.resolve_versions(&versions, &by).await.unwrap().transaction, before.transaction);
    }
}

#[tokio::test]
async fn every_frozen_version_that_is_gone_is_named() {
    if !possible() {
        return;
    }
    let fixture = Fixture::new();
    let apt = fixture.open().await;
    let native = fixture.native;
    let mut versions = frozen(&apt.resolve(Baseline::All).await.unwrap().transaction);
    let gone = [("til", "1.0"), ("epo", "1:0.5")];
    fixture.publish(|deb| !gone.contains(&(deb.name, deb.version)));
    apt.refresh().await.unwrap();
    // The same number with other contents is another version.
    versions.iter_mut().filter(|seen| seen.0 == "mixed").for_each(|seen| seen.3 = "00".repeat(32));
    let refusal = apt.resolve_versions(&versions, &By::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::VersionGone);
    let expected = format!("no repository offers epo:{native} 1:0.5, mixed:{native} 3, til:{native} 1.0 any more");
    assert_eq!(refusal.text, expected);
    // What is installed in its frozen version needs no repository.
    versions.retain(|seen| !["til", "epo", "mixed"].contains(&seen.0.as_str()));
    versions.push(("epo".into(), native.into(), "9.0".into(), "00".repeat(32)));
    apt.resolve_versions(&versions, &By::All).await.unwrap();
}

/// A root with `app` 1, and a repository with `app` 2 that depends on `depends`, and `newdep` in these versions.
async fn with_dependency(fixture: &Fixture, depends: &str, versions: &[&str]) -> Apt {
    let native = fixture.native;
    let status = format!(
        "Package: app\nStatus: install ok installed\nVersion: 1\nArchitecture: {native}\nMaintainer: t \
         <t@example.org>\nDescription: test\n\n"
    );
    fs::write(fixture.root().join("var/lib/dpkg/status"), status).unwrap();
    let paragraph = |name: &str, version: &str, depends: &str| {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {native}\nMaintainer: t <t@example.org>\n{depends}\
             Filename: main/{name}_{version}.deb\nSize: 10\nSHA256: {}\nDescription: test\n\n",
            sum(name, version)
        )
    };
    fixture.publish_indexes(|suite, arch| {
        if suite != "main" || arch != native {
            return String::new();
        }
        let new = versions.iter().map(|version| paragraph("newdep", version, ""));
        paragraph("app", "2", &format!("Depends: {depends}\n")) + &new.collect::<String>()
    });
    let apt = fixture.open().await;
    apt.refresh().await.unwrap();
    apt
}

fn sum(name: &str, version: &str) -> String {
    format!("{:064x}", name.len() * 1000 + version.len())
}

#[tokio::test]
async fn dependencies_come_in_their_frozen_versions_too() {
    if !possible() {
        return;
    }
    let fixture = Fixture::bare();
    let native = fixture.native;
    let seen = |name: &str, version: &str| -> Seen { (name.into(), native.into(), version.into(), sum(name, version)) };
    let versions = [seen("app", "2"), seen("newdep", "1")];
    let expected = [format!("app:{native} 1 2"), format!("newdep:{native} - 1")];
    for depends in ["newdep", "newdep (= 1)", "newdep (<< 22)"] {
        let apt = with_dependency(&fixture, depends, &["1", "22"]).await;
        let resolution = apt.resolve_versions(&versions, &By::All).await.unwrap();
        assert_eq!(planned(&resolution.transaction), expected, "{depends}");
        apt.check(&resolution.transaction).await.unwrap();
        let apt = with_dependency(&fixture, depends, &["22"]).await;
        let refusal = apt.resolve_versions(&versions, &By::All).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::VersionGone, "{depends}: {}", refusal.text);
        assert!(refusal.text.contains(&format!("newdep:{native} 1")), "{depends}: {}", refusal.text);
    }
    let apt = with_dependency(&fixture, "nowhere", &["1"]).await;
    let refusal = apt.resolve_versions(&versions, &By::All).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ManagerFailed);
    assert!(refusal.text.contains("nowhere"), "{}", refusal.text);
    let hostile = [("-o".into(), native.into(), "1".into(), sum("a", "1"))];
    assert!(apt.resolve_versions(&hostile, &By::All).await.unwrap().transaction.is_empty());
}
