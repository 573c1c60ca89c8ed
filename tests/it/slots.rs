//! Hosts that never come back, slots that are released by name, and a second coordinator on a copied store.

use std::{collections::BTreeMap, fs, path::Path};

use patchmesh_common::time::WallTime;
use serde_json::Value;

use crate::{
    fleet::{Again, hooks_of, overlap, wait_for},
    wave::{hook, manifest, result, unpatched, unpatched_and_slow},
};

fn slots(again: &Again) -> Vec<Value> {
    let listed = again.cli_json(&["slots", "ls", "-o", "json"]).expect("a document");
    listed["slots"].as_array().expect("a list").clone()
}

fn talk(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_host_that_never_returns_ends_as_lost_and_is_released_by_name() {
    let Some(mut again) = unpatched(4) else { return };
    let demo = again.folder();
    // It hangs where the host comes up after its reboot: there the daemon is killed, for good.
    let gate = demo.join("go");
    hook(&demo, "demo-02", "post-reboot", &format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display()), 0o755);
    let id = again.begin(&manifest(&["demo-02", "demo-03"], 2, ""));
    wait_for("the host to come up again", || {
        let held = slots(&again);
        let own = held.iter().find(|slot| slot["host"] == "demo-02")?;
        (own["phase"] == "post-reboot").then_some(())
    });
    let refused = again.cli(&["slots", "release", "demo-02", "--because", "too early"]);
    assert!(talk(&refused).contains("--even-if-heard"), "{}", talk(&refused));
    assert_eq!((refused.status.code(), slots(&again).is_empty()), (Some(1), false));
    again.kill("demo-02");

    let watched = again.cli(&["rollout", "watch", &id, "-o", "json"]);
    let recap: Value = serde_json::from_slice(&watched.stdout).unwrap_or_else(|_| panic!("{}", talk(&watched)));
    assert_eq!((watched.status.code(), recap["state"].as_str()), (Some(5), Some("CompletedWithLost")), "{recap}");
    assert_eq!(result(&recap, "demo-03")["outcome"], "succeeded", "{recap}");
    let command = "patchmesh slots release demo-02 --because TEXT";
    let told = result(&recap, "demo-02")["error"]["text"].as_str().unwrap().to_owned();
    assert!(told.contains(command), "{told}");
    let why = String::from_utf8(again.cli(&["why", "host", "demo-02"]).stdout).unwrap();
    eprintln!("{why}");
    assert!(why.contains(command) && why.contains("silent for"), "{why}");
    let held = slots(&again);
    assert_eq!((held.len(), held[0]["state"].as_str(), held[0]["release"].as_str()), (1, Some("lost"), Some(command)));

    let released = again.cli(&["slots", "release", "demo-02", "--because", "board is dead"]);
    let text = String::from_utf8(released.stdout.clone()).unwrap();
    eprintln!("{text}");
    assert!(
        released.status.success() && text.contains("is fenced") && text.contains("risk (lost)"),
        "{}",
        talk(&released)
    );
    assert_eq!(slots(&again), [] as [Value; 0]);
    let twice = again.cli(&["slots", "release", "demo-02", "--because", "board is dead"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(talk(&twice).contains("demo-02 holds no slot"), "{}", talk(&twice));
    let (code, recap) = again.apply(&manifest(&["demo-04"], 1, ""));
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");

    let before = hooks_of(&demo, "demo-02").len();
    fs::write(&gate, "").unwrap();
    again.restart("demo-02");
    let recap = wait_for("the late report", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (result(&status, "demo-02")["outcome"] == "succeeded").then_some(status)
    });
    assert_eq!(
        (recap["state"].as_str(), recap["hosts"]["succeeded"].as_u64()),
        (Some("Succeeded"), Some(2)),
        "{recap}"
    );
    let later: Vec<_> = hooks_of(&demo, "demo-02").split_off(before).into_iter().map(|line| line.phase).collect();
    assert!(later.iter().all(|phase| phase == "post-reboot" || phase == "on-exit"), "it began nothing: {later:?}");
    let (code, recap) = again.apply(&manifest(&["demo-02"], 1, "").replace("operation: Install", "operation: Scan"));
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "it takes part again: {recap}");
}

/// How long a copy listens before it grants anything, in milliseconds.
const LISTEN: i64 = 30_000;

/// The leases that a ledger grants, and when.
fn grants(again: &Again, dir: &Path) -> BTreeMap<String, i64> {
    let output = again.cli(&["audit", "export", "-o", "jsonl", "--dir", dir.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let granted = entries.filter(|entry| entry["act"] == "granted");
    let time = |entry: &Value| WallTime::parse(entry["at"].as_str()?).map(|at| at.0);
    let grants: BTreeMap<_, _> =
        granted.map(|entry| (entry["lease"].as_str().unwrap().to_owned(), time(&entry).unwrap())).collect();
    assert!(!grants.is_empty(), "{text}");
    grants
}

#[test]
fn a_second_coordinator_on_a_copied_store_grants_nothing_and_says_so_while_the_first_one_goes_on() {
    let Some(mut again) = unpatched_and_slow(5, 3) else { return };
    let hosts = ["demo-02", "demo-03", "demo-04", "demo-05"];
    let id = again.begin(&manifest(&hosts, 1, ""));
    let demo = again.folder();
    wait_for("the first host to be at work", || (!hooks_of(&demo, "demo-02").is_empty()).then_some(()));
    let copy = again.copy_coordinator();
    let log = copy.join("serve.log");
    let said = |words: &str| fs::read_to_string(&log).is_ok_and(|text| text.contains(words));
    wait_for("the copy to say what it is", || said("leases may be out that this ledger does not know").then_some(()));
    let socket = copy.join("api.sock");
    let status = wait_for("the copy to say why it waits", || {
        let status = again.cli_json(&["rollout", "status", &id, "--socket", socket.to_str().unwrap(), "-o", "json"])?;
        let code = status["reason"]["code"].as_str()?;
        ["listening", "rival", "reconciling"].contains(&code).then_some(status)
    });
    eprintln!("the copy says: {}", status["reason"]["text"]);
    again.kill("copy");
    again.start_copy(&copy);
    wait_for("the copy, started again, to know what it is", || {
        let status = again.cli_json(&["rollout", "status", &id, "--socket", socket.to_str().unwrap(), "-o", "json"])?;
        ["listening", "rival"].contains(&status["reason"]["code"].as_str()?).then_some(())
    });
    let recap = again.end_of(&id);
    let text = fs::read_to_string(&log).unwrap();
    eprintln!("{}", text.lines().filter(|line| line.contains("WARN")).collect::<Vec<_>>().join("\n"));
    assert_eq!(
        (recap["state"].as_str(), recap["hosts"]["succeeded"].as_u64()),
        (Some("Succeeded"), Some(4)),
        "{recap}"
    );
    assert_eq!(overlap(&demo), 1, "the limit holds");
    let (first, copied) = (grants(&again, &demo.join("coordinator")), grants(&again, &copy));
    for (lease, at) in copied.iter().filter(|(lease, _)| !first.contains_key(*lease)) {
        // A wave on a machine that is very busy may let it hear nothing for so long that it takes the first one for dead.
        let heard = first.values().any(|granted| (at - LISTEN..*at).contains(granted));
        assert!(!heard, "the copy granted lease {lease} while the first one was at work: {first:?} {copied:?}");
    }
    assert!(again.children.get_mut("copy").unwrap().try_wait().unwrap().is_none(), "it still runs");
}
