//! Stories with real daemons: what `tests/stories` tells of simulated ones happens to real ones in private roots. In the end of
//! each, hook logs, dpkg logs and ledger are compared from outside, and the ledger is audited.

mod doctored;
mod judge;
mod record;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::Barrier,
    time::Duration,
};

use patchmesh_common::run::journal::JournalEntry;
use patchmesh_coordinator::demo::repository::BREAK_MARKER;
use serde_json::Value;

use self::{
    judge::{Asked, Compared, judge},
    record::Record,
};
use crate::{
    fleet::{Again, configured, hooks_of, program, wait_for},
    runs::journal_of,
    services::{self, SERVICE, wait_for_up},
    wave::{hook, manifest, result, unpatched},
};

fn asked(id: &str, rings: &[&[&str]], at_once: usize) -> Asked {
    let ring = |hosts: &&[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
    Asked { id: id.to_owned(), rings: rings.iter().map(ring).collect(), at_once }
}

/// Compares what the hosts, dpkg and the ledger say of the rollouts `asked`, which are all that there were, and audits the
/// ledger.
fn compare(again: &Again, asked: &[Asked]) -> Compared {
    let record = Record::read(again, asked.iter().map(|asked| asked.id.as_str()));
    let (wrong, compared) = judge(&record, asked);
    assert_eq!(wrong, [""; 0], "{record:#?}");
    let dir = again.folder().join("coordinator");
    let audited = again.cli(&["audit", "verify", "--dir", dir.to_str().unwrap(), "-o", "json"]);
    assert_eq!(audited.status.code(), Some(0), "{}", String::from_utf8_lossy(&audited.stderr));
    let document: Value = serde_json::from_slice(&audited.stdout).unwrap();
    assert_eq!(document["entries"].as_u64(), Some(record.ledger.len() as u64), "{document}");
    eprintln!("{compared:?}, {} entries", document["entries"]);
    compared
}

/// The new service will fail to configure on `host`.
fn break_package(demo: &Path, host: &str) {
    fs::write(demo.join("hosts").join(host).join("root").join(BREAK_MARKER), "").unwrap();
}

/// The hook of `host` at `point` does not end before the file is there that this names.
fn hold(demo: &Path, host: &str, point: &str) -> PathBuf {
    let gate = demo.join(format!("go-{host}"));
    hook(demo, host, point, &format!("while [ ! -e '{}' ]; do sleep 0.1; done", gate.display()), 0o755);
    gate
}

fn phases(demo: &Path, host: &str) -> Vec<String> {
    hooks_of(demo, host).into_iter().map(|line| line.phase).collect()
}

/// The codes of the causes that `why host` names, newest first, and its answer.
fn why(again: &Again, host: &str) -> (Vec<String>, String) {
    let why = again.asked(&["why", "host", host, "-o", "json"]);
    let chain = why["chain"].as_array().expect("a chain");
    let codes = chain.iter().map(|cause| cause["code"].as_str().expect("a code").to_owned()).collect();
    (codes, why["answer"].as_str().expect("an answer").to_owned())
}

fn state(recap: &Value) -> &str {
    recap["state"].as_str().expect("a state")
}

#[test]
fn canary_fails() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    break_package(&demo, "demo-04");
    let hosts = ["demo-01", "demo-02", "demo-03", "demo-04"];
    let rings = "  rings: [{name: canary, names: [demo-04], bake: 1s}, {name: fleet, all: true}]\n";
    let (code, recap) = again.apply(&manifest(&hosts, 2, rings).replace("maxErrors: 10", "maxErrors: 0"));
    assert_eq!((code, state(&recap), &recap["hosts"]["notStarted"]), (3, "Halted", &3.into()), "{recap}");
    assert_eq!(recap["rings"][1]["state"], "pending", "{recap}");
    assert_eq!(why(&again, "demo-01").0[..3], ["halted", "transaction-failed", "applied"]);
    assert_eq!(phases(&demo, "demo-04"), ["pre-install", "on-exit"]);
    let asked = [asked(recap["id"].as_str().unwrap(), &[&["demo-04"], &hosts[..3]], 2)];
    // The library and the kernel; the service was only unpacked.
    assert_eq!(compare(&again, &asked), Compared { grants: 1, hooks: 2, configured: 2 });

    // What nobody granted is found, and named.
    let log = demo.join("hosts/demo-02/root/var/log/dpkg.log");
    fs::copy(demo.join("hosts/demo-04/root/var/log/dpkg.log"), log).unwrap();
    let (wrong, _) = judge(&Record::read(&again, [&*asked[0].id].into_iter()), &asked);
    assert!(!wrong.is_empty() && wrong.iter().all(|text| text.starts_with("demo-02: dpkg says")), "{wrong:?}");
}

#[test]
fn budget_spent() {
    let Some(again) = unpatched(6) else { return };
    let demo = again.folder();
    break_package(&demo, "demo-02");
    // One fails when the other is at work; that one ends as if nothing were.
    let failing = hold(&demo, "demo-03", "post-install");
    hook(&demo, "demo-03", "on-exit", "exit 7", 0o755);
    let gate = hold(&demo, "demo-04", "post-install");
    let hosts = ["demo-01", "demo-02", "demo-03", "demo-04", "demo-05", "demo-06"];
    let rings = "  rings: [{name: first, names: [demo-01, demo-02]}, {name: second, all: true}]\n";
    let id = again.begin(&manifest(&hosts, 2, rings).replace("maxErrors: 10", "maxErrors: 1"));
    wait_for("two hosts at work", || phases(&demo, "demo-04").contains(&"post-install".into()).then_some(()));
    fs::write(failing, "").unwrap();
    wait_for("the rollout to halt", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (state(&status) == "Halted").then_some(())
    });
    fs::write(gate, "").unwrap();
    let recap = again.end_of(&id);
    let outcomes = hosts.map(|host| result(&recap, host)["outcome"].as_str().unwrap());
    assert_eq!(outcomes, ["succeeded", "failed", "failed", "succeeded", "notStarted", "notStarted"], "{recap}");
    assert_eq!(result(&recap, "demo-03")["error"]["code"], "hook-failed", "{recap}");
    assert_eq!(why(&again, "demo-06").0[..2], ["halted", "hook-failed"]);
    let compared = compare(&again, &[asked(&id, &[&hosts[..2], &hosts[2..]], 2)]);
    assert_eq!(compared, Compared { grants: 4, hooks: 4 + 2 + 4 + 4, configured: 3 + 2 + 3 + 3 });
}

#[test]
fn host_lost() {
    let Some(program) = program() else { return };
    let mut again = Again::prepared(&program, 4, Duration::ZERO, |demo| {
        Again::set(demo, "lost_after = \"45s\"", "lost_after = \"20s\"");
    });
    again.wait_for_hosts(4);
    let demo = again.folder();
    // It hangs where the host comes up after its reboot: there the daemon is killed.
    let gate = hold(&demo, "demo-02", "post-reboot");
    let hosts = ["demo-01", "demo-02", "demo-03", "demo-04"];
    let id = again.begin(&manifest(&hosts, 1, ""));
    wait_for("the host to come up again", || phases(&demo, "demo-02").contains(&"post-reboot".into()).then_some(()));
    again.kill("demo-02");
    wait_for("the host to be lost", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (result(&status, "demo-02")["outcome"] == "lost").then_some(())
    });
    assert_eq!(why(&again, "demo-03").0[..2], ["slot", "lost"]);
    let slots = again.asked(&["slots", "ls", "-o", "json"]);
    assert_eq!(
        (&slots["slots"][0]["host"], &slots["slots"][0]["state"]),
        (&"demo-02".into(), &"lost".into()),
        "{slots}"
    );
    assert!(hosts[2..].iter().all(|host| hooks_of(&demo, host).is_empty()), "its slot is held");

    let released = again.cli(&["slots", "release", "demo-02", "--because", "board is dead"]);
    assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    let recap = again.end_of(&id);
    assert_eq!((state(&recap), &recap["hosts"]["succeeded"]), ("CompletedWithLost", &3.into()), "{recap}");
    let mut all = vec![asked(&id, &[&hosts], 1)];
    let compared = Compared { grants: 4, hooks: 3 * 4 + 3, configured: 4 * 3 };
    assert_eq!(compare(&again, &all), compared);

    fs::write(gate, "").unwrap();
    again.restart("demo-02");
    let recap = wait_for("the late report", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (result(&status, "demo-02")["outcome"] == "succeeded").then_some(status)
    });
    assert_eq!((state(&recap), &recap["hosts"]["succeeded"]), ("Succeeded", &4.into()), "{recap}");
    assert_eq!(phases(&demo, "demo-02")[3..], ["post-reboot", "on-exit"], "it begins nothing disruptive");
    let compared = Compared { hooks: 4 * 4 + 1, ..compared };
    assert_eq!(compare(&again, &all), compared);

    // It takes part again, under another lease.
    let (code, recap) = again.apply(&manifest(&["demo-02"], 1, "").replace("operation: Install", "operation: Scan"));
    assert_eq!((code, state(&recap)), (0, "Succeeded"), "{recap}");
    all.push(asked(recap["id"].as_str().unwrap(), &[&["demo-02"]], 1));
    assert_eq!(compare(&again, &all), Compared { grants: 5, ..compared });
}

#[test]
fn operators_collide() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    let gate = hold(&demo, "demo-01", "post-install");
    let (first, second) = (["demo-01", "demo-02", "demo-03"], ["demo-02", "demo-03", "demo-04"]);
    let id = again.begin(&manifest(&first, 1, ""));
    wait_for("the first host to have installed", || {
        phases(&demo, "demo-01").contains(&"post-install".into()).then_some(())
    });

    // Another operator's plan for the same hosts says who has them in hand.
    let file = again.dir.path().join("other.yaml");
    fs::write(&file, manifest(&second, 2, "").replace("name: again", "name: other")).unwrap();
    let plan = again.asked(&["plan", "-f", file.to_str().unwrap(), "-o", "json"]);
    assert_eq!(plan["claims"][0]["rollout"], Value::from(&*id), "{}", plan["claims"]);
    assert_eq!(plan["claims"][0]["hosts"], serde_json::json!(["demo-02", "demo-03"]), "{}", plan["claims"]);
    let planned = again.dir.path().join("plan.json");
    fs::write(&planned, plan.to_string()).unwrap();

    // Everybody at once: three of the first rollout, one of the second.
    let started = Barrier::new(4);
    let at_once = |words: &[&str]| {
        started.wait();
        again.cli(words)
    };
    let [paused, resumed, stopped, applied] = std::thread::scope(|scope| {
        let steer = |verb: &'static str| {
            scope.spawn({
                let (at_once, id) = (&at_once, &id);
                move || at_once(&["rollout", verb, id])
            })
        };
        let apply = scope.spawn(|| at_once(&["apply", planned.to_str().unwrap(), "--detach"]));
        [steer("pause"), steer("resume"), steer("stop"), apply].map(|thread| thread.join().unwrap())
    });
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    eprintln!(
        "pause: {:?} {}\nresume: {:?} {}",
        paused.status.code(),
        said(&paused),
        resumed.status.code(),
        said(&resumed)
    );
    assert!(stopped.status.success(), "{}", said(&stopped));
    assert!(applied.status.success(), "{}", said(&applied));
    let stop = |entry: &JournalEntry| matches!(entry, JournalEntry::Stop(_));
    wait_for("the host to know", || journal_of(&demo.join("hosts/demo-01")).iter().any(stop).then_some(()));
    fs::write(gate, "").unwrap();
    let recap = again.end_of(&id);
    assert_eq!((state(&recap), &recap["hosts"]["notStarted"]), ("Stopped", &2.into()), "{recap}");
    assert_eq!(result(&recap, "demo-01")["error"]["code"], "stopped", "{recap}");
    assert_eq!(phases(&demo, "demo-01"), ["pre-install", "post-install", "on-exit"], "the reboot was left out");
    let other = String::from_utf8(applied.stdout).unwrap().trim().to_owned();
    let recap = again.end_of(&other);
    assert_eq!((state(&recap), &recap["hosts"]["succeeded"]), ("Succeeded", &3.into()), "{recap}");
    let compared = compare(&again, &[asked(&id, &[&first], 1), asked(&other, &[&second], 2)]);
    assert_eq!(compared, Compared { grants: 4, hooks: 3 + 3 * 4, configured: 4 * 3 });
    // Who did what: one operator in this test, by the user that ran the commands.
    let ledger = Record::read(&again, std::iter::empty()).ledger;
    let by =
        |act: &str| ledger.iter().filter(|entry| entry.act == act).map(|entry| entry.by.clone()).collect::<Vec<_>>();
    let started = by("started");
    assert_eq!((started.len(), by("stopped")), (2, started[..1].to_vec()));
}

#[test]
fn member_down() {
    let Some(mut again) = unpatched(3) else { return };
    let demo = again.folder();
    services::apply(&again, SERVICE);
    wait_for_up(&again, 3);
    // A coordinator that starts has not heard of it, and so need not wait until it is silent.
    again.kill("coordinator");
    again.kill("demo-03");
    again.restart_coordinator();
    let down = |service: &Value| service["hosts"][2]["state"] == "silent";
    wait_for("the others to be up, and it to be down", || Some(wait_for_up(&again, 2)).filter(down));
    let hosts = ["demo-01", "demo-02"];
    let id = again.begin(&manifest(&hosts, 2, ""));
    for host in hosts {
        let (codes, answer) = wait_for(&format!("{host} to wait for the service"), || {
            Some(why(&again, host)).filter(|(codes, _)| codes[0] == "service")
        });
        eprintln!("{answer}");
        assert_eq!(codes[1], "silent");
        assert!(
            answer.contains("service demo must keep 2 of its 3 members up, and 2 are: demo-03 is silent"),
            "{answer}"
        );
    }
    // Of three members one may be down: one at once is the service's limit, not the rollout's.
    let asked = [asked(&id, &[&hosts], 1)];
    assert_eq!(compare(&again, &asked), Compared::default());

    again.restart("demo-03");
    let recap = again.end_of(&id);
    assert_eq!((state(&recap), &recap["peakConcurrency"]), ("Succeeded", &1.into()), "{recap}");
    assert_eq!(configured(&demo, "demo-03", "pm-demo-lib", "1.1"), 0);
    assert_eq!(compare(&again, &asked), Compared { grants: 2, hooks: 8, configured: 6 });
}
