//! `onSuperseded: replan`: a rollout that left hosts out is planned again once, when it has ended and nobody said no.

use std::collections::BTreeSet;

use super::{
    super::{
        attempts::{Attempts, PAUSE},
        ledger::FoldError,
        limit::Limit,
        plan::Rollout,
        policy,
        replan::{Due, HEARD, MOST, Never, Next, PATIENCE, TAIL, WITHIN, due, name as again, next, waited_for_by},
        ring::Rejection,
        spec::{Asked, DEFAULT_HOOK_TIMEOUT, MAX_NAME, RolloutSpec, SpecError, Targets},
        started::Key,
        why::Scene,
    },
    *,
};
use crate::run::message::StopScope;

pub(in crate::rollout) fn spec() -> RolloutSpec {
    let limit = |text: &str| text.parse::<Limit>().unwrap();
    RolloutSpec {
        urgent: None,
        name: "wave".into(),
        operation: Operation::Install,
        targets: Targets::All,
        baseline: Asked::All,
        install_list: None,
        max_concurrency: limit("3"),
        max_errors: limit("0"),
        openings: Vec::new(),
        windows: Vec::new(),
        blackouts: Vec::new(),
        reboot: RebootOption::IfNeeded,
        hook_timeout: DEFAULT_HOOK_TIMEOUT,
        on_hook_failure: Default::default(),
        rings: Vec::new(),
        ramp: Ramp::Full,
        gates: Vec::new(),
        ring_gates: Vec::new(),
        on_superseded: OnSuperseded::Replan,
    }
}

fn plan(name: &str) -> Plan {
    let on_superseded = Superseded::of(&RolloutSpec { name: name.into(), ..spec() });
    Plan { name: name.into(), on_superseded, ..plan_of(3, 3, 0, open()) }
}

const SECOND: RolloutId = RolloutId([8; 8]);

impl World {
    fn next(&self, id: RolloutId) -> Option<Next> {
        next(self.controller.ledger(), id, self.now.wall)
    }

    fn replans(&mut self, id: RolloutId, of: RolloutId) {
        self.send(Event::Replan { id, of, plan: Box::new(plan("wave-replan-1")) });
    }

    fn until_ended(&mut self, id: RolloutId) {
        for _ in 0..200 {
            if self.controller.ledger().rollouts[&id].ended_at.is_some() {
                return;
            }
            self.round();
            self.finish_one();
            self.pass(500);
        }
        panic!("it did not end");
    }
}

/// A rollout that has ended, with the first of its hosts left out.
fn ended(code: RefusalCode) -> World {
    let mut world = World::new(3);
    world.script(1, Script::Refuses(code));
    world.apply(plan("wave"));
    world.run();
    world
}

#[test]
fn what_was_superseded_is_planned_again_once_when_the_rollout_has_ended() {
    let mut world = World::new(3);
    world.script(1, Script::Refuses(RefusalCode::VersionGone));
    world.apply(plan("wave"));
    assert_eq!(world.next(ID), None, "nobody was left out yet");
    world.round();
    assert_eq!(world.next(ID), Some(Next::Later));
    world.replans(SECOND, ID);
    assert_eq!(world.controller.ledger().rollouts.len(), 1, "it goes on");
    world.run();
    let again = RolloutSpec { name: "wave-replan-1".into(), ..spec() };
    assert_eq!(world.next(ID), Some(Next::Due(Box::new(again))));

    world.script(1, Script::Good);
    world.replans(SECOND, ID);
    let ledger = world.controller.ledger();
    assert_eq!(
        (ledger.rollouts[&SECOND].replans, ledger.rollouts[&SECOND].by.as_str()),
        (Some(ID), "replan of 0707070707070707")
    );
    assert_eq!((ledger.rollouts[&ID].replanned_as, world.next(ID)), (Some(SECOND), Some(Next::Done(SECOND))));
    for killed in [false, true] {
        if killed {
            world.rebuild();
        }
        world.replans(RolloutId([9; 8]), ID);
        assert_eq!(world.controller.ledger().rollouts.len(), 2, "never twice");
    }
    world.until_ended(SECOND);
    assert_eq!(world.controller.ledger().rollouts[&SECOND].tally.succeeded, 3);
    assert_eq!((world.next(SECOND), world.judge.violations()), (None, &[][..]));
}

#[test]
fn a_host_that_refuses_for_another_reason_or_another_plan_is_not_planned_again() {
    assert_eq!(ended(RefusalCode::Held).next(ID), None);
    let mut skips = World::new(3);
    skips.script(1, Script::Refuses(RefusalCode::PlanChanged));
    skips.apply(plan_of(3, 3, 0, open()));
    skips.run();
    assert_eq!((skips.state().tally.refused, skips.next(ID)), (1, None));
    skips.replans(SECOND, ID);
    assert_eq!(skips.controller.ledger().rollouts.len(), 1);
}

#[test]
fn nothing_is_planned_again_after_anybody_said_no() {
    let world = ended(RefusalCode::PlanChanged);
    type Change = fn(&mut RolloutState);
    let never: [(Change, Never); 4] = [
        (|state| state.halted = true, Never::Halted),
        (|state| state.stopped = Some(1), Never::Stopped),
        (|state| state.course.rejected = Some(rejection()), Never::Rejected),
        (|state| state.paused = true, Never::Paused),
    ];
    for (change, why) in never {
        let mut ledger = world.controller.ledger().clone();
        change(ledger.rollouts.get_mut(&ID).unwrap());
        assert_eq!(next(&ledger, ID, world.now.wall), Some(Next::Never(why)));
        let rollout = Rollout { id: SECOND, plan: plan("x"), by: "ops".into(), replans: Some(ID) };
        let act = LedgerAct::Started(Box::new(rollout));
        let before = ledger.clone();
        assert_eq!(ledger.fold(&LedgerEntry { at: world.now.wall, act }), Err(FoldError::Replanned(ID)));
        assert_eq!(ledger, before);
    }
    let mut ledger = world.controller.ledger().clone();
    ledger.orders.insert(StopScope::All, (1, true));
    assert_eq!(next(&ledger, ID, world.now.wall), Some(Next::Held));
    ledger.orders.insert(StopScope::All, (2, false));
    assert!(matches!(next(&ledger, ID, world.now.wall), Some(Next::Due(_))), "as soon as the STOP has ended");
    let late = world.state().ended_at.unwrap().plus(WITHIN);
    assert!(matches!(next(&ledger, ID, late), Some(Next::Due(_))));
    assert_eq!(next(&ledger, ID, WallTime(late.0 + 1)), Some(Next::Never(Never::Late)));
}

fn rejection() -> Rejection {
    Rejection { ring: "all".into(), by: "ops".into(), because: "no".into(), at: WallTime(0) }
}

#[test]
fn an_operator_stops_what_would_be_planned_again() {
    let mut world = World::new(3);
    world.script(1, Script::Refuses(RefusalCode::PlanChanged));
    world.apply(plan("wave"));
    world.round();
    world.send(Event::Stop { rollout: ID, by: "ops".into() });
    world.run();
    assert_eq!((world.state().tally.refused, world.next(ID)), (1, Some(Next::Never(Never::Stopped))));
    world.replans(SECOND, ID);
    assert_eq!(world.controller.ledger().rollouts.len(), 1);
}

#[test]
fn openings_that_are_over_leave_nothing_to_plan_and_windows_are_asked_again() {
    let world = ended(RefusalCode::PlanChanged);
    let asked = |change: fn(&mut RolloutSpec)| {
        let mut asked = spec();
        change(&mut asked);
        let mut ledger = world.controller.ledger().clone();
        ledger.rollouts.get_mut(&ID).unwrap().plan.on_superseded = Superseded::Replan(Box::new(asked));
        next(&ledger, ID, world.now.wall)
    };
    const PAST: Opening = Opening { opens: WallTime(0), last_start: WallTime(1), closes: WallTime(1) };
    assert_eq!(asked(|spec| spec.openings = vec![PAST]), Some(Next::Never(Never::Over)));
    assert!(matches!(asked(|spec| spec.openings = vec![PAST, Opening::endless(WallTime(HOUR))]), Some(Next::Due(_))));
    assert!(matches!(asked(|spec| spec.windows = vec!["nightly".into()]), Some(Next::Due(_))));
}

#[test]
fn it_is_planned_again_only_so_often() {
    let mut world = ended(RefusalCode::PlanChanged);
    let mut of = ID;
    for number in 1..=MOST {
        let Some(Next::Due(spec)) = world.next(of) else { panic!("due: {number}") };
        assert_eq!(spec.name, format!("wave-replan-{number}"));
        let id = RolloutId([100 + number as u8; 8]);
        world.send(Event::Replan { id, of, plan: Box::new(plan(&spec.name)) });
        world.until_ended(id);
        of = id;
    }
    assert_eq!(world.next(of), Some(Next::Never(Never::Often)));
    world.replans(SECOND, of);
    assert_eq!(world.controller.ledger().rollouts.len(), 1 + MOST as usize);
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_long_name_is_cut_so_that_it_remains_a_name() {
    let mut world = World::new(3);
    world.script(1, Script::Refuses(RefusalCode::PlanChanged));
    let long = format!("{}-{}", "a".repeat(53), "b".repeat(9));
    world.apply(plan(&long));
    world.run();
    let Some(Next::Due(spec)) = world.next(ID) else { panic!("due") };
    assert_eq!(spec.name, format!("{}-replan-1", "a".repeat(53)));
    assert!(long.len() == MAX_NAME && spec.check().is_ok());
}

/// Were it cut at its end, the time would be lost, and what plans the runs of two days again would have one name.
#[test]
fn the_longest_names_of_runs_keep_their_time_when_they_are_planned_again() {
    let policy = Key::Policy { policy: "p".repeat(policy::MAX_NAME), operation: Operation::Install };
    let task = Key::Task { window: "w".repeat(20), task: "t".repeat(10), target: "g".repeat(5) };
    for (key, several) in [(policy, false), (task, true)] {
        for number in [1, MOST] {
            let name = key.run_name(several, WallTime(1_800_000_000_000));
            assert_eq!(name.len() + TAIL, MAX_NAME);
            assert_eq!(again(&name, number), format!("{name}-replan-{number}"));
        }
    }
}

#[test]
fn a_coordinator_that_stands_back_plans_nothing_again() {
    let mut world = ended(RefusalCode::PlanChanged);
    let ledger = world.controller.ledger().clone();
    let begun = |desk: &planner::Desk, attempts: &mut Attempts<RolloutId>, now: Now| due(attempts, &ledger, desk, now);
    let (mut attempts, mut now) = (Attempts::<RolloutId>::default(), world.now);
    let heard = world.controller.desk().clone();
    for back in [
        planner::Desk { rival: Some(now.boot), ..heard.clone() },
        planner::Desk { listening: Some(now.boot.plus(PAUSE)), ..heard.clone() },
        planner::Desk { superseded: true, ..heard.clone() },
    ] {
        assert_eq!(begun(&back, &mut attempts, now), []);
    }
    let ended = world.state().ended_at.unwrap();
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        let again = RolloutSpec { name: "wave-replan-1".into(), ..spec() };
        let expected = Due { of: ID, spec: again, left_out: [signer(1).id()].into(), ended };
        assert_eq!(begun(&heard, &mut attempts, now), [expected]);
        assert_eq!(begun(&heard, &mut attempts, now), [], "it is under way");
        attempts.ended(&ID, Some("no host".into()), now.boot);
        assert_eq!(begun(&heard, &mut attempts, now), [], "not at once");
        assert_eq!(attempts.not_started()[&ID].because, "no host");
        now.boot = now.boot.plus(PAUSE * minutes);
    }
    let late = Now { wall: WallTime(ended.plus(WITHIN).0 + 1), ..now };
    assert_eq!(begun(&heard, &mut attempts, late), [], "no more");
    assert!(attempts.not_started().is_empty(), "and nothing is said of it");

    // Somebody else came between the plan and its start.
    world.answer(2, ToCoordinator::Adopted { held: None });
    let higher = Epoch { serial: settings().serial + 1, ..world.controller.epoch() };
    world.answer(2, ToCoordinator::Fenced { saved: higher, held: None });
    assert!(world.controller.desk().superseded);
    world.replans(SECOND, ID);
    assert_eq!(world.controller.ledger().rollouts.len(), 1);
}

/// The host for whose sake it is planned again is left out by the survey, because its repository is being synchronized.
#[test]
fn a_plan_without_the_hosts_that_were_left_out_is_not_started() {
    let hosts = |seeds: &[u8]| seeds.iter().map(|seed| signer(*seed).id()).collect::<BTreeSet<_>>();
    let ended = WallTime(1_000_000);
    let due = Due { of: ID, spec: spec(), left_out: hosts(&[1, 2]), ended };
    let soon = ended.plus(PATIENCE);
    for (planned, missing) in [(&[3, 4][..], &[1, 2][..]), (&[1, 3], &[2]), (&[], &[1, 2])] {
        assert_eq!(due.may_start(&hosts(planned), soon), Err(hosts(missing)), "{planned:?}");
    }
    assert_eq!(due.may_start(&hosts(&[1, 2, 3]), ended), Ok(()));
    assert_eq!(due.may_start(&hosts(&[1, 2]), ended), Ok(()));
    let late = WallTime(soon.0 + 1);
    assert_eq!(due.may_start(&hosts(&[1, 3]), late), Ok(()), "one is better than none");
    assert_eq!(due.may_start(&hosts(&[3, 4]), late), Err(hosts(&[1, 2])), "but the others have what they need");
}

#[test]
fn a_coordinator_that_has_just_started_waits_until_it_hears_those_that_were_left_out() {
    let mut world = World::new(3);
    world.script(1, Script::Refuses(RefusalCode::PlanChanged));
    world.script(2, Script::Refuses(RefusalCode::VersionGone));
    world.apply(plan("wave"));
    world.run();
    let heard = |hosts: &[u8]| {
        let alive = |seed: &u8| (signer(*seed).id(), planner::Contact { alive: true, ..Default::default() });
        planner::Desk { contacts: hosts.iter().map(alive).collect(), ..Default::default() }
    };
    let begun = |desk: &planner::Desk, now: Now| {
        due(&mut Attempts::<RolloutId>::default(), world.controller.ledger(), desk, now).len()
    };
    for (hosts, count) in [(&[][..], 0), (&[1, 3], 0), (&[1, 2], 1)] {
        assert_eq!(begun(&heard(hosts), world.now), count, "{hosts:?}");
    }
    let late = Now { wall: WallTime(world.state().ended_at.unwrap().plus(HEARD).0 + 1), ..world.now };
    for (hosts, count) in [(&[3][..], 0), (&[1], 1)] {
        assert_eq!(begun(&heard(hosts), late), count, "after a while: {hosts:?}");
    }
}

#[test]
fn why_leads_from_a_host_that_was_left_out_to_the_rollout_that_plans_it_again() {
    let mut world = ended(RefusalCode::PlanChanged);
    let chain = |world: &World| {
        let scene = Scene { ledger: world.controller.ledger(), desk: world.controller.desk(), now: world.now };
        let causes = scene.host(signer(1).id(), None).into_iter();
        causes.map(|cause| (cause.code, cause.text, cause.command.unwrap_or_default())).collect::<Vec<_>>()
    };
    let told = chain(&world);
    assert_eq!((told[0].0.as_str(), told[1].0.as_str()), ("plan-changed", "replan"));
    assert_eq!(told[1].1, "rollout wave is to be planned again as wave-replan-1");
    let waits = |world: &World, host: u8| {
        let waits = waited_for_by(world.controller.ledger(), signer(host).id(), world.now.wall);
        waits.map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!((waits(&world, 1), waits(&world, 2)), (vec![ID], vec![]));
    world.replans(SECOND, ID);
    assert_eq!(waits(&world, 1), []);
    let told = chain(&world);
    let again = told.iter().find(|cause| cause.0 == "replanned").expect("it is told");
    assert_eq!(
        (again.1.as_str(), again.2.clone()),
        ("rollout wave-replan-1 plans wave again", format!("patchmesh rollout status {SECOND}"))
    );
    assert!(told[0].1.contains("wave-replan-1"), "the newest first: {told:?}");
    assert!(told[1].1.starts_with("rollout wave-replan-1 was applied by ops (planned again): "), "{told:?}");

    let mut halted = ended(RefusalCode::PlanChanged);
    let mut ledger = halted.controller.ledger().clone();
    ledger.rollouts.get_mut(&ID).unwrap().halted = true;
    halted.controller = Controller::rebuild(settings(), ledger);
    let told = chain(&halted);
    assert_eq!(
        (told[1].0.as_str(), told[1].1.as_str()),
        ("not-replanned", "rollout wave is not planned again: it was halted")
    );
}

#[test]
fn the_versions_of_a_snapshot_are_not_planned_again() {
    let snapshot = RolloutSpec { baseline: Asked::Snapshot("5a".into()), ..spec() };
    assert_eq!(snapshot.check(), Err(SpecError::ReplanOfSnapshot));
    let default = OnSuperseded::default_of;
    assert_eq!(default(Operation::Install, &snapshot.baseline), OnSuperseded::Skip);
    assert_eq!(default(Operation::Scan, &Asked::All), OnSuperseded::Skip);
    assert_eq!(default(Operation::Install, &Asked::Override("[]".into())), OnSuperseded::Replan);
    assert_eq!(Superseded::of(&RolloutSpec { operation: Operation::Scan, ..spec() }), Superseded::Skip);
}
