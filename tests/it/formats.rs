//! What earlier releases wrote is read to the state that they had.
//!
//! `tests/golden/VERSION` holds a run journal and a ledger that release wrote, and in `state.txt` what they said to it. A new
//! version in `Cargo.toml` needs a folder of its own: run the ignored test, look at what it wrote, and commit it. Folders of
//! earlier releases are never changed; what is told of them may grow with the machines, and then only by lines.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use patchmesh_common::{
    id::{BootId, Epoch, Incarnation, LeaseId, NodeId},
    rollout::ledger::{Ledger, LedgerAct, LedgerEntry, Progress},
    run::{
        Phase,
        journal::{Fault, Journal, JournalEntry, StepResult},
        message::{Answer, Command, Lease, Outcome, Report, RunError, StopOrder, ToCoordinator, ToHost},
    },
    seal::{Ed25519, Ed25519Signer, Sealed, Signer as _},
    time::{BootInstant, BootTime, WallTime},
    wire,
};
use patchmesh_coordinator::ledger::LedgerFile;
use patchmesh_node::store::log::{self, Log};
use serde::de::DeserializeOwned;

const JOURNAL: &str = "run.log";
const LEDGER: &str = "ledger.log";
const STATE: &str = "state.txt";
const WALL: WallTime = WallTime(1_790_000_000_000);

fn folder(version: &str) -> PathBuf {
    crate::own("golden").join(version)
}

fn coordinator() -> Ed25519Signer {
    Ed25519Signer::from_secret(&[7; 32])
}

/// A message of the wire's golden bytes.
fn golden<T: DeserializeOwned>(name: &str) -> T {
    let lines = include_str!("../../common/src/wire/golden.txt").lines();
    let found = lines.filter_map(|line| line.split_once(' ')).find(|(known, _)| *known == name);
    wire::decode(&patchmesh_common::id::unhex(found.unwrap().1).unwrap(), usize::MAX).unwrap()
}

fn reported() -> (Answer, Box<Report>) {
    let answer: Answer = golden("answer.reported");
    let ToCoordinator::Reported(report) = answer.body.clone() else { panic!("not a report: {answer:?}") };
    (answer, report)
}

/// Every kind of entry: one run to its end, and one that is cut off in its transaction.
fn journal() -> Vec<JournalEntry> {
    let at = BootInstant { boot_id: BootId([0xb0; 16]), at: BootTime(300) };
    let ToHost::Offer(lease) = golden::<Command>("command.offer").body else { panic!("not an offer") };
    let granted = |id: u8| JournalEntry::Granted {
        lease: Box::new(Lease { id: LeaseId([id; 16]), ..(*lease).clone() }),
        coordinator: NodeId([3; 32]),
        at,
        wall: WALL,
        head: Default::default(),
    };
    let began = |phase, attempt| JournalEntry::Began { phase, attempt, at, wall: WALL };
    let ended = |phase, result| JournalEntry::Ended { phase, attempt: 1, at, wall: WALL, result };
    let error = RunError { code: "hook-failed".into(), text: "no".into(), log: "l".into() };
    let fault = Fault { outcome: Outcome::Failed, error };
    let bad = StepResult { fault: Some(fault.clone()), output: "tail".into(), ..StepResult::default() };
    vec![
        JournalEntry::Epoch(Epoch { serial: 1, counter: 2, incarnation: Incarnation(3) }),
        JournalEntry::Stop(golden::<StopOrder>("stop-order")),
        JournalEntry::Refused { lease: LeaseId([9; 16]) },
        granted(4),
        began(Phase::PreInstall, 1),
        ended(Phase::PreInstall, bad),
        JournalEntry::Barred(fault),
        began(Phase::OnExit, 1),
        ended(Phase::OnExit, StepResult::default()),
        JournalEntry::Settled(reported().1),
        JournalEntry::Acknowledged { lease: LeaseId([4; 16]) },
        granted(10),
        began(Phase::PreInstall, 1),
        ended(Phase::PreInstall, StepResult::default()),
        began(Phase::Transaction, 1),
        JournalEntry::Released { lease: LeaseId([10; 16]) },
    ]
}

/// Every kind of entry, around one host, which in the end did it all the same.
fn ledger() -> Vec<LedgerEntry> {
    let entry = |name: &str| golden::<LedgerEntry>(&format!("ledger.{name}"));
    let (mut answer, mut report) = reported();
    (report.outcome, report.lease) = (Outcome::Succeeded, LeaseId([10; 16]));
    answer.body = ToCoordinator::Reported(report);
    // Whose signature it is was checked before it was saved; nobody has the key of the golden bytes' host.
    let evidence = Sealed { author: NodeId([2; 32]), ..Sealed::seal(&coordinator(), &answer) };
    let mut entries: Vec<_> =
        ["epoch-opened", "adopted", "started", "paused", "resumed", "granted", "returned", "refused"].map(entry).into();
    let mut again = entry("granted");
    if let LedgerAct::Granted { lease, attempt, .. } = &mut again.act {
        (*lease, *attempt) = (LeaseId([10; 16]), 2);
    }
    entries.push(again);
    entries.push(LedgerEntry { at: WALL, act: LedgerAct::Reported { evidence } });
    entries.extend(["halted", "stopped", "ended", "released"].map(entry));
    entries
}

fn told(journal: &Journal, ledger: &Ledger) -> String {
    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    let epoch = |epoch: Option<Epoch>| epoch.map(|e| format!("{}.{}.{}", e.serial, e.counter, e.incarnation.0));
    line(format!("journal epoch {:?}", epoch(journal.epoch)));
    journal.stops.iter().for_each(|(scope, stop)| line(format!("journal stop {scope:?} {stop:?}")));
    journal.ended.iter().for_each(|lease| line(format!("journal ended {lease}")));
    journal.refused.iter().for_each(|lease| line(format!("journal refused {lease}")));
    for (rollout, told) in &journal.hooks {
        let told: BTreeMap<_, _> = told.iter().map(|(phase, attempt)| (phase.as_str(), attempt)).collect();
        line(format!("journal hooks of {rollout} {told:?}"));
    }
    if let Some(run) = &journal.run {
        let last = &run.last;
        line(format!("journal run {} of {} by {}", run.lease.id, run.lease.rollout, run.coordinator));
        line(format!(
            "journal run is in {} {} {:?} of boot {}",
            last.phase.as_str(),
            last.attempt,
            last.stage,
            last.boot_id
        ));
        let steps: Vec<_> = run.steps.iter().map(|step| format!("{} {}", step.phase.as_str(), step.ok)).collect();
        line(format!("journal run did {steps:?}, on-exit owed: {}", run.pre_install_begun));
        line(format!(
            "journal run installs {:?}",
            run.lease.transaction.changes.iter().map(|c| &c.name).collect::<Vec<_>>()
        ));
    }
    line(format!(
        "ledger epoch {:?}, stop {}, asks all: {}",
        epoch(ledger.epoch),
        ledger.stop_sequence,
        ledger.discontinuous
    ));
    ledger.known.iter().for_each(|lease| line(format!("ledger knows lease {lease}")));
    ledger.reported.iter().for_each(|lease| line(format!("ledger has the report of {lease}")));
    for (id, state) in &ledger.rollouts {
        let ended = state.ended_at.map(WallTime::rfc3339);
        line(format!("ledger rollout {id} {:?} ended {ended:?}", state.plan.name));
        line(format!("ledger rollout halted {} stopped {:?} paused {}", state.halted, state.stopped, state.paused));
        for (host, planned) in state.hosts.iter().zip(&state.plan.hosts) {
            let progress = match &host.progress {
                Progress::NotStarted => "not started".to_owned(),
                Progress::Running { lease, .. } => format!("running {lease}"),
                Progress::Reported => "reported".to_owned(),
                Progress::Refused(refusal) => format!("refused {}", refusal.code.as_str()),
                Progress::LeftOut => "left out".to_owned(),
                Progress::Skipped => "skipped".to_owned(),
                Progress::Released(release) => format!("released {}", release.lease),
            };
            let report = host.report.as_ref().map(|report| (report.outcome, report.rebooted, report.steps.len()));
            line(format!("ledger host {} {progress} after {} leases, {report:?}", planned.name, host.attempts));
        }
    }
    out
}

fn read(folder: &Path) -> String {
    let frames = log::read(&folder.join(JOURNAL)).unwrap();
    let entries: Vec<_> = frames.iter().map(|frame| JournalEntry::decode(frame).unwrap()).collect();
    // Opening makes a lock beside it.
    let copy = tempfile::tempdir().unwrap();
    fs::copy(folder.join(LEDGER), copy.path().join(LEDGER)).unwrap();
    let opened = LedgerFile::open(copy.path(), coordinator().id(), &Ed25519).unwrap();
    assert_eq!((opened.torn_bytes, opened.continues), (0, false));
    told(&Journal::fold(&entries), &opened.ledger)
}

#[test]
fn what_every_release_wrote_is_read_to_the_state_that_it_had() {
    let this = folder(env!("CARGO_PKG_VERSION"));
    assert!(this.exists(), "a new release: make {} as the head of this file says", this.display());
    let releases = fs::read_dir(this.parent().unwrap()).unwrap();
    for folder in releases.map(|release| release.unwrap().path()) {
        let had = fs::read_to_string(folder.join(STATE)).unwrap();
        assert_eq!(read(&folder), had, "{}", folder.display());
    }
}

#[test]
#[ignore = "writes the files of a new release"]
fn the_files_of_this_release_are_written() {
    let folder = folder(env!("CARGO_PKG_VERSION"));
    assert!(!folder.exists(), "{} is there already: what a release wrote is never changed", folder.display());
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = Log::open(&dir.path().join(JOURNAL)).unwrap();
    journal().iter().for_each(|entry| log.append(&entry.encode()).unwrap());
    let mut file = LedgerFile::open(dir.path(), coordinator().id(), &Ed25519).unwrap().file;
    ledger().iter().for_each(|entry| file.append(&coordinator(), entry).unwrap());
    drop((log, file));
    fs::create_dir_all(&folder).unwrap();
    for name in [JOURNAL, LEDGER] {
        fs::copy(dir.path().join(name), folder.join(name)).unwrap();
    }
    fs::write(folder.join(STATE), read(&folder)).unwrap();
}
