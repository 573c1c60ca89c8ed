//! Ledgers in folders: one that holds, and what may be done to it by people who can write there.

use std::{collections::BTreeMap, fs, path::Path};

use patchmesh_common::{
    id::{Epoch, Incarnation, LeaseId, MeshId, NodeId, RolloutId},
    inventory::{PackageChange, Transaction},
    membership::{Credential, Membership, Role},
    patch::{Approval, PatchCounters},
    rollout::{
        Operation, RebootOption,
        chain::Head,
        intent::{Intent, Kind},
        ledger::{LedgerAct, LedgerEntry},
        limit::Ramp,
        plan::{Plan, PlannedHost, ResolvedLimit, Rollout, Superseded},
        ring::PlannedRing,
        slots::Hold,
    },
    run::{
        Phase,
        message::{Answer, Outcome, Report, RunError, SignedStop, StepReport, StopOrder, StopScope, ToCoordinator},
    },
    schedule::Opening,
    seal::{Ed25519Signer, Sealed, Signer as _},
    time::WallTime,
};
use patchmesh_node::store::log::{self, Log};

/// Tuesday, 2 o'clock.
const NIGHT: i64 = 1_796_090_400_000;
const WAVE: RolloutId = RolloutId([0x11; 8]);

pub(crate) fn signer(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_secret(&[seed; 32])
}

fn mesh() -> MeshId {
    MeshId(signer(255).id().0)
}

/// `minute` minutes into the night.
fn at(minute: i64, act: LedgerAct) -> LedgerEntry {
    LedgerEntry { at: WallTime(NIGHT + minute * 60_000), act }
}

fn host(seed: u8) -> NodeId {
    signer(seed).id()
}

fn change() -> PackageChange {
    let (from, to) = (Some("3.0.11".into()), "3.0.12".into());
    PackageChange { name: "openssl".into(), arch: "amd64".into(), from, to, sha256: "00".repeat(32) }
}

fn opening() -> Opening {
    let close = WallTime(NIGHT + 3 * 3_600_000);
    Opening { opens: WallTime(NIGHT), last_start: close, closes: close }
}

fn plan() -> Plan {
    let planned = |(seed, name): (u8, &str)| PlannedHost {
        node: host(seed),
        name: name.to_owned(),
        transaction: Transaction { changes: vec![change()], removals: vec![] },
    };
    Plan {
        name: "weekly".into(),
        hash: [7; 32],
        created_at: WallTime(NIGHT - 3_600_000),
        operation: Operation::Install,
        baseline: Approval::All,
        reboot: RebootOption::IfNeeded,
        hook_timeout: 300,
        on_hook_failure: Default::default(),
        max_concurrency: ResolvedLimit { given: "34%".into(), resolved: 1 },
        max_errors: ResolvedLimit { given: "1".into(), resolved: 1 },
        openings: vec![opening()],
        hosts: [(1, "db-1"), (2, "web-1"), (3, "web-2")].map(planned).to_vec(),
        excluded: vec![],
        rings: vec![PlannedRing::all(3, Ramp::Full)],
        because: None,
        gates: Vec::new(),
        ring_gates: Vec::new(),
        on_superseded: Superseded::Skip,
    }
}

fn granted(seed: u8, lease: u8, minute: i64) -> LedgerEntry {
    let (host, lease) = (host(seed), LeaseId([lease; 16]));
    at(minute, LedgerAct::Granted { rollout: WAVE, host, lease, attempt: 1, opening: opening() })
}

/// What a host reports whose `Go` came when the ledger had those `entries`.
fn reported(seed: u8, lease: u8, minute: i64, good: bool, entries: &[LedgerEntry]) -> LedgerEntry {
    let time = |minute: i64| WallTime(NIGHT + minute * 60_000);
    let step = |phase, ok| StepReport {
        phase,
        attempt: 1,
        ok,
        started: time(minute - 2),
        ended: time(minute - 1),
        output: String::new(),
    };
    let error = RunError { code: "transaction-failed".into(), text: "dpkg failed".into(), log: String::new() };
    let report = Report {
        lease: LeaseId([lease; 16]),
        rollout: WAVE,
        outcome: if good { Outcome::Succeeded } else { Outcome::Failed },
        phase: Phase::OnExit,
        rebooted: false,
        packages: if good { vec![change()] } else { vec![] },
        error: (!good).then_some(error),
        counters: PatchCounters::default(),
        steps: vec![step(Phase::PreInstall, true), step(Phase::Transaction, good), step(Phase::Verify, true)],
        started: time(minute - 3),
        ended: time(minute),
    };
    let body = ToCoordinator::Reported(Box::new(report));
    let head = frames(entries).iter().fold(Head::default(), |head, frame| head.after(frame));
    let answer = Answer { mesh: mesh(), to: host(254), epoch: Epoch::default(), head: Some(head), body };
    at(minute, LedgerAct::Reported { evidence: Sealed::seal(&signer(seed), &answer) })
}

fn ordered(sequence: u64, stop: bool, minute: i64) -> LedgerEntry {
    let membership = Membership {
        mesh: mesh(),
        key: host(200),
        name: "maria".into(),
        role: Role::Operator,
        serial: 1,
        expires: WallTime::MAX,
        may_issue: false,
        tags: BTreeMap::new(),
    };
    let order = StopOrder { mesh: mesh(), scope: StopScope::All, sequence, stop };
    let credential = Credential { membership: Sealed::seal(&signer(255), &membership), issuer: None };
    let evidence = SignedStop { order: Sealed::seal(&signer(200), &order), credential };
    at(minute, LedgerAct::Ordered { evidence: Box::new(evidence) })
}

fn intended(minute: i64, intent: Intent) -> LedgerEntry {
    at(minute, LedgerAct::Intent { intent, by: "ops (uid 1000)".into() })
}

/// One night: a host that succeeds, a STOP and its end, a pause, one that fails, one that is lost and released.
pub(crate) fn night() -> Vec<LedgerEntry> {
    let epoch = Epoch { serial: 1, counter: 1, incarnation: Incarnation(5) };
    let lease = Some(LeaseId([3; 16]));
    let (by, because) = ("maria".into(), "board is dead".into());
    let mut night = vec![
        at(-60, LedgerAct::EpochOpened { epoch, continued: true }),
        at(
            0,
            LedgerAct::Started(Box::new(Rollout {
                id: WAVE,
                plan: plan(),
                by: "ops (uid 1000)".into(),
                replans: None,
            })),
        ),
        granted(1, 1, 1),
    ];
    night.push(reported(1, 1, 5, true, &night));
    night.extend([
        ordered(4, true, 6),
        ordered(5, false, 9),
        at(10, LedgerAct::Paused { rollout: WAVE, by: "ops (uid 1000)".into() }),
        at(11, LedgerAct::Resumed { rollout: WAVE, by: "ops (uid 1000)".into() }),
        granted(2, 2, 12),
    ]);
    night.push(reported(2, 2, 16, false, &night));
    night.extend([
        granted(3, 3, 17),
        at(40, LedgerAct::Released { host: host(3), lease, held: Hold::Lost, by, because }),
        at(41, LedgerAct::Ended { rollout: WAVE }),
        intended(42, Intent::Created { kind: Kind::Window, name: "sundays".into(), digest: [7; 32] }),
        intended(43, Intent::Registered { group: "prod".into(), baseline: "web".into() }),
        intended(44, Intent::Deleted { kind: Kind::Policy, name: "nightly".into() }),
    ]);
    night
}

/// Chains and seals `entries` with the coordinator's key.
pub(crate) fn frames(entries: &[LedgerEntry]) -> Vec<Vec<u8>> {
    let mut head = Head::default();
    let chained = |entry| {
        let frame = head.link(&signer(254), entry);
        head = head.after(&frame);
        frame
    };
    entries.iter().map(chained).collect()
}

/// A journal of `frames` in a new folder.
fn written(folder: &Path, frames: &[Vec<u8>]) -> std::path::PathBuf {
    fs::create_dir(folder).unwrap();
    let path = folder.join("ledger.log");
    let (mut log, ..) = Log::open(&path).unwrap();
    frames.iter().for_each(|frame| log.append(frame).unwrap());
    path
}

/// The folders that the script of `audit` looks at.
pub(crate) fn write(folder: &Path) {
    let good = frames(&night());
    let path = written(&folder.join("ledger"), &good);
    let whole = fs::read(path).unwrap();

    // One byte of the journal, in the middle and in its last entry.
    let places = [("byte", whole.windows(4).position(|four| four == *b"dpkg").unwrap()), ("last", whole.len() - 1)];
    for (name, place) in places {
        let mut bent = whole.clone();
        bent[place] ^= 1;
        fs::create_dir(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("ledger.log"), bent).unwrap();
    }
    // By somebody who knows the journal's checksums, and has not the key.
    let mut changed = good.clone();
    *changed[9].last_mut().unwrap() ^= 1;
    written(&folder.join("changed"), &changed);
    let mut dropped = good.clone();
    dropped.remove(4);
    written(&folder.join("dropped"), &dropped);
    // By the coordinator itself.
    let mut forged = night();
    forged.insert(9, granted(3, 9, 13));
    written(&folder.join("forged"), &frames(&forged));
    // By the coordinator too: it has left its pause out, and signed everything behind it anew.
    let mut rewritten = night();
    rewritten.drain(6..8);
    written(&folder.join("rewritten"), &frames(&rewritten));
    // A coordinator is at work on it: this is how far its last write came.
    fs::create_dir(folder.join("busy")).unwrap();
    fs::write(folder.join("busy").join("ledger.log"), &whole[..whole.len() - 7]).unwrap();
}

#[test]
fn a_ledger_that_a_coordinator_has_open_is_read_without_its_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = written(&folder.path().join("ledger"), &frames(&night()));
    let (mut log, ..) = Log::open(&path).unwrap();
    let dir = folder.path().join("ledger");
    let audited = patchmesh_coordinator::audit::verify(&dir).unwrap();
    assert_eq!((audited.entries, audited.chain.ok, audited.torn_bytes), (16, true, 0));
    let more = [night(), vec![ordered(6, true, 50)]].concat();
    log.append(frames(&more).last().unwrap()).unwrap();
    let audited = patchmesh_coordinator::audit::verify(&dir).unwrap();
    assert_eq!((audited.entries, audited.chain.ok), (17, true), "the writer went on, undisturbed");
    assert_eq!(log::read(&path).unwrap().len(), 17);
}
