//! Gates of real hosts: a canary that is unwell after its run has failed, its on-exit hooks ran, and the next ring never begins.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use patchmesh_common::rollout::{check::Judge, ledger::LedgerAct};

use crate::{
    fleet::hooks_of,
    rings::entries,
    wave::{manifest, unpatched},
};

#[test]
fn a_canary_that_fails_its_gate_keeps_the_next_ring_from_beginning() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    let private = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    // The command is there on every host; on demo-04 it says no.
    for host in ["demo-02", "demo-03", "demo-04"] {
        let folder = demo.join("hosts").join(host).join("hooks/gate");
        fs::create_dir_all(&folder).unwrap();
        private(&folder);
        let answer = if host == "demo-04" { "echo \"$1 is down\"; exit 3" } else { "echo \"$1 is up\"" };
        fs::write(folder.join("check"), format!("#!/bin/sh\n{answer}\n")).unwrap();
        private(&folder.join("check"));
    }
    let rings = "  rings:\n  - {name: well, names: [demo-03]}\n  - {name: canary, names: [demo-04]}\n  - {name: fleet, names: [demo-02]}\n";
    let gates = "  gates: {afterHost: [{command: [check, web], timeout: 60s}]}\n";
    let hosts = ["demo-02", "demo-03", "demo-04"];
    let (code, recap) = again.apply(&manifest(&hosts, 3, &format!("{rings}{gates}")));
    assert_eq!((code, recap["state"].as_str()), (3, Some("Halted")), "{recap}");
    let of = |host: &str| {
        let results = recap["results"].as_array().unwrap();
        results.iter().find(|result| result["host"] == host).unwrap().clone()
    };
    assert_eq!(of("demo-03")["outcome"], "succeeded", "{recap}");
    let failed = of("demo-04");
    assert_eq!((&failed["outcome"], &failed["error"]["code"]), (&"failed".into(), &"gate-failed".into()), "{recap}");
    let text = failed["error"]["text"].as_str().unwrap();
    assert_eq!(text, "the gate command check web was not passed: it exited with 3; the packages stay as they are");
    assert!(failed["error"]["log"].as_str().unwrap().contains("web is down"), "{recap}");
    assert_eq!(of("demo-02")["outcome"], "notStarted", "{recap}");

    // Outside of what anybody believes.
    let phases = |host: &str| hooks_of(&demo, host).into_iter().map(|line| line.phase).collect::<Vec<_>>();
    assert_eq!(phases("demo-04").last().map(String::as_str), Some("on-exit"));
    assert_eq!(phases("demo-02"), [""; 0]);
    let runs = fs::read_dir(demo.join("hosts/demo-03/state/run")).unwrap().flatten();
    let kept = runs.filter_map(|run| fs::read_to_string(run.path().join("gates-1.txt")).ok()).collect::<Vec<_>>();
    assert_eq!(kept, ["command check web: passed\nweb is up\n"]);
    let entries = entries(&again);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
    assert!(entries.iter().any(|entry| matches!(entry.act, LedgerAct::Halted { .. })));
}
