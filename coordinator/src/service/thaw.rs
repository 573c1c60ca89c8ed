//! Reviewed plans, turned back into what the ledger keeps.

use std::collections::BTreeSet;

use patchmesh_common::{
    id::NodeId,
    rollout::{
        plan::{ExcludedBecause, ExcludedHost, Plan, PlannedHost, ResolvedLimit, Superseded},
        ring::PlannedRing,
        spec::RolloutSpec,
    },
    time::WallTime,
};

use super::freeze;
use crate::{
    api::document::{LimitDocument, LimitsDocument, PlanDocument, PlanRing},
    fault::Fault,
};

/// The machine's plan in a reviewed document whose hash was checked.
pub(super) fn thaw(document: PlanDocument, now: WallTime) -> Result<Plan, Fault> {
    let wrong = |what: &str, value: &str| {
        Fault::new(
            "bad-request",
            format!("the {what} {value:?} of the plan does not fit the rest of it"),
            "no rollout was started",
            "plan again",
        )
    };
    let node = |text: &str| NodeId::parse(text).ok_or_else(|| wrong("nodeId", text));
    let spec = RolloutSpec::try_from(document.spec.clone()).map_err(|error| wrong("spec", &error.to_string()))?;
    let mut hash = [0; 32];
    hash.copy_from_slice(&NodeId::parse(&document.hash).ok_or_else(|| wrong("hash", &document.hash))?.0);
    let mut hosts = Vec::new();
    for host in document.hosts() {
        hosts.push(PlannedHost {
            node: node(&host.node_id)?,
            name: host.host.clone(),
            transaction: host.transaction(),
        });
    }
    // The hash only says that nobody edited the document, not that we wrote it: what the ledger relies on is checked.
    let mut seen = BTreeSet::new();
    if let Some(twice) = hosts.iter().find(|host| !seen.insert(host.node)) {
        return Err(wrong("second row of host", &twice.name));
    }
    let rings = rings(&document, &spec).map_err(|ring| wrong("ring", &ring))?;
    let targets = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let resolved = LimitsDocument::resolve(&spec.max_concurrency, &spec.max_errors, targets);
    if resolved != document.limits {
        return Err(wrong("limit", &document.limits.max_concurrency.given));
    }
    let mut excluded = Vec::new();
    for host in &document.excluded {
        excluded.push(ExcludedHost {
            node: node(host.node_id.as_deref().unwrap_or_default())?,
            name: host.host.clone(),
            because: match host.waiting.code.as_str() {
                "silent" => ExcludedBecause::Silent,
                "observe-mode" => ExcludedBecause::Observing,
                "no-ring" => ExcludedBecause::NoRing,
                _ => ExcludedBecause::Refused,
            },
            code: host.waiting.code.clone(),
            text: host.waiting.text.clone(),
            remedy: "plan again when this is mended".to_owned(),
        });
    }
    let limit = |limit: &LimitDocument| ResolvedLimit { given: limit.given.clone(), resolved: limit.resolved };
    let openings = match freeze::thawed(&spec, &document.openings, now) {
        Some(openings) => openings,
        None => return Err(wrong("list", "openings")),
    };
    let on_superseded = Superseded::of(&spec);
    spec.reachable_reboot(&openings).map_err(|error| wrong("reboot", &error.to_string()))?;
    Ok(Plan {
        because: spec.urgent.and_then(|urgent| urgent.because),
        name: spec.name,
        hash,
        created_at: document.created_at.0,
        operation: spec.operation,
        baseline: document
            .approval(&spec.baseline)
            .ok_or_else(|| wrong("judgedBy", document.judged_by.as_deref().unwrap_or("null")))?,
        reboot: spec.reboot,
        on_hook_failure: spec.on_hook_failure,
        hook_timeout: u32::try_from(spec.hook_timeout.as_secs()).unwrap_or(u32::MAX),
        max_concurrency: limit(&document.limits.max_concurrency),
        max_errors: limit(&document.limits.max_errors),
        openings,
        hosts,
        excluded,
        rings,
        gates: spec.gates,
        ring_gates: spec.ring_gates,
        on_superseded,
    })
}

/// The rings that `spec` means for as many hosts as the document has in each, in the order that somebody reviewed. The error names the
/// ring that the document shows otherwise.
fn rings(document: &PlanDocument, spec: &RolloutSpec) -> Result<Vec<PlannedRing>, String> {
    let counts: Vec<u32> =
        document.rings.iter().map(|ring| u32::try_from(ring.hosts.len()).unwrap_or(u32::MAX)).collect();
    let rings = spec.planned_rings(&counts);
    let shown = document.rings.iter().map(|ring| PlanRing { hosts: Vec::new(), ..ring.clone() });
    let meant = rings.iter().map(|ring| PlanRing::new(ring.clone(), Vec::new()));
    let name = |at: usize| document.rings.get(at).map(|ring| ring.name.clone()).unwrap_or_default();
    if document.rings.len() != rings.len() {
        return Err(name(document.rings.len().min(rings.len())));
    }
    if let Some(other) = shown.zip(meant).position(|(shown, meant)| shown != meant) {
        return Err(name(other));
    }
    match document.rings.iter().find(|ring| ring.hosts.is_empty() && !spec.rings.is_empty()) {
        Some(empty) => Err(empty.name.clone()),
        None => Ok(rings),
    }
}
