//! What a host's failed hook means for its rollout: the host is left out, or nothing more begins.

use patchmesh_common::rollout::{
    check::Judge,
    ledger::{LedgerAct, report_of},
};
use serde_json::Value;

use crate::{
    fleet::{hooks_of, versions},
    rings::entries,
    wave::{hook, manifest, unpatched},
};

fn of(recap: &Value, host: &str) -> Value {
    let results = recap["results"].as_array().unwrap();
    results.iter().find(|result| result["host"] == host).unwrap().clone()
}

fn ended(result: &Value) -> (Option<&str>, Option<&str>) {
    (result["outcome"].as_str(), result["error"]["code"].as_str())
}

#[test]
fn a_host_whose_pre_install_hook_says_no_is_skipped_and_its_ring_goes_on() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    hook(&demo, "demo-02", "pre-install", "echo the balancer said no; exit 7", 0o755);
    hook(&demo, "demo-03", "post-install", "exit 7", 0o755);
    // One failure is allowed: the host that is skipped is none.
    let extra = "  hooks: {timeout: 60s, onFailure: skip}\n  rings:\n  - {name: canary, names: [demo-02]}\n  - {name: fleet, all: true}\n";
    let wanted = manifest(&["demo-02", "demo-03", "demo-04"], 1, extra).replace("maxErrors: 10", "maxErrors: 1");
    let (code, recap) = again.apply(&wanted);
    assert_eq!((code, recap["state"].as_str()), (4, Some("CompletedWithFailures")), "{recap}");
    assert_eq!(ended(&of(&recap, "demo-02")), (Some("refused"), Some("hook-failed")), "{recap}");
    assert!(of(&recap, "demo-02")["error"]["log"].as_str().unwrap().contains("the balancer said no"), "{recap}");
    assert_eq!(ended(&of(&recap, "demo-03")), (Some("failed"), Some("hook-failed")), "packages were changed: {recap}");
    assert_eq!(ended(&of(&recap, "demo-04")), (Some("succeeded"), None), "{recap}");

    // Outside of what anybody believes.
    assert_eq!(versions(&demo, "demo-02")["pm-demo-lib"], "1.0 installed");
    assert_eq!(hooks_of(&demo, "demo-02").last().unwrap().phase, "on-exit");
    let why = again.cli_json(&["why", "host", "demo-02", "-o", "json"]).expect("an answer").to_string();
    assert!(why.contains("was left out of rollout again"), "{why}");
    let command = again.cli_json(&["commands", "show", "again", "-o", "json"]).expect("an answer");
    let invocations = command["invocations"].as_array().unwrap().iter();
    let statuses: Vec<_> = invocations.map(|one| one["statusDetails"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["Undeliverable", "Failed", "Success"], "{command}");
    let entries = entries(&again);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
}

#[test]
fn a_hook_that_fails_halts_the_rollout_whatever_may_fail() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    hook(&demo, "demo-02", "pre-install", "exec sleep 600", 0o755);
    let hosts = ["demo-02", "demo-03", "demo-04"];
    let (code, recap) = again.apply(&manifest(&hosts, 1, "  hooks: {timeout: 2s, onFailure: halt}\n"));
    assert_eq!((code, recap["state"].as_str()), (3, Some("Halted")), "{recap}");
    assert_eq!(recap["reason"]["code"], "hook", "{recap}");
    let text = "halted: a hook of demo-02 failed, and hooks.onFailure is halt; mend it and plan again";
    assert_eq!(recap["reason"]["text"], text, "{recap}");
    assert_eq!(ended(&of(&recap, "demo-02")), (Some("failed"), Some("hook-timed-out")), "{recap}");
    let begun = |host: &str| !hooks_of(&demo, host).is_empty();
    assert_eq!(hosts.map(begun), [true, false, false], "nothing began after it: {recap}");
    let entries = entries(&again);
    let mut judge = Judge::default();
    entries.iter().for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations(), []);
    let told = entries.iter().filter(|entry| match &entry.act {
        LedgerAct::Reported { evidence } => report_of(evidence).is_err(),
        _ => true,
    });
    let mut judge = Judge::default();
    told.for_each(|entry| judge.read(entry));
    assert_eq!(judge.violations()[0].promise, "errors", "without the report it is no valid ledger");
}
