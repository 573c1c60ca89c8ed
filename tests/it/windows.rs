//! Rollouts through windows that a real coordinator keeps, over real daemons and real apt.

use std::fs;

use serde_json::Value;

use crate::{
    fleet::{Again, versions, wait_for},
    wave::{manifest, unpatched},
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
