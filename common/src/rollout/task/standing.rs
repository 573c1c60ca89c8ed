//! Where the tasks of a window stand in its newest opening: a function of the window, of the runs that the ledger knows, and of now.

use super::{
    super::{
        attempts::{Attempts, Start},
        started::{Key, Runs},
    },
    Task,
};
use crate::{
    schedule::{Opening, recurring::Run, window::Window},
    time::WallTime,
};

/// A task on one of its targets, in the newest opening of its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which it is.
    pub key: Key,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a task on one of its targets stands in an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It was started, and may have ended.
    Started,
    /// Its run of an earlier opening was still on its way when this one opened, so that this one has none (AWS's
    /// `SKIPPED_OVERLAPPING`).
    Skipped,
    /// It could not be started, and is tried no more.
    GivenUp,
    /// It was not started before the last start, or before what comes after it was.
    Missed,
    /// It waits for the end of this one.
    Waits(Key),
    /// It is to be started.
    Due,
}

/// What is known of a stage, beside its place.
struct Seen<'a> {
    task: &'a Task,
    target: usize,
    key: Key,
    started: bool,
    going: bool,
    skipped: bool,
    given_up: bool,
}

impl Seen<'_> {
    /// Whether it goes before `other`: by priority, and one target of a task after the other.
    fn is_before(&self, other: &Self) -> bool {
        let same = self.task.name == other.task.name;
        self.task.priority < other.task.priority || same && self.target < other.target
    }
}

/// Where everything stands that `window`, which is so since `since`, does in its newest opening at `now`, in order; with that opening.
/// `None` if none has come. `last` is the newest run that was started, and `gave_up` says what is tried no more for a time.
pub fn stages(
    window: &Window,
    since: WallTime,
    last: impl Fn(&Key) -> Option<Run>,
    gave_up: impl Fn(&Key, WallTime) -> bool,
    now: WallTime,
) -> Option<(Opening, Vec<Stage>)> {
    if window.tasks.is_empty() {
        return None;
    }
    let opening = window.newest(since, now)?;
    let of = opening.opens;
    let see = |task, (target, (name, _)): (usize, &(String, _))| {
        let task: &Task = task;
        let key = task.key(&window.name, name);
        let run = last(&key);
        Seen {
            started: run.is_some_and(|run| run.of >= of),
            going: run.is_some_and(|run| run.ended.is_none()),
            skipped: run.is_some_and(|run| run.of < of && overlaps(run, of, now)),
            given_up: gave_up(&key, of),
            task,
            target,
            key,
        }
    };
    let seen: Vec<_> =
        window.tasks.iter().flat_map(|task| task.targets.iter().enumerate().map(move |one| see(task, one))).collect();
    // A turn that has passed does not come back, whatever is forgotten of why it was not taken.
    let is_passed = |one: &Seen<'_>| seen.iter().any(|later| later.started && one.is_before(later));
    let is_settled = |one: &Seen<'_>| !one.going && (one.started || one.skipped || one.given_up || is_passed(one));
    let standing = |one: &Seen<'_>| match seen.iter().find(|before| before.is_before(one) && !is_settled(before)) {
        _ if one.started => Standing::Started,
        _ if one.skipped => Standing::Skipped,
        _ if one.given_up => Standing::GivenUp,
        _ if is_passed(one) || opening.last_start <= now => Standing::Missed,
        Some(before) => Standing::Waits(before.key.clone()),
        None => Standing::Due,
    };
    let stages = seen.iter().map(|one| Stage { key: one.key.clone(), standing: standing(one) }).collect();
    Some((opening, stages))
}

/// Whether `run`, of an earlier opening, was on its way at `of`. It did not end in the future: the clock was ahead then, and what it
/// said of the end counts for nothing.
fn overlaps(run: Run, of: WallTime, now: WallTime) -> bool {
    run.ended.is_none_or(|ended| of <= ended && ended <= now)
}

/// The runs of tasks of `window`, which is so since `since`, that are due at `now`.
pub(in crate::rollout) fn wanted(
    window: &Window,
    since: WallTime,
    runs: &Runs,
    attempts: &Attempts,
    now: WallTime,
) -> Vec<Start> {
    let gave_up = |key: &Key, of| attempts.gave_up(key, of);
    let last = |key: &Key| runs.get(key).map(|(_, run)| *run);
    let Some((opening, stages)) = stages(window, since, last, gave_up, now) else { return Vec::new() };
    let targets = window.tasks.iter().flat_map(|task| task.targets.iter().map(move |(_, targets)| (task, targets)));
    let due = targets.zip(stages).filter(|(_, stage)| stage.standing == Standing::Due);
    due.map(|((task, targets), stage)| task.start(stage.key, targets, opening)).collect()
}
