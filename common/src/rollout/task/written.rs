//! Tasks and targets of a window as they are written.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MAX_TASK_TARGETS;
use crate::{
    patch::baseline::OperatingSystem,
    rollout::{
        OnSuperseded, Operation, RebootOption,
        limit::Limit,
        policy::{
            GatesText, Hooks, Labels, TargetsText,
            parts::{limit_schema, operation_schema, reboot_schema, superseded_schema},
        },
    },
    schedule::window::CutoffBehavior,
    selector::Selector,
};

/// A named set of hosts: exactly one of `all`, `names`, `selector`, `matching` and `patchGroups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetText {
    /// By which tasks name it; as a rollout's.
    pub name: String,
    /// `true`: every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Hosts that carry every one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Labels>,
    /// Hosts that a selector admits, as `get hosts -l` takes it: `app=web,zone in (a,b),!canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub matching: Option<Selector>,
    /// Hosts of these patch groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_groups: Option<Vec<String>>,
}

impl TargetText {
    /// Which hosts, as everywhere.
    pub fn hosts(&self) -> TargetsText {
        let Self { name: _, all, names, selector, matching, patch_groups } = self.clone();
        TargetsText { all, names, selector, matching, patch_groups }
    }
}

/// What is done in every opening of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskText {
    /// Its name. Its rollouts are called WINDOW-TASK-TIME, or WINDOW-TASK-TARGET-TIME if it has several targets.
    pub name: String,
    /// Lower is earlier: it begins once every task of a lower number has ended in this opening, whatever its result. Tasks of the
    /// same number go at the same time. Absent is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// `Scan` or `Install`, which also scans.
    #[schemars(schema_with = "operation_schema")]
    pub operation: Operation,
    /// Targets of the window, by name. Of several, each begins when the one before it has ended, with limits of its own.
    #[schemars(length(min = 1, max = MAX_TASK_TARGETS))]
    pub targets: Vec<String>,
    /// `all`, `security` or the name of a baseline. Absent, as `baselines`: that of every host's patch group, or the default of its
    /// operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The name of a baseline for every operating system. Hosts of other systems are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub baselines: Option<BTreeMap<OperatingSystem, String>>,
    /// How many hosts of a target at once: `3` or `10%`.
    #[schemars(schema_with = "limit_schema")]
    pub max_concurrency: Limit,
    /// How many failed hosts of a target are tolerated: `3` or `10%`. Absent is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "limit_schema")]
    pub max_errors: Option<Limit>,
    /// Whether hosts reboot after an install: `ifNeeded` (default) or `never`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "reboot_schema")]
    pub reboot: Option<RebootOption>,
    /// How hooks are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    /// What hosts must show after an install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesText>,
    /// What becomes of a host that would now install something else than was planned: `replan` (default, in
    /// the same opening), `wait` or `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "superseded_schema")]
    pub on_superseded: Option<OnSuperseded>,
    /// What hosts at work do at the cutoff, whatever the window says. Absent: what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<CutoffBehavior>")]
    pub cutoff_behavior: Option<String>,
}
