//! Nobody dies of one message a third time, and who died too often sits still for an hour.

use std::collections::BTreeMap;

use patchmesh_common::poison::{SAFE_FOR, TO_BE_SAFE, TO_QUARANTINE};

use crate::{
    sabotage::find,
    truth::{Spot, Truth},
    world::{Finish, Outcome, World},
};

const SEEDS: std::ops::RangeInclusive<u64> = 1..=8;

/// The stage of a sabotage without the sabotage.
fn honest(stage: &str, seed: u64) -> Outcome {
    let outcome = World::new(seed, find(stage).unwrap().scenario(), false).run();
    assert_eq!(outcome.finish, Finish::Completed, "seed {seed}: {:?}", outcome.record.violations);
    outcome
}

/// When who died of what.
fn deaths(outcome: &Outcome) -> BTreeMap<(Spot, u32), Vec<u64>> {
    let mut deaths: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for (at, spot, truth) in &outcome.history {
        if let Truth::Aborted { poison, .. } = truth {
            deaths.entry((*spot, *poison)).or_default().push(*at);
        }
    }
    deaths
}

#[test]
fn a_host_dies_twice_of_a_poison_and_lives_on() {
    for seed in SEEDS {
        let outcome = honest("aborts-forgotten", seed);
        let deaths = deaths(&outcome);
        assert_eq!(deaths.values().map(Vec::len).collect::<Vec<_>>(), [TO_QUARANTINE], "seed {seed}");
        assert_eq!(outcome.faults["poison-message"].effective, TO_QUARANTINE as u64);
    }
}

#[test]
fn a_host_that_dies_of_two_poisons_begins_nothing_for_an_hour_and_others_do() {
    for seed in SEEDS {
        let outcome = honest("safe-mode-unheard", seed);
        let deaths = deaths(&outcome);
        // What is not read in safe mode kills nobody any more.
        let counts: Vec<_> = deaths.values().map(Vec::len).collect();
        assert!(counts.iter().all(|count| *count <= TO_QUARANTINE), "seed {seed}: {counts:?}");
        assert!(counts.iter().sum::<usize>() >= TO_BE_SAFE, "seed {seed}: {counts:?}");
        let victim = deaths.keys().next().unwrap().0;
        let mut times: Vec<_> = deaths.into_values().flatten().collect();
        times.sort_unstable();
        let safe = times[TO_BE_SAFE - 1]..times.last().unwrap() + SAFE_FOR.as_millis() as u64;
        let granted = outcome.history.iter().filter(|(_, _, truth)| matches!(truth, Truth::Granted { .. }));
        let (own, others): (Vec<_>, Vec<_>) =
            granted.filter(|(at, ..)| safe.contains(at)).partition(|(_, spot, _)| *spot == victim);
        assert!(own.is_empty() && !others.is_empty(), "seed {seed}: {own:?}");
    }
}
