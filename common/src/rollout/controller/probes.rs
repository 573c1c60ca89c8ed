//! The probes of services: whom to ask, and what is saved of the answers before a grant.

use std::collections::{BTreeMap, BTreeSet};

use super::{Controller, Effect, TICK};
use crate::{
    id::{CommandId, NodeId},
    machine::Cx,
    rollout::{
        availability::{failing, taken},
        ledger::LedgerAct,
        probe::Probing,
        service::{ServiceAct, ServiceSpec},
    },
    run::{
        gate::{Gate, MAX_PROBING},
        message::ToHost,
    },
    time::BootTime,
};

/// Most probes that are asked at one time, every half second: the members of a large fleet are asked one after the other.
const AT_ONCE: usize = 200;

impl Controller {
    /// Asks members of services what they have not shown lately. Whoever is down anyway is asked when it is not any more: what it
    /// shows in the middle of a run says nothing of what it is after it.
    pub(super) fn ask_probes(&mut self, cx: &mut Cx<'_, Effect>) {
        let now = cx.now.boot;
        if !self.has_probes() || now.since(self.probed_at) < TICK || self.desk.stands_back(now) {
            return;
        }
        self.probed_at = now;
        let asked: Vec<_> = self.due_probes(now).into_iter().take(AT_ONCE).collect();
        for (node, service, probe) in asked {
            let request = CommandId(cx.draw_u128().to_be_bytes());
            self.desk.probes.entry(node).or_default().entry(service).or_default().ask(request, now);
            cx.emit(Effect::Tell { to: node, body: ToHost::Probe { request, probe } });
        }
    }

    /// Whom to ask what, those first who were not asked for the longest: of more than can be asked in time everybody has a turn.
    fn due_probes(&self, now: BootTime) -> Vec<(NodeId, String, Gate)> {
        let (ledger, desk) = (&self.ledger, &self.desk);
        let (mut due, mut open) = (Vec::new(), BTreeMap::<NodeId, usize>::new());
        for spec in ledger.services.specs.values() {
            let Some(probe) = &spec.probe else { continue };
            for node in ledger.services.members_of(&spec.name).map(|member| member.node) {
                let probing = desk.probes.get(&node).and_then(|probes| probes.get(&spec.name));
                if probing.is_some_and(|probing| !probing.is_due(probe, now)) {
                    *open.entry(node).or_default() += usize::from(probing.is_some_and(Probing::is_open));
                } else if taken(ledger, desk, &node).is_none() {
                    due.push((probing.and_then(Probing::last_asked), node, &spec.name, probe));
                }
            }
        }
        due.sort_unstable_by_key(|(last, node, ..)| (*last, *node));
        // What a host would not answer beside the others is asked when it has answered those.
        due.retain(|(_, node, ..)| {
            let open = open.entry(*node).or_default();
            *open += 1;
            *open <= MAX_PROBING
        });
        due.into_iter().map(|(_, node, service, probe)| (node, service.clone(), probe.clone())).collect()
    }

    /// Whether members of some service have to show something.
    pub(super) fn has_probes(&self) -> bool {
        self.ledger.services.specs.values().any(|spec| spec.probe.is_some())
    }

    pub(super) fn probed(&mut self, from: NodeId, request: CommandId, result: &Result<(), String>) {
        for probing in self.desk.probes.get_mut(&from).into_iter().flat_map(|probes| probes.values_mut()) {
            probing.answered(request, result.clone());
        }
    }

    /// What was shown for a service counts no more, because something else is asked.
    pub(super) fn forget_probe(&mut self, service: &str) {
        self.desk.probes.values_mut().for_each(|probes| {
            probes.remove(service);
        });
    }

    /// Saves what the members of `host`'s services have shown, as far as that is not saved yet.
    pub(super) fn testify_probes(&mut self, cx: &mut Cx<'_, Effect>, host: NodeId) {
        let probed = self.ledger.services.of_host(&host).filter(|(spec, _)| spec.probe.is_some());
        let acts: Vec<_> = probed.filter_map(|(spec, _)| self.news(spec, cx.now.boot)).collect();
        for act in acts {
            self.save(cx, LedgerAct::Service(act));
        }
    }

    fn news(&self, spec: &ServiceSpec, now: BootTime) -> Option<ServiceAct> {
        let passes = |node: &NodeId| failing(&self.desk, node, spec, now).is_none();
        let members = self.ledger.services.members_of(&spec.name).map(|member| member.node);
        let passing: BTreeSet<NodeId> = members.filter(passes).collect();
        let none = BTreeSet::new();
        let known = self.ledger.services.passed.get(&spec.name).unwrap_or(&none);
        let passed: Vec<NodeId> = passing.difference(known).copied().collect();
        let failed: Vec<NodeId> = known.difference(&passing).copied().collect();
        let news = !passed.is_empty() || !failed.is_empty();
        news.then(|| ServiceAct::Probed { service: spec.name.clone(), passed, failed })
    }
}
