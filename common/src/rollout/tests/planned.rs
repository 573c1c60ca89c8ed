//! What a ledger knows of hosts before they are planned for again.

use std::collections::BTreeSet;

use super::*;
use crate::rollout::{
    claim::{Claim, claims},
    estimate::Estimate,
};

#[test]
fn a_rollout_claims_its_hosts_until_it_has_nothing_left_to_do_on_them_and_leaves_their_times() {
    let mut world = World::new(3);
    let nodes = |seeds: &[u8]| -> BTreeSet<NodeId> { seeds.iter().map(|seed| signer(*seed).id()).collect() };
    let of = |world: &World, seeds: &[u8]| claims(world.controller.ledger(), &nodes(seeds));
    let estimate = |world: &World, seed: u8| {
        let durations = &world.controller.ledger().durations;
        durations.estimate(&signer(seed).id(), Operation::Install, RebootOption::Never, None)
    };
    world.apply(plan_of(3, 1, 0, open()));
    let claim = |seeds: &[u8]| Claim { rollout: ID, name: "wave".into(), hosts: nodes(seeds) };
    assert_eq!(of(&world, &[1, 2, 9]), [claim(&[1, 2])]);
    assert_eq!(of(&world, &[9]), []);
    world.round();
    world.round();
    world.send(Event::Pause(ID));
    assert_eq!(of(&world, &[1, 2, 3]), [claim(&[1, 2, 3])], "a pause lets nobody go");
    world.send(Event::Stop(ID));
    assert_eq!(of(&world, &[1, 2, 3]), [claim(&[1])], "what never starts is free");
    assert_eq!(estimate(&world, 1), None);
    world.finish_one();
    assert_eq!(of(&world, &[1, 2, 3]), []);
    assert_eq!(estimate(&world, 2), Some(Estimate { p50: 0, p95: 0 }), "it ended in the same instant");
}
