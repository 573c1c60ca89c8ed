//! Part of liveness: what is due of a policy is started, or told why not.

use std::collections::{BTreeMap, BTreeSet};

use patchmesh_common::{rollout::Operation, time::WallTime};

use super::{DeskBook, Promise, Record, Seen};
use crate::truth::{PolicyRun, Spot, Truth};

/// Within so many milliseconds of a look that finds it due a run is started: as long as hosts may take to be asked, and a minute.
const SOON: u64 = 3 * 60_000;

type Key = (Spot, String, Operation);

/// Knows what is due, which runs every ledger has, and what coordinators say of those that they could not start.
#[derive(Default)]
pub(super) struct Recurring {
    /// The oldest time that is due and has no answer, and when it was seen to be due.
    open: BTreeMap<Key, (WallTime, u64)>,
    runs: BTreeSet<(Key, WallTime)>,
    /// What this process could not start.
    refused: BTreeMap<Key, WallTime>,
}

fn key(spot: Spot, run: &PolicyRun) -> Key {
    (spot, run.policy.clone(), run.operation)
}

impl Recurring {
    /// A time has a run or a reason. A later one makes up for those before.
    fn answered(&mut self, key: &Key, of: WallTime, at: u64, record: &mut Record) {
        if self.open.get(key).is_some_and(|(open, _)| *open <= of) {
            self.open.remove(key);
            record.demand("liveness", at, &[key.0], true, String::new);
        }
    }
}

impl Promise for Recurring {
    fn see(&mut self, seen: Seen<'_>, record: &mut Record) {
        let Seen { at, spot, truth, .. } = seen;
        match truth {
            Truth::RunStarted { run, .. } => {
                self.runs.insert((key(spot, run), run.of));
                // What was being planned for an earlier time when the open one came was on its way then, which passes it over.
                let open = self.open.get(&key(spot, run)).map_or(run.of, |(open, _)| *open);
                self.answered(&key(spot, run), run.of.max(open), at, record);
            }
            Truth::NotStarted { run, .. } => {
                self.refused.insert(key(spot, run), run.of);
                self.answered(&key(spot, run), run.of, at, record);
            }
            Truth::Due { run, busy } => {
                let key = key(spot, run);
                let run_since = self.runs.range((key.clone(), run.of)..=(key.clone(), WallTime::MAX)).next().is_some();
                let answered = *busy || run_since || self.refused.get(&key).is_some_and(|of| *of >= run.of);
                if !answered {
                    self.open.entry(key).or_insert((run.of, at));
                }
            }
            Truth::Started { .. } => self.refused.retain(|(other, ..), _| *other != spot),
            Truth::PoliciesDropped => self.open.clear(),
            _ => {}
        }
    }

    fn replaced(&mut self, spot: Spot, desk: &DeskBook) {
        self.runs.retain(|((other, ..), _)| *other != spot);
        let runs = desk.values().filter_map(|book| book.run.as_ref());
        self.runs.extend(runs.map(|run| (key(spot, run), run.of)));
    }

    fn overdue(&mut self, at: u64, record: &mut Record) {
        for ((spot, policy, operation), (of, _)) in self.open.extract_if(.., |_, (_, since)| at - *since > SOON) {
            record.demand("liveness", at, &[spot], false, || {
                format!("nothing was started for {} of {policy}, {operation:?}, and nobody says why", of.rfc3339())
            });
        }
    }
}
