//! Rings: in order, with their waits, bakes, approvals and ramps, whatever clocks, crashes and silent hosts do.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::rollout::{
    approval::{SignedVerdict, Untaken, Verdict, takes},
    ring::{Place, resolve_steps},
};

const MINUTE: u64 = 60_000;

pub(super) fn ring(name: &str, hosts: u32, steps: &[&str], wait: u32, bake: u32) -> PlannedRing {
    let steps: Vec<_> = steps.iter().map(|step| step.parse().unwrap()).collect();
    let steps = resolve_steps(&steps, hosts);
    PlannedRing { name: name.into(), steps, wait, bake, ..PlannedRing::all(hosts, Ramp::Full) }
}

/// Two canaries, one after the other and two minutes between them; five minutes later the three others.
fn two_rings() -> Plan {
    let rings = vec![ring("canary", 2, &["1", "100%"], 120, 300), ring("fleet", 3, &[], 0, 0)];
    Plan { rings, ..plan_of(5, 5, 1, open()) }
}

impl World {
    fn waits(&self, at: usize) -> Option<Waiting> {
        planner::waiting(self.controller.ledger(), ID, at, self.controller.desk(), self.now)
    }

    fn grants(&self) -> usize {
        self.saved.iter().filter(|entry| matches!(entry.act, LedgerAct::Granted { .. })).count()
    }

    fn place(&self) -> (u16, u16) {
        let Place { ring, step } = self.state().course.place;
        (ring, step)
    }

    /// Whoever may go now goes, and everybody who is at work ends.
    fn settle_down(&mut self) {
        for _ in 0..8 {
            self.round();
            self.finish_one();
            self.pass(500);
        }
    }

    fn verdict(&mut self, seed: u8, role: Role, ring: u16, approve: bool, because: &str) -> Result<(), Untaken> {
        let verdict = Verdict { mesh: mesh(), rollout: ID, ring, approve, because: because.into() };
        let membership = Membership {
            mesh: mesh(),
            key: signer(seed).id(),
            name: format!("op-{seed}"),
            role,
            serial: 1,
            expires: WallTime::MAX,
            may_issue: false,
            tags: BTreeMap::new(),
        };
        let credential = Credential { membership: Sealed::seal(&signer(255), &membership), issuer: None };
        let taken = takes(self.state(), signer(seed).id(), &verdict);
        let before = self.saved.len();
        let signed = SignedVerdict { verdict: Sealed::seal(&signer(seed), &verdict), credential };
        self.send(Event::Judged(Box::new(signed)));
        let verdicts = self.saved[before..]
            .iter()
            .filter(|entry| matches!(entry.act, LedgerAct::Approved { .. } | LedgerAct::Rejected { .. }));
        let expected = usize::from(taken.is_ok() && role == Role::Operator);
        assert_eq!(verdicts.count(), expected, "what is taken, and only that, is written");
        taken
    }
}

#[test]
fn rings_and_steps_go_one_after_the_other_with_their_pauses() {
    let mut world = World::new(5);
    world.apply(two_rings());
    world.settle_down();
    assert_eq!((world.grants(), world.place()), (1, (0, 1)));
    let until = world.state().course.since.unwrap().plus(Duration::from_secs(120));
    let wait = Waiting::StepWait { ring: "canary".into(), step: 2, steps: 2, until };
    assert_eq!((world.waits(1), world.waits(2)), (Some(wait.clone()), Some(wait)));
    world.pass(2 * MINUTE);
    world.settle_down();
    assert_eq!((world.grants(), world.place()), (2, (1, 0)));
    let until = world.state().course.since.unwrap().plus(Duration::from_secs(300));
    assert_eq!(world.waits(2), Some(Waiting::Bake { ring: "fleet".into(), after: "canary".into(), until }));
    world.pass(4 * MINUTE);
    world.settle_down();
    assert_eq!(world.grants(), 2, "a minute too early");
    world.pass(MINUTE);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().peak), (5, 3));
    let settled = world.saved.iter().filter_map(|entry| match &entry.act {
        LedgerAct::StepSettled { ring, step, without, .. } => Some((*ring, Some(*step), without.len())),
        LedgerAct::RingSettled { ring, without, .. } => Some((*ring, None, without.len())),
        _ => None,
    });
    assert_eq!(settled.collect::<Vec<_>>(), [(0, Some(0), 0), (0, None, 0)], "nothing depends on the last one");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_ring_at_work_is_named_with_its_step_and_how_many_are_left() {
    let mut world = World::new(5);
    world.apply(two_rings());
    let left = |left, lost, down| {
        let (ring, alone) = (String::from("canary"), true);
        Waiting::Ring { ring, step: 1, steps: 2, left, lost, down, alone }
    };
    assert_eq!(world.waits(4), Some(left(1, 0, 0)));
    world.round();
    world.round();
    world.script(1, Script::Silent);
    world.see_all();
    world.pass(61_000);
    // One failure is allowed, so that a lost host alone keeps nobody else from starting: its ring does.
    assert_eq!(world.waits(4), Some(left(1, 1, 0)));
    assert!(world.state().ended_at.is_none());
}

#[test]
fn a_lost_host_holds_its_ring_until_it_reports_or_is_released_by_name() {
    for by_name in [true, false] {
        let mut world = World::new(5);
        world.apply(two_rings());
        world.round();
        world.round();
        world.script(1, Script::Silent);
        world.see_all();
        let lease = world.running.remove(&signer(1).id()).unwrap();
        for _ in 0..100 {
            world.pass(MINUTE);
        }
        assert_eq!((world.grants(), world.place()), (1, (0, 0)), "no time frees it");
        match by_name {
            true => world.release(1),
            false => {
                world.script(1, Script::Good);
                world.answer(1, world.report(lease, true));
            }
        }
        assert_eq!(world.place(), (0, 1), "by name: {by_name}");
        for _ in 0..40 {
            world.pass(MINUTE);
            world.see_all();
            world.settle_down();
        }
        assert_eq!(world.state().tally.succeeded, if by_name { 4 } else { 5 });
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn a_host_that_never_began_and_is_silent_is_passed_over_by_name_once_another_has_shown_that_it_works() {
    let mut world = World::new(5);
    world.script(2, Script::Silent);
    let rings = vec![ring("canary", 2, &[], 0, 0), ring("fleet", 3, &[], 0, 0)];
    world.apply(Plan { rings, ..plan_of(5, 5, 1, open()) });
    world.see_all();
    world.settle_down();
    assert_eq!(world.place(), (0, 0), "it may only be slow");
    world.pass(61_000);
    let passed = world.saved.iter().find_map(|entry| match &entry.act {
        LedgerAct::RingSettled { without, .. } => Some(without.clone()),
        _ => None,
    });
    assert_eq!(passed, Some(vec![signer(2).id()]));
    world.script(2, Script::Good);
    world.see_all();
    world.run();
    assert_eq!(world.state().tally.succeeded, 5, "it goes when it is back");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_ring_that_is_silent_altogether_proves_nothing_and_does_not_settle() {
    let mut world = World::new(5);
    world.script(1, Script::Silent);
    world.apply(two_rings());
    world.see_all();
    for _ in 0..30 {
        world.pass(MINUTE);
        world.see_all();
        world.settle_down();
    }
    assert_eq!((world.grants(), world.place()), (0, (0, 0)));
    let waiting = world.waits(4).unwrap();
    assert!(waiting.text().contains("nobody of the ring has shown that it works"), "{}", waiting.text());
    assert_eq!(waiting.command(ID), Some(format!("patchmesh rollout stop {ID}")));
}

#[test]
fn a_halted_or_stopped_rollout_opens_no_further_ring() {
    for stops in [true, false] {
        let mut world = World::new(5);
        world.script(1, Script::Bad);
        let rings = vec![ring("canary", 1, &[], 0, 0), ring("fleet", 4, &[], 0, 0)];
        world.apply(Plan { rings, ..plan_of(5, 5, u32::from(stops), open()) });
        world.round();
        world.round();
        if stops {
            world.send(Event::Stop { rollout: ID, by: "ops".into() });
        }
        world.run();
        assert_eq!((world.grants(), world.place()), (1, (0, 0)), "stops: {stops}");
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn no_clock_that_is_set_and_no_restart_makes_a_pause_shorter() {
    let hour = Duration::from_secs(3600);
    for restarts in [false, true] {
        let mut world = World::new(5);
        world.apply(two_rings());
        world.settle_down();
        let since = world.state().course.since.unwrap();
        let settled = BootTime(world.now.boot.0 - (world.now.wall.0 - since.0) as u64);
        if restarts {
            world.pass(MINUTE);
            world.rebuild();
        }
        world.now.wall = world.now.wall.plus(hour);
        world.settle_down();
        assert_eq!(world.grants(), 1, "restarts: {restarts}");
        while world.grants() == 1 {
            world.round();
            world.pass(500);
        }
        let took = world.now.boot.since(settled);
        assert!(took >= Duration::from_secs(120) && took < Duration::from_secs(130), "{took:?}");
        assert_eq!(world.judge.violations(), []);
    }
}

#[test]
fn a_clock_that_was_set_back_begins_the_pause_again_and_does_not_stretch_it_for_ever() {
    let mut world = World::new(5);
    world.now.wall = WallTime(100 * HOUR);
    world.apply(two_rings());
    world.settle_down();
    world.now.wall = WallTime(HOUR);
    world.pass(500);
    let again = world.saved.iter().filter(|entry| matches!(entry.act, LedgerAct::StepSettled { .. })).count();
    assert_eq!((again, world.state().course.since), (2, Some(world.now.wall)));
    world.pass(119_000);
    world.settle_down();
    assert_eq!(world.place(), (1, 0), "two minutes after the clock was set");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_step_that_has_begun_is_not_closed_by_a_clock() {
    let mut world = World::new(5);
    world.now.wall = WallTime(100 * HOUR);
    let rings = vec![ring("canary", 1, &[], 0, 300), ring("fleet", 4, &[], 0, 0)];
    world.apply(Plan { rings, ..plan_of(5, 1, 1, open()) });
    world.settle_down();
    world.pass(5 * MINUTE);
    world.round();
    world.round();
    assert_eq!((world.grants(), world.state().course.opened), (2, true));
    world.now.wall = WallTime(HOUR);
    world.run();
    assert_eq!(world.state().tally.succeeded, 5);
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_ring_begins_when_enough_operators_have_approved_it_each_with_an_own_key() {
    let mut world = World::new(5);
    let mut plan = two_rings();
    plan.rings[1].approvals = 2;
    world.apply(plan);
    let early = Untaken::Early { ring: "fleet".into(), before: "canary".into() };
    assert_eq!(world.verdict(200, Role::Operator, 1, true, ""), Err(early));
    assert_eq!(world.verdict(200, Role::Operator, 0, true, ""), Err(Untaken::NotNeeded("canary".into())));
    assert_eq!(world.verdict(200, Role::Operator, 7, true, ""), Err(Untaken::NoRing));
    world.settle_down();
    world.pass(2 * MINUTE);
    world.settle_down();
    world.pass(6 * MINUTE);
    let approval = |given| Some(Waiting::Approval { rollout: ID, ring: "fleet".into(), given, needed: 2 });
    assert_eq!(world.waits(3), approval(0));
    let command = world.waits(3).unwrap().command(ID);
    assert_eq!(command, Some(format!("patchmesh approve {ID} --ring fleet --key FILE")));
    assert_eq!(world.verdict(200, Role::Operator, 1, true, "looks good"), Ok(()));
    assert_eq!(world.verdict(200, Role::Operator, 1, true, ""), Err(Untaken::Twice("op-200".into())));
    // Its role is looked at before anything else.
    let _ = world.verdict(254, Role::Coordinator, 1, true, "");
    let _ = world.verdict(1, Role::Node, 1, true, "");
    world.rebuild();
    assert_eq!((world.grants(), world.waits(3)), (2, approval(1)), "what was approved is kept");
    assert_eq!(world.verdict(201, Role::Operator, 1, true, ""), Ok(()));
    assert_eq!(world.verdict(202, Role::Operator, 1, true, ""), Err(Untaken::Decided("fleet".into())));
    world.run();
    assert_eq!(world.state().tally.succeeded, 5);
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_rejected_ring_ends_the_rollout_when_nobody_works_any_more() {
    let mut world = World::new(5);
    let mut plan = two_rings();
    plan.rings[1].approvals = 1;
    world.apply(plan);
    world.settle_down();
    world.pass(2 * MINUTE);
    world.settle_down();
    assert_eq!(world.verdict(200, Role::Operator, 1, false, " "), Err(Untaken::Because));
    assert_eq!(world.verdict(200, Role::Operator, 1, false, "the canaries swap"), Ok(()));
    let rejection = world.state().course.rejected.clone().unwrap();
    assert_eq!((rejection.by.as_str(), rejection.because.as_str()), ("op-200", "the canaries swap"));
    assert!(matches!(world.waits(3), Some(Waiting::Rejected(_))));
    assert_eq!(world.verdict(201, Role::Operator, 1, true, ""), Err(Untaken::Latched));
    world.run();
    assert_eq!(world.grants(), 2);
    assert_eq!(world.judge.violations(), []);
}

/// Each batch begins when every host of the one before has said that it is at work, and hosts that are done have.
#[test]
fn a_ramp_starts_awss_batches_and_waits_for_who_has_not_been_heard() {
    let mut world = World::new(12);
    let mut plan = plan_of(12, 5, 1, open());
    plan.rings[0].ramp = Ramp::Aws;
    world.apply(plan);
    let starts = |world: &mut World| {
        let before = world.grants();
        // Offers are answered, and leases granted: nobody has been heard at work.
        world.round();
        world.round();
        world.grants() - before
    };
    assert_eq!(starts(&mut world), 1);
    let ramp = |begun, unacknowledged| Some(Waiting::Ramp { ring: "all".into(), begun, unacknowledged });
    world.pass(500);
    assert_eq!((starts(&mut world), world.waits(5)), (0, ramp(1, 1)));
    // Its daemon is asked again when nothing was heard, and says that it is at work.
    world.pass(2_000);
    world.round();
    assert_eq!(starts(&mut world), 2);
    world.rebuild();
    assert_eq!(world.waits(5), ramp(3, 3), "a restart knows only what it hears");
    assert_eq!(starts(&mut world), 2, "both slots that are left: four of the next batch may begin");
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().peak), (12, 5));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn the_judge_names_what_breaks_the_order() {
    let at = |minutes: i64, act| LedgerEntry { at: WallTime(minutes * 60_000), act };
    let granted = |seed: u8, minutes| {
        let (host, lease, opening) = (signer(seed).id(), LeaseId([seed; 16]), Opening::endless(WallTime(0)));
        at(minutes, LedgerAct::Granted { rollout: ID, host, lease, attempt: 1, opening })
    };
    let refused = |seed: u8, minutes| {
        let refusal = Refusal { code: RefusalCode::PlanChanged, text: String::new(), remedy: String::new() };
        at(minutes, LedgerAct::Refused { rollout: ID, host: signer(seed).id(), refusal })
    };
    let step = |minutes, step, without: Vec<NodeId>| {
        at(minutes, LedgerAct::StepSettled { rollout: ID, ring: 0, step, without })
    };
    let ring = |minutes| at(minutes, LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] });
    let first = [refused(1, 0), step(0, 0, vec![])];
    let canaries = [&first[..], &[refused(2, 2), ring(2)]].concat();
    let approving = |entries: &[LedgerEntry], approvals| {
        let mut plan = two_rings();
        plan.rings[1].approvals = approvals;
        let mut judge = Judge::default();
        judge.read(&at(
            0,
            LedgerAct::Started(Box::new(super::super::plan::Rollout { id: ID, plan, by: "ops".into(), replans: None })),
        ));
        entries.iter().for_each(|entry| judge.read(entry));
        judge.violations().to_vec()
    };
    let judged = |entries: &[LedgerEntry]| approving(entries, 0);
    assert_eq!(judged(&[&canaries[..], &[granted(3, 7)]].concat()), []);
    let bad = [
        ("a later ring", vec![granted(3, 1)]),
        ("a later step", vec![granted(2, 1)]),
        ("before its wait", [&first[..], &[granted(2, 1)]].concat()),
        ("before its bake", [&canaries[..], &[granted(3, 6)]].concat()),
        ("settled with somebody at work", vec![granted(1, 0), step(0, 0, vec![])]),
        ("settled without somebody at work", vec![granted(1, 0), step(0, 0, vec![signer(1).id()])]),
        ("settled out of turn", vec![ring(0)]),
        ("settled before it opened", [&first[..], &[refused(2, 1), ring(1)]].concat()),
    ];
    for (what, entries) in bad {
        let found = judged(&entries);
        assert!(found.iter().any(|violation| violation.promise == "order"), "{what}: {found:?}");
        assert!(found.iter().all(|violation| violation.promise == "order"), "{what}: {found:?}");
    }
    let unapproved = approving(&[&canaries[..], &[granted(3, 7)]].concat(), 1);
    assert_eq!(unapproved.iter().map(|violation| violation.promise).collect::<Vec<_>>(), ["order"]);
}

#[derive(Clone, Debug)]
enum Turn {
    Round,
    Finish,
    Pass(u64),
    Clock(i64),
    Restart,
    Pause(bool),
    Release(u8),
    Silent(u8),
    Back(u8),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => Just(Turn::Round),
        4 => Just(Turn::Finish),
        4 => (100u64..90_000).prop_map(Turn::Pass),
        1 => (-HOUR..HOUR).prop_map(Turn::Clock),
        1 => Just(Turn::Restart),
        1 => any::<bool>().prop_map(Turn::Pause),
        1 => (1u8..=8).prop_map(Turn::Release),
        1 => (1u8..=8).prop_map(Turn::Silent),
        2 => (1u8..=8).prop_map(Turn::Back),
    ]
}

fn rings() -> impl Strategy<Value = Vec<PlannedRing>> {
    let shape = (1u32..5, vec(1u32..=100, 0..3), 0u32..200, 0u32..200, any::<bool>());
    vec(shape, 1..4).prop_map(|shapes| {
        let mut left = 8;
        let mut rings = Vec::new();
        for (at, (hosts, steps, wait, bake, aws)) in shapes.iter().enumerate() {
            let hosts = if at + 1 == shapes.len() { left } else { (*hosts).min(left) };
            left -= hosts;
            let steps: Vec<_> = steps.iter().map(|percent| format!("{percent}%").parse().unwrap()).collect();
            let ramp = if *aws { Ramp::Aws } else { Ramp::Full };
            let (name, steps) = (format!("r{at}"), resolve_steps(&steps, hosts));
            rings.push(PlannedRing { name, steps, wait: *wait, bake: *bake, ..PlannedRing::all(hosts, ramp) });
        }
        rings
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens, no grant in a later step comes before the earlier one settled and its pause was over; and what the ledger
    /// keeps is what its entries say.
    #[test]
    fn no_history_breaks_the_order(
        rings in rings(), concurrency in 1u32..5, bad in 0u8..3, turns in vec(turn(), 0..120),
    ) {
        let mut world = World::new(8);
        // Far enough from the beginning of time to be set back.
        world.now.wall = WallTime(1_000 * HOUR);
        (1..=bad).for_each(|seed| world.script(seed * 2, Script::Bad));
        world.script(7, Script::Refuses(RefusalCode::PlanChanged));
        world.apply(Plan { rings, ..plan_of(8, concurrency, 1, open()) });
        // By boot time: when something last settled in this process.
        let mut settled = None;
        for turn in turns {
            let before = (world.state().course.clone(), world.grants());
            match turn {
                Turn::Round => world.round(),
                Turn::Finish => world.finish_one(),
                Turn::Pass(millis) => world.pass(millis),
                Turn::Clock(millis) => world.now.wall = WallTime(world.now.wall.0 + millis),
                Turn::Restart => world.rebuild(),
                Turn::Pause(true) => world.send(Event::Pause { rollout: ID, by: "ops".into() }),
                Turn::Pause(false) => world.send(Event::Resume { rollout: ID, by: "ops".into() }),
                Turn::Release(seed) => world.release(seed),
                Turn::Silent(seed) => world.script(seed, Script::Silent),
                Turn::Back(seed) => world.script(seed, Script::Good),
            }
            world.see_all();
            let mut replayed = Ledger::default();
            world.saved.iter().for_each(|entry| replayed.fold(entry).unwrap());
            prop_assert_eq!(&replayed, world.controller.ledger());
            let state = world.state();
            prop_assert_eq!(state.course.begun, state.recounted_begun());
            prop_assert_eq!(&state.tally, &state.recounted());
            let lived = planner::plan(world.controller.ledger(), ID, world.controller.desk(), world.now);
            prop_assert_eq!(lived, planner::plan(&replayed, ID, world.controller.desk(), world.now));
            let course = &state.course;
            if course.place != before.0.place {
                settled = Some((world.now.boot, state.plan.pause_before(course.place)));
            } else if matches!(turn, Turn::Restart) {
                settled = None;
            }
            // The first grant of a step, in the process in which the step before settled: no clock helps.
            if let Some((since, pause)) = settled.filter(|_| course.opened && !before.0.opened) {
                prop_assert!(world.now.boot.since(since) >= pause, "{:?} of {pause:?}", world.now.boot.since(since));
            }
        }
        prop_assert_eq!(world.judge.violations(), []);
    }
}
