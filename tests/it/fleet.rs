//! The demo's fleet, driven from outside as a script would: by its own program, `fleet.json`, and signals.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use patchmesh_coordinator::demo::{
    fleet::{Board, Fleet},
    repository::Repository,
    roots::{HostFiles, Template},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::runs::runs_of;

/// The demo's packages.
pub(crate) const PACKAGES: [&str; 3] = ["pm-demo-kernel", "pm-demo-lib", "pm-demo-service"];
/// Longest wait for anything: these tests share two cores with each other.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// The built program: beside the folder of this test binary, wherever that was copied to. `None` says so and skips.
pub(crate) fn program() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("patchmesh");
    if !program.exists() {
        eprintln!("skipped: {} is not built; run cargo test --workspace", program.display());
        return None;
    }
    if Command::new("apt-get").arg("--version").output().is_err() {
        eprintln!("skipped: this machine has no apt-get");
        return None;
    }
    Some(program)
}

/// Polls until `look` finds something; panics with `what` when patience ends.
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub(crate) fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(crate) fn kill(pid: u64) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u64, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, signal).expect("the process is there");
}

/// A running `patchmesh demo`.
pub(crate) struct Demo {
    pub(crate) dir: tempfile::TempDir,
    child: Child,
}

impl Demo {
    pub(crate) fn start(program: &Path, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = |name: &str| File::create(dir.path().join(name)).expect("a file");
        let child = Command::new(program)
            .arg("demo")
            .args(["--keep", "-o", "json", "--dir"])
            .arg(dir.path().join("demo"))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(file("out.json"))
            .stderr(file("talk.log"))
            .spawn()
            .expect("the program starts");
        Self { dir, child }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("demo")
    }

    pub(crate) fn fleet(&self) -> Option<Value> {
        json(&self.folder().join("fleet.json"))
    }

    pub(crate) fn ended(&mut self) -> bool {
        self.child.try_wait().expect("the child is ours").is_some()
    }

    /// What it has said so far.
    pub(crate) fn talk(&self) -> String {
        fs::read_to_string(self.dir.path().join("talk.log")).unwrap_or_default()
    }

    /// The exit status and the recap.
    pub(crate) fn finish(mut self) -> (ExitStatus, Value, tempfile::TempDir) {
        let status = wait_for("the demo to end", || self.child.try_wait().expect("the child is ours"));
        let recap = json(&self.dir.path().join("out.json")).unwrap_or_else(|| panic!("no recap: {}", self.talk()));
        (status, recap, std::mem::replace(&mut self.dir, tempfile::tempdir().expect("a temporary folder")))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // A failing test leaves nothing running: the demo stops its children on SIGTERM.
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
            let _ = self.child.wait();
        }
    }
}

/// One line of a hooks log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: u128,
    pub(crate) phase: String,
    /// Which time the phase began under this lease, from 1.
    pub(crate) attempt: u32,
}

pub(crate) fn hooks_of(demo: &Path, host: &str) -> Vec<Line> {
    let text = fs::read_to_string(demo.join("hosts").join(host).join("hooks.log")).unwrap_or_default();
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!((words.len(), words[2]), (4, host), "{line}");
        let (at, attempt) = (words[0].parse().expect("nanoseconds"), words[3].parse().expect("a count"));
        Line { at, phase: words[1].to_owned(), attempt }
    };
    text.lines().map(line).collect()
}

pub(crate) fn host_names(demo: &Path) -> Vec<String> {
    let entries = fs::read_dir(demo.join("hosts")).expect("the hosts' folder");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Most hosts at once between what they were granted and what they reported, by their own journals.
pub(crate) fn overlap(demo: &Path) -> usize {
    let hosts = host_names(demo);
    let runs = hosts.iter().flat_map(|host| runs_of(demo, host));
    overlapping(&runs.map(|ran| (ran.granted, ran.settled.unwrap_or(i64::MAX))).collect::<Vec<_>>())
}

/// Most of `spans` (begin and end) at once.
pub(crate) fn overlapping<T: Copy + Ord>(spans: &[(T, T)]) -> usize {
    let mut edges: Vec<_> = spans.iter().flat_map(|(begin, end)| [(*begin, 1i64), (*end, -1)]).collect();
    edges.sort();
    let mut now = 0;
    let most = edges.iter().map(|(_, by)| {
        now += by;
        now
    });
    usize::try_from(most.max().unwrap_or(0)).unwrap()
}

/// Installed versions of the demo's packages, as `dpkg-query` says.
pub(crate) fn versions(demo: &Path, host: &str) -> BTreeMap<String, String> {
    let admin = demo.join("hosts").join(host).join("root/var/lib/dpkg");
    let output = Command::new("dpkg-query")
        .arg("--admindir")
        .arg(admin)
        .args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"])
        .output()
        .expect("dpkg-query runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
}

/// What `dpkg --audit` says of a host's root.
pub(crate) fn audit(demo: &Path, host: &str) -> String {
    let output = Command::new("dpkg")
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .arg(format!("--root={}", demo.join("hosts").join(host).join("root").display()))
        .arg("--audit")
        .output()
        .expect("dpkg runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Whether dpkg unpacked `package` again after it had configured the new version. One that was cut off before is unpacked anew.
pub(crate) fn unpacked_again(demo: &Path, host: &str, package: &str) -> bool {
    let log = demo.join("hosts").join(host).join("root/var/log/dpkg.log");
    let text = fs::read_to_string(log).unwrap_or_default();
    let whole = text.lines().skip_while(|line| !line.ends_with(&format!(" status installed {package}:all 1.1")));
    whole.skip(1).any(|line| line.contains(&format!(" upgrade {package}:all ")))
}

/// How often dpkg configured `package` at `version` to its end.
pub(crate) fn configured(demo: &Path, host: &str, package: &str, version: &str) -> usize {
    let log = demo.join("hosts").join(host).join("root/var/log/dpkg.log");
    let text = fs::read_to_string(log).unwrap_or_default();
    let done = format!(" status installed {package}:");
    text.lines().filter(|line| line.contains(&done) && line.ends_with(version)).count()
}

/// The daemons and the coordinator of a demo that has ended, started again by their own command lines.
pub(crate) struct Again {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) children: BTreeMap<String, Child>,
    program: PathBuf,
}

impl Again {
    /// A fleet of `hosts` on which nothing was done yet. The service's postinst prints for as long as `slow`.
    pub(crate) fn fresh(program: &Path, hosts: u32, slow: Duration) -> Self {
        Self::prepared(program, hosts, slow, |_| {})
    }

    /// As [`Self::fresh`], with what `prepare` changes in the fleet's folder before anything runs.
    pub(crate) fn prepared(program: &Path, hosts: u32, slow: Duration, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let folder = dir.path().canonicalize().expect("it is there").join("demo");
        let dpkg = Command::new("dpkg").arg("--print-architecture").output().expect("dpkg runs");
        let architecture = String::from_utf8(dpkg.stdout).expect("UTF-8");
        let repository = folder.join("repository");
        let repository = Repository::build(repository, architecture.trim(), slow).expect("a repository");
        let template = Template::build(folder.join("template"), &repository).expect("a root");
        let hosts: Vec<_> = (1..=hosts).map(|n| HostFiles::new(&folder.join("hosts"), n, hosts)).collect();
        hosts.iter().for_each(|host| template.instantiate(host, false).expect("a root"));
        let fleet = Fleet::write(&folder, program, hosts).expect("a mesh");
        Board::new(&fleet).publish(&fleet).expect("the fleet is written");
        prepare(&folder);
        Self::start(program, dir)
    }

    pub(crate) fn start(program: &Path, dir: tempfile::TempDir) -> Self {
        let mut again = Self { dir, children: BTreeMap::new(), program: program.to_owned() };
        let fleet = json(&again.folder().join("fleet.json")).expect("the fleet is written");
        again.spawn("coordinator", &fleet["coordinator"]);
        for host in fleet["hosts"].as_array().expect("a list") {
            again.spawn(host["name"].as_str().expect("a name"), host);
        }
        again
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.dir.path().join("demo")
    }

    fn spawn(&mut self, name: &str, process: &Value) {
        let argv: Vec<&str> = process["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let log = File::options().append(true).create(true).open(process["log"].as_str().unwrap()).unwrap();
        let child = Command::new(argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.children.insert(name.to_owned(), child);
    }

    /// Ends a process of this fleet as an init system does; its exit status.
    pub(crate) fn terminate(&mut self, name: &str) -> ExitStatus {
        let child = self.children.get_mut(name).expect("a process of this fleet");
        signal(child.id().into(), Signal::TERM);
        child.wait().expect("the child is ours")
    }

    /// Whether a process of this fleet has ended by itself: one that finds its port taken does.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        let child = self.children.get_mut(name).expect("a process of this fleet");
        child.try_wait().expect("the child is ours").is_some()
    }

    /// Starts what has ended by itself: another process may have taken a port meanwhile.
    fn restart_ended(&mut self) {
        let fleet = json(&self.folder().join("fleet.json")).expect("the fleet is written");
        let hosts =
            fleet["hosts"].as_array().expect("a list").iter().map(|host| host["name"].as_str().expect("a name"));
        let ended: Vec<String> =
            hosts.chain(["coordinator"]).filter(|name| self.has_ended(name)).map(Into::into).collect();
        for name in ended {
            let process = fleet["hosts"].as_array().expect("a list").iter().find(|host| host["name"] == *name);
            self.spawn(&name, process.unwrap_or(&fleet["coordinator"]));
        }
    }

    /// Starts the coordinator of this fleet, which has ended.
    pub(crate) fn restart_coordinator(&mut self) {
        let fleet = json(&self.folder().join("fleet.json")).expect("the fleet is written");
        self.spawn("coordinator", &fleet["coordinator"]);
    }

    /// Kills a process of this fleet; nobody starts it again.
    pub(crate) fn kill(&mut self, name: &str) {
        let child = self.children.get_mut(name).expect("a process of this fleet");
        child.kill().and_then(|()| child.wait()).expect("the child is ours");
    }

    /// Copies the coordinator's folder while it runs, and starts a second one there, on another port; the folder.
    pub(crate) fn copy_coordinator(&mut self) -> PathBuf {
        let (from, to) = (self.folder().join("coordinator"), self.dir.path().join("copy"));
        fs::create_dir(&to).expect("a new folder");
        for entry in fs::read_dir(&from).expect("the coordinator's folder").flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) && entry.file_name() != "serve.log" {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
        let config = to.join("coordinator.toml");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let text = fs::read_to_string(&config).expect("the configuration");
        let own = |line: &str| match line.strip_prefix("listen") {
            Some(_) => format!("listen = [\"/ip4/127.0.0.1/tcp/{port}\"]\n"),
            None => line.replace(from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8")) + "\n",
        };
        fs::write(&config, text.lines().map(own).collect::<String>()).expect("the configuration");
        self.start_copy(&to);
        to
    }

    /// Starts the coordinator in `folder`, for the first time or again.
    pub(crate) fn start_copy(&mut self, folder: &Path) {
        let log = File::options().create(true).append(true).open(folder.join("serve.log")).expect("a log");
        let child = Command::new(&self.program)
            .args(["serve", "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("the program starts");
        self.children.insert("copy".to_owned(), child);
    }

    /// Starts a host of this fleet that has ended.
    pub(crate) fn restart(&mut self, name: &str) {
        let fleet = json(&self.folder().join("fleet.json")).expect("the fleet is written");
        let host = fleet["hosts"].as_array().expect("a list").iter().find(|host| host["name"] == name);
        self.spawn(name, host.expect("a host of this fleet"));
    }

    /// Runs the CLI against this fleet.
    pub(crate) fn cli(&self, words: &[&str]) -> std::process::Output {
        let mut command = Command::new(&self.program);
        command.args(words).env("PATCHMESH_SOCKET", self.folder().join("coordinator/api.sock"));
        command.stdin(Stdio::null()).output().expect("the program starts")
    }

    pub(crate) fn cli_json(&self, words: &[&str]) -> Option<Value> {
        serde_json::from_slice(&self.cli(words).stdout).ok()
    }

    /// What a question ends with; it is asked again where a busy machine may be why it has no answer.
    pub(crate) fn asked(&self, words: &[&str]) -> Value {
        wait_for("an answer", || {
            let output = self.cli(words);
            if output.status.success() {
                return Some(serde_json::from_slice(&output.stdout).expect("a document"));
            }
            let error: Value = serde_json::from_slice(&output.stderr).expect("an error");
            let code = error["code"].as_str().expect("a code");
            assert!(["busy", "host-silent", "host-unanswered"].contains(&code), "{words:?}: {error}");
            None
        })
    }

    /// Waits until the coordinator hears every one of `hosts` and each has scanned.
    pub(crate) fn wait_for_hosts(&mut self, count: usize) {
        wait_for("every host to be live", || {
            self.restart_ended();
            let hosts = self.cli_json(&["get", "hosts", "-o", "json"])?;
            let hosts = hosts["hosts"].as_array()?.clone();
            let live = |host: &&Value| host["presence"] == "live" && !host["counters"].is_null();
            (hosts.iter().filter(live).count() == count).then_some(())
        });
    }

    /// Changes a line of the coordinator's file in the fleet's folder `demo`; it holds from its next start on.
    pub(crate) fn set(demo: &Path, usual: &str, now: &str) {
        let config = demo.join("coordinator/coordinator.toml");
        let text = fs::read_to_string(&config).expect("the configuration");
        assert!(text.contains(usual), "{text}");
        fs::write(&config, text.replace(usual, now)).expect("the configuration");
    }

    /// Starts `manifest`; the rollout's id.
    pub(crate) fn begin(&self, manifest: &str) -> String {
        let file = self.dir.path().join("rollout.yaml");
        fs::write(&file, manifest).expect("the manifest is written");
        let started = self.cli(&["apply", "-f", file.to_str().expect("UTF-8"), "--detach"]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        String::from_utf8(started.stdout).expect("UTF-8").trim().to_owned()
    }

    /// Waits for the end of a rollout; its recap.
    pub(crate) fn end_of(&self, id: &str) -> Value {
        wait_for("the rollout to end", || {
            let status = self.cli_json(&["rollout", "status", id, "-o", "json"])?;
            (!status["endedAt"].is_null()).then_some(status)
        })
    }

    /// Applies `manifest` and waits for its end; the exit code and the recap.
    pub(crate) fn apply(&self, manifest: &str) -> (i32, Value) {
        let file = self.dir.path().join("rollout.yaml");
        fs::write(&file, manifest).expect("the manifest is written");
        let output = self.cli(&["apply", "-f", file.to_str().unwrap(), "-o", "json"]);
        let recap = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().expect("an exit code"), recap)
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
