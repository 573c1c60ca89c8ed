//! What one ledger may take its rings to have shown: what was asked when it should have been, and of which nothing changed since.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::id::NodeId;

use crate::invariant::DeskRollout;

/// One asking.
#[derive(Clone, Copy)]
struct Asking {
    attempt: u32,
    /// Why it says nothing; `None` if it began when it should.
    early: Option<&'static str>,
    /// Whether nothing has changed since that it would have to show.
    counts: bool,
}

/// The gates of one rollout's rings, as one ledger has them.
#[derive(Default)]
pub(super) struct Shown {
    asked: BTreeMap<u16, Asking>,
    /// Rings that have really passed.
    passed: BTreeSet<u16>,
    /// One that has not: nothing begins any more.
    failed: Option<u16>,
    /// Hosts that this ledger granted, that have not really ended, and that it did not let go.
    at_work: BTreeSet<NodeId>,
    /// The last ring in which a host began, or was done.
    begun: Option<u16>,
}

impl Shown {
    /// What `book` says of it, but only what it was really shown as `is_true` knows.
    pub(super) fn of(
        book: &DeskRollout,
        is_true: impl Fn(u16, u32) -> bool,
        is_over: impl Fn(&NodeId) -> bool,
    ) -> Self {
        let passed = book.passed.iter().filter(|(ring, attempt)| is_true(**ring, **attempt));
        Self {
            passed: passed.map(|(ring, _)| *ring).collect(),
            at_work: book.held.keys().copied().filter(|host| !is_over(host)).collect(),
            begun: book.begun,
            ..Self::default()
        }
    }

    pub(super) fn has_passed(&self, ring: u16) -> bool {
        self.passed.contains(&ring)
    }

    pub(super) fn failed(&self) -> Option<u16> {
        self.failed
    }

    /// The last ring in which anything was done, if it has not shown that all is well.
    pub(super) fn unshown(&self) -> Option<u16> {
        self.begun.filter(|ring| !self.passed.contains(ring))
    }

    /// Whether nobody whom this ledger granted and waits for is at work.
    pub(super) fn is_quiet(&self) -> bool {
        self.at_work.is_empty()
    }

    /// The host's run is over, or nobody waits for it.
    pub(super) fn over(&mut self, host: &NodeId) {
        self.at_work.remove(host);
    }

    /// A host of `ring` gets a `Go`; it is `awaited` if it has not really ended, and was not let go.
    pub(super) fn granted(&mut self, ring: u16, host: NodeId, awaited: bool) {
        self.at_work.extend(awaited.then_some(host));
        self.changes(ring);
    }

    /// A host of `ring` begins, or its report comes: what that ring and those after it showed says nothing any more.
    pub(super) fn changes(&mut self, ring: u16) {
        self.begun = self.begun.max(Some(ring));
        self.passed.retain(|passed| *passed < ring);
        self.asked.range_mut(ring..).for_each(|(_, asking)| asking.counts = false);
    }

    /// The ring begins to bake: the same of it.
    pub(super) fn bakes(&mut self, ring: u16) {
        self.passed.remove(&ring);
        self.asked.remove(&ring);
    }

    pub(super) fn asked(&mut self, ring: u16, attempt: u32, early: Option<&'static str>) {
        self.asked.insert(ring, Asking { attempt, early, counts: true });
    }

    /// The asking ends, and all was well or not. Whether the ring has passed by that; an error if it fails what it should not have been
    /// asked.
    pub(super) fn shown(&mut self, ring: u16, attempt: u32, ok: bool) -> Result<bool, &'static str> {
        let asking = self.asked.get(&ring).filter(|asking| asking.attempt == attempt && asking.counts);
        let Some(asking) = asking else { return Ok(false) };
        match asking.early {
            // Only what it stops upon does harm here; upon what passed too early nothing may begin or end.
            Some(early) if !ok => Err(early),
            Some(_) => Ok(false),
            None if ok => {
                self.passed.insert(ring);
                Ok(true)
            }
            None => {
                self.failed = Some(ring);
                Ok(false)
            }
        }
    }
}
