//! A rollout in two rings, the second of which waits for two operators.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::NodeId,
    rollout::{approval::SignedVerdict, spec::RolloutSpec},
};
use patchmesh_coordinator::{
    api::document::{
        HostCounts, HostOutcome, PlanHost, Reason, RingGatesDocument, RingGatesState, RingProgress, RingState,
        RolloutDocument, RolloutState, WaitingDocument,
    },
    fault::Fault,
};

use super::{ID, rollout, time};

/// The name of the rollout.
pub(crate) const RINGED: &str = "ringed";

/// `hosts` as the rings of `spec` share them.
pub(crate) fn share(spec: &RolloutSpec, hosts: Vec<PlanHost>) -> Vec<Vec<PlanHost>> {
    let mut rings: Vec<Vec<PlanHost>> = vec![vec![]; spec.rings.len().max(1)];
    for host in hosts {
        rings[spec.ring_of(&host.host, &NodeId([0; 32]), &BTreeMap::new()).unwrap()].push(host);
    }
    rings
}

/// The only ring of a rollout whose hosts stand like this.
pub(crate) fn all(hosts: HostCounts, state: RingState) -> RingProgress {
    RingProgress {
        name: "all".into(),
        state,
        step: 1,
        steps: 1,
        hosts,
        settled_at: None,
        approved_by: vec![],
        approvals: 0,
        gates: None,
        waiting: None,
    }
}

/// Its canary has settled, and these operators have approved the rest.
pub(crate) fn ringed(approved_by: &[&str]) -> RolloutDocument {
    let given = if approved_by.len() == 1 { "1 has".to_owned() } else { format!("{} have", approved_by.len()) };
    let text = format!("ring fleet begins when 2 operators have approved it; {given}");
    let command = Some(format!("patchmesh approve {ID} --ring fleet --key FILE"));
    let waiting = WaitingDocument { code: "approval".into(), text: text.clone(), command };
    let mut document = rollout(RolloutState::Running);
    for result in document.results.iter_mut().filter(|result| result.outcome != HostOutcome::Succeeded) {
        (result.outcome, result.phase, result.attempts, result.rebooted) = (HostOutcome::NotStarted, None, 0, false);
        result.detail = Some(text.clone());
    }
    let outcomes = document.results.iter().map(|result| result.outcome);
    document.hosts = HostCounts::of(outcomes.clone());
    let (canary, fleet): (Vec<_>, Vec<_>) = outcomes.partition(|outcome| *outcome == HostOutcome::Succeeded);
    document.name = RINGED.into();
    document.state = RolloutState::Waiting;
    document.reason = Some(Reason { code: "approval".into(), text });
    document.rings = vec![
        RingProgress {
            name: "canary".into(),
            settled_at: Some(time("2026-12-01T02:01:00Z")),
            gates: Some(RingGatesDocument {
                state: RingGatesState::Passed,
                attempt: 1,
                at: time("2026-12-01T02:02:00Z"),
                gate: None,
                text: String::new(),
            }),
            ..all(HostCounts::of(canary), RingState::Settled)
        },
        RingProgress {
            name: "fleet".into(),
            steps: 2,
            approved_by: approved_by.iter().map(|name| (*name).to_owned()).collect(),
            approvals: 2,
            waiting: Some(waiting),
            ..all(HostCounts::of(fleet), RingState::Pending)
        },
    ];
    document
}

/// What comes of an operator's word.
pub(crate) fn verdict(signed: &SignedVerdict) -> Result<RolloutDocument, Fault> {
    let (by, verdict) = signed.read().unwrap();
    if verdict.ring == 0 {
        let text = "rollout ringed: the ring canary needs no approval";
        let remedy = "see patchmesh rollout status for its rings";
        return Err(Fault::new("verdict-refused", text, "nothing was approved or rejected", remedy));
    }
    if verdict.approve {
        return Ok(ringed(&[&by]));
    }
    let mut document = ringed(&[]);
    document.state = RolloutState::Stopped;
    let text = format!("ring fleet was rejected by {by}: {}; plan again", verdict.because);
    document.reason = Some(Reason { code: "rejected".into(), text });
    Ok(document)
}
