//! What must stay up: rollouts of real daemons over one service, of which one member is stopped.

use std::fs;

use serde_json::Value;

use crate::{
    fleet::{Again, hooks_of, overlap, wait_for},
    runs::runs_of,
    wave::{manifest, unpatched},
};

/// Two of the members of three must stay up.
pub(crate) const SERVICE: &str = "apiVersion: patchmesh/v1\nkind: Service\nmetadata: {name: demo}\nspec:\n  selector: {matchLabels: {demo: 'true'}}\n  minAvailable: 60%\n";

/// Applies `text`, and detaches if it is a rollout; what was printed.
pub(crate) fn apply(again: &Again, text: &str) -> String {
    let file = again.dir.path().join("applied.yaml");
    fs::write(&file, text).unwrap();
    let detach: &[&str] = if text.contains("kind: Rollout") { &["--detach"] } else { &[] };
    let applied = again.cli(&[&["apply", "-f", file.to_str().unwrap()], detach].concat());
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    String::from_utf8(applied.stdout).unwrap().trim().to_owned()
}

/// Waits until so many of its three members are up; the service.
pub(crate) fn wait_for_up(again: &Again, up: u64) -> Value {
    wait_for("so many members to be up", || {
        let service = again.cli_json(&["describe", "service", "demo", "-o", "json"])?;
        ((service["members"].as_u64(), service["up"].as_u64()) == (Some(3), Some(up))).then_some(service)
    })
}

#[test]
fn two_rollouts_over_a_service_with_a_stopped_member_are_granted_nothing_until_it_is_back() {
    let Some(mut again) = unpatched(3) else { return };
    let demo = again.folder();
    assert_eq!(apply(&again, SERVICE), "Service demo was created");
    assert_eq!(apply(&again, SERVICE), "nothing changed: Service demo was so already");
    let service = wait_for_up(&again, 3);
    assert_eq!(
        (service["minAvailable"]["given"].as_str(), service["minAvailable"]["resolved"].as_u64()),
        (Some("60%"), Some(2))
    );
    again.kill("demo-03");
    let service = wait_for_up(&again, 2);
    assert_eq!(service["hosts"][2]["state"], "silent", "{service}");

    let rollouts = ["demo-01", "demo-02"].map(|host| (host, apply(&again, &manifest(&[host], 1, ""))));
    for (host, _) in &rollouts {
        let why = wait_for("the host to say why it waits", || {
            let why = again.cli_json(&["why", "host", host, "-o", "json"])?;
            (why["chain"][0]["code"] == "service").then_some(why)
        });
        let first = &why["chain"][0];
        eprintln!("{why}");
        let text = first["text"].as_str().unwrap();
        assert!(text.contains("service demo must keep 2 of its 3 members up, and 2 are: demo-03 is silent"), "{text}");
        assert!(text.ends_with("or apply the service again with a lower minAvailable"), "{text}");
        assert_eq!(first["command"], "systemctl start patchmeshd");
    }
    // A restarted coordinator has heard of nobody, and grants no more than before.
    again.kill("coordinator");
    again.restart_coordinator();
    wait_for_up(&again, 2);
    for (host, id) in &rollouts {
        let status = wait_for("the rollout to be known", || again.cli_json(&["rollout", "status", id, "-o", "json"]));
        assert_eq!(
            (status["state"].as_str(), status["peakConcurrency"].as_u64()),
            (Some("Waiting"), Some(0)),
            "{status}"
        );
        assert!(runs_of(&demo, host).is_empty() && hooks_of(&demo, host).is_empty());
    }
    let held = again.cli_json(&["slots", "ls", "-o", "json"]).unwrap();
    assert_eq!(held["slots"].as_array().map(Vec::len), Some(0), "{held}");

    again.restart("demo-03");
    for (host, id) in &rollouts {
        let status = again.end_of(id);
        assert_eq!(status["state"], "Succeeded", "{status}");
        assert_eq!(runs_of(&demo, host).len(), 1);
    }
    assert_eq!(overlap(&demo), 1, "two of three are up at any moment");
}
