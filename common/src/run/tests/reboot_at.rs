//! A reboot at a time: what a host does until then, and what keeps it from rebooting.

use super::*;
use crate::run::{Phase, message::Outcome};

/// The time of the reboot, in milliseconds after boot time zero.
const AT: u64 = 300_000;

fn waits() -> Lease {
    Lease { reboot: RebootOption::At(WallTime(EPOCH_WALL + AT as i64)), ..lease() }
}

/// Up to the end of the post-install hooks of `lease`; what followed it.
fn installed(bench: &mut Bench, lease: Lease) -> Vec<Effect> {
    let effects = bench.granted(lease);
    let effects = bench.end(started(&effects), hooks_ok());
    let effects = bench.end(started(&effects), ActEnd::Transaction(transaction_end(Verdict::Ok)));
    bench.end(started(&effects), hooks_ok())
}

fn tick_at(bench: &mut Bench, boot: u64) -> Vec<Effect> {
    bench.boot = boot;
    bench.send(Event::Tick)
}

/// Code and text of what keeps it from rebooting, which `effects` say; and that nothing disruptive has followed.
fn denied(bench: &mut Bench, effects: &[Effect]) -> (String, String) {
    let fault = effects.iter().find_map(|effect| match effect {
        Effect::Save(JournalEntry::Barred(fault)) => Some(fault.clone()),
        _ => None,
    });
    let fault = fault.unwrap_or_else(|| panic!("{:?}", words(effects)));
    assert_eq!(fault.outcome, Outcome::Failed);
    let effects = bench.end(started(effects), verified(&[]));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects), ["save ended on-exit ok", "save settled Failed", "answer reported Failed"]);
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    assert!(!report.rebooted && report.steps.iter().all(|step| step.phase != Phase::Reboot));
    (fault.error.code, fault.error.text)
}

#[test]
fn it_says_that_it_waits_and_reboots_when_the_time_has_come() {
    let mut bench = Bench::new();
    let effects = installed(&mut bench, waits());
    assert_eq!(words(&effects), ["save ended post-install ok", "answer progress post-install"]);
    match answers(&effects).as_slice() {
        [ToCoordinator::Progress { detail, .. }] => {
            assert_eq!(detail, "waits until 2027-01-15T08:05:00Z for its reboot")
        }
        other => panic!("{other:?}"),
    }
    let mut ticks = 0;
    let effects = loop {
        let next = bench.machine.deadline().unwrap();
        assert!(next > bench.now().boot, "no busy loop");
        let effects = tick_at(&mut bench, next.0);
        if bench.boot >= AT {
            break effects;
        }
        assert_eq!(words(&effects), ["answer progress post-install"]);
        ticks += 1;
    };
    assert_eq!((bench.boot, ticks), (AT, 149), "as often as it says that it runs");
    assert_eq!(words(&effects), ["save began reboot 1", "answer progress reboot", "start reboot"]);
    bench.rebuild(true);
    assert!(words(&bench.send(Event::Started)).contains(&"save ended reboot ok".into()));
}

#[test]
fn a_time_that_has_passed_means_at_once_and_one_that_no_package_asked_for_nothing() {
    let mut bench = Bench::new();
    let past = Lease { reboot: RebootOption::At(WallTime(EPOCH_WALL + 1000)), ..lease() };
    assert_eq!(words(&installed(&mut bench, past))[1], "save began reboot 1");

    let mut bench = Bench::new();
    let effects = bench.granted(waits());
    let effects = bench.end(started(&effects), hooks_ok());
    let quiet = TransactionEnd { reboot_required: false, ..transaction_end(Verdict::Ok) };
    let effects = bench.end(started(&effects), ActEnd::Transaction(quiet));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects)[1], "save began verify 1");
}

#[test]
fn a_daemon_that_comes_back_waits_on() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.boot = 100_000;
    bench.rebuild(false);
    assert_eq!(words(&bench.send(Event::Started)), ["held true", "answer progress post-install"]);
    bench.send(Event::Skew(Some(0)));
    assert_eq!(starts(&tick_at(&mut bench, AT - 1)), []);
    assert_eq!(words(&tick_at(&mut bench, AT))[0], "save began reboot 1");
}

#[test]
fn a_clock_that_nobody_knows_when_the_time_comes_is_no_busy_loop() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.boot = AT - 1000;
    bench.send(Event::Skew(None));
    assert_eq!(starts(&tick_at(&mut bench, AT)), []);
    assert!(bench.machine.deadline().unwrap() > bench.now().boot);
    bench.boot = AT + 1000;
    let effects = bench.send(Event::Skew(Some(0)));
    assert_eq!(words(&effects).last().map(String::as_str), Some("start reboot"));
}

#[test]
fn a_clock_that_is_set_counts_at_once() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.wall -= 60_000;
    assert_eq!(starts(&tick_at(&mut bench, AT)), [], "it was set back by a minute");
    assert_eq!(words(&tick_at(&mut bench, AT + 60_000))[0], "save began reboot 1");
}

#[test]
fn a_stop_or_a_release_meanwhile_ends_it_without_a_reboot() {
    let stop = ToHost::Stop(Box::new(stop_order(1, true, OPERATOR, Role::Operator)));
    for (said, code) in [(stop, "stopped"), (ToHost::Release { lease: LEASE }, "released")] {
        let mut bench = Bench::new();
        installed(&mut bench, waits());
        let mut effects = bench.say(said);
        effects.extend(tick_at(&mut bench, 10_000));
        let (found, text) = denied(&mut bench, &effects);
        assert_eq!(found, code);
        assert!(text.contains("the packages are installed"), "{text}");
    }
}

#[test]
fn where_the_opening_closes_before_that_time_nothing_waits_for_it() {
    let mut bench = Bench::new();
    let late = Lease { reboot: RebootOption::At(WallTime(EPOCH_WALL + 900_000)), ..lease() };
    let effects = installed(&mut bench, late);
    let (code, text) = denied(&mut bench, &effects);
    assert_eq!(code, "outside-opening");
    assert!(text.contains("2027-01-15T08:15:00Z, is after the opening closes at 2027-01-15T08:15:00Z"), "{text}");

    // The clock is set, and the opening has closed meanwhile.
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.wall += 900_000;
    let effects = tick_at(&mut bench, 10_000);
    assert_eq!(denied(&mut bench, &effects).0, "outside-opening");
}

#[test]
fn the_deadline_of_the_lease_holds_however_slow_the_clock_is() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.wall -= 400_000;
    assert_eq!(starts(&tick_at(&mut bench, 600_000)), []);
    let effects = tick_at(&mut bench, 602_000);
    assert_eq!(denied(&mut bench, &effects).0, "past-deadline");
}

#[test]
fn how_far_the_clock_is_off_is_judged_when_the_time_has_come() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.send(Event::Skew(Some(60_000)));
    assert_eq!(starts(&tick_at(&mut bench, 10_000)), [], "it waits on");
    let effects = tick_at(&mut bench, AT);
    assert_eq!(denied(&mut bench, &effects).0, "clock-skew");

    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.send(Event::Skew(Some(60_000)));
    bench.send(Event::Skew(Some(1)));
    assert_eq!(words(&tick_at(&mut bench, AT))[0], "save began reboot 1", "it was set right in time");
}

#[test]
fn a_boot_that_is_not_its_own_meanwhile_ends_it() {
    let mut bench = Bench::new();
    installed(&mut bench, waits());
    bench.rebuild(true);
    let effects = bench.send(Event::Started);
    assert_eq!(denied(&mut bench, &effects).0, "unexpected-reboot");
}
