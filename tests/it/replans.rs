//! A version is superseded between two rings of real hosts: the rollout leaves the host out, and the coordinator, which dies in
//! between, plans the same again once.

use std::fs;

use patchmesh_common::rollout::{check::Judge, ledger::LedgerAct};
use serde_json::Value;

use crate::{
    baselines::{move_on, reindex, without},
    fleet::{Again, hooks_of, versions, wait_for},
    rings::entries,
    wave::{hook, manifest, result, unpatched},
};

fn status(again: &Again, id: &str) -> Option<Value> {
    again.cli_json(&["rollout", "status", id, "-o", "json"])
}

#[test]
fn a_superseded_version_is_planned_again_once_and_enters_the_first_ring() {
    let Some(mut again) = unpatched(3) else { return };
    let demo = again.folder();
    // The canary does not end before the repository has moved on.
    let gate = demo.join("go");
    hook(&demo, "demo-03", "on-exit", &format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display()), 0o755);
    let rings = "  rings:\n  - {name: canary, names: [demo-03]}\n  - {name: fleet, names: [demo-02]}\n";
    let id = again.begin(&manifest(&["demo-02", "demo-03"], 2, rings));
    wait_for("the canary to be patched", || {
        hooks_of(&demo, "demo-03").iter().any(|line| line.phase == "post-reboot").then_some(())
    });
    move_on(&demo);
    reindex(&demo, "security", |index| without(&index, "pm-demo-service", "1.1"));
    fs::write(&gate, "").expect("it is let go");

    let recap = again.end_of(&id);
    let refused = result(&recap, "demo-02");
    assert_eq!(
        (&refused["outcome"], &refused["error"]["code"]),
        (&"refused".into(), &"version-gone".into()),
        "{recap}"
    );
    assert_eq!(recap["replannedAs"]["name"], "again-replan-1", "{recap}");
    again.kill("coordinator");
    again.restart_coordinator();

    let after = wait_for("the rollout to be planned again", || {
        status(&again, "again-replan-1").filter(|recap| !recap["endedAt"].is_null())
    });
    println!("{after}");
    assert_eq!((&after["state"], &after["replans"]["id"]), (&"Succeeded".into(), &id.as_str().into()), "{after}");
    let first = status(&again, &id).expect("a recap");
    assert_eq!(first["replannedAs"]["id"], after["id"], "{first}");
    for host in ["demo-02", "demo-03"] {
        assert_eq!(versions(&demo, host)["pm-demo-service"], "1.2 installed", "{host}");
    }

    // The canary got the new version first, and nothing was started twice.
    again.kill("coordinator");
    again.restart_coordinator();
    wait_for("the coordinator to answer", || status(&again, &id));
    let entries = entries(&again);
    let started = entries.iter().filter(|entry| matches!(entry.act, LedgerAct::Started(_))).count();
    assert_eq!(started, 2);
    let granted: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.act {
            LedgerAct::Granted { rollout, host, .. } if rollout.to_string() != id => Some(host.to_string()),
            _ => None,
        })
        .collect();
    let node = |host: &str| result(&after, host)["nodeId"].as_str().expect("a key").to_owned();
    assert_eq!(granted, [node("demo-03"), node("demo-02")]);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
}
