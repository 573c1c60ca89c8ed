//! The judge's books of gates after a ring.

use std::collections::{BTreeMap, BTreeSet};

use crate::rollout::ring_gate::RingVerdict;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RingBooks {
    /// By ring, the last asking, and whether it waits for its answer.
    asked: BTreeMap<u16, (u32, bool)>,
    passed: BTreeSet<u16>,
    failed: BTreeSet<u16>,
}

impl RingBooks {
    pub(super) fn has_passed(&self, ring: u16) -> bool {
        self.passed.contains(&ring)
    }

    /// Whether any ring failed.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    pub(super) fn asked(&mut self, ring: u16, attempt: u32) -> Result<(), String> {
        let before = self.asked.insert(ring, (attempt, true)).map_or(0, |(attempt, _)| attempt);
        let new = before.checked_add(1) == Some(attempt);
        if new { Ok(()) } else { Err(format!("gates of ring {ring} were asked as attempt {attempt} after {before}")) }
    }

    pub(super) fn gated(&mut self, ring: u16, attempt: u32, verdict: &RingVerdict) -> Result<(), String> {
        if self.asked.insert(ring, (attempt, false)) != Some((attempt, true)) {
            return Err(format!("gates of ring {ring} were answered as attempt {attempt}, which was not asked"));
        }
        let kept = if *verdict == RingVerdict::Passed { &mut self.passed } else { &mut self.failed };
        kept.insert(ring);
        Ok(())
    }

    /// What the ring showed before counts no more.
    pub(super) fn baked_again(&mut self, ring: u16) {
        self.passed.remove(&ring);
        self.asked.entry(ring).and_modify(|(_, open)| *open = false);
    }

    /// Nor what it and those after it showed before one of its hosts began, or said what it did.
    pub(super) fn changed(&mut self, ring: u16) {
        self.passed.retain(|passed| *passed < ring);
        self.asked.range_mut(ring..).for_each(|(_, (_, open))| *open = false);
    }
}
