//! Rest in closed form. A mesh in which every link is up, every clock is even and every view agrees repeats itself: heartbeats,
//! exchanges and sweeps come in the same order [`PERIOD`] after [`PERIOD`]. One of them is simulated, the others up to the next
//! appointment are counted: everything routine is put off by their sum, and the mesh machines' boot clocks stand still meanwhile.
//! Only versions stay behind, by one for each heartbeat that was counted.

use patchmesh_common::gossip::Presence;

use super::{Happening, World};
use crate::scenario::Network;

/// A multiple of every pace of the mesh: sweeps, exchanges, healing dials, heartbeats.
const PERIOD: u64 = 60_000;
/// So long nothing but routine must have happened, before a period that counts: until then exchanges may be quick.
const CALM: u64 = PERIOD;
/// Before the next appointment the mesh is simulated again.
const MARGIN: u64 = PERIOD;
/// Versions that are younger may still be on their way.
const SPREAD: u64 = 10_000;

/// The counts at the beginning of a period.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: u64,
    events: u64,
    bytes: u64,
    messages: u64,
    redundant: u64,
}

impl Happening {
    /// Whether it repeats itself at rest.
    pub(super) fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::WakeMesh { .. }
                | Self::News { .. }
                | Self::Ask { .. }
                | Self::Reply { .. }
                | Self::View { .. }
                | Self::Judge
                | Self::Recount
                | Self::Rest
        )
    }
}

impl World {
    /// Looks whether a period can be counted instead of simulated, once in each.
    pub(super) fn rest(&mut self) {
        let mark = Mark {
            at: self.now,
            events: self.events,
            bytes: self.bytes,
            messages: self.messages,
            redundant: self.redundant,
        };
        let before = self.mark.take();
        if self.is_at_rest() {
            match before {
                Some(before) if before.at + PERIOD == self.now => self.count_on(before, mark),
                _ => self.mark = Some(mark),
            }
        }
        self.after(PERIOD, Happening::Rest);
    }

    fn count_on(&mut self, before: Mark, now: Mark) {
        let next = self.queue.first(|what| !what.is_routine()).unwrap_or(u64::MAX);
        let end = next.min(self.scenario.least.max(self.now));
        let times = end.saturating_sub(self.now + MARGIN) / PERIOD;
        let by = times * PERIOD;
        if times == 0 {
            return;
        }
        self.queue.put_off(by, Happening::is_routine);
        for seat in &mut self.seats {
            seat.rested += by;
            seat.mesh_wake += by;
            seat.published.iter_mut().for_each(|(at, _)| *at += by);
        }
        self.now += by;
        self.rested += by;
        self.events += times * (now.events - before.events);
        self.bytes += times * (now.bytes - before.bytes);
        self.messages += times * (now.messages - before.messages);
        self.redundant += times * (now.redundant - before.redundant);
    }

    fn is_at_rest(&self) -> bool {
        let still = |seat: &super::seat::Seat| {
            let idle = match (seat.host(), seat.desk()) {
                (Some(host), _) => host.pending.is_empty() && host.machine.journal().run.is_none(),
                (_, Some(desk)) => desk.is_idle(),
                _ => true,
            };
            idle && seat.up && !seat.gone && seat.clock.drift == 0 && seat.paused_until.max(seat.slow_until) <= self.now
        };
        self.now >= self.unrest + CALM
            && self.net.rates.is_even()
            && self.net.cuts.is_empty()
            && self.seats.iter().all(still)
            && self.seats.iter().all(|seat| self.sees_everybody(seat))
    }

    /// Whether this view holds what everybody published, and everybody for alive.
    fn sees_everybody(&self, reader: &super::seat::Seat) -> bool {
        let Some(gossip) = &reader.gossip else { return false };
        let old = self.now.saturating_sub(SPREAD);
        let known = |author: &super::seat::Seat| {
            let published = author.published.iter().rev().find(|(at, _)| *at <= old).map(|(_, rank)| *rank);
            let have = gossip.view().get(&author.node).map(|member| member.stamp().rank());
            published.is_some() && have >= published && gossip.presence(&author.node) == Presence::Alive
        };
        self.seats.iter().all(known) && gossip.view().members().count() == self.seats.len()
    }
}

impl Network {
    fn is_even(&self) -> bool {
        (self.loss, self.duplication, self.reordering) == (0, 0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scenario::{MINUTE, Pace, Scenario, Wave},
        world::Finish,
    };

    const HEARTBEAT: u64 = 30_000;

    fn scenario(hosts: u32, rests: bool, waves: Vec<Wave>, minutes: u64) -> Scenario {
        Scenario {
            hosts,
            demanding: false,
            heal: 0,
            patience: minutes * MINUTE,
            least: minutes * MINUTE,
            rests,
            network: Network::default(),
            pace: Pace { heartbeat: HEARTBEAT, exchange: 5_000 },
            waves,
            services: Vec::new(),
            fleet: 0,
            policies: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn lived(scenario: Scenario) -> World {
        let mut world = World::new(1, scenario, false);
        world.go();
        assert_eq!(world.finish, Some(Finish::Completed), "{:?}", world.observers.record.violations);
        world
    }

    /// What every view holds of everybody: version and presence.
    fn views(world: &World) -> Vec<(u64, Presence)> {
        let of = |reader: &super::super::seat::Seat| {
            let gossip = reader.gossip.as_ref().unwrap();
            let members = gossip.view().members();
            members.map(|(node, member)| (member.record.version, gossip.presence(node))).collect::<Vec<_>>()
        };
        world.seats.iter().flat_map(of).collect()
    }

    fn links(world: &World) -> Vec<Vec<u32>> {
        world.seats.iter().map(|seat| seat.links.iter().copied().collect()).collect()
    }

    #[test]
    fn a_mesh_at_rest_is_the_same_whether_it_is_simulated_or_counted() {
        let (simulated, counted) =
            (lived(scenario(100, false, Vec::new(), 10)), lived(scenario(100, true, Vec::new(), 10)));
        assert_eq!(simulated.rested, 0);
        assert!(counted.rested >= 3 * MINUTE, "{}", counted.rested);
        assert_eq!(simulated.now, counted.now);
        let beats = counted.rested / HEARTBEAT;
        let later: Vec<_> =
            views(&counted).into_iter().map(|(version, presence)| (version + beats, presence)).collect();
        assert_eq!(views(&simulated), later);
        assert_eq!(links(&simulated), links(&counted));
        let near = |one: u64, other: u64| one.abs_diff(other) * 200 <= one;
        assert!(near(simulated.events, counted.events), "{} {}", simulated.events, counted.events);
        assert!(near(simulated.bytes, counted.bytes), "{} {}", simulated.bytes, counted.bytes);
    }

    #[test]
    fn a_rollout_after_a_counted_rest_goes_as_after_a_simulated_one() {
        let wave = Wave {
            at: 10 * MINUTE,
            install: true,
            max_concurrency: 20,
            max_errors: 100,
            reboot: true,
            reboot_at: None,
            openings: Vec::new(),
            broken: 7,
            rings: Vec::new(),
            ramp: false,
            gated: false,
            unwell: 0,
            waits: false,
            on_hook_failure: Default::default(),
            replans: false,
            shown: false,
            sick: None,
        };
        let run = |rests| {
            let mut world = World::new(1, scenario(40, rests, vec![wave.clone()], 17), false);
            world.go();
            let rested = world.rested;
            (rested, world.outcome())
        };
        let ((none, simulated), (rested, counted)) = (run(false), run(true));
        assert!(none == 0 && rested >= 3 * MINUTE, "{rested}");
        assert_eq!((simulated.finish, simulated.ended), (counted.finish, counted.ended));
        assert_eq!(simulated.rollouts, counted.rollouts);
        let mut promises = (simulated.record.checked, counted.record.checked);
        promises.0.remove("authorship");
        promises.1.remove("authorship");
        assert_eq!(promises.0, promises.1, "everything but heartbeats is checked as often");
    }
}
