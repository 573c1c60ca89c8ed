//! Gates: asked after everything else went well, within verify, and before the on-exit hooks.

use super::*;
use crate::run::{
    Phase,
    gate::{Ask, GATE_FAILED, Gate},
    message::Outcome,
};

fn gated() -> Lease {
    let gates = vec![Gate { ask: Ask::NoNewFailedUnits, timeout_seconds: 30 }];
    Lease { reboot: RebootOption::Never, gates, ..lease() }
}

/// Up to the gates: the words of what came last.
fn asked(bench: &mut Bench) -> Vec<Effect> {
    let mut effects = bench.granted(gated());
    for end in [hooks_ok(), ActEnd::Transaction(transaction_end(Verdict::Ok)), hooks_ok()] {
        effects = bench.end(started(&effects), end);
    }
    assert_eq!(words(&effects).last().unwrap(), "start verify 1");
    bench.end(started(&effects), verified(&[]))
}

fn gates_end(error: Option<&str>) -> ActEnd {
    ActEnd::Gates(HooksEnd { error: error.map(str::to_owned), output: "seen".into(), timed_out: false })
}

#[test]
fn a_host_that_passes_its_gates_succeeds_with_what_they_saw_in_the_step() {
    let mut bench = Bench::new();
    let effects = asked(&mut bench);
    assert_eq!(words(&effects), ["start gates 1 1"], "within verify, whose begin is stored");
    let effects = bench.end(started(&effects), gates_end(None));
    assert_eq!(words(&effects)[..2], ["save ended verify ok", "save began on-exit 1"].map(String::from));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects)[1], "save settled Succeeded");
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    let step = report.steps.iter().find(|step| step.phase == Phase::Verify).unwrap();
    assert_eq!((step.output.as_str(), report.packages), ("seen", transaction().changes));
}

#[test]
fn a_host_that_fails_a_gate_has_failed_and_on_exit_hooks_run() {
    let mut bench = Bench::new();
    let effects = asked(&mut bench);
    let effects = bench.end(started(&effects), gates_end(Some("noNewFailedUnits: a.service has failed")));
    assert_eq!(words(&effects)[..2], ["save ended verify gate-failed", "save began on-exit 1"].map(String::from));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects)[1], "save settled Failed");
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    let error = report.error.unwrap();
    assert_eq!((error.code.as_str(), error.log.as_str()), (GATE_FAILED, "seen"));
    assert_eq!(error.text, "noNewFailedUnits: a.service has failed; the packages stay as they are");
    assert_eq!((report.packages, report.outcome), (transaction().changes, Outcome::Failed));
}

#[test]
fn a_restart_while_gates_are_asked_verifies_and_asks_again_and_not_for_ever() {
    let mut bench = Bench::new();
    asked(&mut bench);
    for attempt in 2..=3 {
        bench.rebuild(false);
        let effects = bench.send(Event::Started);
        assert_eq!(words(&effects)[1], format!("save began verify {attempt}"));
        let effects = bench.end(started(&effects), verified(&[]));
        assert_eq!(words(&effects), [format!("start gates 1 {attempt}")]);
    }
    bench.rebuild(true);
    let effects = bench.send(Event::Started);
    assert_eq!(words(&effects)[1..3], ["save ended verify interrupted", "save began on-exit 1"].map(String::from));
}

#[test]
fn gates_judge_nothing_where_something_failed_or_nothing_was_installed() {
    let mut bench = Bench::new();
    let mut effects = bench.granted(gated());
    let bad = ActEnd::Hooks(HooksEnd {
        error: Some("hook 10-drain exited with 7".into()),
        output: "no".into(),
        timed_out: false,
    });
    for end in [bad, verified(&[])] {
        effects = bench.end(started(&effects), end);
    }
    assert_eq!(words(&effects)[1], "save began on-exit 1");

    let mut bench = Bench::new();
    let mut effects = bench.granted(gated());
    let ends = [hooks_ok(), ActEnd::Transaction(transaction_end(Verdict::Ok)), hooks_ok(), verified(&["tool differs"])];
    for end in ends {
        effects = bench.end(started(&effects), end);
    }
    assert_eq!(words(&effects)[..2], ["save ended verify not-exact", "save began on-exit 1"].map(String::from));
}

#[test]
fn what_has_failed_before_the_transaction_is_noted_only_for_the_gate_that_asks() {
    for (lease, noted) in [(gated(), true), (lease(), false)] {
        let mut bench = Bench::new();
        let effects = bench.granted(lease);
        match starts(&bench.end(started(&effects), hooks_ok())).as_slice() {
            [(_, Act::Transaction { note_units, .. })] => assert_eq!(*note_units, noted),
            other => panic!("{other:?}"),
        }
    }
}
