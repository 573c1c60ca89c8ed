//! Patch policies, with what became of them.

use patchmesh_common::{
    rollout::{
        Operation, attempts,
        policy::{OPERATIONS, Timing},
    },
    schedule::recurring::{Due, Passed},
    time::WallTime,
};
use serde::{Deserialize, Serialize};

use super::{NotStarted, RecurringResult, RecurringRun, RecurringRuns, TargetsDocument, Time};
use crate::{manifest::policy::Written, store::policies::KeptPolicy};

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
    pub last_run: Option<RecurringRun>,
    /// What became of the newest time; null if none has come.
    pub last_result: Option<RecurringResult>,
    /// Where its logs go; null if nowhere.
    pub logs: Option<PolicyLogs>,
}

/// The rows of `kept` at `now`: one for each of its operations. `unwritten` says why a folder of logs could not be written.
pub fn rows(
    kept: &KeptPolicy,
    runs: &RecurringRuns,
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
        let key = kept.policy.key(operation);
        let last_run = runs.get(&key).cloned();
        let recurring = kept.policy.recurring(operation);
        let due =
            recurring.map(|one| one.due(kept.since, last_run.as_ref().map(RecurringRun::run), now)).unwrap_or_default();
        PolicyRow {
            name: kept.written.name.clone(),
            description: spec.description.clone(),
            predefined: kept.predefined,
            enabled: kept.policy.enabled,
            operation,
            schedule: timing.schedule.clone(),
            zone: spec.timezone.clone().unwrap_or_else(|| "UTC".to_owned()),
            targets: TargetsDocument::from(kept.policy.targets()),
            next_run: due.now.filter(|now| !is_over(*now, not_started.get(&key))).or(due.next).map(Time),
            last_result: result(&due, last_run.as_ref(), not_started.get(&key)),
            last_run,
            logs: logs.clone(),
        }
    };
    OPERATIONS.into_iter().filter_map(|operation| Some(row(operation, timing(operation)?))).collect()
}

/// Whether nothing more is tried of the time `of`.
fn is_over(of: WallTime, failed: Option<&attempts::NotStarted>) -> bool {
    failed.is_some_and(|one| one.of == of && one.gave_up)
}

fn result(due: &Due, last: Option<&RecurringRun>, failed: Option<&attempts::NotStarted>) -> Option<RecurringResult> {
    match (due.passed, failed) {
        // Of a time without a rollout it is known why, as long as this coordinator runs.
        (passed, Some(one)) if due.now == Some(one.of) || passed == Some((one.of, Passed::Missed)) => {
            Some(RecurringResult::not_started(one))
        }
        (Some((at, Passed::Skipped)), _) => Some(RecurringResult::skipped(at, last)),
        (Some((at, Passed::Missed)), _) => {
            let text = "no coordinator started it in time, and the schedule does not catch up".to_owned();
            Some(RecurringResult::new(at, "Missed", Some(text)))
        }
        (None, _) => last.map(RecurringRun::result),
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
