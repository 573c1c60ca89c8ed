//! Held slots, and what a release by name says.

use patchmesh_common::run::Phase;
use serde::{Deserialize, Serialize};

use super::Time;

/// How a slot is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SlotState {
    /// Its host is heard, and at work.
    Busy,
    /// Its host is silent.
    Lost,
    /// By a lease of another ledger.
    Foreign,
    /// Its host has not said which lease it holds.
    Unknown,
}

/// One held slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotRow {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// How it is held.
    pub state: SlotState,
    /// Rollout id, hex; null if this coordinator did not grant it.
    pub rollout: Option<String>,
    /// Name of its manifest.
    pub rollout_name: Option<String>,
    /// Lease id, hex; null if the host has not said.
    pub lease: Option<String>,
    /// Since this `Go`; null if this coordinator did not grant it.
    pub since: Option<Time>,
    /// When the host last answered; null if this coordinator's process never heard it.
    pub last_heard: Option<Time>,
    /// For how long it has not answered; null if this coordinator's process never heard it.
    pub silent_seconds: Option<u64>,
    /// The silence after which it is lost: the setting, or twice what its reboots took.
    pub lost_after_seconds: u64,
    /// What its reboots did not exceed (p99); null while none was seen.
    pub reboot_seconds: Option<u64>,
    /// The phase that the host last reported.
    pub phase: Option<Phase>,
    /// One sentence.
    pub text: String,
    /// The command that releases it.
    pub release: String,
}

/// `patchmesh.slots/v1`: `slots ls`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name.
    pub slots: Vec<SlotRow>,
}

impl SlotsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.slots/v1";
}

/// What a release asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseRequest {
    /// Who, as they say.
    pub by: String,
    /// Why.
    pub because: String,
    /// Also if the host is heard.
    pub even_if_heard: bool,
}

/// One slot that was released.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleasedSlot {
    /// Lease id, hex: fenced from now on; null if the host has not said which it holds.
    pub lease: Option<String>,
    /// Rollout id, hex; null if this coordinator did not grant it.
    pub rollout: Option<String>,
    /// How it was held.
    pub state: SlotState,
    /// What may happen.
    pub risk: String,
}

/// `patchmesh.release/v1`: `slots release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// When, by the coordinator's clock.
    pub at: Time,
    /// Who.
    pub by: String,
    /// Why.
    pub because: String,
    /// What it held.
    pub released: Vec<ReleasedSlot>,
}

impl ReleaseDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.release/v1";
}
