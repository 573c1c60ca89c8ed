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

/// The rollout ends and the host's slot stays held.
#[test]
fn a_host_that_does_not_come_back_from_its_reboot_ends_the_rollout_as_lost() {
    let Some(fleet) = Fleet::start(&SIX, &["clean"], "lost_after = \"60s\"\n") else { return };
    let hosts = fleet.lab.hosts.clone();
    let lost = &hosts[0];
    let rollout = fleet.begin("lost", &hosts, "  baseline: security\n  maxConcurrency: 2\n  maxErrors: 1\n");
    wait_for("the first host's reboot", || (fleet.phase(&rollout, lost)? == "reboot").then_some(()));
    fleet.lab.run(&["stop", lost]);
    let (code, recap) = fleet.watch(&rollout);
    assert_eq!((code, recap["state"].as_str()), (5, Some("CompletedWithLost")), "{recap}");
    assert_eq!(result(&recap, lost)["outcome"], "lost");
    for host in &hosts[1..] {
        assert_eq!(result(&recap, host)["outcome"], "succeeded", "{host}");
    }
    fleet.lab.run(&["start", lost]);
    let back = wait_for("the report of the host that came back", || {
        let recap = fleet.cli_json(&["rollout", "status", &rollout, "-o", "json"])?;
        (result(&recap, lost)["outcome"] != "lost").then(|| result(&recap, lost).clone())
    });
    eprintln!("{lost} came back: {back}");
    assert_eq!(
        fleet.phases(lost),
        ["pre-install", "post-install", "post-reboot", "on-exit"],
        "it finished what it had begun"
    );
}
