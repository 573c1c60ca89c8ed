//! What goes wrong on a host, as the operator is told: `why` and the recap are printed, and the state afterwards is looked at.
//!
//! `PATCHMESH_LOCK_SECONDS=600` has another apt hold its lock for ten minutes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use crate::{
    apt::HOLD,
    fleet::{Again, PACKAGES, audit, configured, program, versions, wait_for},
    victims::runner_of,
};

const MANIFEST: &str = "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {name: troubles}\nspec:\n  operation: Install\n  \
                        targets: {all: true}\n  baseline: all\n  maxConcurrency: 3\n  maxErrors: 3\n";

/// Plans for every host; the plan's file.
fn plan(fleet: &Again) -> String {
    let manifest = fleet.dir.path().join("rollout.yaml");
    fs::write(&manifest, MANIFEST).unwrap();
    let output = fleet.cli(&["plan", "-f", manifest.to_str().unwrap(), "-o", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let plan = fleet.dir.path().join("plan.json");
    fs::write(&plan, output.stdout).unwrap();
    plan.to_str().unwrap().to_owned()
}

/// Waits until `why host` says something with `words`, and prints it with what it says to do.
fn why(fleet: &Again, host: &str, words: &str) -> String {
    let answer = wait_for(&format!("why to say {words:?}"), || {
        let why = fleet.cli_json(&["why", "host", host, "-o", "json"])?;
        let remedy = why["chain"][0]["command"].as_str().unwrap_or("wait");
        let answer = format!("{}; try: {remedy}", why["answer"].as_str()?);
        answer.contains(words).then_some(answer)
    });
    println!("why host {host}: {answer}");
    answer
}

/// The age in seconds of the lock's owner, by what `why` said.
fn lock_age(told: &str) -> u64 {
    let age = told.split("running for ").nth(1).and_then(|rest| rest.split(' ').next());
    age.and_then(|age| age.parse().ok()).unwrap_or_else(|| panic!("no age in: {told}"))
}

/// The coordinator waits so many seconds longer than usual for a host that refuses for a passing reason.
fn be_patient(fleet: &mut Again, longer: u64) {
    if longer == 0 {
        return;
    }
    let longer = format!("refusal_patience = \"{}s\"", longer + 60);
    Again::set(&fleet.folder(), "refusal_patience = \"20s\"", &longer);
    fleet.terminate("coordinator");
    fleet.restart_coordinator();
}

/// dpkg on this host hangs in a transaction until `gate` is there.
pub(crate) fn make_dpkg_hang(home: &Path, gate: &Path) {
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *--unpack*|*--configure*)\n  echo 'waiting for nobody'\n  \
         while [ ! -e '{}' ]; do sleep 0.05; done;;\nesac\nexec /usr/bin/dpkg \"$@\"\n",
        gate.display()
    );
    let file = home.join("hanging-dpkg");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.join("root/etc/apt/apt.conf.d/99hang"), format!("Dir::Bin::dpkg \"{}\";\n", file.display()))
        .unwrap();
}

#[test]
fn a_held_lock_a_dirty_database_and_a_hanging_manager_are_told() {
    let Some(program) = program() else { return };
    let held_for = std::env::var("PATCHMESH_LOCK_SECONDS").map_or(0, |text| text.parse().expect("seconds"));
    let mut fleet = Again::fresh(&program, 3, Duration::ZERO);
    let hosts = fleet.folder().join("hosts");
    be_patient(&mut fleet, held_for);
    fleet.wait_for_hosts(3);
    let gate = fleet.dir.path().join("gate");
    make_dpkg_hang(&hosts.join("demo-03"), &gate);
    let plan = plan(&fleet);

    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "apt::holds_a_lock_for_another_test", "--nocapture"])
        .env(HOLD, hosts.join("demo-01/root/var/lib/dpkg/lock-frontend"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("held")), "the lock was not taken");
    let status = hosts.join("demo-02/root/var/lib/dpkg/status");
    let text = fs::read_to_string(&status).unwrap();
    let torn = text.replacen("install ok installed", "install ok half-configured", 1);
    assert_ne!(torn, text);
    fs::write(&status, &torn).unwrap();

    let started = fleet.cli(&["apply", &plan, "--detach"]);
    assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
    let id = String::from_utf8(started.stdout).unwrap().trim().to_owned();

    let mut locked = why(&fleet, "demo-01", "lock-frontend is held by process");
    while lock_age(&locked) < held_for {
        std::thread::park_timeout(Duration::from_secs(10));
        locked = why(&fleet, "demo-01", "lock-frontend is held by process");
    }
    println!("demo-01: {locked}");
    assert!(locked.contains(&format!("process {} (", holder.id())) && locked.contains("running for"), "{locked}");
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());

    let dirty = why(&fleet, "demo-02", "is half-configured");
    assert!(dirty.contains("`dpkg --configure -a`"), "{dirty}");

    // A hanging transaction is not killed; after some minutes it is told, also while it goes on.
    let hanging = why(&fleet, "demo-03", "waiting for nobody");
    assert!(hanging.contains("in phase transaction"), "{hanging}");
    let runner = runner_of(&hosts.join("demo-03")).expect("it runs");
    let output = wait_for("its output", || {
        let run = fs::read_dir(hosts.join("demo-03/state/run")).ok()?.next()?.ok()?.path();
        fs::File::open(run.join("1/output.log")).ok()
    });
    output.set_modified(SystemTime::now() - Duration::from_secs(11 * 60)).unwrap();
    why(&fleet, "demo-03", "nothing printed for 11 min; last: waiting for nobody");
    assert_eq!(runner_of(&hosts.join("demo-03")), Some(runner), "it is never killed");
    fs::write(&gate, "").unwrap();

    let recap = wait_for("the rollout to end", || {
        let status = fleet.cli_json(&["rollout", "status", &id, "-o", "json"])?;
        (!status["endedAt"].is_null()).then_some(status)
    });
    let results = recap["results"].as_array().unwrap();
    let outcome = |host: &str| results.iter().find(|result| result["host"] == host).unwrap();
    for host in ["demo-01", "demo-03"] {
        assert_eq!(outcome(host)["outcome"], "succeeded", "{recap}");
        assert!(PACKAGES.iter().all(|package| configured(&fleet.folder(), host, package, "1.1") == 1));
        assert_eq!(audit(&fleet.folder(), host), "");
    }
    let refused = outcome("demo-02");
    println!("demo-02: {}", refused["error"]["text"].as_str().unwrap());
    let told = (refused["outcome"].as_str(), refused["error"]["code"].as_str());
    assert_eq!(told, (Some("refused"), Some("dirty-database")), "{refused}");
    assert_eq!(fs::read_to_string(&status).unwrap(), torn, "what is not ours to repair is left alone");
    assert!(versions(&fleet.folder(), "demo-02").values().all(|version| version.starts_with("1.0 ")));
}
