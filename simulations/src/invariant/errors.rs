//! Too many failures end the granting.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{LeaseId, RolloutId},
    run::message::Outcome,
};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str =
    "failed > maxErrors latches Halted: nothing is granted any more, running hosts finish";

/// Counts failures by what the hosts settled, ledger by ledger.
#[derive(Default)]
pub(super) struct Errors {
    limits: BTreeMap<RolloutId, u32>,
    settled: BTreeMap<LeaseId, Outcome>,
    failed: BTreeMap<(Spot, RolloutId), u32>,
    halted: BTreeMap<(Spot, RolloutId), bool>,
    /// Rollouts in which a host or a ring was unwell when it was asked.
    unwell: BTreeSet<RolloutId>,
}

impl Promise for Errors {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, excused, .. } = seen;
        match truth {
            Truth::Applied { rollout, max_errors, .. } => {
                self.limits.insert(*rollout, *max_errors);
            }
            Truth::Settled { lease, outcome, .. } => {
                self.settled.insert(*lease, *outcome);
            }
            Truth::Folded { rollout, lease, outcome, counted, .. } => {
                let real = self.settled.get(lease).copied();
                let real = if excused { Some(*outcome) } else { real };
                let failed = *counted && real.unwrap_or(*outcome) == Outcome::Failed;
                *self.failed.entry((spot, *rollout)).or_default() += u32::from(failed);
                record.demand("errors", at, &[spot], real == Some(*outcome), || {
                    format!("the ledger folded {outcome:?} for lease {lease}, its host settled {real:?}")
                });
            }
            Truth::Gated { rollout, ok: false, .. } | Truth::RingShown { rollout, ok: false, .. } => {
                self.unwell.insert(*rollout);
            }
            Truth::Halted(rollout) => {
                self.halted.insert((spot, *rollout), true);
                let (failed, limit) = (self.count(spot, *rollout), self.limit(*rollout));
                record.demand("errors", at, &[spot], failed > limit || self.unwell.contains(rollout), || {
                    format!("rollout {rollout} halted although {failed} failed and {limit} are allowed")
                });
            }
            Truth::GoSaved { rollout, .. } => {
                let (failed, limit) = (self.count(spot, *rollout), self.limit(*rollout));
                let halted = self.halted.get(&(spot, *rollout)).copied().unwrap_or(false);
                record.demand("errors", at, &[spot], !halted && failed <= limit, || {
                    format!("rollout {rollout} granted although {failed} failed and {limit} are allowed")
                });
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.failed.retain(|(other, _), _| *other != spot);
        self.halted.retain(|(other, _), _| *other != spot);
        for (rollout, book) in desk {
            self.failed.insert((spot, *rollout), book.failed);
            self.halted.insert((spot, *rollout), book.halted);
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for (spot, desk) in &books.desks {
            for (rollout, book) in desk {
                let counted = self.count(*spot, *rollout);
                if counted != book.failed {
                    return Some(format!("ledger {spot} says {} of {rollout} failed, counted {counted}", book.failed));
                }
            }
        }
        None
    }
}

impl Errors {
    fn count(&self, spot: Spot, rollout: RolloutId) -> u32 {
        self.failed.get(&(spot, rollout)).copied().unwrap_or(0)
    }

    fn limit(&self, rollout: RolloutId) -> u32 {
        self.limits.get(&rollout).copied().unwrap_or(0)
    }
}
