//! What changed in the world since a plan was made, so that it would not do what somebody reviewed.
//!
//! A host that is silent, busy or locked has not moved: it is waited for. One that would do something else has.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

use super::{
    claim::Claim,
    lease::is_final_word,
    plan::{ExcludedBecause, ExcludedHost, PlannedHost},
    ring::PlannedRing,
};
use crate::{
    id::NodeId,
    inventory::{PackageChange, Transaction},
};

/// One thing that moved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moved {
    /// Another rollout has taken these hosts.
    Claimed {
        /// Its name.
        rollout: String,
        /// Names of the hosts, of which there is at least one.
        hosts: Vec<String>,
    },
    /// A host would do something else now.
    Resolves {
        /// Its name.
        host: String,
        /// The first difference, in words.
        difference: String,
    },
    /// A host refuses now, and asking again would not change it.
    Refuses {
        /// Its name.
        host: String,
        /// Why.
        text: String,
    },
    /// A host belongs to another ring now, and would go before or after those that were reviewed.
    Ring {
        /// Its name.
        host: String,
        /// The one it is in now; `None` if no ring selects it any more.
        now: Option<String>,
    },
    /// A host is no longer a member, or no longer a target.
    Left {
        /// Its name.
        host: String,
    },
    /// A host that the plan does not know is a target now.
    Joined {
        /// Its name.
        host: String,
    },
}

impl fmt::Display for Moved {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claimed { rollout, hosts } => match hosts.as_slice() {
                [one] => write!(out, "rollout {rollout} has taken {one}"),
                [first, rest @ ..] => write!(out, "rollout {rollout} has taken {first} and {} more", rest.len()),
                [] => write!(out, "rollout {rollout} has taken hosts"),
            },
            Self::Resolves { host, difference } => write!(out, "{host} would now {difference}"),
            Self::Refuses { host, text } => write!(out, "{host} now refuses: {text}"),
            Self::Ring { host, now: Some(ring) } => write!(out, "{host} is in ring {ring} now: its tags changed"),
            Self::Ring { host, now: None } => write!(out, "{host} is in no ring any more: its tags changed"),
            Self::Left { host } => write!(out, "{host} is no longer a target: its membership or its tags changed"),
            Self::Joined { host } => write!(out, "{host} is a target now: it joined, or its tags changed"),
        }
    }
}

/// What the targets of a plan said, when it was made or now.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// What they would do; by ring.
    pub planned: &'a [PlannedHost],
    /// In order; together they have as many hosts as are planned.
    pub rings: &'a [PlannedRing],
    /// Who would do nothing, and why.
    pub excluded: &'a [ExcludedHost],
}

impl<'a> Said<'a> {
    /// Every planned host with the name of its ring.
    fn by_ring(self) -> impl Iterator<Item = (&'a PlannedHost, &'a str)> {
        let names = self.rings.iter().flat_map(|ring| core::iter::repeat_n(ring.name.as_str(), ring.hosts as usize));
        self.planned.iter().zip(names)
    }
}

/// How what the hosts say `now` differs from what a plan says, by name.
pub fn answers(then: Said<'_>, now: Said<'_>) -> Vec<Moved> {
    let resolved: BTreeMap<NodeId, (&PlannedHost, &str)> =
        now.by_ring().map(|(host, ring)| (host.node, (host, ring))).collect();
    let refused: BTreeMap<NodeId, &ExcludedHost> = now.excluded.iter().map(|host| (host.node, host)).collect();
    let known: BTreeSet<NodeId> =
        then.planned.iter().map(|host| host.node).chain(then.excluded.iter().map(|host| host.node)).collect();
    let mut moved: Vec<Moved> = Vec::new();
    for (host, ring) in then.by_ring() {
        let name = host.name.clone();
        match (resolved.get(&host.node), refused.get(&host.node)) {
            (Some((_, other)), _) if *other != ring => {
                moved.push(Moved::Ring { host: name, now: Some((*other).to_owned()) });
            }
            (Some((same, _)), _) => {
                let difference = difference(&host.transaction, &same.transaction);
                moved.extend(difference.map(|difference| Moved::Resolves { host: name, difference }));
            }
            (None, Some(no)) if no.because == ExcludedBecause::NoRing => {
                moved.push(Moved::Ring { host: name, now: None });
            }
            (None, Some(no)) if is_final_word(&no.code) => {
                moved.push(Moved::Refuses { host: name, text: no.text.clone() });
            }
            (None, Some(_)) => {}
            (None, None) => moved.push(Moved::Left { host: name }),
        }
    }
    let targets = now.planned.iter().map(|host| (host.node, &host.name));
    let targets = targets.chain(now.excluded.iter().map(|host| (host.node, &host.name)));
    moved.extend(
        targets.filter(|(node, _)| !known.contains(node)).map(|(_, name)| Moved::Joined { host: name.clone() }),
    );
    moved.sort();
    moved
}

/// Claims `now` on hosts that were not claimed by the same rollout `then`. A claim that is gone has not moved anything.
pub fn claims(then: &[Claim], now: &[Claim], names: &BTreeMap<NodeId, &str>) -> Vec<Moved> {
    let before = |claim: &Claim| then.iter().find(|then| then.rollout == claim.rollout).map(|then| &then.hosts);
    let new = |claim: &Claim| {
        let known = before(claim);
        let fresh = claim.hosts.iter().filter(|node| known.is_none_or(|known| !known.contains(*node)));
        let mut hosts: Vec<String> = fresh.filter_map(|node| names.get(node)).map(|name| (*name).to_owned()).collect();
        hosts.sort();
        (!hosts.is_empty()).then(|| Moved::Claimed { rollout: claim.name.clone(), hosts })
    };
    now.iter().filter_map(new).collect()
}

/// The first difference between what was planned and what a host would do now.
fn difference(then: &Transaction, now: &Transaction) -> Option<String> {
    if then == now {
        return None;
    }
    let shown = |change: &PackageChange| format!("{}:{} {}", change.name, change.arch, change.to);
    let is_for = |change: &PackageChange, other: &PackageChange| change.name == other.name && change.arch == other.arch;
    for change in &then.changes {
        match now.changes.iter().find(|other| is_for(change, other)) {
            None => return Some(format!("not install {}", shown(change))),
            Some(other) if other.to != change.to => {
                return Some(format!("install {} instead of {}", shown(other), change.to));
            }
            Some(other) if other != change => {
                return Some(format!("install {} from another file, or over another version", shown(other)));
            }
            Some(_) => {}
        }
    }
    if let Some(new) = now.changes.iter().find(|change| !then.changes.iter().any(|other| is_for(change, other))) {
        return Some(format!("also install {}", shown(new)));
    }
    let named = |removed: Option<&crate::inventory::PackageRemoval>| removed.map(|removed| removed.name.clone());
    if let Some(name) = named(now.removals.iter().find(|removed| !then.removals.contains(removed))) {
        return Some(format!("remove {name}"));
    }
    named(then.removals.iter().find(|removed| !now.removals.contains(removed))).map(|name| format!("not remove {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::RolloutId, inventory::PackageRemoval, rollout::limit::Ramp};

    fn change(name: &str, to: &str) -> PackageChange {
        PackageChange {
            name: name.into(),
            arch: "amd64".into(),
            from: Some("1".into()),
            to: to.into(),
            sha256: "5e".repeat(32),
        }
    }

    fn would(changes: Vec<PackageChange>) -> Transaction {
        Transaction { changes, removals: vec![] }
    }

    fn host(seed: u8, transaction: Transaction) -> PlannedHost {
        PlannedHost { node: NodeId([seed; 32]), name: format!("host-{seed}"), transaction }
    }

    fn out(seed: u8, code: &str) -> ExcludedHost {
        ExcludedHost {
            node: NodeId([seed; 32]),
            name: format!("host-{seed}"),
            because: ExcludedBecause::Refused,
            code: code.into(),
            text: "it says no".into(),
            remedy: "mend it".into(),
        }
    }

    fn told(then: (&[PlannedHost], &[ExcludedHost]), now: (&[PlannedHost], &[ExcludedHost])) -> Vec<String> {
        in_rings((then.0, then.1, &[]), (now.0, now.1, &[]))
    }

    /// The same with rings of so many hosts; none are one ring of all.
    fn in_rings(
        then: (&[PlannedHost], &[ExcludedHost], &[(&str, u32)]),
        now: (&[PlannedHost], &[ExcludedHost], &[(&str, u32)]),
    ) -> Vec<String> {
        let rings = |(planned, _, rings): (&[PlannedHost], &[ExcludedHost], &[(&str, u32)])| -> Vec<PlannedRing> {
            let of = |(name, hosts): &(&str, u32)| PlannedRing {
                name: (*name).to_owned(),
                ..PlannedRing::all(*hosts, Ramp::Full)
            };
            let all = [(PlannedRing::ALL, planned.len() as u32)];
            (if rings.is_empty() { &all } else { rings }).iter().map(of).collect()
        };
        let (before, after) = (rings(then), rings(now));
        let (then, now) = (
            Said { planned: then.0, excluded: then.1, rings: &before },
            Said { planned: now.0, excluded: now.1, rings: &after },
        );
        answers(then, now).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_answers_the_same_or_is_only_away_has_not_moved() {
        let plan = [host(1, would(vec![change("lib", "2")])), host(2, would(vec![])), host(3, would(vec![]))];
        let left = [out(4, "observe-mode"), out(5, "silent")];
        assert_eq!(told((&plan, &left), (&plan, &left)), [""; 0]);
        let away = [out(2, "locked"), out(3, "silent"), out(4, "observe-mode")];
        let back = [plan[0].clone(), host(5, would(vec![change("lib", "2")]))];
        assert_eq!(told((&plan, &left), (&back, &away)), [""; 0], "nor who was left out, whatever it says now");
    }

    #[test]
    fn what_moved_is_named_by_host_and_in_words() {
        let plan: Vec<_> =
            (1..=7).map(|seed| host(seed, would(vec![change("lib", "2"), change("app", "5")]))).collect();
        let other = |seed: u8, changes: Vec<PackageChange>| host(seed, would(changes));
        let mut removes = plan[4].clone();
        removes.transaction.removals =
            vec![PackageRemoval { name: "old".into(), arch: "amd64".into(), version: "1".into() }];
        let mut rebuilt = plan[5].clone();
        rebuilt.transaction.changes[0].sha256 = "6f".repeat(32);
        let now = [
            other(1, vec![change("lib", "3"), change("app", "5")]),
            other(2, vec![change("app", "5")]),
            other(3, vec![change("lib", "2"), change("app", "5"), change("new", "1")]),
            removes,
            rebuilt,
            other(9, vec![]),
        ];
        assert_eq!(
            told((&plan, &[]), (&now, &[out(4, "version-gone")])),
            [
                "host-1 would now install lib:amd64 3 instead of 2",
                "host-2 would now not install lib:amd64 2",
                "host-3 would now also install new:amd64 1",
                "host-5 would now remove old",
                "host-6 would now install lib:amd64 2 from another file, or over another version",
                "host-4 now refuses: it says no",
                "host-7 is no longer a target: its membership or its tags changed",
                "host-9 is a target now: it joined, or its tags changed",
            ]
        );
    }

    #[test]
    fn who_changes_rings_has_moved_even_if_it_would_do_the_same() {
        let plan: Vec<_> = (1..=4).map(|seed| host(seed, would(vec![]))).collect();
        let now = [plan[0].clone(), plan[2].clone(), plan[1].clone()];
        let gone = ExcludedHost { because: ExcludedBecause::NoRing, ..out(4, "no-ring") };
        assert_eq!(
            in_rings((&plan, &[], &[("canary", 2), ("fleet", 2)]), (&now, &[gone], &[("canary", 2), ("fleet", 1)])),
            [
                "host-2 is in ring fleet now: its tags changed",
                "host-3 is in ring canary now: its tags changed",
                "host-4 is in no ring any more: its tags changed",
            ]
        );
    }

    #[test]
    fn only_a_new_claim_moves_a_plan() {
        let names: BTreeMap<NodeId, &str> = [(NodeId([1; 32]), "a"), (NodeId([2; 32]), "b")].into();
        let claim = |id: u8, hosts: &[u8]| Claim {
            rollout: RolloutId([id; 8]),
            name: format!("wave-{id}"),
            hosts: hosts.iter().map(|seed| NodeId([*seed; 32])).collect(),
        };
        let told = |then: &[Claim], now: &[Claim]| -> Vec<String> {
            claims(then, now, &names).iter().map(ToString::to_string).collect()
        };
        assert_eq!(told(&[claim(1, &[1, 2])], &[claim(1, &[1])]), [""; 0]);
        assert_eq!(told(&[claim(1, &[1])], &[claim(1, &[1, 2])]), ["rollout wave-1 has taken b"]);
        assert_eq!(told(&[], &[claim(2, &[1, 2])]), ["rollout wave-2 has taken a and 1 more"]);
    }
}
