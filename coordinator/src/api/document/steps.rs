//! The log of a rollout: every step that hosts reported.

use patchmesh_common::run::Phase;
use serde::{Deserialize, Serialize};

use super::{HostOutcome, Seconds, Time};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepStatus {
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
}

impl StepStatus {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One step of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepDocument {
    /// Its phase; of a hook the phase of its point.
    pub name: Phase,
    /// 1 unless the step had to run again.
    pub attempt: u32,
    /// How it ended.
    pub status: StepStatus,
    /// Why the run failed, of the step that it failed in; otherwise null.
    pub code: Option<String>,
    /// The same for people, with the exit status of what was run; otherwise null.
    pub text: Option<String>,
    /// By the host's clock.
    pub started_at: Time,
    /// By the host's clock.
    pub ended_at: Time,
    /// Between the two.
    pub duration_seconds: Seconds,
    /// Tail of its output; null if it did not fit into this answer.
    pub output: Option<String>,
}

/// One host of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostSteps {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// How it stands.
    pub outcome: HostOutcome,
    /// In order; none before the host has reported.
    pub steps: Vec<StepDocument>,
}

/// `patchmesh.steps/v1`: `rollout steps`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Rollout id, hex.
    pub id: String,
    /// Name of the manifest.
    pub name: String,
    /// By name.
    pub hosts: Vec<HostSteps>,
    /// Outputs that did not fit into this answer.
    pub left_out: u32,
}

impl StepsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.steps/v1";
}
