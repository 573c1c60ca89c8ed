//! Slots that an operator releases by name: free for others, fenced for their hosts, and what comes of it later.

use super::*;
use crate::rollout::{
    check::Excused,
    slots::{Hold, Slot, Unreleased, releasable, slots},
};

impl World {
    pub(super) fn release(&mut self, seed: u8) {
        let host = signer(seed).id();
        self.send(Event::Release { host, by: "ops".into(), because: "dead".into() });
    }

    fn slots(&self) -> Vec<Slot> {
        slots(self.controller.ledger(), self.controller.desk(), self.now.boot)
    }

    fn told_release(&self, seed: u8, lease: LeaseId) -> usize {
        let told = self.told.iter().filter(|told| **told == (signer(seed).id(), ToHost::Release { lease }));
        told.count()
    }

    fn granted(&self, seed: u8) -> bool {
        self.controller.ledger().leased.contains_key(&signer(seed).id())
    }
}

/// The first of `hosts` holds the only slot and is never heard again.
fn one_lost(hosts: u8, errors: u32) -> (World, LeaseId) {
    let mut world = World::new(hosts);
    world.apply(plan_of(hosts, 1, errors, open()));
    world.round();
    world.round();
    let (node, lease) = world.running.pop_first().unwrap();
    let seed = world.scripts[&node].0;
    assert_eq!(seed, 1);
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(61_000);
    (world, lease)
}

#[test]
fn a_released_slot_is_given_to_the_next_host_and_exactly_that_lease_is_excused() {
    let (mut world, lease) = one_lost(2, 0);
    let why = planner::waiting(world.controller.ledger(), ID, 1, world.controller.desk(), world.now);
    assert_eq!(why, Some(Waiting::Lost { failed: 0, lost: 1, max_errors: 0 }));
    world.release(1);
    assert_eq!(world.told_release(1, lease), 1);
    world.run();
    let state = world.state();
    assert_eq!((state.tally.succeeded, state.tally.released, state.tally.busy.len(), state.peak), (1, 1, 0, 1));
    assert_eq!(state.tally, state.recounted());
    assert_eq!(world.judge.violations(), []);
    let [Excused { host, lease: fenced, because, .. }] = world.judge.excused() else { panic!("one pair") };
    assert_eq!((*host, *fenced, because.as_str()), (signer(1).id(), Some(lease), "dead"));
}

#[test]
fn a_late_report_of_a_released_lease_is_kept_counted_once_and_acknowledged() {
    let (mut world, lease) = one_lost(2, 1);
    world.release(1);
    world.run();
    let body = world.report(lease, false);
    world.script(1, Script::Good);
    world.answer(1, body);
    assert_eq!((world.state().tally.failed, world.state().tally.released), (1, 0));
    assert!(world.told.contains(&(signer(1).id(), ToHost::Acknowledge { lease })));
    assert_eq!(world.controller.ledger().fenced(&signer(1).id()), None);
    let before = world.saved.len();
    let body = world.report(lease, false);
    world.answer(1, body);
    assert_eq!((world.saved.len(), world.state().tally.failed), (before, 1));
    assert_eq!(world.state().tally, world.state().recounted());
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn what_is_not_held_is_not_written_and_what_is_released_no_second_time() {
    let (mut world, _) = one_lost(2, 0);
    let before = world.saved.len();
    world.release(2);
    assert_eq!(world.saved.len(), before);
    world.release(1);
    assert_eq!(world.saved.iter().filter(|entry| matches!(entry.act, LedgerAct::Released { .. })).count(), 1);
    let before = world.saved.len();
    world.release(1);
    assert_eq!(world.saved.len(), before);
}

#[test]
fn a_dead_host_is_left_alone_and_one_that_comes_back_is_told_until_it_answers() {
    let (mut world, lease) = one_lost(1, 0);
    world.release(1);
    assert!(world.state().ended_at.is_some(), "nobody else is to come");
    world.told.clear();
    world.pass(60_000);
    world.pass(60_000);
    assert_eq!(world.told, [], "nobody hears it");
    world.rebuild();
    world.told.clear();
    world.script(1, Script::Good);
    world.see_all();
    world.pass(2_500);
    world.pass(2_500);
    assert!(world.told_release(1, lease) >= 2, "{:?}", world.told);
    world.round();
    assert!(matches!(world.saved.last().unwrap().act, LedgerAct::Returned { .. }), "its refusal is evidence");
    world.told.clear();
    world.pass(2_500);
    assert_eq!(world.told, []);
    assert_eq!((world.state().tally.eligible.len(), world.state().tally.released), (1, 0));
}

#[test]
fn a_released_host_that_did_nothing_may_be_asked_again_once_it_has_said_so() {
    let (mut world, lease) = one_lost(3, 1);
    world.release(1);
    world.script(1, Script::Good);
    world.running.insert(signer(1).id(), lease);
    world.see_all();
    world.round();
    world.round();
    assert!(!world.granted(1) && world.granted(2), "its own lease is fenced, and nothing has come of it");
    let ToCoordinator::Reported(mut report) = world.report(lease, false) else { panic!("a report") };
    report.outcome = Outcome::Deferred;
    world.ended.insert(signer(1).id());
    world.answer(1, ToCoordinator::Reported(report));
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().hosts[0].attempts), (3, 2));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn another_rollout_waits_for_a_released_host_instead_of_being_refused_by_it() {
    let (mut world, lease) = one_lost(1, 0);
    world.release(1);
    world.script(1, Script::Good);
    world.running.insert(signer(1).id(), lease);
    world.see_all();
    let other = RolloutId([9; 8]);
    world.send(Event::Apply { id: other, plan: Box::new(plan_of(1, 1, 0, open())), by: "ops".into() });
    world.told.clear();
    world.pass(2_500);
    let why = planner::waiting(world.controller.ledger(), other, 0, world.controller.desk(), world.now);
    assert_eq!(why, Some(Waiting::Released));
    assert!(!world.told.iter().any(|(_, body)| matches!(body, ToHost::Offer(_))));
    world.ended.insert(signer(1).id());
    let body = world.report(lease, true);
    world.answer(1, body);
    assert!(world.told.iter().any(|(_, body)| matches!(body, ToHost::Offer(_))));
}

/// The ledger is a copy, and two of its hosts never come back: one had named a lease, one had said nothing.
fn reconciling() -> (World, LeaseId) {
    let mut world = World::new(4);
    (world.controller, world.judge) = (Controller::rebuild(settings(), Ledger::default()), Judge::default());
    world.send(Event::Started { incarnation: Incarnation(3), continues: false });
    world.script(2, Script::Silent);
    world.script(3, Script::Silent);
    world.see_all();
    world.apply(plan_of(4, 1, 0, open()));
    let foreign = LeaseId([8; 16]);
    world.answer(2, ToCoordinator::Adopted { held: Some((foreign, ID)) });
    world.round();
    world.pass(61_000);
    (world, foreign)
}

#[test]
fn foreign_and_unknown_holders_are_listed_and_can_be_released() {
    let (mut world, foreign) = reconciling();
    world.round();
    let listed: Vec<_> = world.slots().iter().map(|slot| (slot.name.clone(), slot.held, slot.lease)).collect();
    assert_eq!(
        listed,
        [("host-02".to_owned(), Hold::Foreign, Some(foreign)), ("host-03".to_owned(), Hold::Unknown, None)]
    );
    world.release(2);
    world.round();
    world.round();
    assert!(world.running.is_empty(), "one that has said nothing is still counted");
    world.release(3);
    assert_eq!((world.slots(), world.controller.ledger().slots_held(world.state())), (vec![], 0));
    world.round();
    world.round();
    assert_eq!(world.running.len(), 1);
    assert_eq!(world.judge.violations(), []);
    assert_eq!(world.judge.excused().len(), 2);
}

#[test]
fn an_unknown_holder_that_comes_back_with_a_lease_is_fenced_and_holds_no_slot() {
    let (mut world, _) = reconciling();
    world.release(2);
    world.release(3);
    let unknown = LeaseId([9; 16]);
    world.script(3, Script::Good);
    world.running.insert(signer(3).id(), unknown);
    world.see_all();
    assert!(world.told.contains(&(signer(3).id(), ToHost::Adopt)), "it is still asked");
    world.answer(3, ToCoordinator::Adopted { held: Some((unknown, ID)) });
    world.pass(2_500);
    assert_eq!(
        (world.told_release(3, unknown), world.slots().iter().any(|slot| slot.host == signer(3).id())),
        (1, false)
    );
    let body = world.report(unknown, true);
    world.answer(3, body);
    assert_eq!(world.controller.ledger().fenced(&signer(3).id()), None);
}

#[test]
fn a_foreign_lease_that_its_host_forgot_is_let_go_by_its_own_word() {
    let (mut world, foreign) = reconciling();
    world.release(2);
    world.script(2, Script::Good);
    world.see_all();
    world.told.clear();
    world.pass(2_500);
    assert_eq!(world.told_release(2, foreign), 1);
    world.round();
    assert!(world.told.contains(&(signer(2).id(), ToHost::Adopt)));
    world.round();
    assert_eq!(world.controller.ledger().fenced(&signer(2).id()), None);
}

/// Another coordinator granted both leases, and its word on the first one came late.
#[test]
fn a_released_lease_that_ended_deferred_undoes_nothing_that_its_host_did_under_another() {
    let mut world = World::new(3);
    (world.controller, world.judge) = (Controller::rebuild(settings(), Ledger::default()), Judge::default());
    world.send(Event::Started { incarnation: Incarnation(3), continues: false });
    world.see_all();
    let rings = vec![rings::ring("canary", 2, &[], 0, 0), rings::ring("fleet", 1, &[], 0, 0)];
    world.apply(Plan { rings, ..plan_of(3, 1, 0, open()) });
    let (foreign, later) = (LeaseId([8; 16]), LeaseId([9; 16]));
    world.answer(1, ToCoordinator::Adopted { held: Some((foreign, ID)) });
    world.release(1);
    world.pass(31_000);
    let body = world.report(later, true);
    world.answer(1, body);
    let ToCoordinator::Reported(mut report) = world.report(foreign, false) else { panic!("a report") };
    report.outcome = Outcome::Deferred;
    world.answer(1, ToCoordinator::Reported(report));
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().hosts[0].attempts), (3, 0));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_host_that_is_heard_is_released_only_on_purpose_and_unknown_names_not_at_all() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.round();
    world.round();
    let held = world.slots();
    assert_eq!((held.len(), held[0].held, held[0].since), (1, Hold::Busy, Some(WallTime(0))));
    assert_eq!(releasable(&held, "host-02", true), Err(Unreleased::NotHeld));
    assert!(matches!(releasable(&held, "host-01", false), Err(Unreleased::Heard(_))));
    assert_eq!(releasable(&held, "host-01", true), Ok(signer(1).id()));
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(61_000);
    let held = world.slots();
    assert_eq!((held[0].held, held[0].silent > held[0].patience), (Hold::Lost, true));
    assert_eq!(releasable(&held, "host-01", false), Ok(signer(1).id()));
    assert_eq!(releasable(&held, &signer(1).id().to_string(), false), Ok(signer(1).id()));
    let twins: Vec<Slot> = [1, 2].map(|seed| Slot { host: signer(seed).id(), ..held[0].clone() }).into();
    assert!(matches!(releasable(&twins, "host-01", true), Err(Unreleased::Ambiguous(keys)) if keys.len() == 2));
}

#[test]
fn a_host_is_missed_after_its_own_reboots() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 2, 0, open()));
    world.round();
    world.round();
    let lease = world.running[&signer(2).id()];
    let ToCoordinator::Reported(mut report) = world.report(lease, true) else { panic!("a report") };
    report.steps = vec![crate::run::message::StepReport {
        phase: Phase::Reboot,
        attempt: 1,
        ok: true,
        started: WallTime(0),
        ended: WallTime(900_000),
        output: String::new(),
    }];
    world.answer(2, ToCoordinator::Reported(report));
    let other = RolloutId([9; 8]);
    world.running.remove(&signer(2).id());
    world.send(Event::Apply { id: other, plan: Box::new(plan_of(2, 2, 0, open())), by: "ops".into() });
    world.round();
    world.round();
    world.pass(61_000);
    let held = world.slots();
    let how: Vec<_> = held.iter().map(|slot| (slot.name.as_str(), slot.held, slot.patience.as_secs())).collect();
    assert_eq!(how, [("host-01", Hold::Lost, 60), ("host-02", Hold::Busy, 1800)]);
    assert_eq!(held[1].reboots, Some(Duration::from_secs(900)));
}
