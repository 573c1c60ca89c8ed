//! Gates after a host: however many failures are allowed, no later step or ring begins; and what a superseded version does.

use super::*;
use crate::{rollout::ring::resolve_steps, run::gate::GATE_FAILED};

/// One canary, then two others, of which two may fail.
fn canary_first(errors: u32) -> Plan {
    let canary = PlannedRing { name: "canary".into(), ..PlannedRing::all(1, Ramp::Full) };
    let steps = resolve_steps(&["1".parse().unwrap()], 2);
    let fleet = PlannedRing { name: "fleet".into(), steps, ..PlannedRing::all(2, Ramp::Full) };
    Plan { rings: vec![canary, fleet], ..plan_of(3, 3, errors, open()) }
}

impl World {
    /// The host that runs ends, and has failed its gate.
    fn fail_gate(&mut self, seed: u8) {
        let lease = self.running.remove(&signer(seed).id()).unwrap();
        let ToCoordinator::Reported(mut report) = self.report(lease, false) else { panic!("a report") };
        report.error = Some(RunError { code: GATE_FAILED.into(), text: "no".into(), log: String::new() });
        self.answer(seed, ToCoordinator::Reported(report));
    }

    fn start_one(&mut self) {
        self.round();
        self.round();
    }
}

#[test]
fn a_failed_gate_halts_before_the_next_ring_whatever_may_fail() {
    let mut world = World::new(3);
    world.apply(canary_first(2));
    world.start_one();
    world.fail_gate(1);
    world.run();
    let state = world.state();
    assert_eq!((state.halted, state.tally.failed, state.tally.eligible.len()), (true, 1, 2));
    assert!(state.ended_at.is_some(), "and it ends");
    assert_eq!(world.judge.violations(), []);
    let waiting = planner::waiting(world.controller.ledger(), ID, 1, world.controller.desk(), world.now).unwrap();
    assert_eq!((waiting.code(), waiting.clone()), ("gate", Waiting::Gate { host: "host-01".into() }));
    assert_eq!(
        waiting.text(),
        "halted: host-01 failed its gate, so that no later step or ring begins; mend it and plan again"
    );
}

#[test]
fn a_failure_of_another_kind_within_the_limit_lets_the_next_ring_begin() {
    let mut world = World::new(3);
    world.script(1, Script::Bad);
    world.apply(canary_first(2));
    world.run();
    assert_eq!((world.state().halted, world.state().tally.succeeded), (false, 2));
}

#[test]
fn in_the_last_step_of_all_a_failed_gate_is_one_failure() {
    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 1, open()));
    world.start_one();
    world.fail_gate(1);
    world.run();
    assert_eq!((world.state().halted, world.state().tally.succeeded), (false, 2));
    assert_eq!(world.state().tally, world.state().recounted());

    let mut world = World::new(3);
    world.apply(plan_of(3, 1, 0, open()));
    world.start_one();
    world.fail_gate(1);
    world.run();
    assert_eq!((world.state().halted, world.state().tally.succeeded), (true, 0));
    let waiting = planner::waiting(world.controller.ledger(), ID, 1, world.controller.desk(), world.now).unwrap();
    assert_eq!(waiting, Waiting::Halted, "too many failures say so");
}

#[test]
fn the_judge_names_a_ring_that_began_after_a_failed_gate() {
    let mut world = World::new(3);
    world.apply(canary_first(2));
    world.start_one();
    world.fail_gate(1);
    let saved = world.saved.clone();
    let told = |act: LedgerAct| {
        let mut judge = Judge::default();
        saved
            .iter()
            .filter(|entry| !matches!(entry.act, LedgerAct::Halted { .. } | LedgerAct::Ended { .. }))
            .for_each(|e| judge.read(e));
        judge.read(&LedgerEntry { at: world.now.wall, act });
        judge.violations().iter().map(|wrong| (wrong.promise, wrong.text.clone())).collect::<Vec<_>>()
    };
    let settled = told(LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] });
    assert_eq!(settled, [("order", "settled although host-01 failed a gate".to_owned())]);
    assert_eq!(told(LedgerAct::Halted { rollout: ID }), [], "to halt is right");

    let mut last = World::new(1);
    last.apply(plan_of(1, 1, 1, open()));
    last.start_one();
    last.fail_gate(1);
    let mut judge = Judge::default();
    last.saved.iter().for_each(|entry| judge.read(entry));
    judge.read(&LedgerEntry { at: last.now.wall, act: LedgerAct::Halted { rollout: ID } });
    assert_eq!(judge.violations()[0].text, "halted without too many failures", "nothing follows its step");
}

#[test]
fn a_host_whose_version_is_superseded_is_refused_or_waits_as_the_plan_says() {
    for (on_superseded, refused) in [(Superseded::Skip, 1), (Superseded::Wait, 0)] {
        let waits = on_superseded == Superseded::Wait;
        let mut world = World::new(3);
        world.script(1, Script::Refuses(RefusalCode::PlanChanged));
        world.apply(Plan { on_superseded, ..canary_first(0) });
        for turn in 0..80 {
            world.round();
            world.finish_one();
            world.pass(if turn % 8 == 0 { 60_000 } else { 500 });
        }
        assert_eq!(world.state().tally.refused, refused, "waits: {waits}");
        assert_eq!(world.state().tally.succeeded, if refused == 1 { 2 } else { 0 }, "its ring waits with it");
        if waits {
            let waiting = planner::waiting(world.controller.ledger(), ID, 0, world.controller.desk(), world.now);
            let waiting = waiting.filter(|waiting| *waiting != Waiting::Handshake);
            assert!(waiting.is_none_or(|waiting| matches!(waiting, Waiting::Outdated(_))));
            world.script(1, Script::Good);
            world.run();
            assert_eq!(world.state().tally.succeeded, 3, "the version is there again");
        }
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn waiting_for_a_version_uses_up_no_patience_for_anything_else() {
    let mut world = World::new(1);
    world.script(1, Script::Refuses(RefusalCode::VersionGone));
    world.apply(Plan { on_superseded: Superseded::Wait, ..plan_of(1, 1, 0, open()) });
    let offers = |world: &World| world.told.iter().filter(|(_, body)| matches!(body, ToHost::Offer(_))).count();
    let mut asked = 0;
    for _ in 0..60 {
        asked += offers(&world);
        world.round();
        world.pass(60_000);
    }
    assert!((10..=13).contains(&asked), "every five minutes, and not more often: {asked}");
    world.script(1, Script::Refuses(RefusalCode::Locked));
    while world
        .controller
        .desk()
        .contacts
        .values()
        .all(|contact| contact.refused.as_ref().is_none_or(|(no, ..)| no.code != RefusalCode::Locked))
    {
        world.round();
        world.pass(60_000);
    }
    assert_eq!(world.state().tally.refused, 0, "the patience begins with the first such refusal");
}
