//! What hosts and the coordinator have written down, read back by the tests.

use std::{collections::BTreeMap, path::Path};

use patchmesh_common::{
    id::LeaseId,
    rollout::ledger::{LedgerAct, LedgerEntry},
    run::{
        journal::JournalEntry,
        message::{Answer, Report, ToCoordinator},
    },
    seal::{Ed25519, Sealed},
    wire,
};
use patchmesh_node::store::log::{self, MAX_FRAME_BYTES};
use serde::Deserialize;

/// One granted lease, by its host's own journal.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) lease: LeaseId,
    /// Milliseconds of the wall clock.
    pub(crate) granted: i64,
    pub(crate) settled: Option<i64>,
    pub(crate) report: Option<Report>,
}

/// Every whole entry of a host's journal so far.
pub(crate) fn journal_of(home: &Path) -> Vec<JournalEntry> {
    let frames = log::read(&home.join("state/run.log")).unwrap_or_default();
    frames.iter().map(|frame| JournalEntry::decode(frame).expect("an entry")).collect()
}

/// Every lease that `host` accepted, oldest first.
pub(crate) fn runs_of(demo: &Path, host: &str) -> Vec<Ran> {
    let mut runs: Vec<Ran> = Vec::new();
    for entry in journal_of(&demo.join("hosts").join(host)) {
        match entry {
            JournalEntry::Granted { lease, wall, .. } => {
                runs.push(Ran { lease: lease.id, granted: wall.0, settled: None, report: None });
            }
            JournalEntry::Settled(report) => {
                let ran = runs.last_mut().expect("granted before it settles");
                (ran.settled, ran.report) = (Some(report.ended.0), Some(*report));
            }
            _ => {}
        }
    }
    runs
}

/// A frame of the ledger.
#[derive(Deserialize)]
struct Link {
    #[serde(rename = "previous")]
    _previous: [u8; 32],
    entry: Sealed,
}

/// How many reports of each lease the coordinator's ledger holds.
pub(crate) fn reports_in_ledger(demo: &Path) -> BTreeMap<LeaseId, usize> {
    let mut found = BTreeMap::new();
    for frame in log::read(&demo.join("coordinator/ledger.log")).expect("the ledger") {
        let link: Link = wire::decode(&frame, MAX_FRAME_BYTES).expect("a link");
        let entry: LedgerEntry = link.entry.open(&Ed25519).expect("sealed");
        if let LedgerAct::Reported { evidence } = entry.act {
            let answer: Answer = evidence.open(&Ed25519).expect("the host's own seal");
            if let ToCoordinator::Reported(report) = answer.body {
                *found.entry(report.lease).or_default() += 1;
            }
        }
    }
    found
}

/// Audits the coordinator's ledger; how many hosts' testimonies it found.
pub(crate) fn audit_ledger(demo: &Path) -> u64 {
    let audited = patchmesh_coordinator::audit::verify(&demo.join("coordinator")).expect("a ledger");
    if let Err(broken) = patchmesh_coordinator::audit::verdict(&audited) {
        panic!("{broken}: {audited:#?}");
    }
    assert_eq!(audited.excused, [], "nobody released anything");
    audited.testimonies.checked
}
