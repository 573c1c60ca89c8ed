//! Small worlds in which a sabotage bites whatever the seed: the one thing goes wrong that the promise is about.

use patchmesh_common::rollout::{OnHookFailure, limit::Limit, policy::Timing};

use crate::{
    fault::{Fault, Kind},
    scenario::{Group, HOUR, MINUTE, Network, POISON_AGAIN, Pace, Policy, Scenario, Sickness, Wave, WaveRing, policy},
};

/// Three hosts and one wave over an ordinary network.
pub(super) fn wave() -> Scenario {
    Scenario {
        hosts: 3,
        demanding: false,
        heal: 4 * MINUTE,
        // Time for a coordinator to give up a host that never answers, and for a wave after that.
        patience: 25 * MINUTE,
        least: 0,
        rests: false,
        network: Network { loss: 100, duplication: 100, reordering: 200 },
        pace: Pace { heartbeat: 60_000, exchange: 10_000 },
        waves: vec![Wave {
            at: 30_000,
            install: true,
            max_concurrency: 2,
            max_errors: 2,
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
        }],
        services: Vec::new(),
        fleet: 0,
        policies: Vec::new(),
        faults: Vec::new(),
    }
}

/// The three are one service, of which two stay up, and the wave wants all of them.
pub(super) fn serving() -> Scenario {
    let mut scenario = all_at_once();
    scenario.services = vec![Group { first: 0, hosts: 3, least: 2, probed: false }];
    scenario
}

/// One of them falls ill while the others are at work, and a second wave comes much later.
pub(super) fn ailing() -> Scenario {
    let mut scenario = serving();
    scenario.services[0].probed = true;
    scenario.faults = vec![Fault { at: 0, kind: Kind::ServiceSick, host: None, lasts: HOUR, skip: None }];
    scenario.heal = 12 * MINUTE;
    scenario.waves.push(Wave { at: 6 * MINUTE, ..scenario.waves[0].clone() });
    scenario
}

/// The fleet allows one host fewer than the wave.
pub(super) fn limited() -> Scenario {
    Scenario { fleet: 1, ..wave() }
}

/// Nobody waits for a slot, so that nothing but the lost report is wrong.
pub(super) fn all_at_once() -> Scenario {
    let mut scenario = wave();
    scenario.waves[0].max_concurrency = scenario.hosts;
    scenario
}

fn with(kind: Kind, at: u64) -> Scenario {
    Scenario { faults: vec![Fault { at, kind, host: None, lasts: 0, skip: Some(0) }], ..wave() }
}

/// One host, a minute later half of the others, half a minute later the rest; and an operator says yes in between.
pub(super) fn ringed() -> Scenario {
    let mut scenario = wave();
    scenario.hosts = 5;
    let canary = WaveRing { hosts: 1, bake: MINUTE, ..WaveRing::default() };
    let rest = WaveRing { steps: vec![50, 100], wait: MINUTE / 2, approved: true, ..WaveRing::default() };
    scenario.waves[0].rings = vec![canary, rest];
    scenario
}

/// The first host, which goes alone, is unwell after its run.
pub(super) fn unwell() -> Scenario {
    let mut scenario = ringed();
    (scenario.waves[0].gated, scenario.waves[0].unwell) = (true, 1);
    scenario
}

fn shown(ring: u16, after: u64) -> Scenario {
    let mut scenario = ringed();
    (scenario.waves[0].shown, scenario.waves[0].sick) = (true, Some(Sickness { ring, after, lasts: 0 }));
    scenario
}

/// The first host is well, and what it serves is not.
pub(super) fn sick() -> Scenario {
    shown(0, 0)
}

/// The first host is well, and what it serves falls sick while it bakes.
pub(super) fn sickening() -> Scenario {
    shown(0, MINUTE / 2)
}

/// All hosts are well, and what those of the last ring serve is not.
pub(super) fn sick_at_last() -> Scenario {
    shown(1, 0)
}

/// The opening ends while hosts are at work.
pub(super) fn closing() -> Scenario {
    let mut scenario = wave();
    let later = 10 * MINUTE;
    scenario.waves[0].openings = vec![[0, 75_000, 80_000], [later, later + 9 * MINUTE, later + 10 * MINUTE]];
    scenario
}

/// A package breaks.
pub(super) fn failing() -> Scenario {
    with(Kind::PackageBroken, 0)
}

/// A package manager says that all went well and leaves its database unclean. If no package of the first wave asks for a reboot,
/// one of the second does.
pub(super) fn unclean() -> Scenario {
    let mut scenario = with(Kind::PackageUnclean, 0);
    scenario.waves.push(Wave { at: 3 * MINUTE, ..scenario.waves[0].clone() });
    scenario
}

/// A host that does not reboot, which would make its deaths void, is sent poison.
pub(super) fn poisoned() -> Scenario {
    let mut scenario = with(Kind::PoisonMessage, 0);
    scenario.waves[0].reboot = false;
    scenario
}

/// A host is sent poison of two kinds, and a wave begins while it is in safe mode.
pub(super) fn poisoned_twice() -> Scenario {
    let mut scenario = poisoned();
    scenario.faults[0].lasts = POISON_AGAIN;
    scenario.patience = 2 * HOUR;
    scenario.waves.push(Wave { at: 8 * MINUTE, ..scenario.waves[0].clone() });
    scenario
}

/// A policy scans every five minutes.
pub(super) fn recurring() -> Scenario {
    let mut scenario = wave();
    let mut spec = policy::idle(Limit::count(3), Limit::count(3));
    spec.scan = Some(Timing { schedule: String::from("rate(5 minutes)"), catch_up: None });
    scenario.policies = vec![Policy { at: 20_000, spec }];
    scenario
}

/// Its coordinator is away when the first scan is due. Hosts are at work one after the other from shortly before on.
pub(super) fn missed() -> Scenario {
    let mut scenario = recurring();
    scenario.heal = 6 * MINUTE;
    (scenario.waves[0].at, scenario.waves[0].max_concurrency) = (270_000, 1);
    scenario.faults =
        vec![Fault { at: 275_000, kind: Kind::CoordinatorKill, host: None, lasts: MINUTE, skip: Some(0) }];
    scenario
}

/// The first pre-install hook fails.
pub(super) fn failing_hook() -> Scenario {
    with(Kind::HookFail, 0)
}

/// One after the other, and the first failure of a hook is to end that.
pub(super) fn halting_hook() -> Scenario {
    let mut scenario = failing_hook();
    (scenario.waves[0].max_concurrency, scenario.waves[0].on_hook_failure) = (1, OnHookFailure::Halt);
    scenario
}

/// A daemon is killed while its runner works.
pub(super) fn killed() -> Scenario {
    with(Kind::DaemonKill, 0)
}

/// Everything is stopped at some member as soon as a host has work.
pub(super) fn all_stopped() -> Scenario {
    let mut scenario = with(Kind::StopEverything, 0);
    scenario.faults[0].lasts = 60_000;
    scenario
}

/// The slot of the first host at work is released.
pub(super) fn released() -> Scenario {
    with(Kind::OperatorRelease, 0)
}

/// A second coordinator starts on a copy of the store while the first one has work for minutes.
pub(super) fn copied() -> Scenario {
    let mut scenario = with(Kind::CoordinatorTwin, 0);
    (scenario.hosts, scenario.heal) = (12, 8 * MINUTE);
    scenario.faults[0].lasts = 7 * MINUTE;
    (scenario.waves[0].max_concurrency, scenario.waves[0].reboot) = (1, false);
    scenario
}

/// A STOP is ordered as soon as a host has work.
pub(super) fn stopped() -> Scenario {
    let mut scenario = with(Kind::OperatorStop, 40_000);
    // The first wave is never stopped.
    let first = Wave { install: false, ..scenario.waves[0].clone() };
    scenario.waves[0].at = 70_000;
    scenario.waves.insert(0, first);
    scenario.faults[0].at = 70_000;
    scenario
}
