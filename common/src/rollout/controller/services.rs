//! What must stay up: whose members hosts are, whom the mesh does not hear, and what is saved of that before a grant.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Controller, Effect, Seen};
use crate::{
    id::{Epoch, NodeId},
    machine::Cx,
    rollout::{
        ledger::LedgerAct,
        service::{Absent, Member, ServiceAct, ServiceSpec},
    },
    time::BootTime,
};

/// A process that comes to a step so much later than it wanted to was paused, or its machine slept.
const LAPSE: Duration = Duration::from_secs(30);
/// By then the mesh has noticed who fell silent during the pause: it takes 90 s, and longer where links are bad.
const DEAF_FOR: Duration = Duration::from_secs(300);

impl Controller {
    /// Keeps a service; one that is so already is not written again. Its members are known before anything is granted.
    pub(super) fn keep(&mut self, cx: &mut Cx<'_, Effect>, spec: Box<ServiceSpec>, by: String) {
        let known = self.ledger.services.specs.get(&spec.name);
        if known != Some(&*spec) {
            if known.is_some_and(|known| known.probe != spec.probe) {
                self.forget_probe(&spec.name);
            }
            self.save(cx, LedgerAct::Service(ServiceAct::Kept { spec, by }));
            self.see_again(cx);
        }
    }

    pub(super) fn drop_service(&mut self, cx: &mut Cx<'_, Effect>, name: String, by: String) {
        if self.ledger.services.specs.contains_key(&name) {
            self.forget_probe(&name);
            self.save(cx, LedgerAct::Service(ServiceAct::Dropped { name, by }));
            self.see_again(cx);
        }
    }

    pub(super) fn limit_fleet(&mut self, cx: &mut Cx<'_, Effect>, limit: Option<u32>) {
        if self.ledger.services.fleet != limit {
            self.save(cx, LedgerAct::Service(ServiceAct::Fleet { limit }));
        }
    }

    /// Says what the mesh, as it was last seen, means for services.
    pub(super) fn see_again(&mut self, cx: &mut Cx<'_, Effect>) {
        let view = core::mem::take(&mut self.view);
        self.assign(cx, &view);
        self.view = view;
        self.look();
    }

    /// Saves whose services have changed. A member that the mesh knows no more stays one until its membership ends: a service is
    /// no smaller because somebody is down for long.
    fn assign(&mut self, cx: &mut Cx<'_, Effect>, view: &BTreeMap<NodeId, Seen>) {
        let services = &self.ledger.services;
        if services.specs.is_empty() {
            return;
        }
        let change = |seen: &Seen| services.change(seen.node, &seen.words.name, &seen.words.tags, seen.words.expires);
        let mut changed: Vec<_> = view.values().filter_map(change).collect();
        let over = services.members.values().filter(|member| cx.now.wall >= member.expires);
        let over: Vec<_> = over.filter(|member| !view.contains_key(&member.node)).cloned().collect();
        changed.extend(over.into_iter().map(|member| Member { of: BTreeMap::new(), ..member }));
        if !changed.is_empty() {
            self.save(cx, LedgerAct::Service(ServiceAct::Members { changed }));
        }
    }

    /// Notes which members of services are down although the ledger does not say so.
    pub(super) fn look(&mut self) {
        let members = &self.ledger.services.members;
        self.desk.absent = members.keys().filter_map(|node| Some((*node, self.absence(node)?))).collect();
    }

    /// A member is up if the mesh hears it and it has answered this process.
    fn absence(&self, node: &NodeId) -> Option<Absent> {
        let answered = self.desk.contacts.get(node).is_some_and(|contact| contact.answered);
        let up = answered && self.view.get(node).is_some_and(|seen| seen.alive);
        (!up).then_some(Absent::Silent)
    }

    /// The host has answered under `epoch`. Only an answer under the present one was given since this process started, or since
    /// its last pause: whoever overheard an older answer can say it again when the host is long dead.
    pub(super) fn note_answer(&mut self, node: NodeId, epoch: Epoch, now: BootTime) {
        if epoch != self.epoch() || now < self.deaf_until {
            return;
        }
        let before = core::mem::replace(&mut self.contact(node, now).answered, true);
        if !before && self.ledger.services.members.contains_key(&node) {
            match self.absence(&node) {
                Some(why) => self.desk.absent.insert(node, why),
                None => self.desk.absent.remove(&node),
            };
        }
    }

    /// Whether this process was paused until `now`, or its machine was.
    pub(super) fn has_lapsed(&self, now: BootTime) -> bool {
        self.wake.is_some_and(|due| now.since(due) > LAPSE)
    }

    /// A process that was paused believes nothing of what it saw before: members answer it anew, under an epoch that nobody
    /// has answered yet. Whoever may open none believes no answer until the mesh has noticed by itself who is silent.
    ///
    /// `epoch` was the present one when the pause ended: one that was opened since has been answered by nobody either.
    pub(super) fn note_lapse(&mut self, cx: &mut Cx<'_, Effect>, epoch: Epoch) {
        if self.ledger.services.members.is_empty() {
            return;
        }
        if epoch == self.epoch() {
            if self.jumps_again() {
                let Epoch { counter, incarnation, .. } = epoch;
                self.open_epoch(cx, counter.saturating_add(1), incarnation, true);
            } else {
                self.deaf_until = cx.now.boot.plus(DEAF_FOR);
            }
        }
        self.desk.contacts.values_mut().for_each(|contact| contact.answered = false);
        self.look();
    }

    /// Members of services of which this process does not know whether they are up, or nobody what they hold, and that may
    /// answer: they are asked although no rollout has them.
    pub(super) fn unsure_members(&self, now: BootTime) -> impl Iterator<Item = NodeId> + '_ {
        let answered = |node: &NodeId| self.desk.contacts.get(node).is_some_and(|contact| contact.answered);
        let members = self.ledger.services.members.keys().copied();
        members.filter(move |node| (!answered(node) || self.is_unsure(node)) && self.is_reached(node, now))
    }

    /// Whether only the host's own word can say what it holds: that of another ledger, or nobody knows, though somebody took
    /// the risk to go on.
    pub(super) fn is_unsure(&self, node: &NodeId) -> bool {
        self.ledger.discontinuous && (!self.ledger.adopted.contains(node) || self.ledger.foreign.contains_key(node))
    }

    /// Whether the host is asked what it holds for a rollout's sake.
    pub(super) fn asks_anyway(&self, node: &NodeId) -> bool {
        let mut active = self.ledger.active.iter().filter_map(|id| self.ledger.rollouts.get(id));
        self.is_unsure(node) && active.any(|state| state.index.contains_key(node))
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
