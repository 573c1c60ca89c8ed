//! Rollouts in the words of AWS Run Command: one command each, with one invocation per target.

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        Operation,
        ledger::RolloutState,
        status::{Command, Invocation},
    },
};
use serde::{Deserialize, Serialize};

use super::{StepDocument, Time};

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandRow {
    /// The rollout's id, hex.
    pub id: String,
    /// Name of its manifest.
    pub name: String,
    /// Scan or Install.
    pub operation: Operation,
    /// AWS's coarse status.
    pub status: String,
    /// AWS's fine one.
    pub status_details: Command,
    /// Who applied it.
    pub requested_by: String,
    /// When it was applied.
    pub requested_at: Time,
    /// When nothing moved any more; null while something may.
    pub ended_at: Option<Time>,
    /// As written.
    pub max_concurrency: String,
    /// As written.
    pub max_errors: String,
    /// Targets, those that the plan left out included.
    pub target_count: u32,
    /// Targets of which nothing more comes.
    pub completed_count: u32,
    /// Targets that count against max-errors.
    pub error_count: u32,
    /// Targets that were not heard of in time.
    pub delivery_timed_out_count: u32,
}

/// One target of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvocationDocument {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// AWS's coarse status.
    pub status: String,
    /// AWS's fine one.
    pub status_details: Invocation,
    /// Why it did not succeed: a stable kebab-case word; null if it did, or has not ended.
    pub code: Option<String>,
    /// When it began, by the host's clock; of one at work its `Go`; null if it never did.
    pub started_at: Option<Time>,
    /// When it ended, by the host's clock.
    pub ended_at: Option<Time>,
    /// What its host reported of it, in order.
    pub steps: Vec<StepDocument>,
}

/// `patchmesh.commands/v1`: `commands ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name, then by when they were applied.
    pub commands: Vec<CommandRow>,
}

impl CommandsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.commands/v1";

    /// Of these rows.
    pub fn new(mut commands: Vec<CommandRow>) -> Self {
        commands.sort_by(|a, b| (&a.name, a.requested_at.0, &a.id).cmp(&(&b.name, b.requested_at.0, &b.id)));
        Self { schema: Self::SCHEMA.to_owned(), commands }
    }
}

/// `patchmesh.command/v1`: `commands show`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The whole.
    #[serde(flatten)]
    pub row: CommandRow,
    /// Every target, by name.
    pub invocations: Vec<InvocationDocument>,
    /// How many outputs are left out, so that the answer fits: see `rollout steps --host NAME`.
    pub left_out: u32,
}

impl CommandDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.command/v1";
}

/// `patchmesh.host-log/v1`: a file of a policy's logs, one host of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostLogDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// The rollout's id, hex.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Scan or Install.
    pub operation: Operation,
    /// How the host stands in it.
    #[serde(flatten)]
    pub host: InvocationDocument,
}

impl HostLogDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.host-log/v1";

    /// Of `host` in the rollout `id`.
    pub fn new(id: RolloutId, state: &RolloutState, host: InvocationDocument) -> Self {
        let (schema, id, name) = (Self::SCHEMA.to_owned(), id.to_string(), state.plan.name.clone());
        Self { schema, id, name, operation: state.plan.operation, host }
    }
}
