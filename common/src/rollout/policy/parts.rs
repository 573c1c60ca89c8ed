//! What policies and tasks have in common with rollouts: how the parts that are written alike are read and judged.

use core::time::Duration;
use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, json_schema};

pub(crate) use super::{
    careful::superseded_schema,
    written::{limit_schema, reboot_schema},
};
use super::{
    careful::{GateText, GatesText, RingGateText},
    written::Hooks,
};
use crate::{
    duration,
    patch::baseline::OperatingSystem,
    rollout::{
        OnHookFailure,
        spec::{Asked, DEFAULT_HOOK_TIMEOUT, RolloutSpec, SpecError},
    },
    run::gate::Gate,
    schedule::window::Told,
};

/// What decides which patches are approved; `None`, and what is wrong is told, if it is said twice.
pub(crate) fn asked(
    told: &mut Told,
    baseline: Option<&str>,
    baselines: Option<&BTreeMap<OperatingSystem, String>>,
) -> Option<Asked> {
    match (baseline, baselines) {
        (None, None) => Some(Asked::Group),
        (Some("all"), None) => Some(Asked::All),
        (Some("security"), None) => Some(Asked::Security),
        (Some(name), None) => Some(Asked::Baseline(name.to_owned())),
        (None, Some(names)) => Some(Asked::Systems(names.clone())),
        (Some(_), Some(_)) => {
            told.wrong("baselines", "", "it cannot be used with baseline: leave one of them out");
            None
        }
    }
}

/// What every host, and every ring, must show; `None`, and what is wrong is told, unless all of it is right.
pub(crate) fn gates(told: &mut Told, written: Option<&GatesText>) -> Option<(Vec<Gate>, Vec<Gate>)> {
    let Some(GatesText { after_host, after_ring }) = written else { return Some(Default::default()) };
    Some((each(told, "gates", after_host, GateText::gate)?, each(told, "gates", after_ring, RingGateText::gate)?))
}

/// What is meant by everything of a list; `None`, and what is wrong is told, unless all of it is right.
pub(crate) fn each<T, U>(
    told: &mut Told,
    field: &'static str,
    given: &[T],
    meant: impl Fn(&T) -> Result<U, String>,
) -> Option<Vec<U>> {
    let found = given.iter().map(meant).collect::<Result<_, _>>();
    found.map_err(|wrong| told.wrong(field, "", wrong)).ok()
}

/// The time-out of a hook: zero, which [`judge`] refuses, if what is written is none.
pub(crate) fn hook_timeout(hooks: Option<&Hooks>) -> Duration {
    let given = hooks.and_then(|hooks| hooks.timeout.as_deref());
    given.map_or(Some(DEFAULT_HOOK_TIMEOUT), duration::parse).unwrap_or(Duration::ZERO)
}

/// What the failure of a hook means.
pub(crate) fn on_hook_failure(hooks: Option<&Hooks>) -> OnHookFailure {
    hooks.and_then(|hooks| hooks.on_failure).unwrap_or_default()
}

/// Tells what no rollout like `template` can mean.
pub(crate) fn judge(told: &mut Told, template: &RolloutSpec, hooks: Option<&Hooks>) {
    let Err(error) = template.check() else { return };
    let field = match error {
        SpecError::Window(_) | SpecError::SameWindow(_) | SpecError::TooMany { what: "windows", .. } => "windows",
        SpecError::Blackout(..) | SpecError::TooMany { what: "blackouts", .. } => "blackouts",
        SpecError::Ring(..) | SpecError::TooMany { what: "rings", .. } => "rings",
        SpecError::Gate(..) | SpecError::RingGate(..) | SpecError::GatesOfScan => "gates",
        SpecError::HookTimeout(_) => "hooks",
        SpecError::Concurrency(_) => "maxConcurrency",
        SpecError::NoBaselines => "baselines",
        _ => "targets",
    };
    let timeout = hooks.and_then(|hooks| hooks.timeout.as_deref()).filter(|_| field == "hooks");
    told.wrong(field, timeout.unwrap_or_default(), words(&error));
}

pub(crate) fn operation_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": ["Scan", "Install"] })
}

/// What is wrong, with the reason below it.
fn words(error: &SpecError) -> String {
    match error {
        SpecError::Concurrency(cause) => cause.to_string(),
        SpecError::HookTimeout(_) => "write a time-out such as 90s, 15m or 4h, between 1s and 24h".to_owned(),
        SpecError::Gate(_, cause) => format!("afterHost: {cause}"),
        SpecError::RingGate(_, cause) => format!("afterRing: {cause}"),
        other => other.to_string(),
    }
}
