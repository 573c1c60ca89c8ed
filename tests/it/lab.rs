//! Booted hosts: systemd, real reboots, real archives. Everything here skips itself unless `PATCHMESH_LAB` names the lab's
//! program; it runs as root.

mod fleet;
mod host;
mod kills;

use std::collections::BTreeMap;

use serde_json::Value;

use self::fleet::Fleet;
use crate::fleet::wait_for;

/// Hosts of every flavour that this is for.
const SIX: [&str; 2] = ["debian=4", "trixie=2"];
const SPEC: &str = "  baseline: security\n  maxConcurrency: 2\n  maxErrors: 0\n";

fn result<'a>(recap: &'a Value, host: &str) -> &'a Value {
    let results = recap["results"].as_array().expect("a list");
    results.iter().find(|result| result["host"] == host).unwrap_or_else(|| panic!("{host} is in the recap"))
}

#[test]
fn a_rollout_with_all_hooks_and_real_reboots_on_booted_hosts() {
    let Some(fleet) = Fleet::start(&SIX, &["clean"], "") else { return };
    let hosts = fleet.lab.hosts.clone();
    let before: BTreeMap<_, _> = hosts.iter().map(|host| (host, fleet.lab.boot_id(host))).collect();
    let rollout = fleet.begin("reboots", &hosts, SPEC);
    let (code, recap) = fleet.watch(&rollout);
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
    for host in &hosts {
        assert_eq!(result(&recap, host)["rebooted"], true, "{host}");
        assert_ne!(fleet.lab.boot_id(host), before[host], "{host} was really rebooted");
        assert_eq!(fleet.phases(host), ["pre-install", "post-install", "post-reboot", "on-exit"], "{host}");
    }
    let configured = fleet.check_packages(&recap);
    assert!(configured >= 6, "security updates are many");
    eprintln!("{} hosts, {configured} packages, peak {}", hosts.len(), recap["peakConcurrency"]);
    assert_eq!(recap["peakConcurrency"], 2);
}

#[test]
fn our_own_package_is_upgraded_by_the_run_that_installs_it() {
    let Some(fleet) = Fleet::start(&["debian=2"], &[], "") else { return };
    let hosts = fleet.lab.hosts.clone();
    let version = concat!(env!("CARGO_PKG_VERSION"), "+next");
    fleet.lab.offer(&fleet.package(Some(version)));
    let pid = |host: &str| fleet.lab.ask(host, "systemctl show -P MainPID patchmeshd");
    let before: Vec<_> = hosts.iter().map(|host| pid(host)).collect();
    let rollout = fleet.begin("ourselves", &hosts, "  baseline: all\n  maxConcurrency: 1\n  maxErrors: 0\n");
    let (code, recap) = fleet.watch(&rollout);
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
    for (host, before) in hosts.iter().zip(before) {
        let packages = result(&recap, host)["packages"].as_array().unwrap().clone();
        let ours = packages.iter().find(|package| package["name"] == "patchmesh");
        assert_eq!(ours.expect("it was upgraded")["to"], version, "{host}");
        assert_ne!(pid(host), before, "{host} runs another process now");
        let exe = fleet.lab.exec(host, "readlink /proc/$(systemctl show -P MainPID patchmeshd)/exe");
        assert_eq!(exe.trim(), "/usr/bin/patchmeshd", "{host} runs the new file, not a deleted one");
        eprintln!("{host}: {} packages in the run that replaced its daemon", packages.len());
    }
    fleet.check_packages(&recap);
}

#[test]
fn a_host_that_does_not_come_back_from_its_reboot_is_lost_until_it_is_released() {
    let Some(fleet) = Fleet::start(&SIX, &["clean"], "lost_after = \"60s\"\n") else { return };
    let hosts = fleet.lab.hosts.clone();
    let lost = &hosts[0];
    let spec = |baseline: &str| format!("  baseline: {baseline}\n  maxConcurrency: 2\n  maxErrors: 1\n");
    let rollout = fleet.begin("lost", &hosts, &spec("security"));
    // Its last word before the reboot. Not `stop`: it may be going down already, and would be asked to do so again.
    let last = "grep post-install /var/log/patchmesh-hooks.log";
    wait_for("the first host's last hook before its reboot", || fleet.lab.ask(lost, last));
    fleet.lab.crash(lost);
    let (code, recap) = fleet.watch(&rollout);
    assert_eq!((code, recap["state"].as_str()), (5, Some("CompletedWithLost")), "{recap}");
    assert_eq!(result(&recap, lost)["outcome"], "lost");
    for host in &hosts[1..] {
        assert_eq!(result(&recap, host)["outcome"], "succeeded", "{host}");
    }
    let told = result(&recap, lost)["error"]["text"].as_str().unwrap();
    assert!(told.contains(&format!("patchmesh slots release {lost}")), "{told}");
    eprintln!("{lost}: {told}");

    let released = fleet.cli(&["slots", "release", lost, "--because", "its board is dead"]);
    eprintln!("{}", String::from_utf8_lossy(&released.stdout));
    assert!(released.status.success(), "{}", String::from_utf8_lossy(&released.stderr));
    fleet.lab.run(&["publish", "deb", "lab-hello", "3.0"]);
    let (code, next) = fleet.watch(&fleet.begin("next", &hosts[1..], &spec("all")));
    assert_eq!((code, next["state"].as_str()), (0, Some("Succeeded")), "{next}");

    let before = fleet.lab.exec(&hosts[1], "date +%s%N").trim().parse::<u128>().unwrap();
    fleet.lab.run(&["start", lost]);
    let back = wait_for("the report of the host that came back", || {
        let recap = fleet.cli_json(&["rollout", "status", &rollout, "-o", "json"])?;
        let outcome = result(&recap, lost)["outcome"].as_str()?;
        // Whether the reboot had begun is chance.
        ["succeeded", "failed"].contains(&outcome).then(|| result(&recap, lost).clone())
    });
    eprintln!("{lost} came back: {}, {} packages", back["outcome"], back["packages"].as_array().unwrap().len());
    let since: Vec<_> = fleet.hooks(lost).into_iter().filter(|(at, _)| *at > before).map(|(_, phase)| phase).collect();
    let ends = |phase: &String| ["post-reboot", "on-exit"].contains(&phase.as_str());
    assert!(since.iter().all(ends) && since.last().is_some_and(|phase| phase == "on-exit"), "it began {since:?}");
}

/// Hosts that cannot hear the coordinator obey one of themselves.
#[test]
fn a_stop_from_a_host_while_the_coordinator_is_cut_off() {
    let Some(fleet) = Fleet::start(&SIX, &[], "") else { return };
    let hosts = fleet.lab.hosts.clone();
    let key = fleet.operator("anna");
    let from = hosts.last().unwrap();
    fleet.lab.exec(from, "mkdir -m 700 -p /root/anna");
    fleet.lab.push(from, &key, "/root/anna/key");
    fleet.lab.push(from, &key.with_file_name("membership.json"), "/root/anna/membership.json");
    for package in ["lab-slow", "lab-hello"] {
        fleet.lab.run(&["publish", "deb", package, "2.0", "--do", "slow=15"]);
    }
    let rollout = fleet.begin("stopped", &hosts, "  baseline: all\n  maxConcurrency: 3\n  maxErrors: 100%\n");
    let working = wait_for("three transactions", || {
        let at_work = |host: &&String| fleet.phase(&rollout, host).as_deref() == Some("transaction");
        let working: Vec<_> = hosts.iter().filter(at_work).cloned().collect();
        (working.len() == 3).then_some(working)
    });
    fleet.lab.run(&["partition", "all", "hub"]);
    let stop = "patchmesh stop --all --key /root/anna/key --wait 60s -o json";
    let output = fleet.lab.try_run(&["exec", from, stop]);
    let after = fleet.lab.exec(from, "date +%s%N").trim().parse::<u128>().unwrap();
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    eprintln!("{} of {} hosts confirmed; {told}", told["confirmed"], told["hosts"]);
    assert_eq!((output.status.code(), &told["confirmed"]), (Some(0), &6.into()), "{told}");
    for host in &working {
        wait_for(&format!("{host} to end"), || fleet.phases(host).contains(&"on-exit".to_owned()).then_some(()));
    }
    fleet.lab.run(&["heal"]);
    wait_for("the coordinator to learn of it", || {
        let recap = fleet.cli_json(&["rollout", "status", &rollout, "-o", "json"])?;
        (recap["reason"]["code"] == "stopped" && recap["hosts"]["running"] == 0).then_some(())
    });
    for host in &hosts {
        let disruptive =
            |(at, phase): &(u128, String)| *at > after && ["pre-install", "post-install"].contains(&&**phase);
        let late: Vec<_> = fleet.hooks(host).into_iter().filter(disruptive).collect();
        assert!(late.is_empty(), "{host} began {late:?} after it had confirmed the STOP");
    }
    fleet.lab.exec(from, "patchmesh resume --all --key /root/anna/key --wait 60s");
    let (_, recap) = fleet.watch(&rollout);
    eprintln!("resumed: {} {}", recap["state"], recap["hosts"]);
    assert_eq!(recap["hosts"]["notStarted"], 0, "{recap}");
}

/// What a host says when its disk is full, or its clock an hour ahead.
#[test]
fn a_full_disk_and_a_clock_that_is_ahead_are_refused_with_a_reason() {
    let Some(fleet) = Fleet::start(&["debian=3"], &[], "refusal_patience = \"20s\"\n") else { return };
    let hosts = fleet.lab.hosts.clone();
    // Room for apt's own caches, and not for a package of twice its size.
    fleet.lab.run(&["publish", "deb", "lab-big", "2.0", "--do", "big=250"]);
    fleet.lab.run(&["fill", &hosts[0], "400"]);
    fleet.lab.run(&["clock", &hosts[1], "+1h"]);
    fleet.lab.exec(&hosts[1], "systemctl restart patchmeshd");
    fleet.wait_for_hosts();
    let rollout = fleet.begin("troubles", &hosts, "  baseline: all\n  maxConcurrency: 3\n  maxErrors: 100%\n");
    let (_, recap) = fleet.watch(&rollout);
    for (host, code) in [(&hosts[0], "no-space"), (&hosts[1], "clock-skew")] {
        let result = result(&recap, host);
        eprintln!("{host}: {} {}", result["outcome"], result["error"]);
        assert_eq!((&result["outcome"], &result["error"]["code"]), (&"refused".into(), &code.into()), "{recap}");
        assert_eq!(fleet.phases(host), [""; 0], "{host} began nothing");
    }
    assert_eq!(result(&recap, &hosts[2])["outcome"], "succeeded", "{recap}");
}
