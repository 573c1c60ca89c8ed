//! A reboot at a time: the daemon waits for it, in every life, and does not wait for one that has passed.

use patchmesh_common::rollout::reboot::waits;

use super::*;

#[test]
fn a_daemon_waits_for_the_time_of_the_reboot_also_after_a_kill_until_its_slot_is_released() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        let at = WallTime::parse("2199-06-01T02:00:00Z").unwrap();
        let mut first = host.start();
        first.grant(Lease { reboot: RebootOption::At(at), ..lease() }).await;
        first.phase(Phase::PostInstall, &waits(at)).await;
        first.kill().await;

        let mut second = host.start();
        second.phase(Phase::PostInstall, &waits(at)).await;
        second.say(ToHost::Release { lease: LEASE });
        let report = second.report().await;
        let code = report.error.map(|error| error.code).unwrap_or_default();
        assert_eq!((report.outcome, report.rebooted, code.as_str()), (Outcome::Failed, false, "released"));
        assert_eq!(report.packages, transaction().changes);
        assert_eq!(host.reboots.load(Ordering::SeqCst), 0);
        assert_eq!(host.trace(), "pre-install 1\npost-install 1\non-exit 1\n");
    });
}

#[test]
fn a_time_that_has_passed_means_at_once() {
    in_system(async {
        let host = Host::new();
        touch(&host.path("gate"));
        let mut running = host.start();
        running.grant(Lease { reboot: RebootOption::At(WallTime(0)), ..lease() }).await;
        running.phase(Phase::Reboot, "").await;
    });
}
