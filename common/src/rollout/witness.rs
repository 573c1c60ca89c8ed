//! Asks the mesh since when versions exist, before baselines whose clock is the mesh's are judged (C7). Changes nothing.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::NodeId,
    patch::{
        sighting::{MAX_WORDS, Seen, Sighting, Sightings, fits, liars},
        snapshot::{MAX_SNAPSHOT, Since},
    },
    run::message::MAX_SKEW,
    time::{BootTime, Now, WallTime},
    wire,
};

/// How long a host that the mesh hears may take to answer: it reads one file.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// How often an unanswered question is repeated.
pub const REPEAT: Duration = Duration::from_secs(3);
/// Most bytes of what is decided: a snapshot has to hold it, with the baselines and with what is resolved. The earliest are kept:
/// hosts go by their own word for the others, so that those only wait longer.
pub const MAX_DECIDED: usize = MAX_SNAPSHOT / 2;

/// One round of questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnesses {
    pending: BTreeSet<NodeId>,
    /// How many of those who were asked may say what is not true. Who does not answer lends the others no weight.
    liars: usize,
    found: BTreeMap<Seen, Sightings>,
    asked: BootTime,
    deadline: BootTime,
}

impl Witnesses {
    /// Asks `hosts`: those that the mesh hears.
    pub fn begin(hosts: impl IntoIterator<Item = NodeId>, now: BootTime) -> Self {
        let (pending, deadline): (BTreeSet<_>, _) = (hosts.into_iter().collect(), now.plus(PATIENCE));
        Self { liars: liars(pending.len()), pending, found: BTreeMap::new(), asked: now, deadline }
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

    /// Keeps the word of a host that was asked: of at most [`MAX_WORDS`] versions, and not what is no package's or lies in the future.
    pub fn answered(&mut self, host: NodeId, words: impl IntoIterator<Item = (Seen, Sighting)>, now: Now) {
        if !self.pending.remove(&host) {
            return;
        }
        let skew = i64::try_from(MAX_SKEW.as_millis()).unwrap_or(i64::MAX);
        let latest = WallTime(now.wall.0.saturating_add(skew));
        let credible = |(seen, sighting): &(Seen, Sighting)| fits(seen) && sighting.evidence() <= latest;
        for (seen, sighting) in words.into_iter().take(MAX_WORDS).filter(credible) {
            self.found.entry(seen).or_default().add(host, sighting);
        }
    }

    /// Whether nobody is left to wait for. Who does not answer in time is no witness.
    pub fn is_over(&self, now: BootTime) -> bool {
        now >= self.deadline || self.pending.is_empty()
    }

    /// Since when versions exist, by (name, architecture, version, checksum). What too few have met is not decided.
    pub fn decide(self) -> Vec<Since> {
        let liars = self.liars;
        let decided = self.found.into_iter().filter_map(|(seen, words)| Some((words.first_seen(liars)?, seen)));
        let mut decided: Vec<_> = decided.collect();
        decided.sort();
        let since = |(since, (name, arch, version, sha256))| Since { name, arch, version, sha256, since };
        let mut room = MAX_DECIDED;
        let fits = |since: &Since| match room.checked_sub(wire::size(since)) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        };
        let mut decided: Vec<_> = decided.into_iter().map(since).take_while(fits).collect();
        decided.sort();
        decided
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::patch::sighting::{MAX_LIARS, MAX_SEEN};

    const NOW: Now = Now { boot: BootTime(0), wall: WallTime(1000) };

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn seen(name: &str) -> Seen {
        (name.into(), "all".into(), "2".into(), "ab".into())
    }

    fn word(name: &str, at: i64) -> (Seen, Sighting) {
        (seen(name), Sighting { seen: WallTime(at), index: None })
    }

    fn asked(hosts: u8) -> Witnesses {
        Witnesses::begin((1..=hosts).map(node), BootTime(0))
    }

    fn decided(witnesses: Witnesses) -> Vec<(String, i64)> {
        witnesses.decide().into_iter().map(|since| (since.name, since.since.0)).collect()
    }

    #[test]
    fn every_heard_host_is_asked_once_and_one_of_two_may_lie() {
        let mut witnesses = asked(3);
        assert!(!witnesses.is_over(BootTime(0)) && witnesses.is_over(BootTime(20_000)));
        witnesses.answered(node(1), [word("a", 5), word("b", 7)], NOW);
        witnesses.answered(node(1), [word("a", 1)], NOW);
        witnesses.answered(node(9), [word("a", 1)], NOW);
        witnesses.answered(node(2), [word("a", 9)], NOW);
        assert_eq!(witnesses.pending().collect::<Vec<_>>(), [node(3)]);
        assert!(!witnesses.repeats(BootTime(2_000)) && witnesses.repeats(BootTime(3_000)));
        assert_eq!(decided(witnesses), [("a".into(), 9)], "what only one has met is not decided");
    }

    /// Published after the honest hosts looked, and before they are asked: whoever hurries is alone with it.
    #[test]
    fn who_is_first_with_a_new_version_opens_it_for_nobody_else() {
        let mut witnesses = asked(20);
        for liar in 1..=5 {
            witnesses.answered(node(liar), [word("new", 1), word("old", 1)], NOW);
        }
        for honest in 6..=20 {
            witnesses.answered(node(honest), [word("old", 500)], NOW);
        }
        assert_eq!(decided(witnesses), [("old".into(), 500)]);
        let mut alone = asked(1);
        alone.answered(node(1), [word("new", 1)], NOW);
        assert_eq!(decided(alone), [("new".into(), 1)], "nobody is there who could know better");
        let mut silent = asked(4);
        silent.answered(node(1), [word("new", 1)], NOW);
        assert_eq!(decided(silent), [], "the silence of the others makes nobody credible");
    }

    proptest! {
        #[test]
        fn so_many_liars_open_no_gate_before_an_honest_host_has_met_the_version(
            // An honest host without a word looked before the version was published.
            honest in vec(option::of(0..1000_i64), 1..60),
            forged in vec(0..1000_i64, 0..=MAX_LIARS),
            turn in any::<usize>(),
        ) {
            let hosts = honest.len() + forged.len();
            prop_assume!(forged.len() <= liars(hosts));
            let earliest = honest.iter().flatten().min().copied();
            let mut words: Vec<_> = (1..).map(node).zip(honest.into_iter().chain(forged.into_iter().map(Some))).collect();
            words.rotate_left(turn % hosts);
            let mut witnesses = Witnesses::begin(words.iter().map(|(host, _)| *host), BootTime(0));
            for (host, at) in words {
                witnesses.answered(host, at.map(|at| word("a", at)), NOW);
            }
            if let Some((_, found)) = decided(witnesses).first() {
                prop_assert!(earliest.is_some_and(|earliest| *found >= earliest), "{found} is before {earliest:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_true_is_no_word() {
        let mut alone = asked(1);
        let dated = |index| (seen("dated"), Sighting { seen: WallTime(1), index: Some(WallTime(index)) });
        let long = word(&"n".repeat(MAX_SEEN - 5), 1);
        let longest = word(&"n".repeat(MAX_SEEN - 6), 1);
        alone.answered(node(1), [word("skewed", 31_000), word("future", 31_001), dated(31_001), long, longest], NOW);
        let names: Vec<_> = decided(alone).into_iter().map(|(name, _)| name.len()).collect();
        assert_eq!(names, [MAX_SEEN - 6, "skewed".len()]);
    }

    #[test]
    fn of_too_many_words_of_one_host_the_rest_is_not_heard() {
        let mut alone = asked(1);
        let many = (0..MAX_WORDS).map(|_| word("a", 1));
        alone.answered(node(1), many.chain([word("b", 1)]), NOW);
        assert_eq!(decided(alone), [("a".into(), 1)]);
    }

    #[test]
    fn of_too_many_versions_the_latest_wait_longer() {
        let mut alone = asked(1);
        let name = |n: i64| format!("{n:0400}");
        let many = 3000;
        alone.answered(node(1), (0..many).map(|n| word(&name(n), n)), Now { wall: WallTime(many), ..NOW });
        let since = alone.decide();
        assert!(wire::size(&since) <= MAX_DECIDED + 8 && since.len() > 1000, "{}", since.len());
        let kept = i64::try_from(since.len()).unwrap();
        assert!(kept < many);
        assert_eq!(
            since.into_iter().map(|since| since.name).collect::<Vec<_>>(),
            (0..kept).map(name).collect::<Vec<_>>()
        );
    }
}
