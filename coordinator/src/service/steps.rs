//! The steps that a rollout's hosts reported.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::RolloutId,
    rollout::ledger::RolloutState as Standing,
    run::{
        HOOK_FAILED, HOOK_TIMED_OUT, INTERRUPTED, Phase,
        gate::GATE_FAILED,
        message::{Report, StepReport},
    },
};

use crate::{
    api::document::{HostSteps, Seconds, StepDocument, StepStatus, StepsDocument, Time},
    fault::Fault,
    status::View,
};

/// Most bytes of output in one answer. As JSON it takes at most six times as many, which an answer's body still holds.
const MAX_OUTPUT: usize = 8 << 20;
/// What verifying can end with.
const OF_VERIFY: [&str; 5] = ["verify-failed", "not-exact", "dirty-database", GATE_FAILED, INTERRUPTED];
/// What hooks can end with.
const OF_HOOKS: [&str; 3] = [HOOK_FAILED, HOOK_TIMED_OUT, INTERRUPTED];
/// Longest echo of a name that nobody has, in characters.
const MAX_ECHO: usize = 80;

/// Every step of `report`.
pub(super) fn all(report: &Report) -> Vec<StepDocument> {
    let (mut room, mut left_out) = (MAX_OUTPUT, 0);
    report_steps(report, &mut room, &mut left_out)
}

/// What the hosts of a rollout reported of their steps: all of them, or `only` the one of that name or key.
///
/// # Errors
/// `not-found` if the rollout has no such host.
pub(super) fn steps(
    view: &View<'_>,
    id: RolloutId,
    state: &Standing,
    only: Option<&str>,
) -> Result<StepsDocument, Fault> {
    let planned = state.plan.hosts.iter().zip(&state.hosts);
    let reports: BTreeMap<String, &Report> =
        planned.filter_map(|(host, state)| Some((host.node.to_string(), state.report.as_deref()?))).collect();
    let mut room = MAX_OUTPUT;
    let mut left_out = 0;
    let mut hosts = Vec::new();
    for result in view.recap(id, state).results {
        if only.is_some_and(|only| only != result.host && only != result.node_id) {
            continue;
        }
        let report = reports.get(&result.node_id);
        let steps = report.map(|report| report_steps(report, &mut room, &mut left_out)).unwrap_or_default();
        hosts.push(HostSteps { host: result.host, node_id: result.node_id, outcome: result.outcome, steps });
    }
    match only.filter(|_| hosts.is_empty()) {
        Some(name) => {
            let shown: String = name.chars().take(MAX_ECHO).collect();
            let text = format!("rollout {} has no host {shown:?}", state.plan.name);
            let remedy = format!("see patchmesh rollout status {id}");
            Err(Fault::new("not-found", text, "nothing was changed", remedy))
        }
        None => Ok(StepsDocument {
            schema: StepsDocument::SCHEMA.to_owned(),
            id: id.to_string(),
            name: state.plan.name.clone(),
            hosts,
            left_out,
        }),
    }
}

fn report_steps(report: &Report, room: &mut usize, left_out: &mut u32) -> Vec<StepDocument> {
    let error = report.error.as_ref();
    let fatal = error.and_then(|error| fatal(&report.steps, &error.code));
    let mut step = |(at, step): (usize, &StepReport)| {
        let fits = room.checked_sub(step.output.len());
        match fits {
            Some(rest) => *room = rest,
            None => *left_out += 1,
        }
        let took = step.ended.0.saturating_sub(step.started.0);
        StepDocument {
            name: step.phase,
            attempt: step.attempt,
            status: if step.ok { StepStatus::Succeeded } else { StepStatus::Failed },
            code: error.filter(|_| fatal == Some(at)).map(|error| error.code.clone()),
            text: error.filter(|_| fatal == Some(at)).map(|error| error.text.clone()),
            started_at: Time(step.started),
            ended_at: Time(step.ended),
            duration_seconds: Seconds(u64::try_from(took).unwrap_or(0)),
            output: fits.map(|_| step.output.clone()),
        }
    };
    report.steps.iter().enumerate().map(&mut step).collect()
}

/// The step that a run failed in with `code`: the first that failed and did not run again, because what follows a failure only
/// looks and cleans up. `None` if the run failed between two steps.
fn fatal(steps: &[StepReport], code: &str) -> Option<usize> {
    let ended_with = |step: &StepReport| match step.phase {
        Phase::Verify => OF_VERIFY.contains(&code),
        Phase::PostReboot | Phase::OnExit => OF_HOOKS.contains(&code),
        _ => true,
    };
    let again = |at: usize| steps[at + 1..].iter().any(|step| step.phase == steps[at].phase);
    steps.iter().enumerate().position(|(at, step)| !step.ok && !again(at) && ended_with(step))
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        run::message::{Outcome, RunError},
        time::WallTime,
    };

    use super::*;
    use crate::status::tests::{ID, World};

    fn step(phase: Phase, attempt: u32, ok: bool, output: &str) -> StepReport {
        StepReport { phase, attempt, ok, started: WallTime(1_000), ended: WallTime(3_500), output: output.into() }
    }

    fn report(steps: Vec<StepReport>) -> Report {
        let mut world = World::new(1, 0, vec![]);
        world.grant(1);
        world.report(1, Outcome::Failed);
        let report = world.view().ledger.rollouts[&ID].hosts[0].report.as_deref().unwrap().clone();
        let error = RunError { code: "transaction-failed".into(), text: String::new(), log: String::new() };
        Report { steps, error: Some(error), ..report }
    }

    #[test]
    fn the_step_that_the_run_failed_in_carries_its_code() {
        let report = report(vec![
            step(Phase::PreInstall, 1, false, "no"),
            step(Phase::PreInstall, 2, true, "yes"),
            step(Phase::Transaction, 1, false, "dpkg: error"),
            step(Phase::OnExit, 1, true, ""),
        ]);
        let (mut room, mut left_out) = (MAX_OUTPUT, 0);
        let steps = report_steps(&report, &mut room, &mut left_out);
        let codes: Vec<_> = steps.iter().map(|step| (step.status.as_str(), step.code.as_deref())).collect();
        assert_eq!(
            codes,
            [("failed", None), ("succeeded", None), ("failed", Some("transaction-failed")), ("succeeded", None)]
        );
        assert_eq!((steps[0].duration_seconds, left_out), (Seconds(2_500), 0));
    }

    #[test]
    fn what_only_looks_and_cleans_up_after_a_failure_does_not_carry_its_code() {
        let codes = |steps: &[(Phase, bool)], code: &str| {
            let steps = steps.iter().map(|(phase, ok)| step(*phase, 1, *ok, "")).collect();
            let mut report = report(steps);
            report.error = Some(RunError { code: code.into(), text: "exit status: 100".into(), log: String::new() });
            let told = report_steps(&report, &mut { MAX_OUTPUT }, &mut 0);
            assert!(told.iter().all(|step| step.text.is_some() == step.code.is_some()));
            told.iter().position(|step| step.code.is_some()).map(|at| told[at].name)
        };
        let failed = [(Phase::Transaction, false), (Phase::Verify, false), (Phase::OnExit, false)];
        assert_eq!(codes(&failed, "transaction-failed"), Some(Phase::Transaction));
        // A reboot that was never begun is no step.
        let barred = [(Phase::Transaction, true), (Phase::Verify, false), (Phase::OnExit, false)];
        assert_eq!(codes(&barred, "stopped"), None);
        assert_eq!(codes(&barred, "not-exact"), Some(Phase::Verify));
        assert_eq!(codes(&barred, "hook-failed"), Some(Phase::OnExit));
    }

    #[test]
    fn an_output_that_does_not_fit_is_left_out_and_counted() {
        let report = report(vec![
            step(Phase::PreInstall, 1, true, "12345"),
            step(Phase::Transaction, 1, true, "123456"),
            step(Phase::Verify, 1, true, "1"),
        ]);
        let (mut room, mut left_out) = (6, 0);
        let outputs: Vec<_> =
            report_steps(&report, &mut room, &mut left_out).into_iter().map(|step| step.output).collect();
        assert_eq!((outputs, room, left_out), (vec![Some("12345".into()), None, Some("1".into())], 0, 1));
    }

    #[test]
    fn hosts_without_a_report_have_no_steps_and_strangers_are_named() {
        let mut world = World::new(2, 0, vec![]);
        world.grant(1);
        let of = |world: &World, only: Option<&str>| steps(&world.view(), ID, &world.view().ledger.rollouts[&ID], only);
        let names = |document: StepsDocument| document.hosts.into_iter().map(|host| host.host).collect::<Vec<_>>();
        let all = of(&world, None).unwrap();
        assert!(all.hosts.iter().all(|host| host.steps.is_empty()));
        assert_eq!(names(all), ["host-1", "host-2"]);
        assert_eq!(names(of(&world, Some("host-2")).unwrap()), ["host-2"]);
        let fault = of(&world, Some("host-9")).unwrap_err();
        assert_eq!((fault.code, fault.message.as_str()), ("not-found", "rollout wave has no host \"host-9\""));
    }
}
