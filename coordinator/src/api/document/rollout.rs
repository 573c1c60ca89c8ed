//! How a rollout stands, and how it ended: the recap.

use patchmesh_common::{rollout::Operation, run::Phase};
use serde::{Deserialize, Serialize};

use super::{LimitsDocument, Reason, RingProgress, Seconds, Time};
use crate::fault::Exit;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutState {
    /// Nothing was granted yet.
    Planned,
    /// Hosts are at work.
    Running,
    /// Nobody is at work; the reasons say why.
    Waiting,
    /// An operator holds new starts.
    Paused,
    /// More hosts failed than allowed; nothing starts any more.
    Halted,
    /// An operator stopped it.
    Stopped,
    /// No opening is left.
    WindowClosed,
    /// Every host ended, some failed.
    CompletedWithFailures,
    /// Every other host ended, some are lost.
    CompletedWithLost,
    /// Every host ended well.
    Succeeded,
}

impl RolloutState {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "Planned",
            Self::Running => "Running",
            Self::Waiting => "Waiting",
            Self::Paused => "Paused",
            Self::Halted => "Halted",
            Self::Stopped => "Stopped",
            Self::WindowClosed => "WindowClosed",
            Self::CompletedWithFailures => "CompletedWithFailures",
            Self::CompletedWithLost => "CompletedWithLost",
            Self::Succeeded => "Succeeded",
        }
    }

    /// How a command ends that waited for this state; `None` if the state is not terminal.
    pub fn exit(self) -> Option<Exit> {
        match self {
            Self::Planned | Self::Running | Self::Waiting | Self::Paused => None,
            Self::Halted | Self::Stopped | Self::WindowClosed => Some(Exit::Stopped),
            Self::CompletedWithFailures => Some(Exit::Failures),
            Self::CompletedWithLost => Some(Exit::Lost),
            Self::Succeeded => Some(Exit::Done),
        }
    }
}

/// How one host stands in one rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostOutcome {
    /// Done and verified.
    Succeeded,
    /// Something failed.
    Failed,
    /// Not heard since it was granted.
    Lost,
    /// It said no.
    Refused,
    /// Nothing was to be done, or it was left out.
    Skipped,
    /// Not granted, or waiting.
    NotStarted,
    /// At work.
    Running,
}

impl HostOutcome {
    /// The word in outputs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Lost => "lost",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
            Self::NotStarted => "notStarted",
            Self::Running => "running",
        }
    }
}

/// How many hosts stand where. All but `total` sum to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostCounts {
    /// All of them.
    pub total: u32,
    /// Done and verified.
    pub succeeded: u32,
    /// Something failed.
    pub failed: u32,
    /// Not heard since they were granted.
    pub lost: u32,
    /// Said no.
    pub refused: u32,
    /// Had nothing to do, or were left out.
    pub skipped: u32,
    /// Not granted, or waiting.
    pub not_started: u32,
    /// At work.
    pub running: u32,
}

impl HostCounts {
    /// Counts `outcomes`.
    pub fn of(outcomes: impl IntoIterator<Item = HostOutcome>) -> Self {
        let mut counts = Self::default();
        for outcome in outcomes {
            counts.total += 1;
            *match outcome {
                HostOutcome::Succeeded => &mut counts.succeeded,
                HostOutcome::Failed => &mut counts.failed,
                HostOutcome::Lost => &mut counts.lost,
                HostOutcome::Refused => &mut counts.refused,
                HostOutcome::Skipped => &mut counts.skipped,
                HostOutcome::NotStarted => &mut counts.not_started,
                HostOutcome::Running => &mut counts.running,
            } += 1;
        }
        counts
    }
}

/// A package that really changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangedPackage {
    /// Binary package name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// Version before; null if it was not installed.
    pub from: Option<String>,
    /// Version after.
    pub to: String,
}

/// Why a host did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultError {
    /// A stable kebab-case word.
    pub code: String,
    /// What, where, what was left unchanged, what to do.
    pub text: String,
    /// Tail of the output of the step that failed.
    pub log: String,
}

/// One host of a recap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostResult {
    /// Name in the mesh.
    pub host: String,
    /// Public key, hex.
    pub node_id: String,
    /// How it stands.
    pub outcome: HostOutcome,
    /// Phase last begun; null if none.
    pub phase: Option<Phase>,
    /// Leases that got a `Go`.
    pub attempts: u32,
    /// Whether the run rebooted it.
    pub rebooted: bool,
    /// What really changed, by (name, arch).
    pub packages: Vec<ChangedPackage>,
    /// Why it did not succeed.
    pub error: Option<ResultError>,
    /// What its work said last while it is at work, and what it waits for before that; null if there is nothing to say.
    pub detail: Option<String>,
}

/// Why a rollout goes outside the windows that cover its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutsideWindow {
    /// As an operator said.
    pub because: String,
    /// Who that was: whoever applied it, or the first of those that were planned again one after the other.
    pub by: String,
}

/// `patchmesh.rollout/v1`: `rollout status`, and the recap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Rollout id, hex.
    pub id: String,
    /// Name of the manifest.
    pub name: String,
    /// Scan or Install.
    pub operation: Operation,
    /// Where it stands.
    pub state: RolloutState,
    /// Why it stands there.
    pub reason: Option<Reason>,
    /// As given and resolved.
    pub limits: LimitsDocument,
    /// How many hosts stand where.
    pub hosts: HostCounts,
    /// Most hosts between durable `Go` and folded terminal report.
    pub peak_concurrency: u32,
    /// When it was applied.
    pub started_at: Option<Time>,
    /// When it was over; null while it is not.
    pub ended_at: Option<Time>,
    /// From start to end, or to now.
    pub duration_seconds: Option<Seconds>,
    /// In order.
    pub rings: Vec<RingProgress>,
    /// The rollout that it plans again; null of any other.
    pub replans: Option<ReplanDocument>,
    /// The rollout that plans it again, because versions were superseded; null if none does or is to.
    pub replanned_as: Option<ReplanDocument>,
    /// Every host, by name.
    pub results: Vec<HostResult>,
    /// Why it goes outside windows; null if it does not.
    pub outside_window: Option<OutsideWindow>,
}

/// A rollout before or after another one that was planned again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplanDocument {
    /// Its name.
    pub name: String,
    /// Its id, hex; null until it is started.
    pub id: Option<String>,
}

impl RolloutDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.rollout/v1";

    /// Whether the rollout is over.
    pub fn is_over(&self) -> bool {
        self.ended_at.is_some()
    }
}

/// One rollout of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutRow {
    /// Rollout id, hex.
    pub id: String,
    /// Name of the manifest.
    pub name: String,
    /// Scan or Install.
    pub operation: Operation,
    /// Where it stands.
    pub state: RolloutState,
    /// How many hosts stand where.
    pub hosts: HostCounts,
    /// When it was applied.
    pub started_at: Option<Time>,
    /// When it was over.
    pub ended_at: Option<Time>,
    /// Why it goes outside windows; null if it does not.
    pub outside_window: Option<OutsideWindow>,
}

/// `patchmesh.rollouts/v1`: `get rollouts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RolloutsDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// By name, then id.
    pub rollouts: Vec<RolloutRow>,
}

impl RolloutsDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.rollouts/v1";

    /// The document over `rollouts`, sorted.
    pub fn new(mut rollouts: Vec<RolloutRow>) -> Self {
        rollouts.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        Self { schema: Self::SCHEMA.to_owned(), rollouts }
    }
}

/// What carries an operator's word on a ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerdictRequest {
    /// Sealed, with the operator's membership, in hex.
    pub verdict: String,
}

/// `patchmesh.applied/v1`: what `apply` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedDocument {
    /// [`Self::SCHEMA`].
    pub schema: String,
    /// Rollout id, hex.
    pub id: String,
    /// Whether the plan was started by this; false if it was a rollout already.
    pub started: bool,
}

impl AppliedDocument {
    /// The first member.
    pub const SCHEMA: &str = "patchmesh.applied/v1";

    /// Of the rollout `id`.
    pub fn new(id: String, started: bool) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), id, started }
    }
}
