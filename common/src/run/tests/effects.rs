//! Event by event: exactly these effects, in this order.

use super::*;

/// Runs `ends` one after the other from a fresh grant of `lease`; the words of every step.
fn play(bench: &mut Bench, lease: Lease, ends: Vec<ActEnd>) -> Vec<Vec<String>> {
    let mut effects = bench.granted(lease);
    let mut all = vec![words(&effects)];
    for end in ends {
        effects = bench.end(started(&effects), end);
        all.push(words(&effects));
    }
    all
}

#[test]
fn a_whole_run_with_a_reboot() {
    let mut bench = Bench::new();
    let steps =
        play(&mut bench, lease(), vec![hooks_ok(), ActEnd::Transaction(transaction_end(Verdict::Ok)), hooks_ok()]);
    assert_eq!(
        steps,
        [
            vec![
                "save granted",
                "held true",
                "answer progress granted",
                "save began pre-install 1",
                "answer progress pre-install",
                "start hooks pre-install 1"
            ],
            vec![
                "save ended pre-install ok",
                "save began transaction 1",
                "answer progress transaction",
                "start transaction 1"
            ],
            vec![
                "save ended transaction ok",
                "save began post-install 1",
                "answer progress post-install",
                "start hooks post-install 1"
            ],
            vec!["save ended post-install ok", "save began reboot 1", "answer progress reboot", "start reboot"],
        ]
    );
    bench.rebuild(true);
    let mut effects = bench.send(Event::Started);
    assert_eq!(
        words(&effects),
        [
            "held true",
            "save ended reboot ok",
            "save began post-reboot 1",
            "answer progress post-reboot",
            "start hooks post-reboot 1"
        ]
    );
    effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(
        words(&effects),
        ["save ended post-reboot ok", "save began verify 1", "answer progress verify", "start verify 1"]
    );
    effects = bench.end(started(&effects), verified(&[]));
    assert_eq!(
        words(&effects),
        ["save ended verify ok", "save began on-exit 1", "answer progress on-exit", "start hooks on-exit 1"]
    );
    effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects), ["save ended on-exit ok", "save settled Succeeded", "answer reported Succeeded"]);
    let report = bench.machine.journal().run.as_ref().unwrap().report.clone().unwrap();
    assert!(report.rebooted && report.packages == transaction().changes && report.error.is_none());
    assert_eq!(report.steps.len(), 7);
    assert!(report.steps.iter().all(|step| step.ok));

    let again = bench.machine.deadline().unwrap();
    bench.boot = again.0;
    assert_eq!(words(&bench.send(Event::Tick)), ["answer reported Succeeded"]);
    assert!(bench.machine.deadline().unwrap().0 - again.0 == 4000, "the second pause is twice the first");
    assert_eq!(words(&bench.say(ToHost::Acknowledge { lease: LEASE })), ["save acknowledged", "held false"]);
    assert_eq!(bench.machine.deadline(), None);
    assert_eq!(words(&bench.say(ToHost::Offer(Box::new(lease())))), ["answer refused stale-go"]);
}

#[test]
fn a_scan_only_verifies() {
    let mut bench = Bench::new();
    bench.mode = Mode::Observe;
    bench.rebuild(false);
    bench.send(Event::Started);
    let scan = Lease { operation: Operation::Scan, transaction: Transaction::default(), ..lease() };
    let effects = bench.granted(scan);
    assert_eq!(
        words(&effects)[3..],
        ["save began verify 1", "answer progress verify", "start verify 0"].map(String::from)
    );
    let effects = bench.end(started(&effects), verified(&[]));
    assert_eq!(words(&effects), ["save ended verify ok", "save settled Succeeded", "answer reported Succeeded"]);
}

#[test]
fn a_failing_pre_install_hook_means_no_install_and_on_exit() {
    let mut bench = Bench::new();
    let bad = ActEnd::Hooks(HooksEnd {
        error: Some("hook 10-drain exited with 7".into()),
        output: "no".into(),
        timed_out: false,
    });
    let unchanged = ActEnd::Verified(Ok(Verified::default().into()));
    let steps = play(&mut bench, lease(), vec![bad, unchanged, hooks_ok()]);
    assert_eq!(
        steps[1],
        ["save ended pre-install hook-failed", "save began verify 1", "answer progress verify", "start verify 0"]
    );
    assert_eq!(steps[2][1], "save began on-exit 1");
    assert_eq!(steps[3], ["save ended on-exit ok", "save settled Failed", "answer reported Failed"]);
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    assert!(OnHookFailure::Skip.leaves_out(&report), "it says that nothing was changed");
    let error = report.error.unwrap();
    assert_eq!((error.code.as_str(), error.log.as_str()), ("hook-failed", "no"));
    assert_eq!(error.text, "hook 10-drain exited with 7; no package was changed");
}

#[test]
fn a_failing_post_install_hook_means_no_reboot() {
    let mut bench = Bench::new();
    let bad =
        ActEnd::Hooks(HooksEnd { error: Some("hook 10 timed out".into()), output: String::new(), timed_out: true });
    let ends = vec![hooks_ok(), ActEnd::Transaction(transaction_end(Verdict::Ok)), bad, verified(&[]), hooks_ok()];
    let steps = play(&mut bench, lease(), ends);
    assert_eq!(steps[3][..2], ["save ended post-install hook-timed-out", "save began verify 1"].map(String::from));
    assert_eq!(steps[5][1], "save settled Failed");
}

#[test]
fn a_failing_on_exit_hook_fails_the_run_and_keeps_the_packages() {
    let mut bench = Bench::new();
    let bad = ActEnd::Hooks(HooksEnd {
        error: Some("hook undrain exited with 1".into()),
        output: String::new(),
        timed_out: false,
    });
    let never = Lease { reboot: RebootOption::Never, ..lease() };
    let ends = vec![hooks_ok(), ActEnd::Transaction(transaction_end(Verdict::Ok)), hooks_ok(), verified(&[]), bad];
    let steps = play(&mut bench, never, ends);
    assert_eq!(steps[3][1], "save began verify 1", "no reboot is asked for");
    assert_eq!(steps[5], ["save ended on-exit hook-failed", "save settled Failed", "answer reported Failed"]);
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    assert_eq!(report.packages, transaction().changes);
    assert!(!report.rebooted);
}

#[test]
fn a_difference_fails_the_run_by_name() {
    let mut bench = Bench::new();
    let never = Lease { reboot: RebootOption::Never, ..lease() };
    let ends = vec![
        hooks_ok(),
        ActEnd::Transaction(transaction_end(Verdict::Ok)),
        hooks_ok(),
        verified(&["tool:amd64 is 1, planned was 2"]),
        hooks_ok(),
    ];
    let steps = play(&mut bench, never, ends);
    assert_eq!(steps[4][0], "save ended verify not-exact");
    assert_eq!(steps[5][1], "save settled Failed");
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    assert!(report.error.unwrap().text.contains("tool:amd64 is 1, planned was 2"));
}

#[test]
fn a_dirty_database_is_never_rebooted_on() {
    let mut bench = Bench::new();
    let dirty = TransactionEnd { dirty: Some("tool is half-configured".into()), ..transaction_end(Verdict::Ok) };
    let steps =
        play(&mut bench, lease(), vec![hooks_ok(), ActEnd::Transaction(dirty.clone()), ActEnd::Repaired(dirty)]);
    let because = "the transaction ended well and left the package database unclean (tool is half-configured)";
    assert_eq!(steps[2], [format!("start repair: {because}")], "before anything else, and before its end is stored");
    assert_eq!(steps[3][..2], ["save ended transaction dirty-database", "save began verify 1"].map(String::from));
}

#[test]
fn what_a_transaction_left_unclean_is_repaired_once_and_the_run_goes_on() {
    let mut bench = Bench::new();
    let failed = Verdict::Failed("apt-get failed: signal: 9 (SIGKILL)".into());
    let dirty = TransactionEnd { dirty: Some("tool is half-configured".into()), ..transaction_end(failed) };
    let mended = ActEnd::Repaired(transaction_end(Verdict::Ok));
    let steps = play(&mut bench, lease(), vec![hooks_ok(), ActEnd::Transaction(dirty.clone()), mended]);
    assert_eq!(steps[2], ["start repair: apt-get failed: signal: 9 (SIGKILL)"]);
    assert_eq!(steps[3][..2], ["save ended transaction ok", "save began post-install 1"].map(String::from));

    let mut bench = Bench::new();
    let adopted = ActEnd::Adopted(crate::run::act::Adoption::Finished(dirty.clone()));
    let steps = play(&mut bench, lease(), vec![hooks_ok(), adopted, ActEnd::Repaired(dirty)]);
    assert_eq!(steps[2], ["start repair: apt-get failed: signal: 9 (SIGKILL)"]);
    assert_eq!(steps[3][0], "save ended transaction transaction-failed", "one repair, however it ends");
}

#[test]
fn a_stop_between_phases_defers_before_and_fails_after_the_install() {
    let stop = || ToHost::Stop(Box::new(stop_order(1, true, OPERATOR, Role::Operator)));
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    assert_eq!(words(&bench.say(stop())), ["save stop 1 true", "orders 1", "answer stop-saved 1"]);
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(
        words(&effects)[..3],
        ["save ended pre-install ok", "save barred Deferred stopped", "save began verify 1"].map(String::from)
    );
    let effects = bench.end(started(&effects), verified(&[]));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects)[1], "save settled Deferred", "on-exit runs under a STOP");

    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    let effects = bench.end(started(&effects), hooks_ok());
    bench.say(stop());
    let effects = bench.end(started(&effects), ActEnd::Transaction(transaction_end(Verdict::Ok)));
    assert_eq!(words(&effects)[1], "save barred Failed stopped");
}

#[test]
fn deadlines_windows_and_skew_are_asked_before_each_disruptive_phase() {
    type Change = fn(&mut Bench);
    let cases: [(&str, Change); 4] = [
        ("past-deadline", |bench| bench.boot += 201_000),
        ("outside-opening", |bench| bench.wall += 900_000),
        ("clock-skew", |bench| {
            bench.send(Event::Skew(Some(-30_001)));
        }),
        ("observe-mode", |bench| {
            bench.mode = Mode::Observe;
        }),
    ];
    for (code, change) in cases {
        let mut bench = Bench::new();
        let effects = bench.granted(lease());
        change(&mut bench);
        let effects = if code == "observe-mode" {
            bench.rebuild(false);
            bench.send(Event::Started)
        } else {
            bench.end(started(&effects), hooks_ok())
        };
        let said = words(&effects);
        let wanted = [format!("save barred Deferred {code}"), format!("save ended pre-install {code}")];
        assert!(said.iter().any(|word| wanted.contains(word)), "{code}: {said:?}");
        assert!(!said.iter().any(|word| word.starts_with("start transaction")), "{code}: {said:?}");
    }
}

#[test]
fn an_unknown_skew_is_waited_for_and_then_given_up() {
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    bench.send(Event::Skew(None));
    let effects = bench.end(started(&effects), hooks_ok());
    assert_eq!(words(&effects), ["save ended pre-install ok"]);
    let mut patient = Bench { machine: bench.machine.clone(), saved: bench.saved.clone(), ..Bench::new() };
    assert_eq!(words(&patient.send(Event::Skew(Some(5))))[0], "save began transaction 1");
    bench.boot += 120_000;
    assert_eq!(words(&bench.send(Event::Tick))[0], "save barred Deferred clock-unknown");
}

#[test]
fn a_refused_or_ignored_reboot_is_asked_for_three_times() {
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    let effects = bench.end(started(&effects), hooks_ok());
    let effects = bench.end(started(&effects), ActEnd::Transaction(transaction_end(Verdict::Ok)));
    let effects = bench.end(started(&effects), hooks_ok());
    let effects = bench.end(started(&effects), ActEnd::Reboot(Err("no".into())));
    assert_eq!(words(&effects)[0], "save began reboot 2");
    assert!(bench.end(started(&effects), ActEnd::Reboot(Ok(()))).is_empty());
    bench.boot += 599_000;
    assert!(!words(&bench.send(Event::Tick)).iter().any(|word| word.starts_with("start")));
    bench.rebuild(false);
    bench.send(Event::Started);
    bench.boot -= 500_000;
    let effects = bench.send(Event::Skew(Some(0)));
    assert_eq!(words(&effects)[0], "save began reboot 3");
    let effects = bench.end(started(&effects), ActEnd::Reboot(Err("no".into())));
    let fault = bench.machine.journal().run.as_ref().unwrap().fault.clone().unwrap();
    assert_eq!(fault.error.log, "the reboot was refused: no");
    assert_eq!(
        words(&effects)[..2],
        ["save ended reboot reboot-did-not-happen", "save began verify 1"].map(String::from)
    );
}

#[test]
fn a_running_lease_says_so_every_two_seconds() {
    let mut bench = Bench::new();
    bench.granted(lease());
    bench.send(Event::Detail("é".repeat(100)));
    let due = bench.machine.deadline().unwrap();
    assert_eq!(due.0, bench.boot + 2000);
    bench.boot = due.0 - 1;
    assert!(bench.send(Event::Tick).is_empty());
    bench.boot = due.0;
    match answers(&bench.send(Event::Tick)).as_slice() {
        [ToCoordinator::Progress { detail, .. }] => assert_eq!(*detail, "é".repeat(80)),
        other => panic!("{other:?}"),
    }
}

/// What the look of the one act that `effects` start is told.
fn keeps(effects: &[Effect]) -> bool {
    match starts(effects).as_slice() {
        [(_, Act::Verify { keep, .. })] => *keep,
        other => panic!("not one look but {other:?}"),
    }
}

#[test]
fn a_run_that_did_not_do_its_work_leaves_the_report_in_place() {
    let scan = Lease { operation: Operation::Scan, transaction: Transaction::default(), ..lease() };
    assert!(keeps(&Bench::new().granted(scan)), "a Scan looks");

    let bad = || {
        ActEnd::Hooks(HooksEnd {
            error: Some("hook 10-drain exited with 7".into()),
            output: "no".into(),
            timed_out: false,
        })
    };
    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    assert!(!keeps(&bench.end(started(&effects), bad())), "nothing was tried");

    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    bench.say(ToHost::Stop(Box::new(stop_order(1, true, OPERATOR, Role::Operator))));
    assert!(!keeps(&bench.end(started(&effects), hooks_ok())), "a deferred run has done nothing");

    let declined = Verdict::Declined { code: "stopped".into(), text: "late".into() };
    for (verdict, tried) in [(Verdict::Failed("apt-get failed".into()), true), (declined, false)] {
        let mut bench = Bench::new();
        let effects = bench.granted(lease());
        let effects = bench.end(started(&effects), hooks_ok());
        let effects = bench.end(started(&effects), ActEnd::Transaction(transaction_end(verdict)));
        assert_eq!(keeps(&effects), tried, "what an Install tried and did not get has failed");
    }

    let mut bench = Bench::new();
    let effects = bench.granted(lease());
    let effects = bench.end(started(&effects), hooks_ok());
    let effects = bench.end(started(&effects), ActEnd::Transaction(transaction_end(Verdict::Ok)));
    assert!(keeps(&bench.end(started(&effects), bad())), "the packages are there");
}

#[test]
fn what_is_to_be_known_of_a_look_is_in_the_output_of_its_step() {
    let mut bench = Bench::new();
    let scan = Lease { operation: Operation::Scan, transaction: Transaction::default(), ..lease() };
    let effects = bench.granted(scan);
    let notes = vec!["cannot refresh http://deb.example.org s".into(), "and so on".into()];
    let looked = Looked { notes, ..Looked::default() };
    bench.end(started(&effects), ActEnd::Verified(Ok(looked)));
    let report = bench.machine.journal().run.clone().unwrap().report.unwrap();
    assert_eq!(report.outcome, crate::run::message::Outcome::Succeeded);
    assert_eq!(report.steps[0].output, "cannot refresh http://deb.example.org s\nand so on");
}
