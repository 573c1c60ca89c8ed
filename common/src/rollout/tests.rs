//! Effect tests, crash tests and the law test of the controller, against a scripted fleet that keeps the protocol.

use core::time::Duration;
use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::Xoshiro256PlusPlus};

use super::{
    chain::Head,
    check::Judge,
    controller::{Controller, Effect, Event, Seen, Settings, Words},
    ledger::{Ledger, LedgerAct, LedgerEntry, Progress, RolloutState},
    limit::Ramp,
    plan::{Plan, PlannedHost, ResolvedLimit, Superseded},
    planner,
    ring::PlannedRing,
    waiting::Waiting,
    *,
};
use crate::{
    id::{Epoch, Incarnation, LeaseId, MeshId, NodeId, Nonce, RolloutId},
    inventory::{PackageChange, Transaction},
    machine::{Cx, Machine},
    membership::{Credential, Membership, Role},
    patch::{Approval, PatchCounters},
    poison::{Abort, Poison},
    run::{
        Phase,
        message::{Answer, LeaseFrame, Outcome, Refusal, RefusalCode, Report, RunError, ToCoordinator, ToHost},
    },
    schedule::Opening,
    seal::{Ed25519, Ed25519Signer, Sealed, Signer},
    time::{BootTime, Now, WallTime},
};

mod audited;
mod epochs;
mod found;
mod gates;
mod hooks;
mod laws;
mod operated;
mod planned;
mod probes;
mod reasons;
mod released;
pub(super) mod replanned;
mod ring_gates;
mod ring_gates_elsewhere;
mod rings;
mod services;
mod statuses;
mod why;

const ID: RolloutId = RolloutId([7; 8]);
const HOUR: i64 = 3_600_000;

fn signer(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_secret(&[seed; 32])
}

fn mesh() -> MeshId {
    MeshId(signer(255).id().0)
}

fn settings() -> Settings {
    Settings {
        mesh: mesh(),
        me: signer(254).id(),
        serial: 1,
        lost_after: Duration::from_secs(60),
        patience: Duration::from_secs(30),
        poison: Poison::default(),
    }
}

fn change(version: &str) -> PackageChange {
    PackageChange {
        name: "lab".into(),
        arch: "amd64".into(),
        from: Some("1.0".into()),
        to: version.into(),
        sha256: "00".repeat(32),
    }
}

pub(super) fn plan_of(hosts: u8, concurrency: u32, errors: u32, openings: Vec<Opening>) -> Plan {
    let limit = |resolved: u32| ResolvedLimit { given: resolved.to_string(), resolved };
    Plan {
        because: None,
        name: "wave".into(),
        hash: [0; 32],
        created_at: WallTime(0),
        operation: Operation::Install,
        baseline: Approval::All,
        reboot: RebootOption::IfNeeded,
        hook_timeout: 60,
        on_hook_failure: Default::default(),
        max_concurrency: limit(concurrency),
        max_errors: limit(errors),
        openings,
        hosts: (1..=hosts)
            .map(|seed| PlannedHost {
                node: signer(seed).id(),
                name: format!("host-{seed:02}"),
                transaction: Transaction { changes: vec![change("1.1")], removals: vec![] },
            })
            .collect(),
        excluded: vec![],
        rings: vec![PlannedRing::all(u32::from(hosts), Ramp::Full)],
        gates: Vec::new(),
        ring_gates: Vec::new(),
        on_superseded: Superseded::Skip,
    }
}

/// What a scripted host does with its lease.
#[derive(Clone, Copy, PartialEq)]
enum Script {
    Good,
    Bad,
    Silent,
    Refuses(RefusalCode),
}

/// A controller, its durable entries, and hosts that answer at once.
struct World {
    now: Now,
    rng: Xoshiro256PlusPlus,
    controller: Controller,
    saved: Vec<LedgerEntry>,
    judge: Judge,
    scripts: BTreeMap<NodeId, (u8, Script)>,
    running: BTreeMap<NodeId, LeaseId>,
    /// Hosts whose run has ended and whose report is not acknowledged yet.
    ended: std::collections::BTreeSet<NodeId>,
    told: Vec<(NodeId, ToHost)>,
    /// Gates of rings that the shell is to ask: ring and attempt.
    asked: Vec<(u16, u32)>,
    words: BTreeMap<NodeId, Words>,
    /// What hosts say that do not pass their probe.
    sick: BTreeMap<NodeId, String>,
    /// Crash and rebuild whenever this many effects were performed; 0 never.
    crash_every: usize,
    performed: usize,
    crashes: usize,
    overlap: usize,
}

impl World {
    fn new(hosts: u8) -> Self {
        let mut world = Self {
            now: Now { wall: WallTime(0), boot: BootTime(100_000) },
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            controller: Controller::rebuild(settings(), Ledger::default()),
            saved: vec![],
            judge: Judge::default(),
            scripts: (1..=hosts).map(|seed| (signer(seed).id(), (seed, Script::Good))).collect(),
            running: BTreeMap::new(),
            ended: std::collections::BTreeSet::new(),
            told: vec![],
            asked: vec![],
            words: BTreeMap::new(),
            sick: BTreeMap::new(),
            crash_every: 0,
            performed: 0,
            crashes: 0,
            overlap: 0,
        };
        world.send(Event::Started { incarnation: Incarnation(1), continues: true });
        world.see_all();
        world
    }

    fn script(&mut self, seed: u8, script: Script) {
        self.scripts.insert(signer(seed).id(), (seed, script));
    }

    fn see_all(&mut self) {
        let seen = |(node, (_, script)): (&NodeId, &(u8, Script))| Seen {
            node: *node,
            alive: *script != Script::Silent,
            held: None,
            sealed: WallTime(0),
            words: self.words.get(node).cloned().unwrap_or_default(),
        };
        self.send(Event::View(self.scripts.iter().map(seen).collect()));
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = vec![];
        let mut cx = Cx::new(self.now, &mut self.rng, &Ed25519, &mut effects);
        self.controller.step(&mut cx, event);
        effects
    }

    fn send(&mut self, event: Event) {
        for effect in self.effects(event) {
            match effect {
                Effect::Save(entry) => {
                    self.judge.read(&entry);
                    self.saved.push(*entry);
                }
                Effect::Tell { to, body } => self.told.push((to, body)),
                Effect::AskGates { ring, attempt, .. } => self.asked.push((ring, attempt)),
                Effect::TellStop { .. } | Effect::Order(_) => {}
            }
            self.performed += 1;
            if self.crash_every > 0 && self.performed.is_multiple_of(self.crash_every) {
                self.crashes += 1;
                self.rebuild();
                return;
            }
        }
    }

    fn rebuild(&mut self) {
        let mut ledger = Ledger::default();
        for entry in &self.saved {
            ledger.fold(entry).unwrap();
        }
        self.controller = Controller::rebuild(settings(), ledger);
        let every = core::mem::take(&mut self.crash_every);
        let incarnation = Incarnation(self.rng.next_u64());
        self.send(Event::Started { incarnation, continues: true });
        self.see_all();
        self.crash_every = every;
    }

    fn answer(&mut self, seed: u8, body: ToCoordinator) {
        let heard = self.heard(seed, body);
        self.send(heard);
    }

    /// What whoever overhears it can send again.
    fn heard(&self, seed: u8, body: ToCoordinator) -> Event {
        self.heard_under(self.controller.epoch(), seed, body)
    }

    /// What a host says that has saved `epoch`.
    fn heard_under(&self, epoch: Epoch, seed: u8, body: ToCoordinator) -> Event {
        let answer = Answer { mesh: mesh(), to: settings().me, epoch, head: None, body };
        let membership = Membership {
            mesh: mesh(),
            key: signer(seed).id(),
            name: format!("host-{seed:02}"),
            role: Role::Node,
            serial: 1,
            expires: WallTime::MAX,
            may_issue: false,
            tags: BTreeMap::new(),
        };
        let credential = Credential { membership: Sealed::seal(&signer(255), &membership), issuer: None };
        let sealed = Sealed::seal(&signer(seed), &answer);
        Event::Heard(Box::new(LeaseFrame { credential, sealed }))
    }

    /// The rollout that the lease was granted in; the usual one if that was elsewhere.
    fn rollout_of(&self, lease: LeaseId) -> RolloutId {
        let granted = self.saved.iter().find_map(|entry| match &entry.act {
            LedgerAct::Granted { rollout, lease: granted, .. } if *granted == lease => Some(*rollout),
            _ => None,
        });
        granted.unwrap_or(ID)
    }

    fn report(&self, lease: LeaseId, good: bool) -> ToCoordinator {
        let error = RunError { code: "transaction-failed".into(), text: "postinst".into(), log: String::new() };
        ToCoordinator::Reported(Box::new(Report {
            lease,
            rollout: self.granted_in(lease),
            outcome: if good { Outcome::Succeeded } else { Outcome::Failed },
            phase: Phase::OnExit,
            rebooted: good,
            packages: vec![change("1.1")],
            error: (!good).then_some(error),
            counters: PatchCounters::default(),
            steps: vec![],
            started: self.now.wall,
            ended: self.now.wall,
        }))
    }

    /// Of which rollout it is.
    fn granted_in(&self, lease: LeaseId) -> RolloutId {
        let granted = self.saved.iter().find_map(|entry| match entry.act {
            LedgerAct::Granted { rollout, lease: granted, .. } if granted == lease => Some(rollout),
            _ => None,
        });
        granted.unwrap_or(ID)
    }

    /// Hosts answer what they were told; running ones end.
    fn round(&mut self) {
        for (to, body) in core::mem::take(&mut self.told) {
            let Some((seed, script)) = self.scripts.get(&to).copied().filter(|(_, script)| *script != Script::Silent)
            else {
                continue;
            };
            match (body, script) {
                (ToHost::Offer(lease), Script::Refuses(code)) => {
                    let refusal = Refusal { code, text: "no".into(), remedy: "none".into() };
                    self.answer(seed, ToCoordinator::Refused { lease: lease.id, refusal });
                }
                (ToHost::Offer(lease), _) if self.running.get(&to) == Some(&lease.id) => {
                    let progress =
                        ToCoordinator::Progress { lease: lease.id, phase: Phase::Transaction, detail: String::new() };
                    self.answer(seed, progress);
                }
                (ToHost::Offer(lease), _) => {
                    self.answer(seed, ToCoordinator::Ready { lease: lease.id, nonce: Nonce([seed; 16]) });
                }
                (ToHost::Go { lease, .. }, _) => {
                    self.running.insert(to, lease);
                }
                (ToHost::Probe { request, .. }, _) => {
                    let result = self.sick.get(&to).map_or(Ok(()), |shown| Err(shown.clone()));
                    self.answer(seed, ToCoordinator::Probed { request, result });
                }
                (ToHost::Adopt, _) => {
                    let held = self.running.get(&to).map(|lease| (*lease, self.rollout_of(*lease)));
                    self.answer(seed, ToCoordinator::Adopted { held });
                }
                (ToHost::Release { lease } | ToHost::Withdraw { lease }, _)
                    if self.running.get(&to) == Some(&lease) =>
                {
                    self.answer(seed, ToCoordinator::Progress { lease, phase: Phase::Verify, detail: String::new() });
                }
                (ToHost::Release { lease } | ToHost::Withdraw { lease }, _) => {
                    let refusal = Refusal { code: RefusalCode::StaleGo, text: "no".into(), remedy: "none".into() };
                    self.answer(seed, ToCoordinator::Refused { lease, refusal });
                }
                (ToHost::Acknowledge { lease }, _) if self.running.get(&to) == Some(&lease) => {
                    self.running.remove(&to);
                    self.ended.remove(&to);
                }
                _ => {}
            }
        }
        self.overlap = self.overlap.max(self.running.len() - self.ended.len());
    }

    fn finish_one(&mut self) {
        if let Some((node, lease)) = self.running.iter().next().map(|(node, lease)| (*node, *lease)) {
            let (seed, script) = self.scripts[&node];
            self.ended.insert(node);
            self.answer(seed, self.report(lease, script != Script::Bad));
        }
    }

    fn pass(&mut self, millis: u64) {
        self.now.wall = WallTime(self.now.wall.0 + millis as i64);
        self.now.boot = BootTime(self.now.boot.0 + millis);
        self.send(Event::Tick);
    }

    /// What a host would be told now.
    fn command(&self, seed: u8) -> crate::run::message::Command {
        self.controller.command(signer(seed).id(), ToHost::Adopt, 0, self.now.wall, Head::default())
    }

    fn state(&self) -> &super::ledger::RolloutState {
        &self.controller.ledger().rollouts[&ID]
    }

    fn run(&mut self) {
        for _ in 0..2000 {
            if self.state().ended_at.is_some() {
                return;
            }
            self.round();
            self.finish_one();
            self.pass(500);
            if self.now.boot.0.is_multiple_of(60_000) {
                self.see_all();
            }
        }
        panic!("the rollout did not end: {:?}", self.state().tally);
    }

    fn apply(&mut self, plan: Plan) {
        self.send(Event::Apply { id: ID, plan: Box::new(plan), by: "ops".into() });
    }
}

fn open() -> Vec<Opening> {
    vec![Opening::endless(WallTime(0))]
}

#[test]
fn applying_offers_leases_up_to_the_limit_and_go_needs_ready() {
    let mut world = World::new(3);
    let effects = world.effects(Event::Apply { id: ID, plan: Box::new(plan_of(3, 2, 0, open())), by: "ops".into() });
    let [
        Effect::Save(started),
        Effect::Tell { body: ToHost::Offer(first), .. },
        Effect::Tell { body: ToHost::Offer(_), .. },
    ] = effects.as_slice()
    else {
        panic!("one save and two offers, not {effects:?}");
    };
    assert!(matches!(started.act, LedgerAct::Started(_)));
    assert_eq!(first.latest_start.pre_install, 600);
    let lease = first.id;
    world.answer(1, ToCoordinator::Ready { lease, nonce: Nonce([9; 16]) });
    let go = ToHost::Go { lease, nonce: Nonce([9; 16]) };
    assert_eq!(world.told, [(signer(1).id(), go)]);
    assert!(
        matches!(world.saved.last().unwrap().act, LedgerAct::Granted { attempt: 1, .. }),
        "saved before it was told"
    );
}

#[test]
fn a_wave_succeeds_and_never_exceeds_its_limit() {
    let mut world = World::new(9);
    world.apply(plan_of(9, 3, 0, open()));
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().peak, world.overlap), (9, 3, 3));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_controller_killed_after_any_effect_continues_the_wave() {
    for crash_every in 1..25 {
        let mut world = World::new(5);
        world.apply(plan_of(5, 2, 0, open()));
        world.crash_every = crash_every;
        world.run();
        assert!(world.crashes > 0, "crash_every {crash_every} had no effect");
        assert_eq!(world.state().tally.succeeded, 5, "crash every {crash_every}");
        assert!(world.overlap <= 2, "crash every {crash_every}");
        assert_eq!(world.judge.violations(), [], "crash every {crash_every}");
    }
}

#[test]
fn too_many_failures_halt_and_nothing_is_granted_afterwards() {
    let mut world = World::new(10);
    for seed in 1..=3 {
        world.script(seed, Script::Bad);
    }
    world.apply(plan_of(10, 2, 1, open()));
    world.run();
    let state = world.state();
    assert!(state.halted && state.tally.failed >= 2 && !state.tally.eligible.is_empty());
    let halted = world.saved.iter().position(|entry| matches!(entry.act, LedgerAct::Halted { .. })).unwrap();
    assert!(!world.saved[halted..].iter().any(|entry| matches!(entry.act, LedgerAct::Granted { .. })));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_window_that_closes_in_the_middle_resumes_at_the_next_opening_under_the_same_limits() {
    let openings = [0, 10].map(|hour| Opening {
        opens: WallTime(hour * HOUR),
        last_start: WallTime(hour * HOUR + 2200),
        closes: WallTime(hour * HOUR + 600_000),
    });
    let mut world = World::new(6);
    world.apply(plan_of(6, 2, 1, openings.to_vec()));
    for _ in 0..8 {
        world.round();
        world.finish_one();
        world.pass(500);
    }
    let (before, at) = (world.state().tally.clone(), world.state().tally.eligible.first().copied().unwrap());
    assert!(before.succeeded > 0 && !before.eligible.is_empty());
    let waiting = planner::waiting(world.controller.ledger(), ID, at, world.controller.desk(), world.now);
    assert_eq!(waiting, Some(Waiting::WindowClosed { next: Some(openings[1]) }));
    let wake = world.controller.deadline().unwrap();
    assert!(wake <= world.now.boot.plus(Duration::from_millis(500)));
    world.pass((10 * HOUR - world.now.wall.0) as u64);
    world.run();
    assert_eq!((world.state().tally.succeeded, world.state().peak), (6, 2));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn nothing_is_granted_in_the_last_second_of_the_starts() {
    let opening = Opening { opens: WallTime(0), last_start: WallTime(5_000), closes: WallTime(600_000) };
    let mut world = World::new(2);
    world.script(1, Script::Silent);
    world.script(2, Script::Silent);
    let offers = |world: &World| world.told.iter().filter(|(_, body)| matches!(body, ToHost::Offer(_))).count();
    world.pass((3_990 - world.now.wall.0) as u64);
    world.apply(plan_of(2, 1, 0, vec![opening]));
    let offered = world.told.iter().find_map(|(_, body)| match body {
        ToHost::Offer(lease) => Some((lease.id, lease.latest_start.pre_install)),
        _ => None,
    });
    let (lease, deadline) = offered.expect("an offer");
    assert_eq!(deadline, 1, "a whole second is left");
    world.pass(20);
    world.answer(1, ToCoordinator::Ready { lease, nonce: Nonce([9; 16]) });
    assert!(world.state().tally.busy.is_empty(), "its answer came too late");
    let mut late = World::new(1);
    late.pass((4_010 - late.now.wall.0) as u64);
    late.apply(plan_of(1, 1, 0, vec![opening]));
    assert_eq!(offers(&late), 0, "its deadline would be its offer");
}

#[test]
fn a_host_that_never_reports_keeps_its_slot_and_ends_as_lost() {
    let mut world = World::new(4);
    world.apply(plan_of(4, 2, 1, open()));
    world.round();
    world.round();
    let gone = *world.running.keys().next().unwrap();
    let seed = world.scripts[&gone].0;
    world.script(seed, Script::Silent);
    world.see_all();
    world.running.remove(&gone);
    world.run();
    let state = world.state();
    assert_eq!((state.tally.succeeded, state.tally.busy.len()), (3, 1), "the slot stays held");
    let lease = world.controller.ledger().leased[&gone].1;
    world.script(seed, Script::Good);
    world.answer(seed, world.report(lease, true));
    assert_eq!(world.state().tally.succeeded, 4, "healed by evidence");
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn lost_and_failed_hosts_together_only_wait() {
    let mut world = World::new(4);
    world.apply(plan_of(4, 2, 0, open()));
    world.round();
    world.round();
    for seed in 1..=4 {
        world.script(seed, if seed <= 2 { Script::Silent } else { Script::Good });
    }
    world.see_all();
    world.pass(61_000);
    let waiting = planner::waiting(world.controller.ledger(), ID, 2, world.controller.desk(), world.now);
    assert_eq!(waiting, Some(Waiting::Lost { failed: 0, lost: 2, max_errors: 0 }));
    assert!(!world.state().halted && world.state().ended_at.is_none());
}

#[test]
fn a_planned_version_that_is_gone_refuses_the_host_for_good_and_a_lock_is_asked_again() {
    let mut world = World::new(2);
    world.script(1, Script::Refuses(RefusalCode::VersionGone));
    world.script(2, Script::Refuses(RefusalCode::Locked));
    world.apply(plan_of(2, 2, 0, open()));
    world.round();
    assert!(matches!(world.state().hosts[0].progress, Progress::Refused(_)));
    let waiting = planner::waiting(world.controller.ledger(), ID, 1, world.controller.desk(), world.now);
    assert!(matches!(waiting, Some(Waiting::Refused(refusal)) if refusal.code == RefusalCode::Locked));
    world.script(2, Script::Good);
    world.run();
    assert_eq!((world.state().tally.refused, world.state().tally.succeeded), (1, 1));
}

#[test]
fn a_host_that_leaves_its_offer_unanswered_does_not_hold_up_the_others() {
    let mut world = World::new(3);
    world.scripts.insert(signer(1).id(), (1, Script::Silent));
    world.apply(plan_of(3, 1, 0, open()));
    world.run();
    let state = world.state();
    assert_eq!((state.tally.succeeded, state.tally.eligible.len(), state.tally.busy.len()), (2, 1, 0));
    assert!(world.now.boot.since(BootTime(100_000)) < Duration::from_secs(120));
}
