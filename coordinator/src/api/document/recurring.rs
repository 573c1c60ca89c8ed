//! What the coordinator starts by itself, again and again: the last run, and what became of the newest time.

use std::collections::BTreeMap;

use patchmesh_common::{
    rollout::{attempts, started::Key},
    schedule::recurring::Run,
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::{RolloutState, Time};

/// A rollout that a policy or a window's task started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecurringRun {
    /// The time of the schedule that it is for.
    pub due_at: Time,
    /// Its id.
    pub rollout: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: RolloutState,
    /// When it was started.
    pub started_at: Time,
    /// When it ended; null while it is on its way.
    pub ended_at: Option<Time>,
    /// Why it stands there, as far as that is to be said: told as the text of its result.
    #[serde(skip)]
    pub reason: Option<String>,
}

impl RecurringRun {
    pub(super) fn run(&self) -> Run {
        Run { of: self.due_at.0, started: self.started_at.0, ended: self.ended_at.map(|time| time.0) }
    }

    /// What became of its time.
    pub(super) fn result(&self) -> RecurringResult {
        RecurringResult::new(self.due_at.0, self.state.as_str(), self.reason.clone())
    }
}

/// What became of the newest time of a schedule that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecurringResult {
    /// That time.
    pub at: Time,
    /// The state of its rollout, or `Skipped`, `Missed`, `NotStarted`, or `NoInstancesInTag` (AWS's word: its targets matched no
    /// host, and nothing was to be done); of a task also `Pending`.
    pub result: String,
    /// Why there is no rollout, or why its rollout stands where it does; null if nothing is to be said.
    pub text: Option<String>,
}

impl RecurringResult {
    pub(super) fn new(at: WallTime, result: &str, text: Option<String>) -> Self {
        Self { at: Time(at), result: result.to_owned(), text }
    }

    pub(super) fn skipped(at: WallTime, before: Option<&RecurringRun>) -> Self {
        let before = before.map_or("the run before it", |run| run.name.as_str());
        Self::new(at, "Skipped", Some(format!("{before} was still on its way")))
    }

    pub(super) fn not_started(one: &attempts::NotStarted) -> Self {
        let result = if one.is_empty { "NoInstancesInTag" } else { "NotStarted" };
        Self::new(one.of, result, Some(one.because.clone()))
    }
}

/// The newest run of everything that started one.
pub type RecurringRuns = BTreeMap<Key, RecurringRun>;

/// What could not be started. This coordinator knows it as long as it runs.
pub type NotStarted = BTreeMap<Key, attempts::NotStarted>;
