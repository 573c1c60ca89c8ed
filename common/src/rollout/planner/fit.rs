//! Whether a run of a host still ends inside the opening in which it would start: judged at every start, by what the host's
//! earlier runs and reboots took.

use core::time::Duration;

use super::{Ledger, RolloutState};
use crate::{
    id::NodeId,
    rollout::{estimate::Expectation, waiting::Waiting},
    schedule::{Opening, Standing, standing},
    time::{Now, WallTime},
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

/// What a run is to have, in seconds.
#[derive(Clone, Copy, Debug)]
struct Needs {
    /// All of it, without waiting for the time of its reboot.
    run: u32,
    /// What the reboot takes of that.
    away: u32,
}

impl<'a> Fit<'a> {
    pub(super) fn of(ledger: &'a Ledger, state: &'a RolloutState, now: Now) -> Self {
        let plan = &state.plan;
        let ready = now.wall.plus(plan.reboot.wait(now.wall));
        let roomy = plan.openings.iter().all(|opening| opening.closes >= ready.plus(ROOMY));
        let expected = (!roomy).then(|| ledger.durations.expect(plan.operation, plan.reboot));
        Self { ledger, state, now, expected }
    }

    /// What a run on `node` is to have; `None` if nothing is known, or there is room for everything.
    fn needs(&self, node: &NodeId) -> Option<Needs> {
        let (expected, own) = (self.expected.as_ref()?, self.ledger.reboots.get(node));
        match expected.of(node, own) {
            Some(found) => Some(Needs { run: found.p95, away: expected.away(own) }),
            // However short it is, it does not reboot before its time.
            None => self.state.plan.reboot.at().map(|_| Needs { run: 0, away: 0 }),
        }
    }

    /// When a run that starts at `start` is over.
    fn over(&self, needs: Needs, start: WallTime) -> WallTime {
        let reboot = self.state.plan.reboot.at().map_or(start, |at| at.plus(seconds(needs.away)));
        start.plus(seconds(needs.run)).max(reboot)
    }

    /// Whether a run that starts at `start` ends before `opening` closes, and reboots before that.
    fn fits(&self, needs: Needs, start: WallTime, opening: &Opening) -> bool {
        let reboots = self.state.plan.reboot.at().is_none_or(|at| at < opening.closes);
        reboots && self.over(needs, start) <= opening.closes
    }

    /// Whether a run on `node` that starts now ends before `opening` closes, as far as anything is known of it.
    pub(super) fn admits(&self, node: &NodeId, opening: &Opening) -> bool {
        self.needs(node).is_none_or(|needs| self.fits(needs, self.now.wall, opening))
    }

    /// That a run on `node` would not end inside the present opening, if so.
    pub(super) fn waiting(&self, node: &NodeId) -> Option<Waiting> {
        let Standing::Open(opening) = standing(&self.state.plan.openings, self.now.wall) else { return None };
        let needs = self.needs(node).filter(|_| !self.admits(node, &opening))?;
        let later = self.state.plan.openings.iter().filter(|later| later.opens > self.now.wall);
        let long_enough = |later: &&Opening| self.fits(needs, later.opens, later);
        let next = later.filter(long_enough).min_by_key(|later| later.opens).copied();
        let lasts = self.over(needs, self.now.wall).0.saturating_sub(self.now.wall.0) / 1000;
        let reboot = self.state.plan.reboot.at().filter(|at| *at > self.now.wall);
        Some(Waiting::NoTime { needs: u32::try_from(lasts).unwrap_or(u32::MAX), reboot, opening, next })
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into())
}
