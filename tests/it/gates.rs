//! Gates of real hosts: a canary that is unwell after its run has failed, its on-exit hooks ran, and the next ring never begins.
//! Gates of real rings: the coordinator asks between two rings, and only one that passes lets the next begin.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use patchmesh_common::rollout::{check::Judge, ledger::LedgerAct, plan::Superseded};

use crate::{
    fleet::{hooks_of, host_names},
    policies::{AHEAD, fleet, keep, result, soon},
    rings::entries,
    wave::{manifest, unpatched},
};

/// Puts a command where gates and probes find it.
pub(crate) fn put(folder: &Path, name: &str, script: &str) {
    let private = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is private");
    fs::create_dir_all(folder).expect("the folder is made");
    private(folder);
    fs::write(folder.join(name), format!("#!/bin/sh\n{script}\n")).expect("the gate is written");
    private(&folder.join(name));
}

/// The command `check` of `host`.
fn check(demo: &Path, host: &str, is_well: bool) {
    let answer = if is_well { "echo \"$1 is up\"" } else { "echo \"$1 is down\"; exit 3" };
    put(&demo.join("hosts").join(host).join("hooks/gate"), "check", answer);
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
fn a_ring_that_passes_its_gates_lets_the_next_begin_and_one_that_fails_ends_the_rollout() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    let asked = demo.join("asked");
    // All is well after the canary, and no more after the second ring.
    let script = format!(
        "echo \"$1 $PATCHMESH_PHASE $PATCHMESH_RING $PATCHMESH_ATTEMPT $(date +%s%N)\" >> {}\n\
         [ \"$PATCHMESH_RING\" = canary ] || {{ echo no till answers; exit 3; }}",
        asked.display()
    );
    let rings = "  rings:\n  - {name: canary, names: [demo-02]}\n  - {name: second, names: [demo-03]}\n  - {name: third, names: [demo-04]}\n";
    let gates = "  gates: {afterRing: [{command: [shop, tills], timeout: 60s}]}\n";
    let hosts = ["demo-02", "demo-03", "demo-04"];
    let wanted = manifest(&hosts, 3, &format!("{rings}{gates}"));
    let file = again.dir.path().join("wanted.yaml");
    fs::write(&file, &wanted).expect("the manifest is written");
    let refused = again.cli(&["plan", "-f", file.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("the gate command shop tills cannot be asked: there is no "),
        "not after the first ring: {said}"
    );
    put(&demo.join("coordinator/gates"), "shop", &script);
    let (code, recap) = again.apply(&wanted);
    assert_eq!((code, recap["state"].as_str()), (3, Some("Halted")), "{recap}");
    assert_eq!(recap["reason"]["code"], "ring-gate-failed", "{recap}");
    let text = "halted: ring second failed its gate command shop tills: it exited with 3; mend it and plan again";
    assert_eq!(recap["reason"]["text"], text, "{recap}");
    let states = |member: &str| {
        recap["rings"].as_array().unwrap().iter().map(|ring| ring[member]["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(states("gates"), ["passed".into(), "failed".into(), serde_json::Value::Null], "{recap}");
    let outcomes: Vec<_> =
        recap["results"].as_array().unwrap().iter().map(|result| result["outcome"].as_str()).collect();
    assert_eq!(outcomes, [Some("succeeded"), Some("succeeded"), Some("notStarted")], "{recap}");

    // Outside of what anybody believes: it was asked between the rings, and nothing began after it said no.
    let lines = fs::read_to_string(&asked).expect("it was asked");
    let words: Vec<Vec<&str>> = lines.lines().map(|line| line.split(' ').collect()).collect();
    let told: Vec<String> = words.iter().map(|words| words[..4].join(" ")).collect();
    assert_eq!(told, ["tills gate canary 1", "tills gate second 1"]);
    let at = |line: usize| words[line][4].parse::<u128>().unwrap();
    let (first, second) = (hooks_of(&demo, "demo-02"), hooks_of(&demo, "demo-03"));
    assert!(first.last().unwrap().at < at(0) && at(0) < second[0].at && second.last().unwrap().at < at(1));
    assert!(hooks_of(&demo, "demo-04").is_empty());
    let why = again.cli_json(&["why", "rollout", "again", "-o", "json"]).expect("an answer").to_string();
    assert!(why.contains("no till answers"), "{why}");
    let entries = entries(&again);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
    let unshown = entries.iter().filter(|entry| !matches!(entry.act, LedgerAct::RingGated { .. }));
    let mut judge = Judge::default();
    unshown.for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations()[0].promise, "order", "without the verdict it is no valid ledger");
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
