//! The models of a host's disk, boot and runner against the real ones: the same questions get the same answers.
//!
//! The real host is a private root: its daemon and its runners are processes of this test's own program, told by their
//! environment what to be.

use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use patchmesh_common::{
    id::{LeaseId, RolloutId},
    inventory::Transaction,
    patch::Approval,
    run::act::{Act, ActEnd, ActId, Adoption, Guard},
    schedule::Opening,
    time::{BootTime, WallTime},
};
use patchmesh_node::host::{
    boot::Boot,
    runner::{self, Adopted, Claim, Spec, Step, adopt},
};

mod disk;

use super::{Happening, World};
use crate::scenario::{MINUTE, Network, Pace, Scenario};

/// What became of a runner, whoever is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Running,
    Finished,
    Dead,
    NeverStarted,
    /// Whether the package manager was ever started.
    Ran(bool),
    /// Whether the boot id is the one of the question before.
    SameBoot(bool),
}

/// A host that can be asked.
trait Asked {
    /// A daemon starts a runner; it is looked at only after the runner has claimed its folder, if it `claims`.
    fn launch(&mut self, attempt: u32, claims: bool);
    /// A runner that was slow to claim its folder does so now.
    fn claim(&mut self, attempt: u32);
    /// The package manager ends, and with it a runner that lives.
    fn finish(&mut self, attempt: u32);
    /// The daemon is killed and started again.
    fn restart(&mut self);
    /// The runner is killed; its package manager too, if `all`.
    fn kill_runner(&mut self, attempt: u32, all: bool);
    fn reboot(&mut self);
    fn adopt(&mut self, attempt: u32) -> Answer;
    fn ran(&mut self, attempt: u32) -> Answer;
    fn boot(&mut self) -> Answer;
}

/// Every question; the answers are written beside them.
fn ask(host: &mut dyn Asked) -> Vec<Answer> {
    let mut answers = Vec::new();
    // A boot outlasts its daemon and not the reboot.
    host.boot();
    host.restart();
    answers.push(host.boot());
    host.reboot();
    answers.push(host.boot());
    answers.push(host.boot());
    // A runner outlasts the daemon, and its result is found by the next one.
    host.launch(1, true);
    answers.push(host.adopt(1));
    host.restart();
    answers.push(host.adopt(1));
    host.finish(1);
    answers.push(host.adopt(1));
    host.restart();
    answers.push(host.adopt(1));
    answers.push(host.ran(1));
    // Who asks before the runner has claimed its folder revokes it for ever.
    host.launch(2, false);
    host.restart();
    answers.push(host.adopt(2));
    host.claim(2);
    answers.push(host.adopt(2));
    answers.push(host.ran(2));
    // A runner that was killed with everything below it has no result.
    host.launch(3, true);
    host.kill_runner(3, true);
    answers.push(host.adopt(3));
    host.restart();
    answers.push(host.adopt(3));
    // Killed alone, it is dead only when its package manager has ended: until then the lock is held.
    host.launch(4, true);
    host.kill_runner(4, false);
    answers.push(host.adopt(4));
    host.restart();
    answers.push(host.adopt(4));
    host.finish(4);
    answers.push(host.adopt(4));
    answers
}

const ANSWERS: [Answer; 16] = [
    Answer::SameBoot(true),
    Answer::SameBoot(false),
    Answer::SameBoot(true),
    Answer::Running,
    Answer::Running,
    Answer::Finished,
    Answer::Finished,
    Answer::Ran(true),
    Answer::NeverStarted,
    Answer::NeverStarted,
    Answer::Ran(false),
    Answer::Dead,
    Answer::Dead,
    Answer::Running,
    Answer::Running,
    Answer::Dead,
];

const LEASE: LeaseId = LeaseId([1; 16]);
/// The machine that is asked.
const SPOT: u32 = 0;

/// Three hosts without work, and nothing goes wrong.
fn still() -> Scenario {
    Scenario {
        hosts: 3,
        demanding: false,
        heal: 24 * 60 * MINUTE,
        patience: MINUTE,
        least: 0,
        rests: false,
        network: Network::default(),
        pace: Pace { heartbeat: 60_000, exchange: 60_000 },
        waves: Vec::new(),
        services: Vec::new(),
        fleet: 0,
        policies: Vec::new(),
        faults: Vec::new(),
    }
}

struct Simulated {
    world: World,
    acts: u64,
    last: Option<patchmesh_common::id::BootId>,
}

impl Simulated {
    fn new() -> Self {
        let mut host = Self { world: World::new(1, still(), false), acts: 1_000_000, last: None };
        host.pass(10_000);
        host
    }

    /// Lets everything happen that is due within `pause` milliseconds. What acts have to say is heard by the questions only.
    fn pass(&mut self, pause: u64) -> Vec<(ActId, ActEnd)> {
        let mut ends = Vec::new();
        let until = self.world.now + pause;
        while let Some((time, what)) = self.world.queue.pop() {
            if time > until {
                self.world.queue.push(time, what);
                break;
            }
            self.world.now = time;
            match what {
                Happening::ActEnd { act, end, .. } => ends.push((act, *end)),
                other => self.world.happen(other),
            }
        }
        self.world.now = until;
        ends
    }

    fn start(&mut self, act: Act) -> ActId {
        self.acts += 1;
        self.world.start_act(SPOT, ActId(self.acts), act);
        ActId(self.acts)
    }
}

impl Asked for Simulated {
    fn launch(&mut self, attempt: u32, claims: bool) {
        let opening = Opening::endless(WallTime(0));
        let guard = Guard { rollout: RolloutId([0; 8]), opening, latest: BootTime(u64::MAX), lease: None };
        let (baseline, transaction) = (Approval::All, Transaction::default());
        self.start(Act::Transaction { lease: LEASE, attempt, baseline, transaction, guard, note_units: false });
        if claims {
            self.pass(700);
        }
    }

    fn claim(&mut self, _: u32) {
        self.pass(700);
    }

    fn finish(&mut self, _: u32) {
        self.pass(40_000);
    }

    fn restart(&mut self) {
        self.world.die(SPOT, false);
        self.world.start(SPOT);
    }

    fn kill_runner(&mut self, _: u32, all: bool) {
        assert!(self.world.kill_runners(SPOT, all));
    }

    fn reboot(&mut self) {
        self.world.power_off(SPOT);
        self.world.power_on(SPOT);
        self.pass(30_000);
        assert!(self.world.seats[SPOT as usize].up);
    }

    fn adopt(&mut self, attempt: u32) -> Answer {
        let asked = self.start(Act::Adopt { lease: LEASE, attempt });
        // Less than a package manager takes.
        let ends = self.pass(550);
        match ends.into_iter().find(|(act, _)| *act == asked) {
            None => Answer::Running,
            Some((_, ActEnd::Adopted(Adoption::Finished(_)))) => Answer::Finished,
            Some((_, ActEnd::Adopted(Adoption::Dead))) => Answer::Dead,
            Some((_, ActEnd::Adopted(Adoption::NeverStarted))) => Answer::NeverStarted,
            other => panic!("{other:?}"),
        }
    }

    fn ran(&mut self, attempt: u32) -> Answer {
        Answer::Ran(self.world.seats[SPOT as usize].host().unwrap().has_worked(LEASE, attempt))
    }

    fn boot(&mut self) -> Answer {
        let now = self.world.seats[SPOT as usize].boot_id();
        Answer::SameBoot(self.last.replace(now) == Some(now))
    }
}

#[test]
fn the_simulated_host_answers_like_the_real_one() {
    assert_eq!(ask(&mut Simulated::new()), ANSWERS);
}

#[test]
fn the_real_host_answers_like_the_simulated_one() {
    assert_eq!(ask(&mut Real::new()), ANSWERS);
}

/// How long a real process may take to do what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What this program is, if it is not a test.
const ROLE: &str = "PATCHMESH_TEST_ROLE";
/// Its folder, or its spec.
const PLACE: &str = "PATCHMESH_TEST_PLACE";

/// This program as another process.
fn program(role: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "world::tests::a_process_of_the_real_host", "--nocapture"]);
    command.env(ROLE, role).env(PLACE, place).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Not a test, unless its environment says what to be.
#[test]
fn a_process_of_the_real_host() {
    let (Ok(role), Ok(place)) = (std::env::var(ROLE), std::env::var(PLACE)) else { return };
    let place = PathBuf::from(place);
    match role.as_str() {
        "runner" => {
            runner::main(&place);
        }
        "daemon" => daemon(&place),
        "reboot" => reboot(&place),
        other => panic!("{other}"),
    }
}

/// A daemon that starts a runner and does nothing more until it is killed.
fn daemon(folder: &Path) {
    let text = |path: PathBuf| path.to_str().unwrap().to_owned();
    // The package manager: says that it works, and ends when it may.
    let work = "echo $$ > \"$0/working\"; while ! [ -e \"$0/end\" ]; do sleep 0.02; done";
    let step =
        Step { argv: vec!["/bin/sh".into(), "-c".into(), work.into(), text(folder.to_owned())], env: Vec::new() };
    let spec = Spec { steps: vec![step], guard: None, journal: folder.join("none") };
    let script = format!(
        "while ! [ -e '{0}/may-claim' ]; do sleep 0.02; done; exec env {ROLE}=runner {PLACE}=\"$2\" '{1}' --exact \
         world::tests::a_process_of_the_real_host",
        folder.display(),
        std::env::current_exe().unwrap().display()
    );
    let program = ["/bin/sh".into(), "-c".into(), script, "runner".into()];
    let runtime = tokio_runtime();
    let _inside = runtime.enter();
    let child = runner::launch(&folder.join("run"), &program, None, &spec).unwrap();
    std::fs::write(folder.join("launched"), child.id().unwrap().to_string()).unwrap();
    loop {
        std::thread::park();
    }
}

/// A daemon that reboots its private root: the process replaces itself, and finds that it has done so.
fn reboot(state: &Path) {
    let boot = Boot::of(Path::new("/nowhere"), state);
    if state.join("rebooting").exists() {
        std::fs::write(state.join("rebooted"), std::process::id().to_string()).unwrap();
        return;
    }
    std::fs::write(state.join("rebooting"), std::process::id().to_string()).unwrap();
    panic!("{:?}", boot.reboot());
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap()
}

struct Real {
    folder: tempfile::TempDir,
    daemon: Option<Child>,
    last: Option<patchmesh_common::id::BootId>,
}

impl Real {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), daemon: None, last: None }
    }

    fn run(&self, attempt: u32) -> PathBuf {
        self.folder.path().join(attempt.to_string())
    }

    fn exists(&self, attempt: u32, name: &str) -> bool {
        self.run(attempt).join(name).exists()
    }

    fn allow(&self, attempt: u32, name: &str) {
        std::fs::write(self.run(attempt).join(name), "").unwrap();
    }

    fn number(&self, attempt: u32, name: &str) -> u32 {
        std::fs::read_to_string(self.run(attempt).join(name)).unwrap().trim().parse().unwrap()
    }

    fn runner(&self, attempt: u32) -> u32 {
        let claim = std::fs::read(self.run(attempt).join("run/claim.json")).unwrap();
        match serde_json::from_slice(&claim).unwrap() {
            Claim::Runner(identity) => identity.pid,
            Claim::Revoked => panic!("{attempt} is revoked"),
        }
    }

    fn kill_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }
}

/// A file is there before it has its content.
fn is_written(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| !text.trim().is_empty())
}

fn is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return true };
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}

/// Whether no process of the runner's session is left: its package manager has children of its own.
fn session_is_gone(runner: u32) -> bool {
    let of = |stat: String| {
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().collect::<Vec<_>>());
        fields.is_some_and(|fields| fields[3] == runner.to_string() && !["Z", "X"].contains(&fields[0]))
    };
    let stats = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("stat"));
    !stats.filter_map(|stat| std::fs::read_to_string(stat).ok()).any(of)
}

/// `target` is a process, or a group of them if it is negative.
fn kill(target: i64) {
    Command::new("kill").args(["-KILL", "--", &target.to_string()]).stderr(Stdio::null()).status().unwrap();
}

impl Asked for Real {
    fn launch(&mut self, attempt: u32, claims: bool) {
        std::fs::create_dir(self.run(attempt)).unwrap();
        if claims {
            self.allow(attempt, "may-claim");
        }
        self.kill_daemon();
        self.daemon = Some(program("daemon", &self.run(attempt)).process_group(0).spawn().unwrap());
        wait_until("the launch", || is_written(&self.run(attempt).join("launched")));
        if claims {
            wait_until("the claim", || is_written(&self.run(attempt).join("working")));
        }
    }

    fn claim(&mut self, attempt: u32) {
        self.allow(attempt, "may-claim");
        wait_until("a revoked runner", || is_gone(self.number(attempt, "launched")));
    }

    fn finish(&mut self, attempt: u32) {
        self.allow(attempt, "end");
        wait_until("the end", || self.exists(attempt, "run/result.json") || is_gone(self.number(attempt, "working")));
        wait_until("the runner's end", || is_gone(self.runner(attempt)));
    }

    fn restart(&mut self) {
        // What comes after it knows nothing but what is on the disk: as do the questions.
        self.kill_daemon();
    }

    fn kill_runner(&mut self, attempt: u32, all: bool) {
        let runner = self.runner(attempt);
        kill(if all { -i64::from(runner) } else { i64::from(runner) });
        wait_until("the kill", || is_gone(runner) && (!all || session_is_gone(runner)));
    }

    fn reboot(&mut self) {
        let state = self.folder.path();
        assert!(program("reboot", state).status().unwrap().success());
        let pid = |name| std::fs::read_to_string(state.join(name)).unwrap();
        assert_eq!(pid("rebooting"), pid("rebooted"), "the process has replaced itself");
    }

    fn adopt(&mut self, attempt: u32) -> Answer {
        match adopt(&self.run(attempt).join("run")).unwrap() {
            Adopted::Running(_) => Answer::Running,
            Adopted::Finished(_) => Answer::Finished,
            Adopted::Dead => Answer::Dead,
            Adopted::NeverStarted => Answer::NeverStarted,
        }
    }

    fn ran(&mut self, attempt: u32) -> Answer {
        Answer::Ran(self.exists(attempt, "working"))
    }

    fn boot(&mut self) -> Answer {
        let now = Boot::of(Path::new("/nowhere"), self.folder.path()).id().unwrap();
        Answer::SameBoot(self.last.replace(now) == Some(now))
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.kill_daemon();
        // Whatever a failed test left at work.
        for attempt in 1..=4 {
            if let Ok(pid) = std::fs::read_to_string(self.run(attempt).join("launched")) {
                pid.trim().parse::<i64>().into_iter().for_each(|pid| {
                    kill(-pid);
                    kill(pid);
                });
            }
        }
    }
}
