//! Rollouts that a coordinator plans again because versions were superseded: what is due is decided where the real one asks, too.

use patchmesh_common::{
    id::RolloutId,
    rollout::{
        controller::Event,
        plan::Plan,
        replan::{Due, Next, due, is_heard, next},
        survey::Found,
    },
    schedule::Opening,
    time::WallTime,
};
use rand::Rng;

use super::{Happening, World, desk::Desk, plans, policies::plan_of, surveys::For};
use crate::truth::Spot;

/// How often a coordinator looks what is due, as long as anything is.
const LOOK: u64 = 10_000;
/// How often it tries to plan one again before the world may end without it: a real one tries for a day. Some of them are after the
/// patience with hosts that cannot be planned.
const TRIES: u32 = 6;
/// The ids of rollouts that plan others again; those of waves are lower.
const AGAIN: u64 = 1 << 63;

/// The number of the wave from which the rollout comes.
pub(super) fn wave_of(rollout: RolloutId) -> Option<usize> {
    (u64::from_be_bytes(rollout.0) & 0xffff_ffff).checked_sub(1).map(|number| number as usize)
}

impl Desk {
    /// Rollouts that are to be planned again, and were not tried in vain too often.
    fn to_replan(&self, now: WallTime) -> impl Iterator<Item = RolloutId> + '_ {
        let wanted = move |id: &RolloutId| matches!(next(&self.shadow, *id, now), Some(Next::Due(_) | Next::Held));
        let ended = |id: &RolloutId| self.shadow.rollouts.get(id).and_then(|state| state.ended_at);
        let open = move |id: &RolloutId| ended(id).is_none_or(|of| self.replanning.tried(id, of) < TRIES);
        self.shadow.rollouts.keys().copied().filter(wanted).filter(open)
    }

    /// Those of them whose hosts are heard: the others wait for somebody who may never come back.
    pub(super) fn replannable(&self, now: WallTime) -> impl Iterator<Item = RolloutId> + '_ {
        let heard = move |id: &RolloutId| is_heard(&self.shadow.rollouts[id], self.talk(), now);
        self.to_replan(now).filter(heard)
    }
}

impl World {
    /// A coordinator has something to look for: a rollout has ended, or it has just started.
    pub(super) fn look_for_replans(&mut self, spot: Spot) {
        let seat = &mut self.seats[spot as usize];
        let (now, life) = (seat.clock.now(self.now).wall, seat.life);
        // A process that died of its own start looks for nothing.
        let Some(desk) = Some(seat).filter(|seat| seat.up).and_then(|seat| seat.desk_mut()) else { return };
        if !desk.looks && desk.to_replan(now).next().is_some() {
            desk.looks = true;
            self.after(LOOK, Happening::Replan { spot, life });
        }
    }

    /// Plans again what is due.
    pub(super) fn replan(&mut self, spot: Spot) {
        let now = self.seats[spot as usize].clock.now(self.now);
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        desk.looks = false;
        let found = desk.due_again(now);
        for due in found {
            let (of, spec) = (due.of, due.spec.clone());
            let asked = spec.own_openings(now.wall).is_some_and(|openings| {
                let again = For::Again(Box::new(due), openings);
                self.ask_all(spot, &spec, again).is_some_and(|asked| asked.is_ok())
            });
            if !asked {
                self.planned_again(spot, of, false);
            }
        }
        self.look_for_replans(spot);
    }

    /// Starts what plans `of` again, for which the hosts were asked.
    pub(super) fn apply_again(&mut self, spot: Spot, due: &Due, openings: Vec<Opening>, found: Found) {
        let now = self.seats[spot as usize].clock.now(self.now).wall;
        let planned = found.planned.iter().map(|host| host.node).collect();
        if due.may_start(&planned, now).is_err() {
            return self.planned_again(spot, due.of, false);
        }
        let Due { of, spec, .. } = due;
        let wave = wave_of(*of).and_then(|wave| self.scenario.waves.get(wave));
        let plan = match wave {
            Some(wave) => {
                let Found { planned: hosts, excluded, .. } = found;
                let rings = plans::planned(wave, hosts.len());
                Plan { hosts, excluded, rings, created_at: now, ..plans::plan(spec, wave) }
            }
            None => plan_of(spec, openings, found, now),
        };
        self.start_again(spot, *of, plan);
    }

    fn start_again(&mut self, spot: Spot, of: RolloutId, plan: Plan) {
        let Some(desk) = self.seats[spot as usize].desk_mut() else { return };
        let wave = u64::from_be_bytes(of.0) & 0xffff_ffff;
        let drawn = u64::from(desk.chance.next_u32() >> 1) << 32;
        let id = RolloutId((AGAIN | drawn | wave).to_be_bytes());
        if let Some(ringed) = super::rings::ringed(id, &plan) {
            self.tell(spot, ringed);
        }
        self.desk_event(spot, Event::Replan { id, of, plan: Box::new(plan) });
        let started = |desk: &Desk| desk.shadow.rollouts.contains_key(&id);
        let started = self.seats[spot as usize].desk().is_some_and(started);
        self.planned_again(spot, of, started);
    }

    /// How the try to plan `of` again ended.
    pub(super) fn planned_again(&mut self, spot: Spot, of: RolloutId, started: bool) {
        let boot = self.seats[spot as usize].clock.now(self.now).boot;
        if let Some(desk) = self.seats[spot as usize].desk_mut() {
            desk.replanning.ended(&of, (!started).then(|| "nobody could be planned".to_owned()), boot);
        }
    }
}

impl Desk {
    fn due_again(&mut self, now: patchmesh_common::time::Now) -> Vec<Due> {
        let mut attempts = std::mem::take(&mut self.replanning);
        let found = due(&mut attempts, self.ledger(), self.talk(), now);
        self.replanning = attempts;
        found
    }
}
