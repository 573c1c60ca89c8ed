//! What people see who sit at the coordinator.

use patchmesh_common::{
    rollout::{
        audit::Audit,
        ledger::{Ledger, LedgerEntry},
        planner,
    },
    time::Now,
};

use super::World;
use crate::keys::Keys;

impl World {
    /// The coordinator's ledger, what it remembers of its talk with hosts, and its clocks; `None` while it is switched off.
    pub fn coordinator(&self) -> Option<(&Ledger, &planner::Desk, Now)> {
        let seat = &self.seats[self.primary()? as usize];
        let desk = seat.desk().filter(|_| seat.up)?;
        Some((desk.ledger(), desk.talk(), seat.clock.now(self.now)))
    }

    /// Every entry of its ledger that is durable, also while it is switched off.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        let desk = self.primary().and_then(|spot| self.seats[spot as usize].desk());
        let frames = desk.map(|desk| desk.entries.as_slice()).unwrap_or_default();
        let mut audit = Audit::default();
        frames.iter().map_while(|frame| audit.read(frame, &Keys).ok()).collect()
    }
}
