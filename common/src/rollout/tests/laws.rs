//! The incremental state against a computation from scratch.

use super::*;

/// Law: the incremental counters equal a computation from scratch, and a plan over a replayed ledger equals the plan over the
/// ledger that lived through the events.
#[test]
fn plan_equals_plan_from_scratch() {
    for seed in 0..40 {
        let mut world = World::new(8);
        world.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for host in 1..=8 {
            let script = match world.rng.next_u64() % 6 {
                0 => Script::Bad,
                1 => Script::Refuses(RefusalCode::Locked),
                2 => Script::Refuses(RefusalCode::PlanChanged),
                _ => Script::Good,
            };
            world.script(host, script);
        }
        world.apply(plan_of(8, 1 + (seed as u32 % 4), 2, open()));
        for _ in 0..60 {
            match world.rng.next_u64() % 9 {
                0 => world.finish_one(),
                1 => world.send(Event::Pause { rollout: ID, by: "ops".into() }),
                2 | 3 => world.send(Event::Resume { rollout: ID, by: "ops".into() }),
                4 => world.rebuild(),
                5 => world.pass(1500),
                6 => world.release(1 + (seed % 8) as u8),
                _ => world.round(),
            }
            let mut replayed = Ledger::default();
            for entry in &world.saved {
                replayed.fold(entry).unwrap();
            }
            assert_eq!(&replayed, world.controller.ledger(), "seed {seed}");
            assert_eq!(world.state().tally, world.state().recounted(), "seed {seed}");
            let lived = planner::plan(world.controller.ledger(), ID, world.controller.desk(), world.now);
            let scratch = planner::plan(&replayed, ID, world.controller.desk(), world.now);
            assert_eq!(lived, scratch, "seed {seed}");
        }
        assert_eq!(world.judge.violations(), [], "seed {seed}");
    }
}
