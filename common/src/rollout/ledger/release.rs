//! What a release by name means for the state: the slot is free, the lease is fenced until evidence says what became of it.

use super::{Ledger, Progress, Release};
use crate::{
    id::{LeaseId, NodeId, RolloutId},
    time::WallTime,
};

impl Ledger {
    /// Whether nothing is known of what the host holds, and nobody took the risk to go on without knowing.
    pub fn is_unclear(&self, node: &NodeId) -> bool {
        self.discontinuous && !self.adopted.contains(node) && !self.unheard.contains(node)
    }

    /// A released lease of the host of which no report or refusal has come.
    pub fn fenced(&self, node: &NodeId) -> Option<LeaseId> {
        self.released.iter().find(|(_, host)| *host == node).map(|(lease, _)| *lease)
    }

    /// The rollout of this ledger in which the lease was granted to `host` and released since.
    pub fn released_in(&self, host: NodeId, lease: LeaseId) -> Option<RolloutId> {
        let released = |state: &super::RolloutState| {
            let at = state.index.get(&host)?;
            matches!(&state.hosts[*at].progress, Progress::Released(release) if release.lease == lease).then_some(())
        };
        self.rollouts.iter().find(|(_, state)| released(state).is_some()).map(|(id, _)| *id)
    }

    /// Whether the host has been released from a lease of another ledger that it does not hold, as it now says.
    pub(in crate::rollout) fn outlived(&self, host: NodeId, held: Option<LeaseId>) -> bool {
        self.released
            .iter()
            .any(|(lease, of)| *of == host && held != Some(*lease) && self.released_in(host, *lease).is_none())
    }

    pub(super) fn fold_adopted(&mut self, host: NodeId, held: Option<LeaseId>) {
        self.adopted.insert(host);
        let unheard = self.unheard.remove(&host);
        let over: Vec<LeaseId> = self.released.iter().filter(|(_, of)| **of == host).map(|(lease, _)| *lease).collect();
        for lease in over {
            // What was granted here is asked for by its own lease: its `Go` may have been overtaken by this answer.
            if held != Some(lease) && self.released_in(host, lease).is_none() {
                self.released.remove(&lease);
            }
        }
        self.foreign.remove(&host);
        let Some(lease) = held.filter(|lease| self.leased.get(&host).is_none_or(|(_, known)| known != lease)) else {
            return;
        };
        self.known.insert(lease);
        if unheard {
            self.released.insert(lease, host);
        } else if !self.released.contains_key(&lease) {
            self.foreign.insert(host, lease);
        }
    }

    pub(super) fn fold_release(
        &mut self,
        host: NodeId,
        lease: Option<LeaseId>,
        release: impl FnOnce(LeaseId, WallTime) -> Release,
    ) {
        let Some(lease) = lease else {
            self.unheard.insert(host);
            return;
        };
        self.released.insert(lease, host);
        if self.foreign.get(&host) == Some(&lease) {
            self.foreign.remove(&host);
        }
        let own = self.leased.get(&host).copied().filter(|(_, held)| *held == lease);
        if let Some((rollout, _)) = own
            && let Ok((state, at)) = self.host(rollout, host)
            && let Progress::Running { since, .. } = state.hosts[at].progress
        {
            state.settle(at, Progress::Released(Box::new(release(lease, since))));
            self.leased.remove(&host);
        }
    }
}
