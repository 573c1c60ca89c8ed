//! Whether a run of a host still ends inside the opening in which it would start: judged at every start, by what the host's
//! earlier runs and reboots took.

use core::time::Duration;

use super::{Ledger, RolloutState};
use crate::{
    id::NodeId,
    rollout::{estimate::Expectation, waiting::Waiting},
    schedule::{Opening, Standing, standing},
    time::Now,
};

/// An opening that stays open for longer has room for every run: none is taken for more than a day, nor its reboots.
const ROOMY: Duration = Duration::from_secs(3 * 24 * 3600);

/// What the starts of one rollout are held against now.
#[derive(Clone, Debug)]
pub(super) struct Fit<'a> {
    ledger: &'a Ledger,
    state: &'a RolloutState,
    now: Now,
    /// `None` while there is room for every run.
    expected: Option<Expectation<'a>>,
}

impl<'a> Fit<'a> {
    pub(super) fn of(ledger: &'a Ledger, state: &'a RolloutState, now: Now) -> Self {
        let plan = &state.plan;
        let roomy = plan.openings.iter().all(|opening| opening.closes >= now.wall.plus(ROOMY));
        let expected = (!roomy).then(|| ledger.durations.expect(plan.operation, plan.reboot));
        Self { ledger, state, now, expected }
    }

    /// Seconds that a run on `node` is to have; `None` if nothing is known, or there is room for everything.
    fn needs(&self, node: &NodeId) -> Option<u32> {
        Some(self.expected.as_ref()?.of(node, self.ledger.reboots.get(node))?.p95)
    }

    /// Whether a run on `node` that starts now ends before `opening` closes, as far as anything is known of it.
    pub(super) fn admits(&self, node: &NodeId, opening: &Opening) -> bool {
        self.needs(node).is_none_or(|needs| self.now.wall.plus(seconds(needs)) <= opening.closes)
    }

    /// That a run on `node` would not end inside the present opening, if so.
    pub(super) fn waiting(&self, node: &NodeId) -> Option<Waiting> {
        let Standing::Open(opening) = standing(&self.state.plan.openings, self.now.wall) else { return None };
        let needs = self.needs(node).filter(|_| !self.admits(node, &opening))?;
        let later = self.state.plan.openings.iter().filter(|later| later.opens > self.now.wall);
        let long_enough = |later: &&Opening| later.opens.plus(seconds(needs)) <= later.closes;
        let next = later.filter(long_enough).min_by_key(|later| later.opens).copied();
        Some(Waiting::NoTime { needs, opening, next })
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
