//! Every row of the recovery table, by name.

use crate::run::{
    Phase::{self, *},
    recovery::{
        Boot::{self, *},
        Next::{self, *},
        Stage::{self, *},
        row,
    },
};

const ROWS: [(Phase, Stage, Boot, Next); 54] = [
    (Granted, Begun, Same, Begin(PreInstall)),
    (Granted, Done, Same, Begin(PreInstall)),
    (Granted, Failed, Same, Begin(PreInstall)),
    (Granted, Begun, New, Bar),
    (Granted, Done, New, Bar),
    (Granted, Failed, New, Bar),
    (PreInstall, Begun, Same, Again(PreInstall)),
    (PreInstall, Begun, New, Interrupt),
    (PreInstall, Done, Same, Begin(Transaction)),
    (PreInstall, Done, New, Bar),
    (PreInstall, Failed, Same, Begin(Verify)),
    (PreInstall, Failed, New, Begin(Verify)),
    (Transaction, Begun, Same, Adopt),
    (Transaction, Begun, New, Adopt),
    (Transaction, Done, Same, Begin(PostInstall)),
    (Transaction, Done, New, Bar),
    (Transaction, Failed, Same, Begin(Verify)),
    (Transaction, Failed, New, Begin(Verify)),
    (PostInstall, Begun, Same, Again(PostInstall)),
    (PostInstall, Begun, New, Interrupt),
    (PostInstall, Done, Same, Begin(Reboot)),
    (PostInstall, Done, New, Bar),
    (PostInstall, Failed, Same, Begin(Verify)),
    (PostInstall, Failed, New, Begin(Verify)),
    (Reboot, Begun, Same, Again(Reboot)),
    (Reboot, Begun, New, ProveReboot),
    (Reboot, Done, Same, Begin(PostReboot)),
    (Reboot, Done, New, Begin(PostReboot)),
    (Reboot, Failed, Same, Begin(Verify)),
    (Reboot, Failed, New, Begin(Verify)),
    (PostReboot, Begun, Same, Again(PostReboot)),
    (PostReboot, Begun, New, Again(PostReboot)),
    (PostReboot, Done, Same, Begin(Verify)),
    (PostReboot, Done, New, Begin(Verify)),
    (PostReboot, Failed, Same, Begin(Verify)),
    (PostReboot, Failed, New, Begin(Verify)),
    (Verify, Begun, Same, Again(Verify)),
    (Verify, Begun, New, Again(Verify)),
    (Verify, Done, Same, Begin(OnExit)),
    (Verify, Done, New, Begin(OnExit)),
    (Verify, Failed, Same, Begin(OnExit)),
    (Verify, Failed, New, Begin(OnExit)),
    (OnExit, Begun, Same, Again(OnExit)),
    (OnExit, Begun, New, Again(OnExit)),
    (OnExit, Done, Same, Settle),
    (OnExit, Done, New, Settle),
    (OnExit, Failed, Same, Settle),
    (OnExit, Failed, New, Settle),
    (Settled, Begun, Same, Report),
    (Settled, Begun, New, Report),
    (Settled, Done, Same, Report),
    (Settled, Done, New, Report),
    (Settled, Failed, Same, Report),
    (Settled, Failed, New, Report),
];

#[test]
fn every_stored_value_has_its_row() {
    for (phase, stage, boot, next) in ROWS {
        assert_eq!(row(phase, stage, boot), next, "{} {stage:?} in the {boot:?} boot", phase.as_str());
    }
    let mut keys: Vec<_> = ROWS.iter().map(|(phase, stage, boot, _)| (*phase, *stage, *boot)).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 9 * 3 * 2, "each phase with each stage in each boot, once");
}

#[test]
fn nothing_disruptive_follows_a_failure_or_a_foreign_boot() {
    for (phase, stage, boot, next) in ROWS {
        let disruptive = matches!(next, Begin(next) | Again(next) if next.is_disruptive());
        let after_failure = stage == Failed && phase != Granted;
        assert!(!disruptive || boot == Same && !after_failure, "{} {stage:?} {boot:?}", phase.as_str());
    }
}
