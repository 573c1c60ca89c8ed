//! Services: hosts of which so many stay up, whatever any rollout wants.
//!
//! What is kept here is part of the ledger: what services there are, whose members hosts are, and whom the coordinator saw to
//! be down when it granted something. Whether a grant fits is [`super::availability`]'s.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    limit::Limit,
    spec::{MAX_LABELS, SpecError, bounded, name, word},
};
use crate::{id::NodeId, run::gate::Gate, time::WallTime};

/// Most services of a mesh: every grant to a host looks at those of the host.
pub const MAX_SERVICES: usize = 256;
/// Most selectors of members that come last.
pub const MAX_LAST: usize = 16;

/// Tags, all of which a host must carry.
pub type Labels = BTreeMap<String, String>;

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Its name; as a rollout's.
    pub name: String,
    /// Whose members: hosts that carry every one of these tags. Never empty.
    pub selector: Labels,
    /// How many members stay up: a count, or a share of the members, rounded up.
    pub min_available: Limit,
    /// The tag of which members that are down have the same value, e.g. `zone`.
    pub spread: Option<String>,
    /// Members that are selected here start after the others in every rollout, e.g. the primaries of a database; those of a
    /// later selector after those of an earlier one.
    pub last: Vec<Labels>,
    /// What a member must show to count as up: see [`super::probe`]. `None`: it is up as long as the mesh hears it.
    pub probe: Option<Gate>,
}

impl ServiceSpec {
    /// Refuses what no service can mean. Also for specifications that came over the API.
    ///
    /// # Errors
    /// [`SpecError`] names the first value that is wrong.
    pub fn check(&self) -> Result<(), SpecError> {
        name(&self.name)?;
        labels("the selector", &self.selector)?;
        if let Some(tag) = &self.spread {
            word("label of spread", tag)?;
        }
        bounded("selectors of last", self.last.len(), MAX_LAST)?;
        self.last.iter().try_for_each(|one| labels("a selector of last", one))?;
        self.probe.as_ref().map_or(Ok(()), |probe| probe.check_probe().map_err(SpecError::Probe))
    }

    /// What a host with `tags` is in this service; `None` if it is no member.
    fn part(&self, tags: &Labels) -> Option<(Part, u8)> {
        let rank = self.last.iter().rposition(|one| admits(one, tags)).map_or(0, |at| at + 1);
        let value = self.spread.as_ref().map(|tag| tags.get(tag).cloned().unwrap_or_default());
        admits(&self.selector, tags).then(|| (Part { value }, u8::try_from(rank).unwrap_or(u8::MAX)))
    }
}

fn labels(what: &'static str, labels: &Labels) -> Result<(), SpecError> {
    bounded("labels", labels.len(), MAX_LABELS)?;
    if labels.is_empty() {
        return Err(SpecError::NoLabels(what));
    }
    for (key, value) in labels {
        word("label", key)?;
        word("label value", value)?;
    }
    Ok(())
}

fn admits(wanted: &Labels, tags: &Labels) -> bool {
    wanted.iter().all(|(key, value)| tags.get(key) == Some(value))
}

/// What a host is in one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Part {
    /// Its value of the service's `spread`; empty if it has not that tag, `None` if the service has no `spread`.
    pub value: Option<String>,
}

/// A host that is in services.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Which member of the mesh.
    pub node: NodeId,
    /// Its name in the mesh.
    pub name: String,
    /// When its membership ends. It leaves every service then.
    pub expires: WallTime,
    /// How late it starts: after members of its services with a lower rank. 0 for most.
    pub rank: u8,
    /// By service. Empty: it has left.
    pub of: BTreeMap<String, Part>,
}

/// Why a host counts as down although no ledger says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Absent {
    /// The mesh does not hear it, or has not heard it since the coordinator started.
    Silent,
}

/// What a ledger says of services.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceAct {
    /// A service holds from here on, as it is here.
    Kept {
        /// The service.
        spec: Box<ServiceSpec>,
        /// Who keeps it, as they say.
        by: String,
    },
    /// A service holds no more.
    Dropped {
        /// Its name.
        name: String,
        /// Who dropped it, as they say.
        by: String,
    },
    /// So many hosts hold a slot at once, over all rollouts; `None`: as many as the rollouts allow.
    Fleet {
        /// In hosts.
        limit: Option<u32>,
    },
    /// These hosts are in other services than before, or are called otherwise.
    Members {
        /// As they are now.
        changed: Vec<Member>,
    },
    /// Saved before a grant that depends on it: whom the coordinator sees to be down, as far as that has changed.
    Seen {
        /// Down now.
        absent: Vec<(NodeId, Absent)>,
        /// Up again.
        back: Vec<NodeId>,
    },
    /// Saved before a grant that depends on it: what members of a service with a probe have shown, as far as that has changed.
    Probed {
        /// Which service.
        service: String,
        /// These passed lately. Whoever is granted a lease that takes it down has to pass again.
        passed: Vec<NodeId>,
        /// These count as down: they failed, or have not answered.
        failed: Vec<NodeId>,
    },
}

/// The fold of every [`ServiceAct`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Services {
    /// Most slots of all rollouts together.
    pub fleet: Option<u32>,
    /// By name.
    pub specs: BTreeMap<String, ServiceSpec>,
    /// Hosts that are in some service.
    pub members: BTreeMap<NodeId, Member>,
    /// The members of every service.
    pub of: BTreeMap<String, BTreeSet<NodeId>>,
    /// Whom the coordinator saw to be down when it last granted something that depended on it.
    pub seen: BTreeMap<NodeId, Absent>,
    /// By service with a probe, whom the coordinator saw to pass it when it last granted something that depended on it. Nobody
    /// else is up.
    pub passed: BTreeMap<String, BTreeSet<NodeId>>,
}

impl Services {
    /// Folds one act. Every act fits.
    pub(super) fn fold(&mut self, act: &ServiceAct) {
        match act {
            ServiceAct::Kept { spec, .. } => {
                // Who is a member by other tags is said anew.
                let before = self.specs.insert(spec.name.clone(), (**spec).clone());
                if before.as_ref().is_none_or(|before| before.selector != spec.selector) {
                    self.disband(&spec.name);
                }
                if before.is_none_or(|before| before.probe != spec.probe) {
                    self.passed.remove(&spec.name);
                }
                self.of.entry(spec.name.clone()).or_default();
            }
            ServiceAct::Dropped { name, .. } => {
                self.specs.remove(name);
                self.disband(name);
                self.of.remove(name);
                self.passed.remove(name);
            }
            ServiceAct::Fleet { limit } => self.fleet = *limit,
            ServiceAct::Members { changed } => changed.iter().for_each(|member| self.join(member)),
            ServiceAct::Seen { absent, back } => {
                self.seen.extend(absent.iter().copied());
                back.iter().for_each(|node| {
                    self.seen.remove(node);
                });
            }
            ServiceAct::Probed { service, passed, failed } => {
                let known = self.passed.entry(service.clone()).or_default();
                known.extend(passed);
                failed.iter().for_each(|node| {
                    known.remove(node);
                });
            }
        }
    }

    /// A grant takes `node` down: what it showed before says nothing of what it is afterwards.
    pub(super) fn taken_down(&mut self, node: &NodeId) {
        self.passed.values_mut().for_each(|passed| {
            passed.remove(node);
        });
    }

    /// Whether `node` counts as down in `spec` for its probe's sake, as far as the ledger says.
    pub(super) fn fails_probe(&self, spec: &ServiceSpec, node: &NodeId) -> bool {
        spec.probe.is_some() && !self.passed.get(&spec.name).is_some_and(|passed| passed.contains(node))
    }

    fn disband(&mut self, name: &str) {
        for node in self.of.get_mut(name).map(core::mem::take).unwrap_or_default() {
            if let Some(member) = self.members.get_mut(&node) {
                member.of.remove(name);
                if member.of.is_empty() {
                    self.members.remove(&node);
                }
            }
        }
    }

    fn join(&mut self, member: &Member) {
        let left = self.members.remove(&member.node).map(|before| before.of).unwrap_or_default();
        for name in left.keys() {
            self.of.get_mut(name).map(|nodes| nodes.remove(&member.node));
            if !member.of.contains_key(name) {
                self.passed.get_mut(name).map(|passed| passed.remove(&member.node));
            }
        }
        for name in member.of.keys() {
            self.of.entry(name.clone()).or_default().insert(member.node);
        }
        if member.of.is_empty() {
            self.seen.remove(&member.node);
        } else {
            self.members.insert(member.node, member.clone());
        }
    }

    /// What a host called `called` with `tags` is, if that differs from what is known of it.
    pub(super) fn change(&self, node: NodeId, called: &str, tags: &Labels, expires: WallTime) -> Option<Member> {
        let parts = || self.specs.values().filter_map(|spec| Some((spec, spec.part(tags)?)));
        let known = self.members.get(&node);
        let of: BTreeMap<String, Part> = parts().map(|(spec, (part, _))| (spec.name.clone(), part)).collect();
        if of.is_empty() && known.is_none() {
            return None;
        }
        let rank = parts().map(|(_, (_, rank))| rank).max().unwrap_or(0);
        let member = Member { node, name: called.to_owned(), expires, rank, of };
        (known != Some(&member)).then_some(member)
    }

    /// How late `node` starts: after members of its services with a lower rank.
    pub fn rank(&self, node: &NodeId) -> u8 {
        self.members.get(node).map_or(0, |member| member.rank)
    }

    /// The services of a host, by name.
    pub fn of_host(&self, node: &NodeId) -> impl Iterator<Item = (&ServiceSpec, &Part)> {
        let of = self.members.get(node).map(|member| &member.of);
        of.into_iter().flatten().filter_map(|(name, part)| Some((self.specs.get(name)?, part)))
    }

    /// The members of a service.
    pub fn members_of(&self, name: &str) -> impl Iterator<Item = &Member> {
        self.of.get(name).into_iter().flatten().filter_map(|node| self.members.get(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::gate::{Ask, GateError};

    fn tags(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn pg() -> ServiceSpec {
        ServiceSpec {
            name: "pg".into(),
            selector: tags(&[("app", "pg")]),
            min_available: "2".parse().unwrap(),
            spread: Some("zone".into()),
            last: vec![tags(&[("role", "standby")]), tags(&[("role", "primary")])],
            probe: None,
        }
    }

    fn kept(services: &mut Services, spec: ServiceSpec) {
        services.fold(&ServiceAct::Kept { spec: Box::new(spec), by: "ops".into() });
    }

    fn see(services: &mut Services, seed: u8, pairs: &[(&str, &str)]) -> bool {
        let name = format!("host-{seed}");
        let change = services.change(NodeId([seed; 32]), &name, &tags(pairs), WallTime(9));
        let changed: Vec<_> = change.into_iter().collect();
        services.fold(&ServiceAct::Members { changed: changed.clone() });
        !changed.is_empty()
    }

    #[test]
    fn every_bound_is_checked() {
        pg().check().unwrap();
        let wrong = |change: fn(&mut ServiceSpec)| {
            let mut spec = pg();
            change(&mut spec);
            spec.check().unwrap_err()
        };
        assert!(matches!(wrong(|s| s.name = "A".into()), SpecError::Name(_)));
        assert!(matches!(wrong(|s| s.selector.clear()), SpecError::NoLabels(_)));
        assert!(matches!(wrong(|s| s.spread = Some("a b".into())), SpecError::Word(..)));
        assert!(matches!(wrong(|s| s.last = vec![Labels::new()]), SpecError::NoLabels(_)));
        assert!(matches!(wrong(|s| s.last = vec![s.selector.clone(); MAX_LAST + 1]), SpecError::TooMany { .. }));
        let probe = Gate { ask: Ask::NoNewFailedUnits, timeout_seconds: 1 };
        assert_eq!(ServiceSpec { probe: Some(probe), ..pg() }.check(), Err(SpecError::Probe(GateError::ProbeOfNew)));
    }

    #[test]
    fn members_come_and_go_by_their_tags_and_only_changes_are_said() {
        let mut services = Services::default();
        kept(&mut services, pg());
        assert!(see(&mut services, 1, &[("app", "pg"), ("zone", "a"), ("role", "primary")]));
        assert!(!see(&mut services, 1, &[("app", "pg"), ("zone", "a"), ("role", "primary")]));
        assert!(see(&mut services, 2, &[("app", "pg")]) && !see(&mut services, 3, &[("app", "web")]));
        let ranks: Vec<_> = services.members_of("pg").map(|member| member.rank).collect();
        assert_eq!(ranks, [2, 0]);
        let values: Vec<_> = services
            .of_host(&NodeId([1; 32]))
            .map(|(spec, part)| (spec.name.as_str(), part.value.as_deref()))
            .collect();
        assert_eq!(values, [("pg", Some("a"))]);
        assert!(see(&mut services, 1, &[("app", "web")]));
        assert_eq!(services.members_of("pg").count(), 1);
        let mut other = pg();
        other.min_available = "1".parse().unwrap();
        kept(&mut services, other.clone());
        assert_eq!(services.members_of("pg").count(), 1, "another limit keeps the members");
        other.selector = tags(&[("app", "web")]);
        kept(&mut services, other);
        assert_eq!((services.members_of("pg").count(), services.members.len()), (0, 0));
        services.fold(&ServiceAct::Dropped { name: "pg".into(), by: "ops".into() });
        assert_eq!(services, Services::default());
    }

    #[test]
    fn nobody_passes_a_probe_before_it_is_said_and_not_after_a_lease_or_another_probe() {
        let mut services = Services::default();
        let ask = |unit: &str| Gate { ask: Ask::SystemdUnit(unit.into()), timeout_seconds: 5 };
        let spec = ServiceSpec { probe: Some(ask("pg.service")), ..pg() };
        kept(&mut services, spec.clone());
        let (one, two) = (NodeId([1; 32]), NodeId([2; 32]));
        let fails = |services: &Services| [one, two].map(|node| services.fails_probe(&spec, &node));
        assert_eq!(fails(&services), [true, true]);
        let said = |passed, failed| ServiceAct::Probed { service: "pg".into(), passed, failed };
        services.fold(&said(vec![one, two], vec![]));
        assert_eq!(fails(&services), [false, false]);
        services.fold(&said(vec![], vec![two]));
        assert_eq!(fails(&services), [false, true]);
        services.taken_down(&one);
        assert_eq!(fails(&services), [true, true]);
        services.fold(&said(vec![one], vec![]));
        kept(&mut services, ServiceSpec { spread: None, ..spec.clone() });
        assert_eq!(fails(&services), [false, true], "the same probe");
        kept(&mut services, ServiceSpec { probe: Some(ask("other.service")), ..spec.clone() });
        assert_eq!(fails(&services), [true, true]);
        assert!(!services.fails_probe(&pg(), &one), "nothing is asked of it");
    }
}
