//! Gates after a ring whose hosts came to their end while another ring had its turn: another coordinator started them, or they
//! were passed over.

use super::{ring_gates::gated, *};
use crate::rollout::ring_gate::RingVerdict;

impl World {
    /// A run that a copy of the ledger permitted.
    fn ran_elsewhere(&mut self, seed: u8) {
        let body = self.report(LeaseId([seed; 16]), true);
        self.answer(seed, body);
    }

    fn passes(&mut self, ring: u16, attempt: u32) {
        let asked = core::mem::take(&mut self.asked);
        assert_eq!((asked, self.state().ended_at), (vec![(ring, attempt)], None));
        self.send(Event::Gated { rollout: ID, ring, attempt, verdict: RingVerdict::Passed });
    }
}

#[test]
fn a_ring_that_was_done_elsewhere_while_it_was_closed_is_shown_before_the_end() {
    let mut world = World::new(4);
    world.apply(gated(0));
    world.work();
    assert_eq!(world.state().course.place.ring, 1, "the first one bakes");
    world.ran_elsewhere(3);
    world.ran_elsewhere(4);
    world.passes(1, 1);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_ring_that_was_done_elsewhere_before_its_turn_is_asked_about_when_nobody_is_left() {
    let mut world = World::new(4);
    world.apply(gated(0));
    world.ran_elsewhere(3);
    world.ran_elsewhere(4);
    world.work();
    assert_eq!(world.state().course.place.ring, 0, "for nobody the next one would open");
    world.passes(1, 1);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_ring_two_further_on_is_asked_about_without_the_bakes_before_it() {
    let rings = ["canary", "early", "fleet"].map(|name| rings::ring(name, 1, &[], 0, 300));
    let mut world = World::new(3);
    world.apply(Plan { rings: rings.into(), ring_gates: gated(0).ring_gates, ..plan_of(3, 1, 0, open()) });
    world.ran_elsewhere(2);
    world.ran_elsewhere(3);
    world.work();
    // Nothing begins any more: what the last one shows is enough.
    world.passes(2, 1);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);
}

/// Of the next ring one host has nothing to do, and the other one was started elsewhere.
#[test]
fn a_host_that_was_passed_over_and_comes_back_during_the_bake_is_shown_after_it() {
    let mut plan = gated(0);
    plan.hosts[3].transaction = Transaction::default();
    let mut world = World::new(4);
    world.script(2, Script::Silent);
    world.see_all();
    world.apply(plan);
    world.work();
    world.pass(61_000);
    assert_eq!(world.state().course.place.ring, 1);
    world.ran_elsewhere(3);
    world.script(2, Script::Good);
    world.see_all();
    world.work();
    assert_eq!((world.state().tally.succeeded, world.state().tally.eligible.len()), (3, 0));
    world.passes(1, 1);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);
}

/// Everybody of the first ring is silent, so that it proves nothing by itself and no other one begins.
#[test]
fn a_ring_that_was_done_elsewhere_before_one_in_which_everybody_is_silent_is_asked_about_and_holds_no_rollout_for_ever()
{
    let mut world = World::new(4);
    for seed in [1, 2] {
        world.script(seed, Script::Silent);
    }
    world.see_all();
    world.apply(gated(0));
    world.ran_elsewhere(3);
    world.ran_elsewhere(4);
    world.pass(61_000);
    world.pass(1_000);
    assert_eq!((world.asked.len(), world.state().ended_at.is_some()), (0, true));
    assert_eq!(world.judge.violations(), []);
}
