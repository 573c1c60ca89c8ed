//! What a report means for the state: of a lease of this ledger, of a released one, of one that another ledger granted.

use super::{FoldError, Ledger, Progress, RolloutState, report_of};
use crate::{
    id::NodeId,
    rollout::OnHookFailure,
    run::message::{Outcome, Report},
    seal::Sealed,
};

impl Ledger {
    pub(super) fn fold_report(&mut self, evidence: &Sealed) -> Result<(), FoldError> {
        let (host, report) = (evidence.author, report_of(evidence)?);
        self.reported.insert(report.lease);
        self.released.remove(&report.lease);
        self.reboots.entry(host).or_default().learn(&report);
        if let Some(state) = self.rollouts.get(&report.rollout) {
            self.durations.learn(host, state.plan.operation, &report);
        }
        if self.foreign.get(&host) == Some(&report.lease) {
            self.foreign.remove(&host);
        }
        let holds = self.leased.get(&host) == Some(&(report.rollout, report.lease));
        if !holds && self.released_in(host, report.lease) != Some(report.rollout) {
            self.fold_foreign_report(host, report);
            return Ok(());
        }
        let (state, at) = self.host(report.rollout, host)?;
        state.changes(at);
        state.hosts[at].deferrals += u32::from(report.outcome == Outcome::Deferred);
        let next = match report.outcome {
            Outcome::Deferred => Progress::NotStarted,
            _ => state.after(&report),
        };
        state.hosts[at].report = Some(Box::new(report));
        state.settle(at, next);
        if holds {
            self.leased.remove(&host);
        }
        Ok(())
    }

    /// A run that another ledger permitted is done all the same: a copy or a backup of this one granted it.
    fn fold_foreign_report(&mut self, host: NodeId, report: Report) {
        let Ok((state, at)) = self.host(report.rollout, host) else { return };
        let open =
            !matches!(state.hosts[at].progress, Progress::Running { .. } | Progress::Reported | Progress::LeftOut);
        if open && report.outcome != Outcome::Deferred {
            state.changes(at);
            // Counted out under what it was, counted in under what it is: both read the report.
            state.tally.count(at, &state.hosts[at], -1);
            state.hosts[at].progress = state.after(&report);
            state.hosts[at].report = Some(Box::new(report));
            state.tally.count(at, &state.hosts[at], 1);
        }
    }
}

impl RolloutState {
    /// Where a host stands that is done, as `report` says.
    fn after(&self, report: &Report) -> Progress {
        if self.plan.on_hook_failure.leaves_out(report) { Progress::LeftOut } else { Progress::Reported }
    }

    /// A host on which a hook failed, if that ends the rollout: the first in the plan's order.
    pub fn failed_hook(&self) -> Option<usize> {
        let first = self.tally.hook_failed.first().copied();
        first.filter(|_| self.plan.on_hook_failure == OnHookFailure::Halt)
    }
}
