//! What simulations have found, as the shortest script that shows it.

use super::*;

pub(super) fn reopened(world: &mut World) {
    let mut ledger = Ledger::default();
    for entry in &world.saved {
        ledger.fold(entry).unwrap();
    }
    world.controller = Controller::rebuild(settings(), ledger);
    world.send(Event::Started { incarnation: Incarnation(9), continues: false });
    world.see_all();
}

/// A copy of the store granted a lease and was killed; the report then reaches the original.
#[test]
fn a_report_of_a_lease_that_another_ledger_granted_is_kept_and_counted_before_it_is_acknowledged() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    let lease = LeaseId([3; 16]);
    let body = world.report(lease, false);
    world.answer(2, body);
    let kept = world.saved.iter().any(|entry| matches!(entry.act, LedgerAct::Reported { .. }));
    assert!(kept && world.told.contains(&(signer(2).id(), ToHost::Acknowledge { lease })));
    assert_eq!((world.state().tally.failed, world.state().halted), (1, true));
    assert_eq!(world.state().tally, world.state().recounted());
    assert_eq!(world.judge.violations(), []);
    let before = world.saved.len();
    let body = world.report(lease, false);
    world.answer(2, body);
    assert_eq!(world.saved.len(), before, "a repeated report is acknowledged and not saved again");
}

/// Whoever granted the lease took its report: this ledger only hears, on asking again, that it is over.
#[test]
fn a_foreign_lease_that_ended_elsewhere_is_asked_for_until_it_is_over() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    reopened(&mut world);
    world.answer(1, ToCoordinator::Adopted { held: Some((LeaseId([3; 16]), ID)) });
    world.answer(2, ToCoordinator::Adopted { held: None });
    assert_eq!(world.controller.ledger().slots_held(world.state()), 1);
    world.told.clear();
    world.pass(2_500);
    assert!(world.told.contains(&(signer(1).id(), ToHost::Adopt)), "{:?}", world.told);
    world.answer(1, ToCoordinator::Adopted { held: None });
    assert_eq!(world.controller.ledger().slots_held(world.state()), 0);
}

/// The host was offered a lease here, ran another coordinator's instead, and refused the offer afterwards.
#[test]
fn a_late_refusal_does_not_replace_a_report() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 1, open()));
    let (_, ToHost::Offer(offered)) = world.told[0].clone() else { panic!("an offer") };
    let body = world.report(LeaseId([3; 16]), false);
    world.answer(1, body);
    assert_eq!(world.state().tally.failed, 1);
    let refusal = Refusal { code: RefusalCode::PlanChanged, text: "no".into(), remedy: "none".into() };
    world.answer(1, ToCoordinator::Refused { lease: offered.id, refusal });
    assert_eq!((world.state().tally.failed, world.state().tally.refused), (1, 0));
    assert_eq!(world.state().tally, world.state().recounted());
}

/// A `Go` was saved and never heard; then another coordinator came in between, and its slot is another host's.
fn overbooked() -> (World, LeaseId, ToCoordinator) {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.round();
    let go = world.told.iter().find_map(|(to, body)| match body {
        ToHost::Go { lease, .. } => Some((*lease, *to)),
        _ => None,
    });
    let Some((lease, host)) = go else { panic!("a go") };
    assert_eq!(host, signer(1).id());
    reopened(&mut world);
    world.answer(1, ToCoordinator::Adopted { held: None });
    world.answer(2, ToCoordinator::Adopted { held: Some((LeaseId([3; 16]), ID)) });
    // It has listened long enough, and nobody else was there.
    world.pass(31_000);
    world.told.clear();
    (world, lease, ToCoordinator::Ready { lease, nonce: Nonce([5; 16]) })
}

#[test]
fn a_saved_go_is_not_repeated_while_others_may_hold_its_slot() {
    let (mut world, lease, ready) = overbooked();
    world.answer(1, ready.clone());
    assert_eq!(
        world.told,
        [(signer(1).id(), ToHost::Withdraw { lease })],
        "the other host is at work for somebody else"
    );
    let body = world.report(LeaseId([3; 16]), true);
    world.answer(2, body);
    world.answer(1, ready);
    let go = ToHost::Go { lease, nonce: Nonce([5; 16]) };
    assert!(world.told.contains(&(signer(1).id(), go)), "its slot is free");
}

/// The host that overbooks never comes back: what has not begun must not hold a slot for ever, or the rollout never ends.
#[test]
fn a_withdrawn_lease_gives_its_slot_back() {
    let (mut world, lease, ready) = overbooked();
    world.answer(1, ready);
    let refusal = Refusal { code: RefusalCode::StaleGo, text: "withdrawn".into(), remedy: "none".into() };
    world.answer(1, ToCoordinator::Refused { lease, refusal });
    let state = world.state();
    assert_eq!((world.controller.ledger().slots_held(state), state.tally.busy.len()), (1, 0));
    assert_eq!(world.judge.violations(), []);
}

/// The first host is granted a lease, and its `Go` is lost.
fn unheard(plan: Plan) -> (World, LeaseId) {
    let mut world = World::new(1);
    world.apply(plan);
    world.round();
    let lease = world.controller.ledger().leased[&signer(1).id()].1;
    world.script(1, Script::Silent);
    world.see_all();
    world.told.clear();
    (world, lease)
}

/// Somebody resumed the rollout when it had ended: the host no longer refuses by itself, and the rollout stays stopped.
#[test]
fn a_lease_of_a_rollout_that_ended_stopped_is_given_back_by_a_host_that_never_began() {
    let (mut world, lease) = unheard(plan_of(1, 1, 0, open()));
    world.send(Event::Stop { rollout: ID, by: "ops".into() });
    world.pass(61_000);
    assert!(world.state().ended_at.is_some() && world.state().tally.busy.len() == 1, "it ended with a lost host");
    let other = RolloutId([9; 8]);
    world.script(1, Script::Good);
    world.see_all();
    world.send(Event::Apply { id: other, plan: Box::new(plan_of(1, 1, 0, open())), by: "ops".into() });
    world.told.clear();
    world.answer(1, ToCoordinator::Ready { lease, nonce: Nonce([5; 16]) });
    assert_eq!(world.told, [(signer(1).id(), ToHost::Withdraw { lease })], "the answer to an earlier offer");
    world.told.clear();
    world.pass(2_500);
    assert_eq!(world.told, [(signer(1).id(), ToHost::Withdraw { lease })], "it is not offered again");
    for _ in 0..20 {
        world.round();
        world.finish_one();
        world.pass(500);
    }
    assert_eq!(world.controller.ledger().rollouts[&other].tally.succeeded, 1);
    assert_eq!(world.state().tally, world.state().recounted());
    assert_eq!(world.judge.violations(), []);
}

/// Its clock is behind, so that for the host the opening is not over.
#[test]
fn a_lease_whose_opening_is_over_is_given_back_by_a_host_that_never_began() {
    let opening = Opening { opens: WallTime(0), last_start: WallTime(HOUR), closes: WallTime(HOUR) };
    let (mut world, lease) = unheard(plan_of(1, 1, 0, vec![opening]));
    world.pass(HOUR as u64);
    world.told.clear();
    world.answer(1, ToCoordinator::Ready { lease, nonce: Nonce([5; 16]) });
    assert_eq!(world.told, [(signer(1).id(), ToHost::Withdraw { lease })]);
}

/// Its patience would have run out during the STOP.
#[test]
fn a_lease_that_was_withdrawn_is_no_refusal_of_the_next_one() {
    let (mut world, lease) = unheard(plan_of(1, 1, 0, open()));
    world.send(operated::order(crate::run::message::StopScope::All, 1, true, Role::Operator));
    let refusal = |code| Refusal { code, text: "no".into(), remedy: "none".into() };
    world.answer(1, ToCoordinator::Refused { lease, refusal: refusal(RefusalCode::StaleGo) });
    world.pass(600_000);
    world.script(1, Script::Refuses(RefusalCode::Locked));
    world.see_all();
    world.send(operated::order(crate::run::message::StopScope::All, 2, false, Role::Operator));
    world.round();
    assert_eq!((world.state().tally.refused, world.state().ended_at), (0, None), "it has just begun to refuse");
    world.script(1, Script::Good);
    world.run();
    assert_eq!(world.state().tally.succeeded, 1);
}

/// Its membership ended within the time that it takes to notice that a host is silent.
#[test]
fn a_host_that_the_mesh_forgets_while_it_is_heard_is_not_waited_for() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.script(2, Script::Silent);
    let words = Words::default();
    world.send(Event::View(vec![Seen { node: signer(1).id(), alive: true, held: None, sealed: WallTime(0), words }]));
    for _ in 0..300 {
        world.round();
        world.finish_one();
        world.pass(500);
    }
    assert_eq!((world.state().tally.succeeded, world.state().tally.eligible.len()), (1, 1));
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);
}

/// A copy of the store repeated the `Go`, and the host reports to the original, which has just been started again.
#[test]
fn a_report_under_another_coordinators_epoch_is_kept_after_the_ledger_says_that_others_were_at_work() {
    let (mut world, lease) = unheard(plan_of(1, 1, 0, open()));
    let copy = Epoch { serial: 1, counter: 7, incarnation: Incarnation(3) };
    let report = |world: &World| world.heard_under(copy, 1, world.report(lease, true));
    let heard = report(&world);
    world.send(heard);
    let acts: Vec<_> = world.saved.iter().rev().take(3).map(|entry| &entry.act).collect();
    let [LedgerAct::Ended { .. }, LedgerAct::Reported { .. }, LedgerAct::EpochOpened { epoch, continued: false }] =
        acts[..]
    else {
        panic!("{acts:?}")
    };
    assert!(copy.admits(epoch), "{epoch:?}");
    let before = world.saved.len();
    let heard = report(&world);
    world.send(heard);
    assert_eq!(world.saved.len(), before, "said again it is only acknowledged");
    assert_eq!(world.judge.violations(), []);
}
