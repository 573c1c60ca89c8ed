//! Which other rollouts still want hosts, or have them.

use std::collections::BTreeSet;

use super::ledger::{Ledger, RolloutState};
use crate::id::{NodeId, RolloutId};

/// What one rollout that has not ended still has to do on hosts of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Which rollout.
    pub rollout: RolloutId,
    /// Its name.
    pub name: String,
    /// The hosts that it has not begun with, or is at work on.
    pub hosts: BTreeSet<NodeId>,
}

/// The claims on `hosts`, by the rollouts' ids.
pub fn claims(ledger: &Ledger, hosts: &BTreeSet<NodeId>) -> Vec<Claim> {
    let claim = |id: &RolloutId| {
        let state = ledger.rollouts.get(id)?;
        let claimed: BTreeSet<NodeId> = open(state).filter(|node| hosts.contains(node)).collect();
        let claim = Claim { rollout: *id, name: state.plan.name.clone(), hosts: claimed };
        (!claim.hosts.is_empty()).then_some(claim)
    };
    ledger.active.iter().filter_map(claim).collect()
}

fn open(state: &RolloutState) -> impl Iterator<Item = NodeId> + '_ {
    // Once it is latched, only what runs is left to it.
    let waiting = state.tally.eligible.iter().filter(|_| !state.is_latched());
    state.tally.busy.iter().chain(waiting).filter_map(|at| state.plan.hosts.get(*at)).map(|host| host.node)
}
