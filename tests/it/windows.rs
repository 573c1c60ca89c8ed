//! Rollouts through windows that a real coordinator keeps, over real daemons and real apt.

use std::{collections::BTreeSet, fs, time::Duration};

use patchmesh_common::{rollout::ledger::LedgerAct, time::WallTime};
use patchmesh_node::clock;
use serde_json::Value;

use crate::{
    fleet::{Again, host_names, versions, wait_for},
    policies,
    rings::entries,
    wave::{hook, manifest, unpatched},
};

/// Always open: an opening of an hour every half an hour.
const ALWAYS: &str = "{schedule: rate(30 minutes), duration: 1h, cutoff: 10m}";
/// Open once, in another century.
const LATER: &str = "{schedule: 'at(2199-06-01T02:00:00)', timezone: Europe/Paris, duration: 4h, cutoff: 1h}";

fn keep(again: &Again, name: &str, spec: &str) {
    let file = again.dir.path().join("window.yaml");
    let text = format!("apiVersion: patchmesh/v1\nkind: MaintenanceWindow\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    fs::write(&file, text).expect("the manifest is written");
    let told = again.cli_json(&["apply", "-f", file.to_str().expect("UTF-8"), "-o", "json"]).expect("a document");
    assert_eq!((&told["change"], &told["name"]), (&"created".into(), &name.into()), "{told}");
}

/// What `words` print, with the rollout `text` as a file at their end.
fn with(again: &Again, words: &[&str], text: &str) -> std::process::Output {
    let file = again.dir.path().join("through.yaml");
    fs::write(&file, text).expect("the manifest is written");
    again.cli(&[words, &["-f", file.to_str().expect("UTF-8")]].concat())
}

fn installed(again: &Again, host: &str) -> bool {
    versions(&again.folder(), host).values().all(|version| version == "1.1 installed")
}

#[test]
fn hosts_start_in_an_opening_of_the_window_that_was_planned_and_not_in_a_blackout() {
    let Some(again) = unpatched(2) else { return };
    let through = |host: &str, when: &str| manifest(&[host], 1, &format!("  {when}\n"));
    let unknown = with(&again, &["plan", "-o", "json"], &through("demo-01", "windows: [later]"));
    assert_eq!(unknown.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no window"), "{unknown:?}");
    keep(&again, "always", ALWAYS);
    keep(&again, "later", LATER);

    // The host waits for the only opening of that window.
    let planned = with(&again, &["plan", "-o", "json"], &through("demo-01", "windows: [later]"));
    let plan: Value = serde_json::from_slice(&planned.stdout).unwrap();
    assert_eq!(plan["openings"][0]["lastStart"], "2199-06-01T03:00:00Z", "{plan}");
    assert_eq!(with(&again, &["apply", "--detach"], &through("demo-01", "windows: [later]")).status.code(), Some(0));
    wait_for("the host to say what it waits for", || {
        let why = again.cli_json(&["why", "host", "demo-01", "-o", "json"])?;
        why["chain"].as_array()?.iter().find(|step| step["code"] == "window-closed")?;
        why.to_string().contains("2199-06-01T00:00:00Z").then_some(())
    });
    assert!(!installed(&again, "demo-01"));
    assert_eq!(again.cli(&["rollout", "stop", "again"]).status.code(), Some(0));

    // A blackout closes what would be open.
    let frozen = "windows: [always]\n  blackouts: [{from: 2020-01-01T00:00:00Z, to: 2190-01-01T00:00:00Z}]";
    let refused = with(&again, &["plan", "-o", "json"], &through("demo-01", frozen));
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"no-opening\""), "{refused:?}");

    // What was planned goes on when the window is gone.
    let planned = with(&again, &["plan", "-o", "json"], &through("demo-02", "windows: [always]"));
    assert_eq!(planned.status.code(), Some(0), "{planned:?}");
    let file = again.dir.path().join("plan.json");
    fs::write(&file, &planned.stdout).unwrap();
    assert_eq!(again.cli(&["delete", "window", "always"]).status.code(), Some(0));
    let recap = again.cli_json(&["apply", file.to_str().unwrap(), "-o", "json"]).unwrap();
    assert_eq!(recap["state"], "Succeeded", "{recap}");
    assert!(installed(&again, "demo-02") && !installed(&again, "demo-01"));
    let left = again.cli_json(&["get", "windows", "-o", "json"]).unwrap();
    assert_eq!(left["windows"].as_array().unwrap().iter().map(|row| &row["name"]).collect::<Vec<_>>(), ["later"]);
}

/// The rows of the tasks of a window.
fn tasks(again: &Again, window: &str) -> Option<Vec<Value>> {
    let told = again.cli_json(&["get", "windows", "-o", "json"])?;
    let row = told["windows"].as_array()?.iter().find(|row| row["name"] == window)?.clone();
    row["tasks"].as_array().cloned()
}

/// Waits until the task at `at` of `window` stands as `result`; its row.
fn stands(again: &Again, window: &str, at: usize, result: &str) -> Value {
    wait_for(&format!("task {at} of {window} to be {result}"), || {
        tasks(again, window)?.get(at).filter(|row| row["lastResult"]["result"] == result).cloned()
    })
}

fn names(again: &Again) -> BTreeSet<String> {
    let told = wait_for("an answer", || again.cli_json(&["get", "rollouts", "-o", "json"]));
    let name = |row: &Value| row["name"].as_str().expect("a name").to_owned();
    told["rollouts"].as_array().expect("a list").iter().map(name).collect()
}

#[test]
fn a_window_does_its_tasks_by_priority_once_in_an_opening_and_none_after_its_last_start() {
    let Some(mut again) = policies::fleet(2) else { return };
    let hosts = host_names(&again.folder());
    let gate = again.folder().join("go");
    let text = format!("while [ ! -e {} ]; do sleep 0.1; done", gate.display());
    hook(&again.folder(), &hosts[0], "on-exit", &text, 0o755);
    let (schedule, opens) = policies::soon(policies::AHEAD);
    let spec = |schedule: &str, length: &str| {
        format!(
            "{{schedule: {schedule}, {length}, targets: [{{name: first, names: [{}]}}, {{name: rest, matching: '!none'}}], \
             tasks: [{{name: patch, priority: 1, operation: Install, targets: [first, rest], baseline: all, maxConcurrency: 1, \
             cutoffBehavior: CANCEL_TASK}}, {{name: scan, operation: Scan, targets: [rest], maxConcurrency: 100%}}]}}",
            hosts[0]
        )
    };
    let kept = policies::keep(&again, "MaintenanceWindow", "night", &spec(&schedule, "duration: 2h, cutoff: 1h"));
    assert_eq!(kept, "MaintenanceWindow night was created\n");
    let waiting = wait_for("the window to be listed", || tasks(&again, "night"));
    let row = |row: &Value| format!("{} {} {} {}", row["priority"], row["name"], row["target"], row["nextRun"]);
    let expected = ["0 \"scan\" \"rest\"", "1 \"patch\" \"first\"", "1 \"patch\" \"rest\""];
    let expected: Vec<_> = expected.iter().map(|row| format!("{row} \"{opens}\"")).collect();
    assert_eq!(waiting.iter().map(row).collect::<Vec<_>>(), expected, "in the order in which they are started");

    // The first target holds on, so that the second one waits; a coordinator that comes back knows that.
    let going = stands(&again, "night", 1, "Running");
    let scanned = stands(&again, "night", 0, "Succeeded");
    let time = |row: &Value, member: &str| row["lastRun"][member].as_str().expect("a time").to_owned();
    assert!(time(&scanned, "endedAt") <= time(&going, "startedAt"), "{scanned} {going}");
    assert!(opens <= time(&scanned, "startedAt"), "{scanned}");
    println!("{}", String::from_utf8_lossy(&again.cli(&["describe", "window", "night"]).stdout));
    again.kill("coordinator");
    again.restart_coordinator();
    let pending = stands(&again, "night", 2, "Pending");
    assert_eq!(pending["lastResult"]["text"], "until task patch on first has ended", "{pending}");
    assert!(!installed(&again, &hosts[1]));
    fs::write(&gate, "").expect("the gate opens");
    let done = stands(&again, "night", 2, "Succeeded");
    let first = stands(&again, "night", 1, "Succeeded");
    assert!(time(&first, "endedAt") <= time(&done, "startedAt"), "{first} {done}");
    assert!(hosts.iter().all(|host| installed(&again, host)));
    let stamp = opens.replace(['-', ':'], "").to_lowercase();
    let once = ["scan", "patch-first", "patch-rest"].map(|task| format!("night-{task}-{stamp}"));
    assert_eq!(names(&again), once.clone().into());
    let recap = again.cli_json(&["rollout", "status", &once[1], "-o", "json"]).expect("a recap");
    assert_eq!((&recap["hosts"]["total"], &recap["hosts"]["succeeded"]), (&1.into(), &1.into()), "{recap}");
    let by: Vec<_> = entries(&again)
        .into_iter()
        .filter_map(|entry| match entry.act {
            LedgerAct::Started(rollout) => Some((rollout.by, rollout.plan.openings)),
            _ => None,
        })
        .collect();
    assert_eq!(by[0].0, "window night task scan on rest");
    assert!(by[1].1[0].closes == by[1].1[0].last_start && by[0].1[0].closes > by[0].1[0].last_start, "{by:?}");

    // An opening of which the last start passes while no coordinator runs is over for all of them.
    let (schedule, opens) = policies::soon(policies::AHEAD);
    policies::keep(&again, "MaintenanceWindow", "short", &spec(&schedule, "duration: 1h, cutoff: 3598s"));
    again.kill("coordinator");
    let over = WallTime::parse(&opens).expect("a time").plus(Duration::from_secs(2));
    wait_for("the last start to pass", || (clock::now().wall > over).then_some(()));
    again.restart_coordinator();
    for at in 0..3 {
        let missed = stands(&again, "short", at, "Missed");
        assert_eq!(
            (&missed["lastResult"]["at"], &missed["nextRun"]),
            (&opens.as_str().into(), &Value::Null),
            "{missed}"
        );
    }
    assert_eq!(names(&again), once.into(), "nothing was done twice, or late");
    println!("{}", String::from_utf8_lossy(&again.cli(&["get", "windows"]).stdout));
}
