//! What became of a policy called `nightly`: its last scan succeeded, its last install is on its way and the one after it skipped,
//! and that of `weekly` could not be started. No folder of logs is there.

use patchmesh_common::rollout::{Operation, attempts, started::Key};
use patchmesh_coordinator::{
    api::{document::*, not_found},
    fault::Fault,
    store::{Store, policies::KeptPolicy},
};

use super::{ID, time};

fn run(due: &str, operation: &str, state: RolloutState, ended: Option<&str>) -> RecurringRun {
    RecurringRun {
        due_at: time(due),
        rollout: ID.into(),
        name: format!("nightly-{operation}-{}", due.replace(['-', ':'], "").to_lowercase()),
        state,
        started_at: time(due),
        ended_at: ended.map(time),
        reason: (state == RolloutState::Halted).then(|| "1 host failed; maxErrors is 0".to_owned()),
    }
}

/// At noon of the second of December 2026. What is kept is as it is since the first one.
fn rows(kept: &KeptPolicy) -> Vec<PolicyRow> {
    let scanned = run("2026-12-02T01:00:00Z", "scan", RolloutState::Succeeded, Some("2026-12-02T01:04:00Z"));
    let installing = run("2026-12-01T02:00:00Z", "install", RolloutState::Running, None);
    let key = |name: &str, operation| Key::Policy { policy: name.to_owned(), operation };
    let runs = [(key("nightly", Operation::Scan), scanned), (key("nightly", Operation::Install), installing)];
    let because = "every target was left out, first of all web-1 (silent)".to_owned();
    let failed = attempts::NotStarted { of: time("2026-12-02T03:00:00Z").0, because, gave_up: false, is_empty: false };
    let not_started = [(key("weekly", Operation::Install), failed)];
    let kept = KeptPolicy { since: time("2026-12-01T00:00:00Z").0, ..kept.clone() };
    let unwritten =
        |folder: &str| Some(format!("logs cannot be written to {folder}: No such file or directory (os error 2)"));
    policy_rows(&kept, &runs.into(), &not_started.into(), unwritten, time("2026-12-02T12:00:00Z").0)
}

pub(crate) fn list(store: &Store) -> Result<PoliciesDocument, Fault> {
    Ok(PoliciesDocument::new(store.policies()?.iter().flat_map(rows).collect()))
}

pub(crate) fn one(store: &Store, name: &str) -> Result<PolicyDocument, Fault> {
    let kept = store.policies()?.into_iter().find(|kept| kept.written.name == name);
    let kept = kept.ok_or_else(|| not_found("policy", name))?;
    let rows = rows(&kept);
    Ok(PolicyDocument::new(kept, rows))
}
