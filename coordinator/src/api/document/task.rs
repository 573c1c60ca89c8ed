//! Tasks of maintenance windows, with what became of them.

use patchmesh_common::{
    rollout::{
        Operation,
        started::Key,
        task::{Standing, Task, stages},
    },
    schedule::{Opening, window::CutoffBehavior},
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::{NotStarted, RecurringResult, RecurringRun, RecurringRuns, Time};
use crate::store::windows::KeptWindow;

/// A task on one of its targets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRow {
    /// Name of the task.
    pub name: String,
    /// Lower is earlier.
    pub priority: u32,
    /// Scan or Install.
    pub operation: Operation,
    /// Name of the target.
    pub target: String,
    /// What hosts at work do at the cutoff.
    pub cutoff_behavior: CutoffBehavior,
    /// The opening in which it is started next, when that opens; null if never.
    pub next_run: Option<Time>,
    /// The newest rollout that it started; null if there is none.
    pub last_run: Option<RecurringRun>,
    /// What became of the newest opening; null if none has come.
    pub last_result: Option<RecurringResult>,
}

/// The rows of `kept` at `now`, in the order in which they are started.
pub fn rows(kept: &KeptWindow, runs: &RecurringRuns, not_started: &NotStarted, now: WallTime) -> Vec<TaskRow> {
    let window = &kept.window;
    let next = window.openings(WallTime(now.0.saturating_add(1))).next().map(|one| one.opening.opens);
    let last = |key: &Key| runs.get(key).map(RecurringRun::run);
    let gave_up = |key: &Key, of| not_started.get(key).is_some_and(|one| one.of == of && one.gave_up);
    let (opening, found) = stages(window, kept.since, last, gave_up, now).unzip();
    let mut found = found.into_iter().flatten();
    let mut row = |task: &Task, target: &str| {
        let key = task.key(&window.name, target);
        let stage = opening.zip(found.next());
        let last_run = runs.get(&key).cloned();
        let now_due = stage.as_ref().filter(|(_, one)| matches!(one.standing, Standing::Due | Standing::Waits(_)));
        let next_run = now_due.map(|(opening, _)| opening.opens).or(next).map(Time);
        let last_result = match &stage {
            Some((opening, one)) => {
                let failed = not_started.get(&key).filter(|one| one.of == opening.opens);
                result(*opening, &one.standing, now, last_run.as_ref(), failed.map(RecurringResult::not_started))
            }
            None => last_run.as_ref().map(RecurringRun::result),
        };
        TaskRow {
            name: task.name.clone(),
            priority: task.priority,
            operation: task.operation,
            target: target.to_owned(),
            cutoff_behavior: task.cutoff_behavior,
            next_run,
            last_run,
            last_result,
        }
    };
    let targets = window.tasks.iter().flat_map(|task| task.targets.iter().map(move |(target, _)| (task, target)));
    targets.map(|(task, target)| row(task, target)).collect()
}

/// What became of `opening`, in which a task stands so.
fn result(
    opening: Opening,
    standing: &Standing,
    now: WallTime,
    last: Option<&RecurringRun>,
    failed: Option<RecurringResult>,
) -> Option<RecurringResult> {
    let at = opening.opens;
    match standing {
        Standing::Started => last.map(RecurringRun::result),
        Standing::Skipped => Some(RecurringResult::skipped(at, last)),
        _ if failed.is_some() => failed,
        Standing::Waits(Key::Task { task, target, .. }) => {
            Some(RecurringResult::new(at, "Pending", Some(format!("until task {task} on {target} has ended"))))
        }
        Standing::Missed if opening.last_start <= now => {
            let text = format!("it was not started before the last start {}", opening.last_start.rfc3339());
            Some(RecurringResult::new(at, "Missed", Some(text)))
        }
        Standing::Missed | Standing::GivenUp => {
            let text = "what comes after it has begun: its turn does not come back".to_owned();
            Some(RecurringResult::new(at, "Missed", Some(text)))
        }
        Standing::Due | Standing::Waits(_) => last.map(RecurringRun::result),
    }
}
