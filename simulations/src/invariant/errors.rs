//! Too many failures end the granting.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{LeaseId, RolloutId},
    rollout::OnHookFailure,
    run::{HookPoint, message::Outcome},
};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Step, Truth};

/// The promise.
pub(super) const STATEMENT: &str =
    "failed > maxErrors, or a hook that halts, latches Halted: nothing is granted any more, running hosts finish";

/// What one run really did, as far as its hooks go.
#[derive(Clone, Debug, Default)]
struct Run {
    /// How the hooks of each point ended last.
    hooks: BTreeMap<HookPoint, bool>,
    /// Whether anything began that changes the host.
    changes: bool,
    /// Whether it settled with a failure of a hook.
    hook: bool,
    /// Whether its on-exit hooks never ended.
    in_vain: bool,
    /// Whether it was seen that no package differs.
    same: bool,
}

impl Run {
    /// A pre-install hook said no, and nothing is left of what came before it.
    fn is_untouched(&self) -> bool {
        let ended = |point| self.hooks.get(&point).copied();
        let undone = ended(HookPoint::OnExit) == Some(true) && !self.in_vain;
        self.hook && !self.changes && self.same && undone && ended(HookPoint::PreInstall) == Some(false)
    }

    /// A hook failed, also if something else failed before it.
    fn has_failed(&self) -> bool {
        let bad = |point| self.hooks.get(&point) == Some(&false);
        self.hook || self.in_vain || bad(HookPoint::PostReboot) || bad(HookPoint::OnExit)
    }
}

/// Counts failures by what the hosts settled, ledger by ledger.
#[derive(Default)]
pub(super) struct Errors {
    limits: BTreeMap<RolloutId, u32>,
    on_hook_failure: BTreeMap<RolloutId, OnHookFailure>,
    runs: BTreeMap<LeaseId, Run>,
    /// Rollouts that end because a hook failed, as a ledger knows.
    hook_failed: BTreeSet<(Spot, RolloutId)>,
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
            Truth::Applied { rollout, max_errors, on_hook_failure, .. } => {
                self.limits.insert(*rollout, *max_errors);
                self.on_hook_failure.insert(*rollout, *on_hook_failure);
            }
            Truth::HookEnded { lease, point, ok } => {
                self.runs.entry(*lease).or_default().hooks.insert(*point, *ok);
            }
            Truth::Step { lease, step, .. } if *step != Step::PreInstall => {
                self.runs.entry(*lease).or_default().changes = true;
            }
            Truth::Settled { lease, outcome, reported, verified, in_vain, hook, .. } => {
                self.settled.insert(*lease, *outcome);
                let run = self.runs.entry(*lease).or_default();
                (run.hook, run.in_vain, run.same) = (*hook, *in_vain, *verified && reported.is_empty());
            }
            Truth::Folded { rollout, lease, outcome, counted, hook, .. } => {
                let real = self.settled.get(lease).copied();
                let real = if excused { Some(*outcome) } else { real };
                let failed = *counted && real.unwrap_or(*outcome) == Outcome::Failed;
                let run = self.runs.get(lease);
                // Of two machines with one identity nobody can say which one's run it is: its report has the word.
                let (has_failed, is_untouched) = match excused {
                    true => *hook,
                    false => (run.is_some_and(Run::has_failed), run.is_some_and(Run::is_untouched)),
                };
                let means = self.on_hook_failure.get(rollout).copied().unwrap_or_default();
                let skipped = means == OnHookFailure::Skip && is_untouched;
                if means == OnHookFailure::Halt && failed && has_failed {
                    self.hook_failed.insert((spot, *rollout));
                }
                *self.failed.entry((spot, *rollout)).or_default() += u32::from(failed && !skipped);
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
                let unwell = self.unwell.contains(rollout) || self.hook_failed.contains(&(spot, *rollout));
                record.demand("errors", at, &[spot], failed > limit || unwell, || {
                    format!("rollout {rollout} halted although {failed} failed and {limit} are allowed")
                });
            }
            Truth::GoSaved { rollout, .. } => {
                let (failed, limit) = (self.count(spot, *rollout), self.limit(*rollout));
                let halted = self.halted.get(&(spot, *rollout)).copied().unwrap_or(false);
                record.demand("errors", at, &[spot], !halted && failed <= limit, || {
                    format!("rollout {rollout} granted although {failed} failed and {limit} are allowed")
                });
                let ends = self.hook_failed.contains(&(spot, *rollout));
                record.demand("errors", at, &[spot], !ends, || {
                    format!("rollout {rollout} granted although a hook failed, which is to halt it")
                });
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.failed.retain(|(other, _), _| *other != spot);
        self.halted.retain(|(other, _), _| *other != spot);
        self.hook_failed.retain(|(other, _)| *other != spot);
        for (rollout, book) in desk {
            self.failed.insert((spot, *rollout), book.failed);
            self.halted.insert((spot, *rollout), book.halted);
            self.hook_failed.extend(book.hook_failed.then_some((spot, *rollout)));
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        for (spot, desk) in &books.desks {
            for (rollout, book) in desk {
                let counted = self.count(*spot, *rollout);
                if self.hook_failed.contains(&(*spot, *rollout)) != book.hook_failed {
                    return Some(format!(
                        "ledger {spot} says of {rollout} that a failed hook ends it: {}",
                        book.hook_failed
                    ));
                }
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
