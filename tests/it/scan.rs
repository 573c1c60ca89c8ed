//! A Scan over real daemons: it reports what is missing, and changes nothing.

use crate::{
    fleet::{hooks_of, versions, wait_for},
    wave::unpatched,
};

const LOOK: &str = "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {name: look}\nspec:\n  operation: Scan\n  \
                    targets: {all: true}\n  baseline: all\n  maxConcurrency: 1\n  maxErrors: 1\n";

#[test]
fn a_scan_goes_by_the_indexes_that_there_are_and_names_the_repository_that_is_gone() {
    let Some(fleet) = unpatched(1) else { return };
    let suites = fleet.folder().join("repository/dists");
    std::fs::rename(suites.join("security"), suites.join("gone")).unwrap();
    let (exit, recap) = fleet.apply(LOOK);
    assert_eq!((exit, &recap["hosts"]["succeeded"]), (0, &1.into()), "{recap}");
    let id = recap["id"].as_str().unwrap();
    let steps = fleet.cli_json(&["rollout", "steps", id, "--host", "demo-01", "-o", "json"]).unwrap();
    let steps = steps["hosts"][0]["steps"].as_array().unwrap();
    let told = steps.iter().find(|step| step["name"] == "verify").unwrap()["output"].as_str().unwrap();
    assert!(told.contains("cannot refresh") && told.contains("/repository security"), "{told}");
    assert!(!told.contains("/repository main"), "{told}");
    let report = fleet.asked(&["describe", "host", "demo-01", "--patches", "--state", "Missing", "-o", "json"]);
    assert!(!report["patches"].as_array().unwrap().is_empty(), "the other one is judged: {report}");
}

#[test]
fn a_scan_without_any_index_fails_and_names_the_repository() {
    let Some(fleet) = unpatched(1) else { return };
    std::fs::rename(fleet.folder().join("repository"), fleet.folder().join("gone")).unwrap();
    let lists = fleet.folder().join("hosts/demo-01/root/var/lib/apt/lists");
    std::fs::remove_dir_all(&lists).unwrap();
    let (exit, recap) = fleet.apply(LOOK);
    assert_eq!((exit, &recap["hosts"]["failed"]), (4, &1.into()), "{recap}");
    let told = recap["results"][0]["error"]["text"].as_str().unwrap();
    assert!(told.contains("cannot refresh") && told.contains("/repository"), "{told}");
}

#[test]
fn a_scan_reports_what_is_missing_and_changes_nothing() {
    let Some(fleet) = unpatched(3) else { return };
    let before = versions(&fleet.folder(), "demo-02");
    let (exit, recap) = fleet.apply(
        "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {name: look}\nspec:\n  operation: Scan\n  \
         targets: {names: [demo-02, demo-03]}\n  baseline: all\n  maxConcurrency: 1\n",
    );
    assert_eq!((exit, &recap["state"], &recap["operation"]), (0, &"Succeeded".into(), &"Scan".into()), "{recap}");
    assert_eq!((&recap["hosts"]["succeeded"], &recap["peakConcurrency"]), (&2.into(), &1.into()));
    for result in recap["results"].as_array().unwrap() {
        assert_eq!((&result["packages"], &result["rebooted"]), (&serde_json::json!([]), &false.into()), "{result}");
    }
    assert_eq!(versions(&fleet.folder(), "demo-02"), before);
    assert_eq!(hooks_of(&fleet.folder(), "demo-02").len(), 0, "hooks belong to installs");
    wait_for("the record to say what is missing", || {
        let host = fleet.cli_json(&["describe", "host", "demo-02", "-o", "json"])?;
        (host["counters"]["missing"] == 3).then_some(())
    });
    let why = fleet.cli_json(&["why", "host", "demo-02", "-o", "json"]).unwrap();
    assert_eq!(why["chain"].as_array().unwrap().last().unwrap()["code"], "missing", "{why}");
}
