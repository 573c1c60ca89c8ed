//! Rolling waves over real daemons, real apt and real dpkg.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use patchmesh_common::{
    run::{Phase, journal::JournalEntry},
    time::WallTime,
};
use serde_json::Value;

use crate::{
    fleet::{
        Again, Demo, PACKAGES, audit, configured, hooks_of, host_names, json, kill, overlap, program, versions,
        wait_for,
    },
    runs::{journal_of, runs_of},
    troubles::make_dpkg_hang,
};

pub(crate) fn result<'a>(recap: &'a Value, host: &str) -> &'a Value {
    let results = recap["results"].as_array().expect("a list");
    results.iter().find(|result| result["host"] == host).unwrap_or_else(|| panic!("{host} is in the recap"))
}

fn assert_installed_once(demo: &Path, host: &str) {
    for package in PACKAGES {
        assert_eq!(versions(demo, host)[package], "1.1 installed", "{package} on {host}");
        assert_eq!(configured(demo, host, package, "1.1"), 1, "{package} on {host} was configured once");
    }
}

/// A fleet of `hosts` on which nothing was patched.
pub(crate) fn unpatched(hosts: u32) -> Option<Again> {
    unpatched_and_slow(hosts, 0)
}

/// A fleet of `hosts` on which nothing was patched. The service's postinst prints for so many `seconds`.
pub(crate) fn unpatched_and_slow(hosts: u32, seconds: u32) -> Option<Again> {
    let mut again = Again::fresh(&program()?, hosts, Duration::from_secs(seconds.into()));
    again.wait_for_hosts(hosts as usize);
    Some(again)
}

pub(crate) fn manifest(hosts: &[&str], concurrency: u32, extra: &str) -> String {
    format!(
        "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {{name: again}}\nspec:\n  operation: Install\n  targets: {{names: [{}]}}\n  \
         baseline: all\n  maxConcurrency: {concurrency}\n  maxErrors: 10\n{extra}",
        hosts.join(", ")
    )
}

#[test]
fn a_wave_patches_every_host_once_under_its_limit() {
    let Some(program) = program() else { return };
    let (status, recap, dir) = Demo::start(&program, &["--hosts", "6", "--max-concurrency", "2"]).finish();
    assert_eq!((status.code(), recap["state"].as_str()), (Some(0), Some("Succeeded")), "{recap}");
    assert_eq!(recap["peakConcurrency"], 2);
    let demo = dir.path().join("demo");
    assert_eq!(overlap(&demo), 2);
    for host in host_names(&demo) {
        let phases: Vec<_> = hooks_of(&demo, &host).into_iter().map(|line| line.phase).collect();
        assert_eq!(phases, ["pre-install", "post-install", "post-reboot", "on-exit"], "{host}");
        assert_installed_once(&demo, &host);
        let result = result(&recap, &host);
        assert_eq!((&result["outcome"], &result["rebooted"]), (&"succeeded".into(), &true.into()));
        assert_eq!(runs_of(&demo, &host).len(), 1, "{host} began once");
    }
}

#[test]
fn a_package_that_breaks_halts_the_wave() {
    let Some(program) = program() else { return };
    let flags = ["--hosts", "8", "--max-concurrency", "2", "--max-errors", "1", "--break", "8"];
    let (status, recap, dir) = Demo::start(&program, &flags).finish();
    assert_eq!((status.code(), recap["state"].as_str()), (Some(3), Some("Halted")), "{recap}");
    assert!(recap["hosts"]["notStarted"].as_u64().unwrap() >= 5, "{recap}");
    let demo = dir.path().join("demo");
    // Nothing was granted after the second failure was folded: at most one host was still at work then.
    let started = host_names(&demo).iter().filter(|host| !hooks_of(&demo, host).is_empty()).count();
    assert!(started <= 3, "{started} hosts were started");
    let results = recap["results"].as_array().unwrap();
    let failed = results.iter().find(|result| result["outcome"] == "failed").expect("a host that failed");
    assert_eq!(failed["error"]["code"], "transaction-failed");
    assert!(failed["error"]["log"].as_str().unwrap().contains("pm-demo-service"), "{failed}");
    let changed: Vec<_> = failed["packages"].as_array().unwrap().iter().map(|package| &package["name"]).collect();
    assert_eq!(changed, ["pm-demo-kernel", "pm-demo-lib"], "the service is half-configured");
}

#[test]
fn a_coordinator_killed_twice_finishes_the_wave() {
    let Some(program) = program() else { return };
    let mut demo = Demo::start(&program, &["--hosts", "6", "--max-concurrency", "2", "--install-seconds", "2"]);
    let mut killed = Vec::new();
    for hooks in [1, 9] {
        let pid = wait_for("the wave to go on", || {
            assert!(!demo.ended(), "the demo ended too soon");
            let fleet = demo.fleet()?;
            let lines: usize = host_names(&demo.folder()).iter().map(|host| hooks_of(&demo.folder(), host).len()).sum();
            let pid = fleet["coordinator"]["pid"].as_u64().filter(|pid| !killed.contains(pid))?;
            (lines >= hooks).then_some(pid)
        });
        kill(pid);
        killed.push(pid);
    }
    let (status, recap, dir) = demo.finish();
    assert_eq!((status.code(), recap["state"].as_str()), (Some(0), Some("Succeeded")), "{recap}");
    let demo = dir.path().join("demo");
    assert!(overlap(&demo) <= 2);
    for host in host_names(&demo) {
        assert_installed_once(&demo, &host);
    }
}

#[test]
fn a_daemon_killed_while_its_package_is_configured_adopts_its_runner() {
    let Some(program) = program() else { return };
    let demo = Demo::start(&program, &["--hosts", "2", "--max-concurrency", "1", "--install-seconds", "4"]);
    let pid = wait_for("a postinst that prints", || {
        let fleet = demo.fleet()?;
        printing(&demo.folder(), "demo-01", "Setting up")?;
        fleet["hosts"][0]["pid"].as_u64()
    });
    kill(pid);
    let (status, recap, dir) = demo.finish();
    assert_eq!((status.code(), recap["state"].as_str()), (Some(0), Some("Succeeded")), "{recap}");
    let demo = dir.path().join("demo");
    assert_installed_once(&demo, "demo-01");
    assert_eq!(audit(&demo, "demo-01"), "");
}

/// The folder of the attempt on `host` whose package manager has printed `words`.
pub(crate) fn printing(demo: &Path, host: &str, words: &str) -> Option<PathBuf> {
    let runs = fs::read_dir(demo.join("hosts").join(host).join("state/run")).ok()?;
    let mut attempts = runs.flatten().map(|run| run.path().join("1"));
    attempts.find(|run| fs::read_to_string(run.join("output.log")).is_ok_and(|text| text.contains(words)))
}

#[test]
fn a_daemon_that_is_told_to_end_leaves_its_transaction_alone_and_adopts_it() {
    let Some(mut again) = unpatched(2) else { return };
    let demo = again.folder();
    let gate = again.dir.path().join("gate");
    make_dpkg_hang(&demo.join("hosts/demo-02"), &gate);
    let file = again.dir.path().join("rollout.yaml");
    fs::write(&file, manifest(&["demo-02"], 1, "")).unwrap();
    let started = again.cli(&["apply", "-f", file.to_str().unwrap(), "--detach"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    let run = wait_for("a dpkg that waits", || printing(&demo, "demo-02", "waiting for nobody"));
    // That it ends while its transaction does not is the proof that it waits for nothing.
    let status = again.terminate("demo-02");
    assert_eq!(status.code(), Some(0));
    let claim = json(&run.join("claim.json")).expect("a claim");
    let runner = claim["runner"]["pid"].as_u64().expect("the runner's pid");
    assert!(Path::new(&format!("/proc/{runner}")).exists() && !run.join("result.json").exists(), "the runner goes on");
    again.restart("demo-02");
    fs::write(&gate, "").unwrap();
    let recap = wait_for("the rollout to end", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (!status["endedAt"].is_null()).then_some(status)
    });
    assert_eq!(recap["state"], "Succeeded", "{recap}");
    assert_installed_once(&demo, "demo-02");
}

/// Milliseconds of the wall clock at which `host` judged that it may start: when its pre-install hooks were begun. More than one
/// if a lease came too late for its opening and was given back.
fn starts_of(demo: &Path, host: &str) -> Vec<i64> {
    let starts = journal_of(&demo.join("hosts").join(host)).into_iter().filter_map(|entry| match entry {
        JournalEntry::Began { phase: Phase::PreInstall, wall, .. } => Some(wall.0),
        _ => None,
    });
    starts.collect()
}

#[test]
fn a_wave_waits_for_its_second_opening_and_goes_on_under_one_limit() {
    let Some(again) = unpatched(3) else { return };
    let demo = again.folder();
    let hosts = ["demo-01", "demo-02", "demo-03"];
    let now = || i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let file = again.dir.path().join("measured.yaml");
    fs::write(&file, manifest(&hosts, 1, "")).unwrap();
    let before = now();
    assert!(again.cli(&["plan", "-f", file.to_str().unwrap(), "-o", "json"]).status.success());
    // Whole seconds, as the manifest has them; time enough to plan again and to start one host.
    let last_start = (now() + 2 * (now() - before) + 8_000) / 1000 * 1000;
    let second = last_start + 6_000;
    let at = |millis: i64| WallTime(millis).rfc3339();
    let openings = format!(
        "  openings:\n    - {{opens: {}, lastStart: {}, closes: {}}}\n    - {{opens: {}, lastStart: {}, closes: {}}}\n",
        at(before - 5_000),
        at(last_start),
        at(last_start + 600_000),
        at(second),
        at(second + 600_000),
        at(second + 900_000)
    );
    // Whoever starts in the first opening is at work until its last start is past.
    let hold = format!("while [ $(date +%s) -le {} ]; do sleep 0.1; done", last_start / 1000);
    hosts.iter().for_each(|host| hook(&demo, host, "post-install", &hold, 0o755));
    let (code, recap) = again.apply(&manifest(&hosts, 1, &openings));
    assert_eq!((code, recap["state"].as_str()), (0, Some("Succeeded")), "{recap}");
    assert_eq!(recap["peakConcurrency"], 1);
    let starts = hosts.map(|host| starts_of(&demo, host));
    let outside = |start: &i64| *start >= last_start && *start < second;
    assert!(!starts.iter().flatten().any(outside), "between {last_start} and {second}: {starts:?}");
    let lasts = starts.iter().filter_map(|starts| starts.last());
    let early = lasts.filter(|start| **start < last_start).count();
    assert_eq!(early, 1, "one host in the first opening, which ends at {last_start}, two in the second: {starts:?}");
}

pub(crate) fn hook(demo: &Path, host: &str, point: &str, script: &str, mode: u32) {
    let file = demo.join("hosts").join(host).join("hooks").join(point).join("50-test");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn bad_hooks_fail_their_own_host_with_a_reason_and_disturb_nobody() {
    let Some(again) = unpatched(7) else { return };
    let demo = again.folder();
    hook(&demo, "demo-02", "pre-install", "exec sleep 600", 0o755);
    hook(&demo, "demo-03", "pre-install", "true", 0o777);
    hook(&demo, "demo-04", "pre-install", "head -c 100000000 /dev/zero | tr '\\0' x", 0o755);
    hook(&demo, "demo-05", "pre-install", "echo the balancer said no; exit 7", 0o755);
    hook(&demo, "demo-06", "post-install", "exit 7", 0o755);
    let hosts = ["demo-02", "demo-03", "demo-04", "demo-05", "demo-06", "demo-07"];
    let (code, recap) = again.apply(&manifest(&hosts, 3, "  hooks: {timeout: 60s}\n"));
    assert_eq!((code, recap["state"].as_str()), (4, Some("CompletedWithFailures")), "{recap}");
    for (host, code, words) in [
        ("demo-02", "hook-timed-out", ["50-test", "60 s"]),
        ("demo-03", "hook-failed", ["50-test", "writable"]),
        ("demo-05", "hook-failed", ["50-test", "7"]),
        ("demo-06", "hook-failed", ["50-test", "7"]),
    ] {
        let result = result(&recap, host);
        assert_eq!(
            (result["outcome"].as_str(), result["error"]["code"].as_str()),
            (Some("failed"), Some(code)),
            "{result}"
        );
        let text = result["error"]["text"].as_str().unwrap();
        eprintln!("{host}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{host}: {text}");
    }
    assert!(result(&recap, "demo-05")["error"]["log"].as_str().unwrap().contains("the balancer said no"));
    for host in ["demo-04", "demo-07"] {
        assert_eq!(result(&recap, host)["outcome"], "succeeded", "{}", result(&recap, host));
    }
    // A failing pre-install hook: no install. A failing post-install hook: no reboot. On-exit always.
    for host in ["demo-02", "demo-03", "demo-05"] {
        assert_eq!(versions(&demo, host)["pm-demo-lib"], "1.0 installed");
        assert_eq!(hooks_of(&demo, host).last().unwrap().phase, "on-exit", "{host}");
    }
    assert_eq!(versions(&demo, "demo-06")["pm-demo-lib"], "1.1 installed");
    assert_eq!(result(&recap, "demo-06")["rebooted"], false);
}

#[test]
fn a_repository_that_vanishes_and_a_version_that_is_gone_refuse_with_a_reason() {
    let Some(again) = unpatched(3) else { return };
    let demo = again.folder();
    let file = again.dir.path().join("rollout.yaml");
    fs::write(&file, manifest(&["demo-02", "demo-03"], 1, "")).unwrap();
    let planned = again.cli(&["plan", "-f", file.to_str().unwrap(), "-o", "json"]);
    assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
    let plan = again.dir.path().join("plan.json");
    fs::write(&plan, planned.stdout).unwrap();
    // The new versions disappear from the indexes, then the whole repository does.
    for suite in ["main", "security"] {
        let arch = fs::read_dir(demo.join("repository/dists").join(suite).join("demo"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let packages = arch.join("Packages");
        let text = fs::read_to_string(&packages).unwrap();
        let old: Vec<_> = text.split_inclusive("\n\n").filter(|stanza| !stanza.contains("\nVersion: 1.1")).collect();
        fs::write(&packages, old.concat()).unwrap();
        // Without a Release file apt takes the indexes as they are: the sources are marked trusted.
        fs::remove_file(demo.join("repository/dists").join(suite).join("Release")).unwrap();
    }
    let moved = again.cli(&["apply", plan.to_str().unwrap(), "-o", "json"]);
    let told = String::from_utf8_lossy(&moved.stderr).into_owned();
    eprintln!("{told}");
    assert_eq!(moved.status.code(), Some(6), "{told}");
    assert!(told.contains("the world has moved since the plan was made: demo-02 "), "{told}");
    let rollouts = again.cli_json(&["get", "rollouts", "-o", "json"]).unwrap();
    assert!(!rollouts["rollouts"].as_array().unwrap().iter().any(|known| known["endedAt"].is_null()), "{rollouts}");
    // Who does not ask them leaves it to the hosts, which refuse by themselves.
    let output = again.cli(&["apply", plan.to_str().unwrap(), "--no-recheck", "-o", "json"]);
    let recap: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!((output.status.code(), recap["state"].as_str()), (Some(4), Some("CompletedWithFailures")), "{recap}");
    let refused = result(&recap, "demo-02");
    eprintln!("{}", refused["error"]["text"]);
    assert_eq!(
        (refused["outcome"].as_str(), refused["error"]["code"].as_str()),
        (Some("refused"), Some("version-gone")),
        "{refused}"
    );
    fs::rename(demo.join("repository"), demo.join("gone")).unwrap();
    let (code, recap) = again.apply(&manifest(&["demo-03"], 1, ""));
    assert_eq!((code, recap["state"].as_str()), (4, Some("CompletedWithFailures")), "{recap}");
    let refused = result(&recap, "demo-03");
    eprintln!("{}", refused["error"]["text"]);
    assert_eq!(
        (refused["outcome"].as_str(), refused["error"]["code"].as_str()),
        (Some("refused"), Some("repository-unreachable")),
        "{refused}"
    );
    assert_eq!(versions(&demo, "demo-03")["pm-demo-lib"], "1.0 installed");
}

#[test]
fn a_second_coordinator_on_the_same_store_is_turned_away() {
    let Some(mut again) = unpatched(2) else { return };
    let output = again.cli(&["serve", "--dir", again.folder().join("coordinator").to_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}");
    assert_eq!(output.status.code(), Some(1));
    let pid = again.children["coordinator"].id().to_string();
    assert!(text.contains("in use") && text.contains(&pid), "{text}");
    again.wait_for_hosts(2);
}

#[test]
fn stop_ends_the_rollout_and_the_running_host_begins_no_further_step() {
    let Some(again) = unpatched(4) else { return };
    let demo = again.folder();
    hook(&demo, "demo-02", "pre-install", &format!("while [ ! -e {}/go ]; do :; done", demo.display()), 0o755);
    let file = again.dir.path().join("rollout.yaml");
    fs::write(&file, manifest(&["demo-02", "demo-03", "demo-04"], 1, "")).unwrap();
    let started = again.cli(&["apply", "-f", file.to_str().unwrap(), "--detach"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    wait_for("the first host to be at work", || (!hooks_of(&demo, "demo-02").is_empty()).then_some(()));
    let stopped = again.cli(&["rollout", "stop", &id]);
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    // The STOP is saved on the host before the hook ends.
    wait_for("the host to save the STOP", || {
        let log = fs::read_to_string(demo.join("hosts/demo-02/daemon.log")).ok()?;
        log.contains("entry=\"stop\"").then_some(())
    });
    fs::write(demo.join("go"), "").unwrap();
    let recap = wait_for("the rollout to end", || {
        let status = again.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (!status["endedAt"].is_null()).then_some(status)
    });
    assert_eq!(recap["state"], "Stopped", "{recap}");
    assert_eq!(recap["hosts"]["running"], 0);
    assert_eq!(versions(&demo, "demo-02")["pm-demo-lib"], "1.0 installed", "the transaction was not begun");
    assert_eq!(hooks_of(&demo, "demo-02").last().unwrap().phase, "on-exit");
}
