//! One live lease per host, and nothing under an old or a twin's epoch.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::id::{Epoch, LeaseId};

use super::{Books, Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "at most one live lease per host; no host acts under an epoch lower than the highest it saved, or \
    equal to it but of another incarnation; once a host has saved that a lease was released, it begins no disruptive step under it";

/// Remembers the highest epoch and the live lease of every host.
#[derive(Default)]
pub(super) struct Fencing {
    saved: BTreeMap<Spot, Epoch>,
    live: BTreeMap<Spot, LeaseId>,
    released: BTreeSet<(Spot, LeaseId)>,
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
            Truth::Settled { lease, .. } if self.live.get(&spot) == Some(lease) => {
                self.live.remove(&spot);
            }
            _ => {}
        }
    }

    fn recount(&self, books: &Books) -> Option<String> {
        let host = books.hosts.iter().find(|host| self.saved.get(&host.spot) != host.epoch.as_ref())?;
        Some(format!("machine {} saved {:?}, counted {:?}", host.spot, host.epoch, self.saved.get(&host.spot)))
    }
}
