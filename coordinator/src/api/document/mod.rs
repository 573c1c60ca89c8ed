//! The documents that the API answers and the CLI prints, member by member as they are published.
//!
//! Members may be added, never renamed or re-typed. A listed member is always present, `null` where unknown. Times are
//! RFC 3339 in UTC with whole seconds; lists are sorted by name.

mod audit;
mod baseline;
mod command;
mod compliance;
mod event;
mod host;
mod plan;
mod policy;
mod recurring;
mod rollout;
mod service;
mod slots;
mod snapshot;
mod steps;
mod survey;
mod task;
mod window;

use patchmesh_common::{
    rollout::limit::Limit,
    schedule::{Opening, blackout::Blackout},
};
pub use patchmesh_node::api::document::{OrderRow, OrdersDocument, StopDocument, Time, Unconfirmed};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::{
    audit::{
        AuditDocument, BrokenPromise, ChainDocument, EntryDocument, ExcusedDocument, HeldSlot, PromiseDocument,
        StateDocument, TestimonyDocument,
    },
    baseline::{
        BaselineDocument, BaselineRow, BaselinesDocument, Change, ChangedDocument, DefaultRow, GroupRow,
        GroupsDocument, RegisterRequest,
    },
    command::{CommandDocument, CommandRow, CommandsDocument, HostLogDocument, InvocationDocument},
    compliance::{
        ByReason, ComplianceDocument, ComplianceRow, FleetCompliance, GroupCompliance, HistoryDocument, PatchDocument,
        PatchReason, PatchesDocument, StandingDocument, Status,
    },
    event::{
        Active, EventDocument, EventKind, ProgressDocument, RingGatesDocument, RingGatesState, RingProgress, RingState,
        WaitingGroup, WatchEvent,
    },
    host::{Counters, Held, HostDocument, HostRow, HostsDocument, Presence, Subject, WhyDocument, WhyStep},
    plan::{
        ClaimDocument, Estimate, Excluded, Frozen, PlanDocument, PlanHost, PlanRing, Removal, RingDocument,
        SelectorDocument, SpecDocument, SpecDocumentError, TargetsDocument, WaitingDocument,
    },
    policy::{PoliciesDocument, PolicyDocument, PolicyLogs, PolicyRow, rows as policy_rows},
    recurring::{NotStarted, RecurringResult, RecurringRun, RecurringRuns},
    rollout::{
        AppliedDocument, ChangedPackage, HostCounts, HostOutcome, HostResult, OutsideWindow, ReplanDocument,
        ResultError, RolloutDocument, RolloutRow, RolloutState, RolloutsDocument, VerdictRequest,
    },
    service::{ServiceDocument, ServiceMember, ServiceRequest, ServiceRow, ServicesDocument},
    slots::{ReleaseDocument, ReleaseRequest, ReleasedSlot, SlotRow, SlotState, SlotsDocument},
    snapshot::{DamagedSnapshot, FrozenVersion, JudgedBy, SnapshotDocument, SnapshotRow, SnapshotsDocument},
    steps::{HostSteps, StepDocument, StepStatus, StepsDocument},
    survey::{SurveyRow, SurveysDocument},
    task::{TaskRow, rows as task_rows},
    window::{KeptDocument, NextDocument, WindowDocument, WindowListDocument, WindowOpeningDocument, WindowRow},
};

/// A code for scripts and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// A stable kebab-case word.
    pub code: String,
    /// One sentence.
    pub text: String,
}

/// A limit as written and what it means for this fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitDocument {
    /// As written: `10%`, `3`.
    pub given: String,
    /// In hosts.
    pub resolved: u32,
}

/// Both limits of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitsDocument {
    /// How many hosts at once.
    pub max_concurrency: LimitDocument,
    /// How many failed hosts are tolerated.
    pub max_errors: LimitDocument,
}

impl LimitsDocument {
    /// Both limits, resolved for `targets` hosts.
    pub fn resolve(max_concurrency: &Limit, max_errors: &Limit, targets: u32) -> Self {
        let document = |limit: &Limit, resolved| LimitDocument { given: limit.given().to_owned(), resolved };
        Self {
            max_concurrency: document(max_concurrency, max_concurrency.resolve_concurrency(targets)),
            max_errors: document(max_errors, max_errors.resolve_errors(targets)),
        }
    }
}

/// One opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpeningDocument {
    /// First instant.
    pub opens: Time,
    /// No host starts at or after this instant.
    pub last_start: Time,
    /// No disruptive step begins at or after this instant.
    pub closes: Time,
}

impl From<Opening> for OpeningDocument {
    fn from(opening: Opening) -> Self {
        Self { opens: Time(opening.opens), last_start: Time(opening.last_start), closes: Time(opening.closes) }
    }
}

impl From<OpeningDocument> for Opening {
    fn from(opening: OpeningDocument) -> Self {
        Self { opens: opening.opens.0, last_start: opening.last_start.0, closes: opening.closes.0 }
    }
}

/// One blackout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BlackoutDocument {
    /// First instant.
    pub from: Time,
    /// First instant after it.
    pub to: Time,
}

impl From<Blackout> for BlackoutDocument {
    fn from(blackout: Blackout) -> Self {
        Self { from: Time(blackout.from), to: Time(blackout.to) }
    }
}

impl From<BlackoutDocument> for Blackout {
    fn from(blackout: BlackoutDocument) -> Self {
        Self { from: blackout.from.0, to: blackout.to.0 }
    }
}

/// A span of so many milliseconds that travels as a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // A float's cast saturates: nonsense becomes a bound, never a panic.
        Ok(Self((seconds * 1000.0).round() as u64))
    }
}
