//! What simulations have found, as the shortest script that shows it.

use super::*;

fn reopened(world: &mut World) {
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

/// A `Go` was saved and never heard; then another coordinator came in between, and the slot may be another host's.
#[test]
fn a_saved_go_is_not_repeated_while_others_may_hold_its_slot() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.round();
    let Some((ToHost::Go { lease, .. }, host)) = world.told.iter().find_map(|(to, body)| match body {
        ToHost::Go { .. } => Some((body.clone(), *to)),
        _ => None,
    }) else {
        panic!("a go")
    };
    assert_eq!(host, signer(1).id());
    reopened(&mut world);
    let ready = ToCoordinator::Ready { lease, nonce: Nonce([5; 16]) };
    let gone = |world: &World| world.told.iter().any(|(_, body)| matches!(body, ToHost::Go { .. }));
    world.answer(1, ToCoordinator::Adopted { held: None });
    world.answer(2, ToCoordinator::Adopted { held: Some((LeaseId([3; 16]), ID)) });
    world.told.clear();
    world.answer(1, ready.clone());
    assert!(!gone(&world), "the other host is at work for somebody else");
    let body = world.report(LeaseId([3; 16]), true);
    world.answer(2, body);
    world.answer(1, ready);
    assert!(gone(&world), "its slot is free");
}
