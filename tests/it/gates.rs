//! Gates of real hosts: a canary that is unwell after its run has failed, its on-exit hooks ran, and the next ring never begins.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use patchmesh_common::rollout::{check::Judge, ledger::LedgerAct, plan::Superseded};

use crate::{
    fleet::{hooks_of, host_names},
    policies::{AHEAD, fleet, keep, result, soon},
    rings::entries,
    wave::{manifest, unpatched},
};

/// Puts the command `check` where the gates of `host` find it.
fn check(demo: &Path, host: &str, is_well: bool) {
    let private = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is private");
    let folder = demo.join("hosts").join(host).join("hooks/gate");
    fs::create_dir_all(&folder).expect("the folder is made");
    private(&folder);
    let answer = if is_well { "echo \"$1 is up\"" } else { "echo \"$1 is down\"; exit 3" };
    fs::write(folder.join("check"), format!("#!/bin/sh\n{answer}\n")).expect("the gate is written");
    private(&folder.join("check"));
}

#[test]
fn a_canary_that_fails_its_gate_keeps_the_next_ring_from_beginning() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    // The command is there on every host; on demo-04 it says no.
    for host in ["demo-02", "demo-03", "demo-04"] {
        check(&demo, host, host != "demo-04");
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

#[test]
fn an_install_of_a_policy_goes_in_its_rings_and_halts_at_its_gate() {
    let Some(again) = fleet(2) else { return };
    let demo = again.folder();
    let hosts = host_names(&demo);
    for host in &hosts {
        check(&demo, host, *host != hosts[0]);
    }
    let spec = format!(
        "{{install: {{schedule: {}}}, targets: {{all: true}}, baseline: all, maxConcurrency: 100%, maxErrors: 100%, \
         rings: [{{name: canary, names: [{}]}}, {{name: fleet, all: true}}], \
         gates: {{afterHost: [{{command: [check, web], timeout: 60s}}]}}, onLimit: halt, onSuperseded: wait}}",
        soon(AHEAD).0,
        hosts[0]
    );
    keep(&again, "PatchPolicy", "careful", &spec);
    result(&again, "careful", "Install", "Halted");
    assert!(hooks_of(&demo, &hosts[1]).is_empty(), "its ring never began");
    let plan = entries(&again).into_iter().find_map(|entry| match entry.act {
        LedgerAct::Started(rollout) => Some(rollout.plan),
        _ => None,
    });
    let plan = plan.expect("it was started");
    assert_eq!(
        plan.rings.iter().map(|ring| (ring.name.as_str(), ring.hosts)).collect::<Vec<_>>(),
        [("canary", 1), ("fleet", 1)]
    );
    assert_eq!(
        plan.gates.iter().map(|gate| (gate.name(), gate.timeout_seconds)).collect::<Vec<_>>(),
        [("command check web".to_owned(), 60)]
    );
    assert_eq!(plan.on_superseded, Superseded::Wait);
}
