//! Policies over real daemons and real apt: a coordinator scans and installs by itself when it is time.

use std::{collections::BTreeSet, fs};

use patchmesh_common::{rollout::ledger::LedgerAct, time::WallTime};
use patchmesh_node::clock;
use serde_json::Value;

use crate::{
    fleet::{Again, program, versions, wait_for},
    rings::entries,
    wave::hook,
};

/// `PATCHMESH_FLEET`: how many hosts; few by default, because every one is a process here.
fn size() -> u32 {
    std::env::var("PATCHMESH_FLEET").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

/// Approves every update, at once.
const EVERYTHING: &str = "{operatingSystem: DEBIAN, approvalRules: {patchRules: [{patchFilterGroup: {patchFilters: \
     [{key: PRODUCT, values: ['*']}]}, complianceLevel: HIGH, enableNonSecurity: true}]}}";
/// How long before its time a policy is written, in milliseconds: longer than it takes to write and read it.
pub(crate) const AHEAD: i64 = 15_000;
/// From a scan to the install after it, in milliseconds.
const BETWEEN: i64 = 20_000;

pub(crate) fn fleet(hosts: u32) -> Option<Again> {
    let mut again = Again::fresh(&program()?, hosts, std::time::Duration::ZERO);
    again.wait_for_hosts(hosts as usize);
    Some(again)
}

/// `at(…)` of so many milliseconds from now on, in UTC, and the same instant.
pub(crate) fn soon(ahead: i64) -> (String, String) {
    let at = WallTime((clock::now().wall.0 + ahead) / 1000 * 1000).rfc3339();
    (format!("at({})", at.trim_end_matches('Z')), at)
}

fn ok(output: &std::process::Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

pub(crate) fn keep(again: &Again, kind: &str, name: &str, spec: &str) -> String {
    let file = again.dir.path().join("kept.yaml");
    let text = format!("apiVersion: patchmesh/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    fs::write(&file, text).expect("the manifest is written");
    ok(&again.cli(&["apply", "-f", file.to_str().expect("UTF-8")]))
}

/// The row of an operation of a policy.
fn row(again: &Again, policy: &str, operation: &str) -> Option<Value> {
    let told = again.cli_json(&["get", "policies", "-o", "json"])?;
    let rows = told["policies"].as_array()?;
    rows.iter().find(|row| row["name"] == policy && row["operation"] == operation).cloned()
}

/// The same, from a coordinator that may be busy.
fn told(again: &Again, policy: &str, operation: &str) -> Value {
    wait_for("an answer", || row(again, policy, operation))
}

/// Waits until the newest time of an operation of `policy` has ended as `result`; its row.
pub(crate) fn result(again: &Again, policy: &str, operation: &str, result: &str) -> Value {
    wait_for(&format!("{operation} of {policy} to be {result}"), || {
        row(again, policy, operation).filter(|row| row["lastResult"]["result"] == result)
    })
}

fn installed(again: &Again, host: &str) -> bool {
    versions(&again.folder(), host).values().all(|version| version == "1.1 installed")
}

fn names(again: &Again) -> Vec<String> {
    let told = wait_for("an answer", || again.cli_json(&["get", "rollouts", "-o", "json"]));
    told["rollouts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["name"].as_str().expect("a name").into())
        .collect()
}

/// Every entry of the ledger, as it is told.
fn ledger(again: &Again) -> String {
    let folder = again.folder().join("coordinator");
    ok(&again.cli(&["audit", "export", "-o", "jsonl", "--dir", folder.to_str().expect("UTF-8")]))
}

#[test]
fn a_policy_scans_and_installs_when_it_is_time_once_and_says_so() {
    let count = size();
    let Some(mut again) = fleet(count) else { return };
    let demo = again.folder();
    let hosts: Vec<_> = crate::fleet::host_names(&demo);
    let (scan, scan_at) = soon(AHEAD);
    let (install, install_at) = soon(AHEAD + BETWEEN);
    assert_eq!(keep(&again, "PatchBaseline", "every-update", EVERYTHING), "baseline every-update was created\n");
    let logs = fs::canonicalize(&demo).expect("the folder is there").join("logs");
    let spec = format!(
        "{{scan: {{schedule: {scan}}}, install: {{schedule: {install}}}, targets: {{all: true}}, \
         baselines: {{DEBIAN: every-update}}, maxConcurrency: 50%, maxErrors: 0, logs: {{folder: {}}}}}",
        logs.display()
    );
    assert_eq!(keep(&again, "PatchPolicy", "nightly", &spec), "PatchPolicy nightly was created\n");
    println!("{}", ok(&again.cli(&["get", "policies"])));
    let waiting = told(&again, "nightly", "Install");
    assert_eq!((&waiting["nextRun"], &waiting["lastRun"]), (&install_at.as_str().into(), &Value::Null), "{waiting}");

    let scanned = result(&again, "nightly", "Scan", "Succeeded");
    assert_eq!(
        (&scanned["lastRun"]["dueAt"], &scanned["nextRun"]),
        (&scan_at.as_str().into(), &Value::Null),
        "{scanned}"
    );
    let done = result(&again, "nightly", "Install", "Succeeded");
    assert_eq!(done["lastRun"]["dueAt"], install_at.as_str(), "{done}");
    let time =
        |row: &Value, member: &str| WallTime::parse(row["lastRun"][member].as_str().expect("a time")).expect("a time");
    assert!(time(&done, "startedAt") >= time(&done, "dueAt"), "{done}");
    assert!(hosts.iter().all(|host| installed(&again, host)));
    let stamp = |at: &str| at.replace(['-', ':'], "").to_lowercase();
    let expected = [format!("nightly-install-{}", stamp(&install_at)), format!("nightly-scan-{}", stamp(&scan_at))];
    assert_eq!(names(&again).into_iter().collect::<BTreeSet<_>>(), expected.clone().into());
    let written = ledger(&again);
    assert_eq!(written.matches("\"by\":\"policy nightly\"").count(), 2, "{written}");

    // Nobody made the folder for the logs: nothing waits for it, and everything is there once it is.
    let unwritten = wait_for("the logs to be missed", || {
        row(&again, "nightly", "Install").filter(|row| !row["logs"]["error"].is_null())
    });
    println!("{unwritten}\n{}", ok(&again.cli(&["get", "policies"])));
    fs::create_dir(&logs).expect("a folder");
    let log = |host: &str| -> Option<Value> {
        let text = fs::read(logs.join(&expected[0]).join(format!("{host}.json"))).ok()?;
        Some(serde_json::from_slice(&text).expect("JSON"))
    };
    for host in &hosts {
        let said = wait_for(&format!("the log of {host}"), || log(host));
        assert_eq!((&said["host"], &said["status"]), (&host.as_str().into(), &"Success".into()), "{said}");
        assert!(said["steps"].as_array().is_some_and(|steps| steps.iter().any(|step| step["name"] == "transaction")));
    }
    wait_for("no complaint", || row(&again, "nightly", "Install").filter(|row| row["logs"]["error"].is_null()));

    // A coordinator that comes back knows from its ledger what was done, and writes what is missing.
    fs::remove_file(logs.join(&expected[0]).join(format!("{}.json", hosts[0]))).expect("it was written");
    again.kill("coordinator");
    again.restart_coordinator();
    let back = wait_for("the coordinator to be back", || row(&again, "nightly", "Install"));
    assert_eq!((&back["lastRun"], &back["nextRun"]), (&done["lastRun"], &Value::Null), "{back}");
    wait_for("the log that was removed", || log(&hosts[0]));
    wait_for("every host to report", || {
        let told = again.cli_json(&["compliance", "-o", "json"])?;
        let by_policy = told["hosts"].as_array()?.iter().all(|host| host["baseline"] == "every-update");
        (told["fleet"]["compliant"] == count && by_policy).then_some(())
    });
    for words in [
        &["get", "policies"][..],
        &["describe", "policy", "nightly"],
        &["get", "rollouts"],
        &["compliance"],
        &["why", "host", &hosts[0]],
    ] {
        println!("$ patchmesh {}\n{}", words.join(" "), ok(&again.cli(words)));
    }
    assert_eq!(names(&again).len(), 2, "nothing was done twice");
}

#[test]
fn what_comes_while_a_run_is_on_its_way_is_skipped_and_what_nobody_saw_is_made_up_for_or_missed() {
    let Some(mut again) = fleet(1) else { return };
    let demo = again.folder();
    let gate = demo.join("go");
    let host = crate::fleet::host_names(&demo).remove(0);
    hook(&demo, &host, "on-exit", &format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display()), 0o755);
    let policy = |scan: &str, install: &str| {
        format!(
            "{{scan: {{schedule: {scan}}}, install: {{schedule: {install}}}, targets: {{matching: '!none'}}, \
             baseline: all, maxConcurrency: 1}}"
        )
    };
    let later = "at(2199-06-01T02:00:00)";
    keep(&again, "PatchPolicy", "nightly", &policy(later, &soon(AHEAD).0));
    let running =
        wait_for("the run to begin", || row(&again, "nightly", "Install").filter(|row| !row["lastRun"].is_null()));
    // The next time of it comes while its host holds on.
    let next = soon(AHEAD);
    keep(&again, "PatchPolicy", "nightly", &policy(later, &next.0));
    let skipped = result(&again, "nightly", "Install", "Skipped");
    assert_eq!(
        (&skipped["lastResult"]["at"], &skipped["lastRun"]["rollout"]),
        (&next.1.as_str().into(), &running["lastRun"]["rollout"])
    );
    println!("{}", ok(&again.cli(&["describe", "policy", "nightly"])));
    fs::write(&gate, "").expect("the gate opens");
    let rollout = running["lastRun"]["rollout"].as_str().expect("an id").to_owned();
    wait_for("the run to end", || {
        again.cli_json(&["rollout", "status", &rollout, "-o", "json"]).filter(|recap| !recap["endedAt"].is_null())
    });
    assert_eq!(told(&again, "nightly", "Install")["lastResult"]["result"], "Skipped");
    assert_eq!(names(&again).len(), 1, "the end of a run makes up for nothing");

    // While no coordinator runs, a time of each passes.
    let (scan, install) = (soon(AHEAD), soon(AHEAD));
    keep(&again, "PatchPolicy", "nightly", &policy(&scan.0, &install.0));
    again.kill("coordinator");
    let passed = WallTime::parse(&install.1).expect("a time");
    wait_for("the time to pass", || (clock::now().wall > passed).then_some(()));
    again.restart_coordinator();
    let scanned = result(&again, "nightly", "Scan", "Succeeded");
    assert_eq!(scanned["lastRun"]["dueAt"], scan.1.as_str(), "{scanned}");
    let done = result(&again, "nightly", "Install", "Succeeded");
    assert_eq!(done["lastRun"]["dueAt"], install.1.as_str(), "a restart is no reason to miss it: {done}");
}

#[test]
fn what_is_urgent_goes_outside_a_window_only_with_a_reason_which_the_ledger_keeps() {
    let Some(again) = fleet(1) else { return };
    let host = crate::fleet::host_names(&again.folder()).remove(0);
    keep(&again, "MaintenanceWindow", "later", "{schedule: 'at(2199-06-01T02:00:00)', duration: 1h}");
    let policy =
        "{install: {schedule: 'at(2199-06-01T02:00:00)'}, targets: {all: true}, maxConcurrency: 1, windows: [later]}";
    keep(&again, "PatchPolicy", "guarded", policy);
    let urgent = ["patch-now", "--all", "--baseline", "all", "-o", "json"];
    let refused = again.cli(&urgent);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("a window that is closed covers {host} (policy guarded: later)")), "{said}");
    assert!(names(&again).is_empty() && !installed(&again, &host));
    let because = "CVE-2026-0001 is exploited";
    let reason = ["--outside-window", "--because", because];
    let done = again.cli(&[&urgent[..], &reason[..]].concat());
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(installed(&again, &host));
    let kept = entries(&again).into_iter().find_map(|entry| match entry.act {
        LedgerAct::Started(rollout) => rollout.plan.because,
        _ => None,
    });
    assert_eq!(kept.as_deref(), Some(because));
    let name = names(&again).remove(0);
    let status = wait_for("an answer", || again.cli_json(&["rollout", "status", &name, "-o", "json"]));
    assert_eq!(status["outsideWindow"]["because"], because, "{status}");
    assert!(status["outsideWindow"]["by"].as_str().is_some_and(|by| by.contains("uid")), "{status}");
    assert!(ledger(&again).contains(&format!("outside of windows: {because}")));
}
