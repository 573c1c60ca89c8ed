//! Rings as asked for.

use core::time::Duration;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{MAX_NAME, RolloutSpec, SpecError, Targets, is_name};
use crate::{
    duration,
    id::NodeId,
    rollout::{
        limit::Limit,
        ring::{MAX_APPROVALS, MAX_PAUSE, MAX_STEPS, PlannedRing, resolve_steps},
    },
};

/// Some of the targets, which go before those of the next ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RingSpec {
    /// Its name; as a rollout's.
    pub name: String,
    /// Which of the rollout's targets. Of several rings that select a host, the first one has it.
    pub selects: Targets,
    /// How many of them may have begun in each step; a share is of the ring's hosts. Empty: all at once.
    pub steps: Vec<Limit>,
    /// Between a step's settling and the next step; whole seconds.
    pub wait: Duration,
    /// Between the ring's settling and the next ring; whole seconds.
    pub bake: Duration,
    /// How many operators must approve before it begins.
    pub approvals: u8,
}

/// What is wrong with a ring.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// Its name.
    #[error(
        "the name is not allowed: write 1 to {MAX_NAME} of a-z, 0-9, '-' and '.', with a letter or digit at both ends"
    )]
    Name,
    /// An earlier ring has it.
    #[error("an earlier ring has this name")]
    Twice,
    /// An earlier ring has every host.
    #[error("no host is left for it, because ring {0:?} before it selects all: put that one last")]
    NobodyLeft(String),
    /// It selects nothing that can be.
    #[error("{0}")]
    Selects(Box<SpecError>),
    /// Too many steps.
    #[error("{0} steps are more than the {MAX_STEPS} allowed")]
    Steps(usize),
    /// A step that lets nobody begin.
    #[error("the step {0} lets no host begin: write at least 1 or 1%")]
    Zero(String),
    /// Some hosts would never begin.
    #[error("the last step is {0}: write 100%, so that every host of the ring begins")]
    NotAll(String),
    /// A step that cannot add anything to the one before.
    #[error("the step {1} does not come after {0}: steps grow")]
    Falls(String, String),
    /// A pause that is no whole number of seconds, or too long.
    #[error("the {0} {told} is not allowed: write whole seconds, at most 30d", told = duration::words(*.1))]
    Pause(&'static str, Duration),
    /// A pause before nothing.
    #[error("{0}: leave it out")]
    Idle(&'static str),
    /// More than anyone could collect.
    #[error("{0} approvals are more than the {MAX_APPROVALS} allowed")]
    Approvals(u8),
}

impl RingSpec {
    pub(super) fn check(&self, last: bool) -> Result<(), RingError> {
        if !is_name(&self.name) {
            return Err(RingError::Name);
        }
        self.selects.check().map_err(|error| RingError::Selects(Box::new(error)))?;
        if self.steps.len() > MAX_STEPS {
            return Err(RingError::Steps(self.steps.len()));
        }
        let given = |limit: &Limit| limit.given().to_owned();
        for step in &self.steps {
            step.clone().for_concurrency().map_err(|_| RingError::Zero(given(step)))?;
        }
        // A count and a share can be compared only once the ring's hosts are counted.
        if let Some(pair) = self.steps.windows(2).find(|pair| pair[0].is_at_least(&pair[1])) {
            return Err(RingError::Falls(given(&pair[0]), given(&pair[1])));
        }
        if let Some(step) = self.steps.last().filter(|step| step.given() != "100%") {
            return Err(RingError::NotAll(given(step)));
        }
        for (what, pause) in [("wait", self.wait), ("bake", self.bake)] {
            if pause.subsec_nanos() != 0 || pause > MAX_PAUSE {
                return Err(RingError::Pause(what, pause));
            }
        }
        if !self.wait.is_zero() && self.steps.len() < 2 {
            return Err(RingError::Idle("wait is between steps, and it has one step"));
        }
        if !self.bake.is_zero() && last {
            return Err(RingError::Idle("bake is before the next ring, and no ring follows"));
        }
        if self.approvals > MAX_APPROVALS {
            return Err(RingError::Approvals(self.approvals));
        }
        Ok(())
    }
}

impl RolloutSpec {
    /// The ring that has the host `node` called `name` with `tags`; `None` if no ring selects it.
    pub fn ring_of(&self, name: &str, node: &NodeId, tags: &BTreeMap<String, String>) -> Option<usize> {
        if self.rings.is_empty() {
            return Some(0);
        }
        self.rings.iter().position(|ring| ring.selects.admits(name, node, tags))
    }

    /// The rings of a plan in which they have so many hosts, in order. Rings that are not counted have none.
    pub fn planned_rings(&self, hosts: &[u32]) -> Vec<PlannedRing> {
        let count = |at: usize| hosts.get(at).copied().unwrap_or(0);
        if self.rings.is_empty() {
            return vec![PlannedRing::all(count(0), self.ramp)];
        }
        let seconds = |pause: Duration| u32::try_from(pause.as_secs()).unwrap_or(u32::MAX);
        let planned = self.rings.iter().enumerate().map(|(at, ring)| PlannedRing {
            name: ring.name.clone(),
            hosts: count(at),
            steps: resolve_steps(&ring.steps, count(at)),
            wait: seconds(ring.wait),
            bake: seconds(ring.bake),
            approvals: ring.approvals,
            ramp: self.ramp,
        });
        planned.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::*, *};
    use crate::rollout::limit::Ramp;

    #[test]
    fn a_ring_says_what_is_wrong_with_it_by_its_name() {
        let bad = |change: fn(&mut RingSpec)| match wrong(|s| change(&mut s.rings[0])) {
            SpecError::Ring(0, _, error) => error,
            other => panic!("{other:?}"),
        };
        let steps = |given: &[&str]| given.iter().map(|step| step.parse().unwrap()).collect::<Vec<Limit>>();
        assert_eq!(bad(|r| r.name = "Canary".into()), RingError::Name);
        assert_eq!(wrong(|s| s.rings[1].name = "canary".into()), SpecError::Ring(1, "canary".into(), RingError::Twice));
        assert!(matches!(bad(|r| r.selects = Targets::Names([].into())), RingError::Selects(_)));
        let all = |s: &mut RolloutSpec| s.rings.iter_mut().for_each(|ring| ring.selects = Targets::All);
        assert_eq!(wrong(all), SpecError::Ring(1, "fleet".into(), RingError::NobodyLeft("canary".into())));
        assert_eq!(
            wrong(|s| s.rings[0].wait = Duration::from_secs(31 * 86_400)).to_string(),
            "ring \"canary\": the wait 31d is not allowed: write whole seconds, at most 30d"
        );
        let stepped = |given: &[&str]| match wrong(|s| s.rings[0].steps = steps(given)) {
            SpecError::Ring(0, _, error) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(stepped(&["0", "100%"]), RingError::Zero("0".into()));
        assert_eq!(stepped(&["1", "50%"]), RingError::NotAll("50%".into()));
        assert_eq!(stepped(&["50%", "10%", "100%"]), RingError::Falls("50%".into(), "10%".into()));
        assert_eq!(stepped(&["3", "3", "100%"]), RingError::Falls("3".into(), "3".into()));
        assert_eq!(stepped(&["1"; 17]), RingError::Steps(17));
        assert_eq!(stepped(&["100%"]), RingError::Idle("wait is between steps, and it has one step"));
        assert!(matches!(bad(|r| r.wait = MAX_PAUSE + Duration::from_secs(1)), RingError::Pause("wait", _)));
        assert!(matches!(bad(|r| r.bake = Duration::from_millis(1)), RingError::Pause("bake", _)));
        assert!(matches!(
            wrong(|s| s.rings[1].bake = Duration::from_secs(1)),
            SpecError::Ring(1, _, RingError::Idle(_))
        ));
        assert_eq!(bad(|r| r.approvals = 9), RingError::Approvals(9));
        let many = wrong(|s| s.rings = (0..33).map(|n| ring(&format!("r{n}"), &[])).collect());
        assert!(matches!(many, SpecError::TooMany { what: "rings", .. }));
        let text = wrong(|s| s.rings[0].steps = steps(&["1"])).to_string();
        assert_eq!(text, "ring \"canary\": the last step is 1: write 100%, so that every host of the ring begins");
    }

    #[test]
    fn the_first_ring_that_selects_a_host_has_it_and_some_host_may_have_none() {
        let mut rings = spec();
        rings.rings[0].selects = Targets::Names(["a".into()].into());
        rings.rings[1].selects = Targets::Labels([("app".into(), "pg".into())].into());
        let pg: BTreeMap<_, _> = [("app".to_owned(), "pg".to_owned())].into();
        let of = |name: &str, tags: &BTreeMap<String, String>| rings.ring_of(name, &NodeId([1; 32]), tags);
        assert_eq!((of("a", &pg), of("b", &pg), of("b", &BTreeMap::new())), (Some(0), Some(1), None));
        let planned = rings.planned_rings(&[20, 3]);
        assert_eq!(planned[0].steps.iter().map(|step| step.resolved).collect::<Vec<_>>(), [1, 2, 20]);
        assert_eq!((planned[0].wait, planned[0].bake, planned[1].hosts), (60, 3600, 3));
        rings.rings.clear();
        assert_eq!(rings.ring_of("b", &NodeId([1; 32]), &BTreeMap::new()), Some(0));
        assert_eq!(rings.planned_rings(&[4]), [PlannedRing::all(4, Ramp::Full)]);
    }
}
