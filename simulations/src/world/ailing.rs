//! Members of services whose probe fails for a while, whatever their daemons say.

use std::collections::BTreeMap;

use patchmesh_common::{id::NodeId, run::act::ActId};

use super::{Happening, World, acts::Look, services::members};
use crate::{
    fault::Kind,
    scenario::Group,
    truth::{Spot, Truth},
};

/// Until when an identity fails, and whether anybody has asked it since.
#[derive(Clone, Copy, Debug)]
struct Ailment {
    until: u64,
    felt: bool,
}

/// Who does not pass its probe.
#[derive(Default)]
pub(super) struct Ailing(BTreeMap<NodeId, Ailment>);

impl Ailing {
    /// Whether `node` fails at `now`; the first time that it is asked, it is said to be felt.
    fn asked(&mut self, node: NodeId, now: u64) -> Option<bool> {
        let ailment = self.0.get_mut(&node).filter(|ailment| now < ailment.until)?;
        Some(!std::mem::replace(&mut ailment.felt, true))
    }
}

impl World {
    /// What a member without work serves fails for a while. Answers whether there is one.
    pub(super) fn fall_ill(&mut self, lasts: u64) -> bool {
        let probed = |number: u32| {
            let groups = self.scenario.services.iter().filter(|group: &&Group| group.probed);
            groups.into_iter().any(|group| members(group).any(|one| one == number))
        };
        let idle = self.seats.iter().filter(|seat| seat.up && !seat.gone && probed(seat.number));
        let idle: Vec<Spot> = idle
            .filter(|seat| seat.host().is_some_and(|host| host.machine.journal().run.is_none()))
            .filter(|seat| self.ailing.0.get(&seat.node).is_none_or(|ailment| ailment.until <= self.now))
            .map(|seat| seat.spot)
            .collect();
        let pick = self.chaos.chance.below(idle.len().max(1) as u64) as usize;
        let Some(spot) = idle.get(pick).copied() else { return false };
        let until = self.now + lasts;
        let before = self.ailing.0.insert(self.seats[spot as usize].node, Ailment { until, felt: false });
        if before.is_some_and(|before| !before.felt) {
            self.chaos.take_back(Kind::ServiceSick.word());
        }
        self.tell(spot, Truth::Ails { until });
        true
    }

    /// A host asks its probe, which takes a moment.
    pub(super) fn ask_probe(&mut self, spot: Spot, id: ActId) {
        let seat = &mut self.seats[spot as usize];
        let (pause, life) = (seat.chance.between(10, 800), seat.life);
        self.after(pause, Happening::Look { spot, life, act: id, look: Box::new(Look::Probe) });
    }

    /// What the probe shows.
    pub(super) fn probed(&mut self, spot: Spot) -> Result<(), String> {
        match self.ailing.asked(self.seats[spot as usize].node, self.now) {
            None => Ok(()),
            Some(first) => {
                if first {
                    self.chaos.effective(Kind::ServiceSick.word());
                }
                Err(String::from("the unit is failed, not active"))
            }
        }
    }

    /// Everybody is well again.
    pub(super) fn recover_all(&mut self) {
        for (node, ailment) in std::mem::take(&mut self.ailing.0) {
            if !ailment.felt {
                self.chaos.take_back(Kind::ServiceSick.word());
            }
            if let Some(spot) = self.seats.iter().find(|seat| seat.node == node).map(|seat| seat.spot) {
                self.tell(spot, Truth::Ails { until: self.now });
            }
        }
    }
}
