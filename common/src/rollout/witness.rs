//! Asks the mesh since when versions exist, before baselines whose clock is the mesh's are judged (C7). Changes nothing.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::NodeId,
    patch::{
        sighting::{Seen, Sighting, Sightings},
        snapshot::Since,
    },
    time::BootTime,
};

/// How long a host that the mesh hears may take to answer: it reads one file.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often an unanswered question is repeated.
pub const REPEAT: Duration = Duration::from_secs(3);
/// Most versions that are decided: a snapshot has to hold them. Those that were met last are kept, because the others wait for
/// nothing any more.
pub const MAX_DECIDED: usize = 4096;

/// One round of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    pending: BTreeSet<NodeId>,
    found: BTreeMap<Seen, Sightings>,
    asked: BootTime,
    deadline: BootTime,
}

impl Witnesses {
    /// Asks `hosts`: those that the mesh hears.
    pub fn begin(hosts: impl IntoIterator<Item = NodeId>, now: BootTime) -> Self {
        let deadline = now.plus(PATIENCE);
        Self { pending: hosts.into_iter().collect(), found: BTreeMap::new(), asked: now, deadline }
    }

    /// Hosts that have not answered.
    pub fn pending(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.pending.iter().copied()
    }

    /// Whether the pending questions are to be repeated now; if so, the next time is later.
    pub fn repeats(&mut self, now: BootTime) -> bool {
        let due = now.since(self.asked) >= REPEAT;
        if due {
            self.asked = now;
        }
        due
    }

    /// Keeps the word of a host that was asked.
    pub fn answered(&mut self, host: NodeId, words: impl IntoIterator<Item = (Seen, Sighting)>) {
        if self.pending.remove(&host) {
            for (seen, sighting) in words {
                self.found.entry(seen).or_default().add(host, sighting);
            }
        }
    }

    /// Whether nobody is left to wait for. Who does not answer in time is no witness.
    pub fn is_over(&self, now: BootTime) -> bool {
        now >= self.deadline || self.pending.is_empty()
    }

    /// Since when versions exist, by (name, architecture, version, checksum).
    pub fn decide(self) -> Vec<Since> {
        let decided = self.found.into_iter().filter_map(|(seen, sightings)| Some((sightings.decided()?, seen)));
        let mut decided: Vec<_> = decided.collect();
        decided.sort_by(|a, b| b.cmp(a));
        decided.truncate(MAX_DECIDED);
        let since = |(since, (name, arch, version, sha256))| Since { name, arch, version, sha256, since };
        let mut decided: Vec<_> = decided.into_iter().map(since).collect();
        decided.sort();
        decided
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn word(name: &str, at: i64) -> (Seen, Sighting) {
        ((name.into(), "all".into(), "2".into(), "ab".into()), Sighting { seen: WallTime(at), index: None })
    }

    #[test]
    fn every_heard_host_is_asked_once_and_one_of_two_may_lie() {
        let mut witnesses = Witnesses::begin([node(1), node(2), node(3)], BootTime(0));
        assert!(!witnesses.is_over(BootTime(0)) && witnesses.is_over(BootTime(20_000)));
        witnesses.answered(node(1), [word("a", 5), word("b", 7)]);
        witnesses.answered(node(1), [word("a", 1)]);
        witnesses.answered(node(9), [word("b", 1)]);
        witnesses.answered(node(2), [word("a", 9)]);
        assert_eq!(witnesses.pending().collect::<Vec<_>>(), [node(3)]);
        assert!(!witnesses.repeats(BootTime(2_000)) && witnesses.repeats(BootTime(3_000)));
        let since: Vec<_> = witnesses.decide().into_iter().map(|since| (since.name, since.since)).collect();
        assert_eq!(since, [("a".into(), WallTime(9)), ("b".into(), WallTime(7))]);
    }
}
