//! A frozen plan: which hosts, in which order, exactly what, under which limits. The planner chooses everything, the
//! executor nothing.

use serde::{Deserialize, Serialize};

use super::{OnHookFailure, OnSuperseded, Operation, RebootOption, ring::PlannedRing, spec::RolloutSpec};
use crate::{
    id::{NodeId, RolloutId},
    inventory::Transaction,
    patch::Approval,
    run::gate::Gate,
    schedule::Opening,
    time::WallTime,
};

/// Most hosts in one rollout.
pub const MAX_HOSTS: usize = 20_000;

/// A limit as it was written and what it means for this plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResolvedLimit {
    /// As written, e.g. `10%`.
    pub given: String,
    /// In hosts.
    pub resolved: u32,
}

/// One host and what it will get.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlannedHost {
    /// The member.
    pub node: NodeId,
    /// Its name in the mesh.
    pub name: String,
    /// What its own package manager resolved. Empty for a Scan, or if nothing is missing.
    pub transaction: Transaction,
}

/// Why a target is not in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ExcludedBecause {
    /// It did not answer in time.
    Silent,
    /// Its own file says observe.
    Observing,
    /// It answered with a refusal.
    Refused,
    /// No ring selects it.
    NoRing,
}

/// A target that is not in the plan, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExcludedHost {
    /// The member.
    pub node: NodeId,
    /// Its name in the mesh.
    pub name: String,
    /// The kind of reason.
    pub because: ExcludedBecause,
    /// A stable kebab-case word.
    pub code: String,
    /// The reason in words.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// What becomes of a host that would now do something else than its transaction: [`OnSuperseded`], with what that takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Superseded {
    /// It is left out.
    Skip,
    /// It is asked again.
    Wait,
    /// It is left out, and this, which the plan was made of, is planned again when the rollout has ended.
    Replan(Box<RolloutSpec>),
}

impl Superseded {
    /// What a plan of `spec` says. A Scan installs no versions.
    pub fn of(spec: &RolloutSpec) -> Self {
        match (spec.on_superseded, spec.operation) {
            (OnSuperseded::Wait, _) => Self::Wait,
            (OnSuperseded::Replan, Operation::Install) => Self::Replan(Box::new(spec.clone())),
            (OnSuperseded::Replan | OnSuperseded::Skip, _) => Self::Skip,
        }
    }
}

/// A frozen plan. Applied once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// The rollout's name.
    pub name: String,
    /// SHA-256 of the plan document.
    pub hash: [u8; 32],
    /// When it was made.
    pub created_at: WallTime,
    /// Scan or Install.
    pub operation: Operation,
    /// What was resolved against.
    pub baseline: Approval,
    /// Whether hosts reboot.
    pub reboot: RebootOption,
    /// Time-out of every single hook, in seconds.
    pub hook_timeout: u32,
    /// What the failure of a hook means for the rollout.
    pub on_hook_failure: OnHookFailure,
    /// Most hosts that hold a slot at once; at least 1.
    pub max_concurrency: ResolvedLimit,
    /// Most failed hosts that do not halt the rollout.
    pub max_errors: ResolvedLimit,
    /// When work may start. Never empty.
    pub openings: Vec<Opening>,
    /// In the order in which they start: by ring, then by name, ascending.
    pub hosts: Vec<PlannedHost>,
    /// Targets that are not in the plan.
    pub excluded: Vec<ExcludedHost>,
    /// In order; together they have every host.
    pub rings: Vec<PlannedRing>,
    /// Why it goes outside the windows that cover its hosts, as an operator said. `None` of any other rollout.
    pub because: Option<String>,
    /// What every host must show after its run.
    pub gates: Vec<Gate>,
    /// What the coordinator must be shown after every ring.
    pub ring_gates: Vec<Gate>,
    /// What becomes of a host that would now do something else than its transaction.
    pub on_superseded: Superseded,
}

/// A plan that was applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// Its id, drawn when it was applied.
    pub id: RolloutId,
    /// What it does.
    pub plan: Plan,
    /// Who applied it.
    pub by: String,
    /// The rollout that it plans again, because versions of that one were superseded.
    pub replans: Option<RolloutId>,
}
