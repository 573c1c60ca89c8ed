//! What became of the tasks of a window called `patch-tuesday`, an hour after it opened: the scan succeeded, the install on `canary` is
//! on its way, and that of `web` waits for it. The scan of `db` had no host to scan.

use patchmesh_common::{
    rollout::{attempts, started::Key},
    time::WallTime,
};
use patchmesh_coordinator::{
    api::document::*,
    fault::Fault,
    store::{Store, windows::KeptWindow},
};

use super::{ID, time};

const OPENS: &str = "2026-12-11T01:30:00Z";

fn now() -> WallTime {
    time("2026-12-11T02:30:00Z").0
}

fn key(task: &str, target: &str) -> Key {
    Key::Task { window: "patch-tuesday".into(), task: task.into(), target: target.into() }
}

fn run(name: &str, state: RolloutState, started: &str, ended: Option<&str>) -> RecurringRun {
    RecurringRun {
        due_at: time(OPENS),
        rollout: ID.into(),
        name: format!("patch-tuesday-{name}-20261211t013000z"),
        state,
        started_at: time(started),
        ended_at: ended.map(time),
        reason: None,
    }
}

fn rows(kept: &KeptWindow) -> Vec<TaskRow> {
    let scanned = run("scan", RolloutState::Succeeded, "2026-12-11T01:30:01Z", Some("2026-12-11T01:34:00Z"));
    let installing = run("patch-canary", RolloutState::Running, "2026-12-11T01:37:02Z", None);
    let runs = [(key("scan", "web"), scanned), (key("patch", "canary"), installing)];
    let because = "the targets match none of the 4 known hosts".to_owned();
    let failed = attempts::NotStarted { of: time(OPENS).0, because, gave_up: true, is_empty: true };
    task_rows(kept, &runs.into(), &[(key("scan-db", "db"), failed)].into(), now())
}

pub(crate) fn list(store: &Store) -> Result<WindowListDocument, Fault> {
    let kept = store.windows()?;
    Ok(WindowListDocument::new(kept.iter().map(|one| WindowRow::new(one, rows(one), Time(now()))).collect()))
}

pub(crate) fn one(store: &Store, name: &str) -> Result<WindowDocument, Fault> {
    let kept = store.window(name)?;
    let tasks = rows(&kept);
    Ok(WindowDocument::new(kept, tasks, Time(now())))
}
