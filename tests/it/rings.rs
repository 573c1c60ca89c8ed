//! Two rings of real hosts: canaries, a bake in which the coordinator dies, an operator's approval, and steps.

use std::{fs, process::Output};

use patchmesh_common::{
    membership::Role,
    rollout::{
        check::Judge,
        ledger::{LedgerAct, LedgerEntry},
    },
    seal::{Payload as _, Sealed},
    wire,
};
use patchmesh_node::{identity::Identity, store::log};
use serde_json::Value;

use crate::{
    fleet::{Again, hooks_of, wait_for},
    stop::member,
    wave::{hook, manifest, unpatched},
};

/// Between the canaries and the rest, and between the rest's steps, in seconds. Only the least of them is judged.
const BAKE: u128 = 4;
const WAIT: u128 = 2;

/// Every entry of the coordinator's ledger, from outside.
pub(crate) fn entries(again: &Again) -> Vec<LedgerEntry> {
    let frames = log::read(&again.folder().join("coordinator/ledger.log")).unwrap();
    let entry = |frame: &Vec<u8>| {
        let (_, sealed): ([u8; 32], Sealed) = wire::decode(frame, frame.len()).unwrap();
        wire::decode(&sealed.body, LedgerEntry::LIMIT).unwrap()
    };
    frames.iter().map(entry).collect()
}

/// When a host's first hook ran and its last one ended at the latest, in nanoseconds.
fn span(again: &Again, host: &str) -> (u128, u128) {
    let lines = hooks_of(&again.folder(), host);
    (lines.first().expect("a hook").at, lines.last().expect("a hook").at)
}

#[test]
fn a_ring_begins_when_the_one_before_has_settled_baked_and_an_operator_has_approved_it() {
    let Some(mut again) = unpatched(5) else { return };
    let demo = again.folder();
    let owner = Identity::load(&demo.join("owner.key")).unwrap();
    // The canary does not end before it is let go.
    let gate = demo.join("go");
    hook(&demo, "demo-05", "on-exit", &format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display()), 0o755);
    let (_, key) = member(&owner, again.dir.path(), "anna", Role::Operator);
    let hosts = ["demo-02", "demo-03", "demo-04", "demo-05"];
    let rings = format!(
        "  rings:\n  - {{name: canary, names: [demo-05], bake: {BAKE}s}}\n  \
         - {{name: fleet, names: [demo-02, demo-03], steps: [1, 100%], wait: {WAIT}s, approvals: 1}}\n"
    );
    let file = again.dir.path().join("rollout.yaml");
    fs::write(&file, manifest(&hosts, 4, &rings)).unwrap();
    let started = again.cli(&["apply", "-f", file.to_str().unwrap(), "--detach"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    let status = |again: &Again| again.cli_json(&["rollout", "status", &id, "-o", "json"]);

    let approve = |again: &Again| again.cli(&["approve", &id, "--ring", "fleet", "--key", key.to_str().unwrap()]);
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();

    wait_for("the canary to come up again", || {
        hooks_of(&demo, "demo-05").iter().any(|line| line.phase == "post-install").then_some(())
    });
    let early = approve(&again);
    assert_eq!(early.status.code(), Some(1));
    assert!(
        said(&early).contains("the ring fleet cannot be judged before the ring canary has settled"),
        "{}",
        said(&early)
    );
    fs::write(&gate, "").unwrap();
    let settled =
        wait_for("the canary to settle", || status(&again).filter(|recap| !recap["rings"][0]["settledAt"].is_null()));
    assert_eq!(
        (&settled["hosts"]["succeeded"], &settled["rings"][1]["state"]),
        (&1.into(), &"pending".into()),
        "{settled}"
    );
    again.kill("coordinator");
    again.restart_coordinator();
    let waiting =
        wait_for("the bake to be over", || status(&again).filter(|recap| recap["reason"]["code"] == "approval"));
    assert_eq!((&waiting["state"], &waiting["hosts"]["notStarted"]), (&"Waiting".into(), &2.into()), "{waiting}");
    let why = again.cli_json(&["why", "host", "demo-02", "-o", "json"]).unwrap();
    assert_eq!(why["chain"][0]["command"], format!("patchmesh approve {id} --ring fleet --key FILE"), "{why}");
    let approved = approve(&again);
    assert!(approved.status.success(), "{}", said(&approved));
    let twice = approve(&again);
    assert_eq!(twice.status.code(), Some(1));
    assert!(said(&twice).contains("the ring fleet is approved"), "{}", said(&twice));

    let recap: Value = wait_for("the end", || status(&again).filter(|recap| !recap["endedAt"].is_null()));
    assert_eq!((&recap["state"], &recap["hosts"]["succeeded"]), (&"Succeeded".into(), &3.into()), "{recap}");
    assert_eq!(recap["hosts"]["skipped"], 1, "no ring selects demo-04: {recap}");
    assert!(hooks_of(&demo, "demo-04").is_empty());

    // Outside of what anybody believes: the hosts' own hooks, and the ledger's own promises.
    let (canary, first, second) = (span(&again, "demo-05"), span(&again, "demo-02"), span(&again, "demo-03"));
    let seconds = |count: u128| count * 1_000_000_000;
    assert!(canary.1 + seconds(BAKE) <= first.0, "{canary:?} {first:?}");
    assert!(first.1 + seconds(WAIT) <= second.0, "{first:?} {second:?}");
    let entries = entries(&again);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
    assert!(judge.checked()["order"] >= 6, "{:?}", judge.checked());
    let by = entries.iter().find_map(|entry| match &entry.act {
        LedgerAct::Approved { evidence } => evidence.read().ok().map(|(by, _)| by),
        _ => None,
    });
    assert_eq!(by.as_deref(), Some("anna"));
}
