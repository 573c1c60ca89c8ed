//! When the faults heal, everything comes to an end. What is demanded is decided by the world, which knows who still can.

use std::collections::BTreeMap;

use patchmesh_common::id::RolloutId;

use super::{Promise, Record, Seen};
use crate::truth::Truth;

/// The promise.
pub(super) const STATEMENT: &str = "when the faults heal, every view converges and every rollout ends; a host that never returns ends \
    it as CompletedWithLost";

/// Watches that what has ended stays ended.
#[derive(Default)]
pub(super) struct Liveness {
    ended: BTreeMap<(u32, RolloutId), u64>,
}

impl Promise for Liveness {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        match seen.truth {
            Truth::Ended(rollout) => {
                self.ended.insert((seen.spot, *rollout), seen.at);
                record.demand("liveness", seen.at, &[seen.spot], true, String::new);
            }
            Truth::GoSaved { rollout, .. } => {
                let ended = self.ended.get(&(seen.spot, *rollout));
                record.demand("liveness", seen.at, &[seen.spot], ended.is_none(), || {
                    format!("rollout {rollout} granted after it had ended")
                });
            }
            _ => {}
        }
    }

    fn replaced(&mut self, spot: u32, _: &super::DeskBook) {
        self.ended.retain(|(other, _), _| *other != spot);
    }
}
