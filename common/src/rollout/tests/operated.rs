//! Pauses, stops, closed windows and shared hosts: what an operator does to rollouts while hosts come and go.

use super::*;
use crate::rollout::intent::{Intent, Kind};
use crate::run::message::{SignedStop, StopOrder, StopScope};

#[test]
fn stop_and_pause_latch_in_the_ledger() {
    let mut world = World::new(4);
    world.apply(plan_of(4, 1, 0, open()));
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    world.rebuild();
    world.told.clear();
    world.pass(500);
    assert!(!world.told.iter().any(|(_, body)| matches!(body, ToHost::Offer(_))));
    world.send(Event::Resume { rollout: ID, by: "ops".into() });
    world.round();
    let effects = world.effects(Event::Stop { rollout: ID, by: "ops".into() });
    assert!(matches!(&effects[0], Effect::Save(entry) if matches!(entry.act, LedgerAct::Stopped { sequence: 1, .. })));
    assert!(matches!(effects[1], Effect::Order(order) if order.stop), "the mesh gets it");
    assert!(matches!(effects[2], Effect::TellStop { .. }), "the running host is told");
    world.run();
    assert!(world.state().stopped.is_some() && world.state().tally.eligible.len() == 3);
}

pub(super) fn order(scope: StopScope, sequence: u64, stop: bool, role: Role) -> Event {
    let operator = signer(200);
    let membership = Membership {
        mesh: mesh(),
        key: operator.id(),
        name: "operator".into(),
        role,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: BTreeMap::new(),
    };
    let credential = Credential { membership: Sealed::seal(&signer(255), &membership), issuer: None };
    let order = StopOrder { mesh: mesh(), scope, sequence, stop };
    Event::Ordered(Box::new(SignedStop { order: Sealed::seal(&operator, &order), credential }))
}

#[test]
fn a_stop_of_everything_from_elsewhere_holds_every_grant_until_it_is_resumed() {
    let mut world = World::new(4);
    world.send(order(StopScope::All, 3, true, Role::Node));
    assert_eq!(world.controller.ledger().stopped_all(), None, "a node stops nobody");
    world.send(order(StopScope::All, 3, true, Role::Operator));
    world.apply(plan_of(4, 2, 0, open()));
    for _ in 0..200 {
        world.round();
        world.pass(500);
    }
    assert!(world.running.is_empty() && world.state().ended_at.is_none());
    let (ledger, desk) = (world.controller.ledger(), world.controller.desk());
    assert_eq!(planner::waiting(ledger, ID, 0, desk, world.now), Some(Waiting::AllStopped { sequence: 3 }));
    world.send(order(StopScope::All, 2, false, Role::Operator));
    assert_eq!(world.controller.ledger().stopped_all(), Some(3), "a lower one changes nothing");
    world.rebuild();
    world.send(order(StopScope::All, 4, false, Role::Operator));
    world.run();
    assert_eq!(world.state().tally.succeeded, 4);
    assert!(world.judge.violations().is_empty(), "{:?}", world.judge.violations());
}

#[test]
fn a_go_is_not_given_under_a_stop_of_everything_that_came_after_ready() {
    let mut world = World::new(1);
    world.apply(plan_of(1, 1, 0, open()));
    let offered = world.told.iter().find_map(|(_, body)| match body {
        ToHost::Offer(lease) => Some(lease.id),
        _ => None,
    });
    world.send(order(StopScope::All, 1, true, Role::Operator));
    world.told.clear();
    world.answer(1, ToCoordinator::Ready { lease: offered.unwrap(), nonce: Nonce([1; 16]) });
    assert!(!world.told.iter().any(|(_, body)| matches!(body, ToHost::Go { .. })));
}

#[test]
fn a_stop_of_one_rollout_latches_and_is_lifted_by_a_resume_unless_it_has_ended() {
    let one = StopScope::Rollout(ID);
    let mut world = World::new(4);
    world.apply(plan_of(4, 1, 0, open()));
    world.round();
    world.send(order(one, 5, true, Role::Coordinator));
    assert_eq!(world.state().stopped, Some(5));
    world.send(order(one, 6, false, Role::Operator));
    world.run();
    assert_eq!((world.state().stopped, world.state().tally.succeeded), (None, 4), "it went on");

    let mut world = World::new(4);
    world.apply(plan_of(4, 1, 0, open()));
    world.round();
    world.send(order(one, 5, true, Role::Coordinator));
    world.run();
    assert!(world.state().ended_at.is_some());
    world.send(order(one, 6, false, Role::Operator));
    assert_eq!(world.state().stopped, Some(5), "what has ended stays as it ended");
}

#[test]
fn a_refusal_under_a_stop_is_asked_again_after_the_resume() {
    let mut world = World::new(1);
    world.script(1, Script::Refuses(RefusalCode::Stopped));
    world.apply(plan_of(1, 1, 0, open()));
    world.round();
    assert_eq!(world.state().tally.refused, 0, "it may be resumed");
    world.send(order(StopScope::All, 1, true, Role::Operator));
    world.script(1, Script::Good);
    // Much longer than a host may refuse for a passing reason.
    world.pass(600_000);
    world.see_all();
    world.send(order(StopScope::All, 2, false, Role::Operator));
    world.run();
    assert_eq!(world.state().tally.succeeded, 1);
}

#[test]
fn a_host_that_is_away_while_nobody_is_asked_is_not_lost_yet() {
    let openings = [2, 10].map(|hour| Opening {
        opens: WallTime(hour * HOUR),
        last_start: WallTime((hour + 1) * HOUR),
        closes: WallTime((hour + 1) * HOUR),
    });
    let mut world = World::new(1);
    world.apply(plan_of(1, 1, 0, openings.to_vec()));
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(HOUR as u64);
    assert_eq!(world.state().ended_at, None, "before the first opening");
    world.script(1, Script::Good);
    world.see_all();
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    world.pass(HOUR as u64);
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(61_000);
    assert_eq!(world.state().ended_at, None, "paused in the first opening");
    world.send(Event::Resume { rollout: ID, by: "ops".into() });
    assert!(world.state().ended_at.is_some(), "it would be asked now, and is lost");
}

#[test]
fn pausing_what_is_paused_writes_nothing() {
    let mut world = World::new(1);
    world.apply(plan_of(1, 1, 0, open()));
    world.send(Event::Resume { rollout: ID, by: "ops".into() });
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    let before = world.saved.len();
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    assert_eq!(world.saved.len(), before);
    assert!(world.state().paused);
}

#[test]
fn offers_that_are_out_when_it_is_paused_grant_nothing_and_are_made_again() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 2, 0, open()));
    world.send(Event::Pause { rollout: ID, by: "ops".into() });
    world.round();
    world.pass(500);
    assert!(world.running.is_empty() && world.state().hosts[0].attempts == 0);
    world.pass(30_000);
    world.see_all();
    world.send(Event::Resume { rollout: ID, by: "ops".into() });
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().hosts[0].attempts), (2, 1));
}

#[test]
fn two_rollouts_share_a_host_one_after_the_other() {
    let mut world = World::new(1);
    world.apply(plan_of(1, 1, 0, open()));
    let other = RolloutId([9; 8]);
    world.send(Event::Apply { id: other, plan: Box::new(plan_of(1, 1, 0, open())), by: "ops".into() });
    let why = |world: &World| planner::waiting(world.controller.ledger(), other, 0, world.controller.desk(), world.now);
    assert_eq!(why(&world), Some(Waiting::Claimed(ID)), "the first one is asking it");
    world.round();
    assert_eq!(world.running.len(), 0);
    world.round();
    assert_eq!(world.running.len(), 1);
    assert_eq!(why(&world), Some(Waiting::Claimed(ID)), "the first one is at work on it");
    world.finish_one();
    assert!(world.state().ended_at.is_some());
    assert_eq!(why(&world), Some(Waiting::Handshake));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_plan_without_hosts_ends_at_once() {
    let mut world = World::new(1);
    world.apply(plan_of(0, 1, 0, open()));
    assert_eq!(world.state().ended_at, Some(world.now.wall));
    let mut world = World::new(1);
    let mut plan = plan_of(1, 1, 0, open());
    plan.hosts[0].transaction = Transaction::default();
    world.apply(plan);
    assert_eq!((world.state().ended_at, world.state().tally.skipped), (Some(world.now.wall), 1));
}

#[test]
fn a_stopped_rollout_ends_with_a_lost_host_and_its_late_report_is_kept() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    world.round();
    world.round();
    let (node, lease) = world.running.pop_first().unwrap();
    let seed = world.scripts[&node].0;
    world.script(seed, Script::Silent);
    world.see_all();
    world.send(Event::Stop { rollout: ID, by: "ops".into() });
    assert_eq!(world.state().ended_at, None, "the host may still be at work");
    world.pass(61_000);
    assert!(world.state().ended_at.is_some());
    assert!(world.controller.ledger().leased.contains_key(&node), "its slot stays held");
    world.answer(seed, world.report(lease, true));
    assert_eq!(world.state().tally.succeeded, 1);
    let acknowledged = |(to, body): &(NodeId, ToHost)| *to == node && *body == ToHost::Acknowledge { lease };
    assert!(world.told.iter().any(acknowledged));
    assert!(world.controller.ledger().leased.is_empty());
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn the_next_host_prepares_once_a_minute_while_a_host_past_its_transaction_reboots() {
    let mut world = World::new(2);
    world.apply(plan_of(2, 1, 0, open()));
    world.round();
    world.round();
    let lease = *world.running.values().next().unwrap();
    let progress = |phase| ToCoordinator::Progress { lease, phase, detail: String::new() };
    let is_offer = |(to, body): &(NodeId, ToHost)| *to == signer(2).id() && matches!(body, ToHost::Offer(_));
    let offers = |world: &mut World, seconds: u64| {
        let mut offers = 0;
        for _ in 0..seconds * 2 {
            offers += world.told.iter().filter(|told| is_offer(told)).count();
            world.round();
            world.pass(500);
        }
        offers
    };
    world.script(1, Script::Silent);
    world.answer(1, progress(Phase::Transaction));
    assert_eq!(offers(&mut world, 20), 0, "its slot is not free soon");
    world.answer(1, progress(Phase::PostInstall));
    assert_eq!(offers(&mut world, 50), 1, "asked once, and not again when that has grown too old");
    world.answer(1, progress(Phase::Reboot));
    assert_eq!(offers(&mut world, 40), 1, "a minute later");
    assert_eq!(world.overlap, 1);
    world.script(1, Script::Good);
    world.finish_one();
    assert!(world.told.iter().any(is_offer), "at once, now that the slot is free");
    world.run();
    assert_eq!((world.state().tally.succeeded, world.overlap), (2, 1));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn nobody_prepares_while_a_host_waits_for_the_time_of_its_reboot() {
    let mut world = World::new(2);
    let at = world.now.wall.plus(Duration::from_secs(300));
    world.apply(Plan { reboot: RebootOption::At(at), ..plan_of(2, 1, 0, open()) });
    world.round();
    world.round();
    let lease = *world.running.values().next().unwrap();
    world.script(1, Script::Silent);
    let said = |detail: String| ToCoordinator::Progress { lease, phase: Phase::PostInstall, detail };
    let is_offer = |(to, body): &(NodeId, ToHost)| *to == signer(2).id() && matches!(body, ToHost::Offer(_));
    world.told.clear();
    let offered = |world: &mut World, seconds: u64| {
        let mut offered = false;
        for _ in 0..seconds {
            world.answer(1, said(super::super::reboot::waits(at)));
            world.answer(2, ToCoordinator::Adopted { held: None });
            offered |= world.told.iter().any(is_offer);
            world.round();
            world.pass(1_000);
        }
        offered
    };
    assert!(!offered(&mut world, 180), "its slot is not free soon");
    assert!(offered(&mut world, 120), "it is when the time comes");
}

/// It believes no records then, so that it sees nobody.
#[test]
fn in_safe_mode_nothing_is_granted_reports_are_taken_and_nobody_is_given_up() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    while world.running.is_empty() {
        world.round();
    }
    let ledger = world.controller.ledger().clone();
    let aborts = [1, 2, 3].map(|at| Abort { at: world.now.wall.plus(Duration::from_secs(at)), in_hand: vec![] });
    let until = aborts[2].at.plus(Duration::from_secs(3_600));
    world.pass(3_000);
    world.controller = Controller::rebuild(Settings { poison: Poison::fold(aborts), ..settings() }, ledger);
    world.send(Event::Started { incarnation: Incarnation(2), continues: true });
    world.told.clear();
    world.finish_one();
    assert_eq!(world.state().tally.succeeded, 1);
    let why =
        |world: &World, at| planner::waiting(world.controller.ledger(), ID, at, world.controller.desk(), world.now);
    for _ in 0..60 {
        world.pass(59_000);
        assert_eq!(why(&world, 2), Some(Waiting::SafeMode { until }));
    }
    assert!(!world.told.iter().any(|(_, body)| matches!(body, ToHost::Offer(_) | ToHost::Go { .. })));
    world.pass(60_000);
    assert_eq!((why(&world, 2), world.state().ended_at), (Some(Waiting::Silent), None), "nobody was heard yet");
    world.see_all();
    world.run();
    assert_eq!(world.state().tally.succeeded, 3);
}

#[test]
fn every_order_of_an_operator_is_kept_with_who_gave_it() {
    let mut world = World::new(1);
    let by = |who: &str| who.to_owned();
    world.send(Event::Apply { id: ID, plan: Box::new(plan_of(1, 1, 0, open())), by: by("ann") });
    world.send(Event::Pause { rollout: ID, by: by("bob") });
    world.send(Event::Resume { rollout: ID, by: by("cyd") });
    world.send(Event::Stop { rollout: ID, by: by("dan") });
    let window = Intent::Deleted { kind: Kind::Window, name: by("sundays") };
    world.send(Event::Intend { intent: window.clone(), by: by("eve") });
    let kept = world.saved.iter().filter_map(|entry| match &entry.act {
        LedgerAct::Started(rollout) => Some(rollout.by.as_str()),
        LedgerAct::Paused { by, .. } | LedgerAct::Resumed { by, .. } | LedgerAct::Stopped { by, .. } => Some(by),
        LedgerAct::Intent { intent, by } if *intent == window => Some(by),
        _ => None,
    });
    assert_eq!(kept.collect::<Vec<_>>(), ["ann", "bob", "cyd", "dan", "eve"]);
    assert_eq!(world.judge.violations(), []);
}
