//! What a run leaves as the host's report, and what it leaves alone.

use patchmesh_common::patch::snapshot::Pinned;

use super::*;

fn scan(approval: Approval) -> Lease {
    let (operation, transaction) = (Operation::Scan, Transaction::default());
    Lease { id: LeaseId([6; 16]), baseline: approval, operation, transaction, ..lease() }
}

fn install(approval: Approval) -> Lease {
    Lease { baseline: approval, reboot: RebootOption::Never, ..lease() }
}

/// As [`super::snapshot`], with nothing but `versions` of the tool to be installed.
fn promoted(versions: &[&str]) -> Snapshot {
    let pinned = |version: &&str| Pinned {
        os: "debian".into(),
        os_version: "12".into(),
        name: "tool".into(),
        arch: "all".into(),
        version: (*version).into(),
        sha256: "ab".into(),
    };
    Snapshot { versions: Some(versions.iter().map(pinned).collect()), ..snapshot() }
}

/// Runs `lease` to its end and has it acknowledged.
async fn run(running: &mut Running, lease: Lease) -> Report {
    let id = lease.id;
    running.grant(lease).await;
    let report = running.report().await;
    running.say(ToHost::Acknowledge { lease: id });
    report
}

fn output(report: &Report) -> &str {
    &report.steps.iter().find(|step| step.phase == Phase::Verify).unwrap().output
}

#[test]
fn what_was_installed_is_told_where_no_report_can_be_made() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        touch(&host.path("blind"));
        let mut running = host.start();
        let report = run(&mut running, install(Approval::All)).await;
        assert_eq!((report.outcome, report.error.as_ref()), (Outcome::Succeeded, None));
        assert_eq!(report.packages, transaction().changes);
        assert_eq!(output(&report), "no report could be made: blind");
        assert_eq!(running.patches().await.unwrap_err().code, RefusalCode::NoReport);

        let report = run(&mut running, scan(Approval::All)).await;
        let error = report.error.unwrap();
        assert_eq!((error.code.as_str(), error.text.as_str()), ("verify-failed", "blind"), "a Scan is nothing else");
    });
}

#[test]
fn a_scan_by_a_snapshot_that_the_host_was_never_asked_with_is_refused() {
    in_system(async {
        let host = Host::new();
        let mut running = host.start();
        running.say(ToHost::Offer(Box::new(scan(Approval::Snapshot(snapshot().id())))));
        let refused = |body| match body {
            ToCoordinator::Refused { refusal, .. } => Some(refusal.code),
            ToCoordinator::Ready { .. } => panic!("it cannot judge the host"),
            _ => None,
        };
        assert_eq!(running.hear("Refused", refused).await, RefusalCode::NoBaseline);
    });
}

#[test]
fn a_run_that_ended_before_its_transaction_leaves_the_report_in_place() {
    in_system(async {
        let host = Host::new();
        let mut running = host.start();
        run(&mut running, scan(Approval::All)).await;
        let before = running.patches().await.unwrap();
        assert_eq!(before.rows[0].state, State::Missing);
        let hook = host.path("hooks/pre-install/20-drain");
        std::fs::write(&hook, "#!/bin/sh\nexit 7\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let report = run(&mut running, install(Approval::All)).await;
        assert_eq!(report.error.unwrap().code, "hook-failed");
        assert_eq!((report.counters.missing, report.counters.failed), (1, 0), "nothing was tried");
        assert_eq!(running.patches().await.unwrap(), before);
    });
}

#[test]
fn what_an_install_tried_and_did_not_get_has_failed_and_does_not_wait_for_a_reboot() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        touch(&host.path("broken"));
        let mut running = host.start();
        let report = run(&mut running, install(Approval::All)).await;
        assert_eq!(report.error.unwrap().code, "transaction-failed");
        let told = running.patches().await.unwrap();
        assert_eq!((told.standing.operation, told.rows[0].state), (Operation::Install, State::Failed));

        std::fs::write(host.path("version"), "2\n").unwrap();
        run(&mut running, scan(Approval::All)).await;
        let told = running.patches().await.unwrap();
        assert_eq!(told.rows[0].state, State::Installed, "somebody else has installed it since");
    });
}

#[test]
fn what_an_install_left_half_configured_has_failed_and_is_told_as_no_change() {
    in_system(async {
        let host = Host::new();
        ["gate", "torn"].iter().for_each(|name| touch(&host.path(name)));
        let mut running = host.start();
        let report = run(&mut running, install(Approval::All)).await;
        assert_eq!((report.outcome, report.packages), (Outcome::Failed, vec![]));
        assert_eq!((report.counters.failed, report.counters.installed_pending_reboot), (1, 0));
        let told = running.patches().await.unwrap();
        assert_eq!((told.rows[0].state, told.rows[0].installed.as_deref()), (State::Failed, Some("2")));
        assert_eq!((told.standing.counters.failed, told.standing.severity.as_deref()), (1, Some("HIGH")));
    });
}

#[test]
fn versions_newer_than_a_promoted_one_were_not_tried() {
    in_system(async {
        for (newer, state) in [(false, State::Failed), (true, State::Missing)] {
            let host = Host::new();
            touch(&host.path("gate"));
            touch(&host.path("broken"));
            if newer {
                std::fs::write(host.path("newer"), "3").unwrap();
            }
            let mut running = host.start();
            let promoted = promoted(&["2"]);
            running.resolve_by(Operation::Install, promoted.clone()).await.unwrap();
            run(&mut running, install(Approval::Snapshot(promoted.id()))).await;
            assert_eq!(running.patches().await.unwrap().rows[0].state, state, "newer: {newer}");
        }
    });
}

#[test]
fn versions_of_which_none_is_for_the_hosts_release_are_refused() {
    in_system(async {
        let host = Host::new();
        let mut running = host.start();
        let mut foreign = promoted(&["2"]);
        foreign.versions.as_mut().unwrap()[0].os_version = "13".into();
        for snapshot in [foreign, promoted(&[])] {
            let refusal = running.resolve_by(Operation::Install, snapshot).await.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::NoBaseline);
            assert_eq!(refusal.text, "the snapshot has no versions for debian 12");
        }
    });
}

#[test]
fn what_a_baseline_override_finds_is_printed_and_no_report() {
    in_system(async {
        let host = Host::new();
        let mut running = host.start();
        run(&mut running, scan(Approval::All)).await;
        let before = running.patches().await.unwrap();
        let mut by_system = snapshot();
        by_system.rules.choice = Choice::System;
        running.resolve_by(Operation::Scan, by_system.clone()).await.unwrap();
        let lease = Lease { id: LeaseId([5; 16]), ..scan(Approval::Snapshot(by_system.id())) };
        let report = run(&mut running, lease).await;
        assert_eq!((report.outcome, report.counters.missing), (Outcome::Succeeded, 1));
        assert!(
            output(&report).starts_with("tool:all 2 Missing\n1 not as it should be by the "),
            "{}",
            output(&report)
        );
        assert_eq!(running.patches().await.unwrap(), before);
        // A policy's baselines are chosen in the same way, and are what the host is held against.
        by_system.rules.choice = Choice::Systems;
        running.resolve_by(Operation::Scan, by_system.clone()).await.unwrap();
        let lease = Lease { id: LeaseId([8; 16]), ..scan(Approval::Snapshot(by_system.id())) };
        run(&mut running, lease).await;
        assert_eq!(running.patches().await.unwrap().standing.baseline, by_system.rules.baselines[0].name);
    });
}

#[test]
fn a_scan_goes_by_the_indexes_that_there_are_and_names_the_others() {
    in_system(async {
        let host = Host::new();
        std::fs::write(host.path("unreachable"), "cannot refresh http://gone.example.org s").unwrap();
        let mut running = host.start();
        let report = run(&mut running, scan(Approval::All)).await;
        assert_eq!(report.outcome, Outcome::Succeeded);
        assert_eq!(output(&report), "cannot refresh http://gone.example.org s");
        assert_eq!(running.patches().await.unwrap().rows[0].state, State::Missing);
    });
}
