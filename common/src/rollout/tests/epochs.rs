//! Lost, copied and fenced ledgers, and answers of strangers.

use super::*;

#[test]
fn a_lost_or_copied_store_grants_nothing_until_every_target_has_said_what_it_holds() {
    let mut world = World::new(3);
    world.controller = Controller::rebuild(settings(), Ledger::default());
    world.send(Event::Started { incarnation: Incarnation(3), continues: false });
    world.see_all();
    let foreign = LeaseId([8; 16]);
    world.running.insert(signer(2).id(), foreign);
    world.ended.insert(signer(2).id());
    world.script(3, Script::Silent);
    world.see_all();
    world.apply(plan_of(3, 1, 0, open()));
    let offers = |world: &World| world.told.iter().filter(|(_, body)| matches!(body, ToHost::Offer(_))).count();
    assert_eq!(offers(&world), 0);
    world.round();
    world.pass(500);
    assert_eq!(offers(&world), 0, "one host holds a foreign lease and one has not answered");
    assert!(world.controller.ledger().foreign.contains_key(&signer(2).id()));
    world.answer(2, world.report(foreign, true));
    world.running.remove(&signer(2).id());
    world.ended.clear();
    assert_eq!(offers(&world), 0, "the silent one still counts");
    world.script(3, Script::Good);
    world.see_all();
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().peak), (3, 1));
}

#[test]
fn a_record_that_holds_an_unknown_lease_shows_that_the_store_is_too_old() {
    let mut world = World::new(1);
    let held = Some(LeaseId([8; 16]));
    world.send(Event::View(vec![Seen {
        node: signer(1).id(),
        alive: true,
        held,
        sealed: WallTime(0),
        words: Words::default(),
    }]));
    assert!(world.controller.ledger().discontinuous);
    assert_eq!(world.controller.epoch().counter, 2);
}

#[test]
fn a_fenced_coordinator_jumps_above_the_other_and_reconciles_again() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    let saved = Epoch { serial: 1, counter: 40, incarnation: Incarnation(77) };
    world.answer(1, ToCoordinator::Fenced { saved, held: None });
    assert_eq!(world.controller.epoch().counter, 41);
    assert!(world.controller.ledger().discontinuous);
    world.run();
    assert_eq!(world.state().tally.succeeded, 2);
    let newer = Epoch { serial: 2, ..saved };
    world.answer(1, ToCoordinator::Fenced { saved: newer, held: None });
    assert!(world.controller.desk().superseded);
}

/// Two processes of one key are one peer to a host: what it answers to one may arrive at the other.
#[test]
fn whoever_hears_what_another_coordinator_was_answered_jumps_above_it() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    let own = world.controller.epoch();
    let other = Epoch { serial: 1, counter: own.counter + 3, incarnation: Incarnation(77) };
    world.send(world.heard_under(other, 1, ToCoordinator::Adopted { held: None }));
    let jumped = world.controller.epoch();
    assert_eq!((jumped.counter, world.controller.ledger().discontinuous), (other.counter + 1, true));
    for old in [own, Epoch { counter: own.counter, ..other }] {
        world.send(world.heard_under(old, 2, ToCoordinator::Adopted { held: None }));
        assert_eq!(world.controller.epoch(), jumped, "what was answered before says nothing of now");
    }
    world.run();
    assert_eq!(world.state().tally.succeeded, 2);
}

#[test]
fn one_host_cannot_use_the_epochs_up() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    let own = world.controller.epoch().counter;
    let saved = Epoch { serial: 1, counter: u64::MAX, incarnation: Incarnation(77) };
    world.answer(1, ToCoordinator::Fenced { saved, held: None });
    assert_eq!(world.controller.epoch().counter, own + (1 << 20));
    world.answer(1, ToCoordinator::Fenced { saved, held: None });
    assert_eq!(world.controller.epoch().counter, own + (2 << 20), "behind an honest one it goes on");
    world.rebuild();
    assert!(world.controller.epoch().counter > own + (2 << 20), "and it starts again");
}

#[test]
fn a_forged_or_foreign_answer_changes_nothing() {
    let mut world = World::new(1);
    world.apply(plan_of(1, 1, 0, open()));
    let (_, ToHost::Offer(lease)) = world.told[0].clone() else { panic!("an offer") };
    let before = world.controller.clone();
    let body = ToCoordinator::Ready { lease: lease.id, nonce: Nonce([1; 16]) };
    let answer = Answer { mesh: mesh(), to: settings().me, epoch: before.epoch(), head: None, body };
    let own = Membership {
        mesh: mesh(),
        key: signer(9).id(),
        name: "intruder".into(),
        role: Role::Node,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: BTreeMap::new(),
    };
    let credential = Credential { membership: Sealed::seal(&signer(9), &own), issuer: None };
    let mut sealed = Sealed::seal(&signer(9), &answer);
    world.send(Event::Heard(Box::new(LeaseFrame { credential: credential.clone(), sealed: sealed.clone() })));
    sealed.author = signer(1).id();
    world.send(Event::Heard(Box::new(LeaseFrame { credential, sealed })));
    assert_eq!(world.controller.desk(), before.desk());
}

/// A second coordinator on a copy granted leases and ended; the first one, which continues its own store, cannot know.
#[test]
fn whoever_continues_its_store_is_told_of_a_coordinator_that_came_in_between() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.rebuild();
    let own = world.controller.epoch();
    assert_eq!((own.counter, world.controller.ledger().discontinuous), (2, false));
    let twin = Epoch { serial: 1, counter: 1, incarnation: Incarnation(77) };
    assert!(
        !world.command(1).follows(twin),
        "a host that obeyed the other one does not obey without being asked first"
    );
    world.answer(1, ToCoordinator::Fenced { saved: twin, held: None });
    assert!(world.controller.ledger().discontinuous);
    assert_eq!(world.controller.epoch().counter, 3);
    assert!(world.command(1).follows(twin));
    world.run();
    assert_eq!((world.state().tally.succeeded, world.overlap), (2, 1));
}

#[test]
fn a_host_that_missed_some_starts_is_taken_along_without_reconciling() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    let first = world.controller.epoch();
    world.rebuild();
    world.rebuild();
    assert!(!world.command(1).follows(first));
    world.answer(1, ToCoordinator::Fenced { saved: first, held: None });
    assert!(world.command(1).follows(first), "it is one of ours");
    assert!(!world.controller.ledger().discontinuous);
    world.run();
    assert_eq!(world.state().tally.succeeded, 2);
}

fn why(world: &World) -> Option<Waiting> {
    planner::waiting(world.controller.ledger(), ID, 2, world.controller.desk(), world.now)
}

fn offers(world: &World) -> usize {
    world.told.iter().filter(|(_, body)| matches!(body, ToHost::Offer(_) | ToHost::Go { .. })).count()
}

/// The first coordinator is at work when a second one is started on a copy of its store.
#[test]
fn whoever_has_the_copy_listens_stands_back_and_comes_back_when_the_other_is_gone() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 2, 0, open()));
    found::reopened(&mut world);
    world.told.clear();
    world.pass(2_500);
    world.round();
    assert_eq!((why(&world), offers(&world)), (Some(Waiting::Listening), 0), "every host has said what it holds");
    let other = Epoch { counter: world.controller.epoch().counter + 1, ..world.controller.epoch() };
    let other = Epoch { incarnation: Incarnation(77), ..other };
    world.answer(1, ToCoordinator::Fenced { saved: other, held: None });
    assert_eq!(why(&world), Some(Waiting::Rival));
    let own = world.controller.epoch();
    assert!(other.rank() > own.rank(), "it does not jump above the other");
    let body = world.report(LeaseId([3; 16]), true);
    world.told.clear();
    world.answer(2, body.clone());
    world.pass(60_000);
    assert_eq!((world.told.clone(), world.controller.epoch()), (vec![], own), "the report is left to the other");
    assert!(!world.controller.ledger().reported.contains(&LeaseId([3; 16])) && world.state().ended_at.is_none());
    world.pass(250_000);
    assert_eq!(why(&world), Some(Waiting::Listening));
    world.answer(1, ToCoordinator::Fenced { saved: other, held: None });
    assert!(world.controller.epoch().rank() > other.rank(), "once, because nobody may be there any more");
    world.pass(2_500);
    world.round();
    world.pass(31_000);
    assert!(offers(&world) > 0);
    world.answer(2, body);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.overlap), (3, 2));
    assert_eq!(world.judge.violations(), []);
}

/// Of another coordinator, which jumped above this one.
fn above(world: &World) -> Epoch {
    let own = world.controller.epoch();
    Epoch { counter: own.counter + 1, incarnation: Incarnation(77), ..own }
}

#[test]
fn a_restored_ledger_jumps_above_the_epochs_that_it_lost() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    found::reopened(&mut world);
    for host in 1..=2 {
        let saved = above(&world);
        world.answer(host, ToCoordinator::Fenced { saved, held: None });
        assert_eq!((world.controller.epoch().counter, world.controller.desk().rival), (saved.counter + 1, None));
    }
}

#[test]
fn whoever_has_the_original_never_stands_back_also_if_it_jumped_and_is_started_again() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    world.send(Event::View(vec![Seen {
        node: signer(1).id(),
        alive: true,
        held: Some(LeaseId([8; 16])),
        sealed: WallTime(0),
        words: Words::default(),
    }]));
    assert!(world.controller.ledger().discontinuous, "a copy granted something");
    for _ in 0..3 {
        for _ in 0..6 {
            let saved = above(&world);
            world.answer(1, ToCoordinator::Fenced { saved, held: None });
            world.round();
            assert_eq!((world.controller.epoch().counter, world.controller.desk().rival), (saved.counter + 1, None));
        }
        world.rebuild();
        assert_eq!((world.controller.ledger().copied, world.controller.desk().listening), (false, None));
    }
}

#[test]
fn a_copy_that_is_started_again_knows_what_it_is_and_stands_back_again() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 2, 0, open()));
    found::reopened(&mut world);
    world.pass(2_500);
    world.round();
    for _ in 0..3 {
        world.rebuild();
        world.told.clear();
        assert_eq!((why(&world), offers(&world)), (Some(Waiting::Listening), 0));
        world.pass(2_500);
        assert!(world.told.contains(&(signer(1).id(), ToHost::Adopt)), "it asks also whoever adopted an earlier epoch");
        let (own, other) = (world.controller.epoch(), above(&world));
        world.answer(1, ToCoordinator::Fenced { saved: other, held: None });
        assert_eq!((why(&world), world.controller.epoch()), (Some(Waiting::Rival), own));
        world.pass(60_000);
        assert_eq!(offers(&world), 0);
    }
    world.pass(300_000);
    world.round();
    world.pass(31_000);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.overlap), (3, 2), "the other is gone");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_restored_ledger_whose_coordinator_is_alone_listens_at_every_start_and_then_goes_on() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    found::reopened(&mut world);
    for succeeded in 1..=3 {
        world.told.clear();
        assert_eq!((why(&world), offers(&world)), (Some(Waiting::Listening), 0));
        world.pass(2_500);
        world.round();
        world.pass(30_000);
        assert_eq!(world.controller.desk().rival, None);
        while world.state().tally.succeeded < succeeded {
            world.round();
            world.finish_one();
        }
        world.rebuild();
    }
    world.run();
    assert_eq!((world.state().tally.succeeded, world.overlap), (3, 1));
}
