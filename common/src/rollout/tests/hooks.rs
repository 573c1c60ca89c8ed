//! `hooks.onFailure`: what a failed hook means for the rollout, by what the host signed.

use super::{
    super::{
        status::{Command, Invocation, command, invocation},
        why::Scene,
    },
    *,
};
use crate::run::{HOOK_FAILED, HOOK_TIMED_OUT, INTERRUPTED, message::StepReport};

fn steps(phases: &[(Phase, bool)]) -> Vec<StepReport> {
    let at = WallTime(0);
    let step = |(phase, ok): &(Phase, bool)| StepReport {
        phase: *phase,
        attempt: 1,
        ok: *ok,
        started: at,
        ended: at,
        output: String::new(),
    };
    phases.iter().map(step).collect()
}

/// As a host reports whose pre-install hook failed.
const UNTOUCHED: [(Phase, bool); 3] = [(Phase::PreInstall, false), (Phase::Verify, true), (Phase::OnExit, true)];
/// As one whose post-install hook failed.
const TOUCHED: [(Phase, bool); 5] = [
    (Phase::PreInstall, true),
    (Phase::Transaction, true),
    (Phase::PostInstall, false),
    (Phase::Verify, true),
    (Phase::OnExit, true),
];

fn plan(hosts: u8, slots: u32, errors: u32, on_hook_failure: OnHookFailure) -> Plan {
    Plan { on_hook_failure, ..plan_of(hosts, slots, errors, open()) }
}

impl World {
    fn failed_report(&self, lease: LeaseId, code: &str, phases: &[(Phase, bool)]) -> Report {
        let ToCoordinator::Reported(report) = self.report(lease, false) else { panic!("a report") };
        let error = Some(RunError { code: code.into(), text: "hook 10 said no".into(), log: String::new() });
        let installed = phases.contains(&(Phase::Transaction, true));
        let packages = if installed { report.packages.clone() } else { Vec::new() };
        Report { error, packages, steps: steps(phases), ..*report }
    }

    /// The host that runs ends, and a hook of it failed.
    fn fail_hook(&mut self, seed: u8, code: &str, phases: &[(Phase, bool)]) {
        let lease = self.running.remove(&signer(seed).id()).unwrap();
        let report = self.failed_report(lease, code, phases);
        self.answer(seed, ToCoordinator::Reported(Box::new(report)));
    }

    fn begin(&mut self, plan: Plan) {
        self.apply(plan);
        self.round();
        self.round();
    }

    fn why_waits(&self, at: usize) -> Waiting {
        planner::waiting(self.controller.ledger(), ID, at, self.controller.desk(), self.now).unwrap()
    }
}

#[test]
fn a_report_is_skipped_only_if_nothing_was_changed_and_all_was_undone() {
    let world = World::new(1);
    let of = |code: &str, phases: &[(Phase, bool)]| world.failed_report(LeaseId([1; 16]), code, phases);
    let skips = |report: &Report| OnHookFailure::Skip.leaves_out(report);
    assert!(skips(&of(HOOK_FAILED, &UNTOUCHED)) && skips(&of(HOOK_TIMED_OUT, &UNTOUCHED)));
    let again = [&[(Phase::PreInstall, false)], &UNTOUCHED[..]].concat();
    assert!(skips(&of(HOOK_FAILED, &again)), "what was interrupted ran again");
    for other in [OnHookFailure::Fail, OnHookFailure::Halt] {
        assert!(!other.leaves_out(&of(HOOK_FAILED, &UNTOUCHED)), "{other:?}");
    }
    for code in ["interrupted", "gate-failed", "unexpected-reboot", "transaction-failed"] {
        assert!(!skips(&of(code, &UNTOUCHED)), "{code}");
    }
    let with = |at: usize, step: (Phase, bool)| {
        let mut phases = UNTOUCHED;
        phases[at] = step;
        of(HOOK_FAILED, &phases)
    };
    assert!(!skips(&of(HOOK_FAILED, &TOUCHED)), "after an install");
    assert!(!skips(&with(2, (Phase::OnExit, false))), "it may still be drained");
    assert!(!skips(&with(1, (Phase::Verify, false))), "nobody saw what is installed");
    assert!(!skips(&with(0, (Phase::PreInstall, true))), "another hook failed");
    assert!(!skips(&of(HOOK_FAILED, &UNTOUCHED[..2])) && !skips(&of(HOOK_FAILED, &[])), "it does not say so");
    let begun = [&UNTOUCHED[..1], &[(Phase::Transaction, false)], &UNTOUCHED[1..]].concat();
    assert!(!skips(&of(HOOK_FAILED, &begun)), "a transaction began");
    let untouched = || of(HOOK_FAILED, &UNTOUCHED);
    assert!(!skips(&Report { packages: vec![change("1.1")], ..untouched() }));
    assert!(!skips(&Report { rebooted: true, ..untouched() }));
    assert!(!skips(&Report { outcome: Outcome::Deferred, ..untouched() }));
}

#[test]
fn a_hook_that_fails_after_something_else_halts_too() {
    let world = World::new(1);
    let halts = |code: &str, phases: &[(Phase, bool)]| {
        OnHookFailure::Halt.halts(&world.failed_report(LeaseId([1; 16]), code, phases))
    };
    assert!(halts(HOOK_FAILED, &TOUCHED) && halts(HOOK_TIMED_OUT, &UNTOUCHED));
    let broken = |on_exit| [(Phase::PreInstall, true), (Phase::Transaction, false), (Phase::OnExit, on_exit)];
    assert!(halts("transaction-failed", &broken(false)));
    let cut_off = [(Phase::PreInstall, true), (Phase::Transaction, true), (Phase::PostInstall, false)];
    assert!(
        halts(INTERRUPTED, &cut_off) && !halts(INTERRUPTED, &cut_off[..2]),
        "the daemon died in it, again and again"
    );
    assert!(!halts("transaction-failed", &broken(true)), "no hook failed");
    assert!(!OnHookFailure::Skip.halts(&world.failed_report(LeaseId([1; 16]), HOOK_FAILED, &TOUCHED)));
}

#[test]
fn by_default_a_failed_hook_is_one_failure() {
    for on_hook_failure in [OnHookFailure::Fail, OnHookFailure::Halt] {
        let mut world = World::new(3);
        world.begin(plan(3, 1, 1, on_hook_failure));
        world.fail_hook(1, HOOK_FAILED, &UNTOUCHED);
        world.run();
        let halts = on_hook_failure == OnHookFailure::Halt;
        let state = world.state();
        assert_eq!((state.halted, state.tally.failed, state.tally.succeeded), (halts, 1, if halts { 0 } else { 2 }));
        assert_eq!((&state.tally, world.judge.violations()), (&state.recounted(), &[][..]));
    }
}

#[test]
fn a_hook_that_halts_lets_hosts_at_work_finish_and_says_which_it_was() {
    let mut world = World::new(4);
    world.begin(plan(4, 2, 4, OnHookFailure::Halt));
    world.fail_hook(2, HOOK_TIMED_OUT, &TOUCHED);
    assert!(world.state().halted, "at once");
    assert_eq!(world.why_waits(2), Waiting::Hook { host: "host-02".into() });
    let text = "halted: a hook of host-02 failed, and hooks.onFailure is halt; mend it and plan again";
    assert_eq!((world.why_waits(2).code(), world.why_waits(2).text().as_str()), ("hook", text));
    world.rebuild();
    world.run();
    let state = world.state();
    assert_eq!((state.tally.succeeded, state.tally.failed, state.tally.eligible.len()), (1, 1, 2));
    let statuses: Vec<_> = (0..4).map(|at| invocation(state, at)).collect();
    use Invocation::{ExecutionTimedOut, Success, Terminated};
    assert_eq!(statuses, [Success, ExecutionTimedOut, Terminated, Terminated]);
    assert_eq!((command(state), world.judge.violations()), (Command::Failed, &[][..]));
}

#[test]
fn the_last_host_of_all_halts_as_well() {
    let mut world = World::new(1);
    world.begin(plan(1, 1, 1, OnHookFailure::Halt));
    world.fail_hook(1, HOOK_FAILED, &TOUCHED);
    world.run();
    assert_eq!((world.state().halted, command(world.state())), (true, Command::Failed));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_skipped_host_is_no_error_and_its_ring_settles_without_it() {
    let canary = PlannedRing { name: "canary".into(), ..PlannedRing::all(1, Ramp::Full) };
    let fleet = PlannedRing { name: "fleet".into(), ..PlannedRing::all(2, Ramp::Full) };
    let mut world = World::new(3);
    world.begin(Plan { rings: vec![canary, fleet], ..plan(3, 3, 0, OnHookFailure::Skip) });
    world.fail_hook(1, HOOK_FAILED, &UNTOUCHED);
    world.rebuild();
    world.run();
    let state = world.state();
    assert_eq!((state.halted, state.tally.failed, state.tally.left_out, state.tally.succeeded), (false, 0, 1, 2));
    assert_eq!((&state.tally, world.judge.violations()), (&state.recounted(), &[][..]));
    assert_eq!((invocation(state, 0), command(state)), (Invocation::Undeliverable, Command::Success));
    let scene = Scene { ledger: world.controller.ledger(), desk: world.controller.desk(), now: world.now };
    let causes = scene.host(signer(1).id(), None);
    let text = "was left out of rollout wave, in phase pre-install: hook 10 said no";
    assert_eq!((causes[0].code.as_str(), causes[0].text.as_str()), (HOOK_FAILED, text));
}

#[test]
fn a_hook_that_fails_after_an_install_is_a_failure_that_nobody_skips() {
    let mut world = World::new(3);
    world.begin(plan(3, 1, 0, OnHookFailure::Skip));
    world.fail_hook(1, HOOK_FAILED, &TOUCHED);
    world.run();
    let tally = &world.state().tally;
    assert_eq!((world.state().halted, tally.failed, tally.left_out, tally.succeeded), (true, 1, 0, 0));
    assert_eq!(world.judge.violations(), []);
}

#[test]
fn a_skipped_host_stays_so_whatever_comes_later() {
    let mut world = World::new(2);
    world.begin(plan(2, 1, 0, OnHookFailure::Skip));
    world.fail_hook(1, HOOK_FAILED, &UNTOUCHED);
    let foreign = world.failed_report(LeaseId([77; 16]), HOOK_FAILED, &TOUCHED);
    world.answer(1, ToCoordinator::Reported(Box::new(foreign)));
    world.run();
    assert_eq!((world.state().tally.failed, world.state().tally.left_out), (0, 1));
    assert_eq!((&world.state().tally, world.judge.violations()), (&world.state().recounted(), &[][..]));
}

#[test]
fn the_judge_names_a_grant_after_a_hook_that_halts() {
    let granted = |on_hook_failure, code: &str, phases: &[(Phase, bool)]| {
        let mut world = World::new(3);
        world.begin(plan(3, 1, 2, on_hook_failure));
        world.fail_hook(1, code, phases);
        let mut judge = Judge::default();
        let kept = |entry: &&LedgerEntry| !matches!(entry.act, LedgerAct::Halted { .. } | LedgerAct::Ended { .. });
        world.saved.iter().filter(kept).for_each(|entry| judge.read(entry));
        let host = signer(2).id();
        let act = LedgerAct::Granted { rollout: ID, host, lease: LeaseId([99; 16]), attempt: 1, opening: open()[0] };
        let halted = LedgerEntry { at: world.now.wall, act: LedgerAct::Halted { rollout: ID } };
        let mut halting = judge.clone();
        judge.read(&LedgerEntry { at: world.now.wall, act });
        halting.read(&halted);
        let told = |judge: &Judge| judge.violations().iter().map(|wrong| wrong.text.clone()).collect::<Vec<_>>();
        (told(&judge), told(&halting))
    };
    let (grants, halts) = granted(OnHookFailure::Halt, HOOK_FAILED, &UNTOUCHED);
    assert_eq!(grants, ["granted after a hook had failed that ends the rollout"]);
    assert_eq!(halts, [""; 0], "to halt is right");
    for (on_hook_failure, code) in [
        (OnHookFailure::Fail, HOOK_FAILED),
        (OnHookFailure::Skip, HOOK_FAILED),
        (OnHookFailure::Halt, "transaction-failed"),
    ] {
        let (grants, halts) = granted(on_hook_failure, code, &UNTOUCHED);
        assert_eq!(
            (grants, halts),
            (vec![], vec!["halted without too many failures".to_owned()]),
            "{on_hook_failure:?}"
        );
    }
}
