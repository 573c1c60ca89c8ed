//! The fake's rollout as a command.

use patchmesh_common::rollout::{
    Operation,
    status::{Command, Invocation},
};
use patchmesh_coordinator::api::document::*;

use super::{ID, node, rollout, steps, time};

fn row(status: Command) -> CommandRow {
    CommandRow {
        id: ID.into(),
        name: "weekly".into(),
        operation: Operation::Install,
        status: status.coarse().into(),
        status_details: status,
        requested_by: "ann (uid 1000)".into(),
        requested_at: time("2026-12-01T02:00:00Z"),
        ended_at: (status != Command::Cancelling).then(|| time("2026-12-01T02:03:07Z")),
        max_concurrency: "50%".into(),
        max_errors: "0".into(),
        target_count: 3,
        completed_count: 3,
        error_count: 1,
        delivery_timed_out_count: 0,
    }
}

pub(crate) fn commands() -> CommandsDocument {
    CommandsDocument::new(vec![row(Command::Failed)])
}

pub(crate) fn command(status: Command) -> CommandDocument {
    let told = steps::steps(rollout(RolloutState::Halted), None).unwrap();
    let of =
        |host: &str| told.hosts.iter().find(|one| one.host == host).map(|one| one.steps.clone()).unwrap_or_default();
    let one = |number, host: &str, status: Invocation, code: Option<&str>| {
        let steps = of(host);
        InvocationDocument {
            host: host.into(),
            node_id: node(number),
            status: status.coarse().into(),
            status_details: status,
            code: code.map(str::to_owned),
            started_at: steps.first().map(|step| step.started_at),
            ended_at: steps.last().map(|step| step.ended_at),
            steps,
        }
    };
    let invocations = vec![
        one(3, "db-1", Invocation::Terminated, None),
        one(1, "web-1", Invocation::Success, None),
        one(2, "web-2", Invocation::Failed, Some("transaction-failed")),
    ];
    CommandDocument { schema: CommandDocument::SCHEMA.into(), row: row(status), invocations, left_out: told.left_out }
}
