//! Rings that are well go on, and one that is sick ends its rollout: in a world in which nothing else goes wrong.

use crate::{
    sabotage::find,
    scenario::{MINUTE, Sickness},
    truth::Truth,
    world::{Finish, World},
};

/// How the wave of the stage ends with such a sickness, and which rings were asked, with how they were.
fn wave(seed: u64, sick: Option<Sickness>) -> (String, Vec<(u16, bool)>) {
    let mut scenario = find("ring-gate-ignored").unwrap().scenario();
    scenario.waves[0].sick = sick;
    let outcome = World::new(seed, scenario, false).run();
    assert_eq!(outcome.finish, Finish::Completed, "seed {seed}: {:?}", outcome.record.violations);
    let shown = outcome.history.iter().filter_map(|(_, _, truth)| match truth {
        Truth::RingShown { ring, ok, .. } => Some((*ring, *ok)),
        _ => None,
    });
    (outcome.rollouts[0].clone(), shown.collect())
}

#[test]
fn the_next_ring_begins_only_when_the_one_before_is_well_and_the_last_ring_shows_it_too() {
    for seed in 1..=4 {
        let (well, shown) = wave(seed, None);
        assert!(well.starts_with("wave-0: 5 hosts, 5 succeeded") && !well.contains("halted"), "seed {seed}: {well}");
        assert_eq!(shown, [(0, true), (1, true)], "seed {seed}");
        let (first, shown) = wave(seed, Some(Sickness { ring: 0, after: 0, lasts: 0 }));
        assert!(first.contains("1 succeeded") && first.contains("4 not started, halted"), "seed {seed}: {first}");
        assert_eq!(shown, [(0, false)], "seed {seed}");
        let (last, shown) = wave(seed, Some(Sickness { ring: 1, after: 0, lasts: 0 }));
        assert!(last.contains("5 succeeded") && last.contains("0 not started, halted"), "seed {seed}: {last}");
        assert_eq!(shown, [(0, true), (1, false)], "seed {seed}");
    }
}

/// The bake of the stage's first ring is a minute.
#[test]
fn a_ring_is_as_it_is_after_its_bake_whatever_it_was_before() {
    for seed in 1..=4 {
        let (falls, shown) = wave(seed, Some(Sickness { ring: 0, after: MINUTE / 2, lasts: 0 }));
        assert!(falls.contains("1 succeeded") && falls.contains("4 not started, halted"), "seed {seed}: {falls}");
        assert_eq!(shown, [(0, false)], "seed {seed}");
        let (heals, shown) = wave(seed, Some(Sickness { ring: 0, after: 0, lasts: MINUTE / 2 }));
        assert!(heals.contains("5 succeeded") && !heals.contains("halted"), "seed {seed}: {heals}");
        assert_eq!(shown, [(0, true), (1, true)], "seed {seed}");
    }
}
