//! Nothing is lost, nothing is installed twice, and no host reboots on a dirty package database.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{LeaseId, RolloutId},
    run::HookPoint,
};

use super::{DeskBook, Promise, Record, Seen};
use crate::truth::{PolicyRun, Spot, Step, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "killed at any instruction, a host or coordinator resumes or ends in a known, reported state; no \
    report is lost; an install is never repeated once it has begun and its result is saved; a hook may run again, with a higher \
    attempt number; no reboot begins while the package database is dirty; \
    no ledger has two runs of one policy for one time";

/// Remembers what began and what was said about it.
#[derive(Default)]
pub(super) struct Durability {
    installed: BTreeSet<(Spot, LeaseId)>,
    folded: BTreeSet<LeaseId>,
    settled: BTreeSet<(Spot, LeaseId)>,
    attempts: BTreeMap<(Spot, RolloutId, HookPoint), u32>,
    /// Runs of policies, by ledger.
    runs: BTreeSet<(Spot, PolicyRun)>,
}

impl Promise for Durability {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, excused, .. } = seen;
        match truth {
            Truth::Step { lease, step: Step::Transaction, .. } => {
                let first = self.installed.insert((spot, *lease));
                record.demand("durability", at, &[spot], first, || {
                    format!("the transaction of lease {lease} was started a second time")
                });
            }
            Truth::Hook { rollout, point, attempt, .. } => {
                let before = self.attempts.insert((spot, *rollout, *point), *attempt);
                record.demand("durability", at, &[spot], before < Some(*attempt), || {
                    format!("{} hooks ran with attempt {attempt} after {before:?}", point.as_str())
                });
            }
            Truth::Reboots { lease, dirty } => {
                record.demand("durability", at, &[spot], dirty.is_none(), || {
                    let what = dirty.as_deref().unwrap_or_default();
                    format!("a host reboots under lease {lease} on a dirty package database: {what}")
                });
            }
            Truth::RunStarted { run, .. } => {
                let first = self.runs.insert((spot, run.clone()));
                record.demand("durability", at, &[spot], first, || {
                    let PolicyRun { policy, operation, of } = run;
                    format!("the {operation:?} of {policy} for {} was started a second time", of.rfc3339())
                });
            }
            Truth::Folded { lease, .. } => {
                self.folded.insert(*lease);
            }
            Truth::Settled { lease, .. } => {
                let first = self.settled.insert((spot, *lease));
                record.demand("durability", at, &[spot], first, || format!("lease {lease} was settled twice"));
            }
            Truth::Acknowledged(lease) => {
                let kept = self.folded.contains(lease) || excused;
                record.demand("durability", at, &[spot], kept, || {
                    format!("the report of lease {lease} was acknowledged and is in no ledger: it is lost")
                });
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.runs.retain(|(other, _)| *other != spot);
        self.runs.extend(desk.values().filter_map(|book| Some((spot, book.run.clone()?))));
    }
}
