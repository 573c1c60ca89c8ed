//! The built daemon, as an init system sees it.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use patchmesh_common::{
    id::{Epoch, Incarnation},
    membership::Role,
    poison::Name,
    run::journal::JournalEntry,
};
use patchmesh_node::{
    clock,
    hand::Hand,
    identity::{Grant, Identity, save_credential, sign},
    store::{log::Log, trust::private_folder},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::runner::daemon;

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
        private_folder(&self.path("state")).unwrap();
        let identity = Identity::load_or_create(&self.path("state/key")).unwrap();
        let expires = clock::now().wall.plus(Duration::from_secs(3600));
        let (name, tags) = (String::from("db-01"), BTreeMap::new());
        let grant = Grant { key: identity.node(), name, role: Role::Node, serial: 1, expires, tags };
        save_credential(&self.path("state/membership.json"), &sign(&self.owner, grant).unwrap()).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new(daemon());
        command.arg("--config").arg(self.path("host.toml")).stderr(Stdio::piped()).env_remove("PATCHMESH_LOG");
        // As systemd does for a service of `Type=notify`.
        match self.path("notify") {
            socket if socket.exists() => command.env("NOTIFY_SOCKET", socket),
            _ => command.env_remove("NOTIFY_SOCKET"),
        };
        command
    }

    fn fails(&self) -> String {
        let Output { status, stderr, .. } = self.command().output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert_eq!(status.code(), Some(1), "{status}: {said}");
        said
    }

    /// Starts the daemon and reads its log up to the line that says that it runs.
    fn running(&self) -> Running {
        self.start().unwrap_or_else(|(status, log)| panic!("it ended with {status}: {log}"))
    }

    /// The same, or how it ended before it ran.
    fn start(&self) -> Result<Running, (ExitStatus, String)> {
        let mut child = self.command().spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut log = String::new();
        while !log.contains(" running ") {
            match lines.next() {
                Some(line) => log.push_str(&(line.unwrap() + "\n")),
                None => return Err((child.wait().unwrap(), log)),
            }
        }
        // The pipe must be read on, or the daemon would block on a full one.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Ok(Running { child, log, rest: Some(rest) })
    }

    /// A run journal of three epochs, and its bytes.
    fn journal(&self) -> Vec<u8> {
        let (mut log, _, _) = Log::open(&self.path("state/run.log")).unwrap();
        for counter in 1..=3 {
            let epoch = Epoch { serial: 1, counter, incarnation: Incarnation(7) };
            log.append(&JournalEntry::Epoch(epoch).encode()).unwrap();
        }
        fs::read(log.path()).unwrap()
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
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn without_a_membership_it_says_which_key_to_sign() {
    let fixture = Fixture::new();
    let said = fixture.fails();
    let key = Identity::load(&fixture.path("state/key")).unwrap().node();
    assert!(said.contains(&format!("patchmesh mesh sign --dir MESHDIR --name NAME --key {key}")), "{said}");
    assert_eq!(mode(&fixture.path("state/key")), 0o600);
    assert_eq!(mode(&fixture.path("state")), 0o700);
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
fn a_service_manager_is_told_when_it_runs_and_when_it_ends() {
    let fixture = Fixture::new();
    fixture.enrol();
    let socket = UnixDatagram::bind(fixture.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let told = || {
        let mut bytes = [0; 200];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].into()).unwrap()
    };
    let running = fixture.running();
    assert_eq!(told(), "READY=1\nSTATUS=member db-01\n");
    assert_eq!(running.end(Signal::TERM).0, Some(0));
    assert_eq!(told(), "STOPPING=1\n");
}

#[test]
fn a_panic_ends_the_process() {
    let fixture = Fixture::new();
    fixture.enrol();
    // Without a free file descriptor there is no runtime, which is the one panic that can be had from outside. Whoever runs the
    // tests may have left one open.
    let output = Command::new("/bin/sh")
        .args(["-c", "exec 3>&-; ulimit -n 4; exec \"$@\"", "sh"])
        .arg(daemon())
        .arg("--config")
        .arg(fixture.path("host.toml"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(Signal::ABORT.as_raw()), "{said}");
    assert!(said.contains("panicked at") && said.contains("the system refuses to start threads"), "{said}");
    let (_, log) = fixture.running().end(Signal::TERM);
    assert!(log.contains("the last life of this process aborted"), "a panic is remembered too: {log}");
}

#[test]
fn a_state_folder_that_others_write_to_is_refused() {
    let fixture = Fixture::new();
    fixture.enrol();
    fs::set_permissions(fixture.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    let said = fixture.fails();
    assert!(said.contains("/state cannot be used: it is writable by others (mode 0777); chmod go-w it"), "{said}");
    assert!(!fixture.path("state/run.log").exists());
}

#[test]
fn a_damaged_cache_is_moved_aside_and_the_daemon_runs() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("cut", |cache| {
            let bytes = fs::read(cache.join("db")).unwrap();
            fs::write(cache.join("db"), &bytes[..bytes.len() / 3]).unwrap();
        }),
        ("garbled", |cache| {
            let size = fs::metadata(cache.join("db")).unwrap().len();
            fs::write(cache.join("db"), vec![0xa5; usize::try_from(size).unwrap()]).unwrap();
        }),
        ("a foreign conf", |cache| fs::write(cache.join("conf"), "rubbish").unwrap()),
        ("no folder", |cache| {
            fs::remove_dir_all(cache).unwrap();
            fs::write(cache, "not a folder").unwrap();
        }),
    ];
    for (name, damage) in cases {
        let fixture = Fixture::new();
        fixture.enrol();
        assert_eq!(fixture.running().end(Signal::TERM).0, Some(0));
        // Whatever sled makes of the damage, this much was durable.
        fs::write(fixture.path("state/cache.marker"), "999999").unwrap();
        damage(&fixture.path("state/cache"));
        let started = fixture.start().or_else(|(status, log)| {
            // sled panics on some damage. Then the process ends, and the next start knows why.
            assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{name}: {log}");
            fixture.start()
        });
        let (code, log) = started.unwrap_or_else(|(status, log)| panic!("{name}: {status}: {log}")).end(Signal::TERM);
        assert_eq!(code, Some(0), "{name}: {log}");
        assert!(log.contains("was damaged and is rebuilt from the mesh"), "{name}: {log}");
        assert!(fixture.path("state/cache.corrupt-1").exists(), "{name}");
        let (_, log) = fixture.running().end(Signal::TERM);
        assert!(!log.contains("was damaged"), "{name}: the new store is sound: {log}");
    }
}

#[test]
fn a_cache_that_ended_the_process_is_moved_aside_by_the_next_start() {
    let fixture = Fixture::new();
    fixture.enrol();
    assert_eq!(fixture.running().end(Signal::TERM).0, Some(0));
    fs::write(fixture.path("state/cache.opening"), "").unwrap();
    let (code, log) = fixture.running().end(Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(log.contains("the last attempt to open it ended the process") && log.contains("cache.corrupt-1"), "{log}");
}

#[test]
fn a_torn_last_frame_of_the_run_journal_is_cut_off_and_said() {
    let fixture = Fixture::new();
    fixture.enrol();
    let whole = fixture.journal();
    let journal = fixture.path("state/run.log");
    fs::write(&journal, &whole[..whole.len() - 5]).unwrap();
    let (code, log) = fixture.running().end(Signal::TERM);
    assert_eq!(code, Some(0));
    let said = log.lines().find(|line| line.contains("a torn last frame was cut off"));
    assert!(said.is_some_and(|line| line.contains("run.log") && line.contains("bytes=")), "{log}");
    let left = fs::read(&journal).unwrap();
    assert!(left.len() < whole.len() - 5 && whole.starts_with(&left));
    assert!(!fixture.running().end(Signal::TERM).1.contains("torn"), "said once");
}

#[test]
fn a_damaged_middle_frame_of_the_run_journal_keeps_the_daemon_from_running() {
    let fixture = Fixture::new();
    fixture.enrol();
    let mut bytes = fixture.journal();
    let journal = fixture.path("state/run.log");
    // Behind the header (16 bytes) and the head of frame 0 (32).
    bytes[16 + 32] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let said = fixture.fails();
    for part in [&*journal.to_string_lossy(), "frame 0 at byte 16", "left as it is", "restore it from a backup"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    assert_eq!(fs::read(&journal).unwrap(), bytes, "unchanged");
}

#[test]
fn after_an_abort_it_says_what_was_in_hand_and_does_not_start_at_once() {
    let fixture = Fixture::new();
    fixture.enrol();
    let name = Name::of_bytes(b"deadly");
    let last = Hand::open(&fixture.path("state"), clock::now()).unwrap();
    std::mem::forget(last.hold(&[name]));
    drop(last);
    let (status, log) = fixture.running().end(Signal::TERM);
    assert_eq!(status, Some(0), "{log}");
    let died = log.lines().find(|line| line.contains("the last life of this process aborted"));
    assert!(died.is_some_and(|line| line.contains(&name.to_string())), "{log}");
    assert!(log.contains("waiting after the abort"), "{log}");
    let (_, log) = fixture.running().end(Signal::TERM);
    assert!(!log.contains("aborted") && !log.contains("waiting"), "it aborted once only: {log}");
}
