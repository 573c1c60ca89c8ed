//! The talk with one host: its lease with the deadlines, and which answers count.

use core::time::Duration;

use super::{
    Operation, RebootOption,
    controller::Settings,
    plan::{Plan, Superseded},
    replan::is_superseded,
};
use crate::{
    id::{LeaseId, RolloutId},
    inventory::Transaction,
    run::message::{Answer, LatestStart, Lease, LeaseFrame, RefusalCode},
    schedule::Opening,
    seal::Verifier,
    time::WallTime,
};

/// A run may start this long after its `Go`, however long the opening is.
const START_WITHIN: Duration = Duration::from_secs(600);
/// A disruptive step may begin this long after its `Go`, however long the opening is; a reboot at a time this long after that.
const STEP_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Codes that asking again does not change.
const FINAL: [RefusalCode; 9] = [
    RefusalCode::ObserveMode,
    RefusalCode::PlanChanged,
    RefusalCode::VersionGone,
    RefusalCode::RemovalsNeeded,
    RefusalCode::Held,
    RefusalCode::ConfigConflict,
    RefusalCode::NoBaseline,
    RefusalCode::SourceNotAllowed,
    RefusalCode::GateNotApplicable,
];

/// Whether asking again does not change this answer.
pub(super) fn is_final(code: RefusalCode) -> bool {
    FINAL.contains(&code)
}

/// The same of a code's word.
pub(super) fn is_final_word(word: &str) -> bool {
    FINAL.iter().any(|code| code.as_str() == word)
}

impl Plan {
    /// Whether a host that says `code` is asked again for as long as it takes: what was planned may be offered again.
    pub fn waits_after(&self, code: RefusalCode) -> bool {
        is_superseded(code) && self.on_superseded == Superseded::Wait
    }
}

/// When a host that was granted a lease at `since` in `opening` begins its last disruptive step at the latest, which may be a
/// `reboot`.
pub fn last_step(since: WallTime, opening: &Opening, reboot: RebootOption) -> WallTime {
    since.plus(reboot.wait(since)).plus(STEP_WITHIN).min(opening.closes)
}

/// The lease of one host, with deadlines counted from `now`.
pub(super) fn make_lease(
    plan: &Plan,
    id: RolloutId,
    at: usize,
    attempt: u32,
    lease: LeaseId,
    opening: Opening,
    now: WallTime,
) -> Lease {
    let within = |end: WallTime, most: Duration| {
        u64::try_from(end.0.saturating_sub(now.0) / 1000).unwrap_or(0).min(most.as_secs())
    };
    let step = within(opening.closes, STEP_WITHIN);
    let host = &plan.hosts[at];
    Lease {
        id: lease,
        rollout: id,
        host: host.node,
        attempt,
        operation: plan.operation,
        baseline: plan.baseline,
        transaction: match plan.operation {
            Operation::Install => host.transaction.clone(),
            Operation::Scan => Transaction::default(),
        },
        reboot: plan.reboot,
        hook_timeout: plan.hook_timeout,
        opening,
        latest_start: LatestStart {
            pre_install: within(opening.last_start, START_WITHIN),
            transaction: step,
            post_install: step,
            reboot: within(opening.closes, STEP_WITHIN.saturating_add(plan.reboot.wait(now))),
        },
        gates: plan.gates.clone(),
    }
}

/// The answer in `frame`, if a member with an unexpired membership sealed it for this coordinator of this mesh.
pub fn open_answer(settings: &Settings, frame: &LeaseFrame, now: WallTime, keys: &dyn Verifier) -> Option<Answer> {
    frame.answer(settings.me, settings.mesh, now, keys).ok().map(|(_, answer)| answer)
}
