//! Every row of the recovery table on real processes: a daemon is killed right after the entry that is the row's is durable,
//! and comes back in the same boot or in a new one.
//!
//! `PATCHMESH_ROWS=all` hits them all; an ordinary run those in which most can go wrong.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use patchmesh_common::{
    id::BootId,
    run::{
        Phase,
        journal::{Journal, JournalEntry, Run},
        recovery::{Boot, Next, Stage, next, row},
    },
};
use serde_json::Value;

use crate::{
    fleet::{Again, PACKAGES, PATIENCE, audit, configured, program},
    runs::{journal_of, reports_in_ledger, runs_of},
    victims::{Victim, has_stopped, resume, slay, stop},
};

type Row = (Phase, Stage, Boot);

/// Hosts at work at once: two cores have to keep up.
const LIMIT: usize = 4;
/// Most hosts of one rollout.
const FLEET: usize = 12;
/// Most rollouts: a row is missed if the kernel lets a daemon go on for too long, and tried again.
const ROUNDS: usize = 24;
const PHASES: [Phase; 7] = [
    Phase::PreInstall,
    Phase::Transaction,
    Phase::PostInstall,
    Phase::Reboot,
    Phase::PostReboot,
    Phase::Verify,
    Phase::OnExit,
];

/// The rows that a run can hit.
fn rows() -> Vec<Row> {
    let boots = |phase, stage| [(phase, stage, Boot::Same), (phase, stage, Boot::New)];
    let stages = |phase| [Stage::Begun, Stage::Done, Stage::Failed].map(|stage| (phase, stage));
    let ends = [(Phase::Granted, Stage::Done), (Phase::Settled, Stage::Done)];
    ends.into_iter().chain(PHASES.into_iter().flat_map(stages)).flat_map(|(phase, stage)| boots(phase, stage)).collect()
}

/// In which most can go wrong.
fn few() -> Vec<Row> {
    vec![
        (Phase::Granted, Stage::Done, Boot::New),
        (Phase::PreInstall, Stage::Begun, Boot::Same),
        (Phase::Transaction, Stage::Begun, Boot::Same),
        (Phase::Transaction, Stage::Begun, Boot::New),
        (Phase::Transaction, Stage::Done, Boot::Same),
        (Phase::Reboot, Stage::Begun, Boot::Same),
        (Phase::Reboot, Stage::Begun, Boot::New),
        (Phase::Settled, Stage::Done, Boot::Same),
    ]
}

fn name((phase, stage, boot): Row) -> String {
    let stage = if matches!(phase, Phase::Granted | Phase::Settled) {
        String::new()
    } else {
        format!(" {stage:?}").to_lowercase()
    };
    format!("{}{stage}, {boot:?} boot", phase.as_str()).to_lowercase()
}

/// Adds `script` to the hooks of `point`.
fn hook(home: &Path, point: &str, script: &str) {
    let file = home.join("hooks").join(point).join("50-row");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Arranges that `phase` fails on the host in `home`.
fn spoil(home: &Path, phase: Phase) {
    let root = home.join("root").display().to_string();
    let status =
        |from: &str, to: &str| format!("sed -i '0,/^Status: {from}/s//Status: {to}/' '{root}/var/lib/dpkg/status'");
    let (sound, half) = ("install ok installed", "install ok half-configured");
    match phase {
        Phase::PreInstall | Phase::PostInstall | Phase::PostReboot | Phase::OnExit => {
            hook(home, phase.as_str(), "exit 1")
        }
        Phase::Transaction => fs::write(home.join("root/etc/patchmesh-demo-break"), "").unwrap(),
        // What the reboot has to remove cannot be removed.
        Phase::Reboot => {
            hook(home, "post-install", &format!("rm '{root}/run/reboot-required'; mkdir '{root}/run/reboot-required'"))
        }
        Phase::Verify => {
            hook(home, "post-reboot", &status(sound, half));
            hook(home, "on-exit", &status(half, sound));
        }
        Phase::Granted | Phase::Settled => {}
    }
}

/// Where a row was hit: the run as it was stored, and the entries after that.
struct Hit {
    row: Row,
    run: Run,
    stored: usize,
    present: BootId,
}

/// Whether `entry` is what `row` waits for.
fn is(row: Row, entry: &JournalEntry) -> bool {
    match entry {
        JournalEntry::Granted { .. } => row.0 == Phase::Granted,
        JournalEntry::Settled(_) => row.0 == Phase::Settled,
        JournalEntry::Began { phase, .. } => (*phase, Stage::Begun) == (row.0, row.1),
        JournalEntry::Ended { phase, result, .. } => {
            let stage = if result.fault.is_none() { Stage::Done } else { Stage::Failed };
            (*phase, stage) == (row.0, row.1)
        }
        _ => false,
    }
}

/// Kills the daemon of `host` if its last entry is that of `row`. It stands still while it is looked at.
fn strike(fleet: &mut Again, host: &str, row: Row) -> Option<Hit> {
    let home = fleet.folder().join("hosts").join(host);
    let pid = u64::from(fleet.children[host].id());
    let end = Instant::now() + PATIENCE;
    // Again and again: the kernel drops a stop that meets an exec, which is how these daemons reboot.
    while {
        stop(pid);
        !has_stopped(pid)
    } {
        assert!(Instant::now() < end, "{host} does not stand still");
        if fleet.has_ended(host) {
            fleet.restart(host);
            return None;
        }
    }
    let entries = journal_of(&home);
    if !entries.last().is_some_and(|entry| is(row, entry)) {
        resume(pid);
        return None;
    }
    assert_eq!(slay(pid), Victim::Killed);
    fleet.children.get_mut(host).expect("a child").wait().expect("the child is ours");
    let run = Journal::fold(&entries).run.expect("a run");
    let file = home.join("state/boot-id");
    if row.2 == Boot::New {
        fs::write(&file, format!("{:032x}\n", 0xb007)).unwrap();
        // A boot empties /run.
        let _ = fs::remove_dir_all(home.join("root/run"));
        fs::create_dir(home.join("root/run")).unwrap();
    }
    let present = BootId::parse(fs::read_to_string(&file).unwrap().trim()).expect("a boot id");
    fleet.restart(host);
    Some(Hit { row, run, stored: entries.len(), present })
}

/// Whether `entry` is what `next` does.
fn follows(next: Next, run: &Run, entry: &JournalEntry) -> bool {
    let began = |wanted: Phase, number: u32| matches!(entry, JournalEntry::Began { phase, attempt, .. } if (*phase, *attempt) == (wanted, number));
    let ended = |wanted: Phase| matches!(entry, JournalEntry::Ended { phase, .. } if *phase == wanted);
    match next {
        Next::Begin(phase) => began(phase, 1),
        Next::Again(phase) => began(phase, run.last.attempt + 1),
        Next::Adopt => ended(Phase::Transaction) || began(Phase::Transaction, run.last.attempt + 1),
        Next::ProveReboot | Next::Interrupt => ended(run.last.phase),
        Next::Bar => matches!(entry, JournalEntry::Barred(_)),
        Next::Settle => matches!(entry, JournalEntry::Settled(_)),
        Next::Report => matches!(entry, JournalEntry::Acknowledged { .. }),
    }
}

/// One rollout in which each host is killed at its row; the rows that were hit, by host, and the recap.
fn round(program: &Path, wanted: &[Row]) -> (Again, BTreeMap<String, Hit>, Value) {
    let mut fleet = Again::fresh(program, u32::try_from(wanted.len()).unwrap(), Duration::ZERO);
    let names: Vec<_> = crate::fleet::host_names(&fleet.folder());
    let rows: BTreeMap<_, _> = names.iter().cloned().zip(wanted.iter().copied()).collect();
    for (host, (phase, stage, _)) in &rows {
        if *stage == Stage::Failed {
            spoil(&fleet.folder().join("hosts").join(host), *phase);
        }
    }
    fleet.wait_for_hosts(names.len());
    let manifest = format!(
        "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {{name: rows}}\nspec:\n  operation: Install\n  targets: {{all: true}}\n  \
         baseline: all\n  maxConcurrency: {LIMIT}\n  maxErrors: 100\n"
    );
    let file = fleet.dir.path().join("rollout.yaml");
    fs::write(&file, manifest).unwrap();
    let started = fleet.cli(&["apply", "-f", file.to_str().unwrap(), "--detach"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8(started.stdout).unwrap().trim().to_owned();

    let journals: BTreeMap<_, _> = names
        .iter()
        .map(|host| (host.clone(), fleet.folder().join("hosts").join(host).join("state/run.log")))
        .collect();
    let mut lengths: BTreeMap<String, u64> = BTreeMap::new();
    let mut hits: BTreeMap<String, Hit> = BTreeMap::new();
    let mut asked = Instant::now();
    let end = Instant::now() + PATIENCE;
    let recap = loop {
        assert!(Instant::now() < end, "the rollout does not end");
        for host in names.iter().filter(|host| !hits.contains_key(*host)).cloned().collect::<Vec<_>>() {
            let length = fs::metadata(&journals[&host]).map_or(0, |meta| meta.len());
            if lengths.insert(host.clone(), length).is_some_and(|before| length > before)
                && let Some(hit) = strike(&mut fleet, &host, rows[&host])
            {
                hits.insert(host, hit);
            }
        }
        // Short against a write to disk, which is how long a daemon stays where it is to be hit.
        std::thread::park_timeout(Duration::from_micros(50));
        if asked.elapsed() > Duration::from_secs(2) {
            asked = Instant::now();
            for host in &names {
                if fleet.has_ended(host) {
                    fleet.restart(host);
                }
            }
            let status = fleet.cli_json(&["rollout", "status", &id, "-o", "json"]);
            if let Some(status) = status.filter(|status| !status["endedAt"].is_null()) {
                break status;
            }
        }
    };
    (fleet, hits, recap)
}

#[test]
fn killed_after_any_entry_a_run_goes_on_by_its_row() {
    let Some(program) = program() else { return };
    let mut missing = if std::env::var("PATCHMESH_ROWS").is_ok_and(|rows| rows == "all") { rows() } else { few() };
    for _ in 0..ROUNDS {
        let tried = missing.len().min(FLEET);
        let (fleet, hits, recap) = round(&program, &missing[..tried]);
        let demo = fleet.folder();
        for (host, Hit { row: hit, run, stored, present }) in &hits {
            let says = next(run, *present);
            let home = demo.join("hosts").join(host);
            let entry = crate::fleet::wait_for("what the row says", || journal_of(&home).get(*stored).cloned());
            assert!(follows(says, run, &entry), "{}: {says:?}, but then came {entry:?}", name(*hit));
            let result = recap["results"].as_array().unwrap().iter().find(|result| result["host"] == **host).unwrap();
            let code = result["error"]["code"].as_str().unwrap_or("-");
            println!(
                "| {} | {:?} | {} {code} |",
                name(*hit),
                row(hit.0, hit.1, hit.2),
                result["outcome"].as_str().unwrap()
            );
            // A host that was lost meanwhile reports after the end.
            for ran in runs_of(&demo, host) {
                let reports = || reports_in_ledger(&demo).get(&ran.lease).copied();
                let reports = crate::fleet::wait_for("the report to be in the ledger", reports);
                assert_eq!(reports, 1, "{}: the ledger holds each report once", name(*hit));
            }
            let broken = (hit.0, hit.1) == (Phase::Transaction, Stage::Failed);
            for package in PACKAGES {
                assert!(configured(&demo, host, package, "1.1") <= 1, "{}: {package} was configured twice", name(*hit));
            }
            assert!(broken || audit(&demo, host).is_empty(), "{}: {}", name(*hit), audit(&demo, host));
        }
        let done: Vec<_> = hits.values().map(|hit| hit.row).collect();
        missing.retain(|row| !done.contains(row));
        if missing.is_empty() {
            return;
        }
        // What was missed waits for the others.
        missing.rotate_left(tried - done.len());
        println!("{} rows are not hit yet", missing.len());
    }
    panic!("never hit: {missing:?}");
}
