//! A rollout that left a host out because its versions were superseded, and the one that plans it again.

use patchmesh_coordinator::api::document::{
    HostCounts, HostOutcome, Reason, ReplanDocument, ResultError, RolloutDocument, RolloutState,
};

use super::{ID, rollout};

/// The name of the first of them.
pub(crate) const SUPERSEDED: &str = "superseded";
/// The name of the other one.
pub(crate) const AGAIN: &str = "superseded-replan-1";
/// Its id.
const AGAIN_ID: &str = "aa00112233445566";

/// The first one: before the other one is started, or after that.
pub(crate) fn superseded(started: bool) -> RolloutDocument {
    let mut document = rollout(RolloutState::CompletedWithFailures);
    for result in document.results.iter_mut().filter(|result| result.outcome != HostOutcome::Succeeded) {
        (result.outcome, result.phase, result.attempts) = (HostOutcome::Refused, None, 0);
        let (code, text) = ("version-gone", "no index offers nginx 1.22.1-9+deb12u3; nothing was changed; plan again");
        result.error = Some(ResultError { code: code.into(), text: text.into(), log: String::new() });
    }
    document.name = SUPERSEDED.into();
    document.hosts = HostCounts::of(document.results.iter().map(|result| result.outcome));
    document.reason = Some(Reason { code: "failures".into(), text: "0 hosts failed, 2 refused".into() });
    document.replanned_as = Some(ReplanDocument { name: AGAIN.into(), id: started.then(|| AGAIN_ID.into()) });
    document
}

/// The other one.
pub(crate) fn again() -> RolloutDocument {
    let replans = Some(ReplanDocument { name: SUPERSEDED.into(), id: Some(ID.into()) });
    RolloutDocument { id: AGAIN_ID.into(), name: AGAIN.into(), replans, ..rollout(RolloutState::Succeeded) }
}
