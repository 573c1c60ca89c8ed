//! Runners as real processes: who survives whom, and what is found afterwards.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use patchmesh_common::{
    id::{BootId, LeaseId, MeshId, NodeId, RolloutId},
    inventory::Transaction,
    patch::Approval,
    rollout::{Operation, RebootOption},
    run::{
        act::{Guard, Verdict},
        journal::JournalEntry,
        message::{LatestStart, Lease, StopOrder, StopScope},
    },
    schedule::Opening,
    time::{BootInstant, BootTime, WallTime},
};
use patchmesh_node::{
    clock,
    host::{
        adopt::{self, Adopted, adopt},
        runner::{Claim, Spec, Step, launch},
    },
    store::log::Log,
};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);
const FOLDER: &str = "PATCHMESH_TEST_FOLDER";

/// The daemon beside this test binary, so that a copy of the build folder works too; otherwise the one that was built.
pub(crate) fn daemon() -> PathBuf {
    let beside = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("patchmeshd");
    if beside.exists() { beside } else { env!("CARGO_BIN_EXE_patchmeshd").into() }
}

pub(crate) fn program() -> Vec<String> {
    vec![daemon().to_str().unwrap().into(), "runner".into()]
}

pub(crate) fn shell(script: &str, arguments: &[&Path]) -> Step {
    let mut argv: Vec<String> = ["/bin/sh", "-c", script, "step"].map(String::from).into();
    argv.extend(arguments.iter().map(|argument| argument.display().to_string()));
    Step { argv, env: Vec::new() }
}

/// Prints, then works until the file `open` of its folder appears.
fn gated(folder: &Path) -> Spec {
    let script = "echo begun; while [ ! -e \"$1\" ]; do sleep 0.02; done; echo ended";
    Spec { steps: vec![shell(script, &[&folder.join("open")])], guard: None, journal: folder.join("run.log") }
}

/// Polls `found` until it is there.
fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in {PATIENCE:?}");
        std::thread::yield_now();
    }
}

fn begun(folder: &Path) -> u32 {
    until("the first line of output", || (adopt::last_line(folder) == "begun").then_some(()));
    match serde_json::from_slice(&std::fs::read(folder.join("claim.json")).unwrap()).unwrap() {
        Claim::Runner(identity) => identity.pid,
        Claim::Revoked => panic!("revoked"),
    }
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

async fn ended(folder: &Path) -> Adopted {
    match adopt(folder).unwrap() {
        Adopted::Running(running) => tokio::time::timeout(PATIENCE, running.ended()).await.unwrap().unwrap(),
        other => other,
    }
}

/// Not a test: the daemon's part in [`a_runner_survives_its_killed_parent`].
#[tokio::test]
async fn launching_parent() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    launch(&folder, &program(), None, &gated(&folder)).unwrap().wait().await.unwrap();
}

#[tokio::test]
async fn a_runner_survives_its_killed_parent() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runner::launching_parent"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let runner = begun(folder);
    parent.kill().unwrap();
    assert_eq!(parent.wait().unwrap().signal(), Some(9));

    let Adopted::Running(running) = adopt(folder).unwrap() else { panic!("it died with its parent") };
    assert_eq!(running.pid(), runner);
    let output = std::fs::read_link(format!("/proc/{runner}/fd/1")).unwrap();
    assert_eq!(output, folder.canonicalize().unwrap().join("output.log"), "never a pipe");
    let stat = std::fs::read_to_string(format!("/proc/{runner}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(session, runner.to_string(), "a session of its own");

    for wanted in [Signal::TERM, Signal::HUP, Signal::INT] {
        signal(runner, wanted);
    }
    std::fs::write(folder.join("open"), "").unwrap();
    let Adopted::Finished(result) = ended(folder).await else { panic!("no result") };
    assert_eq!(result.verdict, Verdict::Ok);
    assert_eq!(result.exits.iter().map(|exit| exit.code).collect::<Vec<_>>(), [Some(0)]);
    assert_eq!(adopt::output(folder), "begun\nended\n");
    assert!(matches!(adopt(folder).unwrap(), Adopted::Finished(_)), "a result stays");
}

#[tokio::test]
async fn a_runner_starts_where_the_leader_of_its_session_is_outside_of_its_pid_namespace() {
    let contained = ["unshare", "--pid", "--fork", "--mount-proc", "--"].map(String::from);
    if !Command::new(&contained[0]).args(&contained[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        return eprintln!("skipped: making a PID namespace needs root");
    }
    let folder = tempfile::tempdir().unwrap();
    let program: Vec<String> = contained.into_iter().chain(program()).collect();
    let spec = Spec { steps: vec![shell("echo ran", &[])], guard: None, journal: folder.path().join("run.log") };
    let status = launch(folder.path(), &program, None, &spec).unwrap().wait().await.unwrap();
    assert_eq!((status.code(), adopt::output(folder.path()).as_str()), (Some(0), "ran\n"));
}

#[tokio::test]
async fn a_killed_runner_is_dead_only_when_its_session_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut child = launch(folder, &program(), None, &gated(folder)).unwrap();
    signal(begun(folder), Signal::KILL);
    assert_eq!(child.wait().await.unwrap().signal(), Some(9));
    assert!(matches!(adopt(folder).unwrap(), Adopted::Running(_)), "its step still works");
    std::fs::write(folder.join("open"), "").unwrap();
    assert!(matches!(ended(folder).await, Adopted::Dead));
}

#[tokio::test]
async fn the_first_failing_step_ends_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let steps = vec![shell("echo one", &[]), shell("exit 7", &[]), shell("echo three", &[])];
    let spec = Spec { steps, guard: None, journal: folder.join("run.log") };
    assert_eq!(launch(folder, &program(), None, &spec).unwrap().wait().await.unwrap().code(), Some(2));
    let Adopted::Finished(result) = adopt(folder).unwrap() else { panic!("no result") };
    assert_eq!(result.verdict, Verdict::Failed("/bin/sh failed: exit status: 7".into()));
    assert_eq!(result.exits.len(), 2);
    assert_eq!(adopt::output(folder), "one\n");

    let absent = folder.join("absent");
    let steps = vec![Step { argv: vec!["/nowhere/apt-get".into()], env: Vec::new() }];
    launch(&absent, &program(), None, &Spec { steps, ..spec }).unwrap().wait().await.unwrap();
    let Adopted::Finished(result) = adopt(&absent).unwrap() else { panic!("no result") };
    assert!(
        matches!(result.verdict, Verdict::Failed(text) if text.starts_with("/nowhere/apt-get failed: cannot be run"))
    );
}

#[tokio::test]
async fn a_step_sees_only_its_own_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut step = shell("env | grep -v -e '^_=' -e '^PWD=' -e '^OLDPWD=' -e '^SHLVL=' | sort; pwd", &[]);
    step.env.push(("APT_CONFIG".into(), "/srv/apt.conf".into()));
    let spec = Spec { steps: vec![step], guard: None, journal: folder.path().join("run.log") };
    launch(folder.path(), &program(), None, &spec).unwrap().wait().await.unwrap();
    let path = patchmesh_node::host::runner::DEFAULT_PATH;
    assert_eq!(adopt::output(folder.path()), format!("APT_CONFIG=/srv/apt.conf\nLC_ALL=C.UTF-8\nPATH={path}\n/\n"));
}

#[tokio::test]
async fn a_revoked_runner_does_nothing_however_late_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(matches!(adopt(folder).unwrap(), Adopted::NeverStarted));
    let spec = Spec { steps: vec![shell("echo ran", &[])], guard: None, journal: folder.join("run.log") };
    assert_eq!(launch(folder, &program(), None, &spec).unwrap().wait().await.unwrap().code(), Some(1));
    assert!(adopt::output(folder).contains("the run was revoked; nothing was run"), "{}", adopt::output(folder));
    assert!(matches!(adopt(folder).unwrap(), Adopted::NeverStarted));
}

fn granted(id: LeaseId, rollout: RolloutId) -> JournalEntry {
    let host = NodeId([2; 32]);
    let lease = Lease {
        id,
        rollout,
        host,
        attempt: 1,
        operation: Operation::Install,
        baseline: Approval::All,
        transaction: Transaction::default(),
        reboot: RebootOption::Never,
        hook_timeout: 60,
        opening: Opening::endless(WallTime(0)),
        latest_start: LatestStart { pre_install: 600, transaction: 600, post_install: 600, reboot: 600 },
        gates: Vec::new(),
    };
    let at = BootInstant { boot_id: BootId([1; 16]), at: BootTime(0) };
    JournalEntry::Granted { lease: Box::new(lease), coordinator: host, at, wall: WallTime(0), head: Default::default() }
}

#[tokio::test]
async fn the_last_check_of_a_runner_is_its_own() {
    let rollout = RolloutId([8; 8]);
    let now = clock::now();
    let good = Guard {
        rollout,
        opening: Opening::endless(WallTime(0)),
        latest: BootTime(now.boot.0 + 3_600_000),
        lease: None,
    };
    let closed = Opening { opens: WallTime(0), last_start: WallTime(1), closes: now.wall };
    let stop = JournalEntry::Stop(StopOrder {
        mesh: MeshId([1; 32]),
        scope: StopScope::Rollout(rollout),
        sequence: 1,
        stop: true,
    });
    let lease = LeaseId([9; 16]);
    let released = || vec![granted(lease, rollout), JournalEntry::Released { lease }];
    let cases: [(&str, Vec<JournalEntry>, Guard); 6] = [
        ("", vec![], good),
        ("", released(), good),
        ("stopped", vec![stop], good),
        ("released", released(), Guard { lease: Some(lease), ..good }),
        ("outside-opening", vec![], Guard { opening: closed, ..good }),
        ("past-deadline", vec![], Guard { latest: BootTime(now.boot.0.saturating_sub(1)), ..good }),
    ];
    for (wanted, saved, guard) in cases {
        let state = tempfile::tempdir().unwrap();
        let journal = state.path().join("run.log");
        let (mut log, _, _) = Log::open(&journal).unwrap();
        for entry in saved {
            log.append(&entry.encode()).unwrap();
        }
        let folder = state.path().join("run");
        let spec = Spec { steps: vec![shell("echo ran", &[])], guard: Some(guard), journal };
        launch(&folder, &program(), None, &spec).unwrap().wait().await.unwrap();
        let Adopted::Finished(result) = adopt(&folder).unwrap() else { panic!("no result") };
        match result.verdict {
            Verdict::Declined { code, .. } => assert_eq!(code, wanted),
            other => assert_eq!((other, wanted), (Verdict::Ok, "")),
        }
        assert_eq!(adopt::output(&folder), if wanted.is_empty() { "ran\n" } else { "" });
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_holds_the_runner_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("run.log");
    std::fs::write(&journal, "rubbish").unwrap();
    let guard = Guard {
        rollout: RolloutId([8; 8]),
        opening: Opening::endless(WallTime(0)),
        latest: BootTime(u64::MAX),
        lease: None,
    };
    let spec = Spec { steps: vec![shell("echo ran", &[])], guard: Some(guard), journal };
    let folder = folder.path().join("run");
    launch(&folder, &program(), None, &spec).unwrap().wait().await.unwrap();
    let Adopted::Finished(result) = adopt(&folder).unwrap() else { panic!("no result") };
    assert!(matches!(result.verdict, Verdict::Declined { code, .. } if code == "journal-unreadable"));
    assert_eq!(adopt::output(&folder), "");
}
