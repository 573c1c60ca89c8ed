//! Whom a host tells: the mesh that gossipsub keeps for a topic, with the daemon's own numbers (`node/src/mesh/swarm.rs`). A test
//! holds how news spread over it against real daemons (`tests/fit`).
//!
//! Left out: that grafts and prunes travel (they take a round trip; this mesh changes every few seconds), and lazy gossip (news
//! that a push missed come by an exchange just as soon).

use super::World;
use crate::{chance::Chance, truth::Spot};

/// Fewer neighbours than this, and a host looks for more.
const LOW: usize = 2;
/// So many it then has.
const WANTED: usize = 3;
/// So many are too many: it keeps [`WANTED`].
const HIGH: usize = 6;
/// At least so many of them it dialled itself, so that nobody can surround it.
const DIALLED: usize = 1;
/// Between two looks at all this, in milliseconds.
const UPKEEP: u64 = 5_000;
/// Who was sent away is not asked again for this long, in milliseconds.
const BACKOFF: u64 = 60_000;

/// What one host keeps for it.
pub(super) struct Push {
    chance: Chance,
    /// Whom it tells, and who tells it.
    mesh: Vec<Spot>,
    /// Neighbours that it dialled.
    dialled: Vec<Spot>,
    /// Who was sent away, and until when.
    backoff: Vec<(Spot, u64)>,
    upkeep: u64,
}

impl Push {
    pub(super) fn new(chance: Chance) -> Self {
        Self { chance, mesh: Vec::new(), dialled: Vec::new(), backoff: Vec::new(), upkeep: 0 }
    }

    /// Its draws, if they were kept.
    pub(super) fn kept(&mut self) -> Option<Vec<u64>> {
        self.chance.kept()
    }

    /// A daemon that has just started.
    pub(super) fn restart(&mut self, now: u64) {
        self.mesh.clear();
        self.dialled.clear();
        self.backoff.clear();
        self.upkeep = now + UPKEEP;
    }

    pub(super) fn link_down(&mut self, peer: Spot) {
        self.mesh.retain(|other| *other != peer);
        self.dialled.retain(|other| *other != peer);
    }

    fn holds(&self, peer: Spot) -> bool {
        self.mesh.contains(&peer)
    }

    fn may_ask(&self, peer: Spot) -> bool {
        !self.holds(peer) && !self.backoff.iter().any(|(other, _)| *other == peer)
    }

    fn send_away(&mut self, now: u64, peer: Spot) {
        self.mesh.retain(|other| *other != peer);
        self.backoff.push((peer, now + BACKOFF));
    }

    fn dialled_in_mesh(&self) -> usize {
        self.mesh.iter().filter(|peer| self.dialled.contains(peer)).count()
    }
}

impl World {
    /// Whom a host tells what came from elsewhere.
    pub(super) fn push_on(&self, spot: Spot) -> Vec<Spot> {
        self.seats[spot as usize].push.mesh.clone()
    }

    /// Whom an author tells: if its mesh is small, some more neighbours.
    pub(super) fn push_first(&mut self, spot: Spot) -> Vec<Spot> {
        let seat = &mut self.seats[spot as usize];
        let mut told = seat.push.mesh.clone();
        let mut others: Vec<Spot> = Vec::new();
        if told.len() < WANTED {
            others.extend(seat.links.iter().filter(|link| !told.contains(link)));
        }
        while told.len() < WANTED && !others.is_empty() {
            told.push(others.swap_remove(seat.push.chance.below(others.len() as u64) as usize));
        }
        told
    }

    /// Two machines have linked up; `one` dialled.
    pub(super) fn push_link_up(&mut self, one: Spot, other: Spot) {
        self.seats[one as usize].push.dialled.push(other);
        for (spot, peer) in [(one, other), (other, one)] {
            let push = &self.seats[spot as usize].push;
            if push.mesh.len() < LOW && push.may_ask(peer) {
                self.graft(spot, peer);
            }
        }
    }

    /// `spot` asks `peer` to tell each other; a peer that has enough refuses those that it did not dial.
    fn graft(&mut self, spot: Spot, peer: Spot) {
        let now = self.now;
        let asked = &mut self.seats[peer as usize].push;
        let backs_off = asked.backoff.iter().any(|(other, until)| *other == spot && *until > now);
        let full = asked.mesh.len() >= HIGH && !asked.dialled.contains(&spot);
        if backs_off || full {
            asked.send_away(now, spot);
            return self.seats[spot as usize].push.send_away(now, peer);
        }
        asked.mesh.push(spot);
        self.seats[spot as usize].push.mesh.push(peer);
    }

    fn prune(&mut self, spot: Spot, peer: Spot) {
        let now = self.now;
        for (one, other) in [(spot, peer), (peer, spot)] {
            self.seats[one as usize].push.send_away(now, other);
        }
    }

    /// Too few neighbours are made more and too many fewer, now and then.
    pub(super) fn push_upkeep(&mut self, spot: Spot) {
        let now = self.now;
        let push = &mut self.seats[spot as usize].push;
        if now < push.upkeep {
            return;
        }
        push.upkeep = now + UPKEEP;
        push.backoff.retain(|(_, until)| *until > now);
        if push.mesh.len() < LOW {
            let links: Vec<Spot> = self.seats[spot as usize].links.iter().copied().collect();
            self.graft_some(spot, links, WANTED);
        } else if push.mesh.len() >= HIGH {
            self.prune_some(spot);
        }
        let push = &self.seats[spot as usize].push;
        if push.mesh.len() >= LOW && push.dialled_in_mesh() < DIALLED {
            let (dialled, wanted) = (push.dialled.clone(), push.mesh.len() + DIALLED);
            self.graft_some(spot, dialled, wanted);
        }
    }

    /// Asks any of `peers` until there are `wanted` neighbours.
    fn graft_some(&mut self, spot: Spot, mut peers: Vec<Spot>, wanted: usize) {
        let push = &mut self.seats[spot as usize].push;
        peers.retain(|peer| push.may_ask(*peer));
        let missing = wanted.saturating_sub(push.mesh.len()).min(peers.len());
        for _ in 0..missing {
            let chosen = self.seats[spot as usize].push.chance.below(peers.len() as u64) as usize;
            self.graft(spot, peers.swap_remove(chosen));
        }
    }

    /// Sends any away until [`WANTED`] are left, but not the last that it dialled.
    fn prune_some(&mut self, spot: Spot) {
        let mut peers = self.seats[spot as usize].push.mesh.clone();
        while self.seats[spot as usize].push.mesh.len() > WANTED && !peers.is_empty() {
            let push = &mut self.seats[spot as usize].push;
            let peer = peers.swap_remove(push.chance.below(peers.len() as u64) as usize);
            if !push.dialled.contains(&peer) || push.dialled_in_mesh() > DIALLED {
                self.prune(spot, peer);
            }
        }
    }
}
