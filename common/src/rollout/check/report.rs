//! What a host's own report shows of the promises.

use crate::{
    rollout::{Operation, plan::Plan},
    run::{
        Phase,
        message::{Outcome, Report, StepReport},
    },
    schedule::Opening,
};

/// What the report breaks, by promise: empty words if it is kept.
pub(super) fn shown(plan: &Plan, host: crate::id::NodeId, report: &Report) -> [(&'static str, String); 3] {
    let exactness = if is_exact(plan, host, report) {
        String::new()
    } else {
        "succeeded with other packages than the plan froze".into()
    };
    [("exactness", exactness), ("hooks", out_of_order(&report.steps)), ("durability", repeated(&report.steps))]
}

fn is_exact(plan: &Plan, host: crate::id::NodeId, report: &Report) -> bool {
    let planned = plan.hosts.iter().find(|planned| planned.node == host);
    report.outcome != Outcome::Succeeded
        || plan.operation == Operation::Scan
        || planned.is_some_and(|planned| planned.transaction.changes == report.packages)
}

/// Phases that come in the wrong order, or a disruptive one after one that failed for good.
fn out_of_order(steps: &[StepReport]) -> String {
    for (before, step) in steps.iter().zip(steps.iter().skip(1)) {
        if before.phase > step.phase {
            return format!("{} began after {}", step.phase.as_str(), before.phase.as_str());
        }
        // Another attempt of the same phase is none: what was interrupted may run again.
        if step.phase.is_disruptive() && before.phase != step.phase && !before.ok {
            return format!("{} began although {} had failed", step.phase.as_str(), before.phase.as_str());
        }
    }
    String::new()
}

/// An install after one that was done.
fn repeated(steps: &[StepReport]) -> String {
    let mut installs = steps.iter().filter(|step| step.phase == Phase::Transaction).skip_while(|step| !step.ok);
    match (installs.next(), installs.next()) {
        (Some(_), Some(again)) => {
            format!("the transaction began again at {}, after it was done", again.started.rfc3339())
        }
        _ => String::new(),
    }
}

/// The first disruptive step that began outside `opening` by the host's own clock; empty if none did.
pub(super) fn outside(steps: &[StepReport], opening: &Opening) -> String {
    let admits = |step: &&StepReport| match step.phase {
        Phase::PreInstall => opening.admits_start(step.started),
        _ => opening.admits_step(step.started),
    };
    let outside = steps.iter().filter(|step| step.phase.is_disruptive()).find(|step| !admits(step));
    outside.map_or_else(String::new, |step| {
        format!("{} began at {}, outside the opening it was granted in", step.phase.as_str(), step.started.rfc3339())
    })
}
