//! What a ledger means in the words of Run Command.

use super::{
    super::{
        ledger::RolloutState,
        plan::{ExcludedBecause, ExcludedHost},
        slots::Hold,
        status::{Command, Invocation, command, excluded, invocations},
    },
    audited::{WINDOW, entry, granted, opened, report, reported, started, stopped},
    *,
};

/// The rollout of three hosts after these entries.
fn after(entries: &[LedgerEntry]) -> RolloutState {
    let mut ledger = Ledger::default();
    for entry in [&[opened(1, true), started()], entries].concat() {
        ledger.fold(&entry).unwrap();
    }
    ledger.rollouts.remove(&ID).unwrap()
}

fn refused(seed: u8, code: RefusalCode) -> LedgerEntry {
    let refusal = Refusal { code, text: "no".into(), remedy: "none".into() };
    entry(60, LedgerAct::Refused { rollout: ID, host: signer(seed).id(), refusal })
}

fn failed(code: &str) -> Report {
    let error = RunError { code: code.into(), text: String::new(), log: String::new() };
    Report { error: Some(error), ..report(1, Outcome::Failed) }
}

#[test]
fn every_stand_of_a_host_has_its_status() {
    use Invocation::*;
    let ended = |at: i64| entry(at, LedgerAct::Ended { rollout: ID });
    let (halted, host) = (entry(71, LedgerAct::Halted { rollout: ID }), signer(1).id());
    let released = LedgerAct::Released {
        host,
        lease: Some(LeaseId([1; 16])),
        held: Hold::Lost,
        by: "ops".into(),
        because: "dead".into(),
    };
    let go = || granted(1, 1, 1, 10);
    let deferred = Report { outcome: Outcome::Deferred, ..failed("stopped") };
    let table: Vec<(Vec<LedgerEntry>, [Invocation; 3], Command)> = vec![
        (vec![], [Pending; 3], Command::Pending),
        (vec![go()], [InProgress, Pending, Pending], Command::InProgress),
        (vec![go(), reported(1, deferred)], [Delayed, Pending, Pending], Command::Delayed),
        (vec![go(), reported(1, report(1, Outcome::Succeeded))], [Success, Pending, Pending], Command::InProgress),
        (
            vec![go(), reported(1, failed("hook-failed")), halted.clone(), ended(72)],
            [Failed, Terminated, Terminated],
            Command::Failed,
        ),
        (
            vec![go(), reported(1, failed("past-deadline")), halted.clone(), ended(72)],
            [ExecutionTimedOut, Terminated, Terminated],
            Command::Failed,
        ),
        (
            vec![go(), reported(1, failed("hook-timed-out")), halted.clone(), ended(72)],
            [ExecutionTimedOut, Terminated, Terminated],
            Command::Failed,
        ),
        (vec![go(), stopped(1)], [InProgress, Cancelled, Cancelled], Command::Cancelling),
        (
            vec![go(), stopped(1), reported(1, report(1, Outcome::Succeeded)), ended(72)],
            [Success, Cancelled, Cancelled],
            Command::Cancelled,
        ),
        // One that is at work when the rollout ends is silent; the others were, or found no opening.
        (vec![go(), ended(72)], [DeliveryTimedOut, Undeliverable, Undeliverable], Command::DeliveryTimedOut),
        (vec![ended(WINDOW.closes.0)], [DeliveryTimedOut; 3], Command::DeliveryTimedOut),
        (vec![ended(72)], [Undeliverable; 3], Command::Failed),
        (vec![go(), entry(20, released)], [DeliveryTimedOut, Pending, Pending], Command::InProgress),
        (
            vec![
                refused(1, RefusalCode::ObserveMode),
                refused(2, RefusalCode::NoBaseline),
                refused(3, RefusalCode::PlanChanged),
            ],
            [AccessDenied, InvalidPlatform, Undeliverable],
            Command::Incomplete,
        ),
        (
            vec![
                refused(1, RefusalCode::SourceNotAllowed),
                refused(2, RefusalCode::OutsideOpening),
                refused(3, RefusalCode::Locked),
            ],
            [AccessDenied, DeliveryTimedOut, Undeliverable],
            Command::DeliveryTimedOut,
        ),
    ];
    for (entries, statuses, whole) in table {
        let state = after(&entries);
        assert_eq!((invocations(&state), command(&state)), (statuses.to_vec(), whole), "{entries:?}");
    }
}

#[test]
fn targets_that_a_plan_left_out_are_counted_with_the_others() {
    let left_out = |because, code: &str| ExcludedHost {
        node: signer(9).id(),
        name: "out".into(),
        because,
        code: code.into(),
        text: String::new(),
        remedy: String::new(),
    };
    for (because, code, status) in [
        (ExcludedBecause::Silent, "silent", Invocation::Undeliverable),
        (ExcludedBecause::Observing, "observe-mode", Invocation::AccessDenied),
        (ExcludedBecause::Refused, "no-baseline", Invocation::InvalidPlatform),
        (ExcludedBecause::Refused, "source-not-allowed", Invocation::AccessDenied),
        (ExcludedBecause::Refused, "locked", Invocation::Undeliverable),
    ] {
        assert_eq!(excluded(&left_out(because, code)), status, "{code}");
    }
    let mut state = after(&[]);
    state.plan.excluded.push(left_out(ExcludedBecause::Silent, "silent"));
    assert_eq!((invocations(&state).len(), command(&state)), (4, Command::InProgress));
}
