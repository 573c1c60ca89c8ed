//! Since when a version exists, by the word of many hosts: what `approvalClock: mesh` reads on Debian and Ubuntu.
//!
//! Debian's indexes date themselves and not what they carry, so that hosts remember the first index in which each of them met a
//! version. The evidence of a host is the date that the archive signed; its own clock counts only where there is none. Of the hosts
//! that are asked, [`liars`] may be wrong: the (liars + 1)-th earliest evidence counts, so that so many forged or skewed claims
//! cannot open a gate before the earliest honest one would, and fewer claims decide nothing. Who is offered what is not decided
//! goes by what it saw itself.
//!
//! What this does not promise: more than [`MAX_LIARS`] hosts that lie together open a gate in a mesh of any size, and so do two of
//! fewer than seven. A lone host is believed, because nobody contradicts it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{id::NodeId, inventory::document::Inventory, time::WallTime};

/// Most hosts whose word is kept for one version: those with the earliest, because the later ones never count.
pub const MAX_WITNESSES: usize = 16;
/// Most liars that are reckoned with. A version that fewer than one more hosts are offered could never be decided, so that this does
/// not grow with the mesh.
pub const MAX_LIARS: usize = 5;
/// Most words of one host. A host that is far behind is offered some thousands of versions.
pub const MAX_WORDS: usize = 16_384;
/// Longest name, architecture, version and checksum together, in bytes; what is longer is no package's.
pub const MAX_SEEN: usize = 512;

/// How many of `asked` hosts may say what is not true: none of one, one of two, and of many fewer than a third, at most [`MAX_LIARS`].
pub fn liars(asked: usize) -> usize {
    if asked < 2 { 0 } else { ((asked - 1) / 3).clamp(1, MAX_LIARS) }
}

/// When a host first met a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sighting {
    /// By its clock.
    pub seen: WallTime,
    /// The signed date of the index that carried the version then; `None` if the index has none.
    pub index: Option<WallTime>,
}

impl Sighting {
    /// What the sighting proves: the version was there at this instant. A signed date is older than any look at it, so that it
    /// also tells of the time before the mesh.
    pub fn evidence(self) -> WallTime {
        self.index.unwrap_or(self.seen)
    }
}

/// The sightings of one version, one per host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sightings {
    by: BTreeMap<NodeId, Sighting>,
}

impl Sightings {
    /// Keeps the earliest word of `host`. Of many hosts the earliest are kept, so that the order of arrival changes nothing.
    pub fn add(&mut self, host: NodeId, sighting: Sighting) {
        let earlier = |a: Sighting, b: Sighting| if (b.evidence(), b) < (a.evidence(), a) { b } else { a };
        let known = self.by.entry(host).or_insert(sighting);
        *known = earlier(*known, sighting);
        if self.by.len() > MAX_WITNESSES {
            let last =
                self.by.iter().max_by_key(|(host, word)| (word.evidence(), **word, **host)).map(|(host, _)| *host);
            if let Some(last) = last {
                self.by.remove(&last);
            }
        }
    }

    /// Since when the version exists, if at most `liars` of the hosts say what is not true. `None` if too few have seen it.
    pub fn first_seen(&self, liars: usize) -> Option<WallTime> {
        let mut evidence: Vec<_> = self.by.values().map(|sighting| sighting.evidence()).collect();
        evidence.sort();
        evidence.get(liars).copied()
    }
}

/// (name, architecture, version, SHA-256 of the archive file in lower-case hex): what is seen. Other contents under the same number
/// are another version.
pub type Seen = (String, String, String, String);

/// Whether it can be a package's: at most [`MAX_SEEN`] bytes.
pub fn fits((name, arch, version, sha256): &Seen) -> bool {
    name.len() + arch.len() + version.len() + sha256.len() <= MAX_SEEN
}

/// Since when versions exist, as it was decided for one evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirstSeen {
    by: BTreeMap<Seen, WallTime>,
}

impl FirstSeen {
    /// Since when a version exists; `None` if nobody knows.
    pub fn get(&self, seen: &Seen) -> Option<WallTime> {
        self.by.get(seen).copied()
    }

    /// This, and what only `other` knows.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (seen, since) in other.by {
            self.by.entry(seen).or_insert(since);
        }
        self
    }

    /// Tells an inventory what is known of what it is offered. What has no checksum is not told from others of its number, and
    /// stays unknown.
    pub fn fill(&self, inventory: &mut Inventory) {
        if self.by.is_empty() {
            return;
        }
        for package in &mut inventory.packages {
            for offer in &mut package.candidates {
                let Some(sha256) = offer.sha256.clone() else { continue };
                let seen = (package.name.clone(), package.arch.clone(), offer.version.clone(), sha256);
                offer.first_seen = self.get(&seen).or(offer.first_seen);
            }
        }
    }
}

impl FromIterator<(Seen, WallTime)> for FirstSeen {
    fn from_iter<T: IntoIterator<Item = (Seen, WallTime)>>(seen: T) -> Self {
        Self { by: seen.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::inventory::document::{Host, Offer, Package, SCHEMA};

    #[test]
    fn other_contents_of_the_same_number_are_not_what_was_seen() {
        let offer =
            |sha256: Option<&str>| Offer { version: "2".into(), sha256: sha256.map(str::to_owned), ..Offer::default() };
        let candidates = vec![offer(Some("aa")), offer(Some("bb")), offer(None)];
        let package = Package { name: "web".into(), arch: "amd64".into(), candidates, ..Package::default() };
        let foreign = Package { arch: "i386".into(), ..package.clone() };
        let mut inventory = Inventory {
            schema: SCHEMA.into(),
            host: Host::default(),
            collected_at: None,
            packages: vec![package, foreign],
        };
        let seen = ("web".into(), "amd64".into(), "2".into(), "aa".into());
        FirstSeen::from_iter([(seen, WallTime(5))]).fill(&mut inventory);
        let dates: Vec<_> =
            inventory.packages.iter().flat_map(|package| &package.candidates).map(|offer| offer.first_seen).collect();
        assert_eq!(dates, [Some(WallTime(5)), None, None, None, None, None]);
    }

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    fn sighting() -> impl Strategy<Value = Sighting> {
        (0..1000_i64, proptest::option::of(0..1000_i64))
            .prop_map(|(seen, index)| Sighting { seen: WallTime(seen), index: index.map(WallTime) })
    }

    fn all(words: impl IntoIterator<Item = (u8, Sighting)>) -> Sightings {
        let mut sightings = Sightings::default();
        words.into_iter().for_each(|(host, word)| sightings.add(node(host), word));
        sightings
    }

    #[test]
    fn fewer_than_a_third_may_lie_and_never_more_than_five() {
        assert_eq!([0, 1, 2, 3, 6, 7, 9, 10, 15, 16, 17, 10_000].map(liars), [0, 0, 1, 1, 1, 2, 2, 3, 4, 5, 5, 5]);
    }

    #[test]
    fn what_the_mesh_decided_goes_before_what_one_host_knows() {
        let seen = |version: &str| ("web".to_owned(), "amd64".to_owned(), version.to_owned(), "aa".to_owned());
        let mesh = FirstSeen::from_iter([(seen("1"), WallTime(5))]);
        let both = mesh.or(FirstSeen::from_iter([(seen("1"), WallTime(3)), (seen("2"), WallTime(4))]));
        assert_eq!([both.get(&seen("1")), both.get(&seen("2"))], [Some(WallTime(5)), Some(WallTime(4))]);
    }

    #[test]
    fn a_signed_date_is_older_than_the_mesh_and_no_clock_is_asked_then() {
        let word = |seen, index: Option<i64>| Sighting { seen: WallTime(seen), index: index.map(WallTime) };
        assert_eq!(all([(1, word(900, Some(100)))]).first_seen(0), Some(WallTime(100)));
        assert_eq!(all([(1, word(5, Some(100)))]).first_seen(0), Some(WallTime(100)));
        assert_eq!(all([(1, word(900, None))]).first_seen(0), Some(WallTime(900)));
        assert_eq!(all([(1, word(900, None))]).first_seen(1), None);
        assert_eq!(all([(1, word(900, None)), (1, word(800, None))]).first_seen(1), None);
    }

    proptest! {
        #[test]
        fn so_many_liars_open_nothing_before_the_earliest_honest_word(
            honest in vec(sighting(), 1..6), forged in vec(sighting(), 0..4),
        ) {
            let earliest = honest.iter().map(|word| word.evidence()).min().unwrap();
            let words = (0..).zip(honest).chain((100..).zip(forged.clone()));
            if let Some(found) = all(words).first_seen(forged.len()) {
                prop_assert!(found >= earliest, "{:?} is before {:?}", found, earliest);
            }
        }

        #[test]
        fn the_order_in_which_words_arrive_changes_nothing(words in vec((0..24_u8, sighting()), 0..40), seed in any::<usize>()) {
            let mut turned = words.clone();
            turned.rotate_left(seed.checked_rem(words.len()).unwrap_or(0));
            turned.reverse();
            let (one, other) = (all(words), all(turned));
            for liars in 0..4 {
                prop_assert_eq!(one.first_seen(liars), other.first_seen(liars));
            }
        }

        #[test]
        fn a_further_word_never_moves_the_date_later(words in vec((0..8_u8, sighting()), 1..20), more in (0..8_u8, sighting())) {
            let before = all(words.clone()).first_seen(1);
            let after = all(words.into_iter().chain([more])).first_seen(1);
            prop_assert!(before.is_none() || after <= before);
        }
    }
}
