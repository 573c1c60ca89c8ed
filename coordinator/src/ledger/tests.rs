use patchmesh_common::{
    id::{Epoch, Incarnation, RolloutId},
    inventory::{PackageChange, Transaction},
    patch::Approval,
    rollout::{
        Operation, RebootOption,
        chain::Link,
        ledger::LedgerAct,
        limit::Ramp,
        plan::{Plan, PlannedHost, ResolvedLimit, Rollout},
        ring::PlannedRing,
    },
    schedule::Opening,
    seal::{Ed25519, Ed25519Signer, Sealed, Signature},
    time::WallTime,
    wire,
};

use patchmesh_node::store::log::MAX_FRAME_BYTES;

use super::*;

fn signer(seed: u8) -> Ed25519Signer {
    Ed25519Signer::from_secret(&[seed; 32])
}

fn epoch(counter: u64) -> LedgerEntry {
    let epoch = Epoch { serial: 1, counter, incarnation: Incarnation(counter) };
    LedgerEntry { at: WallTime(0), act: LedgerAct::EpochOpened { epoch, continued: true } }
}

fn open(dir: &Path) -> Result<Opened, LedgerError> {
    LedgerFile::open(dir, signer(1).id(), &Ed25519)
}

/// A ledger of `entries` epochs.
fn filled(entries: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut file = open(dir.path()).unwrap().file;
    for counter in 1..=entries {
        file.append(&signer(1), &epoch(counter)).unwrap();
    }
    dir
}

/// Writes `frames` as the whole log of a new folder.
fn written(frames: &[Vec<u8>]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, ..) = Log::open(&dir.path().join(FILE)).unwrap();
    for frame in frames {
        log.append(frame).unwrap();
    }
    dir
}

fn frames(dir: &Path) -> Vec<Vec<u8>> {
    patchmesh_node::store::log::read(&dir.join(FILE)).unwrap()
}

#[test]
fn a_ledger_continues_where_it_was_written_and_nowhere_else() {
    let dir = filled(2);
    let opened = open(dir.path()).unwrap();
    assert!(opened.continues);
    assert_eq!((opened.ledger.epoch.unwrap().counter, opened.torn_bytes), (2, 0));
    drop(opened);
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE, "ledger.place"] {
        fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
    }
    let opened = open(copy.path()).unwrap();
    assert!(!opened.continues, "another inode");
    assert_eq!(opened.ledger.epoch.unwrap().counter, 2);
    assert!(!open(tempfile::tempdir().unwrap().path()).unwrap().continues, "a new one");
}

#[test]
fn a_copy_stays_one_until_it_has_said_so_in_an_entry() {
    let dir = filled(1);
    let copy = tempfile::tempdir().unwrap();
    fs::copy(dir.path().join(FILE), copy.path().join(FILE)).unwrap();
    assert!(!open(copy.path()).unwrap().continues);
    let mut opened = open(copy.path()).unwrap();
    assert!(!opened.continues, "the process died before it wrote anything");
    opened.file.append(&signer(1), &epoch(2)).unwrap();
    drop(opened);
    assert!(open(copy.path()).unwrap().continues);
}

#[test]
fn frames_that_were_cut_out_put_in_or_swapped_break_the_chain() {
    let dir = filled(3);
    let [first, second, third] = frames(dir.path()).try_into().unwrap();
    let kept = |frames: &[&Vec<u8>]| written(&frames.iter().map(|frame| (*frame).clone()).collect::<Vec<_>>());
    for (frames, at) in [
        (vec![&first, &third], 1),
        (vec![&second, &third], 0),
        (vec![&first, &second, &second, &third], 2),
        (vec![&second, &first, &third], 0),
    ] {
        let error = open(kept(&frames).path()).unwrap_err();
        assert!(matches!(error, LedgerError::Link(entry, BadLink::Broken) if entry == at), "{error}");
    }
    let opened = open(kept(&[&first, &second]).path()).unwrap();
    assert_eq!(opened.ledger.epoch.unwrap().counter, 2, "a shorter chain is whole: the hosts' epochs find it out");
}

#[test]
fn entries_of_others_changed_entries_and_garbage_are_refused() {
    let dir = filled(1);
    let mut link: Link = wire::decode(&frames(dir.path())[0], MAX_FRAME_BYTES).unwrap();
    *link.entry.body.last_mut().unwrap() ^= 1;
    let error = open(written(&[wire::encode(&link)]).path()).unwrap_err();
    assert!(matches!(error, LedgerError::Link(0, BadLink::Seal(_))), "{error}");

    let foreign = Link { previous: [0; 32], entry: Sealed::seal(&signer(2), &epoch(1)) };
    let error = open(written(&[wire::encode(&foreign)]).path()).unwrap_err();
    assert!(matches!(error, LedgerError::Link(0, BadLink::Foreign(_))), "{error}");

    let error = open(written(&[vec![7; 40]]).path()).unwrap_err();
    assert!(matches!(error, LedgerError::Link(0, BadLink::Malformed(_))), "{error}");

    let nobody =
        LedgerEntry { at: WallTime(0), act: LedgerAct::Paused { rollout: RolloutId([9; 8]), by: "ops".into() } };
    let link = Link { previous: [0; 32], entry: Sealed::seal(&signer(1), &nobody) };
    let error = open(written(&[wire::encode(&link)]).path()).unwrap_err();
    assert!(matches!(error, LedgerError::Fold(0, _)), "{error}");
}

#[test]
fn a_torn_tail_is_cut_off_and_counted_and_the_chain_goes_on() {
    let dir = filled(2);
    let path = dir.path().join(FILE);
    let bytes = fs::read(&path).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 5).unwrap();
    let mut opened = open(dir.path()).unwrap();
    assert_eq!(opened.ledger.epoch.unwrap().counter, 1);
    assert!(opened.torn_bytes > 0 && opened.continues);
    opened.file.append(&signer(1), &epoch(3)).unwrap();
    drop(opened);
    assert_eq!(open(dir.path()).unwrap().ledger.epoch.unwrap().counter, 3);
}

#[test]
fn a_second_coordinator_on_one_store_is_told_who_has_it() {
    let dir = filled(1);
    let first = open(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(&format!("in use by process {}", std::process::id())), "{source}");
    drop(first);
    open(dir.path()).unwrap();
}

#[test]
fn a_plan_for_a_large_fleet_fits() {
    let limit = ResolvedLimit { given: "1".into(), resolved: 1 };
    let change = |n: u32| PackageChange {
        name: format!("package-{n}"),
        arch: "amd64".into(),
        from: Some("1.0".into()),
        to: "1.1".into(),
        sha256: "00".repeat(32),
    };
    let changes: Vec<_> = (0..200).map(change).collect();
    let host = |n: u16| PlannedHost {
        node: NodeId([n.to_le_bytes()[0]; 32]),
        name: format!("host-{n}"),
        transaction: Transaction { changes: changes.clone(), removals: vec![] },
    };
    let plan = Plan {
        because: None,
        name: "wave".into(),
        hash: [0; 32],
        created_at: WallTime(0),
        operation: Operation::Install,
        baseline: Approval::All,
        reboot: RebootOption::Never,
        hook_timeout: 1,
        on_hook_failure: Default::default(),
        max_concurrency: limit.clone(),
        max_errors: limit,
        openings: vec![Opening::endless(WallTime(0))],
        hosts: (0..250).map(host).collect(),
        excluded: vec![],
        rings: vec![PlannedRing::all(250, Ramp::Full)],
        gates: vec![],
        ring_gates: vec![],
        on_superseded: patchmesh_common::rollout::plan::Superseded::Skip,
    };
    let id = RolloutId([1; 8]);
    let entry = LedgerEntry {
        at: WallTime(0),
        act: LedgerAct::Started(Box::new(Rollout { id, plan, by: "ops".into(), replans: None })),
    };
    assert!(wire::encode(&entry).len() > 4 << 20, "larger than any message");
    let dir = filled(1);
    open(dir.path()).unwrap().file.append(&signer(1), &entry).unwrap();
    assert_eq!(open(dir.path()).unwrap().ledger.rollouts[&id].plan.hosts.len(), 250);
}

/// The stored bytes: a difference means that older ledgers can no longer be continued.
#[test]
fn a_link_has_golden_bytes() {
    let signature = Signature::from_bytes(&[3; 64]);
    let link = Link { previous: [1; 32], entry: Sealed { author: NodeId([2; 32]), body: vec![9, 8], signature } };
    let expected = [vec![1; 32], vec![2; 32], vec![2, 9, 8], vec![3; 64]].concat();
    assert_eq!(wire::encode(&link), expected);
}
