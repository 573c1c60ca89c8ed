//! What must stay up: whose members hosts are, whom the mesh does not hear, and what is saved of that before a grant.

use std::collections::BTreeMap;

use super::{Controller, Effect, Seen};
use crate::{
    id::NodeId,
    machine::Cx,
    rollout::{
        ledger::LedgerAct,
        service::{Absent, PROBE_TAG, ServiceAct, ServiceSpec},
    },
};

impl Controller {
    /// Keeps a service; one that is so already is not written again. Its members are known before anything is granted.
    pub(super) fn keep(&mut self, cx: &mut Cx<'_, Effect>, spec: Box<ServiceSpec>, by: String) {
        if self.ledger.services.specs.get(&spec.name) != Some(&*spec) {
            self.save(cx, LedgerAct::Service(ServiceAct::Kept { spec, by }));
            self.see_again(cx);
        }
    }

    pub(super) fn drop_service(&mut self, cx: &mut Cx<'_, Effect>, name: String, by: String) {
        if self.ledger.services.specs.contains_key(&name) {
            self.save(cx, LedgerAct::Service(ServiceAct::Dropped { name, by }));
            self.see_again(cx);
        }
    }

    pub(super) fn limit_fleet(&mut self, cx: &mut Cx<'_, Effect>, limit: Option<u32>) {
        if self.ledger.services.fleet != limit {
            self.save(cx, LedgerAct::Service(ServiceAct::Fleet { limit }));
        }
    }

    fn see_again(&mut self, cx: &mut Cx<'_, Effect>) {
        let view = core::mem::take(&mut self.view);
        self.assign(cx, &view);
        self.view = view;
        self.look();
    }

    /// Saves whose services have changed. A member that the mesh knows no more stays one until its membership ends: a service is
    /// no smaller because somebody is down for long.
    pub(super) fn assign(&mut self, cx: &mut Cx<'_, Effect>, view: &[Seen]) {
        let services = &self.ledger.services;
        if services.specs.is_empty() {
            return;
        }
        let change = |seen: &Seen| services.change(seen.node, &seen.words.name, &seen.words.tags, seen.words.expires);
        let mut changed: Vec<_> = view.iter().filter_map(change).collect();
        let over = services.members.values().filter(|member| cx.now.wall >= member.expires);
        let over: Vec<_> = over.filter(|member| !view.iter().any(|seen| seen.node == member.node)).cloned().collect();
        changed
            .extend(over.into_iter().map(|member| crate::rollout::service::Member { of: BTreeMap::new(), ..member }));
        if !changed.is_empty() {
            self.save(cx, LedgerAct::Service(ServiceAct::Members { changed }));
        }
    }

    /// Notes which members of services are down although the ledger does not say so.
    pub(super) fn look(&mut self) {
        let members = &self.ledger.services.members;
        if members.is_empty() {
            return self.desk.absent.clear();
        }
        self.desk.absent = members.keys().map(|node| (*node, Absent::Silent)).collect();
        for seen in self.view.iter().filter(|seen| seen.alive && members.contains_key(&seen.node)) {
            match seen.words.tags.contains_key(PROBE_TAG) {
                true => self.desk.absent.insert(seen.node, Absent::Failing),
                false => self.desk.absent.remove(&seen.node),
            };
        }
    }

    /// Members of services whose lease nobody here knows, while something is to be granted.
    pub(super) fn unclear_members(&self) -> impl Iterator<Item = NodeId> + '_ {
        let ledger = &self.ledger;
        let asks = ledger.discontinuous && !ledger.active.is_empty();
        ledger.services.members.keys().copied().filter(move |node| asks && ledger.is_unclear(node))
    }

    /// Saves whom the services of `host` lack, as far as that is not saved yet: a grant is judged by what stands before it.
    pub(super) fn testify(&mut self, cx: &mut Cx<'_, Effect>, host: NodeId) {
        let (services, absent) = (&self.ledger.services, &self.desk.absent);
        let members = || services.of_host(&host).flat_map(|(spec, _)| services.members_of(&spec.name));
        let differs = |node: &NodeId| services.seen.get(node) != absent.get(node);
        let changed: BTreeMap<NodeId, Option<Absent>> = members()
            .filter(|member| differs(&member.node))
            .map(|member| (member.node, absent.get(&member.node).copied()))
            .collect();
        if changed.is_empty() {
            return;
        }
        let back = changed.iter().filter(|(_, why)| why.is_none()).map(|(node, _)| *node).collect();
        let absent = changed.into_iter().filter_map(|(node, why)| Some((node, why?))).collect();
        self.save(cx, LedgerAct::Service(ServiceAct::Seen { absent, back }));
    }
}
