//! When the faults heal, everything comes to an end. What is demanded is decided by the world, which knows who still can.

use std::collections::BTreeMap;

use patchmesh_common::{
    id::{BootId, RolloutId},
    poison::{Abort, Poison, TO_QUARANTINE},
    time::WallTime,
};

use super::{Promise, Record, Seen};
use crate::truth::{Spot, Truth};

/// The promise.
pub(super) const STATEMENT: &str = "when the faults heal, every view converges and every rollout ends; a host that never returns ends \
    it as CompletedWithLost; no message kills a daemon a third time, and a daemon that died three times in ten minutes believes \
    nobody and begins no run for an hour; whatever is due of a policy is started, or told why not";

/// Watches that what has ended stays ended, and what daemons die of.
#[derive(Default)]
pub(super) struct Liveness {
    ended: BTreeMap<(Spot, RolloutId), u64>,
    /// The last death, until the next start: in a new boot nothing is known of it.
    dead: BTreeMap<Spot, (BootId, u32, WallTime)>,
    /// How often a daemon died of a message in a boot that it then saw again.
    deaths: BTreeMap<(Spot, u32), usize>,
    /// What every daemon should remember.
    books: BTreeMap<Spot, Poison>,
}

impl Liveness {
    /// Demands that no safe mode is on by the wall clock `now`, where it ever was.
    fn demand_awake(&self, seen: Seen<'_>, now: WallTime, record: &mut Record, text: impl FnOnce() -> String) {
        if let Some(book) = self.books.get(&seen.spot) {
            let kept = book.safe_until(now).is_none();
            record.demand("liveness", seen.at, &[seen.spot], kept, text);
        }
    }
}

impl Promise for Liveness {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::Ended { rollout, .. } => {
                self.ended.insert((seen.spot, *rollout), seen.at);
                record.demand("liveness", seen.at, &[seen.spot], true, String::new);
            }
            Truth::GoSaved { rollout, .. } => {
                let ended = self.ended.get(&(seen.spot, *rollout));
                record.demand("liveness", seen.at, &[seen.spot], ended.is_none(), || {
                    format!("rollout {rollout} granted after it had ended")
                });
            }
            Truth::Aborted { poison, boot, at } => {
                let before = self.deaths.get(&(seen.spot, *poison)).copied().unwrap_or(0);
                record.demand("liveness", seen.at, &[seen.spot], before < TO_QUARANTINE, || {
                    format!("a daemon died of poison {poison} after it had died of it {before} times")
                });
                self.dead.insert(seen.spot, (*boot, *poison, *at));
            }
            Truth::Started { boot, at } => {
                let dead = self.dead.remove(&seen.spot).filter(|(other, ..)| other == boot);
                if let Some((_, poison, died)) = dead {
                    *self.deaths.entry((seen.spot, poison)).or_default() += 1;
                    let abort = Abort { at: died.min(*at), in_hand: Vec::new() };
                    self.books.entry(seen.spot).or_default().push(abort);
                }
            }
            Truth::Granted { lease, now, .. } => {
                self.demand_awake(seen, now.wall, record, || format!("a host began lease {lease} in safe mode"));
            }
            Truth::Believed { author, wall, .. } if *author != seen.node => {
                self.demand_awake(seen, *wall, record, || format!("a daemon believed {author} in safe mode"));
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: u32, _: &super::DeskBook) {
        self.ended.retain(|(other, _), _| *other != spot);
    }
}
