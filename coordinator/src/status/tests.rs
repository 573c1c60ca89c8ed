use patchmesh_common::{
    id::{Epoch, Incarnation, LeaseId, MeshId, NodeId},
    inventory::{PackageChange, Transaction},
    patch::{Approval, PatchCounters},
    poison::{Abort, Poison},
    rollout::{
        OnHookFailure, Operation, RebootOption,
        ledger::{LedgerAct, LedgerEntry},
        limit::Ramp,
        plan::{Plan, PlannedHost, Rollout},
        planner::Contact,
        ring::PlannedRing,
        ring_gate::RingVerdict,
        slots::Hold,
    },
    run::{
        gate::{Ask, Gate},
        message::{Answer, Refusal, RefusalCode, RunError, StepReport, ToCoordinator},
    },
    schedule::Opening,
    seal::{Ed25519Signer, Sealed, Signer},
    time::{BootTime, WallTime},
};

use super::*;
use crate::api::document::{RingGatesState, RingState};

pub(crate) const ID: RolloutId = RolloutId([7; 8]);
const SECOND: i64 = 1000;

fn signer(host: u8) -> Ed25519Signer {
    Ed25519Signer::from_secret(&[host; 32])
}

pub(crate) fn node(host: u8) -> NodeId {
    signer(host).id()
}

fn lease(host: u8) -> LeaseId {
    LeaseId([host; 16])
}

/// A ledger under way: hosts are numbered from 1, in plan order.
pub(crate) struct World {
    pub(crate) ledger: Ledger,
    pub(crate) desk: Desk,
    pub(crate) now: Now,
}

impl World {
    /// `hosts` hosts, `errors` of which may fail, in one opening that ends after an hour.
    pub(crate) fn new(hosts: u8, errors: u32, excluded: Vec<ExcludedBecause>) -> Self {
        let limit = |resolved: u32| ResolvedLimit { given: resolved.to_string(), resolved };
        let change = PackageChange {
            name: "lab".into(),
            arch: "all".into(),
            from: None,
            to: "1.1".into(),
            sha256: String::new(),
        };
        let planned = |host: u8| PlannedHost {
            node: node(host),
            name: format!("host-{host}"),
            transaction: Transaction { changes: vec![change.clone()], removals: vec![] },
        };
        let left_out = |(at, because): (usize, ExcludedBecause)| ExcludedHost {
            node: NodeId([200; 32]),
            name: format!("out-{at}"),
            because,
            code: "code".into(),
            text: "text".into(),
            remedy: "remedy".into(),
        };
        let hour = WallTime(3600 * SECOND);
        let plan = Plan {
            because: None,
            name: "wave".into(),
            hash: [0; 32],
            created_at: WallTime(0),
            operation: Operation::Install,
            baseline: Approval::All,
            reboot: RebootOption::Never,
            hook_timeout: 1,
            on_hook_failure: Default::default(),
            max_concurrency: limit(2),
            max_errors: limit(errors),
            openings: vec![Opening { opens: WallTime(0), last_start: hour, closes: hour }],
            hosts: (1..=hosts).map(planned).collect(),
            excluded: excluded.into_iter().enumerate().map(left_out).collect(),
            rings: vec![PlannedRing::all(u32::from(hosts), Ramp::Full)],
            gates: vec![],
            ring_gates: vec![],
            on_superseded: patchmesh_common::rollout::plan::Superseded::Skip,
        };
        let contact = Contact { alive: true, ..Contact::default() };
        let desk = Desk {
            lost_after: core::time::Duration::from_secs(60),
            contacts: (1..=hosts).map(|host| (node(host), contact.clone())).collect(),
            ..Desk::default()
        };
        let now = Now { wall: WallTime(SECOND), boot: BootTime(0) };
        let mut world = Self { ledger: Ledger::default(), desk, now };
        world.act(LedgerAct::Started(Box::new(Rollout { id: ID, plan, by: "ops".into(), replans: None })));
        world
    }

    pub(crate) fn act(&mut self, act: LedgerAct) {
        self.ledger.fold(&LedgerEntry { at: self.now.wall, act }).unwrap();
    }

    pub(crate) fn grant(&mut self, host: u8) {
        let opening = self.ledger.rollouts[&ID].plan.openings[0];
        self.act(LedgerAct::Granted { rollout: ID, host: node(host), lease: lease(host), attempt: 1, opening });
    }

    pub(crate) fn report(&mut self, host: u8, outcome: Outcome) {
        let error = RunError { code: "hook-failed".into(), text: "no".into(), log: "log".into() };
        let report = Report {
            lease: lease(host),
            rollout: ID,
            outcome,
            phase: Phase::OnExit,
            rebooted: true,
            packages: self.ledger.rollouts[&ID].plan.hosts[0].transaction.changes.clone(),
            error: (outcome == Outcome::Failed).then_some(error),
            counters: PatchCounters::default(),
            steps: vec![],
            started: WallTime(self.now.wall.0 - 40 * SECOND),
            ended: self.now.wall,
        };
        self.say(host, report);
    }

    fn say(&mut self, host: u8, report: Report) {
        let epoch = Epoch { serial: 1, counter: 1, incarnation: Incarnation(1) };
        let body = ToCoordinator::Reported(Box::new(report));
        let answer = Answer { mesh: MeshId([0; 32]), to: NodeId([0; 32]), epoch, head: None, body };
        self.act(LedgerAct::Reported { evidence: Sealed::seal(&signer(host), &answer) });
    }

    pub(crate) fn release(&mut self, host: u8) {
        let (lease, by, because) = (Some(lease(host)), "ops".to_owned(), "dead".to_owned());
        self.act(LedgerAct::Released { host: node(host), lease, held: Hold::Lost, by, because });
    }

    pub(crate) fn refuse(&mut self, host: u8) {
        let refusal = Refusal { code: RefusalCode::VersionGone, text: "gone".into(), remedy: "plan again".into() };
        self.act(LedgerAct::Refused { rollout: ID, host: node(host), refusal });
    }

    pub(crate) fn end(&mut self) {
        self.act(LedgerAct::Ended { rollout: ID });
    }

    /// Time passes, and `silent` hosts say nothing meanwhile.
    pub(crate) fn pass(&mut self, seconds: i64, silent: &[u8]) {
        self.now.wall = WallTime(self.now.wall.0 + seconds * SECOND);
        self.now.boot = BootTime(self.now.boot.0 + (seconds * SECOND) as u64);
        for (host, contact) in &mut self.desk.contacts {
            if silent.iter().any(|silent| node(*silent) == *host) {
                contact.alive = false;
            } else {
                contact.heard = self.now.boot;
            }
        }
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { ledger: &self.ledger, desk: &self.desk, now: self.now }
    }

    pub(crate) fn recap(&self) -> RolloutDocument {
        self.view().recap(ID, &self.ledger.rollouts[&ID])
    }

    /// State and the code of its reason; holds what must hold of every recap.
    fn state(&self) -> (&'static str, String) {
        let recap = self.recap();
        let HostCounts { total, succeeded, failed, lost, refused, skipped, not_started, running } = recap.hosts;
        assert_eq!(total, succeeded + failed + lost + refused + skipped + not_started + running);
        assert_eq!(total as usize, recap.results.len());
        assert!(recap.ended_at.is_none() || running == 0, "over, and {running} run");
        assert_eq!(
            recap.state.exit().is_none(),
            !["Halted", "Stopped"].contains(&recap.state.as_str()) && !recap.is_over()
        );
        (recap.state.as_str(), recap.reason.map(|reason| reason.code).unwrap_or_default())
    }
}

fn word(state: &'static str, code: &str) -> (&'static str, String) {
    (state, code.to_owned())
}

#[test]
fn a_rollout_that_goes_well_is_running_then_succeeded() {
    let mut world = World::new(1, 0, vec![]);
    assert_eq!(world.state(), word("Waiting", "slot"), "nobody was asked yet");
    world.grant(1);
    assert_eq!(world.state(), word("Running", ""));
    assert_eq!(world.recap().results[0].phase, Some(Phase::Granted));
    world.report(1, Outcome::Succeeded);
    world.end();
    assert_eq!(world.state(), word("Succeeded", ""));
    let result = &world.recap().results[0];
    assert_eq!((result.outcome, result.phase, result.attempts), (HostOutcome::Succeeded, Some(Phase::Settled), 1));
    assert_eq!((result.packages[0].to.as_str(), result.rebooted, &result.error), ("1.1", true, &None));
}

#[test]
fn one_that_goes_outside_windows_says_why_and_who_said_so() {
    let mut world = World::new(1, 0, vec![]);
    assert_eq!(world.recap().outside_window, None);
    world.ledger.rollouts.get_mut(&ID).unwrap().plan.because = Some("CVE-2026-0001 is exploited".into());
    let said = OutsideWindow { because: "CVE-2026-0001 is exploited".into(), by: "ops".into() };
    assert_eq!(world.recap().outside_window.as_ref(), Some(&said));
    let view = world.view();
    assert_eq!(view.row(ID, &world.ledger.rollouts[&ID]).outside_window, Some(said));
}

#[test]
fn a_deferred_host_has_not_started_and_keeps_its_phase() {
    let mut world = World::new(1, 0, vec![]);
    world.grant(1);
    world.report(1, Outcome::Deferred);
    assert_eq!(world.state(), word("Waiting", "slot"));
    let result = &world.recap().results[0];
    assert_eq!((result.outcome, result.phase), (HostOutcome::NotStarted, Some(Phase::OnExit)));
}

#[test]
fn not_terminal_states_say_what_is_waited_for() {
    let mut world = World::new(2, 0, vec![]);
    world.act(LedgerAct::Paused { rollout: ID, by: "ops".into() });
    assert_eq!(world.state(), word("Paused", "paused"));
    world.act(LedgerAct::Resumed { rollout: ID, by: "ops".into() });
    world.now.wall = WallTime(-SECOND);
    assert_eq!(world.state(), word("Planned", "window-closed"));
    world.now.wall = WallTime(SECOND);
    world.grant(1);
    world.pass(61, &[1]);
    assert_eq!(world.state(), word("Waiting", "lost"), "one lost host is more than no errors");
    assert_eq!(world.recap().results[0].outcome, HostOutcome::Lost);
    assert_eq!(world.recap().results[1].outcome, HostOutcome::NotStarted);
}

#[test]
fn a_silent_host_that_never_started_is_lost_at_the_end_and_not_before() {
    let mut world = World::new(2, 1, vec![]);
    world.grant(1);
    world.report(1, Outcome::Succeeded);
    world.pass(61, &[2]);
    assert_eq!(world.recap().hosts.not_started, 1);
    world.end();
    assert_eq!(world.state(), word("CompletedWithLost", "lost"));
    let error = world.recap().results[1].error.clone().unwrap();
    assert!(error.text.contains("nothing was started on it"), "{}", error.text);
}

/// Every state that applies is one more row from `Halted` down; the first one wins.
#[test]
fn of_several_states_the_first_of_the_table_wins() {
    let mut world = World::new(6, 0, vec![]);
    for host in 1..=2 {
        world.grant(host);
    }
    world.report(1, Outcome::Failed);
    world.pass(61, &[2]);
    world.refuse(3);
    let base = |act: &[LedgerAct], late: bool| {
        let mut world = World { ledger: world.ledger.clone(), desk: world.desk.clone(), now: world.now };
        for act in act {
            world.act(act.clone());
        }
        if late {
            world.pass(3600, &[2]);
        }
        world.end();
        world.state()
    };
    let (halted, stopped) =
        (LedgerAct::Halted { rollout: ID }, LedgerAct::Stopped { rollout: ID, sequence: 1, by: "ops".into() });
    assert_eq!(base(&[stopped.clone(), halted], true), word("Halted", "max-errors-exceeded"));
    assert_eq!(base(&[stopped], true), word("Stopped", "stopped"));
    assert_eq!(base(&[], true), word("WindowClosed", "window-closed"), "three hosts never started");
    assert_eq!(base(&[], false), word("CompletedWithFailures", "failures"), "and the rest is lost");
}

#[test]
fn each_ring_says_where_it_stands_what_it_waits_for_and_who_approved_it() {
    let mut world = World::new(3, 0, vec![ExcludedBecause::NoRing]);
    let mut plan = world.ledger.rollouts[&ID].plan.clone();
    plan.rings = vec![
        PlannedRing { name: "canary".into(), bake: 60, ..PlannedRing::all(1, Ramp::Full) },
        PlannedRing { name: "fleet".into(), ..PlannedRing::all(2, Ramp::Full) },
    ];
    world.act(LedgerAct::Started(Box::new(Rollout { id: ID, plan, by: "ops".into(), replans: None })));
    let rings = |world: &World| {
        let rings = world.recap().rings.into_iter();
        rings.map(|ring| (ring.state, ring.waiting.map(|waiting| waiting.code).unwrap_or_default())).collect::<Vec<_>>()
    };
    let ring = |state, code: &str| (state, code.to_owned());
    assert_eq!(rings(&world), [ring(RingState::Pending, "slot"), ring(RingState::Pending, "ring")]);
    world.grant(1);
    assert_eq!(rings(&world), [ring(RingState::Open, ""), ring(RingState::Pending, "ring")]);
    world.report(1, Outcome::Succeeded);
    world.act(LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] });
    assert_eq!(rings(&world), [ring(RingState::Settled, ""), ring(RingState::Pending, "bake")]);
    assert_eq!(world.state(), word("Waiting", "bake"));
    assert_eq!(world.recap().rings[0].settled_at, Some(Time(world.now.wall)));
    world.pass(60, &[]);
    world.grant(2);
    world.grant(3);
    assert_eq!(rings(&world), [ring(RingState::Settled, ""), ring(RingState::Open, "")]);
    let counts = world.recap().rings.iter().map(|ring| (ring.hosts.total, ring.hosts.running)).collect::<Vec<_>>();
    assert_eq!(counts, [(1, 0), (2, 2)], "whom the plan leaves out is in no ring");
    world.report(2, Outcome::Succeeded);
    world.report(3, Outcome::Succeeded);
    world.end();
    assert_eq!(rings(&world), [ring(RingState::Settled, ""), ring(RingState::Settled, "")]);
    assert_eq!(world.state(), word("Succeeded", ""));
}

#[test]
fn halted_and_stopped_show_from_the_latch_on() {
    for (act, state) in [
        (LedgerAct::Halted { rollout: ID }, "Halted"),
        (LedgerAct::Stopped { rollout: ID, sequence: 1, by: "ops".into() }, "Stopped"),
    ] {
        let mut world = World::new(3, 0, vec![]);
        world.grant(1);
        world.act(act);
        assert_eq!((world.state().0, world.recap().ended_at), (state, None));
        assert_eq!(world.recap().hosts.running, 1);
        world.pass(61, &[1]);
        world.end();
        assert_eq!((world.state().0, world.recap().hosts.lost, world.recap().hosts.not_started), (state, 1, 2));
    }
}

#[test]
fn refused_hosts_are_failures_and_what_was_left_out_counts_by_its_reason() {
    let mut world = World::new(1, 0, vec![]);
    world.refuse(1);
    world.end();
    assert_eq!(world.state(), word("CompletedWithFailures", "failures"));
    let result = &world.recap().results[0];
    assert_eq!((result.phase, result.error.as_ref().unwrap().code.as_str()), (None, "version-gone"));

    for (because, state) in [
        (ExcludedBecause::Silent, "CompletedWithLost"),
        (ExcludedBecause::Refused, "CompletedWithFailures"),
        (ExcludedBecause::Observing, "Succeeded"),
    ] {
        let mut world = World::new(0, 0, vec![because]);
        world.end();
        assert_eq!(world.state().0, state, "everything was left out");
    }
}

#[test]
fn a_host_that_a_hook_left_out_is_told_as_refused_with_what_its_hook_said() {
    let mut world = World::new(1, 0, vec![]);
    world.ledger.rollouts.get_mut(&ID).unwrap().plan.on_hook_failure = OnHookFailure::Skip;
    world.grant(1);
    let at = world.now.wall;
    let step = |(phase, ok)| StepReport { phase, attempt: 1, ok, started: at, ended: at, output: String::new() };
    let steps = [(Phase::PreInstall, false), (Phase::Verify, true), (Phase::OnExit, true)].map(step);
    let report = Report {
        lease: lease(1),
        rollout: ID,
        outcome: Outcome::Failed,
        phase: Phase::OnExit,
        rebooted: false,
        packages: vec![],
        error: Some(RunError { code: "hook-failed".into(), text: "no".into(), log: "log".into() }),
        counters: PatchCounters::default(),
        steps: steps.to_vec(),
        started: at,
        ended: at,
    };
    world.say(1, report);
    world.end();
    assert_eq!(world.state(), word("CompletedWithFailures", "failures"));
    let recap = world.recap();
    assert_eq!((recap.hosts.failed, recap.hosts.refused), (0, 1));
    let (result, error) = (&recap.results[0], recap.results[0].error.as_ref().unwrap());
    assert_eq!((result.outcome, result.phase), (HostOutcome::Refused, Some(Phase::Settled)));
    assert_eq!((error.code.as_str(), error.text.as_str(), error.log.as_str()), ("hook-failed", "no", "log"));
}

#[test]
fn a_rollout_that_a_hook_halted_says_so() {
    let mut world = World::new(3, 2, vec![]);
    world.ledger.rollouts.get_mut(&ID).unwrap().plan.on_hook_failure = OnHookFailure::Halt;
    world.grant(1);
    world.report(1, Outcome::Failed);
    world.act(LedgerAct::Halted { rollout: ID });
    let (_, reason) = world.view().state(ID, &world.ledger.rollouts[&ID]);
    assert_eq!(world.state(), word("Halted", "hook"));
    let text = "halted: a hook of host-1 failed, and hooks.onFailure is halt; mend it and plan again";
    assert_eq!(reason.unwrap().text, text);
}

#[test]
fn a_late_report_corrects_a_rollout_that_is_over() {
    let mut world = World::new(1, 0, vec![]);
    world.grant(1);
    world.pass(61, &[1]);
    world.end();
    assert_eq!(world.state(), word("CompletedWithLost", "lost"));
    world.report(1, Outcome::Failed);
    assert_eq!(world.state(), word("CompletedWithFailures", "failures"));
}

#[test]
fn reasons_are_grouped_and_the_largest_group_comes_first() {
    let mut world = World::new(5, 2, vec![]);
    world.grant(1);
    world.pass(1, &[5]);
    let progress = world.view().progress(ID, &world.ledger.rollouts[&ID]);
    let groups: Vec<_> = progress.waiting.iter().map(|group| (group.code.as_str(), group.hosts)).collect();
    assert_eq!(groups, [("slot", 3), ("silent", 1)]);
    assert_eq!(progress.active.iter().map(|active| active.host.as_str()).collect::<Vec<_>>(), ["host-1"]);
}

#[test]
fn a_coordinator_in_safe_mode_says_so_also_while_hosts_are_at_work() {
    let mut world = World::new(2, 0, vec![]);
    world.grant(1);
    let abort = Abort { at: world.view().now.wall, in_hand: vec![] };
    world.desk.poison = Poison::fold([abort.clone(), abort.clone(), abort]);
    assert_eq!(world.state(), word("Running", "safe-mode"));
}

#[test]
fn a_coordinator_on_a_copy_says_so_also_while_hosts_are_at_work() {
    let mut world = World::new(2, 0, vec![]);
    world.grant(1);
    world.desk.listening = Some(BootTime(30_000));
    assert_eq!(world.state(), word("Running", "listening"));
    world.desk.rival = Some(BootTime(300_000));
    assert_eq!(world.state(), word("Running", "rival"));
}

#[test]
fn a_rollout_that_is_planned_again_and_the_one_that_does_so_name_each_other() {
    use patchmesh_common::rollout::plan::Superseded;

    let text = "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {name: wave}\nspec: {operation: Install, targets: {all: true}, \
                baseline: all, maxConcurrency: 2}\n";
    let spec = crate::manifest::parse_rollout("r.yaml", text).unwrap();
    let mut world = World::new(2, 0, vec![]);
    world.ledger.rollouts.get_mut(&ID).unwrap().plan.on_superseded = Superseded::of(&spec);
    world.refuse(1);
    world.grant(2);
    world.report(2, Outcome::Succeeded);
    assert_eq!(world.recap().replanned_as, None, "it goes on");
    world.end();
    let name = "wave-replan-1".to_owned();
    assert_eq!(world.recap().replanned_as, Some(ReplanDocument { name: name.clone(), id: None }));

    let again = RolloutId([8; 8]);
    let because = Some("CVE-2026-0001 is exploited".to_owned());
    let plan = Plan { name: name.clone(), because, ..world.ledger.rollouts[&ID].plan.clone() };
    let rollout = Rollout { id: again, plan, by: format!("replan of {ID}"), replans: Some(ID) };
    world.act(LedgerAct::Started(Box::new(rollout)));
    assert_eq!(world.recap().replanned_as, Some(ReplanDocument { name, id: Some(again.to_string()) }));
    let recap = world.view().recap(again, &world.ledger.rollouts[&again]);
    assert_eq!(recap.replans, Some(ReplanDocument { name: "wave".into(), id: Some(ID.to_string()) }));
    assert_eq!(recap.replanned_as, None);
    assert_eq!(recap.outside_window.unwrap().by, "ops (planned again)", "who gave the reason");
}

#[test]
fn the_gates_of_a_ring_show_while_they_are_asked_and_what_came_of_them() {
    let gate = Gate { ask: Ask::Command(vec!["check-shop".into()]), timeout_seconds: 60 };
    let started = |done: u8| {
        let mut world = World::new(3, 0, vec![]);
        let mut plan = world.ledger.rollouts[&ID].plan.clone();
        plan.rings = vec![
            PlannedRing { name: "canary".into(), ..PlannedRing::all(1, Ramp::Full) },
            PlannedRing { name: "fleet".into(), ..PlannedRing::all(2, Ramp::Full) },
        ];
        plan.ring_gates = vec![gate.clone()];
        world.act(LedgerAct::Started(Box::new(Rollout { id: ID, plan, by: "ops".into(), replans: None })));
        world.grant(1);
        world.report(1, Outcome::Succeeded);
        world.act(LedgerAct::RingSettled { rollout: ID, ring: 0, without: vec![] });
        world.act(LedgerAct::RingAsked { rollout: ID, ring: 0, attempt: 1 });
        if done > 1 {
            let passed = RingVerdict::Passed;
            world.act(LedgerAct::RingGated { rollout: ID, ring: 0, attempt: 1, verdict: passed });
            (2..=done).for_each(|host| world.grant(host));
            (2..=done).for_each(|host| world.report(host, Outcome::Succeeded));
        }
        world
    };
    let gates = |world: &World, ring: usize| {
        let gates = world.recap().rings[ring].gates.clone();
        gates.map(|gates| (gates.state, gates.attempt, gates.text))
    };
    let mut world = started(1);
    assert_eq!(gates(&world, 0), Some((RingGatesState::Asked, 1, String::new())));
    assert_eq!((gates(&world, 1), world.state()), (None, word("Waiting", "ring-gates")));
    let failed = RingVerdict::Failed { gate: 0, text: "it exited with 3\nno till".into() };
    world.act(LedgerAct::RingGated { rollout: ID, ring: 0, attempt: 1, verdict: failed });
    world.act(LedgerAct::Halted { rollout: ID });
    assert_eq!(world.state(), word("Halted", "ring-gate-failed"));
    assert_eq!(gates(&world, 0), Some((RingGatesState::Failed, 1, "it exited with 3\nno till".into())));

    // Nobody is left who could wait for the gates of the last ring: the rollout does.
    let mut world = started(3);
    assert_eq!(gates(&world, 0), Some((RingGatesState::Passed, 1, String::new())));
    assert_eq!((gates(&world, 1), world.state()), (None, word("Waiting", "ring-gates")));
    world.act(LedgerAct::RingAsked { rollout: ID, ring: 1, attempt: 1 });
    world.act(LedgerAct::RingGated { rollout: ID, ring: 1, attempt: 1, verdict: RingVerdict::Passed });
    let mut unasked = started(3);
    unasked.end();
    assert_eq!(unasked.state(), word("CompletedWithLost", "ring-gates-unasked"), "a host was lost, and reported later");
    world.end();
    assert_eq!(world.state(), word("Succeeded", ""));
}
