//! What must stay up: which hosts are tagged, and what operators keep at the coordinators.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::NodeId,
    rollout::{
        controller::Event,
        service::{ServiceAct, ServiceSpec},
    },
    run::gate::{Ask, DEFAULT_PROBE_TIMEOUT, Gate},
};

use super::World;
use crate::{
    keys::node,
    scenario::{Group, policy::SIDE},
    truth::{Spot, Truth},
};

/// The tag of the members of service `number`.
fn tag(number: usize) -> String {
    format!("service-{number}")
}

pub(super) fn members(group: &Group) -> impl Iterator<Item = u32> {
    group.first..group.first.saturating_add(group.hosts)
}

impl World {
    /// The tags of the identity `number`.
    pub(super) fn tags(&self, number: u32) -> BTreeMap<String, String> {
        let groups =
            self.scenario.services.iter().enumerate().filter(|(_, group)| members(group).any(|one| one == number));
        let side = (SIDE.to_owned(), (number % 2).to_string());
        let sides = Some(side).filter(|_| !self.scenario.policies.is_empty());
        groups.map(|(at, _)| (tag(at), String::from("yes"))).chain(sides).collect()
    }

    /// Operators keep every service at a coordinator that starts: what its ledger has already is not written again. A service
    /// of which somebody never returns is kept no more.
    pub(super) fn keep_services(&mut self, spot: Spot) {
        for (number, group) in self.scenario.services.clone().into_iter().enumerate() {
            let (name, by) = (tag(number), String::from("operator"));
            let returns = |number| self.seats.iter().any(|seat| seat.number == number && !seat.gone);
            let event = if !self.healed || members(&group).all(returns) {
                let selector = [(name.clone(), String::from("yes"))].into();
                let Ok(min_available) = group.least.to_string().parse() else { continue };
                let ask = Ask::SystemdUnit(format!("{name}.service"));
                let probe = group.probed.then_some(Gate { ask, timeout_seconds: DEFAULT_PROBE_TIMEOUT });
                let spec = ServiceSpec { name, selector, min_available, spread: None, last: Vec::new(), probe };
                let spec = Box::new(spec);
                Event::Keep { spec, by }
            } else {
                Event::Drop { name, by }
            };
            self.desk_event(spot, event);
        }
    }

    /// A coordinator reads in its configuration how many hosts may hold a slot.
    pub(super) fn limit_fleet(&mut self, spot: Spot) {
        let limit = self.scenario.fleet;
        if limit > 0 {
            self.tell(spot, Truth::FleetLimited(limit));
            self.desk_event(spot, Event::Fleet(Some(limit)));
        }
    }

    /// After everything was mended, nobody waits for who never returns.
    pub(super) fn look_after_services(&mut self) {
        if let Some(spot) = self.primary().filter(|spot| self.awake(*spot) && !self.scenario.services.is_empty()) {
            self.keep_services(spot);
        }
    }

    /// What a coordinator's ledger keeps when it starts.
    pub(super) fn tell_services(&mut self, spot: Spot) {
        let kept: Vec<ServiceSpec> = self.seats[spot as usize]
            .desk()
            .map(|desk| desk.shadow.services.specs.values().cloned().collect())
            .unwrap_or_default();
        for spec in kept {
            let truth = self.serves(&spec.name, Some(&spec));
            self.tell(spot, truth);
        }
    }

    /// What an act means in truth; `None` for what a coordinator only believes.
    pub(super) fn service_truth(&self, act: &ServiceAct) -> Option<Truth> {
        match act {
            ServiceAct::Kept { spec, .. } => Some(self.serves(&spec.name, Some(spec))),
            ServiceAct::Dropped { name, .. } => Some(self.serves(name, None)),
            ServiceAct::Fleet { .. }
            | ServiceAct::Members { .. }
            | ServiceAct::Seen { .. }
            | ServiceAct::Probed { .. } => None,
        }
    }

    fn serves(&self, name: &str, spec: Option<&ServiceSpec>) -> Truth {
        let group =
            self.scenario.services.iter().enumerate().find(|(number, _)| tag(*number) == name).map(|(_, group)| group);
        let members: Vec<NodeId> = group.map(|group| members(group).map(node).collect()).unwrap_or_default();
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        Truth::Serves {
            service: name.to_owned(),
            least: spec.map(|spec| spec.min_available.resolve_least(count)),
            members,
            probed: group.is_some_and(|group| group.probed),
        }
    }
}
