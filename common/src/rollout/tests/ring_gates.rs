//! Gates after a ring: when they are asked, by whom and how often, and what their answers do.

use super::{rings::ring, *};
use crate::{
    rollout::{
        plan::Rollout,
        ring_gate::{Answered, MAX_SHOWN, RingVerdict},
        status,
    },
    run::gate::{Ask, Gate},
};

const MINUTE: u64 = 60_000;

/// Two canaries, five minutes later the two others; after each ring the shop is looked at.
pub(super) fn gated(errors: u32) -> Plan {
    let rings = vec![ring("canary", 2, &[], 0, 300), ring("fleet", 2, &[], 0, 0)];
    let look = |word: &str| Gate { ask: Ask::Command(vec![word.into()]), timeout_seconds: 60 };
    Plan { rings, ring_gates: vec![look("check-shop"), look("check-tills")], ..plan_of(4, 4, errors, open()) }
}

fn failed(text: &str) -> RingVerdict {
    RingVerdict::Failed { gate: 1, text: text.into() }
}

impl World {
    fn answers(&mut self, ring: u16, attempt: u32, verdict: RingVerdict) {
        self.send(Event::Gated { rollout: ID, ring, attempt, verdict });
    }

    fn asked_again(&mut self) -> Vec<(u16, u32)> {
        core::mem::take(&mut self.asked)
    }

    /// Both canaries have ended, and their bake is over.
    fn soaked(&mut self, plan: Plan) {
        self.apply(plan);
        self.work();
        self.pass(5 * MINUTE);
    }

    /// Whoever may go goes, and ends.
    pub(super) fn work(&mut self) {
        for _ in 0..8 {
            self.round();
            self.finish_one();
            self.pass(500);
        }
    }

    fn succeeded(&self) -> u32 {
        self.state().tally.succeeded
    }

    fn first_waits(&self) -> Option<Waiting> {
        planner::waiting(self.controller.ledger(), ID, 2, self.controller.desk(), self.now)
    }
}

#[test]
fn a_ring_begins_when_the_one_before_has_baked_and_passed_its_gates() {
    let mut world = World::new(4);
    world.apply(gated(0));
    world.work();
    world.pass(4 * MINUTE);
    assert_eq!((world.asked_again(), world.succeeded()), (vec![], 2), "it bakes");
    world.pass(MINUTE);
    assert_eq!(world.asked_again(), [(0, 1)]);
    let waiting = world.first_waits().unwrap();
    assert_eq!(waiting, Waiting::RingGates { ring: "canary".into(), next: Some("fleet".into()), attempt: 1 });
    assert_eq!(waiting.code(), "ring-gates");
    assert_eq!(
        waiting.text(),
        "ring canary has settled, and its gates are being asked: ring fleet begins when they have passed"
    );
    assert_eq!(waiting.command(ID).unwrap(), format!("patchmesh rollout watch {ID}"));
    world.work();
    assert_eq!((world.asked_again(), world.succeeded()), (vec![], 2), "asked once, and nobody begins");
    let before = world.saved.len();
    world.answers(0, 1, RingVerdict::Passed);
    let gate = world.saved[before..].iter().position(|entry| matches!(entry.act, LedgerAct::RingGated { .. }));
    assert_eq!(gate, Some(0), "it is durable before anything else");
    world.work();
    // The last ring shows it, too, before the rollout ends.
    assert_eq!((world.succeeded(), world.state().ended_at, world.asked_again()), (4, None, vec![(1, 1)]));
    let last = planner::gating(world.controller.ledger(), ID, world.controller.desk(), world.now).unwrap();
    let text = "ring fleet has settled, and its gates are being asked: the rollout ends when they have passed";
    assert_eq!(last.text(), text);
    world.answers(1, 1, RingVerdict::Passed);
    assert!(world.state().ended_at.is_some() && !world.state().halted);
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_failed_gate_halts_whatever_may_fail_and_says_which() {
    let mut world = World::new(4);
    world.soaked(gated(4));
    world.answers(0, 1, failed("it exited with 3\nno till answers"));
    world.work();
    let state = world.state();
    assert_eq!((state.halted, state.tally.succeeded, state.ended_at.is_some()), (true, 2, true));
    let text = "halted: ring canary failed its gate command check-tills: it exited with 3; mend it and plan again";
    let waiting = world.first_waits().unwrap();
    assert_eq!((waiting.code(), waiting.text().as_str()), ("ring-gate-failed", text));
    let scene =
        crate::rollout::why::Scene { ledger: world.controller.ledger(), desk: world.controller.desk(), now: world.now };
    let chain = scene.rollout(ID);
    let told = |code: &str| chain.iter().find(|cause| cause.code == code).map(|cause| cause.text.as_str());
    assert_eq!(
        told("ring-gate-failed"),
        Some(
            "ring canary of rollout wave failed its gate command check-tills: it exited with 3; it said: no till answers"
        )
    );
    assert_eq!(
        told("halted"),
        Some("2 hosts (host-03, host-04): were never started in rollout wave: ring canary failed its gates")
    );
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn after_the_last_ring_a_failed_gate_halts_what_would_have_succeeded() {
    let mut world = World::new(4);
    world.soaked(gated(0));
    world.answers(0, 1, RingVerdict::Passed);
    world.work();
    world.answers(1, 1, failed("no"));
    let state = world.state();
    assert_eq!((state.halted, state.tally.succeeded, state.ended_at.is_some()), (true, 4, true));
    assert_eq!(status::command(state), status::Command::Failed, "every target is well, and the whole is not");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_restart_asks_again_and_an_answer_to_an_earlier_asking_counts_nothing() {
    let mut world = World::new(4);
    world.soaked(gated(0));
    assert_eq!(world.asked_again(), [(0, 1)]);
    world.rebuild();
    world.pass(500);
    assert_eq!(world.asked_again(), [(0, 2)], "what the earlier process asked is never answered to this one");
    for (ring, attempt) in [(0, 1), (0, 3), (1, 2), (9, 1)] {
        world.answers(ring, attempt, RingVerdict::Passed);
    }
    world.answers(0, 1, failed("no"));
    world.work();
    assert_eq!((world.succeeded(), world.state().halted), (2, false));
    world.answers(0, 2, RingVerdict::Failed { gate: 2, text: "there are only two".into() });
    assert_eq!(world.asked_again(), [(0, 3)], "nobody could read that");
    world.answers(0, 3, RingVerdict::Passed);
    world.answers(0, 3, failed("it was answered"));
    world.work();
    assert_eq!((world.succeeded(), world.state().halted), (4, false));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn what_is_kept_of_an_answer_is_bounded() {
    let mut world = World::new(4);
    world.soaked(gated(0));
    world.answers(0, 1, failed(&"x".repeat(3 * MAX_SHOWN)));
    let gates = &world.state().course.gates[&0];
    let Answered::With(RingVerdict::Failed { text, .. }) = &gates.answer else { panic!("{gates:?}") };
    assert_eq!(text.len(), MAX_SHOWN);
}

#[test]
fn whoever_is_held_up_asks_nothing() {
    for (act, again) in [("pause", true), ("stop", false), ("copy", false)] {
        let mut world = World::new(4);
        world.apply(gated(0));
        world.work();
        match act {
            "pause" => world.send(Event::Pause { rollout: ID, by: "ops".into() }),
            "stop" => world.send(Event::Stop { rollout: ID, by: "ops".into() }),
            // It is a copy, and listens first.
            _ => world.send(Event::Started { incarnation: Incarnation(77), continues: false }),
        }
        world.pass(if act == "copy" { 10_000 } else { 6 * MINUTE });
        assert_eq!(world.asked_again(), [], "{act}");
        if again {
            world.send(Event::Resume { rollout: ID, by: "ops".into() });
            assert_eq!(world.asked_again(), [(0, 1)]);
        }
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn a_clock_that_is_set_back_bakes_the_ring_again_and_asks_again() {
    let mut world = World::new(4);
    world.pass(2 * HOUR.unsigned_abs());
    world.soaked(Plan {
        rings: vec![ring("canary", 2, &[], 0, 300), PlannedRing { approvals: 1, ..ring("fleet", 2, &[], 0, 0) }],
        ..gated(0)
    });
    world.answers(0, 1, RingVerdict::Passed);
    assert_eq!(world.asked_again(), [(0, 1)]);
    assert_eq!(world.first_waits().map(|waiting| waiting.code()), Some("approval"), "operators see what was shown");
    world.now.wall = WallTime(world.now.wall.0 - HOUR);
    world.pass(500);
    assert_eq!(world.first_waits().map(|waiting| waiting.code()), Some("bake"));
    world.pass(5 * MINUTE);
    assert_eq!(world.asked_again(), [(0, 2)]);
    world.answers(0, 1, RingVerdict::Passed);
    assert_eq!(world.first_waits().map(|waiting| waiting.code()), Some("ring-gates"));
    world.answers(0, 2, RingVerdict::Passed);
    assert_eq!(world.first_waits().map(|waiting| waiting.code()), Some("approval"));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn rings_after_the_last_one_in_which_anything_is_done_are_not_asked_about() {
    let nothing = Transaction { changes: vec![], removals: vec![] };
    for done in [4, 2] {
        let mut plan = gated(0);
        plan.hosts.iter_mut().rev().take(done).for_each(|host| host.transaction = nothing.clone());
        let mut world = World::new(4);
        world.apply(plan);
        world.work();
        match done {
            4 => assert_eq!(world.asked_again(), [], "nobody has anything to do"),
            // Nothing follows that could need a bake.
            _ => {
                assert_eq!(world.asked_again(), [(0, 1)]);
                world.answers(0, 1, RingVerdict::Passed);
            }
        }
        assert!(world.state().ended_at.is_some());
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn the_last_ring_is_asked_about_although_its_window_is_over_or_a_host_never_came() {
    let window = |last_start: i64| Opening {
        opens: WallTime(0),
        last_start: WallTime(last_start),
        closes: WallTime(last_start + 1000),
    };
    let mut world = World::new(2);
    let one = vec![ring("all", 2, &[], 0, 0)];
    world.apply(Plan { rings: one.clone(), ring_gates: gated(0).ring_gates, ..plan_of(2, 2, 0, vec![window(20_000)]) });
    world.round();
    world.round();
    world.pass(21_000);
    world.work();
    assert_eq!((world.succeeded(), world.state().ended_at, world.asked_again()), (2, None, vec![(0, 1)]));
    world.answers(0, 1, RingVerdict::Passed);
    assert!(world.state().ended_at.is_some());
    assert_eq!(world.judge.violations(), []);

    let mut world = World::new(2);
    world.script(2, Script::Silent);
    world.see_all();
    world.apply(Plan { rings: one, ring_gates: gated(0).ring_gates, ..plan_of(2, 2, 0, open()) });
    world.work();
    world.pass(61_000);
    assert_eq!((world.succeeded(), world.state().ended_at, world.asked_again()), (1, None, vec![(0, 1)]));
    world.answers(0, 1, RingVerdict::Passed);
    assert!(world.state().ended_at.is_some(), "without the one that is lost");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_host_that_comes_back_while_its_ring_is_asked_about_is_waited_for_and_the_ring_asked_anew() {
    for answered in [false, true] {
        let mut world = World::new(2);
        world.script(2, Script::Silent);
        world.see_all();
        let one = vec![ring("all", 2, &[], 0, 0)];
        world.apply(Plan { rings: one, ring_gates: gated(0).ring_gates, ..plan_of(2, 2, 0, open()) });
        world.work();
        world.pass(61_000);
        assert_eq!((world.succeeded(), world.asked_again()), (1, vec![(0, 1)]));
        world.script(2, Script::Good);
        world.see_all();
        for _ in 0..4 {
            world.round();
            world.pass(500);
        }
        assert_eq!(world.running.len(), 1, "it is at work");
        if answered {
            world.answers(0, 1, RingVerdict::Passed);
        }
        world.pass(500);
        assert_eq!((world.asked_again(), world.state().ended_at), (vec![], None), "it may break what was looked at");
        world.work();
        assert_eq!((world.succeeded(), world.asked_again()), (2, vec![(0, 2)]));
        world.answers(0, 1, RingVerdict::Passed);
        assert_eq!(world.state().ended_at, None);
        world.answers(0, 2, RingVerdict::Passed);
        assert!(world.state().ended_at.is_some());
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn what_was_shown_before_a_bake_is_asked_again_after_it() {
    let mut world = World::new(4);
    world.apply(gated(0));
    world.round();
    world.round();
    for host in [3, 4] {
        world.script(host, Script::Silent);
    }
    world.pass(61_000);
    // Those at work say so.
    world.round();
    world.see_all();
    world.work();
    // Nobody is left who could begin, as far as anybody hears.
    assert_eq!((world.succeeded(), world.asked_again()), (2, vec![(0, 1)]));
    for host in [3, 4] {
        world.script(host, Script::Good);
    }
    world.see_all();
    world.answers(0, 1, RingVerdict::Passed);
    world.work();
    assert_eq!((world.first_waits().map(|waiting| waiting.code()), world.succeeded()), (Some("bake"), 2));
    world.pass(5 * MINUTE);
    assert_eq!(world.asked_again(), [(0, 2)]);
    world.answers(0, 2, RingVerdict::Passed);
    world.work();
    assert_eq!(world.succeeded(), 4);
    assert_eq!(world.judge.violations(), []);
}

/// Another coordinator, which has a copy of the ledger, went on with the next ring while this one waited for its bake to be over.
#[test]
fn a_rollout_whose_last_hosts_are_done_before_their_ring_could_begin_is_asked_about_before_it_ends() {
    let three = vec![ring("canary", 2, &[], 0, 300), ring("one", 1, &[], 0, 0), ring("other", 1, &[], 0, 0)];
    for (rings, last) in [(gated(0).rings, 1), (three, 2)] {
        let mut world = World::new(4);
        world.apply(Plan { rings, ..gated(0) });
        world.work();
        for seed in [3, 4] {
            world.answer(seed, world.report(LeaseId([seed; 16]), true));
        }
        assert_eq!((world.succeeded(), world.state().ended_at), (4, None), "nobody has looked at what they did");
        world.pass(500);
        assert_eq!(world.asked_again(), [(last, 1)], "nobody follows who could need a bake");
        world.answers(last, 1, RingVerdict::Passed);
        assert!(world.state().ended_at.is_some() && world.state().has_shown(last));
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn whenever_the_coordinator_dies_every_ring_is_shown_before_what_follows_it() {
    for every in 1..12 {
        let mut world = World::new(4);
        world.crash_every = every;
        world.apply(gated(0));
        for _ in 0..400 {
            world.round();
            world.finish_one();
            for (ring, attempt) in world.asked_again() {
                world.answers(ring, attempt, RingVerdict::Passed);
            }
            world.pass(5_000);
        }
        assert_eq!(world.succeeded(), 4, "{every}");
        assert!(world.state().ended_at.is_some(), "{every}");
        assert_eq!(world.judge.violations(), [], "{every}");
        let mut again = Ledger::default();
        world.saved.iter().for_each(|entry| again.fold(entry).unwrap());
        assert_eq!(again.rollouts[&ID].course, world.state().course);
    }
}

/// What the judge says of a ledger that is made by hand.
fn judged(acts: Vec<LedgerAct>) -> Vec<(&'static str, String)> {
    let mut judge = Judge::default();
    let plan = Plan { max_concurrency: plan_of(1, 4, 0, vec![]).max_concurrency, ..gated(0) };
    let rollout = Rollout { id: ID, plan, by: "ops".into(), replans: None };
    let reported = |seed: u8| {
        let mut world = World::new(0);
        world.apply(gated(0));
        let Event::Heard(frame) = world.heard(seed, world.report(LeaseId([seed; 16]), true)) else { unreachable!() };
        LedgerAct::Reported { evidence: frame.sealed }
    };
    let epoch = Epoch { serial: 1, counter: 1, incarnation: Incarnation(1) };
    let ring = [
        grant(1),
        grant(2),
        reported(1),
        reported(2),
        LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] },
    ];
    let first = [LedgerAct::EpochOpened { epoch, continued: true }, LedgerAct::Started(Box::new(rollout))];
    let before: Vec<_> = first.into_iter().chain(ring).collect();
    before.into_iter().for_each(|act| judge.read(&LedgerEntry { at: WallTime(1_000), act }));
    assert_eq!(judge.violations(), []);
    acts.into_iter().for_each(|act| judge.read(&LedgerEntry { at: WallTime(301_000), act }));
    judge.violations().iter().map(|wrong| (wrong.promise, wrong.text.clone())).collect()
}

fn grant(seed: u8) -> LedgerAct {
    let (host, lease) = (signer(seed).id(), LeaseId([seed; 16]));
    LedgerAct::Granted { rollout: ID, host, lease, attempt: 1, opening: open()[0] }
}

#[test]
fn the_judge_demands_a_passed_verdict_before_the_next_ring() {
    let asked = |attempt| LedgerAct::RingAsked { rollout: ID, ring: 0, attempt };
    let gated = |attempt, verdict| LedgerAct::RingGated { rollout: ID, ring: 0, attempt, verdict };
    let passed = |attempt| gated(attempt, RingVerdict::Passed);
    let order = |text: &str| vec![("order", text.to_owned())];
    let early = "begun before the gates of ring 0 had passed";
    assert_eq!(judged(vec![asked(1), passed(1), grant(3)]), []);
    assert_eq!(judged(vec![asked(1), asked(2), passed(2), grant(3)]), [], "another process asked again");
    assert_eq!(judged(vec![grant(3)]), order(early));
    assert_eq!(judged(vec![asked(1), grant(3)]), order(early), "asking is not passing");
    let unasked = "gates of ring 0 were answered as attempt 1, which was not asked";
    assert_eq!(judged(vec![asked(1), asked(2), passed(1)]), order(unasked));
    assert_eq!(judged(vec![passed(1)]), order(unasked));
    assert_eq!(judged(vec![asked(2)]), order("gates of ring 0 were asked as attempt 2 after 0"));
    let after = judged(vec![asked(1), gated(1, failed("no")), grant(3)]);
    assert_eq!(after, order("granted after a ring failed its gates"));
    assert_eq!(
        judged(vec![asked(1), gated(1, failed("no")), LedgerAct::Halted { rollout: ID }]),
        [],
        "halting is right"
    );
    let next = LedgerAct::RingAsked { rollout: ID, ring: 2, attempt: 1 };
    assert_eq!(judged(vec![next]), order("the gates of ring 2 were asked before it began"));
}

/// Found by the simulator: a host whose slot was released gives the lease back, and is waited for again.
#[test]
fn the_judge_does_not_take_a_released_host_for_done_that_says_it_did_nothing() {
    let (host, lease) = (signer(3).id(), LeaseId([3; 16]));
    let refusal = |code| Refusal { code, text: "no".into(), remedy: "wait".into() };
    let because = "it does not come back".to_owned();
    let held = crate::rollout::slots::Hold::Busy;
    let released = LedgerAct::Released { host, lease: Some(lease), held, by: "ops".into(), because };
    let returned = LedgerAct::Returned { rollout: ID, host, lease, refusal: refusal(RefusalCode::StaleGo) };
    let left = LedgerAct::Refused { rollout: ID, host: signer(4).id(), refusal: refusal(RefusalCode::PlanChanged) };
    let acts = |returned: Option<LedgerAct>| {
        let passed = LedgerAct::RingGated { rollout: ID, ring: 0, attempt: 1, verdict: RingVerdict::Passed };
        let shown = [LedgerAct::RingAsked { rollout: ID, ring: 0, attempt: 1 }, passed];
        let begun = [grant(3), released.clone()].into_iter().chain(returned);
        shown.into_iter().chain(begun).chain([left.clone(), LedgerAct::Ended { rollout: ID }]).collect()
    };
    assert_eq!(judged(acts(Some(returned))), []);
    assert_eq!(judged(acts(None)), [("order", "ended before the gates of ring 1 had passed".to_owned())]);
}

#[test]
fn the_judge_demands_that_a_ring_bakes_before_it_is_asked_and_the_last_one_before_the_end() {
    let mut world = World::new(4);
    world.soaked(gated(0));
    world.answers(0, 1, RingVerdict::Passed);
    world.work();
    world.answers(1, 1, RingVerdict::Passed);
    let told = |leaves: &dyn Fn(&LedgerAct) -> bool, at: Option<i64>| {
        let mut judge = Judge::default();
        for entry in world.saved.iter().filter(|entry| !leaves(&entry.act)) {
            let early = matches!(entry.act, LedgerAct::RingAsked { ring: 0, .. }).then_some(at).flatten();
            judge.read(&LedgerEntry { at: early.map_or(entry.at, WallTime), act: entry.act.clone() });
        }
        judge.violations().iter().map(|wrong| (wrong.promise, wrong.text.clone())).collect::<Vec<_>>()
    };
    assert_eq!(told(&|_| false, None), []);
    let unshown = told(&|act| matches!(act, LedgerAct::RingGated { ring: 1, .. }), None);
    assert_eq!(unshown, [("order", "ended before the gates of ring 1 had passed".to_owned())]);
    let raw = told(&|_| false, Some(60_000));
    assert_eq!(raw.len(), 1, "{raw:?}");
    assert!(raw[0].0 == "order" && raw[0].1.contains("its pause was to last until"), "{raw:?}");
}
