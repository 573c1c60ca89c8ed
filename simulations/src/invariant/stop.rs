//! A STOP that a host has saved is obeyed.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::RolloutId,
    run::message::{OrderStamp, StopScope},
};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "once a STOP has been saved on a host, it begins no further disruptive step; nobody confirms one that is not saved, and no coordinator grants under one that is";

/// The orders that each machine saved.
#[derive(Default)]
pub(super) struct Orders(BTreeMap<Spot, BTreeMap<StopScope, (u64, bool)>>);

impl Orders {
    /// Answers what it was saved over, if that wins.
    pub(super) fn save(&mut self, spot: Spot, scope: StopScope, order: (u64, bool)) -> Result<(), (u64, bool)> {
        let orders = self.0.entry(spot).or_default();
        match orders.get(&scope) {
            // The highest wins, and a tie is stop.
            Some(before) if order <= *before => Err(*before),
            _ => {
                orders.insert(scope, order);
                Ok(())
            }
        }
    }

    /// Whether the order of this scope that stands is a STOP.
    pub(super) fn stops(&self, spot: Spot, scope: StopScope) -> bool {
        self.0.get(&spot).and_then(|orders| orders.get(&scope)).is_some_and(|(_, stop)| *stop)
    }

    /// The machine starts on what it has kept.
    pub(super) fn forget(&mut self, spot: Spot) {
        self.0.remove(&spot);
    }
}

/// Folds the orders that each machine saved.
#[derive(Default)]
pub(super) struct Stop {
    orders: Orders,
}

impl Stop {
    fn covers(&self, spot: Spot, rollout: RolloutId) -> bool {
        self.orders.stops(spot, StopScope::All) || self.orders.stops(spot, StopScope::Rollout(rollout))
    }
}

impl Promise for Stop {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::StopSaved { scope, sequence, stop } => {
                let saved = self.orders.save(seen.spot, *scope, (*sequence, *stop));
                record.demand("stop", seen.at, &[seen.spot], saved.is_ok(), || {
                    format!("the order {sequence} (stop: {stop}) was saved over {:?}", saved.err())
                });
            }
            Truth::Step { rollout, step, .. } => {
                let stopped = self.covers(seen.spot, *rollout);
                record.demand("stop", seen.at, &[seen.spot], !stopped, || {
                    format!("{step:?} began although a STOP of rollout {rollout} was saved")
                });
            }
            Truth::Confirmed(named) => {
                let saved = self.orders.0.get(&seen.spot);
                let lacks = |stamp: &&OrderStamp| saved.and_then(|all| all.get(&stamp.scope)) < Some(&stamp.rank());
                let unsaved = named.iter().find(lacks);
                record.demand("stop", seen.at, &[seen.spot], unsaved.is_none(), || {
                    format!("{unsaved:?} was confirmed and not saved")
                });
            }
            Truth::GoSaved { rollout, .. } => {
                let stopped = self.covers(seen.spot, *rollout);
                record.demand("stop", seen.at, &[seen.spot], !stopped, || {
                    format!("a Go of rollout {rollout} was saved although a STOP of it was")
                });
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, _: &DeskBook) {
        self.orders.forget(spot);
    }

    fn recount(&self, books: &Books) -> Option<String> {
        let counted = |spot| self.orders.0.get(&spot).cloned().unwrap_or_default();
        let host = books.hosts.iter().find(|host| counted(host.spot) != host.stops)?;
        Some(format!("machine {} saved {:?}, counted {:?}", host.spot, host.stops, counted(host.spot)))
    }
}
