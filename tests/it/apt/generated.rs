//! Roots that nobody thought of: generated packages, versions, relations, archives, holds and pins, judged by apt itself.

use std::{collections::BTreeSet, fs, process::Command};

use patchmesh_common::{inventory::deb, patch::Baseline, run::message::RefusalCode};
use patchmesh_node::host::{
    apt::{
        Apt,
        scan::{Scan, Source},
    },
    root::Root,
};

use super::{
    fixture::{Fixture, possible, run, upgrades},
    free,
    worlds::{VERSIONS, world},
};

/// Enough that holds, pins, conflicts and failures of apt all occur (asserted below).
const SEEDS: u64 = 40;
/// Sets another number.
const ROOTS: &str = "PATCHMESH_ROOTS";
/// As many of them are resolved too, which takes far longer.
const RESOLVED: u64 = 10;

/// What happened in all worlds.
#[derive(Debug, Default)]
struct Seen {
    lists: usize,
    failures: usize,
    blocked: BTreeSet<&'static str>,
    /// Native answers without and with upgrades, and answers of apt's.
    idle: usize,
    provable: usize,
    asked: usize,
}

async fn look(fixture: &Fixture) -> Apt {
    Apt::look(Root::open(&fixture.root()).unwrap(), None).await.unwrap()
}

#[tokio::test]
async fn a_scan_of_any_root_is_what_apt_would_do() {
    if !possible() {
        return;
    }
    assert!(VERSIONS.is_sorted_by(|a, b| deb::compare(a, b).is_lt()));
    let seeds = std::env::var(ROOTS).map_or(SEEDS, |text| text.parse().unwrap());
    let mut seen = Seen::default();
    for seed in 1..=seeds {
        judge(seed, &mut seen).await;
    }
    eprintln!("{seeds} roots: {seen:?}");
    assert!(seen.lists >= 3 && seen.failures >= 1 && seen.blocked.len() >= 3, "{seen:?}: the dice are too tame");
    assert!(seen.idle >= 5 && seen.provable >= 4 && seen.asked >= 5, "{seen:?}: one way is hardly ever taken");
}

async fn judge(seed: u64, seen: &mut Seen) {
    let fixture = Fixture::bare();
    let world = world(seed, fixture.native, fixture.foreign);
    fixture.with_all_archives();
    fixture.publish_indexes(|suite, arch| {
        let archive = ["main", "sec", "back", "exp"].iter().position(|known| *known == suite).unwrap();
        let listed = world.archives[archive].iter().filter(|(of, _)| of == arch || of == "all");
        listed.map(|(_, paragraph)| paragraph.as_str()).collect()
    });
    fs::write(fixture.root().join("var/lib/dpkg/status"), &world.status).unwrap();
    fs::write(fixture.root().join("etc/apt/preferences.d/pins"), &world.pins).unwrap();
    fixture.apt(&["update"]);
    pack(&fixture, seed);
    let judge = fixture.command("apt-get").args(["-s", "-y", "dist-upgrade"]).output().unwrap();
    let judged = String::from_utf8(judge.stdout).unwrap();
    let about = format!("{}\n{judged}", world.about);
    let apt = look(&fixture).await;
    let scan = match apt.scan(Baseline::All).await {
        Ok(scan) => scan,
        Err(refusal) => {
            assert!(!judge.status.success(), "the scan fails, apt does not: {} {about}", refusal.text);
            seen.failures += 1;
            return;
        }
    };
    assert!(judge.status.success(), "apt fails, the scan does not: {:?} {about}", scan.source);
    let expected = upgrades(&judged, fixture.native);
    assert_eq!(free(&scan, fixture.native), expected, "{:?} {about}", scan.source);
    seen.lists += usize::from(!expected.is_empty());
    seen.blocked.extend(scan.rows.iter().filter_map(|row| row.blocked).map(|blocked| blocked.as_str()));
    match scan.source {
        Source::Native if expected.is_empty() => seen.idle += 1,
        Source::Native => seen.provable += 1,
        _ => seen.asked += 1,
    }
    if scan.source == Source::Native {
        same_as_asked(&fixture, &apt, scan, &about).await;
    }
    if seed <= RESOLVED {
        resolve(&apt, &judged, &about).await;
    }
}

/// Stores the indexes as other hosts do.
fn pack(fixture: &Fixture, seed: u64) {
    let Some(program) = [None, Some("gzip"), Some("xz")][seed as usize % 3] else { return };
    if Command::new(program).arg("--version").output().is_err() {
        return;
    }
    for entry in fs::read_dir(fixture.root().join("var/lib/apt/lists")).unwrap() {
        let path = entry.unwrap().path();
        if path.to_string_lossy().ends_with("_Packages") {
            run(Command::new(program).arg("-f").arg(path));
        }
    }
}

/// Every member of every row is what it would be had apt been asked: an option that says nothing makes that so.
async fn same_as_asked(fixture: &Fixture, apt: &Apt, native: Scan, about: &str) {
    let security = apt.scan(Baseline::Security).await.unwrap();
    fs::write(fixture.root().join("etc/apt/apt.conf.d/ask"), "APT::Get::Nothing \"1\";\n").unwrap();
    for (baseline, native) in [(Baseline::All, native), (Baseline::Security, security)] {
        let asked = apt.scan(baseline).await.unwrap();
        assert!(asked.source == Source::Manager || baseline == Baseline::Security, "{about}");
        assert_eq!(native.rows, asked.rows, "{about}");
        assert_eq!(native.counters, asked.counters, "{about}");
    }
}

/// What is resolved can be installed as it is, or no plan would ever hold.
async fn resolve(apt: &Apt, judged: &str, about: &str) {
    for baseline in [Baseline::All, Baseline::Security] {
        match apt.resolve(baseline).await {
            Ok(resolution) => {
                let checked = apt.check(&resolution.transaction).await;
                assert_eq!(checked, Ok(()), "{baseline:?} {resolution:?} {about}");
            }
            Err(refusal) if baseline == Baseline::All => {
                assert_eq!(refusal.code, RefusalCode::RemovalsNeeded, "{} {about}", refusal.text);
                assert!(judged.contains("\nRemv "), "{about}");
            }
            Err(refusal) => {
                let codes = [RefusalCode::RemovalsNeeded, RefusalCode::ManagerFailed];
                assert!(codes.contains(&refusal.code), "{} {about}", refusal.text);
            }
        }
    }
}
