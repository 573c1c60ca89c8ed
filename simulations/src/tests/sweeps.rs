//! A few seeds of every profile; the same arguments give the same trace; generators do not disturb each other.

use crate::{
    fault::{Fault, Kind},
    report::vain,
    scenario::{MINUTE, Profile, Scenario},
    world::{Finish, Outcome, World},
};

const HOSTS: u32 = 4;

/// The first minutes of a profile: its network and its faults over one wave and one Scan.
fn short(seed: u64, profile: Profile) -> Scenario {
    let mut scenario = Scenario::make(seed, HOSTS, profile, 0);
    scenario.waves.drain(1..3);
    // An hour of a paused coordinator is an hour of a resting mesh.
    scenario.faults.retain(|fault| fault.at < 5 * MINUTE && fault.kind != Kind::CoordinatorPaused);
    Scenario { heal: 6 * MINUTE, demanding: false, ..scenario }
}

fn run(seed: u64, profile: Profile) -> Outcome {
    World::new(seed, short(seed, profile), false).run()
}

#[test]
fn a_few_seeds_of_every_profile_keep_every_promise() {
    let mut replanned = 0;
    for profile in Profile::ALL {
        for seed in 1..=3 {
            let outcome = run(seed, profile);
            let broken = &outcome.record.violations;
            assert_eq!(outcome.finish, Finish::Completed, "{} seed {seed}: {broken:?}", profile.word());
            replanned += outcome.rollouts.iter().filter(|end| end.contains("-replan-")).count();
        }
    }
    assert!(replanned > 0, "no rollout was planned again");
}

#[test]
fn openings_of_a_wave_follow_each_other_and_the_last_one_outlasts_every_fault() {
    let mut several = 0;
    for (seed, profile) in (1..=40).flat_map(|seed| Profile::ALL.map(|profile| (seed, profile))) {
        let scenario = Scenario::make(seed, HOSTS, profile, 0);
        for wave in scenario.waves.iter().filter(|wave| !wave.openings.is_empty()) {
            let times: Vec<u64> = wave.openings.iter().flatten().copied().collect();
            assert!(times.is_sorted() && times[0] >= wave.at, "{} seed {seed}: {times:?}", profile.word());
            let [.., [opens, last, _]] = wave.openings[..] else { panic!("it has openings") };
            assert!(opens > scenario.heal && last - opens >= 20 * MINUTE, "{} seed {seed}: {times:?}", profile.word());
            several += usize::from(wave.openings.len() > 2);
        }
    }
    assert!(several > 0, "no wave has more than two");
}

#[test]
fn the_same_arguments_give_the_same_trace_on_any_thread_and_others_another() {
    let alone = run(7, Profile::Hostile);
    let beside = std::thread::scope(|scope| {
        let two = [7, 8].map(|seed| scope.spawn(move || run(seed, Profile::Hostile).trace));
        two.map(|thread| thread.join().unwrap())
    });
    assert_eq!(alone.trace, beside[0]);
    assert_ne!(alone.trace, beside[1]);
}

#[test]
fn a_trace_replays_without_its_generators() {
    let scenario = short(3, Profile::Hostile);
    let first = World::new(3, scenario.clone(), true).run();
    assert_eq!(first.trace, run(3, Profile::Hostile).trace, "to keep draws changes nothing");
    let again = World::replay(99, scenario, first.draws).run();
    assert_eq!((first.trace, first.finish), (again.trace, again.finish), "a seed of its own decides nothing");
}

/// A fault draws how many moments it lets pass, from the generator of the chaos. This one would come after the end.
#[test]
fn a_draw_more_in_one_generator_moves_nothing_elsewhere() {
    let scenario = short(5, Profile::Calm);
    let mut more = scenario.clone();
    more.faults.push(Fault { at: u64::MAX, kind: Kind::DaemonCrash, host: None, lasts: 0, skip: None });
    let [one, other] = [scenario, more].map(|scenario| World::new(5, scenario, true).run());
    assert_ne!(one.draws.get("chaos"), other.draws.get("chaos"));
    assert_eq!((one.trace, one.events), (other.trace, other.events));
}

#[test]
fn a_fault_strikes_once_and_is_counted() {
    let mut scenario = short(1, Profile::Calm);
    scenario.faults = vec![
        Fault { at: 0, kind: Kind::HookFail, host: None, lasts: 0, skip: None },
        Fault { at: 0, kind: Kind::DaemonKill, host: Some(2), lasts: 0, skip: None },
    ];
    let outcome = World::new(1, scenario, false).run();
    assert_eq!(outcome.finish, Finish::Completed, "{:?}", outcome.record.violations);
    for name in ["hook-fail", "daemon-kill"] {
        let count = outcome.faults[name];
        assert_eq!((count.injected, count.effective), (1, 1), "{name}");
    }
    assert!(outcome.struck.iter().any(|(_, spot, kind)| (*spot, *kind) == (2, Kind::DaemonKill)));
}

/// A fault in a scenario's file that nobody felt is an error of the scenario, whether it struck or not.
#[test]
fn a_fault_that_was_written_down_and_never_felt_is_named() {
    let mut scenario = short(1, Profile::Calm);
    scenario.waves.iter_mut().for_each(|wave| wave.reboot = false);
    let fault = |kind| Fault { at: 0, kind, host: None, lasts: 0, skip: Some(0) };
    scenario.faults = vec![fault(Kind::HookFail), fault(Kind::RebootLate)];
    let outcome = World::new(1, scenario.clone(), false).run();
    assert_eq!(vain(&scenario, &outcome.faults), ["the fault reboot-late never had an effect"]);
}
