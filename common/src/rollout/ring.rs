//! Rings: which hosts go before which, in which steps, and where a rollout stands among them.

use core::{ops::Range, time::Duration};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    limit::{Limit, Ramp},
    plan::{Plan, ResolvedLimit},
    ring_gate::RingGates,
    service::Services,
};
use crate::{id::NodeId, time::WallTime};

/// Most rings of one rollout.
pub const MAX_RINGS: usize = 32;
/// Most steps of one ring.
pub const MAX_STEPS: usize = 16;
/// Most approvals that a ring may need.
pub const MAX_APPROVALS: u8 = 8;
/// Longest wait after a step, and longest bake.
pub const MAX_PAUSE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Hosts that go before those of the next ring. They are neighbours in [`Plan::hosts`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PlannedRing {
    /// Its name, which no other ring of the plan has.
    pub name: String,
    /// How many hosts it has.
    pub hosts: u32,
    /// How many of them may have begun in each step; they grow, and the last one is all of them. Never empty.
    pub steps: Vec<ResolvedLimit>,
    /// Between a step's settling and the next step of the ring, in seconds.
    pub wait: u32,
    /// Between the ring's settling and the next ring, in seconds.
    pub bake: u32,
    /// How many operators must approve before its first host begins.
    pub approvals: u8,
    /// How fast it reaches the limit.
    pub ramp: Ramp,
}

impl PlannedRing {
    /// The name of the only ring of a rollout that asks for none.
    pub const ALL: &str = "all";

    /// The only ring of a rollout of so many hosts that asks for none.
    pub fn all(hosts: u32, ramp: Ramp) -> Self {
        let steps = resolve_steps(&[], hosts);
        Self { name: Self::ALL.to_owned(), hosts, steps, wait: 0, bake: 0, approvals: 0, ramp }
    }
}

/// What the steps of a ring mean for so many hosts: rounded down, at least one host, each more than the one before. A step that
/// adds no host is left out; whatever is left after the last one is a step of its own.
pub fn resolve_steps(given: &[Limit], hosts: u32) -> Vec<ResolvedLimit> {
    let mut steps: Vec<ResolvedLimit> = Vec::new();
    for limit in given {
        let resolved = limit.resolve_concurrency(hosts);
        if steps.last().is_none_or(|last| last.resolved < resolved) && resolved > 0 {
            steps.push(ResolvedLimit { given: limit.given().to_owned(), resolved });
        }
    }
    if steps.last().is_none_or(|last| last.resolved < hosts) {
        steps.push(ResolvedLimit { given: String::from("100%"), resolved: hosts });
    }
    steps
}

/// A step of a ring, both counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Which ring.
    pub ring: u16,
    /// Which of its steps.
    pub step: u16,
}

impl Plan {
    /// Puts those of every ring that start last in their services behind the others, so that no step before the last of them has
    /// one of them first. Otherwise the order stays.
    pub fn put_last(&mut self, services: &Services) {
        let mut left = &mut self.hosts[..];
        for ring in &self.rings {
            let (own, rest) = left.split_at_mut((ring.hosts as usize).min(left.len()));
            own.sort_by_key(|host| services.rank(&host.node));
            left = rest;
        }
    }

    /// The ring of `place`.
    pub fn ring(&self, place: Place) -> Option<&PlannedRing> {
        self.rings.get(usize::from(place.ring))
    }

    /// Positions of the hosts of the ring of `place`.
    pub fn ring_range(&self, place: Place) -> Range<usize> {
        let before = self.rings.iter().take(usize::from(place.ring));
        let start = before.map(|ring| ring.hosts as usize).sum::<usize>().min(self.hosts.len());
        let end = start + self.ring(place).map_or(0, |ring| ring.hosts as usize);
        start..end.min(self.hosts.len())
    }

    /// The ring of the host at `at`; that after the last one if it is in none.
    pub fn ring_of(&self, at: usize) -> u16 {
        let mut end = 0;
        let ring = self.rings.iter().position(|ring| {
            end += ring.hosts as usize;
            at < end
        });
        ring.and_then(|ring| u16::try_from(ring).ok()).unwrap_or(u16::MAX)
    }

    /// Positions of the hosts that `place` adds to those of the steps before it.
    pub fn step_range(&self, place: Place) -> Range<usize> {
        let (ring, step) = (self.ring_range(place), usize::from(place.step));
        let steps = self.ring(place).map_or(&[][..], |ring| &ring.steps);
        let end = |step: Option<usize>| step.and_then(|step| steps.get(step)).map(|step| step.resolved as usize);
        let begin = ring.start + end(step.checked_sub(1)).unwrap_or(0);
        let until = ring.start + end(Some(step)).unwrap_or(ring.len());
        begin.min(ring.end)..until.min(ring.end)
    }

    /// The step after `place`, in the same ring or the next one; `None` if it is the last of all.
    pub fn after(&self, place: Place) -> Option<Place> {
        let steps = self.ring(place)?.steps.len();
        if usize::from(place.step) + 1 < steps {
            return Some(Place { step: place.step + 1, ..place });
        }
        let next = Place { ring: place.ring.checked_add(1)?, step: 0 };
        self.ring(next).map(|_| next)
    }

    /// The step before `place`; `None` if it is the first of all.
    pub fn before(&self, place: Place) -> Option<Place> {
        if let Some(step) = place.step.checked_sub(1) {
            return Some(Place { step, ..place });
        }
        place.ring.checked_sub(1).map(|ring| self.last_step(ring))
    }

    /// The last step of a ring.
    pub fn last_step(&self, ring: u16) -> Place {
        let steps = self.rings.get(usize::from(ring)).map_or(0, |ring| ring.steps.len());
        Place { ring, step: u16::try_from(steps.saturating_sub(1)).unwrap_or(u16::MAX) }
    }

    /// How long `place` stays closed after the step before it has settled.
    pub fn pause_before(&self, place: Place) -> Duration {
        let seconds = match (place.step.checked_sub(1), place.ring.checked_sub(1)) {
            (Some(_), _) => self.ring(place).map_or(0, |ring| ring.wait),
            (None, Some(ring)) => self.ring(Place { ring, step: 0 }).map_or(0, |ring| ring.bake),
            (None, None) => 0,
        };
        Duration::from_secs(u64::from(seconds))
    }

    /// How many approvals `place` needs before it opens.
    pub fn approvals_before(&self, place: Place) -> u8 {
        if place.step == 0 { self.ring(place).map_or(0, |ring| ring.approvals) } else { 0 }
    }
}

/// An operator's no to a ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rejection {
    /// The ring's name.
    pub ring: String,
    /// Who, by the name in the membership.
    pub by: String,
    /// Why.
    pub because: String,
    /// When.
    pub at: WallTime,
}

/// Where a rollout stands among its rings, as its ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Course {
    /// The step that is open, or opens next.
    pub place: Place,
    /// When the step before it settled; `None` if it is the first.
    pub since: Option<WallTime>,
    /// Whether a host of the step was granted: what is open is not closed again by a clock.
    pub opened: bool,
    /// Who has approved the ring, by key: the name in the membership.
    pub approved: BTreeMap<NodeId, String>,
    /// Who rejected a ring: nothing is granted any more.
    pub rejected: Option<Rejection>,
    /// Hosts of the ring that ever got a `Go`.
    pub begun: u32,
    /// When each ring before the present one settled.
    pub settled: Vec<WallTime>,
    /// The gates of every ring that were ever asked.
    pub gates: BTreeMap<u16, RingGates>,
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(given: &[&str], hosts: u32) -> Vec<(String, u32)> {
        let limits: Vec<Limit> = given.iter().map(|text| text.parse().unwrap()).collect();
        resolve_steps(&limits, hosts).into_iter().map(|step| (step.given, step.resolved)).collect()
    }

    #[test]
    fn steps_are_shares_of_the_ring_and_one_that_adds_nothing_is_left_out() {
        let named =
            |pairs: &[(&str, u32)]| pairs.iter().map(|(given, n)| ((*given).to_owned(), *n)).collect::<Vec<_>>();
        let steps = ["1", "10%", "50%", "100%"];
        assert_eq!(resolved(&steps, 240), named(&[("1", 1), ("10%", 24), ("50%", 120), ("100%", 240)]));
        assert_eq!(resolved(&steps, 7), named(&[("1", 1), ("50%", 3), ("100%", 7)]));
        assert_eq!(resolved(&steps, 1), named(&[("1", 1)]));
        assert_eq!(resolved(&[], 3), named(&[("100%", 3)]));
        assert_eq!(resolved(&["2"], 3), named(&[("2", 2), ("100%", 3)]));
        assert_eq!(resolved(&steps, 0), named(&[("100%", 0)]));
    }

    proptest! {
        #[test]
        fn every_host_is_in_exactly_one_step(
            rings in proptest::collection::vec((0u32..50, proptest::collection::vec(1u32..=100, 0..5)), 1..5),
        ) {
            let mut plan = crate::rollout::tests::plan_of(0, 1, 0, vec![]);
            plan.rings = rings.iter().map(|(hosts, steps)| {
                let steps: Vec<Limit> = steps.iter().map(|percent| format!("{percent}%").parse().unwrap()).collect();
                PlannedRing { steps: resolve_steps(&steps, *hosts), ..PlannedRing::all(*hosts, Ramp::Full) }
            }).collect();
            let count: u32 = rings.iter().map(|(hosts, _)| hosts).sum();
            plan.hosts = vec![crate::rollout::tests::plan_of(1, 1, 0, vec![]).hosts[0].clone(); count as usize];
            let (mut at, mut place) = (0, Some(Place::default()));
            let mut last = None;
            while let Some(now) = place {
                let range = plan.step_range(now);
                prop_assert_eq!(range.start, at);
                prop_assert_eq!(plan.before(now), last);
                (at, last, place) = (range.end, Some(now), plan.after(now));
            }
            prop_assert_eq!(at, count as usize);
        }
    }
}
