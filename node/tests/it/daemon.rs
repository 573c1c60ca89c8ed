//! The built daemon, as an init system sees it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use patchmesh_common::membership::Role;
use patchmesh_node::{
    clock,
    identity::{Grant, Identity, save_credential, sign},
};
use rustix::process::{Pid, Signal, kill_process};

struct Fixture {
    dir: tempfile::TempDir,
    owner: Identity,
}

impl Fixture {
    fn new() -> Self {
        let fixture = Self { dir: tempfile::tempdir().unwrap(), owner: Identity::generate().unwrap() };
        fixture.write("");
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, more: &str) {
        let (state, mesh) = (self.path("state"), self.owner.mesh());
        let text = format!("state = {state:?}\nmesh = \"{mesh}\"\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n{more}");
        fs::write(self.path("host.toml"), text).unwrap();
    }

    fn enrol(&self) {
        fs::create_dir_all(self.path("state")).unwrap();
        let identity = Identity::load_or_create(&self.path("state/key")).unwrap();
        let expires = clock::now().wall.plus(Duration::from_secs(3600));
        let (name, tags) = (String::from("db-01"), BTreeMap::new());
        let grant = Grant { key: identity.node(), name, role: Role::Node, serial: 1, expires, tags };
        save_credential(&self.path("state/membership.json"), &sign(&self.owner, grant).unwrap()).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&super::runner::program()[0]);
        command.arg("--config").arg(self.path("host.toml")).stderr(Stdio::piped()).env_remove("PATCHMESH_LOG");
        command
    }

    fn fails(&self) -> String {
        let Output { status, stderr, .. } = self.command().output().unwrap();
        assert_eq!(status.code(), Some(1));
        String::from_utf8(stderr).unwrap()
    }

    /// Starts the daemon and reads its log up to the line that says that it runs.
    fn running(&self) -> Running {
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        while !log.contains("running") {
            log.push_str(&lines.next().unwrap_or_else(|| panic!("it ended: {log}")).unwrap());
        }
        // The pipe must be read on, or the daemon would block on a full one.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Running { child, log, rest: Some(rest) }
    }
}

struct Running {
    child: Child,
    log: String,
    rest: Option<std::thread::JoinHandle<String>>,
}

impl Running {
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        let rest = self.rest.take().map(|rest| rest.join().unwrap()).unwrap_or_default();
        (status.code(), format!("{}{rest}", self.log))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn without_a_membership_it_says_which_key_to_sign() {
    let fixture = Fixture::new();
    let said = fixture.fails();
    let key = Identity::load(&fixture.path("state/key")).unwrap().node();
    assert!(said.contains(&format!("patchmesh mesh sign --dir MESHDIR --name NAME --key {key}")), "{said}");
    assert_eq!(mode(&fixture.path("state/key")), 0o600);
}

#[test]
fn an_unknown_key_in_its_file_is_named() {
    let fixture = Fixture::new();
    fixture.write("colour = \"red\"\n");
    let said = fixture.fails();
    assert!(said.contains("host.toml") && said.contains("line 4") && said.contains("colour"), "{said}");
    assert!(said.trim_end().ends_with("nothing was changed on this host"), "{said}");
}

#[test]
fn it_runs_until_it_is_told_to_end_and_a_second_one_is_told_who_the_first_is() {
    let fixture = Fixture::new();
    fixture.enrol();
    for signal in [Signal::TERM, Signal::INT] {
        let running = fixture.running();
        let said = fixture.fails();
        assert!(said.contains(&format!("in use by process {}", running.child.id())), "{said}");
        let (code, log) = running.end(signal);
        assert_eq!(code, Some(0), "{log}");
    }
}

#[test]
fn a_damaged_cache_is_moved_aside_and_the_daemon_runs() {
    let fixture = Fixture::new();
    fixture.enrol();
    assert_eq!(fixture.running().end(Signal::TERM).0, Some(0));
    let db = fixture.path("state/cache/db");
    let bytes = fs::read(&db).unwrap();
    fs::write(&db, &bytes[..bytes.len() / 3]).unwrap();
    fs::write(fixture.path("state/cache.marker"), "999999").unwrap();
    let (code, log) = fixture.running().end(Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(log.contains("was damaged and is rebuilt from the mesh"), "{log}");
    assert!(fixture.path("state/cache.corrupt-1").is_dir());
}
