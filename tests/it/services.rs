//! What must stay up: rollouts of real daemons over one service, of which one member is stopped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use patchmesh_common::rollout::{
    check::Judge,
    ledger::{LedgerAct, LedgerEntry},
    service::ServiceAct,
};
use serde_json::Value;

use crate::{
    fleet::{Again, hooks_of, overlap, wait_for},
    gates::put,
    rings::entries,
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

/// The command `ready` of a host's probes: it passes as long as nobody wrote why not.
fn probe(demo: &Path, host: &str) -> PathBuf {
    let (hooks, why) = (demo.join("hosts").join(host).join("hooks/probe"), demo.join(format!("{host}.ill")));
    put(&hooks, "ready", &format!("[ ! -e {0} ] || {{ cat {0}; exit 2; }}", why.display()));
    why
}

#[test]
fn a_member_that_fails_its_probe_keeps_the_others_from_being_taken_down_until_it_passes() {
    let Some(again) = unpatched(3) else { return };
    let demo = again.folder();
    let ill = ["demo-01", "demo-02", "demo-03"].map(|host| probe(&demo, host));
    fs::write(&ill[2], "no answer from the database\n").unwrap();
    apply(&again, &format!("{SERVICE}  probe: {{command: [ready, now]}}\n"));
    let service = wait_for_up(&again, 2);
    assert_eq!(service["probe"]["ask"]["command"][0], "ready", "{service}");
    let member = &service["hosts"][2];
    let text =
        "demo-03 fails the probe command ready now: it exited with 2: no answer from the database; mend that there";
    assert_eq!((member["state"].as_str(), member["text"].as_str()), (Some("failing"), Some(text)), "{service}");
    let id = apply(&again, &manifest(&["demo-01", "demo-02"], 2, ""));
    let why = wait_for("the host to say why it waits", || {
        let why = again.cli_json(&["why", "host", "demo-01", "-o", "json"])?;
        (why["chain"][0]["code"] == "service").then_some(why)
    });
    assert_eq!(
        (why["chain"][1]["code"].as_str(), why["chain"][1]["text"].as_str()),
        (Some("failing"), Some(text)),
        "{why}"
    );
    assert!(runs_of(&demo, "demo-01").is_empty() && runs_of(&demo, "demo-02").is_empty());

    // From its first run on a host is ill until somebody looks after it: its run succeeded, and the other one waits all the same.
    let sickens = |at: usize| fs::write(&ill[at], "it starts\n").unwrap();
    fs::remove_file(&ill[2]).unwrap();
    let first = wait_for("one of the two to begin", || {
        ["demo-01", "demo-02"].iter().position(|host| !hooks_of(&demo, host).is_empty())
    });
    sickens(first);
    wait_for("the first one to fail its probe after its run", || {
        let service = again.cli_json(&["describe", "service", "demo", "-o", "json"])?;
        (service["hosts"][first]["state"] == "failing").then_some(())
    });
    let status = again.cli_json(&["rollout", "status", &id, "-o", "json"]).unwrap();
    assert_eq!(
        (status["hosts"]["succeeded"].as_u64(), status["peakConcurrency"].as_u64()),
        (Some(1), Some(1)),
        "{status}"
    );
    assert!(hooks_of(&demo, ["demo-02", "demo-01"][first]).is_empty(), "two of three are up, and neither is spared");
    fs::remove_file(&ill[first]).unwrap();
    let status = again.end_of(&id);
    assert_eq!(status["state"], "Succeeded", "{status}");

    let entries = entries(&again);
    let judged = |of: &dyn Fn(&LedgerEntry) -> bool| {
        let mut judge = Judge::default();
        entries.iter().filter(|entry| of(entry)).for_each(|entry| judge.read(entry));
        judge.violations().first().map(|violation| violation.promise)
    };
    assert_eq!(judged(&|_| true), None);
    let said = |entry: &LedgerEntry| matches!(&entry.act, LedgerAct::Service(ServiceAct::Probed { .. }));
    assert_eq!(judged(&|entry| !said(entry)), Some("availability"), "without what they showed it is no valid ledger");
}
