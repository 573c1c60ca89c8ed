//! Orders that operators give at any member, whether a coordinator hears of them or not.

use patchmesh_common::{
    membership::Role,
    rollout::controller,
    run::{
        machine,
        message::{SignedStop, StopOrder, StopScope},
    },
    seal::Sealed,
    time::WallTime,
};

use super::{Happening, World, net::Cut, operators::Order};
use crate::{
    fault::Kind,
    keys::{Key, MESH, OPERATOR, credential, node},
    truth::Spot,
};

impl World {
    /// A member's mesh has an order for whoever obeys them there.
    pub(super) fn ordered(&mut self, spot: Spot, signed: Box<SignedStop>) {
        match self.seats[spot as usize].desk().is_some() {
            true => self.desk_event(spot, controller::Event::Ordered(signed)),
            false => self.run_event(spot, machine::Event::Ordered(signed)),
        }
    }

    /// While nobody hears the coordinator, everything is stopped at some member and resumed at another; some operator also stops
    /// the rollout that is at work, and sometimes thinks better of it.
    pub(super) fn stop_everything(&mut self, primary: Spot, lasts: u64) -> bool {
        let side = (0..self.seats.len()).map(|spot| spot == primary as usize).collect();
        let until = self.now + lasts;
        let name = Kind::CoordinatorIsolated.word();
        self.cut(Cut { name, side, one_way: false, flaps: 0, until, felt: false });
        let chance = &mut self.operators.afield;
        let (pause, back) = (chance.below(2_000), chance.between(5_000, 2 * lasts.max(5_000)));
        let (also, repents) = (chance.once_in(3), chance.once_in(2));
        let order = |scope, stop| Happening::Operator { order: Order::Command { scope, stop } };
        self.after(pause, order(StopScope::All, true));
        self.after(back, order(StopScope::All, false));
        // The first wave feeds the other faults.
        if let Some(wave) = self.busy_wave().filter(|wave| also && *wave > 0) {
            let scope = StopScope::Rollout(self.rollout_id(wave));
            self.after(2 * pause, order(scope, true));
            if repents {
                self.after(back, order(scope, false));
            }
        }
        true
    }

    /// An operator gives an order at any member that runs, with a sequence above all that this member knows.
    pub(super) fn give(&mut self, scope: StopScope, stop: bool) {
        let spots: Vec<Spot> = self
            .seats
            .iter()
            .filter(|seat| seat.gossip.is_some())
            .map(|seat| seat.spot)
            .filter(|spot| self.awake(*spot))
            .collect();
        let pick = self.operators.afield.below(spots.len().max(1) as u64) as usize;
        let Some(spot) = spots.get(pick).copied() else { return };
        let Some(sequence) = self.seats[spot as usize].gossip.as_ref().map(|gossip| gossip.next_sequence()) else {
            return;
        };
        let order = StopOrder { mesh: MESH, scope, sequence, stop };
        let right = credential(OPERATOR, Role::Operator, WallTime::MAX);
        let signed = SignedStop { order: Sealed::seal(&Key(node(OPERATOR)), &order), credential: right };
        self.order(spot, Box::new(signed));
        if scope == StopScope::All && stop {
            self.chaos.effective(Kind::StopEverything.word());
        }
    }

    /// Whoever finds everything stopped after everything was mended resumes it: also an order that was given in a part of the
    /// mesh where a higher one was not known is outranked then.
    pub(super) fn resume_everything(&mut self) {
        let stands = |seat: &super::seat::Seat| {
            let journal = seat
                .host()
                .is_some_and(|host| host.journal().stops.get(&StopScope::All).is_some_and(|(_, stop)| *stop));
            let ledger = seat.desk().is_some_and(|desk| desk.shadow.stopped_all().is_some());
            seat.up && (journal || ledger)
        };
        if self.healed && self.seats.iter().any(stands) {
            self.give(StopScope::All, false);
        }
    }
}
