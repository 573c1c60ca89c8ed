//! Worlds for a scan to be judged in: what is installed, what four archives offer, pins.

use std::fmt::Write as _;

/// Ascending in Debian's order.
pub(super) const VERSIONS: [&str; 9] =
    ["0.9", "1.0~rc1", "1.0", "1.0-1", "1.0-1+b1", "2.0~beta", "2.0", "10.0", "1:0.1"];
const PACKAGES: usize = 14;
/// Names of the archives, in the order of the sources.
const ARCHIVES: usize = 4;

/// xorshift64*: the same worlds in every run.
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

/// How likely things are, in per cent.
struct Habits {
    /// A version newer than the installed one.
    newer: usize,
    /// Held, pinned, phased, essential, of a dependency that nothing meets, of another build than the index has.
    odd: usize,
    /// A relation of each kind.
    relation: usize,
    /// A relation that nobody looked at whether it can be met.
    wild: usize,
}

/// From a root where nothing is to be done to one where anything goes.
const HABITS: [Habits; 5] = [
    Habits { newer: 0, odd: 0, relation: 30, wild: 0 },
    Habits { newer: 40, odd: 0, relation: 30, wild: 0 },
    Habits { newer: 40, odd: 3, relation: 40, wild: 8 },
    Habits { newer: 0, odd: 8, relation: 30, wild: 0 },
    Habits { newer: 70, odd: 20, relation: 30, wild: 40 },
];

/// What a seed makes: a package database, an index of (architecture, paragraph) for each archive, and pins.
#[derive(Default)]
pub(super) struct World {
    pub(super) status: String,
    pub(super) archives: [Vec<(String, String)>; ARCHIVES],
    pub(super) pins: String,
    /// What a reader of a failed test wants to know.
    pub(super) about: String,
}

/// One package: its versions with what they say beside name, version and architecture, ascending.
struct Package {
    arches: Vec<String>,
    head: &'static str,
    versions: Vec<(usize, String)>,
    /// Which of the versions is installed.
    installed: Option<usize>,
}

pub(super) fn world(seed: u64, native: &str, foreign: &str) -> World {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let habits = &HABITS[seed as usize % HABITS.len()];
    let mut packages: Vec<_> = (0..PACKAGES).map(|_| package(&mut dice, habits, native, foreign)).collect();
    for number in 0..PACKAGES {
        for at in 0..packages[number].versions.len() {
            let said = relations(&mut dice, habits, &packages, number, at);
            packages[number].versions[at].1 += &said;
        }
    }
    let mut world = World { about: format!("seed {seed}"), ..World::default() };
    for (number, package) in packages.iter().enumerate() {
        world.add(&mut dice, habits, number, package);
    }
    // A package that left its configuration, and one that nobody has installed.
    world.status +=
        "Package: left\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\nMaintainer: t\n\n";
    world.archives[0].push(("all".into(), stanza("left", "2", "all", "", "1")));
    if dice.percent(habits.odd * 2) {
        let (suite, priority) =
            (["experimental", "stable-backports", "stable"][dice.below(3)], [99, 500, 990][dice.below(3)]);
        writeln!(world.pins, "Package: *\nPin: release a={suite}\nPin-Priority: {priority}\n").unwrap();
    }
    if dice.percent(habits.odd * 3) {
        world.archives[1].push((native.into(), stanza("needed", "1", native, "Essential: yes\n", "1")));
    }
    world
}

fn package(dice: &mut Dice, habits: &Habits, native: &str, foreign: &str) -> Package {
    let (arches, head) = match dice.below(6) {
        0 => (vec!["all"], ""),
        1 => (vec!["all"], "Multi-Arch: foreign\n"),
        2 => (vec![native, foreign], "Multi-Arch: same\n"),
        3 if habits.wild > 3 => (vec![foreign], ""),
        4 => (vec![native], "Multi-Arch: allowed\n"),
        _ => (vec![native], ""),
    };
    let mut versions: Vec<_> = (0..1 + dice.below(3)).map(|_| dice.below(VERSIONS.len())).collect();
    versions.sort_unstable();
    versions.dedup();
    let last = versions.len() - 1;
    let installed = dice.percent(85).then(|| if dice.percent(habits.newer) { dice.below(last + 1) } else { last });
    Package {
        arches: arches.into_iter().map(str::to_owned).collect(),
        head,
        versions: versions.into_iter().map(|version| (version, String::new())).collect(),
        installed,
    }
}

/// What a version says of others. Unless it is wild, it asks for what is there before and after an upgrade.
fn relations(dice: &mut Dice, habits: &Habits, packages: &[Package], number: usize, at: usize) -> String {
    let mut said = String::new();
    // What is installed is mostly whole: apt judges nothing on a root that is not.
    let newer = packages[number].installed.is_some_and(|installed| at > installed);
    let wildness = if newer { habits.wild } else { habits.wild / 20 };
    let some = |dice: &mut Dice, wild: bool| {
        let other = dice.below(PACKAGES);
        let Some(installed) = packages[other].installed else { return wild.then(|| format!("p{other}")) };
        let version = VERSIONS[packages[other].versions[installed].0];
        // One that no other architecture needs to meet.
        let plain = packages[other].arches.iter().all(|arch| packages[number].arches.contains(arch))
            && packages[number].arches.len() <= packages[other].arches.len();
        let foreign = packages[other].head.contains("foreign");
        Some(match dice.below(6) {
            _ if wild => {
                format!("p{other} ({} {})", [">=", "<<", "=", ">>", "<="][dice.below(5)], VERSIONS[dice.below(9)])
            }
            _ if !plain && !foreign => return None,
            0 if packages[other].head.contains("allowed") => format!("p{other}:any (>= {version})"),
            1 => format!("nobody | p{other}"),
            2 => format!("p{other} | nobody (<< 1)"),
            3 => format!("p{other} (>= 0.1), p{other} (<< 1:9)"),
            _ => format!("p{other} (>= {version})"),
        })
    };
    for field in ["Depends", "Pre-Depends", "Recommends", "Suggests"] {
        let rate = if field == "Pre-Depends" { habits.relation / 4 } else { habits.relation };
        let before = at.checked_sub(1).map_or("", |before| packages[number].versions[before].1.as_str());
        let kept = before.lines().find(|line| line.starts_with(field)).filter(|_| dice.percent(50));
        if let Some(kept) = kept {
            writeln!(said, "{kept}").unwrap();
        } else if dice.percent(rate) {
            // What is only recommended need not be there.
            let wild = dice.percent(if field == "Recommends" { 30 } else { wildness });
            if let Some(other) = some(dice, wild) {
                writeln!(said, "{field}: {other}").unwrap();
            }
        }
    }
    for field in ["Conflicts", "Breaks", "Replaces"] {
        let other = dice.below(PACKAGES);
        if other != number && dice.percent(habits.relation / 3) {
            let oldest = packages[other].versions[0].0;
            let below = if dice.percent(wildness) { dice.below(VERSIONS.len()) } else { oldest };
            writeln!(said, "{field}: p{other} (<< {})", VERSIONS[below]).unwrap();
        }
        if dice.percent(wildness / 4) && other != number {
            said = said.lines().filter(|line| !line.starts_with(field)).map(|line| format!("{line}\n")).collect();
            writeln!(said, "{field}: p{other}").unwrap();
        }
    }
    match dice.below(10) {
        0 => writeln!(said, "Provides: virtual, other (= {})", at + 1).unwrap(),
        2 if dice.percent(wildness) => writeln!(said, "Conflicts: virtual\nProvides: virtual").unwrap(),
        3 if dice.percent(wildness) => writeln!(said, "Breaks: other (>= 2)").unwrap(),
        1 if dice.percent(wildness) => writeln!(said, "Depends: virtual").unwrap(),
        _ => {}
    }
    // Twice the same field would be another kind of damage.
    let mut seen = std::collections::BTreeSet::new();
    said.lines().filter(|line| seen.insert(line.split(':').next())).map(|line| format!("{line}\n")).collect()
}

fn stanza(name: &str, version: &str, arch: &str, said: &str, size: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: {arch}\nMaintainer: t\nPriority: optional\nSection: misc\n\
         {said}Filename: pool/{name}_{version}_{arch}.deb\nSize: {size}\nSHA256: {:064x}\n\n",
        name.len()
    )
}

impl World {
    fn add(&mut self, dice: &mut Dice, habits: &Habits, number: usize, package: &Package) {
        let Package { arches, head, versions, installed } = package;
        let (held, essential) = (dice.percent(habits.odd), dice.percent(habits.odd / 2));
        let essential = if essential { "Essential: yes\n" } else { "" };
        for arch in arches {
            let Some(at) = *installed else { break };
            let (version, said) = &versions[at];
            let want = if held { "hold" } else { "install" };
            let rebuilt = if dice.percent(habits.odd / 2) { "Installed-Size: 7\n" } else { "" };
            // Rarely a dependency that nothing meets: apt then refuses everything.
            let said = if dice.percent(habits.odd / 8) { "Depends: nowhere\n" } else { said };
            writeln!(
                self.status,
                "Package: p{number}\nStatus: {want} ok installed\nPriority: optional\nSection: misc\nMaintainer: t\n\
                 Architecture: {arch}\nVersion: {}\n{head}{essential}{rebuilt}{said}",
                VERSIONS[*version]
            )
            .unwrap();
        }
        for (at, (version, said)) in versions.iter().enumerate() {
            let newer = installed.is_some_and(|installed| at > installed);
            let phased = if newer && dice.percent(habits.odd) { "Phased-Update-Percentage: 0\n" } else { "" };
            let mut archives = vec![dice.below(2)];
            // What does not want to be chosen, and sometimes the same version twice.
            if dice.percent(15) {
                archives = vec![2 + dice.below(2)];
            }
            if dice.percent(15) {
                archives.push(dice.below(ARCHIVES));
            }
            archives.dedup();
            for archive in archives {
                let size = if dice.percent(habits.odd / 3) { "2" } else { "1" };
                for arch in arches {
                    let said = format!("{head}{essential}{phased}{said}");
                    let paragraph = stanza(&format!("p{number}"), VERSIONS[*version], arch, &said, size);
                    self.archives[archive].push((arch.clone(), paragraph));
                }
            }
        }
        if dice.percent(habits.odd + 2) {
            let (version, priority) = (VERSIONS[dice.below(VERSIONS.len())], [-1, 50, 700, 1001][dice.below(4)]);
            writeln!(self.pins, "Package: p{number}\nPin: version {version}\nPin-Priority: {priority}\n").unwrap();
        }
    }
}
