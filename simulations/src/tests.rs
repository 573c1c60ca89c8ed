//! The machines together: a wave under no faults, under loss and crashes, across openings, with broken packages.

use crate::{Faults, Verdict, Wave, World};

fn wave(hosts: usize, limit: u32) -> Wave {
    Wave { hosts, limit, max_errors: 1, broken: 0, openings: Vec::new() }
}

fn run(seed: u64, wave: Wave, faults: Faults) -> Verdict {
    World::new(seed, wave, faults).run()
}

#[test]
fn a_calm_wave_succeeds_and_is_the_same_every_time() {
    let first = run(1, wave(10, 3), Faults::default());
    assert_eq!(first.broken, Vec::<String>::new());
    let state = first.state.as_ref().unwrap();
    assert_eq!((state.tally.succeeded, state.peak, first.peak), (10, 3, 3));
    assert_eq!(first, run(1, wave(10, 3), Faults::default()), "same arguments, same trace");
    assert_ne!(first.trace, run(2, wave(10, 3), Faults::default()).trace);
}

#[test]
fn messages_lost_and_doubled_and_processes_killed_at_any_effect_break_no_promise() {
    let mut effective = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..60 {
        let faults = Faults { loss: 9, duplication: 7, host_crash: 23, coordinator_crash: 29, until: 120_000 };
        let verdict = run(seed, wave(8, 2), faults);
        assert_eq!(verdict.broken, Vec::<String>::new(), "seed {seed}");
        assert_eq!(verdict.state.unwrap().tally.succeeded, 8, "seed {seed}");
        for (fault, times) in verdict.faults {
            *effective.entry(fault).or_default() += times;
        }
    }
    assert!(
        effective.values().all(|times| *times > 20),
        "a fault that never had an effect tests nothing: {effective:?}"
    );
}

#[test]
fn a_wave_whose_opening_closes_in_the_middle_resumes_in_the_next_one_under_one_limit() {
    let openings = vec![[0, 20_000, 60_000], [3_600_000, 3_900_000, 4_000_000]];
    let verdict = run(4, Wave { openings, ..wave(8, 2) }, Faults::default());
    assert_eq!(verdict.broken, Vec::<String>::new());
    let state = verdict.state.unwrap();
    assert_eq!((state.tally.succeeded, state.peak), (8, 2));
    assert!((3_600_000..3_900_000).contains(&verdict.ended), "ended at {}", verdict.ended);
}

#[test]
fn a_package_that_breaks_halts_the_wave() {
    let verdict = run(5, Wave { broken: 3, ..wave(10, 2) }, Faults::default());
    assert_eq!(verdict.broken, Vec::<String>::new());
    let state = verdict.state.unwrap();
    assert!(state.halted && state.tally.failed >= 2 && state.tally.eligible.len() >= 6, "{:?}", state.tally);
}

/// The books are no ornament: they disagree with a limit that was broken.
#[test]
fn the_books_catch_a_limit_that_the_coordinator_did_not_keep() {
    let mut world = World::new(1, wave(6, 3), Faults::default());
    world.sabotage_limit(1);
    assert!(world.run().broken.iter().any(|broken| broken.starts_with("concurrency")));
}
