//! Rollouts in the words of AWS Run Command.

use super::{counted, duration, one_line};
use crate::{
    api::document::{CommandDocument, CommandsDocument, Time},
    output::Rows,
};

fn time(at: Option<Time>) -> String {
    at.map(|at| at.to_string()).unwrap_or_default()
}

/// `commands ls`; more columns if `wide`.
pub fn commands(document: &CommandsDocument, wide: bool) -> Rows {
    let mut header =
        vec!["id", "name", "operation", "status", "done", "errors", "timed out", "targets", "requested", "by"];
    if wide {
        header.extend(["coarse", "max concurrency", "max errors", "ended"]);
    }
    let mut rows = Rows::new(&header);
    for one in &document.commands {
        let mut row = vec![
            one.id.clone(),
            one.name.clone(),
            format!("{:?}", one.operation),
            format!("{:?}", one.status_details),
            one.completed_count.to_string(),
            one.error_count.to_string(),
            one.delivery_timed_out_count.to_string(),
            one.target_count.to_string(),
            one.requested_at.to_string(),
            one_line(&one.requested_by),
        ];
        if wide {
            let limits = [one.max_concurrency.clone(), one.max_errors.clone()];
            row.extend([one.status.clone()].into_iter().chain(limits).chain([time(one.ended_at)]));
        }
        rows.push(row);
    }
    rows
}

/// `commands show`: a line per host, then one per step with the last line of its output; more columns if `wide`.
pub fn command(document: &CommandDocument, wide: bool) -> String {
    let row = &document.row;
    let mut text = format!(
        "{} ({}) is {:?}: {} of {} done, {}, {} not delivered in time\nrequested at {} by {}\n\n",
        row.name,
        row.id,
        row.status_details,
        row.completed_count,
        row.target_count,
        counted(row.error_count as usize, "error"),
        row.delivery_timed_out_count,
        row.requested_at,
        one_line(&row.requested_by)
    );
    let mut of_hosts = vec!["host", "status", "code", "started", "ended"];
    let mut of_steps = vec!["host", "step", "status", "code", "started", "ended", "took", "output"];
    if wide {
        of_hosts.extend(["coarse", "node"]);
        of_steps.extend(["attempt", "why"]);
    }
    let (mut hosts, mut steps) = (Rows::new(&of_hosts), Rows::new(&of_steps));
    for one in &document.invocations {
        let code = one.code.as_deref().map(one_line).unwrap_or_default();
        let status = format!("{:?}", one.status_details);
        let mut row = vec![one.host.clone(), status, code, time(one.started_at), time(one.ended_at)];
        if wide {
            row.extend([one.status.clone(), one.node_id.clone()]);
        }
        hosts.push(row);
        for step in &one.steps {
            let mut lines = step.output.iter().flat_map(|output| output.lines()).map(one_line);
            let mut row = vec![
                one.host.clone(),
                step.name.as_str().to_owned(),
                step.status.as_str().to_owned(),
                step.code.as_deref().map(one_line).unwrap_or_default(),
                step.started_at.to_string(),
                step.ended_at.to_string(),
                duration(step.duration_seconds.0 / 1000),
                lines.rfind(|line| !line.is_empty()).unwrap_or_default(),
            ];
            if wide {
                row.extend([step.attempt.to_string(), step.text.as_deref().map(one_line).unwrap_or_default()]);
            }
            steps.push(row);
        }
    }
    text.push_str(&hosts.table());
    if !steps.rows.is_empty() {
        text.push_str(&format!("\n{}", steps.table()));
    }
    text
}
