//! Roots that nobody thought of: generated packages, versions, dependencies, holds and pins, judged by apt itself.

use std::{fmt::Write as _, fs};

use patchmesh_common::{inventory::deb, patch::Baseline, run::message::RefusalCode};
use patchmesh_node::host::{apt::Apt, root::Root};

use super::{
    fixture::{Fixture, possible, upgrades},
    free,
};

/// Ascending in Debian's order.
const VERSIONS: [&str; 9] = ["0.9", "1.0~rc1", "1.0", "1.0-1", "1.0-1+b1", "2.0~beta", "2.0", "10.0", "1:0.1"];
const PACKAGES: usize = 14;
/// Enough that holds, pins, conflicts and failures of apt all occur (asserted below).
const SEEDS: u64 = 10;

/// xorshift64*: the same roots in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// What a seed makes: a package database, two indexes of (architecture, paragraph), and pins.
#[derive(Default)]
struct World {
    status: String,
    main: Vec<(String, String)>,
    security: Vec<(String, String)>,
    pins: String,
}

fn world(seed: u64, native: &str, foreign: &str) -> World {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut world = World::default();
    for number in 0..PACKAGES {
        let kind = dice.below(4);
        let arches = match kind {
            0 => vec!["all"],
            1 => vec![native, foreign],
            2 => vec![foreign],
            _ => vec![native],
        };
        let same = if kind == 1 { "Multi-Arch: same\n" } else { "" };
        let installed = VERSIONS[dice.below(6)];
        let is_installed = dice.percent(80);
        let held = dice.percent(15);
        for arch in &arches {
            let head = |version: &str| format!("Package: p{number}\nVersion: {version}\nArchitecture: {arch}\n{same}");
            if is_installed {
                let want = if held { "hold" } else { "install" };
                // Rarely a dependency that nothing meets: apt then refuses everything.
                let broken = if dice.percent(1) { "Depends: nowhere\n" } else { "" };
                writeln!(world.status, "{}Status: {want} ok installed\nMaintainer: t\n{broken}", head(installed))
                    .unwrap();
            }
        }
        for _ in 0..dice.below(4) {
            let version = VERSIONS[dice.below(VERSIONS.len())];
            let mut relations = String::new();
            if dice.percent(40) {
                writeln!(relations, "Depends: p{} (>= {})", dice.below(PACKAGES), VERSIONS[dice.below(5)]).unwrap();
            }
            if dice.percent(10) {
                writeln!(relations, "Conflicts: p{}", (number + 1 + dice.below(PACKAGES - 1)) % PACKAGES).unwrap();
            }
            let index = if dice.percent(30) { &mut world.security } else { &mut world.main };
            for arch in &arches {
                let paragraph = format!(
                    "Package: p{number}\nVersion: {version}\nArchitecture: {arch}\n{same}{relations}Maintainer: t\n\
                     Filename: pool/p{number}_{version}_{arch}.deb\nSize: 1\nSHA256: {:064x}\n\n",
                    number
                );
                index.push(((*arch).to_owned(), paragraph));
            }
        }
        if dice.percent(20) {
            let (version, priority) = (VERSIONS[dice.below(VERSIONS.len())], [-1, 50, 700, 1001][dice.below(4)]);
            writeln!(world.pins, "Package: p{number}\nPin: version {version}\nPin-Priority: {priority}\n").unwrap();
        }
    }
    world
}

#[tokio::test]
async fn a_scan_of_any_root_is_what_apt_would_do() {
    if !possible() {
        return;
    }
    assert!(VERSIONS.is_sorted_by(|a, b| deb::compare(a, b).is_lt()));
    let (mut lists, mut failures, mut blocked) = (0, 0, std::collections::BTreeSet::new());
    for seed in 1..=SEEDS {
        let fixture = Fixture::bare();
        let world = world(seed, fixture.native, fixture.foreign);
        fixture.publish_indexes(|suite, arch| {
            let index = if suite == "sec" { &world.security } else { &world.main };
            let listed = index.iter().filter(|(of, _)| of == arch || of == "all");
            listed.map(|(_, paragraph)| paragraph.as_str()).collect()
        });
        fs::write(fixture.root().join("var/lib/dpkg/status"), &world.status).unwrap();
        fs::write(fixture.root().join("etc/apt/preferences.d/pins"), &world.pins).unwrap();
        fixture.apt(&["update"]);
        let judge = fixture.command("apt-get").args(["-s", "-y", "dist-upgrade"]).output().unwrap();
        let judged = String::from_utf8(judge.stdout).unwrap();
        let apt = Apt::look(Root::open(&fixture.root()).unwrap(), None).await.unwrap();
        match apt.scan(Baseline::All).await {
            Ok(scan) => {
                assert!(judge.status.success(), "seed {seed}: apt fails, the scan does not");
                let expected = upgrades(&judged, fixture.native);
                assert_eq!(free(&scan, fixture.native), expected, "seed {seed}\n{judged}");
                lists += usize::from(!expected.is_empty());
                blocked.extend(scan.rows.iter().filter_map(|row| row.blocked));
                for baseline in [Baseline::All, Baseline::Security] {
                    match apt.resolve(baseline).await {
                        // What was resolved can be installed as it is, or no plan would ever hold.
                        Ok(resolution) => {
                            let checked = apt.check(&resolution.transaction).await;
                            assert_eq!(checked, Ok(()), "seed {seed} {baseline:?} {resolution:?}");
                        }
                        Err(refusal) if baseline == Baseline::All => {
                            assert_eq!(refusal.code, RefusalCode::RemovalsNeeded, "seed {seed}: {}", refusal.text);
                            assert!(judged.contains("\nRemv "), "seed {seed}");
                        }
                        Err(refusal) => {
                            let codes = [RefusalCode::RemovalsNeeded, RefusalCode::ManagerFailed];
                            assert!(codes.contains(&refusal.code), "seed {seed}: {}", refusal.text);
                        }
                    }
                }
            }
            Err(refusal) => {
                assert!(!judge.status.success(), "seed {seed}: the scan fails, apt does not: {}", refusal.text);
                failures += 1;
            }
        }
    }
    assert!(lists >= 3 && failures >= 1 && blocked.len() >= 3, "{lists} {failures} {blocked:?}: the dice are too tame");
}
