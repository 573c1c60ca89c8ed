//! Gates of rings: what a coordinator asks, how long that takes, and how it really is.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::{NodeId, RolloutId},
    rollout::{controller::Event, ring_gate::RingVerdict},
    run::message::Outcome,
};

use super::{Happening, World, replans};
use crate::truth::{Spot, Truth};

/// How long an ordinary answer takes at most, in milliseconds.
const QUICK: u64 = 3_000;
/// How long a slow one does.
const SLOW: u64 = 180_000;

/// One asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    rollout: RolloutId,
    ring: u16,
    attempt: u32,
    /// Whether all was well when it began.
    ok: bool,
}

/// When a host of each ring was really done, the last one so far.
#[derive(Default)]
pub(super) struct Endings {
    rings: BTreeMap<(RolloutId, NodeId), u16>,
    last: BTreeMap<(RolloutId, u16), u64>,
}

impl Endings {
    /// Something happened `at`, to a machine of this identity.
    pub(super) fn see(&mut self, at: u64, node: NodeId, truth: &Truth) {
        match truth {
            Truth::Ringed { rollout, steps, shown: true } => {
                let hosts = steps.iter().flat_map(|step| step.hosts.iter().map(|host| (*host, step.place.ring)));
                self.rings.extend(hosts.map(|(host, ring)| ((*rollout, host), ring)));
            }
            Truth::Settled { rollout, outcome, .. } if *outcome != Outcome::Deferred => {
                if let Some(ring) = self.rings.get(&(*rollout, node)) {
                    self.last.insert((*rollout, *ring), at);
                }
            }
            _ => {}
        }
    }
}

impl World {
    /// A coordinator begins to ask: whatever it shows, and however late, is how it is now.
    pub(super) fn ask_gates(&mut self, spot: Spot, rollout: RolloutId, ring: u16, attempt: u32) {
        let seat = &self.seats[spot as usize];
        let (now, error) = (seat.clock.now(self.now), seat.clock.error(self.now));
        self.tell(spot, Truth::RingAsked { rollout, ring, attempt, now, error });
        let asking = Asking { rollout, ring, attempt, ok: !self.is_sick(rollout, ring) };
        let most = if self.gates.once_in(4) { SLOW } else { QUICK };
        let (pause, life) = (100 + self.gates.below(most), self.seats[spot as usize].life);
        self.after(pause, Happening::Shown { spot, life, asking });
    }

    fn is_sick(&self, rollout: RolloutId, ring: u16) -> bool {
        let wave = replans::wave_of(rollout).and_then(|number| self.scenario.waves.get(number));
        let sickness = wave.and_then(|wave| wave.sick).filter(|sickness| sickness.ring == ring);
        let since = self.endings.last.get(&(rollout, ring)).map(|last| self.now - last);
        sickness.zip(since).is_some_and(|(sickness, since)| sickness.shows(since))
    }

    /// The asking ends, and the coordinator hears how it was.
    pub(super) fn shown(&mut self, spot: Spot, asking: Asking) {
        let Asking { rollout, ring, attempt, ok } = asking;
        self.tell(spot, Truth::RingShown { rollout, ring, attempt, ok });
        let failed = RingVerdict::Failed { gate: 0, text: "it is sick".into() };
        let verdict = if ok { RingVerdict::Passed } else { failed };
        self.desk_event(spot, Event::Gated { rollout, ring, attempt, verdict });
    }
}
