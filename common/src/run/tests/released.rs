//! A slot that an operator released: its host finishes what it does, and begins nothing disruptive under that lease.

use super::*;
use crate::run::{
    Phase,
    message::{Outcome, RefusalCode},
};

fn release(bench: &mut Bench) -> Vec<Effect> {
    bench.say(ToHost::Release { lease: LEASE })
}

/// The words from here to the report, when hooks and scans go well.
fn finish(bench: &mut Bench, mut effects: Vec<Effect>) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        said.extend(words(&effects));
        let next = starts(&effects).pop();
        effects = match next {
            Some((id, Act::Hooks { .. })) => bench.end(id, hooks_ok()),
            Some((id, Act::Verify { .. })) => bench.end(id, verified(&[])),
            Some((_, act)) => panic!("{act:?} after {said:?}"),
            None => return said,
        };
    }
}

fn report(bench: &Bench) -> (Outcome, String) {
    let report = bench.machine.journal().run.as_ref().and_then(|run| run.report.clone()).unwrap();
    (report.outcome, report.error.map(|error| error.code).unwrap_or_default())
}

#[test]
fn it_is_saved_before_it_is_answered_and_no_second_time() {
    let mut bench = Bench::new();
    bench.granted(lease());
    assert_eq!(words(&release(&mut bench)), ["save released", "answer progress pre-install"]);
    assert_eq!(words(&release(&mut bench)), ["answer progress pre-install"]);
}

#[test]
fn the_install_is_left_out_and_on_exit_hooks_undo_what_began() {
    let mut bench = Bench::new();
    let hooks = started(&bench.granted(lease()));
    release(&mut bench);
    let effects = bench.end(hooks, hooks_ok());
    let said = finish(&mut bench, effects);
    assert_eq!(said[..2], ["save ended pre-install ok", "save barred Deferred released"]);
    assert!(said.contains(&"start hooks on-exit 1".into()), "{said:?}");
    assert_eq!(report(&bench), (Outcome::Deferred, "released".into()));
}

#[test]
fn after_the_install_the_rest_is_left_out_also_by_another_life_of_the_daemon() {
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    let effects = bench.end(started(&effects), hooks_ok());
    let transaction = started(&effects);
    release(&mut bench);
    bench.rebuild(false);
    let effects = bench.send(Event::Started);
    let [(adopt, Act::Adopt { .. })] = starts(&effects)[..] else { panic!("{effects:?}") };
    assert_ne!(adopt, transaction);
    let end = super::super::act::Adoption::Finished(transaction_end(Verdict::Ok));
    let effects = bench.end(adopt, ActEnd::Adopted(end));
    let said = finish(&mut bench, effects);
    assert_eq!(said[..2], ["save ended transaction ok", "save barred Failed released"]);
    assert_eq!(report(&bench), (Outcome::Failed, "released".into()));
}

#[test]
fn a_run_that_only_waits_for_its_clock_ends_at_once() {
    let mut bench = Bench::new();
    let hooks = started(&bench.granted(lease()));
    bench.send(Event::Skew(None));
    let effects = bench.end(hooks, hooks_ok());
    assert_eq!(words(&effects), ["save ended pre-install ok"], "it waits");
    let effects = release(&mut bench);
    assert!(words(&effects).contains(&"save barred Deferred released".into()), "{effects:?}");
}

#[test]
fn what_has_not_begun_is_refused_for_good_and_what_has_ended_is_reported() {
    let mut bench = Bench::new();
    let nonce = bench.ready(lease());
    assert_eq!(words(&release(&mut bench)), ["save refused", "answer refused stale-go"]);
    let effects = bench.say(ToHost::Go { lease: LEASE, nonce });
    let [ToCoordinator::Refused { refusal, .. }] = &answers(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(refusal.code, RefusalCode::StaleGo);

    let mut bench = Bench::new();
    let effects = bench.granted(Lease { operation: Operation::Scan, ..lease() });
    finish(&mut bench, effects);
    assert_eq!(bench.machine.journal().run.as_ref().map(|run| run.last.phase), Some(Phase::Settled));
    assert_eq!(words(&release(&mut bench)), ["answer reported Succeeded"], "nothing is left to be held back");
}

#[test]
fn the_lease_that_runs_is_not_held_back_by_the_release_of_another() {
    let mut bench = Bench::new();
    let hooks = started(&bench.granted(lease()));
    let said = words(&bench.say(ToHost::Release { lease: LeaseId([9; 16]) }));
    assert_eq!(said, ["save refused", "answer refused busy"]);
    assert!(words(&bench.end(hooks, hooks_ok())).contains(&"start transaction 1".into()));
}
