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

/// `commands show`: a line per host, then one per step with the last line of its output.
pub fn command(document: &CommandDocument) -> String {
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
    let mut hosts = Rows::new(&["host", "status", "code", "started", "ended"]);
    let mut steps = Rows::new(&["host", "step", "status", "code", "started", "took", "output"]);
    for one in &document.invocations {
        let code = one.code.as_deref().map(one_line).unwrap_or_default();
        let status = format!("{:?}", one.status_details);
        hosts.push(vec![one.host.clone(), status, code, time(one.started_at), time(one.ended_at)]);
        for step in &one.steps {
            let mut lines = step.output.iter().flat_map(|output| output.lines()).map(one_line);
            steps.push(vec![
                one.host.clone(),
                step.name.as_str().to_owned(),
                step.status.as_str().to_owned(),
                step.code.as_deref().map(one_line).unwrap_or_default(),
                step.started_at.to_string(),
                duration(step.duration_seconds.0 / 1000),
                lines.rfind(|line| !line.is_empty()).unwrap_or_default(),
            ]);
        }
    }
    text.push_str(&hosts.table());
    if !steps.rows.is_empty() {
        text.push_str(&format!("\n{}", steps.table()));
    }
    text
}
