//! What `watch` streams: events as they happen, the standing after each change, and the recap at the end.

use patchmesh_common::{
    rollout::ring_gate::{Answered, RingGates, RingVerdict},
    run::Phase,
};
use serde::{Deserialize, Serialize, de::Error as _};

use super::{HostCounts, HostOutcome, Reason, RolloutDocument, RolloutState, Time, WaitingDocument};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// A host began a phase.
    HostPhase,
    /// A host's outcome is folded, or became `lost`.
    HostOutcome,
    /// A host said no, or is not moving for another reason.
    HostWaiting,
    /// The rollout's state changed.
    State,
}

/// `patchmesh.event/v1`: one thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// When, RFC 3339 in UTC with milliseconds.
    pub at: String,
    /// Rollout id, hex.
    pub rollout: String,
    /// What it is about.
    pub kind: EventKind,
    /// Which host; null for [`EventKind::State`].
    pub host: Option<String>,
    /// Public key of the host, hex.
    pub node_id: Option<String>,
    /// Phase that began.
    pub phase: Option<Phase>,
    /// Outcome that was folded.
    pub outcome: Option<HostOutcome>,
    /// State that was entered.
    pub state: Option<RolloutState>,
    /// Why: a stable kebab-case word.
    pub code: Option<String>,
    /// Why, in one sentence; empty if the rest says all.
    pub text: String,
}

impl EventDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.event/v1";
}

/// Where a ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RingState {
    /// It has not begun.
    Pending,
    /// Its hosts may begin, step by step.
    Open,
    /// Each of its hosts is done, or was passed over.
    Settled,
}

/// One ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingProgress {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: RingState,
    /// Its step that is open, or opens next, from 1; the last one once it has settled.
    pub step: u32,
    /// How many steps it has.
    pub steps: u32,
    /// Its hosts; without those that the plan leaves out.
    pub hosts: HostCounts,
    /// When it settled; null of the last ring, too, after which nothing comes.
    pub settled_at: Option<Time>,
    /// Who has approved it.
    pub approved_by: Vec<String>,
    /// How many must.
    pub approvals: u8,
    /// What its gates showed after it settled; null if they were not asked.
    pub gates: Option<RingGatesDocument>,
    /// What keeps its next hosts from beginning, besides those at work; null if nothing does.
    pub waiting: Option<WaitingDocument>,
}

/// The gates of a ring, asked by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RingGatesDocument {
    /// Where they stand.
    pub state: RingGatesState,
    /// How often they were begun to be asked.
    pub attempt: u32,
    /// When they were asked, or answered.
    pub at: Time,
    /// The gate that was not passed, counted from 0 in `spec.ringGates` of the plan; null if none was.
    pub gate: Option<u16>,
    /// Why not, and what it printed; empty if none was.
    pub text: String,
}

/// Where the gates of a ring stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RingGatesState {
    /// They are being asked.
    Asked,
    /// Every one has passed.
    Passed,
    /// One has not.
    Failed,
    /// They were asked before the clock was set back and the ring began to bake again.
    Void,
}

impl RingGatesState {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Void => "to be asked again",
        }
    }
}

impl From<&RingGates> for RingGatesDocument {
    fn from(gates: &RingGates) -> Self {
        let (state, gate, text) = match &gates.answer {
            Answered::NotYet => (RingGatesState::Asked, None, String::new()),
            Answered::Void => (RingGatesState::Void, None, String::new()),
            Answered::With(RingVerdict::Passed) => (RingGatesState::Passed, None, String::new()),
            Answered::With(RingVerdict::Failed { gate, text }) => (RingGatesState::Failed, Some(*gate), text.clone()),
        };
        Self { state, attempt: gates.attempt, at: Time(gates.at), gate, text }
    }
}

/// A host at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Active {
    /// Name in the mesh.
    pub host: String,
    /// Phase last begun.
    pub phase: Phase,
    /// Since `Go`.
    pub seconds: u64,
    /// Last line of output.
    pub detail: String,
}

/// Hosts that are not moving, by reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingGroup {
    /// A stable kebab-case word.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// How many hosts.
    pub hosts: u32,
}

/// `patchmesh.progress/v1`: the whole standing, small enough to be sent after each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Rollout id, hex.
    pub rollout: String,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it stands there.
    pub reason: Option<Reason>,
    /// In order.
    pub rings: Vec<RingProgress>,
    /// By name.
    pub active: Vec<Active>,
    /// Largest group first.
    pub waiting: Vec<WaitingGroup>,
}

impl ProgressDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.progress/v1";
}

/// One line of the stream. The last one is a recap of a rollout that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Something happened.
    Event(EventDocument),
    /// How everything stands now.
    Progress(ProgressDocument),
    /// The rollout is over.
    Recap(Box<RolloutDocument>),
}

impl Serialize for WatchEvent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Event(document) => document.serialize(serializer),
            Self::Progress(document) => document.serialize(serializer),
            Self::Recap(document) => document.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for WatchEvent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let schema = value.get("schema").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let read = match schema.as_str() {
            EventDocument::SCHEMA => serde_json::from_value(value).map(Self::Event),
            ProgressDocument::SCHEMA => serde_json::from_value(value).map(Self::Progress),
            RolloutDocument::SCHEMA => serde_json::from_value(value).map(|recap| Self::Recap(Box::new(recap))),
            _ => return Err(D::Error::custom(format!("{schema:?} is no schema of a watch stream"))),
        };
        read.map_err(D::Error::custom)
    }
}
