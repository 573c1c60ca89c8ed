//! The stored bytes of every entry. A change here is a new version of the file, never an edit.

use super::*;
use crate::{
    run::{
        Phase,
        journal::{Fault, StepResult},
        message::{Outcome, Report, RunError, StepReport},
    },
    time::BootInstant,
};

fn entries() -> Vec<(&'static str, JournalEntry, &'static str)> {
    let at = BootInstant { boot_id: BootId([0xb0; 16]), at: BootTime(300) };
    let wall = WallTime(EPOCH_WALL);
    let error = RunError { code: "hook-failed".into(), text: "no".into(), log: "l".into() };
    let fault = Fault { outcome: Outcome::Failed, error: error.clone() };
    let ActEnd::Verified(Ok(Looked { verified: found, .. })) = verified(&["d"]) else { panic!("a scan") };
    let step =
        StepReport { phase: Phase::Verify, attempt: 1, ok: true, started: wall, ended: wall, output: "o".into() };
    let report = Report {
        lease: LEASE,
        rollout: ROLLOUT,
        outcome: Outcome::Failed,
        phase: Phase::OnExit,
        rebooted: true,
        packages: transaction().changes,
        error: Some(error),
        counters: PatchCounters { missing: 3, ..PatchCounters::default() },
        steps: vec![step],
        started: wall,
        ended: wall,
    };
    let stop = StopOrder { mesh: MESH, scope: StopScope::Rollout(ROLLOUT), sequence: 2, stop: true };
    let granted =
        JournalEntry::Granted { lease: Box::new(lease()), coordinator: COORDINATOR.id(), at, wall, head: HEAD };
    let done = StepResult { reboot_required: true, output: "ok".into(), ..StepResult::default() };
    let bad = StepResult { fault: Some(fault.clone()), verified: Some(Box::new(found)), ..StepResult::default() };
    vec![
        ("epoch", JournalEntry::Epoch(epoch(4)), "00010405"),
        (
            "stop",
            JournalEntry::Stop(stop),
            "0101010101010101010101010101010101010101010101010101010101010101010108080808080808080201",
        ),
        (
            "granted",
            granted,
            "020707070707070707070707070707070708080808080808080202020202020202020202020202020202020202020202 \
             0202020202020202020101000104746f6f6c05616d64363401013101320261620001fb2c01fd00a0b83046030000fd80 \
             efca3046030000fd4017d430460300000ac8fb9001fb580200030303030303030303030303030303030303030303030303 \
             0303030303030303b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0fb2c01fd00a0b83046030000034e4e4e4e4e4e4e4e4e4e4e \
             4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e",
        ),
        (
            "began",
            JournalEntry::Began { phase: Phase::Transaction, attempt: 2, at, wall },
            "030202b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0fb2c01fd00a0b83046030000",
        ),
        (
            "ended",
            JournalEntry::Ended { phase: Phase::Transaction, attempt: 1, at, wall, result: done },
            "040201b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0fb2c01fd00a0b8304603000000026f6b0100",
        ),
        (
            "ended badly",
            JournalEntry::Ended { phase: Phase::Verify, attempt: 1, at, wall, result: bad },
            "040601b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0fb2c01fd00a0b8304603000001010b686f6f6b2d6661696c6564026e6f \
             016c0000010104746f6f6c05616d643634010131013202616201016401000000000000",
        ),
        ("barred", JournalEntry::Barred(fault), "05010b686f6f6b2d6661696c6564026e6f016c"),
        (
            "settled",
            JournalEntry::Settled(Box::new(report)),
            "060707070707070707070707070707070708080808080808080107010104746f6f6c05616d6436340101310132026162 \
             010b686f6f6b2d6661696c6564026e6f016c00000003000001060101fd00a0b83046030000fd00a0b83046030000016f \
             fd00a0b83046030000fd00a0b83046030000",
        ),
        ("acknowledged", JournalEntry::Acknowledged { lease: LEASE }, "0707070707070707070707070707070707"),
        ("refused", JournalEntry::Refused { lease: LEASE }, "0807070707070707070707070707070707"),
        ("released", JournalEntry::Released { lease: LEASE }, "0907070707070707070707070707070707"),
    ]
}

#[test]
fn stored_entries_have_not_moved() {
    for (name, entry, hex) in entries() {
        let bytes = entry.encode();
        let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex.split_whitespace().collect::<String>(), "{name}");
        assert_eq!(JournalEntry::decode(&bytes), Ok(entry), "{name}");
    }
}

#[test]
fn phases_have_not_moved() {
    for (number, phase) in [
        Phase::Granted,
        Phase::PreInstall,
        Phase::Transaction,
        Phase::PostInstall,
        Phase::Reboot,
        Phase::PostReboot,
        Phase::Verify,
        Phase::OnExit,
        Phase::Settled,
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(crate::wire::encode(phase), [number as u8], "{}", phase.as_str());
    }
}
