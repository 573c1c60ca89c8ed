//! Members that have to show that they are up.

use super::{
    services::{OTHER, fallen, plan_for, service},
    *,
};
use crate::{
    id::CommandId,
    rollout::{
        availability::{self, Down},
        probe::{PROBE_AGAIN, PROBE_EVERY, PROBE_FRESH},
        service::{ServiceAct, ServiceSpec},
    },
    run::gate::{Ask, Gate, MAX_PROBING},
};

const PROBE: &str = "systemdUnit pg.service";

fn probed(least: &str) -> ServiceSpec {
    let ask = Ask::SystemdUnit("pg.service".into());
    ServiceSpec { probe: Some(Gate { ask, timeout_seconds: 10 }), ..service(least) }
}

fn failing(shown: &str) -> Down {
    Down::Failing { probe: PROBE.into(), shown: shown.into() }
}

impl World {
    fn falls_ill(&mut self, seed: u8, shown: &str) {
        self.sick.insert(signer(seed).id(), shown.into());
    }

    fn recovers(&mut self, seed: u8) {
        self.sick.remove(&signer(seed).id());
    }

    fn short_of(&self, at: usize) -> Vec<crate::rollout::availability::Fallen> {
        match self.blocked_by(ID, at) {
            Some(Waiting::Service(short)) => short.down,
            other => panic!("{other:?}"),
        }
    }

    fn runs(&self, seed: u8) -> bool {
        self.running.contains_key(&signer(seed).id())
    }

    /// Everything is said, and nobody works.
    fn wait(&mut self, time: Duration) {
        for _ in 0..time.as_secs() * 2 {
            self.round();
            self.pass(500);
        }
    }

    fn questions(&self, seed: u8) -> Vec<CommandId> {
        let of = |(to, body): &(NodeId, ToHost)| match body {
            ToHost::Probe { request, .. } if *to == signer(seed).id() => Some(*request),
            _ => None,
        };
        self.told.iter().filter_map(of).collect()
    }
}

#[test]
fn a_member_that_fails_its_probe_is_down_and_says_what_it_showed_until_it_passes() {
    let mut world = World::serving(3, service("2"));
    world.falls_ill(3, "the unit is failed, not active");
    world.keep(probed("2"));
    world.apply_as(ID, plan_for(&[1], 1));
    world.settle();
    assert!(!world.runs(1));
    let down = world.short_of(0);
    assert_eq!(down, [fallen(3, failing("the unit is failed, not active"))]);
    assert_eq!(
        down[0].text(),
        "host-03 fails the probe systemdUnit pg.service: the unit is failed, not active; mend that there"
    );
    assert_eq!(down[0].why.command().as_deref(), Some("systemctl status pg.service"));
    let chain = world.scene().host(signer(1).id(), None);
    let codes: Vec<_> = chain.iter().map(|cause| cause.code.as_str()).collect();
    assert_eq!(codes[..2], ["service", "failing"], "{chain:?}");
    world.apply_as(OTHER, plan_for(&[3], 1));
    world.settle();
    assert!(world.runs(3), "it is down already: nobody loses anything by its run");
    world.finish_one();
    world.settle();
    assert!(!world.runs(1));
    world.recovers(3);
    world.wait(PROBE_AGAIN);
    assert!(world.runs(1));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn nobody_is_up_before_it_has_passed_and_an_old_or_foreign_answer_is_none() {
    let mut world = World::serving(3, service("2"));
    world.keep(probed("2"));
    world.settle();
    world.apply_as(ID, plan_for(&[1], 1));
    // Another process of this coordinator knows nothing of what was answered.
    world.rebuild();
    world.answer(1, ToCoordinator::Adopted { held: None });
    world.answer(2, ToCoordinator::Adopted { held: None });
    world.answer(3, ToCoordinator::Adopted { held: None });
    let unproved = Down::Unproved { probe: PROBE.into() };
    assert_eq!(world.short_of(0), [fallen(2, unproved.clone()), fallen(3, unproved.clone())]);
    assert!(unproved.text().starts_with("has not passed the probe systemdUnit pg.service in the last 90 s"));
    world.pass(500);
    let (of_two, of_three) = (world.questions(2)[0], world.questions(3)[0]);
    world.answer(2, ToCoordinator::Probed { request: of_three, result: Ok(()) });
    world.answer(3, ToCoordinator::Probed { request: CommandId([9; 16]), result: Ok(()) });
    assert_eq!(world.short_of(0).len(), 2, "neither was asked that");
    world.answer(2, ToCoordinator::Probed { request: of_two, result: Ok(()) });
    assert_eq!(world.short_of(0), [fallen(3, unproved)]);
    world.settle();
    assert!(world.runs(1));
}

#[test]
fn an_answer_is_asked_for_again_and_counts_for_ninety_seconds() {
    let mut world = World::serving(2, service("1"));
    world.keep(probed("1"));
    world.settle();
    world.told.clear();
    world.pass(PROBE_EVERY.as_millis() as u64);
    assert_eq!((world.questions(1).len(), world.questions(2).len()), (1, 1));
    // Both leave it unanswered.
    let down = |world: &World| {
        let (ledger, node) = (world.controller.ledger(), signer(2).id());
        availability::down(ledger, world.controller.desk(), &node, &probed("1"), world.now.boot)
    };
    assert_eq!(down(&world), None);
    (0..PROBE_FRESH.as_secs()).for_each(|_| world.pass(1_000));
    assert_eq!(down(&world), Some(Down::Unproved { probe: PROBE.into() }));
    assert!(world.questions(2).len() > 4, "it was asked again and again");
}

#[test]
fn whoever_held_a_lease_has_to_pass_again_before_the_next_one_starts() {
    let mut world = World::serving(2, service("1"));
    world.keep(probed("1"));
    world.settle();
    world.apply(plan_for(&[1, 2], 2));
    world.settle();
    assert_eq!(world.running.len(), 1);
    let first = if world.runs(1) { 1 } else { 2 };
    world.falls_ill(first, "it starts");
    world.told.clear();
    world.pass(60_000);
    assert_eq!(world.questions(first).len(), 0, "what it shows in the middle of a run says nothing of the end");
    world.round();
    world.finish_one();
    world.settle();
    assert_eq!(world.running.len(), 0, "its report is good, and its service is not back");
    assert_eq!(world.short_of(usize::from(2 - first)), [fallen(first, failing("it starts"))]);
    world.recovers(first);
    world.wait(PROBE_AGAIN);
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (2, &[][..]));
}

#[test]
fn a_probe_of_one_service_says_nothing_of_another() {
    let mut world = World::serving(3, service("2"));
    world.falls_ill(3, "down");
    world.keep(ServiceSpec { name: "db".into(), ..probed("0") });
    world.apply_as(ID, plan_for(&[1], 1));
    world.settle();
    assert!(world.runs(1), "of db nobody has to be up, and pg asks for no probe");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn another_probe_is_asked_anew_and_one_that_is_left_out_not_at_all() {
    let mut world = World::serving(2, service("1"));
    world.keep(probed("1"));
    world.settle();
    let other = Gate { ask: Ask::SystemdUnit("other.service".into()), timeout_seconds: 10 };
    world.falls_ill(2, "inactive");
    world.keep(ServiceSpec { probe: Some(other), ..service("1") });
    world.apply_as(ID, plan_for(&[1], 1));
    world.settle();
    let probe = "systemdUnit other.service".into();
    assert_eq!(world.short_of(0), [fallen(2, Down::Failing { probe, shown: "inactive".into() })]);
    world.keep(service("1"));
    world.settle();
    assert!(world.runs(1));
    world.told.clear();
    world.pass(120_000);
    assert_eq!(world.questions(2).len(), 0);
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn the_judge_takes_nobody_for_up_of_whom_no_entry_says_that_it_passed() {
    let mut world = World::serving(2, service("1"));
    world.keep(probed("1"));
    world.settle();
    world.apply(plan_for(&[1], 1));
    world.settle();
    assert!(world.runs(1));
    let judged = |entries: &[LedgerEntry]| {
        let mut judge = Judge::default();
        entries.iter().for_each(|entry| judge.read(entry));
        judge.violations().iter().map(|violation| violation.promise).collect::<Vec<_>>()
    };
    assert_eq!(judged(&world.saved), [""; 0]);
    let said = |entry: &LedgerEntry| matches!(&entry.act, LedgerAct::Service(ServiceAct::Probed { .. }));
    let silent: Vec<_> = world.saved.iter().filter(|entry| !said(entry)).cloned().collect();
    assert_eq!((silent.len() < world.saved.len(), judged(&silent)), (true, vec!["availability"]));
}

#[test]
fn a_host_is_asked_no_more_at_once_than_it_answers_and_everything_in_its_turn() {
    let mut world = World::serving(1, service("0"));
    for number in 0..17 {
        world.send(Event::Keep {
            spec: Box::new(ServiceSpec { name: format!("pg-{number:02}"), ..probed("0") }),
            by: "ops".into(),
        });
    }
    world.told.clear();
    let asked = |world: &mut World| {
        world.pass(500);
        let asked = world.questions(1);
        world.told.clear();
        asked
    };
    let mut first = asked(&mut world);
    first.extend(asked(&mut world));
    assert_eq!(first.len(), MAX_PROBING - 1, "one was asked when the first of the services was kept");
    world.answer(1, ToCoordinator::Probed { request: first[0], result: Ok(()) });
    assert_eq!(asked(&mut world).len(), 1, "the last one has its turn");
    assert_eq!(asked(&mut world).len(), 0);
    // Every answer was lost: they are asked again, the oldest first.
    world.pass(20_000);
    assert_eq!(world.questions(1).len(), MAX_PROBING);
}

#[test]
fn what_a_member_showed_before_another_coordinators_run_is_nothing_after_it() {
    let mut world = World::serving(2, service("1"));
    world.keep(probed("1"));
    world.settle();
    let down = |world: &World| {
        let (ledger, node) = (world.controller.ledger(), signer(2).id());
        availability::failing(world.controller.desk(), &node, &ledger.services.specs["pg"], world.now.boot)
    };
    assert_eq!(down(&world), None);
    world.falls_ill(2, "down since that run");
    let report = world.report(LeaseId([9; 16]), true);
    world.answer(2, report);
    assert_eq!(down(&world), Some(Down::Unproved { probe: PROBE.into() }));
    world.apply_as(ID, plan_for(&[1], 1));
    world.settle();
    assert!(!world.runs(1), "it is asked anew, and fails");
}
