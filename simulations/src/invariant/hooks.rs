//! Phases come in order, and a failed hook ends the disruption.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::LeaseId,
    run::{HookPoint, Phase},
};

use super::{Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "phases only in order; after a failed hook nothing disruptive follows on that host; on-exit hooks \
    run once pre-install has begun, unless every attempt that is allowed was cut short, and the report says so";

#[derive(Default)]
struct Progress {
    last: Option<Phase>,
    failed: bool,
    /// The failure is on the host's disk: it survives the daemon.
    saved: bool,
    pre_install: bool,
    on_exit: bool,
}

/// Follows every run by what it really does.
#[derive(Default)]
pub(super) struct Hooks {
    runs: BTreeMap<(Spot, LeaseId), Progress>,
}

impl Hooks {
    fn begin(&mut self, seen: Seen<'_>, record: &mut Record, lease: LeaseId, phase: Phase) {
        let run = self.runs.entry((seen.spot, lease)).or_default();
        let before = run.last.replace(phase);
        let (spots, failed) = ([seen.spot], run.failed && phase.is_disruptive());
        run.pre_install |= phase == Phase::PreInstall;
        run.on_exit |= phase == Phase::OnExit;
        record.demand("hooks", seen.at, &spots, before <= Some(phase), || {
            format!("{} began after {}", phase.as_str(), before.map_or("nothing", Phase::as_str))
        });
        record.demand("hooks", seen.at, &spots, !failed, || format!("{} began after a failed hook", phase.as_str()));
    }
}

impl Promise for Hooks {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            // Hooks of disruptive phases are seen as their step.
            Truth::Step { lease, step, .. } => self.begin(seen, record, *lease, step.phase()),
            Truth::Hook { lease, point: HookPoint::PostReboot, .. } => {
                self.begin(seen, record, *lease, Phase::PostReboot)
            }
            Truth::Hook { lease, point: HookPoint::OnExit, .. } => self.begin(seen, record, *lease, Phase::OnExit),
            Truth::HookEnded { lease, ok: false, .. } => {
                self.runs.entry((seen.spot, *lease)).or_default().failed = true;
            }
            Truth::HookSaved(lease) => {
                let run = self.runs.entry((seen.spot, *lease)).or_default();
                run.saved |= run.failed;
            }
            // A failure that died with the daemon is not known to anybody: the hooks run again.
            Truth::Died { .. } => {
                let here = self.runs.range_mut((seen.spot, LeaseId([0; 16]))..=(seen.spot, LeaseId([0xff; 16])));
                here.for_each(|(_, run)| run.failed = run.saved);
            }
            Truth::Settled { lease, in_vain, .. } => {
                let run = self.runs.remove(&(seen.spot, *lease));
                let owed = !in_vain && run.is_some_and(|run| run.pre_install && !run.on_exit);
                record.demand("hooks", seen.at, &[seen.spot], !owed, || {
                    "a run settled without the on-exit hooks that undo its pre-install hooks".into()
                });
            }
            _ => {}
        }
    }
}
