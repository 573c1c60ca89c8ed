//! Links to neighbours: which are up, how their clocks stand, and whom to dial next.

use core::time::Duration;
use std::collections::BTreeMap;

use rand::Rng;

use crate::{id::NodeId, time::BootTime};

/// First wait after a dial that led nowhere; doubled by each further one. Short, because hosts of one fleet start together.
const DIAL_AGAIN: Duration = Duration::from_secs(1);
/// The longest such wait: a host that is off all night costs its neighbours one dial a minute.
const DIAL_AGAIN_MOST: Duration = Duration::from_secs(60);

/// A link that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Link {
    /// The peer's wall clock minus ours when it last spoke, in milliseconds.
    offset: i64,
}

/// A dial that has not become a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tried {
    again: BootTime,
    times: u32,
}

/// The overlay as this host keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Overlay {
    links: BTreeMap<NodeId, Link>,
    tried: BTreeMap<NodeId, Tried>,
}

impl Overlay {
    pub(super) fn up(&mut self, peer: NodeId, offset: i64) {
        self.tried.remove(&peer);
        self.links.insert(peer, Link { offset });
    }

    /// Whether there was such a link.
    pub(super) fn down(&mut self, peer: &NodeId) -> bool {
        self.links.remove(peer).is_some()
    }

    /// The peer spoke: its clock minus ours. Ignored from strangers.
    pub(super) fn heard(&mut self, peer: &NodeId, offset: i64) {
        if let Some(link) = self.links.get_mut(peer) {
            link.offset = offset;
        }
    }

    pub(super) fn is_up(&self, peer: &NodeId) -> bool {
        self.links.contains_key(peer)
    }

    pub(super) fn count(&self) -> usize {
        self.links.len()
    }

    /// Every neighbour.
    pub(super) fn all(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.links.keys().copied()
    }

    /// One neighbour, any.
    pub(super) fn any(&self, rng: &mut dyn Rng) -> Option<NodeId> {
        pick(rng, self.links.len()).and_then(|n| self.links.keys().nth(n)).copied()
    }

    /// How far the median clock of the neighbours, and of this host, is ahead of this host's, in milliseconds. `None` without
    /// neighbours: nobody to compare with.
    pub(super) fn skew(&self) -> Option<i64> {
        if self.links.is_empty() {
            return None;
        }
        let mut offsets: Vec<i64> = self.links.values().map(|link| link.offset).chain([0]).collect();
        offsets.sort_unstable();
        let (low, high) = (offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2]);
        Some(low.midpoint(high))
    }

    /// Whether a dial to `peer` is worth trying now.
    pub(super) fn may_dial(&self, peer: &NodeId, now: BootTime) -> bool {
        !self.is_up(peer) && self.tried.get(peer).is_none_or(|tried| now >= tried.again)
    }

    /// Notes a dial; until the link is up, the next one waits longer each time.
    pub(super) fn dialled(&mut self, peer: NodeId, now: BootTime) {
        let times = self.tried.get(&peer).map_or(0, |tried| tried.times);
        let wait = DIAL_AGAIN.saturating_mul(1 << times.min(6)).min(DIAL_AGAIN_MOST);
        self.tried.insert(peer, Tried { again: now.plus(wait), times: times.saturating_add(1) });
    }

    /// Forgets dials to peers that nobody knows any more.
    pub(super) fn retain(&mut self, known: impl Fn(&NodeId) -> bool) {
        self.tried.retain(|peer, _| known(peer));
    }
}

/// An index below `count`; `None` if there is none.
pub(super) fn pick(rng: &mut dyn Rng, count: usize) -> Option<usize> {
    let count = u64::try_from(count).ok().filter(|count| *count > 0)?;
    usize::try_from(rng.next_u64() % count).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u8) -> NodeId {
        NodeId([n; 32])
    }

    #[test]
    fn the_median_clock_counts_our_own() {
        let mut overlay = Overlay::default();
        assert_eq!(overlay.skew(), None);
        overlay.up(node(1), 40_000);
        assert_eq!(overlay.skew(), Some(20_000), "one against one: nobody knows who is right");
        overlay.up(node(2), 40_100);
        assert_eq!(overlay.skew(), Some(40_000));
        overlay.up(node(3), 100);
        overlay.heard(&node(2), -5);
        assert_eq!(overlay.skew(), Some(50), "one liar moves little");
        assert!(overlay.down(&node(1)) && !overlay.down(&node(1)));
    }

    #[test]
    fn dials_to_a_dead_host_thin_out_to_one_a_minute() {
        let mut overlay = Overlay::default();
        let (mut dials, peer) = (Vec::new(), node(1));
        for second in 0..300 {
            let now = BootTime(second * 1000);
            if overlay.may_dial(&peer, now) {
                overlay.dialled(peer, now);
                dials.push(second);
            }
        }
        assert_eq!(dials, [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]);
        overlay.up(peer, 0);
        assert!(!overlay.may_dial(&peer, BootTime(u64::MAX)));
        overlay.down(&peer);
        assert!(overlay.may_dial(&peer, BootTime(0)), "a link that was up starts afresh");
    }
}
