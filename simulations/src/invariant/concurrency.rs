//! Never more hosts of a rollout than its limit: neither in a ledger nor in truth.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::id::{LeaseId, NodeId, RolloutId};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "no Go becomes durable while `limit` hosts of the rollout hold a slot; a slot is held from the \
    durable Go to a folded terminal report or a named release; the same of all rollouts together, if operators limit the fleet";

/// What a host is at work on.
struct Live {
    lease: LeaseId,
    rollout: RolloutId,
    node: NodeId,
    /// Clones and released leases do not.
    counts: bool,
}

/// Counts slots in every ledger, and runs on hosts whatever any ledger says.
#[derive(Default)]
pub(super) struct Concurrency {
    limits: BTreeMap<RolloutId, u32>,
    /// Of all rollouts together, by coordinator.
    fleet: BTreeMap<Spot, u32>,
    held: BTreeMap<(Spot, RolloutId), BTreeMap<NodeId, LeaseId>>,
    live: BTreeMap<Spot, Live>,
    at_work: BTreeMap<RolloutId, u32>,
    /// Exactly these are excused: operators released them by name.
    released: BTreeSet<LeaseId>,
    /// Hosts that some ledger released before it knew what they hold, until they say it there.
    unheard: BTreeSet<(Spot, NodeId)>,
}

impl Concurrency {
    fn free(&mut self, spot: Spot, rollout: RolloutId, host: NodeId, lease: LeaseId) {
        let held = self.held.entry((spot, rollout)).or_default();
        if held.get(&host) == Some(&lease) {
            held.remove(&host);
        }
    }

    fn rest(&mut self, spot: Spot, lease: LeaseId) {
        if self.live.get(&spot).is_some_and(|live| live.lease == lease) {
            self.excuse(|live| live.lease == lease);
            self.live.remove(&spot);
        }
    }

    /// What is at work like this counts no more.
    fn excuse(&mut self, which: impl Fn(&Live) -> bool) {
        for live in self.live.values_mut().filter(|live| live.counts && which(live)) {
            live.counts = false;
            if let Some(count) = self.at_work.get_mut(&live.rollout) {
                *count -= 1;
            }
        }
    }

    fn release(&mut self, spot: Spot, host: NodeId, lease: Option<LeaseId>) {
        let Some(lease) = lease else {
            self.unheard.insert((spot, host));
            return self.excuse(|live| live.node == host);
        };
        self.released.insert(lease);
        self.excuse(|live| live.node == host && live.lease == lease);
        let here = self.held.iter_mut().filter(|((desk, _), _)| *desk == spot);
        here.for_each(|(_, held)| held.retain(|holder, by| (*holder, *by) != (host, lease)));
    }

    fn is_released(&self, host: NodeId, lease: LeaseId) -> bool {
        self.released.contains(&lease) || self.unheard.iter().any(|(_, unheard)| *unheard == host)
    }
}

impl Promise for Concurrency {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, node, truth, excused } = seen;
        match truth {
            Truth::Applied { rollout, max_concurrency, .. } => {
                self.limits.insert(*rollout, *max_concurrency);
            }
            Truth::FleetLimited(limit) => {
                self.fleet.insert(spot, *limit);
            }
            Truth::GoSaved { rollout, host, lease, .. } => {
                if let Some(limit) = self.fleet.get(&spot) {
                    let holders = self.held.iter().filter(|((desk, _), _)| *desk == spot);
                    let holders: BTreeSet<&NodeId> = holders.flat_map(|(_, held)| held.keys()).collect();
                    record.demand("concurrency", at, &[spot], holders.len() < *limit as usize, || {
                        let all = holders.len();
                        format!("a Go was saved while {all} hosts of the fleet held a slot; {limit} are allowed")
                    });
                }
                let limit = self.limits.get(rollout).copied().unwrap_or(0);
                let held = self.held.entry((spot, *rollout)).or_default();
                let room = held.len() < limit as usize;
                let count = held.len();
                held.insert(*host, *lease);
                record.demand("concurrency", at, &[spot], room, || {
                    format!("a Go of rollout {rollout} was saved while {count} hosts held a slot; {limit} are allowed")
                });
            }
            Truth::Folded { rollout, host, lease, .. } => self.free(spot, *rollout, *host, *lease),
            Truth::Returned { rollout, host, lease } => {
                self.free(spot, *rollout, *host, *lease);
                let runs = self.live.iter().find(|(_, live)| live.lease == *lease).map(|(host, _)| *host);
                record.demand("concurrency", at, &[spot, runs.unwrap_or(spot)], runs.is_none() || excused, || {
                    format!("the slot of lease {lease} was freed while the lease runs")
                });
            }
            Truth::Released { host, lease } => self.release(spot, *host, *lease),
            Truth::Adopted(host) => {
                self.unheard.remove(&(spot, *host));
            }
            Truth::Granted { lease, rollout, .. } => {
                let excused = excused || self.is_released(node, *lease);
                let limit = self.limits.get(rollout).copied().unwrap_or(0);
                let count = self.at_work.entry(*rollout).or_default();
                let room = *count < limit || excused;
                let others = *count;
                // A clone has its lease by another's identity, a released one is at an operator's risk: they count for nobody.
                *count += u32::from(!excused);
                let mut spots = vec![spot];
                if !room {
                    let same = self.live.iter().filter(|(_, live)| live.rollout == *rollout);
                    spots.extend(same.map(|(other, _)| *other));
                }
                self.live.insert(spot, Live { lease: *lease, rollout: *rollout, node, counts: !excused });
                record.demand("concurrency", at, &spots, room, || {
                    format!("a host began a run of rollout {rollout} while {others} were at work; {limit} are allowed")
                });
            }
            Truth::Settled { lease, .. } => self.rest(spot, *lease),
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.held.retain(|(other, _), _| *other != spot);
        self.unheard.retain(|(other, _)| *other != spot);
        for (rollout, book) in desk {
            self.held.insert((spot, *rollout), book.held.clone());
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for host in &books.hosts {
            let counted = self.live.get(&host.spot).map(|live| (live.lease, live.rollout));
            if counted != host.live {
                return Some(format!("machine {} runs {:?}, counted {counted:?}", host.spot, host.live));
            }
        }
        for (spot, desk) in &books.desks {
            for (rollout, book) in desk {
                let counted = self.held.get(&(*spot, *rollout)).cloned().unwrap_or_default();
                if counted != book.held {
                    return Some(format!("ledger {spot} says {:?} hold slots, counted {counted:?}", book.held));
                }
            }
        }
        None
    }
}
