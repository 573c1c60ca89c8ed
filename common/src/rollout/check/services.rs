//! The judge's books of what must stay up.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judge, Rules};
use crate::{
    id::{LeaseId, NodeId, RolloutId},
    rollout::{
        Operation,
        service::{ServiceAct, ServiceSpec, Services},
    },
};

/// Services, and leases of this ledger that were released and of which nothing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Watch {
    services: Services,
    /// With the entries that granted them.
    unheard: BTreeMap<LeaseId, (NodeId, u64)>,
    /// The entry that opened the present epoch.
    opened: u64,
}

impl Watch {
    pub(super) fn read(&mut self, act: &ServiceAct) {
        self.services.fold(act);
    }

    /// `granted` is the entry that granted the lease.
    pub(super) fn released(&mut self, host: NodeId, lease: LeaseId, granted: u64) {
        self.unheard.insert(lease, (host, granted));
    }

    /// The entry `at` opens a new epoch.
    pub(super) fn opened(&mut self, at: u64) {
        self.opened = at;
    }

    /// The host says what it holds, and obeys the present epoch: no `Go` of an earlier one can start it any more.
    pub(super) fn adopted(&mut self, host: NodeId, held: Option<LeaseId>) {
        let opened = self.opened;
        self.unheard.retain(|lease, (of, granted)| *of != host || *granted > opened || held == Some(*lease));
    }

    pub(super) fn heard(&mut self, lease: LeaseId) {
        self.unheard.remove(&lease);
    }

    /// What a grant to `host` breaks, while others are at work.
    fn breaks(&self, host: NodeId, at_work: impl Fn(&NodeId) -> bool) -> Result<(), String> {
        let unheard: BTreeSet<&NodeId> = self.unheard.values().map(|(host, _)| host).collect();
        let down = |node: &NodeId| {
            *node == host || at_work(node) || unheard.contains(node) || self.services.seen.contains_key(node)
        };
        self.services.of_host(&host).try_for_each(|(spec, _)| {
            self.holds(spec, |node: &NodeId| down(node) || self.services.fails_probe(spec, node))
        })
    }

    /// A grant takes `host` down.
    pub(super) fn taken_down(&mut self, host: &NodeId) {
        self.services.taken_down(host);
    }

    fn holds(&self, spec: &ServiceSpec, down: impl Fn(&NodeId) -> bool) -> Result<(), String> {
        let members = || self.services.members_of(&spec.name);
        let up = members().filter(|member| !down(&member.node)).count();
        let all = u32::try_from(members().count()).unwrap_or(u32::MAX);
        let least = spec.min_available.resolve_least(all);
        if up < least as usize {
            return Err(format!("it left {up} of the {all} members of service {} up; {least} must be", spec.name));
        }
        let value =
            |member: &super::super::service::Member| member.of.get(&spec.name).and_then(|part| part.value.clone());
        let values: BTreeSet<Option<String>> = members().filter(|member| down(&member.node)).map(value).collect();
        match values.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("it left members of service {} down that differ in its spread", spec.name)),
        }
    }
}

impl Judge {
    /// Whether the host holds a lease that takes it down: that of a Scan does not.
    pub(super) fn is_at_work(&self, host: &NodeId) -> bool {
        let scans = |rules: &Rules| rules.plan.operation == Operation::Scan && rules.held.contains(host);
        self.held.contains_key(host) && !self.rules.values().any(scans)
    }

    /// To be asked before the grant is in the books.
    pub(super) fn available(&mut self, rollout: RolloutId, host: NodeId) {
        if let Some(limit) = self.watch.services.fleet {
            let room = self.held.len() < limit as usize;
            self.demand("concurrency", room, Some(host), || {
                format!("granted while {limit} hosts of all rollouts held a slot")
            });
        }
        let scans = self.rules.get(&rollout).is_some_and(|rules| rules.plan.operation == Operation::Scan);
        if !scans {
            let kept = self.watch.breaks(host, |node| self.is_at_work(node));
            self.demand("availability", kept.is_ok(), Some(host), || kept.err().unwrap_or_default());
            self.watch.taken_down(&host);
        }
    }
}
