//! A policy as it is written.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{
    careful::{BlackoutText, GatesText, OnLimit, RingText, hook_failure_schema, on_limit_schema, superseded_schema},
    logs::LogsText,
};
use crate::{
    patch::baseline::OperatingSystem,
    rollout::{
        OnHookFailure, OnSuperseded, RebootOption,
        limit::Limit,
        ring::MAX_RINGS,
        spec::{MAX_BLACKOUTS, MAX_WINDOWS, Targets},
    },
    schedule::{
        expression::MAX_SCHEDULE,
        window::{MAX_DESCRIPTION, MAX_ZONE},
    },
    selector::Selector,
};

/// `spec` of a manifest of kind `PatchPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// 1 to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION))]
    pub description: Option<String>,
    /// `false`: nothing of it is ever due. Absent is `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Whose local time the schedules are: an IANA name; absent is UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_ZONE))]
    pub timezone: Option<String>,
    /// When its hosts are scanned. At least one of `scan` and `install` must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Timing>,
    /// When what is missing is installed, which also scans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<Timing>,
    /// Which hosts.
    pub targets: TargetsText,
    /// `all`, `security` or the name of a baseline. Absent, as `baselines`: that of every host's patch group, or the default of its
    /// operating system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The name of a baseline for every operating system. Hosts of other systems are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<BTreeMap<String, String>>")]
    pub baselines: Option<BTreeMap<OperatingSystem, String>>,
    /// How many hosts at once: `3` or `10%`.
    #[schemars(schema_with = "limit_schema")]
    pub max_concurrency: Limit,
    /// How many failed hosts are tolerated: `3` or `10%`. Absent is 0.
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
    /// The maintenance windows that an install waits for when it is due. Scans wait for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_WINDOWS))]
    pub windows: Vec<String>,
    /// When no install begins anything disruptive, whatever is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_BLACKOUTS))]
    pub blackouts: Vec<BlackoutText>,
    /// The rings of an install, in order. Absent: one ring of every target. Scans have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RINGS))]
    pub rings: Vec<RingText>,
    /// What hosts must show after an install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates: Option<GatesText>,
    /// What is done once more hosts have failed than `maxErrors` allows. There is only `halt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "on_limit_schema")]
    pub on_limit: Option<OnLimit>,
    /// What becomes of a host that would now install something else than was planned: `replan` (default), `wait` or `skip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "superseded_schema")]
    pub on_superseded: Option<OnSuperseded>,
    /// Where what the hosts of its runs said is written. Absent: nowhere; `rollout steps` shows it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<LogsText>,
}

/// When something is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timing {
    /// `cron(minutes hours day-of-month month day-of-week year)`, `rate(VALUE UNIT)` or `at(YYYY-MM-DDThh:mm:ss)`. A rate counts
    /// from 1970 on.
    #[schemars(length(min = 1, max = MAX_SCHEDULE))]
    pub schedule: String,
    /// Whether a time that no coordinator saw is made up for, once, when there is one again. Absent is `true` of a scan and `false`
    /// of an install. A few minutes, as a restart takes, do not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<bool>,
}

/// Which hosts: exactly one member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetsText {
    /// `true`: every host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// By name, or by the 64 hex digits of their node ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Hosts that carry every one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Labels>,
    /// Hosts that a selector admits, as `get hosts -l` takes it: `app=web,zone in (a,b),!canary`. `KEY` alone is a tag of any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub matching: Option<Selector>,
    /// Hosts of these patch groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_groups: Option<Vec<String>>,
}

/// Tags with their values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Labels {
    /// Tag to value.
    pub match_labels: BTreeMap<String, String>,
}

/// How hooks are run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// Time-out of every single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub timeout: Option<String>,
    /// What the failure of one means, or that it ran out of its time: `fail` (default) counts against `maxErrors`; `skip` leaves out
    /// a host that nothing was changed on yet, and counts no error; `halt` ends the rollout for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "hook_failure_schema")]
    pub on_failure: Option<OnHookFailure>,
}

impl TargetsText {
    /// What is meant.
    ///
    /// # Errors
    /// What to write instead, unless exactly one member is given and names nothing twice.
    pub fn targets(&self) -> Result<Targets, String> {
        let Self { all, names, selector, matching, patch_groups } = self.clone();
        match (all, names, selector, matching, patch_groups) {
            (Some(true), None, None, None, None) => Ok(Targets::All),
            (None, Some(names), None, None, None) => Ok(Targets::Names(once("names", names)?)),
            (None, None, Some(labels), None, None) => Ok(Targets::Labels(labels.match_labels)),
            (None, None, None, Some(selector), None) => Ok(Targets::Matching(selector)),
            (None, None, None, None, Some(groups)) => Ok(Targets::Groups(once("patchGroups", groups)?)),
            _ => Err("write exactly one of all: true, names, selector, matching and patchGroups".to_owned()),
        }
    }
}

/// `words`, none of which is there twice.
fn once(field: &str, words: Vec<String>) -> Result<BTreeSet<String>, String> {
    let mut all = BTreeSet::new();
    for word in words {
        if let Some(word) = all.replace(word) {
            return Err(format!("{field} holds {:?} twice", word.chars().take(80).collect::<String>()));
        }
    }
    Ok(all)
}

pub(crate) fn limit_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]{1,7}%?$" }] })
}

pub(crate) fn reboot_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["ifNeeded", "never"] })
}
