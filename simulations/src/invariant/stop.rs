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

/// Folds the orders that each machine saved.
#[derive(Default)]
pub(super) struct Stop {
    orders: BTreeMap<Spot, BTreeMap<StopScope, (u64, bool)>>,
}

impl Stop {
    fn covers(&self, spot: Spot, rollout: RolloutId) -> bool {
        let orders = self.orders.get(&spot);
        [StopScope::All, StopScope::Rollout(rollout)]
            .iter()
            .any(|scope| orders.and_then(|orders| orders.get(scope)).is_some_and(|(_, stop)| *stop))
    }
}

impl Promise for Stop {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::StopSaved { scope, sequence, stop } => {
                let orders = self.orders.entry(seen.spot).or_default();
                let before = orders.get(scope).copied();
                let wins = before
                    .is_none_or(|(highest, stopped)| *sequence > highest || *sequence == highest && *stop && !stopped);
                if wins {
                    orders.insert(*scope, (*sequence, *stop));
                }
                record.demand("stop", seen.at, &[seen.spot], wins, || {
                    format!("the order {sequence} (stop: {stop}) was saved over {before:?}")
                });
            }
            Truth::Step { rollout, step, .. } => {
                let stopped = self.covers(seen.spot, *rollout);
                record.demand("stop", seen.at, &[seen.spot], !stopped, || {
                    format!("{step:?} began although a STOP of rollout {rollout} was saved")
                });
            }
            Truth::Confirmed(named) => {
                let saved = self.orders.get(&seen.spot);
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
        self.orders.remove(&spot);
    }

    fn recount(&self, books: &Books) -> Option<String> {
        let counted = |spot| self.orders.get(&spot).cloned().unwrap_or_default();
        let host = books.hosts.iter().find(|host| counted(host.spot) != host.stops)?;
        Some(format!("machine {} saved {:?}, counted {:?}", host.spot, host.stops, counted(host.spot)))
    }
}
