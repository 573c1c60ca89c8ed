//! What a report means for the state: of a lease of this ledger, of a released one, of one that another ledger granted.

use super::{FoldError, Ledger, Progress, report_of};
use crate::{
    id::NodeId,
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
        let next = if report.outcome == Outcome::Deferred { Progress::NotStarted } else { Progress::Reported };
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
        let open = !matches!(state.hosts[at].progress, Progress::Running { .. } | Progress::Reported);
        if open && report.outcome != Outcome::Deferred {
            state.changes(at);
            // Counted out under what it was, counted in under what it is: both read the report.
            state.tally.count(at, &state.hosts[at], -1);
            state.hosts[at].report = Some(Box::new(report));
            state.hosts[at].progress = Progress::Reported;
            state.tally.count(at, &state.hosts[at], 1);
        }
    }
}
