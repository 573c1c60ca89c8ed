//! One machine of the world: its clocks, its process, its part in the mesh, and what it is for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use patchmesh_common::{
    gossip::{Gossip, Item, RecordBody},
    id::{BootId, Incarnation, NodeId},
    membership::Credential,
    run::message::SignedStop,
    time::{BootTime, Now},
};

use super::{Happening, desk::Desk, hand::Hand, host::Host, mesh::Heard, push::Push};
use crate::{chance::Chance, clock::Clock, truth::Spot};

/// What the machine is for.
pub(super) enum Part {
    Host(Box<Host>),
    Desk(Box<Desk>),
}

pub(super) struct Seat {
    pub(super) spot: Spot,
    pub(super) number: u32,
    pub(super) node: NodeId,
    pub(super) credential: Credential,
    pub(super) clock: Clock,
    /// Grows with every boot.
    pub(super) boots: u32,
    pub(super) powered: bool,
    /// Never returns.
    pub(super) gone: bool,
    /// Whether its daemon runs.
    pub(super) up: bool,
    /// Grows with every start and end of the daemon: what was meant for an earlier life is dropped.
    pub(super) life: u32,
    pub(super) paused_until: u64,
    /// What came while it was paused.
    pub(super) parked: Vec<Happening>,
    /// Everything it does takes longer until then.
    pub(super) slow_until: u64,
    /// Its store of the mesh is lost at the next start.
    pub(super) view_lost: bool,
    pub(super) chance: Chance,
    /// What its daemon dies of.
    pub(super) hand: Hand,
    pub(super) mesh_chance: Chance,
    pub(super) gossip: Option<Box<Gossip>>,
    pub(super) kept: Vec<Item>,
    /// The orders that it has remembered.
    pub(super) kept_orders: Vec<SignedStop>,
    pub(super) body: RecordBody,
    pub(super) links: BTreeSet<Spot>,
    pub(super) push: Push,
    /// The last announcement seen of each author.
    pub(super) heard: Heard,
    pub(super) blocked: BTreeMap<NodeId, u64>,
    pub(super) mesh_wake: u64,
    /// Milliseconds that the mesh machine has not lived through, see [`super::rest`].
    pub(super) rested: u64,
    pub(super) skew: Option<i64>,
    /// When it published which version, oldest first.
    pub(super) published: VecDeque<(u64, (Incarnation, u64))>,
    pub(super) part: Part,
}

impl Seat {
    /// The clocks as the mesh machine sees them.
    pub(super) fn mesh_now(&self, at: u64) -> Now {
        let now = self.clock.now(at);
        Now { boot: BootTime(now.boot.0.saturating_sub(self.rested)), ..now }
    }

    pub(super) fn boot_id(&self) -> BootId {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.spot.to_be_bytes());
        id[4..8].copy_from_slice(&self.boots.to_be_bytes());
        BootId(id)
    }

    pub(super) fn host(&self) -> Option<&Host> {
        match &self.part {
            Part::Host(host) => Some(host),
            Part::Desk(_) => None,
        }
    }

    pub(super) fn host_mut(&mut self) -> Option<&mut Host> {
        match &mut self.part {
            Part::Host(host) => Some(host),
            Part::Desk(_) => None,
        }
    }

    pub(super) fn desk(&self) -> Option<&Desk> {
        match &self.part {
            Part::Host(_) => None,
            Part::Desk(desk) => Some(desk),
        }
    }

    pub(super) fn desk_mut(&mut self) -> Option<&mut Desk> {
        match &mut self.part {
            Part::Host(_) => None,
            Part::Desk(desk) => Some(desk),
        }
    }
}
