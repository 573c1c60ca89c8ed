//! What happens in one simulation: made from a seed and a profile, or read from a file.

use patchmesh_common::rollout::OnHookFailure;
use serde::{Deserialize, Serialize};

use crate::{
    chance::Seeds,
    fault::{Fault, Kind},
};

pub mod policy;

pub use policy::Policy;

/// Most services of one simulation.
pub const MAX_SERVICES: usize = 100;
/// Most hosts of one simulation.
pub const MAX_HOSTS: u32 = 4_000;
/// One minute in milliseconds.
pub const MINUTE: u64 = 60_000;
/// A poison that lasts so long is followed by another one, in milliseconds.
pub const POISON_AGAIN: u64 = 2 * MINUTE;
/// After how much silence a member of a mesh of this pace counts as silent, in milliseconds.
pub const SILENT_AFTER: u64 = 3 * MINUTE;
/// One hour in milliseconds.
pub const HOUR: u64 = 60 * MINUTE;

/// How bad it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing goes wrong but a message in a thousand.
    Calm,
    /// An ordinary bad night.
    Flaky,
    /// Everything that a fleet meets in a bad year, and enemies.
    Hostile,
    /// All of it, more often, with restored backups and clocks that are years off.
    Disaster,
}

impl Profile {
    /// Every profile, mildest first.
    pub const ALL: [Self; 4] = [Self::Calm, Self::Flaky, Self::Hostile, Self::Disaster];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Flaky => "flaky",
            Self::Hostile => "hostile",
            Self::Disaster => "disaster",
        }
    }
}

/// Single messages: each counts once in so many, never if 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// Lost.
    pub loss: u64,
    /// Sent twice.
    pub duplication: u64,
    /// Late by seconds to minutes, so that later ones overtake it.
    pub reordering: u64,
}

/// What operators ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// When it is planned and applied, in milliseconds.
    pub at: u64,
    /// Whether packages are installed; otherwise it is a Scan.
    pub install: bool,
    /// Hosts at once.
    pub max_concurrency: u32,
    /// Failed hosts that are tolerated.
    pub max_errors: u32,
    /// Whether hosts reboot if a package asks.
    pub reboot: bool,
    /// Not before this, in milliseconds; `None`: at once.
    #[serde(default)]
    pub reboot_at: Option<u64>,
    /// Opens, last start, closes, in milliseconds. Empty: open without end.
    #[serde(default)]
    pub openings: Vec<[u64; 3]>,
    /// Every how many hosts this wave's packages break. 0: none.
    #[serde(default)]
    pub broken: u64,
    /// In order; empty: all hosts at once.
    #[serde(default)]
    pub rings: Vec<WaveRing>,
    /// Whether each ring ramps up as AWS does.
    #[serde(default)]
    pub ramp: bool,
    /// Whether hosts are asked after their run how they are.
    #[serde(default)]
    pub gated: bool,
    /// Every how many hosts are unwell after this wave, and fail their gate. 0: none.
    #[serde(default)]
    pub unwell: u64,
    /// Whether hosts whose versions were superseded wait; otherwise they are left out.
    #[serde(default)]
    pub waits: bool,
    /// Whether the same is planned again when hosts were left out because their versions were superseded.
    #[serde(default)]
    pub replans: bool,
    /// What the failure of a host's hook means.
    #[serde(default)]
    pub on_hook_failure: OnHookFailure,
    /// Whether every ring must show that all is well before the next one begins.
    #[serde(default)]
    pub shown: bool,
    /// Which ring falls sick then, if one does.
    #[serde(default)]
    pub sick: Option<Sickness>,
}

/// A ring that is not well, though each of its hosts is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sickness {
    /// Which, from 0.
    pub ring: u16,
    /// It begins so long after a host of the ring was done, the last one so far, in milliseconds.
    #[serde(default)]
    pub after: u64,
    /// It is over so long after that, in milliseconds; 0: never.
    #[serde(default)]
    pub lasts: u64,
}

impl Sickness {
    /// Whether the ring is sick so many milliseconds after the last of its hosts was done.
    pub fn shows(&self, since: u64) -> bool {
        since.checked_sub(self.after).is_some_and(|sick| self.lasts == 0 || sick < self.lasts)
    }
}

/// One ring of a wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WaveRing {
    /// How many of the hosts that no ring before it has; the last ring has all that are left.
    pub hosts: u32,
    /// Steps, in percent of its hosts.
    pub steps: Vec<u32>,
    /// Between two steps, in milliseconds.
    pub wait: u64,
    /// Before the next ring, in milliseconds.
    pub bake: u64,
    /// Whether an operator must approve it.
    pub approved: bool,
}

/// A service: hosts of which so many stay up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The number of its first member.
    pub first: u32,
    /// How many members it has.
    pub hosts: u32,
    /// How many of them stay up.
    pub least: u32,
    /// Whether its members must pass a probe to count as up.
    #[serde(default)]
    pub probed: bool,
}

/// The pace of the mesh, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pace {
    /// Between two versions of a record without news.
    pub heartbeat: u64,
    /// Between two exchanges at rest.
    pub exchange: u64,
}

/// One simulation, but for its seed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scenario {
    /// Hosts at the beginning.
    pub hosts: u32,
    /// Whether every kind of fault and every promise must have had an effect.
    #[serde(default)]
    pub demanding: bool,
    /// When every fault heals, in milliseconds.
    pub heal: u64,
    /// How long after that everything must have settled, in milliseconds.
    pub patience: u64,
    /// When it ends although everything has settled, in milliseconds; 0: as soon as it has.
    #[serde(default)]
    pub least: u64,
    /// Whether a mesh at rest is counted on instead of simulated until something is due.
    #[serde(default)]
    pub rests: bool,
    /// Single messages.
    #[serde(default)]
    pub network: Network,
    /// The mesh.
    pub pace: Pace,
    /// What operators ask for.
    pub waves: Vec<Wave>,
    /// What must stay up.
    #[serde(default)]
    pub services: Vec<Group>,
    /// How many hosts hold a slot at once over all rollouts; 0: as many as the rollouts allow.
    #[serde(default)]
    pub fleet: u32,
    /// What is to come again and again.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

/// All but the first wave, which gives the faults hosts at work, go in rings.
fn ring(waves: &mut [Wave], hosts: u32, chance: &mut crate::chance::Chance) {
    for wave in waves.iter_mut().skip(1) {
        let canaries = WaveRing {
            hosts: (hosts / 8).max(1),
            steps: if chance.once_in(2) { vec![50, 100] } else { Vec::new() },
            wait: 2_000 + chance.below(20_000),
            bake: 5_000 + chance.below(MINUTE),
            approved: false,
        };
        let rest = WaveRing {
            steps: vec![1 + chance.below(40) as u32, 50 + chance.below(30) as u32, 100],
            wait: chance.below(30_000),
            approved: chance.once_in(3),
            ..WaveRing::default()
        };
        (wave.rings, wave.ramp) = (vec![canaries, rest], chance.once_in(3));
    }
}

/// In every third run that is not calm the fleet has a limit, below what two rollouts take together.
fn fleet(hosts: u32, rank: u8, chance: &mut crate::chance::Chance) -> u32 {
    let least = (hosts / 4).max(2);
    let limit = least + chance.below(u64::from(hosts / 4) + 1) as u32;
    if rank > 0 && chance.once_in(3) { limit } else { 0 }
}

/// Some of the waves that would go whenever they are applied have two short openings and a long one, which comes when every fault has
/// healed after `span`. Not the first wave, which gives the faults hosts at work.
fn open(waves: &mut [Wave], span: u64, chance: &mut crate::chance::Chance) {
    for wave in waves.iter_mut().skip(1).filter(|wave| wave.openings.is_empty()) {
        let mut short = |after: u64| {
            let opens = after + chance.below(2 * MINUTE);
            let last = opens + MINUTE + chance.below(2 * MINUTE);
            [opens, last, last + chance.below(MINUTE)]
        };
        let first = short(wave.at);
        let second = short(first[2] + MINUTE / 2);
        let long = (span + 4 * MINUTE).max(second[2] + MINUTE);
        if chance.once_in(3) {
            wave.openings = vec![first, second, [long, long + 20 * MINUTE, long + 26 * MINUTE]];
        }
    }
}

/// Some of the waves that reboot do it at a time, which the first opening of a wave may not reach. Not the first wave, which gives the
/// faults hosts at work.
fn postpone(waves: &mut [Wave], chance: &mut crate::chance::Chance) {
    for wave in waves.iter_mut().skip(1).filter(|wave| wave.install && wave.reboot) {
        let begins = wave.openings.first().map_or(wave.at, |[opens, ..]| *opens);
        let at = begins + chance.below(6 * MINUTE);
        wave.reboot_at = chance.once_in(2).then_some(at);
    }
}

/// Hosts of every wave that installs are asked how they are. After the first one, which gives the faults hosts at work, all are well.
fn gate(waves: &mut [Wave], chance: &mut crate::chance::Chance) {
    for (at, wave) in waves.iter_mut().enumerate().filter(|(_, wave)| wave.install) {
        wave.gated = true;
        if at > 0 {
            wave.unwell = [0, 3 + chance.below(8)][usize::from(chance.once_in(2))];
            wave.waits = chance.once_in(3);
        }
    }
}

/// What a failed hook means. It does not end the first wave, which gives the faults hosts at work.
fn hook(waves: &mut [Wave], chance: &mut crate::chance::Chance) {
    for (at, wave) in waves.iter_mut().enumerate().filter(|(_, wave)| wave.install) {
        wave.on_hook_failure = match chance.below(3) {
            0 => OnHookFailure::Skip,
            1 if at > 0 => OnHookFailure::Halt,
            _ => OnHookFailure::Fail,
        };
    }
}

/// Of what installs and waits for no version, most is planned again, as it is by default.
fn replan(waves: &mut [Wave], chance: &mut crate::chance::Chance) {
    for wave in waves.iter_mut().filter(|wave| wave.install) {
        wave.replans = !chance.once_in(3) && !wave.waits;
    }
}

/// The rings of some waves are asked about after their bake, and if it is not calm some of them are sick; not those of the first one,
/// which gives the faults hosts at work. Most of the canaries are while they bake, but not from its beginning to its end.
fn show(waves: &mut [Wave], rank: u8, chance: &mut crate::chance::Chance) {
    for (at, wave) in waves.iter_mut().enumerate().filter(|(_, wave)| wave.install) {
        wave.shown = chance.once_in(2);
        let ring = u16::from(chance.once_in(2));
        let sick = chance.once_in(3) && wave.shown && at > 0 && rank > 0;
        let bake = wave.rings.get(usize::from(ring)).map_or(0, |ring| ring.bake);
        let turn = chance.below(bake.max(1));
        let (after, lasts) = [(turn, 0), (0, turn), (0, 0)][chance.below(3) as usize];
        wave.sick = sick.then_some(Sickness { ring, after, lasts });
    }
}

impl Scenario {
    /// What no simulation can have; `None` if there is nothing of that kind.
    pub fn wrong(&self) -> Option<String> {
        if !(3..=MAX_HOSTS).contains(&self.hosts) {
            return Some(format!("{} hosts are not between 3 and {MAX_HOSTS}", self.hosts));
        }
        if self.policies.len() > policy::MAX_POLICIES {
            let count = self.policies.len();
            return Some(format!("{count} policies are more than the {} allowed", policy::MAX_POLICIES));
        }
        self.policies.iter().enumerate().find_map(|(number, policy)| policy.wrong(number))
    }

    /// The scenario of a seed. `days` keeps it running that long, however soon it has settled.
    pub fn make(seed: u64, hosts: u32, profile: Profile, days: u32) -> Self {
        let mut chance = Seeds::new(seed, false).chance("scenario");
        let rank = Profile::ALL.iter().position(|other| *other == profile).unwrap_or(0) as u8;
        let span = 20 * MINUTE;
        let network = match profile {
            Profile::Calm => Network { loss: 1000, ..Network::default() },
            Profile::Flaky => Network { loss: 50, duplication: 50, reordering: 200 },
            Profile::Hostile => Network { loss: 20, duplication: 12, reordering: 25 },
            Profile::Disaster => Network { loss: 8, duplication: 8, reordering: 8 },
        };
        let mut waves = vec![
            // Enough room for every fault to find a host at work.
            Wave {
                at: 30_000,
                install: true,
                max_concurrency: (hosts / 4).clamp(1, 40),
                max_errors: hosts,
                reboot: true,
                reboot_at: None,
                openings: Vec::new(),
                broken: 0,
                rings: Vec::new(),
                ramp: false,
                gated: false,
                unwell: 0,
                waits: false,
                on_hook_failure: OnHookFailure::Fail,
                replans: false,
                shown: false,
                sick: None,
            },
            Wave {
                at: 6 * MINUTE + chance.below(2 * MINUTE),
                install: true,
                max_concurrency: (hosts / 6).clamp(1, 25),
                max_errors: chance.below(3) as u32 + u32::from(hosts > 20),
                reboot: chance.once_in(2),
                reboot_at: None,
                openings: Vec::new(),
                broken: if rank > 0 { 5 } else { 0 },
                rings: Vec::new(),
                ramp: false,
                gated: false,
                unwell: 0,
                waits: false,
                on_hook_failure: OnHookFailure::Fail,
                replans: false,
                shown: false,
                sick: None,
            },
        ];
        let opens = 11 * MINUTE + chance.below(MINUTE);
        let last = opens + MINUTE + chance.below(2 * MINUTE);
        waves.push(Wave {
            at: 9 * MINUTE + chance.below(MINUTE),
            install: true,
            max_concurrency: (hosts / 8).clamp(1, 25),
            max_errors: hosts,
            reboot: true,
            reboot_at: None,
            openings: vec![
                [opens, last, last + MINUTE + chance.below(MINUTE)],
                [span + 4 * MINUTE, span + 24 * MINUTE, span + 30 * MINUTE],
            ],
            broken: 0,
            rings: Vec::new(),
            ramp: false,
            gated: false,
            unwell: 0,
            waits: false,
            on_hook_failure: OnHookFailure::Fail,
            replans: false,
            shown: false,
            sick: None,
        });
        waves.push(Wave {
            at: 4 * MINUTE + chance.below(10 * MINUTE),
            install: false,
            max_concurrency: (hosts / 3).clamp(1, 50),
            max_errors: hosts,
            reboot: false,
            reboot_at: None,
            openings: Vec::new(),
            broken: 0,
            rings: Vec::new(),
            ramp: false,
            gated: false,
            unwell: 0,
            waits: false,
            on_hook_failure: OnHookFailure::Fail,
            replans: false,
            shown: false,
            sick: None,
        });
        ring(&mut waves, hosts, &mut Seeds::new(seed, false).chance("rings"));
        gate(&mut waves, &mut Seeds::new(seed, false).chance("gates"));
        hook(&mut waves, &mut Seeds::new(seed, false).chance("hook failures"));
        replan(&mut waves, &mut Seeds::new(seed, false).chance("replans"));
        open(&mut waves, span, &mut Seeds::new(seed, false).chance("openings"));
        postpone(&mut waves, &mut Seeds::new(seed, false).chance("reboots"));
        show(&mut waves, rank, &mut Seeds::new(seed, false).chance("ring gates"));
        let mut scenario = Self {
            hosts,
            demanding: rank >= 2,
            heal: span,
            patience: 3 * HOUR,
            least: u64::from(days) * 24 * HOUR,
            rests: days > 0,
            network,
            pace: Pace { heartbeat: 60_000, exchange: 10_000 },
            waves,
            services: Vec::new(),
            fleet: fleet(hosts, rank, &mut Seeds::new(seed, false).chance("fleet")),
            policies: policy::draw(hosts, rank, &mut Seeds::new(seed, false).chance("policies")),
            faults: Vec::new(),
        };
        scenario.ambush(rank, &mut chance);
        scenario.serve(&mut chance);
        scenario
    }

    /// About half of the hosts are in services, the rest moves as fast as it may.
    fn serve(&mut self, chance: &mut crate::chance::Chance) {
        let mut first = chance.below(2) as u32;
        while first < self.hosts && self.services.len() < MAX_SERVICES {
            let hosts = (3 + chance.below(4) as u32).min(self.hosts - first);
            let least = hosts - hosts.min(1 + chance.below(2) as u32);
            // One always: somebody has to feel it when a member fails its probe.
            let probed = self.services.is_empty() || chance.once_in(2);
            self.services.push(Group { first, hosts, least, probed });
            first += 2 * hosts;
        }
    }

    fn ambush(&mut self, rank: u8, chance: &mut crate::chance::Chance) {
        for kind in Kind::ALL.iter().copied().filter(|kind| kind.rank() <= rank) {
            // A paused or doubled coordinator changes everything after it: one of each is enough for one run.
            let heavy = matches!(
                kind,
                Kind::CoordinatorPaused | Kind::CoordinatorTwin | Kind::CoordinatorRestored | Kind::CoordinatorClock
            );
            // An hour without its coordinator is an hour of a resting mesh: not in every run.
            let skipped = kind == Kind::CoordinatorPaused && !chance.once_in(4);
            let times = match kind {
                _ if skipped => 0,
                _ if heavy => 1,
                // Short obstacles, while others are still on their way, make late answers overtake early ones.
                Kind::ManagerLocked | Kind::RepositoryGone => 2 + chance.below(3 * u64::from(rank) + 1),
                _ => 1 + chance.below(u64::from(rank) + 1),
            };
            for _ in 0..times {
                let at = 35_000 + chance.below(10 * MINUTE);
                let at = if kind == Kind::CoordinatorPaused { 12 * MINUTE + chance.below(3 * MINUTE) } else { at };
                let lasts = match kind {
                    Kind::CoordinatorPaused => HOUR,
                    Kind::CoordinatorTwin | Kind::HostClone => MINUTE + chance.below(6 * MINUTE),
                    Kind::RebootLate => MINUTE + chance.below(10 * MINUTE),
                    Kind::ManagerLocked | Kind::RepositoryGone if chance.once_in(2) => 300 + chance.below(4_000),
                    Kind::DiskSlow => 200 + chance.below(8_000),
                    // Two messages are four deaths, and those are an hour of safe mode.
                    Kind::PoisonMessage => [POISON_AGAIN, MINUTE][usize::from(!chance.once_in(6))],
                    Kind::Suspend => 5_000 + chance.below(5 * MINUTE),
                    // Longer than what was shown before counts.
                    Kind::ServiceSick => 2 * MINUTE + chance.below(6 * MINUTE),
                    _ => 5_000 + chance.below(2 * MINUTE),
                };
                self.faults.push(Fault { at, kind, host: None, lasts, skip: None });
            }
        }
        self.faults.sort_by_key(|fault| fault.at);
        // The hour must fit before the end of the chaos.
        if let Some(pause) = self.faults.iter().find(|fault| fault.kind == Kind::CoordinatorPaused) {
            let end = pause.at + pause.lasts + 2 * MINUTE;
            let late = end.saturating_sub(self.heal);
            self.heal += late;
            for opening in self.waves.iter_mut().filter_map(|wave| wave.openings.last_mut()) {
                opening.iter_mut().for_each(|time| *time += late);
            }
        }
    }
}
