//! One rolling wave through the coordinator's API: wait for the mesh, plan, apply, watch.

use std::{collections::BTreeSet, path::Path, time::Duration};

use patchmesh_common::rollout::{
    OnHookFailure, OnSuperseded, Operation, RebootOption,
    limit::Ramp,
    spec::{Asked, RolloutSpec, Targets},
};
use tokio::time::{Instant, sleep};

use super::{
    DemoArgs,
    fleet::{Board, Fleet},
};
use crate::{
    api::{
        client::Client,
        document::{PlanDocument, Presence, RolloutDocument, SpecDocument},
    },
    command::watch::{print_event, until_over},
    fault::Fault,
    output,
    render::Live,
};

/// How long the mesh may take to be complete: a fixed part, and a part for every host.
const COMPLETE: (Duration, Duration) = (Duration::from_secs(180), Duration::from_secs(5));
/// Between two questions.
const ASK: Duration = Duration::from_millis(200);
/// Time-out of one hook; the demo's own take milliseconds.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// Lines of a log that an error shows.
const MAX_LOG_LINES: usize = 5;

/// Runs the wave to its end.
pub(super) async fn ride(args: &DemoArgs, fleet: &Fleet, board: &Board) -> Result<RolloutDocument, Fault> {
    let client = Client::new(&fleet.socket);
    let names: BTreeSet<String> = fleet.hosts.iter().map(|(host, ..)| host.name.clone()).collect();
    let deadline = Instant::now() + COMPLETE.0 + COMPLETE.1 * u32::try_from(names.len()).unwrap_or(u32::MAX);
    let board_failed = |error: std::io::Error| failed("fleet.json cannot be written", fleet).because(error);

    complete(&client, fleet, &names, deadline).await?;
    board.publish(fleet).map_err(board_failed)?;
    let plan = plan(&client, &spec(args, names), fleet, deadline).await?;
    output::talk(&format!("planned {} hosts ({})\n", plan.hosts().count(), plan.hash.get(..12).unwrap_or_default()));
    let id = client.apply_unasked(&plan).await?.id;
    board.set_rollout(fleet, &id).map_err(board_failed)?;
    let format = args.output.format;
    let mut live = Live::new(format != crate::output::Format::Jsonl);
    until_over(&client, &id, &mut live, |event| print_event(event, format)).await
}

fn spec(args: &DemoArgs, names: BTreeSet<String>) -> RolloutSpec {
    RolloutSpec {
        urgent: None,
        name: "demo".to_owned(),
        operation: Operation::Install,
        targets: Targets::Names(names),
        baseline: Asked::All,
        install_list: None,
        max_concurrency: args.max_concurrency.clone(),
        max_errors: args.max_errors.clone(),
        openings: Vec::new(),
        windows: Vec::new(),
        blackouts: Vec::new(),
        reboot: RebootOption::IfNeeded,
        hook_timeout: HOOK_TIMEOUT,
        on_hook_failure: OnHookFailure::Fail,
        rings: Vec::new(),
        ramp: Ramp::Full,
        gates: Vec::new(),
        ring_gates: Vec::new(),
        on_superseded: OnSuperseded::Skip,
    }
}

/// Waits until the coordinator hears every host.
async fn complete(client: &Client, fleet: &Fleet, names: &BTreeSet<String>, deadline: Instant) -> Result<(), Fault> {
    let mut said = usize::MAX;
    loop {
        let heard = match client.hosts().await {
            Ok(document) => {
                let live = document.hosts.iter().filter(|row| row.presence == Presence::Live);
                live.filter(|row| names.contains(&row.host)).count()
            }
            Err(_) => 0,
        };
        if heard != said {
            output::talk(&format!("the coordinator hears {heard} of {} hosts\n", names.len()));
            said = heard;
        }
        if heard == names.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(failed(&format!("the coordinator hears only {heard} of {} hosts", names.len()), fleet));
        }
        sleep(ASK).await;
    }
}

/// Plans until every host is in: one that was just heard may still be busy with its first scan.
async fn plan(client: &Client, spec: &RolloutSpec, fleet: &Fleet, deadline: Instant) -> Result<PlanDocument, Fault> {
    loop {
        let left = match client.plan(&SpecDocument::from(spec)).await {
            Ok(plan) if plan.excluded.is_empty() && plan.hosts().count() == fleet.hosts.len() => return Ok(plan),
            Ok(plan) => {
                let reasons: Vec<_> =
                    plan.excluded.iter().map(|out| format!("{} ({})", out.host, out.waiting.text)).collect();
                failed(&format!("the plan leaves hosts out: {}", reasons.join(", ")), fleet)
            }
            Err(fault) => fault,
        };
        if Instant::now() > deadline {
            return Err(left);
        }
        sleep(ASK).await;
    }
}

/// A fault that shows where to look.
fn failed(message: &str, fleet: &Fleet) -> Fault {
    let log = &fleet.coordinator.log;
    let tail = tail(log);
    let tail = if tail.is_empty() { String::new() } else { format!("; the coordinator's log ends with: {tail}") };
    Fault::new(
        "demo-failed",
        format!("{message}{tail}"),
        "this machine was not changed outside the demo's folder",
        format!("look at {} and the logs in {}", log.display(), fleet.folder.join("hosts").display()),
    )
}

fn tail(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(MAX_LOG_LINES)..].join(" | ")
}
