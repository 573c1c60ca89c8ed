//! Gates of rings: what a coordinator asks, how long that takes, and how it really is.

use patchmesh_common::{
    id::RolloutId,
    rollout::{controller::Event, ring_gate::RingVerdict},
};

use super::{Happening, World};
use crate::truth::{Spot, Truth};

/// How long an ordinary answer takes at most, in milliseconds.
const QUICK: u64 = 3_000;
/// How long a slow one does.
const SLOW: u64 = 180_000;

/// One asking.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) rollout: RolloutId,
    pub(super) ring: u16,
    pub(super) attempt: u32,
}

impl World {
    /// A coordinator begins to ask.
    pub(super) fn ask_gates(&mut self, spot: Spot, asking: Asking) {
        let most = if self.gates.once_in(4) { SLOW } else { QUICK };
        let (pause, life) = (100 + self.gates.below(most), self.seats[spot as usize].life);
        self.after(pause, Happening::Shown { spot, life, asking });
    }

    /// The asking ends, and the coordinator hears how it is.
    pub(super) fn shown(&mut self, spot: Spot, asking: Asking) {
        let Asking { rollout, ring, attempt } = asking;
        let wave = (u64::from_be_bytes(rollout.0) & 0xffff_ffff).checked_sub(1);
        let wave = wave.and_then(|number| self.scenario.waves.get(usize::try_from(number).ok()?));
        let ok = wave.is_none_or(|wave| wave.sick != Some(ring));
        self.tell(spot, Truth::RingShown { rollout, ring, ok });
        let failed = RingVerdict::Failed { gate: 0, text: "it is sick".into() };
        let verdict = if ok { RingVerdict::Passed } else { failed };
        self.desk_event(spot, Event::Gated { rollout, ring, attempt, verdict });
    }
}
