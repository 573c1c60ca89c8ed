//! What a process that died over a message does with that message when it lives again, so that one message cannot keep a fleet
//! down.
//!
//! Whoever handles a message says so first, by its [`Name`], in a place that outlives the process. A next life finds there what
//! the last one died of: an [`Abort`]. Two aborts over one message quarantine it: it is dropped unread. Three aborts in ten
//! minutes, over whatever, start *safe mode*: no record of others is applied and no lease is taken or granted; STOPs and
//! reports still are.

use core::{fmt, time::Duration};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::{
    gossip::NodeRecord,
    id::hex,
    seal::{Payload as _, Sealed},
    time::WallTime,
    wire,
};

/// So many aborts over one message quarantine it: one may be a coincidence.
pub const TO_QUARANTINE: usize = 2;
/// So many aborts within [`WITHIN`] start safe mode.
pub const TO_BE_SAFE: usize = 3;
/// See [`TO_BE_SAFE`].
pub const WITHIN: Duration = Duration::from_secs(10 * 60);
/// How long safe mode lasts after the last abort: long enough for people to see it on every host, and short enough that a
/// fleet without people comes back the same night.
pub const SAFE_FOR: Duration = Duration::from_secs(60 * 60);
/// Aborts that are remembered; what is quarantined by older ones is free again.
pub const REMEMBERED: usize = 64;
/// Names of one abort that are kept: as many as one exchange has records.
pub const MAX_IN_HAND: usize = crate::gossip::MAX_DELTA;
/// Tags whose name begins so are the daemon's own: with them a host says in its record how it is.
pub const OWN_TAGS: &str = "patchmesh/";
/// The tag of a host in safe mode; its value says until when.
pub const SAFE_TAG: &str = "patchmesh/safe-mode";
/// The tag of a host that quarantined messages; its value says how many and which.
pub const QUARANTINE_TAG: &str = "patchmesh/quarantined";
/// Names in the value of [`QUARANTINE_TAG`]; the rest is counted, because the tag travels in every record.
const TOLD: usize = 3;

/// Names a message by a hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub [u8; 32]);

impl Name {
    /// Of these very bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Of what a sealed record says, apart from when: authors seal the same content anew all the time, and what is poison stays
    /// poison. Sealed bytes that are no record are named as they are. Reads the bytes: whoever fears them holds
    /// [`Name::of_bytes`] meanwhile.
    pub fn of_record(sealed: &Sealed) -> Self {
        match wire::decode::<NodeRecord>(&sealed.body, NodeRecord::LIMIT) {
            Ok(record) => Self::of_bytes(&wire::encode(&(sealed.author, record.body))),
            Err(_) => Self::of_bytes(&wire::encode(sealed)),
        }
    }

    /// From the 64 hex digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        crate::id::unhex(text)?.try_into().ok().map(Self)
    }

    /// The first eight hex digits, for people.
    pub fn short(&self) -> String {
        hex(&self.0[..4])
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.short())
    }
}

/// One death of the process that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Abort {
    /// When, by wall clock.
    pub at: WallTime,
    /// What was in hand; nothing if it died of something else.
    pub in_hand: Vec<Name>,
}

/// How a message is to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// As all others.
    Free,
    /// It was in hand when the process died, perhaps with others: handled alone, so that a next death names the right one.
    Suspect,
    /// Dropped unread.
    Quarantined,
}

/// What is remembered of deaths. Never changes while a process lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Poison {
    aborts: VecDeque<Abort>,
    counts: BTreeMap<Name, usize>,
}

/// Messages that came together, by how they are to be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sorted<T> {
    /// At once.
    pub together: Vec<(Name, T)>,
    /// One after the other.
    pub alone: Vec<(Name, T)>,
    /// Not at all.
    pub dropped: Vec<Name>,
}

impl Poison {
    /// The fold of `aborts`, oldest first; of more than [`REMEMBERED`] the newest.
    pub fn fold(aborts: impl IntoIterator<Item = Abort>) -> Self {
        let mut poison = Self::default();
        aborts.into_iter().for_each(|abort| poison.push(abort));
        poison
    }

    /// One more death, the newest.
    pub fn push(&mut self, mut abort: Abort) {
        abort.in_hand.truncate(MAX_IN_HAND);
        abort.in_hand.sort();
        abort.in_hand.dedup();
        abort.in_hand.iter().for_each(|name| *self.counts.entry(*name).or_default() += 1);
        self.aborts.push_back(abort);
        while self.aborts.len() > REMEMBERED {
            for name in self.aborts.pop_front().into_iter().flat_map(|oldest| oldest.in_hand) {
                if let Some(count) = self.counts.get_mut(&name) {
                    *count -= 1;
                }
            }
            self.counts.retain(|_, count| *count > 0);
        }
    }

    /// The remembered deaths, oldest first.
    pub fn aborts(&self) -> impl ExactSizeIterator<Item = &Abort> {
        self.aborts.iter()
    }

    /// How the message of this name is to be handled.
    pub fn standing(&self, name: &Name) -> Standing {
        match self.counts.get(name) {
            None => Standing::Free,
            Some(count) if *count < TO_QUARANTINE => Standing::Suspect,
            Some(_) => Standing::Quarantined,
        }
    }

    /// Sorts messages that came together by their standing, in the order in which they came.
    pub fn sort<T>(&self, messages: impl IntoIterator<Item = (Name, T)>) -> Sorted<T> {
        let mut sorted = Sorted { together: Vec::new(), alone: Vec::new(), dropped: Vec::new() };
        for (name, message) in messages {
            match self.standing(&name) {
                Standing::Free => sorted.together.push((name, message)),
                Standing::Suspect => sorted.alone.push((name, message)),
                Standing::Quarantined => sorted.dropped.push(name),
            }
        }
        sorted
    }

    /// What is dropped unread.
    pub fn quarantined(&self) -> BTreeSet<Name> {
        self.counts.iter().filter(|(_, count)| **count >= TO_QUARANTINE).map(|(name, _)| *name).collect()
    }

    /// Until when safe mode lasts; `None` if it does not at `now`. A clock that was set back behind the last abort ends it: that
    /// is a rare convenience, and the opposite would be safe mode for years.
    pub fn safe_until(&self, now: WallTime) -> Option<WallTime> {
        let last = self.aborts.back()?.at;
        let since = WallTime(last.0.saturating_sub(i64::try_from(WITHIN.as_millis()).unwrap_or(i64::MAX)));
        let close = self.aborts.iter().rev().take_while(|abort| abort.at > since && abort.at <= last).count();
        let until = last.plus(SAFE_FOR);
        (close >= TO_BE_SAFE && last <= now && now < until).then_some(until)
    }

    /// What the host says of itself because of this, as tags of its record.
    pub fn tags(&self, now: WallTime) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        if let Some(until) = self.safe_until(now) {
            tags.insert(SAFE_TAG.to_owned(), format!("until {}", until.rfc3339()));
        }
        let quarantined = self.quarantined();
        if !quarantined.is_empty() {
            let names: Vec<_> = quarantined.iter().take(TOLD).map(Name::short).collect();
            let more = if quarantined.len() > TOLD { ", …" } else { "" };
            tags.insert(QUARANTINE_TAG.to_owned(), format!("{}: {}{more}", quarantined.len(), names.join(", ")));
        }
        tags
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        gossip::RecordBody,
        id::{Incarnation, MeshId},
        seal::Ed25519Signer,
    };

    fn name(n: u8) -> Name {
        Name([n; 32])
    }

    fn abort(seconds: i64, in_hand: &[u8]) -> Abort {
        Abort { at: WallTime(seconds * 1000), in_hand: in_hand.iter().map(|n| name(*n)).collect() }
    }

    fn record(version: u64, tag: &str) -> Sealed {
        let body = RecordBody { tags: BTreeMap::from([("t".into(), tag.into())]), ..RecordBody::default() };
        let (mesh, incarnation) = (MeshId([1; 32]), Incarnation(version));
        let sealed_at = WallTime(version as i64);
        Sealed::seal(&Ed25519Signer::from_secret(&[7; 32]), &NodeRecord { mesh, incarnation, version, sealed_at, body })
    }

    #[test]
    fn a_record_keeps_its_name_until_it_says_something_else() {
        assert_eq!(Name::of_record(&record(1, "a")), Name::of_record(&record(2, "a")));
        assert_ne!(Name::of_record(&record(1, "a")), Name::of_record(&record(1, "b")));
        let mut rubbish = record(1, "a");
        rubbish.body.truncate(9);
        assert_eq!(Name::of_record(&rubbish), Name::of_bytes(&wire::encode(&rubbish)));
        let name = Name::of_record(&rubbish);
        assert_eq!(Name::parse(&name.to_string()), Some(name));
    }

    #[test]
    fn the_second_abort_over_one_message_quarantines_it_and_no_other() {
        let mut poison = Poison::fold([abort(0, &[1, 2, 3])]);
        let sorted = poison.sort([(name(2), 'b'), (name(4), 'd'), (name(3), 'c')]);
        assert_eq!(sorted.together, [(name(4), 'd')]);
        assert_eq!(sorted.alone, [(name(2), 'b'), (name(3), 'c')], "each of them is handled alone from now on");
        poison.push(abort(9000, &[2]));
        assert_eq!(poison.quarantined(), BTreeSet::from([name(2)]));
        assert_eq!(poison.sort([(name(2), ())]).dropped, [name(2)]);
        assert_eq!(poison.standing(&name(1)), Standing::Suspect);
    }

    #[test]
    fn one_name_twice_in_one_hand_is_one_abort() {
        assert_eq!(Poison::fold([abort(0, &[1, 1])]).standing(&name(1)), Standing::Suspect);
    }

    #[test]
    fn three_aborts_in_ten_minutes_are_safe_mode_for_an_hour() {
        let poison = Poison::fold([abort(0, &[]), abort(300, &[1]), abort(599, &[])]);
        assert_eq!(poison.safe_until(WallTime(600_000)), Some(WallTime(599_000).plus(SAFE_FOR)));
        assert_eq!(poison.safe_until(WallTime(599_000).plus(SAFE_FOR)), None, "it ends by itself");
        assert_eq!(poison.safe_until(WallTime(598_000)), None, "the clock was set back");
        assert!(poison.tags(WallTime(600_000))[SAFE_TAG].starts_with("until 1970-01-01T01:"));
        let slower = Poison::fold([abort(0, &[]), abort(300, &[]), abort(600, &[])]);
        assert_eq!(slower.safe_until(WallTime(601_000)), None, "they are not within ten minutes");
        assert_eq!(Poison::fold([abort(0, &[]), abort(1, &[])]).safe_until(WallTime(2000)), None);
        assert!(slower.tags(WallTime(601_000)).is_empty());
    }

    #[test]
    fn what_is_told_stays_small() {
        let many: Vec<u8> = (0..60).collect();
        let poison = Poison::fold([abort(0, &many), abort(1, &many), abort(2, &many)]);
        let tags = poison.tags(WallTime(3000));
        assert_eq!(tags[QUARANTINE_TAG], "60: 00000000, 01010101, 02020202, …");
        assert!(wire::size(&tags) < 128, "it travels in every record");
        assert!(tags.keys().all(|tag| tag.starts_with(OWN_TAGS)));
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_remembered_aborts(hands in prop::collection::vec(prop::collection::vec(0u8..6, 0..4), 0..150)) {
            let poison = Poison::fold(hands.iter().map(|hand| abort(0, hand)));
            prop_assert!(poison.aborts().len() <= REMEMBERED);
            for n in 0..6 {
                let count = poison.aborts().filter(|abort| abort.in_hand.contains(&name(n))).count();
                prop_assert_eq!(poison.counts.get(&name(n)).copied().unwrap_or(0), count);
            }
        }
    }
}
