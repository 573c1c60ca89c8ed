//! Who was heard of lately.

use super::Gossip;
use crate::{gossip::Presence, id::NodeId, time::BootTime};

impl Gossip {
    /// Notes a sign of life. Nobody falls silent before the end of the silence that now begins.
    pub(super) fn hear_of(&mut self, node: NodeId, now: BootTime) {
        self.heard.insert(node, now);
        self.quiet_at = self.quiet_at.min(now.plus(self.settings.silent_after));
    }

    pub(super) fn judge_presence(&mut self, node: &NodeId, now: BootTime) -> bool {
        let heard = self.heard.get(node).is_some_and(|heard| now.since(*heard) < self.settings.silent_after);
        let alive = *node == self.me || heard || self.overlay.is_up(node);
        let presence = if alive { Presence::Alive } else { Presence::Silent };
        self.presence.insert(*node, presence) != Some(presence)
    }

    /// As [`Gossip::judge_presence`] of every member, in one walk over maps that have the same order. Also learns how long
    /// there is nothing to be judged again.
    pub(super) fn judge_all(&mut self, now: BootTime) -> bool {
        let (mut changed, mut missing) = (false, Vec::new());
        self.quiet_at = BootTime(u64::MAX);
        let mut heard = self.heard.iter().peekable();
        let mut known = self.presence.iter_mut().peekable();
        for (node, _) in self.view.members() {
            while heard.next_if(|(other, _)| *other < node).is_some() {}
            while known.next_if(|(other, _)| *other < node).is_some() {}
            let last = heard.peek().filter(|(other, _)| *other == node).map(|(_, at)| **at);
            let fresh = last.filter(|at| now.since(*at) < self.settings.silent_after);
            if let Some(at) = fresh {
                self.quiet_at = self.quiet_at.min(at.plus(self.settings.silent_after));
            }
            let alive = fresh.is_some() || *node == self.me || self.overlay.is_up(node);
            let presence = if alive { Presence::Alive } else { Presence::Silent };
            match known.next_if(|(other, _)| *other == node) {
                Some((_, before)) => changed |= core::mem::replace(before, presence) != presence,
                None => missing.push((*node, presence)),
            }
        }
        changed |= !missing.is_empty();
        self.presence.extend(missing);
        changed
    }
}
