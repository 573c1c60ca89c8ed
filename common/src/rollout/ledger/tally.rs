//! How many hosts of a rollout stand where: kept entry by entry, so that `plan()` need not count.

use std::collections::BTreeSet;

use super::{HostState, Progress};
use crate::{
    rollout::hook_failure::failed_hook,
    run::{gate::GATE_FAILED, message::Outcome},
};

/// Counters that `plan()` needs, kept per event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    /// Positions of hosts that hold a slot.
    pub busy: BTreeSet<usize>,
    /// Positions of hosts that may be leased, in plan order.
    pub eligible: BTreeSet<usize>,
    /// Hosts that succeeded.
    pub succeeded: u32,
    /// Hosts that failed.
    pub failed: u32,
    /// Hosts that refused for good.
    pub refused: u32,
    /// Hosts that were left out after a pre-install hook had failed.
    pub left_out: u32,
    /// Hosts with nothing to do.
    pub skipped: u32,
    /// Hosts whose slot was released, and that have not reported since.
    pub released: u32,
    /// Positions of hosts that did everything and failed a gate; they are among the failed.
    pub gate_failed: BTreeSet<usize>,
    /// Positions of hosts on which a hook failed; they are among the failed.
    pub hook_failed: BTreeSet<usize>,
}

impl Tally {
    /// Counts the host at `at` in (`by` 1) or out (-1).
    pub(super) fn count(&mut self, at: usize, host: &HostState, by: i8) {
        let add = |counter: &mut u32| *counter = counter.saturating_add_signed(i32::from(by));
        let member = |set: &mut BTreeSet<usize>| if by > 0 { set.insert(at) } else { set.remove(&at) };
        match &host.progress {
            Progress::NotStarted => {
                member(&mut self.eligible);
            }
            Progress::Running { .. } => {
                member(&mut self.busy);
            }
            Progress::Reported => match host.report.as_ref().map(|report| report.outcome) {
                Some(Outcome::Succeeded) => add(&mut self.succeeded),
                _ => {
                    add(&mut self.failed);
                    let error = host.report.as_ref().and_then(|report| report.error.as_ref());
                    if error.is_some_and(|error| error.code == GATE_FAILED) {
                        member(&mut self.gate_failed);
                    }
                    if host.report.as_deref().is_some_and(failed_hook) {
                        member(&mut self.hook_failed);
                    }
                }
            },
            Progress::Refused(_) => add(&mut self.refused),
            Progress::LeftOut => add(&mut self.left_out),
            Progress::Skipped => add(&mut self.skipped),
            Progress::Released(_) => add(&mut self.released),
        }
    }
}
