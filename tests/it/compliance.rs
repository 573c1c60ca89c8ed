//! What hosts report, asked for over the mesh.

use std::collections::BTreeMap;

use serde_json::Value;

use patchmesh_coordinator::demo::repository::BREAK_MARKER;

use crate::{
    fleet::{Again, PACKAGES, versions, wait_for},
    wave::{manifest, unpatched},
};

fn asked(again: &Again, words: &str) -> Value {
    again.asked(&words.split(' ').chain(["-o", "json"]).collect::<Vec<_>>())
}

/// The error that `words` end with.
fn refused(again: &Again, words: &str) -> Value {
    let words: Vec<_> = words.split(' ').chain(["-o", "json"]).collect();
    let output = again.cli(&words);
    assert_eq!(output.status.code(), Some(1), "{words:?}");
    serde_json::from_slice(&output.stderr).unwrap()
}

fn status_of(again: &Again, host: &str) -> Option<String> {
    let fleet = asked(again, "compliance");
    let row = fleet["hosts"].as_array()?.iter().find(|row| row["host"] == host)?.clone();
    Some(row["status"].as_str()?.to_owned())
}

/// (state, installed version) of the demo's packages, as the host tells them.
fn patches(again: &Again, host: &str) -> BTreeMap<String, (String, String)> {
    let document = asked(again, &format!("describe host {host} --patches"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = document["patches"].as_array().unwrap().iter();
    let ours = rows.filter(|row| row["name"].as_str().is_some_and(|name| PACKAGES.contains(&name)));
    ours.map(|row| (text(&row["name"]), (text(&row["state"]), text(&row["installed"])))).collect()
}

fn assert_all(again: &Again, host: &str, state: &str) {
    let (told, dpkg) = (patches(again, host), versions(&again.folder(), host));
    for package in PACKAGES {
        let (is, installed) = &told[package];
        assert_eq!((is.as_str(), format!("{installed} installed")), (state, dpkg[package].clone()), "{package}");
    }
}

#[test]
fn a_fleet_shows_who_lacks_what_and_a_host_tells_its_patches_its_steps_and_its_past() {
    let Some(mut again) = unpatched(3) else { return };
    let before = asked(&again, "compliance");
    assert_eq!((&before["fleet"]["hosts"], &before["fleet"]["unspecified"]), (&3.into(), &3.into()), "{before}");
    let none = refused(&again, "describe host demo-01 --patches");
    assert_eq!(none["code"], "no-report", "{none}");
    assert!(none["remedy"].as_str().unwrap().contains("operation: Scan"), "{none}");

    let scan = manifest(&["demo-01", "demo-02"], 2, "").replace("operation: Install", "operation: Scan");
    assert_eq!(again.apply(&scan).0, 0);
    assert_all(&again, "demo-01", "Missing");
    wait_for("the scans to be told", || {
        let wrong = |host| status_of(&again, host).is_some_and(|status| status == "NON_COMPLIANT");
        (wrong("demo-01") && wrong("demo-02")).then_some(())
    });

    let (code, recap) = again.apply(&manifest(&["demo-01"], 1, ""));
    assert_eq!(code, 0, "{recap}");
    assert_all(&again, "demo-01", "Installed");
    wait_for("the installation to be told", || status_of(&again, "demo-01").filter(|status| status == "COMPLIANT"));
    let fleet = asked(&again, "compliance")["fleet"].clone();
    let counts = ["compliant", "nonCompliant", "unspecified"].map(|count| fleet[count].as_u64().unwrap());
    assert_eq!((counts, fleet["byReason"]["missing"].as_u64()), ([1, 1, 1], Some(1)), "{fleet}");
    eprintln!("{}", String::from_utf8_lossy(&again.cli(&["compliance"]).stdout));

    let history = asked(&again, "describe host demo-01 --history");
    let past: Vec<_> = history["reports"].as_array().unwrap().iter().collect();
    let operations: Vec<_> = past.iter().map(|report| report["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["Install", "Scan"], "{history}");
    assert_eq!((&past[0]["counters"]["missing"], &past[1]["counters"]["missing"]), (&0.into(), &3.into()));
    let (began, ended) = (past[0]["operationStartedAt"].as_str(), past[0]["operationEndedAt"].as_str());
    assert!(began.is_some() && began <= ended, "{history}");
    assert_eq!((&past[0]["rebootOption"], &past[1]["rebootOption"]), (&"ifNeeded".into(), &Value::Null), "{history}");

    let id = recap["id"].as_str().unwrap();
    let steps = asked(&again, &format!("rollout steps {id} --host demo-01"));
    let steps = steps["hosts"][0]["steps"].as_array().unwrap();
    let transaction = steps.iter().find(|step| step["name"] == "transaction").expect("a transaction");
    assert_eq!(transaction["status"], "succeeded");
    assert!(transaction["output"].as_str().unwrap().contains("pm-demo-service"), "{transaction}");

    let snapshots = asked(&again, "get snapshots");
    let newest = snapshots["snapshots"][0].clone();
    assert_eq!((&newest["judgedBy"], &newest["packages"]), (&"all".into(), &3.into()), "{snapshots}");
    let frozen = asked(&again, &format!("describe snapshot {}", &newest["id"].as_str().unwrap()[..8]));
    let frozen = frozen["versions"].as_array().unwrap();
    assert!(frozen.iter().all(|version| version["version"] == "1.1"), "{frozen:?}");

    again.kill("demo-02");
    wait_for("a dead host to be silent", || {
        let code = refused(&again, "describe host demo-02 --patches")["code"].as_str()?.to_owned();
        (code == "host-silent").then_some(())
    });
    assert_eq!(status_of(&again, "demo-02").as_deref(), Some("NON_COMPLIANT"), "what it said last stays");
}

#[test]
fn a_package_that_a_run_left_half_configured_has_failed() {
    let Some(again) = unpatched(1) else { return };
    std::fs::write(again.folder().join("hosts/demo-01/root").join(BREAK_MARKER), "").unwrap();
    let (code, recap) = again.apply(&manifest(&["demo-01"], 1, ""));
    assert_eq!((code, &recap["results"][0]["error"]["code"]), (4, &"transaction-failed".into()), "{recap}");
    let told = patches(&again, "demo-01");
    assert_eq!(told["pm-demo-service"], ("Failed".into(), "1.1".into()), "{told:?}");
    wait_for("the failure to be told", || status_of(&again, "demo-01").filter(|status| status == "NON_COMPLIANT"));
    let reasons = asked(&again, "compliance")["fleet"]["byReason"].clone();
    assert_eq!(reasons["failed"], 1, "{reasons}");
}
