//! A STOP from a host, while no coordinator is in reach.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use patchmesh_common::membership::Role;
use patchmesh_coordinator::api::client::Client;
use patchmesh_node::{
    api, clock,
    identity::{Grant, Identity, save_credential, sign},
    mesh::bootstrap_address,
};
use serde_json::Value;

use crate::{
    fleet::{hooks_of, kill, program, wait_for},
    troubles::make_dpkg_hang,
    wave::{printing, unpatched},
};

/// How many daemons, if the environment does not say.
const DAEMONS: usize = 8;

/// A key with a membership of `role` beside it, in a new folder of `dir`.
pub(crate) fn member(owner: &Identity, dir: &Path, name: &str, role: Role) -> (Identity, PathBuf) {
    let place = dir.join(name);
    fs::create_dir_all(&place).unwrap();
    let key = place.join("key");
    let identity = Identity::load_or_create(&key).unwrap();
    let expires = clock::now().wall.plus(Duration::from_secs(24 * 3600));
    let grant = Grant { key: identity.node(), name: name.into(), role, serial: 1, expires, tags: BTreeMap::new() };
    save_credential(&place.join("membership.json"), &sign(owner, grant).unwrap()).unwrap();
    (identity, key)
}

/// `patchmesh stop` or `resume` with `key`, through the socket in `state`.
fn order(program: &Path, words: &[&str], key: &Path, state: &Path) -> (i32, Value) {
    let Output { status, stdout, stderr } = Command::new(program)
        .args(words)
        .args(["-o", "json", "--key"])
        .arg(key)
        .arg("--socket")
        .arg(state.join(api::SOCKET))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let answer = serde_json::from_slice(&stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
    (status.code().unwrap(), answer)
}

#[test]
fn a_stop_from_a_host_holds_without_a_coordinator_until_it_is_resumed_from_another() {
    let (Some(program), Some(mut again)) = (program(), unpatched(4)) else { return };
    let demo = again.folder();
    let owner = Identity::load(&demo.join("owner.key")).unwrap();
    let (_, key) = member(&owner, again.dir.path(), "operator", Role::Operator);
    let file = again.dir.path().join("rollout.yaml");
    let text = "apiVersion: patchmesh/v1\nkind: Rollout\nmetadata: {name: again}\nspec:\n  operation: Install\n  \
                targets: {names: [demo-02, demo-03, demo-04]}\n  baseline: all\n  maxConcurrency: 2\n  maxErrors: 10\n";
    fs::write(&file, text).unwrap();
    let (hosts, gate) = (["demo-02", "demo-03", "demo-04"], again.dir.path().join("gate"));
    hosts.iter().for_each(|host| make_dpkg_hang(&demo.join("hosts").join(host), &gate));
    let applied = again.cli(&["apply", "-f", file.to_str().unwrap(), "--detach"]);
    let rollout = String::from_utf8(applied.stdout).unwrap().trim().to_owned();

    // Both hosts with a lease are in the middle of their transaction when the coordinator dies.
    let (busy, rest): (Vec<_>, Vec<_>) = wait_for("two transactions", || {
        let parts: (Vec<&str>, Vec<&str>) =
            hosts.iter().partition(|host| printing(&demo, host, "waiting for nobody").is_some());
        (parts.0.len() == 2).then_some(parts)
    });
    let rest: &str = rest[0];
    kill(again.children["coordinator"].id().into());
    let state = |host: &str| demo.join("hosts").join(host).join("state");
    let (code, stopped) = order(&program, &["stop", "--all", "--wait", "120s"], &key, &state("demo-01"));
    assert_eq!((code, &stopped["confirmed"], &stopped["hosts"]), (0, &4.into(), &4.into()), "{stopped}");
    assert_eq!((&stopped["scope"], &stopped["stop"]), (&"all".into(), &true.into()));

    // What runs goes on, the disruptive rest is left out, and what undoes the pre-install hooks is not.
    let phases = |host: &str| hooks_of(&demo, host).into_iter().map(|line| line.phase).collect::<Vec<_>>();
    fs::write(&gate, "").unwrap();
    for host in busy {
        wait_for("the on-exit hooks", || phases(host).contains(&"on-exit".to_owned()).then_some(()));
        assert_eq!(phases(host), ["pre-install", "on-exit"], "{host}");
    }

    // A coordinator that comes back learns of it from the mesh, grants nothing, and says why.
    again.terminate("coordinator");
    again.restart_coordinator();
    let status = |again: &crate::fleet::Again| again.cli_json(&["rollout", "status", &rollout, "-o", "json"]);
    let held = wait_for("two reports, and a reason", || {
        status(&again).filter(|recap| recap["hosts"]["failed"] == 2 && recap["reason"]["code"] == "stopped")
    });
    assert_eq!((&held["state"], &held["hosts"]["notStarted"]), (&"Waiting".into(), &1.into()), "{held}");
    let why = again.cli_json(&["why", "host", rest, "-o", "json"]).unwrap();
    assert!(why["answer"].as_str().unwrap().contains("resume --all"), "{why}");
    let errors = |recap: &Value| {
        let results = recap["results"].as_array().unwrap().clone();
        results.iter().map(|result| result["error"]["code"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(errors(&held).iter().filter(|code| *code == "stopped").count(), 2, "{held}");
    assert_eq!(phases(rest), [""; 0]);

    let (code, resumed) = order(&program, &["resume", "--all", "--wait", "120s"], &key, &state(rest));
    assert_eq!((code, &resumed["stop"]), (0, &false.into()), "{resumed}");
    assert!(resumed["sequence"].as_u64() > stopped["sequence"].as_u64());
    let ended = wait_for("the end", || status(&again).filter(|recap| !recap["endedAt"].is_null()));
    assert_eq!((&ended["hosts"]["succeeded"], &ended["hosts"]["failed"]), (&1.into(), &2.into()), "{ended}");

    // The end of a rollout is the end: the same STOP through the coordinator's socket, for one that is over.
    let (code, late) = order_at(&again, &["stop", "--rollout", &rollout, "--wait", "120s"], &key);
    assert_eq!((code, &late["leases"]), (0, &"none".into()), "{late}");
    assert_eq!(status(&again).unwrap()["state"], "CompletedWithFailures");
}

/// The same through the coordinator's socket.
fn order_at(again: &crate::fleet::Again, words: &[&str], key: &Path) -> (i32, Value) {
    let output = again.cli(&[words, &["-o", "json", "--key", key.to_str().unwrap()]].concat());
    let answer = serde_json::from_slice(&output.stdout);
    let answer = answer.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), answer)
}

/// A daemon of a mesh without a coordinator.
struct Daemon {
    state: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    fn start(program: &Path, owner: &Identity, dir: &Path, name: &str, first: Option<&str>) -> Self {
        let place = dir.join(name);
        let path = |part: &str| place.join(part);
        fs::create_dir_all(path("root/var/lib/dpkg")).unwrap();
        fs::write(path("root/var/lib/dpkg/status"), "").unwrap();
        member(owner, dir, name, Role::Node);
        let bootstrap = first.map(|first| format!("bootstrap = [{first:?}]\n")).unwrap_or_default();
        let config = format!(
            "mesh = \"{}\"\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\nstate = {place:?}\nroot = {:?}\nhooks = {:?}\n{bootstrap}",
            owner.mesh(),
            path("root"),
            path("hooks")
        );
        fs::write(path("host.toml"), config).unwrap();
        let child = Command::new(program)
            .args(["daemon", "--config"])
            .arg(path("host.toml"))
            .stdin(Stdio::null())
            .stderr(File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        Self { log: path("log"), state: place, child }
    }

    fn address(&self) -> String {
        wait_for("a daemon that listens", || {
            let log = fs::read_to_string(&self.log).ok()?;
            log.lines().find_map(|line| line.split_once("listening address=")?.1.split(' ').next().map(str::to_owned))
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Already gone, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many live hosts the daemon in `state` knows.
fn known(program: &Path, state: &Path) -> usize {
    let socket = state.join(api::SOCKET);
    let output = Command::new(program).args(["get", "hosts", "-o", "json", "--socket"]).arg(socket).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let hosts = document["hosts"].as_array().cloned().unwrap_or_default();
    hosts.iter().filter(|host| host["presence"] == "live").count()
}

/// `PATCHMESH_STOP_DAEMONS=50` measures a larger mesh than a shared machine should run beside other tests.
#[test]
fn a_stop_reaches_every_daemon_of_a_mesh_that_has_no_coordinator() {
    let Some(program) = program() else { return };
    let count = std::env::var("PATCHMESH_STOP_DAEMONS").ok().and_then(|text| text.parse().ok()).unwrap_or(DAEMONS);
    let dir = tempfile::tempdir().unwrap();
    let owner = Identity::generate().unwrap();
    let (_, key) = member(&owner, dir.path(), "operator", Role::Operator);
    let first = Daemon::start(&program, &owner, dir.path(), "host-000", None);
    let node = Identity::load(&first.state.join("key")).unwrap().node();
    let address = bootstrap_address(&node, &first.address());
    let mut daemons = vec![first];
    for number in 1..count {
        let name = format!("host-{number:03}");
        daemons.push(Daemon::start(&program, &owner, dir.path(), &name, Some(&address)));
    }
    let last = &daemons[count - 1].state;
    wait_for("a mesh that is whole", || (known(&program, last) == count).then_some(()));
    let elsewhere =
        Command::new(&program).args(["get", "rollouts", "--socket"]).arg(last.join(api::SOCKET)).output().unwrap();
    let said = String::from_utf8_lossy(&elsewhere.stderr).into_owned();
    assert_eq!(fs::metadata(last.join(api::SOCKET)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(elsewhere.status.code() == Some(7) && said.contains("the daemon of a host"), "{said}");
    let began = Instant::now();
    let (code, stopped) = order(&program, &["stop", "--all", "--wait", "120s"], &key, last);
    let took = began.elapsed();
    assert_eq!((code, stopped["confirmed"].as_u64()), (0, Some(count as u64)), "{stopped}");
    assert_eq!((&stopped["leases"], &stopped["leasesUntil"]), (&"none".into(), &Value::Null));
    println!("stop --all at one of {count} daemons: {count} confirmed after {} ms", took.as_millis());

    // Whoever was away gets it when it is back: its record names it without anybody ordering anything again.
    let mut away = daemons.swap_remove(1);
    away.child.kill().unwrap();
    away.child.wait().unwrap();
    let (code, resumed) = order(&program, &["resume", "--all", "--wait", "0s"], &key, &daemons[0].state);
    assert_eq!(code, 5, "{resumed}");
    let unconfirmed = |document: &Value| document["unconfirmed"].as_array().unwrap().clone();
    assert!(unconfirmed(&resumed).iter().any(|host| host["host"] == "host-001" && host["lease"] == "unknown"));
    daemons.push(Daemon::start(&program, &owner, dir.path(), "host-001", Some(&address)));
    let client = Client::new(daemons[0].state.join(api::SOCKET));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    wait_for("the confirmation of the one that was away", || {
        let standing = runtime.block_on(client.standing("all")).ok()?;
        assert_eq!(standing.order.sequence, resumed["sequence"].as_u64().unwrap());
        standing.is_complete().then_some(())
    });
}
