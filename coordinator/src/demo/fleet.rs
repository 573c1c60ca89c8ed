//! The demo's mesh on disk: keys, memberships, configuration files, ports; and `fleet.json`, which tells scripts of it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use patchmesh_common::{id::NodeId, membership::Role, time::WallTime};
use patchmesh_node::{
    identity::{self, Grant, Identity},
    mesh::bootstrap_address,
};
use serde::Serialize;

use super::{
    DemoError,
    repository::{create, put},
    roots::HostFiles,
};

/// How long the demo's memberships are valid.
const VALID: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many earlier hosts a host dials first, beside the coordinator.
const NEIGHBOURS: usize = 2;
/// Silence after which a demo host with a slot counts as lost: a killed daemon is back within a second or two, on a machine
/// with more to do within some more.
const LOST_AFTER: &str = "45s";
/// How long a demo host may refuse for a passing reason: nobody else holds a lock in a private root for long.
const REFUSAL_PATIENCE: &str = "20s";

/// One process of the demo.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its command line, the program first.
    pub argv: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// The files of a mesh that can be started.
#[derive(Debug)]
pub struct Fleet {
    /// The demo's own folder, absolute.
    pub folder: PathBuf,
    /// The coordinator.
    pub coordinator: Process,
    /// Its API socket.
    pub socket: PathBuf,
    /// Every host, by name.
    pub hosts: Vec<(HostFiles, NodeId, Process)>,
}

/// One member's place in the mesh.
struct Seat {
    node: NodeId,
    address: String,
}

impl Fleet {
    /// Writes keys, memberships and configurations of a coordinator and `hosts`, all to be run by `program`.
    ///
    /// # Errors
    /// [`DemoError`] names the file.
    pub fn write(folder: &Path, program: &Path, hosts: Vec<HostFiles>) -> Result<Self, DemoError> {
        let owner = Identity::load_or_create(&folder.join("owner.key")).map_err(DemoError::member("the owner"))?;
        let ports = free_ports(hosts.len() + 1).map_err(DemoError::file(Path::new("127.0.0.1")))?;
        let home = folder.join("coordinator");
        let address = |port: &u16| format!("/ip4/127.0.0.1/tcp/{port}");

        create(&home)?;
        let node = enrol(&owner, "coordinator", Role::Coordinator, &home)?;
        let mut seats = vec![Seat { node, address: address(&ports[0]) }];
        for (host, port) in hosts.iter().zip(&ports[1..]) {
            create(&host.state)?;
            let node = enrol(&owner, &host.name, Role::Node, &host.state)?;
            seats.push(Seat { node, address: address(port) });
        }
        let mesh = owner.mesh().to_string();

        let config = home.join("coordinator.toml");
        let first: Vec<_> = seats.iter().skip(1).take(NEIGHBOURS).collect();
        put(&config, &coordinator_toml(&mesh, &seats[0], &first), 0o644)?;
        let argv = vec![program.into(), "serve".into(), "--dir".into(), home.clone().into()];
        let coordinator = Process { argv, log: home.join("serve.log") };

        let mut members = Vec::new();
        for (index, host) in hosts.into_iter().enumerate() {
            // The coordinator, and the hosts just before this one.
            let earlier = seats[1..=index].iter().rev().take(NEIGHBOURS);
            let known: Vec<_> = std::iter::once(&seats[0]).chain(earlier).collect();
            let text = host_toml(&mesh, &seats[index + 1], &known, &host)?;
            put(&host.config, &text, 0o644)?;
            let argv = vec![program.into(), "daemon".into(), "--config".into(), host.config.clone().into()];
            let process = Process { argv, log: host.log.clone() };
            members.push((host, seats[index + 1].node, process));
        }
        Ok(Self { folder: folder.to_owned(), coordinator, socket: home.join("api.sock"), hosts: members })
    }
}

/// Makes the member's key in `state`, and its membership beside it.
fn enrol(owner: &Identity, name: &str, role: Role, state: &Path) -> Result<NodeId, DemoError> {
    let failed = || DemoError::member(name);
    let key = Identity::load_or_create(&state.join("key")).map_err(failed())?.node();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = WallTime(0).plus(now).plus(VALID);
    let grant = Grant { key, name: name.to_owned(), role, serial: 1, expires, tags: BTreeMap::new() };
    let credential = identity::sign(owner, grant).map_err(failed())?;
    identity::save_credential(&state.join("membership.json"), &credential).map_err(failed())?;
    Ok(key)
}

fn coordinator_toml(mesh: &str, own: &Seat, known: &[&Seat]) -> String {
    let mut lines = common_lines(mesh, own, known);
    lines.push(("lost_after", quoted(LOST_AFTER)));
    lines.push(("refusal_patience", quoted(REFUSAL_PATIENCE)));
    text_of(lines)
}

fn host_toml(mesh: &str, own: &Seat, known: &[&Seat], host: &HostFiles) -> Result<String, DemoError> {
    let mut lines = common_lines(mesh, own, known);
    lines.push(("mode", quoted("enforce")));
    lines.push(("state", path(&host.state)?));
    lines.push(("hooks", path(&host.hooks)?));
    lines.push(("root", path(&host.root)?));
    Ok(text_of(lines) + &format!("\n[tags]\ndemo = \"true\"\nname = {}\n", quoted(&host.name)))
}

fn common_lines(mesh: &str, own: &Seat, known: &[&Seat]) -> Vec<(&'static str, String)> {
    let bootstrap: Vec<_> = known.iter().map(|seat| quoted(&bootstrap_address(&seat.node, &seat.address))).collect();
    vec![
        ("mesh", quoted(mesh)),
        ("listen", format!("[{}]", quoted(&own.address))),
        ("bootstrap", format!("[{}]", bootstrap.join(", "))),
    ]
}

fn text_of(lines: Vec<(&'static str, String)>) -> String {
    lines.into_iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// JSON's string escapes are TOML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn path(path: &Path) -> Result<String, DemoError> {
    path.to_str().map(quoted).ok_or_else(|| DemoError::Folder(path.to_owned(), "its name is not UTF-8"))
}

/// Ports that are free now: all are held until the last one is known, so that no two are the same.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FleetDocument {
    schema: &'static str,
    rollout_id: Option<String>,
    api_socket: String,
    coordinator: CoordinatorDocument,
    hosts: Vec<MemberDocument>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CoordinatorDocument {
    pid: Option<u32>,
    argv: Vec<String>,
    log: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberDocument {
    name: String,
    node_id: String,
    pid: Option<u32>,
    argv: Vec<String>,
    config: String,
    log: String,
    root: String,
    hooks_log: String,
    dpkg_log: String,
}

/// `DIR/fleet.json`: rewritten at every start and end of a process, once everything runs.
#[derive(Debug)]
pub struct Board {
    file: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the coordinator, then of every host.
    pids: Vec<Option<u32>>,
    rollout: Option<String>,
    published: bool,
}

impl Board {
    /// An unpublished board for `fleet`.
    pub fn new(fleet: &Fleet) -> Self {
        let state = State { pids: vec![None; fleet.hosts.len() + 1], ..State::default() };
        Self { file: fleet.folder.join("fleet.json"), state: Mutex::new(state) }
    }

    /// Process `index` (0 is the coordinator) runs as `pid`, or not at all.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_pid(&self, fleet: &Fleet, index: usize, pid: Option<u32>) -> io::Result<()> {
        self.change(fleet, |state| {
            if let Some(place) = state.pids.get_mut(index) {
                *place = pid;
            }
        })
    }

    /// From now on the file exists and is kept up to date.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn publish(&self, fleet: &Fleet) -> io::Result<()> {
        self.change(fleet, |state| state.published = true)
    }

    /// The rollout has this id.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_rollout(&self, fleet: &Fleet, id: &str) -> io::Result<()> {
        self.change(fleet, |state| state.rollout = Some(id.to_owned()))
    }

    fn change(&self, fleet: &Fleet, change: impl FnOnce(&mut State)) -> io::Result<()> {
        // Written under the lock, so that an older state never replaces a newer one.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        if !state.published {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&document(fleet, &state))? + "\n";
        let draft = self.file.with_extension("json.new");
        fs::write(&draft, text)?;
        fs::rename(draft, &self.file)
    }
}

fn document(fleet: &Fleet, state: &State) -> FleetDocument {
    let argv = |process: &Process| process.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let shown = |path: &Path| path.display().to_string();
    let pid = |index: usize| state.pids.get(index).copied().flatten();
    let member = |(index, (host, node, process)): (usize, &(HostFiles, NodeId, Process))| MemberDocument {
        name: host.name.clone(),
        node_id: node.to_string(),
        pid: pid(index + 1),
        argv: argv(process),
        config: shown(&host.config),
        log: shown(&host.log),
        root: shown(&host.root),
        hooks_log: shown(&host.hooks_log),
        dpkg_log: shown(&host.dpkg_log),
    };
    FleetDocument {
        schema: "patchmesh.demo/v1",
        rollout_id: state.rollout.clone(),
        api_socket: shown(&fleet.socket),
        coordinator: CoordinatorDocument {
            pid: pid(0),
            argv: argv(&fleet.coordinator),
            log: shown(&fleet.coordinator.log),
        },
        hosts: fleet.hosts.iter().enumerate().map(member).collect(),
    }
}
