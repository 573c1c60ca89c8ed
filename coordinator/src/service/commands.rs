//! Rollouts as commands.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        ledger::{Progress, RolloutState as Standing},
        plan::ExcludedHost,
        status::{self, Counters, Invocation},
    },
};

use super::steps;
use crate::{
    api::document::{CommandDocument, CommandRow, CommandsDocument, InvocationDocument, Time},
    fault::Fault,
    status::View,
};

/// Every rollout as a command.
pub(super) fn list(view: &View<'_>) -> CommandsDocument {
    CommandsDocument::new(view.ledger.rollouts.iter().map(|(id, state)| row(*id, state)).collect())
}

/// One rollout as a command, with every target.
///
/// # Errors
/// None that a rollout of the ledger can have: what the steps say.
pub(super) fn show(view: &View<'_>, id: RolloutId, state: &Standing) -> Result<CommandDocument, Fault> {
    let told = steps::steps(view, id, state, None)?;
    let mut steps: BTreeMap<_, _> = told.hosts.into_iter().map(|host| (host.node_id, host.steps)).collect();
    let planned = (0..state.hosts.len()).map(|at| planned(state, at));
    let mut invocations: Vec<_> = planned.chain(state.plan.excluded.iter().map(left_out)).collect();
    for one in &mut invocations {
        one.steps = steps.remove(&one.node_id).unwrap_or_default();
    }
    invocations.sort_by(|a, b| (&a.host, &a.node_id).cmp(&(&b.host, &b.node_id)));
    let schema = CommandDocument::SCHEMA.to_owned();
    Ok(CommandDocument { schema, row: row(id, state), invocations, left_out: told.left_out })
}

/// The host at `at` of a rollout, with its steps: what its file of logs says.
pub(super) fn whole(state: &Standing, at: usize) -> InvocationDocument {
    let steps = state.hosts[at].report.as_deref().map(steps::all).unwrap_or_default();
    InvocationDocument { steps, ..planned(state, at) }
}

fn row(id: RolloutId, state: &Standing) -> CommandRow {
    let counters = Counters::of(&status::invocations(state));
    let whole = status::command(state);
    CommandRow {
        id: id.to_string(),
        name: state.plan.name.clone(),
        operation: state.plan.operation,
        status: whole.coarse().to_owned(),
        status_details: whole,
        requested_by: state.by.clone(),
        requested_at: Time(state.started_at),
        ended_at: state.ended_at.map(Time),
        max_concurrency: state.plan.max_concurrency.given.clone(),
        max_errors: state.plan.max_errors.given.clone(),
        target_count: counters.targets,
        completed_count: counters.completed,
        error_count: counters.errors,
        delivery_timed_out_count: counters.delivery_timed_out,
    }
}

fn planned(state: &Standing, at: usize) -> InvocationDocument {
    let (host, stand) = (&state.plan.hosts[at], &state.hosts[at]);
    let report = stand.report.as_deref();
    let code = match &stand.progress {
        Progress::Refused(refusal) => Some(refusal.code.as_str().to_owned()),
        Progress::Released(_) => Some("released".to_owned()),
        Progress::Running { .. } => None,
        _ => report.and_then(|report| report.error.as_ref()).map(|error| error.code.clone()),
    };
    let times = match &stand.progress {
        Progress::Running { since, .. } => (Some(Time(*since)), None),
        // What became of it is not known: it began, and may still be at work.
        Progress::Released(release) => match report {
            None => (Some(Time(release.since)), None),
            Some(report) => (Some(Time(report.started)), Some(Time(report.ended))),
        },
        _ => (report.map(|report| Time(report.started)), report.map(|report| Time(report.ended))),
    };
    document((host.name.clone(), host.node.to_string()), status::invocation(state, at), code, times)
}

fn left_out(host: &ExcludedHost) -> InvocationDocument {
    let names = (host.name.clone(), host.node.to_string());
    document(names, status::excluded(host), Some(host.code.clone()), (None, None))
}

fn document(
    (host, node_id): (String, String),
    status: Invocation,
    code: Option<String>,
    (started_at, ended_at): (Option<Time>, Option<Time>),
) -> InvocationDocument {
    let (coarse, steps) = (status.coarse().to_owned(), Vec::new());
    InvocationDocument { host, node_id, status: coarse, status_details: status, code, started_at, ended_at, steps }
}

#[cfg(test)]
mod tests {
    use patchmesh_common::{
        rollout::{plan::ExcludedBecause, status::Command},
        run::message::Outcome,
    };

    use super::*;
    use crate::status::tests::{ID, World};

    #[test]
    fn a_rollout_is_a_command_with_an_invocation_for_every_target() {
        let mut world = World::new(3, 1, vec![ExcludedBecause::Observing]);
        world.grant(1);
        world.report(1, Outcome::Failed);
        world.grant(2);
        let view = world.view();
        let list = list(&view);
        let CommandRow { status, status_details, target_count, completed_count, error_count, .. } = &list.commands[0];
        assert_eq!((status.as_str(), *status_details), ("InProgress", Command::InProgress));
        assert_eq!((*target_count, *completed_count, *error_count), (4, 2, 1));
        let shown = show(&view, ID, &view.ledger.rollouts[&ID]).unwrap();
        assert_eq!(shown.row, list.commands[0]);
        let said = |one: &InvocationDocument| (one.host.clone(), one.status_details, one.started_at.is_some());
        let expected = [
            ("host-1", Invocation::Failed, true),
            ("host-2", Invocation::InProgress, true),
            ("host-3", Invocation::Pending, false),
            ("out-0", Invocation::AccessDenied, false),
        ];
        let expected = expected.map(|(host, status, began)| (host.to_owned(), status, began));
        assert_eq!(shown.invocations.iter().map(said).collect::<Vec<_>>(), expected);
        assert!(shown.invocations[0].code.is_some() && shown.invocations[1].ended_at.is_none());
    }

    #[test]
    fn a_host_that_was_released_began_and_nobody_knows_when_it_ended() {
        let mut world = World::new(1, 0, vec![]);
        world.grant(1);
        world.release(1);
        let view = world.view();
        let shown = show(&view, ID, &view.ledger.rollouts[&ID]).unwrap();
        let InvocationDocument { code, started_at, ended_at, .. } = &shown.invocations[0];
        assert_eq!((code.as_deref(), *started_at, *ended_at), (Some("released"), Some(Time(world.now.wall)), None));
    }
}
