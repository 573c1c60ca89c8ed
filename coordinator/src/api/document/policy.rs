//! Patch policies, with what became of them.

use std::collections::BTreeMap;

use patchmesh_common::{
    rollout::{
        Operation,
        policy::{OPERATIONS, Timing},
    },
    schedule::recurring::{Due, Passed, Run},
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::{RolloutState, TargetsDocument, Time};
use crate::{manifest::policy::Written, store::policies::KeptPolicy};

/// A rollout that a policy started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRun {
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
}

impl PolicyRun {
    fn run(&self) -> Run {
        Run { of: self.due_at.0, started: self.started_at.0, ended: self.ended_at.map(|time| time.0) }
    }
}

/// What became of the newest time of a schedule that has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyResult {
    /// That time.
    pub at: Time,
    /// The state of its rollout, or `Skipped`, `Missed` or `NotStarted`.
    pub result: String,
    /// Why there is no rollout; null if there is one.
    pub text: Option<String>,
}

/// The newest run of every policy and operation.
pub type PolicyRuns = BTreeMap<(String, Operation), PolicyRun>;

/// Why a run could not be started for a time, by policy and operation.
pub type NotStarted = BTreeMap<(String, Operation), (WallTime, String)>;

/// Where the logs of a policy's runs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLogs {
    /// The folder, as written.
    pub folder: String,
    /// Why it could not be written when it was last tried; null if it could, or nothing was to be written yet.
    pub error: Option<String>,
}

/// One operation of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRow {
    /// Name of the policy.
    pub name: String,
    /// What the policy says of itself.
    pub description: Option<String>,
    /// Whether it is ours, and nobody has written another one of that name.
    pub predefined: bool,
    /// Whether anything of it is ever due.
    pub enabled: bool,
    /// Scan or Install.
    pub operation: Operation,
    /// As written.
    pub schedule: String,
    /// Whose local time that is, by its IANA name.
    pub zone: String,
    /// Which hosts.
    pub targets: TargetsDocument,
    /// When it is due next; null if never.
    pub next_run: Option<Time>,
    /// The newest rollout that it started; null if there is none.
    pub last_run: Option<PolicyRun>,
    /// What became of the newest time; null if none has come.
    pub last_result: Option<PolicyResult>,
    /// Where its logs go; null if nowhere.
    pub logs: Option<PolicyLogs>,
}

/// The rows of `kept` at `now`: one for each of its operations. `unwritten` says why a folder of logs could not be written.
pub fn rows(
    kept: &KeptPolicy,
    runs: &PolicyRuns,
    not_started: &NotStarted,
    unwritten: impl Fn(&str) -> Option<String>,
    now: WallTime,
) -> Vec<PolicyRow> {
    let spec = &kept.written.spec;
    let logs = kept.policy.logs.as_ref().map(|folder| PolicyLogs { folder: folder.clone(), error: unwritten(folder) });
    let timing = |operation| match operation {
        Operation::Scan => spec.scan.as_ref(),
        Operation::Install => spec.install.as_ref(),
    };
    let row = |operation: Operation, timing: &Timing| {
        let key = (kept.written.name.clone(), operation);
        let last_run = runs.get(&key).cloned();
        let recurring = kept.policy.recurring(operation);
        let due =
            recurring.map(|one| one.due(kept.since, last_run.as_ref().map(PolicyRun::run), now)).unwrap_or_default();
        PolicyRow {
            name: key.0.clone(),
            description: spec.description.clone(),
            predefined: kept.predefined,
            enabled: kept.policy.enabled,
            operation,
            schedule: timing.schedule.clone(),
            zone: spec.timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
            targets: TargetsDocument::from(kept.policy.targets()),
            next_run: due.now.or(due.next).map(Time),
            last_result: result(&due, last_run.as_ref(), not_started.get(&key)),
            last_run,
            logs: logs.clone(),
        }
    };
    OPERATIONS.into_iter().filter_map(|operation| Some(row(operation, timing(operation)?))).collect()
}

fn result(due: &Due, last: Option<&PolicyRun>, not_started: Option<&(WallTime, String)>) -> Option<PolicyResult> {
    let told = |at, result: &str, text: Option<String>| PolicyResult { at: Time(at), result: result.to_owned(), text };
    match (due.passed, not_started) {
        // Of a time without a rollout it is known why, as long as this coordinator runs.
        (passed, Some((of, text))) if due.now == Some(*of) || passed == Some((*of, Passed::Missed)) => {
            Some(told(*of, "NotStarted", Some(text.clone())))
        }
        (Some((at, Passed::Skipped)), _) => {
            let before = last.map_or("the run before it", |run| run.name.as_str());
            Some(told(at, "Skipped", Some(format!("{before} was still on its way"))))
        }
        (Some((at, Passed::Missed)), _) => {
            let text = "no coordinator started it in time, and the schedule does not catch up".to_owned();
            Some(told(at, "Missed", Some(text)))
        }
        (None, _) => last.map(|run| told(run.due_at.0, run.state.as_str(), None)),
    }
}

/// `patchmesh.policies/v1`: `get policies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoliciesDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name, a scan before an install.
    pub policies: Vec<PolicyRow>,
}

impl PoliciesDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.policies/v1";

    /// The list of `policies`, in this order.
    pub fn new(policies: Vec<PolicyRow>) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), policies }
    }
}

/// `patchmesh.policy/v1`: `describe policy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Its name.
    pub name: String,
    /// One for each of its operations, a scan before an install.
    pub operations: Vec<PolicyRow>,
    /// As it is written.
    pub manifest: Written,
}

impl PolicyDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.policy/v1";

    /// The document of `kept`, whose rows are `operations`.
    pub fn new(kept: KeptPolicy, operations: Vec<PolicyRow>) -> Self {
        let name = kept.written.name.clone();
        Self { schema: Self::SCHEMA.to_owned(), name, operations, manifest: Written::from(kept.written) }
    }
}
