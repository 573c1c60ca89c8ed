//! What a run leaves as the host's report, and what it leaves alone.

use super::*;

fn scan(approval: Approval) -> Lease {
    let (operation, transaction) = (Operation::Scan, Transaction::default());
    Lease { id: LeaseId([6; 16]), baseline: approval, operation, transaction, ..lease() }
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
