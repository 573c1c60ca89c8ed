//! Never more hosts of a rollout than its limit: neither in a ledger nor in truth.

use std::collections::BTreeMap;

use patchmesh_common::id::{LeaseId, NodeId, RolloutId};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "no Go becomes durable while `limit` hosts of the rollout hold a slot; a slot is held from the \
    durable Go to a folded terminal report or a named release";

/// Counts slots in every ledger, and runs on hosts whatever any ledger says.
#[derive(Default)]
pub(super) struct Concurrency {
    limits: BTreeMap<RolloutId, u32>,
    held: BTreeMap<(Spot, RolloutId), BTreeMap<NodeId, LeaseId>>,
    /// With whether it counts.
    live: BTreeMap<Spot, (LeaseId, RolloutId, bool)>,
    at_work: BTreeMap<RolloutId, u32>,
}

impl Concurrency {
    fn free(&mut self, spot: Spot, rollout: RolloutId, host: NodeId, lease: LeaseId) {
        let held = self.held.entry((spot, rollout)).or_default();
        if held.get(&host) == Some(&lease) {
            held.remove(&host);
        }
    }

    fn rest(&mut self, spot: Spot, lease: LeaseId) {
        if self.live.get(&spot).is_some_and(|(live, ..)| *live == lease)
            && let Some((_, rollout, counted)) = self.live.remove(&spot)
            && counted
            && let Some(count) = self.at_work.get_mut(&rollout)
        {
            *count -= 1;
        }
    }
}

impl Promise for Concurrency {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, excused, .. } = seen;
        match truth {
            Truth::Applied { rollout, max_concurrency, .. } => {
                self.limits.insert(*rollout, *max_concurrency);
            }
            Truth::GoSaved { rollout, host, lease, .. } => {
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
                let runs = self.live.iter().find(|(_, (live, ..))| live == lease).map(|(host, _)| *host);
                record.demand("concurrency", at, &[spot, runs.unwrap_or(spot)], runs.is_none() || excused, || {
                    format!("the slot of lease {lease} was freed while the lease runs")
                });
            }
            Truth::Granted { lease, rollout, .. } => {
                let limit = self.limits.get(rollout).copied().unwrap_or(0);
                let count = self.at_work.entry(*rollout).or_default();
                let room = *count < limit || excused;
                let others = *count;
                // A clone has its lease by another's identity: it counts for nobody.
                *count += u32::from(!excused);
                let mut spots = vec![spot];
                if !room {
                    let same = self.live.iter().filter(|(_, (_, other, _))| other == rollout);
                    spots.extend(same.map(|(other, _)| *other));
                }
                self.live.insert(spot, (*lease, *rollout, !excused));
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
        for (rollout, book) in desk {
            self.held.insert((spot, *rollout), book.held.clone());
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for host in &books.hosts {
            let counted = self.live.get(&host.spot).map(|(lease, rollout, _)| (*lease, *rollout));
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
