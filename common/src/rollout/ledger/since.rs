//! Since when grants are held up: what `why` tells beside the reason.

use super::{Ledger, LedgerAct, LedgerEntry};
use crate::time::WallTime;

/// Since when, by the coordinator's wall clock, nothing is granted in a rollout. Each is `None` while its reason does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Since {
    /// Paused.
    pub paused: Option<Held>,
    /// Halted.
    pub halted: Option<WallTime>,
    /// Stopped by an order of its own.
    pub stopped: Option<Held>,
}

/// When somebody held it up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// When.
    pub at: WallTime,
    /// Who, as they say; "an operator" if the ledger has an order from elsewhere.
    pub by: String,
}

impl Ledger {
    /// Notes when a reason began or ended to hold. Called after the rest of `entry` was folded.
    pub(super) fn note_since(&mut self, entry: &LedgerEntry) {
        let rollout = match &entry.act {
            LedgerAct::Paused { rollout, .. }
            | LedgerAct::Resumed { rollout, .. }
            | LedgerAct::Halted { rollout, .. }
            | LedgerAct::Stopped { rollout, .. } => Some(*rollout),
            LedgerAct::Started(rollout) => Some(rollout.id),
            LedgerAct::Ordered { .. } => None,
            _ => return,
        };
        // An order of an operator elsewhere may be for any rollout, or for all. They are rare.
        let touched = self.rollouts.iter_mut().filter(|(id, _)| rollout.is_none_or(|only| only == **id));
        let by = match &entry.act {
            LedgerAct::Paused { by, .. } | LedgerAct::Stopped { by, .. } => by,
            _ => "an operator",
        };
        let begun = |holds: bool, known: Option<WallTime>| holds.then(|| known.unwrap_or(entry.at));
        let held = |holds: bool, known: Option<Held>| {
            holds.then(|| known.unwrap_or_else(|| Held { at: entry.at, by: by.to_owned() }))
        };
        for (_, state) in touched {
            let Since { paused, halted, stopped } = core::mem::take(&mut state.since);
            state.since = Since {
                paused: held(state.paused, paused),
                halted: begun(state.halted, halted),
                stopped: held(state.stopped.is_some(), stopped),
            };
        }
        self.stopped_all_since = begun(self.stopped_all().is_some(), self.stopped_all_since);
    }
}
