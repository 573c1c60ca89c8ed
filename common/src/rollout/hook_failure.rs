//! `hooks.onFailure`: what the failure of a host's own hook means for its rollout. Read from what the host signed: nothing else is
//! done on the host for it.

use serde::{Deserialize, Serialize};

use crate::run::{
    HOOK_FAILED, HOOK_TIMED_OUT, INTERRUPTED, Phase,
    message::{Outcome, Report, StepReport},
};

/// What becomes of a rollout when a hook of a host fails, or runs out of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnHookFailure {
    /// The host has failed, and counts against `maxErrors`.
    #[default]
    Fail,
    /// A host that nothing was changed on, because a pre-install hook failed, is left out and is no error. Else as `Fail`.
    Skip,
    /// As `Fail`, and nothing is granted any more, whatever `maxErrors` allows. Running hosts finish.
    Halt,
}

impl OnHookFailure {
    /// Whether the host that says this is left out, and is no error.
    pub fn leaves_out(self, report: &Report) -> bool {
        self == Self::Skip && is_untouched(report)
    }

    /// Whether nothing is granted any more once a host has said this.
    pub fn halts(self, report: &Report) -> bool {
        self == Self::Halt && failed_hook(report)
    }
}

/// Whether the report is of a host on which a hook failed, before or after something else.
pub fn failed_hook(report: &Report) -> bool {
    // What went wrong first has the code. On-exit hooks, and those after a reboot, run all the same, and nothing else fails in them.
    let ended_badly = |phase: Phase| {
        let last = report.steps.iter().rev().find(|step| step.phase == phase);
        last.is_some_and(|step| !step.ok)
    };
    let coded = |is: fn(&str) -> bool| report.error.as_ref().is_some_and(|error| is(&error.code));
    // Its hooks took the daemon with them, again and again.
    let cut_off =
        coded(|code| code == INTERRUPTED) && [Phase::PreInstall, Phase::PostInstall].into_iter().any(ended_badly);
    let at_end = ended_badly(Phase::PostReboot) || ended_badly(Phase::OnExit);
    report.outcome == Outcome::Failed && (coded(is_hook) || cut_off || at_end)
}

/// Whether a pre-install hook failed, nothing was begun after it that changes the host, and all that undoes what it did went well.
fn is_untouched(report: &Report) -> bool {
    let coded = report.error.as_ref().is_some_and(|error| is_hook(&error.code));
    let went_well = |phase: Phase| {
        let mut steps = report.steps.iter().filter(|step| step.phase == phase);
        steps.next_back().is_some_and(|step| step.ok)
    };
    let harmless = |step: &StepReport| matches!(step.phase, Phase::PreInstall | Phase::Verify | Phase::OnExit);
    report.outcome == Outcome::Failed
        && coded
        && !report.rebooted
        && report.packages.is_empty()
        && report.steps.iter().all(harmless)
        && report.steps.iter().any(|step| step.phase == Phase::PreInstall)
        && !went_well(Phase::PreInstall)
        && went_well(Phase::Verify)
        && went_well(Phase::OnExit)
}

fn is_hook(code: &str) -> bool {
    [HOOK_FAILED, HOOK_TIMED_OUT].contains(&code)
}
