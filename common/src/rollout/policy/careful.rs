//! Rings, gates and blackouts of a policy as they are written.

use core::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::written::{Labels, TargetsText, limit_schema};
use crate::{
    duration,
    rollout::{limit::Limit, ring::MAX_APPROVALS, spec::RingSpec},
    run::gate::{Ask, DEFAULT_TIMEOUT, Gate, MAX_GATES, MAX_TIMEOUT},
    schedule::blackout::Blackout,
    selector::Selector,
    time::WallTime,
};

/// The status that a gate wants if none is given.
const OK: u16 = 200;

/// Some of the targets, which go before those of the next ring: exactly one of `all`, `names`, `selector`, `matching` and
/// `patchGroups`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RingText {
    /// Its name; as a rollout's.
    pub name: String,
    /// `true`: every host that no earlier ring has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// By name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Hosts that carry every one of these tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Labels>,
    /// Hosts that a selector admits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub matching: Option<Selector>,
    /// Hosts of these patch groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_groups: Option<Vec<String>>,
    /// How many of its hosts may have begun in each step: `[1, 10%, 100%]`. Absent: all at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "steps_schema")]
    pub steps: Vec<Limit>,
    /// Between a step's end and the next step. Absent is no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub wait: Option<String>,
    /// Between the ring's end and the next ring. Absent is no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub bake: Option<String>,
    /// How many operators must approve before it begins. Absent is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = MAX_APPROVALS))]
    pub approvals: Option<u8>,
}

impl RingText {
    /// The ring, of which a rollout's check has not approved anything yet.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn ring(&self) -> Result<RingSpec, String> {
        let Self { name, all, names, selector, matching, patch_groups, steps, wait, bake, approvals } = self.clone();
        let wrong = |what: &str| format!("ring {:?}: {what}", name.chars().take(40).collect::<String>());
        let selects = TargetsText { all, names, selector, matching, patch_groups }.targets();
        let selects = selects.map_err(|why| wrong(&why))?;
        let pause = |given: Option<String>| {
            given
                .map_or(Some(Duration::ZERO), |text| duration::parse(&text))
                .ok_or_else(|| wrong("write wait and bake such as 90s, 15m, 4h or 7d"))
        };
        let (wait, bake) = (pause(wait)?, pause(bake)?);
        Ok(RingSpec { name, selects, steps, wait, bake, approvals: approvals.unwrap_or(0) })
    }
}

/// What is asked after a run, and after a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatesText {
    /// What every host must show after an install, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_GATES))]
    pub after_host: Vec<GateText>,
    /// What the coordinator must be shown once a ring has settled and baked, in this order, before the next ring begins, and after
    /// the last one before the rollout ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_GATES))]
    pub after_ring: Vec<RingGateText>,
}

/// One gate: exactly one of `command`, `systemdUnit`, `noNewFailedUnits` and `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GateText {
    /// An executable in the folder `gate` of the host's hooks ends with 0: its name, then its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// This unit is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub systemd_unit: Option<String>,
    /// `true`: no unit has failed that had not failed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_new_failed_units: Option<bool>,
    /// A GET from the host is answered as this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpText>,
    /// Until when: 1s to 1h. Absent is 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub timeout: Option<String>,
}

/// One gate after a ring: exactly one of `command` and `http`. The coordinator asks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RingGateText {
    /// An executable in the folder `gates` of the coordinator's own folder ends with 0: its name, then its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// A GET from the coordinator is answered as this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpText>,
    /// Until when: 1s to 1h. Absent is 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,9}[smhd]$"))]
    pub timeout: Option<String>,
}

impl RingGateText {
    /// As [`GateText::gate`].
    pub(super) fn gate(&self) -> Result<Gate, String> {
        let Self { command, http, timeout } = self.clone();
        if command.is_some() == http.is_some() {
            return Err("write exactly one of command and http after a ring".to_owned());
        }
        GateText { command, systemd_unit: None, no_new_failed_units: None, http, timeout }.gate()
    }
}

/// What a gate asks over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpText {
    /// `http://HOST[:PORT][/PATH]`.
    pub url: String,
    /// The status that is wanted. Absent is 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
}

impl GateText {
    /// The gate, of which a rollout's check has not approved anything yet.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn gate(&self) -> Result<Gate, String> {
        let Self { command, systemd_unit, no_new_failed_units, http, timeout } = self.clone();
        let ask = match (command, systemd_unit, no_new_failed_units, http) {
            (Some(argv), None, None, None) => Ask::Command(argv),
            (None, Some(unit), None, None) => Ask::SystemdUnit(unit),
            (None, None, Some(true), None) => Ask::NoNewFailedUnits,
            (None, None, None, Some(HttpText { url, status })) => Ask::Http { url, status: status.unwrap_or(OK) },
            _ => return Err("write exactly one of command, systemdUnit, noNewFailedUnits: true and http".to_owned()),
        };
        let Some(given) = timeout else { return Ok(Gate { ask, timeout_seconds: DEFAULT_TIMEOUT }) };
        let seconds = duration::parse(&given).and_then(|time| u32::try_from(time.as_secs()).ok());
        let timeout_seconds = seconds
            .filter(|time| (1..=MAX_TIMEOUT).contains(time))
            .ok_or_else(|| format!("timeout {:?}: write 1s to 1h", given.chars().take(40).collect::<String>()))?;
        Ok(Gate { ask, timeout_seconds })
    }
}

/// A stretch of time in which no install begins anything disruptive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlackoutText {
    /// First instant: RFC 3339.
    pub from: String,
    /// First instant after it: RFC 3339.
    pub to: String,
}

impl BlackoutText {
    /// The blackout, which a rollout's check has not approved yet.
    ///
    /// # Errors
    /// What to write instead.
    pub(super) fn blackout(&self) -> Result<Blackout, String> {
        let time = |text: &str| {
            WallTime::parse(text).ok_or_else(|| {
                let text: String = text.chars().take(40).collect();
                format!("{text:?} is no RFC 3339 time: write 2026-12-01T02:00:00Z")
            })
        };
        Ok(Blackout { from: time(&self.from)?, to: time(&self.to)? })
    }
}

/// What is done once more hosts have failed than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnLimit {
    /// The run ends for good.
    Halt,
}

fn steps_schema(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": limit_schema(generator) })
}

pub(super) fn on_limit_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["halt"] })
}

pub(crate) fn superseded_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["replan", "wait", "skip"] })
}

pub(super) fn hook_failure_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["fail", "skip", "halt"] })
}
