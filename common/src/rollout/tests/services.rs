//! What must stay up: across rollouts, restarts and releases, and in the judge's eyes.

use std::collections::BTreeSet;

use super::*;
use crate::rollout::{
    availability::{Down, Fallen},
    service::{Absent, Labels, ServiceAct, ServiceSpec},
};

pub(super) const OTHER: RolloutId = RolloutId([8; 8]);

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(super) fn service(least: &str) -> ServiceSpec {
    ServiceSpec {
        name: "pg".into(),
        selector: labels(&[("app", "pg")]),
        min_available: least.parse().unwrap(),
        spread: None,
        last: vec![],
        probe: None,
    }
}

/// A plan for these hosts only.
pub(super) fn plan_for(hosts: &[u8], concurrency: u32) -> Plan {
    let mut plan = plan_of(9, concurrency, 9, open());
    plan.hosts.retain(|host| hosts.iter().any(|seed| host.node == signer(*seed).id()));
    plan
}

pub(super) fn fallen(seed: u8, why: Down) -> Fallen {
    Fallen { why, name: format!("host-{seed:02}"), node: signer(seed).id() }
}

impl World {
    /// Hosts of one service, all of them up.
    pub(super) fn serving(hosts: u8, spec: ServiceSpec) -> Self {
        let mut world = Self::new(hosts);
        (1..=hosts).for_each(|seed| world.tag(seed, &[("app", "pg")]));
        world.see_all();
        world.keep(spec);
        world
    }

    fn tag(&mut self, seed: u8, pairs: &[(&str, &str)]) {
        let words = Words { name: format!("host-{seed:02}"), tags: labels(pairs), expires: WallTime(9 * HOUR) };
        self.words.insert(signer(seed).id(), words);
    }

    pub(super) fn keep(&mut self, spec: ServiceSpec) {
        self.send(Event::Keep { spec: Box::new(spec), by: "ops".into() });
        self.settle();
    }

    pub(super) fn apply_as(&mut self, id: RolloutId, plan: Plan) {
        self.send(Event::Apply { id, plan: Box::new(plan), by: "ops".into() });
    }

    pub(super) fn blocked_by(&self, id: RolloutId, at: usize) -> Option<Waiting> {
        planner::waiting(self.controller.ledger(), id, at, self.controller.desk(), self.now)
    }

    /// Nothing ends; what may be granted is.
    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            self.round();
            self.pass(500);
        }
    }

    /// The mesh hears everybody.
    fn everybody(&self) -> Event {
        let (alive, held, sealed) = (true, None, WallTime(0));
        let seen = |(node, words): (&NodeId, &Words)| Seen { node: *node, alive, held, sealed, words: words.clone() };
        Event::View(self.words.iter().map(seen).collect())
    }

    /// The first host of the rollout waits, because the third member is silent.
    fn waits_for_three(&self) {
        match self.blocked_by(ID, 0) {
            Some(Waiting::Service(short)) => assert_eq!(short.down, [fallen(3, Down::Silent)]),
            other => panic!("{other:?}"),
        }
        assert!(self.running.is_empty());
    }

    fn is_over(&self) -> bool {
        self.controller.ledger().active.is_empty()
    }

    pub(super) fn finish(&mut self) {
        for _ in 0..2000 {
            if self.is_over() {
                return;
            }
            self.settle();
            self.finish_one();
        }
        panic!("the rollouts did not end");
    }
}

#[test]
fn two_rollouts_over_a_service_with_one_member_down_are_granted_nothing_and_say_which_and_what_to_do() {
    let mut world = World::serving(3, service("2"));
    world.script(3, Script::Silent);
    world.see_all();
    world.apply_as(ID, plan_for(&[1], 1));
    world.apply_as(OTHER, plan_for(&[2], 1));
    world.settle();
    assert!(world.running.is_empty() && world.controller.ledger().leased.is_empty());
    for id in [ID, OTHER] {
        let Some(Waiting::Service(short)) = world.blocked_by(id, 0) else { panic!("{:?}", world.blocked_by(id, 0)) };
        assert_eq!((short.least, short.members, short.up), (2, 3, 2));
        assert_eq!(short.down, [fallen(3, Down::Silent)]);
        assert_eq!(
            short.text(),
            "service pg must keep 2 of its 3 members up, and 2 are: host-03 is silent: start its daemon there; or apply the \
             service again with a lower minAvailable"
        );
        assert_eq!(short.command(), "systemctl start patchmeshd");
    }
    for host in [1, 2] {
        let chain = world.scene().host(signer(host).id(), None);
        let codes: Vec<_> = chain.iter().map(|cause| cause.code.as_str()).collect();
        assert_eq!(codes, ["service", "silent", "applied", "unheard"], "{chain:?}");
        assert_eq!(chain[1].text, "host-03 is silent: start its daemon there");
        assert_eq!((chain[1].command.as_deref(), chain[1].at), (Some("systemctl start patchmeshd"), Some(WallTime(0))));
        assert_eq!(chain[0].at, Some(WallTime(3_000)), "it does not wait longer than there is a rollout");
    }
    world.script(3, Script::Good);
    world.see_all();
    world.finish();
    assert_eq!(world.overlap, 1, "one of the three at a time, whichever rollout it is in");
    assert_eq!((world.judge.violations(), world.judge.checked()["availability"]), (&[][..], 2));
}

#[test]
fn a_lower_limit_or_no_service_lets_the_hosts_go() {
    let waits = || {
        let mut world = World::serving(3, service("3"));
        world.apply(plan_of(3, 3, 0, open()));
        world.settle();
        let Some(Waiting::Service(short)) = world.blocked_by(ID, 0) else { panic!("{:?}", world.blocked_by(ID, 0)) };
        assert!(short.text().contains("none can be taken down"), "{}", short.text());
        assert_eq!(short.command(), "patchmesh describe service pg");
        world
    };
    let mut world = waits();
    world.keep(service("34%"));
    world.settle();
    assert_eq!(world.running.len(), 1, "34 % of 3 is 2");
    let mut world = waits();
    world.send(Event::Drop { name: "pg".into(), by: "ops".into() });
    world.settle();
    assert_eq!((world.running.len(), world.judge.violations()), (3, &[][..]));
}

#[test]
fn a_scan_takes_nobody_down_and_waits_for_nobody() {
    let mut world = World::serving(3, service("2"));
    let scan = |hosts: &[u8]| Plan { operation: crate::rollout::Operation::Scan, ..plan_for(hosts, 3) };
    world.apply_as(ID, scan(&[1, 2]));
    world.settle();
    assert_eq!(world.running.len(), 2, "more than the service could spare");
    world.apply_as(OTHER, plan_for(&[3], 1));
    world.settle();
    assert_eq!(world.running.len(), 3, "an Install beside them");
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (2, &[][..]));
    assert_eq!(world.judge.checked()["availability"], 1, "for the Install");

    let mut world = World::serving(3, service("2"));
    world.apply_as(ID, scan(&[1]));
    world.settle();
    world.script(1, Script::Silent);
    world.release(1);
    world.send(world.everybody());
    assert!(world.controller.ledger().fenced(&signer(1).id()).is_some());
    world.apply_as(OTHER, plan_for(&[2], 1));
    world.settle();
    assert!(world.running.contains_key(&signer(2).id()), "a released Scan is no release that takes anybody down");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn who_is_released_or_left_the_mesh_is_down() {
    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1, 2], 2));
    world.settle();
    let named = |world: &World, at| match world.blocked_by(ID, at) {
        Some(Waiting::Service(short)) => short.down.first().map(|first| first.why.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(world.running.len(), 1);
    assert_eq!(named(&world, 1), Some(Down::Leased(ID)));
    world.script(1, Script::Silent);
    world.release(1);
    world.settle();
    assert_eq!(named(&world, 1), Some(Down::Released), "its slot is free, and nobody knows what it does");
    world.script(1, Script::Good);
    world.send(Event::Release { host: signer(1).id(), by: "ops".into(), because: "again".into() });
    world.pass(3_000);
    world.settle();
    world.words.remove(&signer(3).id());
    world.scripts.remove(&signer(3).id());
    world.see_all();
    world.finish_one();
    world.settle();
    assert_eq!(
        named(&world, 1),
        Some(Down::Silent),
        "a member that the mesh has forgotten counts until its time is over"
    );
    world.now.wall = WallTime(9 * HOUR);
    (1..=2).for_each(|seed| world.words.get_mut(&signer(seed).id()).unwrap().expires = WallTime(99 * HOUR));
    world.see_all();
    assert_eq!(world.controller.ledger().services.members.len(), 2);
    assert_eq!(world.judge.violations(), []);
}

/// It is dead, and the mesh takes for news what it had forgotten meanwhile.
fn brought_back(between: impl FnOnce(&mut World)) {
    let mut world = World::serving(3, service("2"));
    let everybody = world.everybody();
    world.script(3, Script::Silent);
    between(&mut world);
    world.send(everybody);
    assert!(world.controller.desk().contacts[&signer(3).id()].alive);
    world.apply_as(ID, plan_for(&[1], 1));
    world.settle();
    world.waits_for_three();
    world.script(3, Script::Good);
    world.settle();
    assert_eq!(world.running.len(), 1);
}

#[test]
fn a_silent_member_that_an_old_record_brings_back_is_down_until_it_answers() {
    brought_back(World::see_all);
}

#[test]
fn a_forgotten_member_that_an_old_record_brings_back_is_down_until_it_answers() {
    brought_back(|world| {
        world.words.remove(&signer(3).id());
        let others = world.everybody();
        world.send(others);
    });
}

/// The last membership that it showed has ended; the coordinator is not shown the moment in which the mesh did not know it.
#[test]
fn a_member_that_was_to_be_forgotten_is_down_until_it_answers_whatever_the_mesh_says() {
    brought_back(|world| {
        let expires = world.now.wall.plus(Duration::from_secs(9));
        world.words.get_mut(&signer(3).id()).unwrap().expires = expires;
        let everybody = world.everybody();
        world.send(everybody);
        world.pass(10_000);
    });
}

#[test]
fn after_a_restart_nobody_is_up_until_the_mesh_is_seen() {
    let mut world = World::serving(3, service("50%"));
    world.apply(plan_of(3, 3, 0, open()));
    let mut ledger = Ledger::default();
    world.saved.iter().for_each(|entry| ledger.fold(entry).unwrap());
    world.controller = Controller::rebuild(settings(), ledger);
    world.send(Event::Started { incarnation: Incarnation(2), continues: true });
    let one = |seed: u8| Seen {
        node: signer(seed).id(),
        alive: true,
        held: None,
        sealed: WallTime(0),
        words: world.words[&signer(seed).id()].clone(),
    };
    let views = [vec![one(1)], vec![one(1), one(2)], vec![one(1), one(2), one(3)]];
    for (view, granted) in views.into_iter().zip([0, 0, 1]) {
        world.send(Event::View(view));
        world.settle();
        assert_eq!(world.running.len(), granted, "50 % of 3 is 2, also while fewer are seen");
    }
    assert_eq!(world.judge.violations(), []);
}

/// For a while after its start the mesh believes whom it remembers, and so it does after the process was paused.
#[test]
fn who_has_not_answered_this_process_is_not_up() {
    let mut world = World::serving(3, service("2"));
    world.script(3, Script::Silent);
    world.rebuild();
    world.send(world.everybody());
    world.apply(plan_for(&[1], 1));
    world.settle();
    world.waits_for_three();
    world.script(3, Script::Good);
    world.pass(2_000);
    world.settle();
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (1, &[][..]));

    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1], 1));
    world.told.clear();
    world.script(3, Script::Silent);
    world.pass(60_000);
    world.send(world.everybody());
    world.settle();
    world.waits_for_three();
}

/// Found by the simulator: an answer of a member that is dead, said again by whoever overheard it.
#[test]
fn what_a_member_answered_before_a_start_or_a_pause_does_not_make_it_up() {
    let mut world = World::serving(3, service("2"));
    let everybody = world.everybody();
    let old = world.heard(3, ToCoordinator::Adopted { held: None });
    world.script(3, Script::Silent);
    world.rebuild();
    world.send(everybody.clone());
    world.apply(plan_for(&[1], 1));
    world.send(old);
    world.settle();
    world.waits_for_three();
    let old = world.heard(3, ToCoordinator::Adopted { held: None });
    world.pass(60_000);
    world.send(everybody);
    world.send(old);
    world.settle();
    world.waits_for_three();
    world.script(3, Script::Good);
    world.pass(2_000);
    world.settle();
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (1, &[][..]));
}

/// Found by the simulator: a copy that wakes up to the word that another coordinator is at work opens no epoch first.
#[test]
fn a_paused_copy_that_wakes_up_to_the_word_of_another_coordinator_leaves_it_the_field_at_once() {
    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1], 1));
    world.send(Event::Started { incarnation: Incarnation(77), continues: false });
    world.see_all();
    world.settle();
    let own = world.controller.epoch();
    let saved = Epoch { counter: own.counter + 1, incarnation: Incarnation(5), ..own };
    world.now =
        Now { wall: world.now.wall.plus(Duration::from_secs(60)), boot: world.now.boot.plus(Duration::from_secs(60)) };
    world.answer(1, ToCoordinator::Fenced { saved, held: None });
    assert_eq!((world.controller.epoch(), world.controller.desk().rival.is_some()), (own, true));
}

#[test]
fn a_fence_that_ends_a_pause_opens_one_epoch_and_not_two() {
    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1], 1));
    world.settle();
    let own = world.controller.epoch();
    let saved = Epoch { counter: own.counter + 1, incarnation: Incarnation(5), ..own };
    world.now =
        Now { wall: world.now.wall.plus(Duration::from_secs(60)), boot: world.now.boot.plus(Duration::from_secs(60)) };
    world.answer(1, ToCoordinator::Fenced { saved, held: None });
    assert_eq!(world.controller.epoch().counter, saved.counter + 1);
}

/// Found by the simulator: on a copied ledger every epoch is a jump above whoever else is at work.
#[test]
fn on_a_copied_ledger_pauses_open_only_so_many_epochs_and_then_answers_count_later() {
    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1], 1));
    world.send(Event::Started { incarnation: Incarnation(77), continues: false });
    world.see_all();
    assert!(world.controller.ledger().copied);
    let mut counters = vec![];
    for _ in 0..5 {
        world.pass(60_000);
        counters.push(world.controller.epoch().counter);
    }
    counters.dedup();
    assert_eq!((counters.len(), world.controller.desk().rival), (3, None), "{counters:?}");
    let everybody = world.everybody();
    world.send(everybody);
    world.settle();
    let Some(Waiting::Service(short)) = world.blocked_by(ID, 0) else { panic!("{:?}", world.blocked_by(ID, 0)) };
    assert_eq!((short.up, short.down.len()), (0, 2), "everybody has answered, and nobody is believed yet");
    for _ in 0..40 {
        world.pass(20_000);
        world.settle();
    }
    assert!(world.running.contains_key(&signer(1).id()));
    assert_eq!(world.judge.violations(), []);
}

/// Found by the simulator: nobody asked it any more, and whoever waits for it waited for ever.
#[test]
fn a_member_outside_of_the_rollout_with_a_lease_of_another_ledger_is_asked_until_that_is_over() {
    let mut world = World::serving(3, service("2"));
    world.send(Event::Started { incarnation: Incarnation(77), continues: false });
    world.see_all();
    world.running.insert(signer(3).id(), LeaseId([8; 16]));
    world.apply(plan_for(&[1], 1));
    world.settle();
    assert!(world.controller.ledger().foreign.contains_key(&signer(3).id()));
    assert!(!world.running.contains_key(&signer(1).id()));
    // Whoever granted it has its report.
    world.running.clear();
    world.pass(2_000);
    world.settle();
    assert!(world.controller.ledger().foreign.is_empty());
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (1, &[][..]));
}

#[test]
fn of_a_copied_ledger_members_outside_of_the_rollout_are_asked_what_they_hold() {
    let mut world = World::serving(3, service("2"));
    world.apply(plan_for(&[1], 1));
    world.send(Event::Started { incarnation: Incarnation(3), continues: false });
    world.see_all();
    world.pass(31_000);
    assert!(world.told.iter().any(|(to, body)| (*to, body) == (signer(3).id(), &ToHost::Adopt)));
    world.told.retain(|(to, _)| *to != signer(3).id());
    world.settle();
    assert!(world.running.is_empty());
    world.pass(3_000);
    world.settle();
    assert_eq!((world.running.len(), world.judge.violations()), (1, &[][..]));
}

#[test]
fn members_that_are_down_have_one_value_of_spread_and_the_last_come_last() {
    let mut world = World::new(4);
    for (seed, zone) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        world.tag(seed, &[("app", "pg"), ("zone", zone), ("role", if seed == 1 { "primary" } else { "standby" })]);
    }
    world.see_all();
    let mut spec = service("1");
    (spec.spread, spec.last) = (Some("zone".into()), vec![labels(&[("role", "primary")])]);
    world.keep(spec);
    world.apply(plan_of(4, 4, 0, open()));
    world.settle();
    let running = |world: &World| world.running.keys().map(|node| world.scripts[node].0).collect::<Vec<_>>();
    let mut zones = running(&world);
    zones.sort_unstable();
    assert_eq!(zones, [2, 4], "of zone b both, of zone a none");
    let Some(Waiting::Service(short)) = world.blocked_by(ID, 1) else { panic!("{:?}", world.blocked_by(ID, 1)) };
    assert!(short.text().starts_with("members of service pg with another zone are down: host-0"), "{}", short.text());
    for _ in 0..2 {
        world.finish_one();
        world.settle();
    }
    assert_eq!(running(&world), [3]);
    assert_eq!(world.blocked_by(ID, 3), Some(Waiting::Last { service: "pg".into(), before: "host-03".into() }));
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (4, &[][..]));
}

/// The first step of a ring is no way around `last`.
#[test]
fn a_member_that_comes_last_is_no_canary_of_its_ring() {
    let mut world = World::new(4);
    let role = |seed| if seed == 1 { "primary" } else { "standby" };
    (1..=4).for_each(|seed| world.tag(seed, &[("app", "pg"), ("role", role(seed))]));
    world.see_all();
    world.keep(ServiceSpec { last: vec![labels(&[("role", "primary")])], ..service("1") });
    let rings = vec![super::rings::ring("all", 4, &["1", "100%"], 0, 0)];
    world.apply(Plan { rings, ..plan_of(4, 4, 0, open()) });
    let order: Vec<_> = world.state().plan.hosts.iter().map(|host| host.name.clone()).collect();
    assert_eq!(order, ["host-02", "host-03", "host-04", "host-01"]);
    world.settle();
    assert_eq!(world.running.keys().map(|node| world.scripts[node].0).collect::<Vec<_>>(), [2]);
    world.finish();
    assert_eq!((world.state().tally.succeeded, world.judge.violations()), (4, &[][..]));
}

#[test]
fn a_silent_standby_does_not_keep_the_primary_from_its_turn_for_ever() {
    let mut world = World::new(3);
    let role = |seed| if seed == 1 { "primary" } else { "standby" };
    (1..=3).for_each(|seed| world.tag(seed, &[("app", "pg"), ("role", role(seed))]));
    world.see_all();
    world.keep(ServiceSpec { last: vec![labels(&[("role", "primary")])], ..service("1") });
    world.script(3, Script::Silent);
    world.see_all();
    world.apply(plan_of(3, 1, 0, open()));
    world.finish();
    let state = world.state();
    assert_eq!((state.tally.succeeded, state.tally.eligible.len()), (2, 1));
}

#[test]
fn the_fleet_has_so_many_slots_over_all_rollouts() {
    let mut world = World::new(6);
    world.send(Event::Fleet(Some(2)));
    world.apply_as(ID, plan_for(&[1, 2, 3], 3));
    world.apply_as(OTHER, plan_for(&[4, 5, 6], 3));
    world.settle();
    assert_eq!(world.running.len(), 2);
    assert_eq!(world.blocked_by(OTHER, 2), Some(Waiting::Fleet { held: 2, limit: 2 }));
    world.finish();
    assert_eq!((world.overlap, world.judge.violations()), (2, &[][..]));
}

/// Law: whatever happens in fleets with services, the judge, which counts for itself, finds nothing; and everything ends.
#[test]
fn services_stay_up_in_random_fleets() {
    let (mut waited, mut causes) = (0, BTreeSet::new());
    for seed in 0..30 {
        let mut world = World::new(9);
        world.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for host in 1..=9u8 {
            let zone = ["a", "b"][usize::from(host % 2)];
            world.tag(host, &[("app", if host <= 5 { "pg" } else { "web" }), ("zone", zone), ("all", "yes")]);
        }
        world.see_all();
        world.keep(service(["2", "3", "50%", "0"][seed as usize % 4]));
        let spread = (seed % 3 == 0).then(|| "zone".to_owned());
        world.keep(ServiceSpec { name: "all".into(), selector: labels(&[("all", "yes")]), spread, ..service("4") });
        world.send(Event::Fleet((seed % 5 == 0).then_some(2)));
        world.apply_as(ID, plan_for(&[1, 3, 5, 7, 9], 3));
        world.apply_as(OTHER, plan_for(&[2, 4, 6, 8], 3));
        for _ in 0..80 {
            let host = 1 + (world.rng.next_u64() % 9) as u8;
            match world.rng.next_u64() % 10 {
                0 => world.finish_one(),
                1 => world.script(host, Script::Silent),
                2 | 3 => world.script(host, Script::Good),
                4 => world.rebuild(),
                5 => world.release(host),
                6 => world.see_all(),
                7 => world.pass(3_000),
                _ => world.round(),
            }
            waited += usize::from((0..4).any(|at| matches!(world.blocked_by(OTHER, at), Some(Waiting::Service(_)))));
            let mut replayed = Ledger::default();
            world.saved.iter().for_each(|entry| replayed.fold(entry).unwrap());
            assert_eq!(&replayed, world.controller.ledger(), "seed {seed}");
            why::holds(&world, &format!("seed {seed}"), &mut causes);
        }
        (1..=9).for_each(|host| world.script(host, Script::Good));
        world.see_all();
        world.finish();
        assert_eq!(world.judge.violations(), [], "seed {seed}");
    }
    assert!(waited > 50, "{waited}");
    assert!(["service", "fleet", "silent", "leased"].iter().all(|code| causes.contains(*code)), "{causes:?}");
}

#[test]
fn the_judge_names_a_service_that_a_grant_breaks() {
    let act = |act| LedgerEntry { at: WallTime(1), act };
    let said = |said| act(LedgerAct::Service(said));
    let member = |seed: u8, zone: &str| crate::rollout::service::Member {
        node: signer(seed).id(),
        name: String::new(),
        expires: WallTime::MAX,
        rank: 0,
        of: [("pg".to_owned(), crate::rollout::service::Part { value: Some(zone.to_owned()) })].into(),
    };
    let granted = |seed: u8| {
        let (host, lease, opening) = (signer(seed).id(), LeaseId([seed; 16]), Opening::endless(WallTime(0)));
        act(LedgerAct::Granted { rollout: ID, host, lease, attempt: 1, opening })
    };
    let released = act(LedgerAct::Released {
        host: signer(1).id(),
        lease: Some(LeaseId([1; 16])),
        held: crate::rollout::slots::Hold::Lost,
        by: "ops".into(),
        because: "dead".into(),
    });
    let silent = said(ServiceAct::Seen { absent: vec![(signer(3).id(), Absent::Silent)], back: vec![] });
    let back = said(ServiceAct::Seen { absent: vec![], back: vec![signer(3).id()] });
    let spec = |least: &str| said(ServiceAct::Kept { spec: Box::new(service(least)), by: "ops".into() });
    let members =
        |zones: [&str; 3]| said(ServiceAct::Members { changed: (1..).zip(zones).map(|(n, z)| member(n, z)).collect() });
    let judged = |entries: Vec<LedgerEntry>| {
        let mut judge = Judge::default();
        let plan = plan_of(3, 3, 3, open());
        judge.read(&act(LedgerAct::Started(Box::new(plan::Rollout { id: ID, plan, by: "ops".into(), replans: None }))));
        entries.iter().for_each(|entry| judge.read(entry));
        judge.violations().iter().map(|violation| violation.promise).collect::<Vec<_>>()
    };
    let same = || members(["a", "a", "a"]);
    assert_eq!(judged(vec![spec("2"), same(), granted(1)]), [""; 0]);
    assert_eq!(judged(vec![spec("2"), same(), granted(1), granted(2)]), ["availability"]);
    assert_eq!(judged(vec![spec("2"), same(), silent.clone(), granted(1)]), ["availability"]);
    assert_eq!(judged(vec![spec("2"), same(), silent, back, granted(1)]), [""; 0]);
    // Under a newer epoch than that of its `Go` it says that it holds nothing: nothing can start it any more.
    let epoch = |counter| Epoch { serial: 1, counter, incarnation: Incarnation(1) };
    let opened = |counter| act(LedgerAct::EpochOpened { epoch: epoch(counter), continued: true });
    let free = act(LedgerAct::Adopted { host: signer(1).id(), held: None });
    for (epochs, broken) in [(vec![], vec!["availability"]), (vec![opened(2)], vec![])] {
        let begin = [opened(1), spec("2"), same(), granted(1), released.clone()];
        let entries = begin.into_iter().chain(epochs).chain([free.clone(), granted(2)]).collect();
        assert_eq!(judged(entries), broken);
    }
    assert_eq!(judged(vec![spec("2"), same(), granted(1), released, granted(2)]), ["availability"]);
    assert_eq!(judged(vec![spec("0"), members(["a", "b", "a"]), granted(1), granted(3)]), [""; 0]);
    assert_eq!(judged(vec![spec("0"), members(["a", "b", "a"]), granted(1), granted(2)]), ["availability"]);
    let fleet = said(ServiceAct::Fleet { limit: Some(1) });
    assert_eq!(judged(vec![fleet, granted(1), granted(2)]), ["concurrency"]);
}

#[test]
fn of_many_members_that_are_down_three_are_named_and_never_the_host_itself() {
    let mut world = World::serving(8, service("8"));
    (1..=8).for_each(|host| world.script(host, Script::Silent));
    world.apply_as(ID, plan_for(&[1, 2, 3, 4, 5, 6, 7, 8], 8));
    let mut desk = world.controller.desk().clone();
    desk.absent = (1..=8).map(|host| (signer(host).id(), Absent::Silent)).collect();
    for host in 1..=8u8 {
        let waits = planner::waiting(world.controller.ledger(), ID, usize::from(host) - 1, &desk, world.now);
        let Some(Waiting::Service(short)) = waits else { panic!("{waits:?}") };
        let others = (1..=8).filter(|other| *other != host).take(3).map(|other| fallen(other, Down::Silent));
        assert_eq!((short.down, short.more), (others.collect(), 4), "host {host}");
    }
}
