//! One live lease per host, and nothing under an old or a twin's epoch.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{
    id::{Epoch, LeaseId},
    time::BootTime,
};

use super::{Books, DeskBook, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "at most one live lease per host; no host acts under an epoch lower than the highest it saved, or \
    equal to it but of another incarnation; once a host has saved that a lease was released, it begins no disruptive step under it; \
    a coordinator on a copied or restored store saves no Go in the first 30 s after it started or came back, neither a Go nor an \
    epoch for five minutes after it heard that a host which had adopted its epoch, or any host after it jumped three times, or \
    once after it came back, obeys another one's";

/// How long whoever has a copy listens before it grants anything.
const LISTENS: Duration = Duration::from_secs(30);
/// How long it leaves the field to another one that is at work.
const STANDS_BACK: Duration = Duration::from_secs(300);

/// So often it jumps above the epochs of others before it leaves the field.
const JUMPS: u32 = 3;

/// A coordinator on a copy, by the clock of its machine.
struct Copy {
    listens: BootTime,
    /// Until when it leaves the field, if it heard of another one.
    back: Option<BootTime>,
    /// How often it may still jump before any host's word makes it leave the field; the epoch of its start is one of them.
    jumps: u32,
}

impl Copy {
    /// It hears that a host obeys another one.
    fn hears(&mut self, now: BootTime, adopted: bool) {
        if adopted || self.jumps == 0 {
            self.back.get_or_insert(now.plus(STANDS_BACK));
        }
    }

    /// It opens an epoch. Whether it may.
    fn opens(&mut self, now: BootTime) -> bool {
        match self.back.take() {
            Some(until) => {
                (self.listens, self.jumps) = (now.plus(LISTENS), 1);
                now >= until
            }
            None => {
                let may = self.jumps > 0;
                self.jumps = self.jumps.saturating_sub(1);
                may
            }
        }
    }
}

/// Remembers the highest epoch and the live lease of every host.
#[derive(Default)]
pub(super) struct Fencing {
    saved: BTreeMap<Spot, Epoch>,
    live: BTreeMap<Spot, LeaseId>,
    released: BTreeSet<(Spot, LeaseId)>,
    copies: BTreeMap<Spot, Copy>,
}

impl Promise for Fencing {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, .. } = seen;
        match truth {
            Truth::EpochSaved(epoch) => {
                let before = self.saved.insert(spot, *epoch);
                let grew = before.is_none_or(|before| epoch.rank() > before.rank());
                record.demand("fencing", at, &[spot], grew, || format!("{epoch:?} was saved over {before:?}"));
            }
            Truth::Granted { lease, epoch, .. } => {
                let saved = self.saved.get(&spot);
                record.demand("fencing", at, &[spot], saved == Some(epoch), || {
                    format!("a run began under {epoch:?}, saved is {saved:?}")
                });
                let other = self.live.insert(spot, *lease);
                record.demand("fencing", at, &[spot], other.is_none(), || {
                    format!("lease {lease} began while {other:?} was live")
                });
            }
            Truth::ReleaseSaved(lease) => {
                self.released.insert((spot, *lease));
            }
            Truth::Step { lease, step, .. } => {
                let fenced = self.released.contains(&(spot, *lease));
                record.demand("fencing", at, &[spot], !fenced, || {
                    format!("{step:?} began under lease {lease} although its release was saved")
                });
            }
            Truth::CopyStarted(now) => {
                self.copies.insert(spot, Copy { listens: now.plus(LISTENS), back: None, jumps: JUMPS + 1 });
            }
            Truth::RivalHeard { now, adopted } => {
                if let Some(copy) = self.copies.get_mut(&spot) {
                    copy.hears(*now, *adopted);
                }
            }
            Truth::CopyOpened(now) => {
                if let Some(copy) = self.copies.get_mut(&spot) {
                    let back = copy.back;
                    record.demand("fencing", at, &[spot], copy.opens(*now), || {
                        format!(
                            "a coordinator on a copy opened an epoch at {now:?} and had to leave the field, until {back:?}"
                        )
                    });
                }
            }
            Truth::GoSaved { lease, now, .. } => {
                if let Some(Copy { listens, back, .. }) = self.copies.get(&spot) {
                    let may = *listens <= now.boot && back.is_none();
                    record.demand("fencing", at, &[spot], may, || {
                        format!(
                            "a coordinator on a copy saved the Go of lease {lease} at {:?}, listened until {listens:?} and was to \
                             stand back until {back:?}",
                            now.boot
                        )
                    });
                }
            }
            Truth::Settled { lease, .. } if self.live.get(&spot) == Some(lease) => {
                self.live.remove(&spot);
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, _: &DeskBook) {
        self.copies.remove(&spot);
    }

    fn recount(&self, books: &Books) -> Option<String> {
        let host = books.hosts.iter().find(|host| self.saved.get(&host.spot) != host.epoch.as_ref())?;
        Some(format!("machine {} saved {:?}, counted {:?}", host.spot, host.epoch, self.saved.get(&host.spot)))
    }
}
