//! What the judge knows of leases that its ledger did not grant: after a copy, a backup or another coordinator every host
//! counts as holding one until it has said otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{LeaseId, NodeId};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Elsewhere {
    /// Whether the ledger ever said that it does not continue.
    pub(super) admitted: bool,
    /// Hosts that have said what they hold since then.
    adopted: BTreeSet<NodeId>,
    /// What they hold.
    foreign: BTreeMap<NodeId, LeaseId>,
    /// Hosts that were released before they said it.
    unheard: BTreeSet<NodeId>,
    /// Leases that were released by name and not reported since.
    released: BTreeSet<LeaseId>,
}

impl Elsewhere {
    /// Nothing is known any more.
    pub(super) fn opened(&mut self) {
        *self = Self { admitted: true, released: core::mem::take(&mut self.released), ..Self::default() };
    }

    /// The host says what it holds; `own` is what it holds by this ledger.
    pub(super) fn adopted(&mut self, host: NodeId, held: Option<LeaseId>, own: Option<LeaseId>) {
        self.adopted.insert(host);
        self.foreign.remove(&host);
        let risked = self.unheard.remove(&host);
        let Some(lease) = held.filter(|lease| own != Some(*lease)) else { return };
        if risked {
            self.released.insert(lease);
        } else if !self.released.contains(&lease) {
            self.foreign.insert(host, lease);
        }
    }

    /// An operator took the risk of going on.
    pub(super) fn released(&mut self, host: NodeId, lease: Option<LeaseId>) {
        match lease {
            Some(lease) => {
                self.released.insert(lease);
                self.ended(host, lease);
            }
            None => {
                self.unheard.insert(host);
            }
        }
    }

    /// Evidence of the lease's end has come.
    pub(super) fn ended(&mut self, host: NodeId, lease: LeaseId) {
        if self.foreign.get(&host) == Some(&lease) {
            self.foreign.remove(&host);
        }
    }

    /// Whether the host may hold a lease that the ledger did not grant.
    pub(super) fn may_hold(&self, host: &NodeId) -> bool {
        self.foreign.contains_key(host)
            || (self.admitted && !self.adopted.contains(host) && !self.unheard.contains(host))
    }
}
