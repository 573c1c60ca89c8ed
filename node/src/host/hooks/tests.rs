use std::{os::unix::fs::PermissionsExt as _, time::Instant};

use patchmesh_common::run::message::MAX_TEXT;
use rustix::process::{Pid, Signal};

use super::{super::runner::DEFAULT_PATH, *};

struct Hooks(tempfile::TempDir);

impl Hooks {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mode(folder.path(), 0o755);
        Self(folder)
    }

    fn add(&self, point: HookPoint, name: &str, script: &str) -> PathBuf {
        let folder = self.0.path().join(point.as_str());
        std::fs::create_dir_all(&folder).unwrap();
        mode(&folder, 0o755);
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        mode(&path, 0o755);
        path
    }

    async fn run(&self, point: HookPoint, timeout: Duration) -> HooksEnd {
        let (rollout, root) = (RolloutId([0xab; 8]), PathBuf::from("/srv/root"));
        run(self.0.path(), &HookContext { point, rollout, attempt: 2, root, timeout }).await
    }
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

const PATIENT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn hooks_run_in_name_order_in_a_clean_environment() {
    let hooks = Hooks::new();
    assert_eq!(hooks.run(HookPoint::PreInstall, PATIENT).await, HooksEnd::default(), "a missing folder has no hooks");
    hooks.add(HookPoint::PreInstall, "20-second", "echo second; read line || echo no stdin");
    hooks.add(
        HookPoint::PreInstall,
        "10-first",
        "pwd; env | grep -v -e '^_=' -e '^PWD=' -e '^OLDPWD=' -e '^SHLVL=' | sort",
    );
    hooks.add(HookPoint::PreInstall, ".hidden", "exit 1");
    let end = hooks.run(HookPoint::PreInstall, PATIENT).await;
    assert_eq!(end.error, None);
    let expected = format!(
        "10-first: /\nPATCHMESH_ATTEMPT=2\nPATCHMESH_PHASE=pre-install\nPATCHMESH_ROLLOUT={}\nPATCHMESH_ROOT=/srv/root\n\
         PATH={DEFAULT_PATH}\n20-second: second\nno stdin\n",
        "ab".repeat(8)
    );
    assert_eq!(end.output, expected);
}

#[tokio::test]
async fn a_failing_hook_is_named_and_ends_all_but_on_exit() {
    let hooks = Hooks::new();
    for point in [HookPoint::PreInstall, HookPoint::OnExit] {
        hooks.add(point, "10-bad", "echo trouble >&2; exit 7");
        hooks.add(point, "20-next", "echo next");
    }
    let end = hooks.run(HookPoint::PreInstall, PATIENT).await;
    assert_eq!(end.error.as_deref(), Some("pre-install hook 10-bad exited with 7"));
    assert_eq!(end.output, "10-bad: trouble\n");
    let end = hooks.run(HookPoint::OnExit, PATIENT).await;
    assert_eq!(end.error.as_deref(), Some("on-exit hook 10-bad exited with 7"));
    assert_eq!(end.output, "10-bad: trouble\n20-next: next\n");
    hooks.add(HookPoint::PostInstall, "10-signal", "kill -TERM $$");
    let end = hooks.run(HookPoint::PostInstall, PATIENT).await;
    assert_eq!(end.error.as_deref(), Some("post-install hook 10-signal was ended by signal 15"));
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_its_children() {
    let hooks = Hooks::new();
    let pid_file = hooks.0.path().join("pid");
    let script = format!("echo begun; sleep 600 & echo $! > {}; wait", pid_file.display());
    hooks.add(HookPoint::PreInstall, "10-hangs", &script);
    let end = hooks.run(HookPoint::PreInstall, Duration::from_secs(5)).await;
    assert_eq!(end.error.as_deref(), Some("pre-install hook 10-hangs ran longer than 5 s and was killed"));
    assert!(end.timed_out);
    assert_eq!(end.output, "10-hangs: begun\n");
    let child: u32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let deadline = Instant::now() + PATIENT;
    while super::super::process::stat(child).is_ok_and(|stat| !stat.ended) {
        assert!(Instant::now() < deadline, "process {child} of the hook still lives");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hook_ends_with_the_daemon() {
    let hooks = Hooks::new();
    let pid_file = hooks.0.path().join("pid");
    hooks.add(HookPoint::PreInstall, "10-slow", &format!("sleep 600 & echo $! > {}; wait", pid_file.display()));
    let deadline = Instant::now() + PATIENT;
    let child = {
        // Dropped as the actor's futures are when the process ends.
        let mut run = Box::pin(hooks.run(HookPoint::PreInstall, PATIENT));
        loop {
            let begun = std::fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse::<u32>().ok());
            if let Some(pid) = begun {
                break pid;
            }
            assert!(Instant::now() < deadline, "the hook did not begin");
            let waited = tokio::time::timeout(Duration::from_millis(10), &mut run).await;
            assert!(waited.is_err(), "the hook ended by itself: {waited:?}");
        }
    };
    while super::super::process::stat(child).is_ok_and(|stat| !stat.ended) {
        assert!(Instant::now() < deadline, "process {child} of the hook still lives");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hook_that_prints_100_mb_is_drained_and_capped() {
    let hooks = Hooks::new();
    hooks.add(HookPoint::PreInstall, "10-loud", "echo begin; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end");
    let end = hooks.run(HookPoint::PreInstall, PATIENT).await;
    assert_eq!(end.error, None);
    assert!(
        end.output.starts_with("10-loud: begin\nxxx") && end.output.ends_with("xxx\nend\n"),
        "{}",
        end.output.len()
    );
    assert!(end.output.contains("bytes left out") && end.output.len() <= MAX_TEXT);
}

#[tokio::test]
async fn what_a_hook_leaves_running_does_not_hold_up_the_run() {
    let hooks = Hooks::new();
    let pid_file = hooks.0.path().join("pid");
    hooks.add(HookPoint::PreInstall, "10-daemon", &format!("sleep 600 & echo $! > {}", pid_file.display()));
    let begun = Instant::now();
    assert_eq!(hooks.run(HookPoint::PreInstall, PATIENT).await, HooksEnd::default());
    assert!(begun.elapsed() < PATIENT);
    let left: i32 = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
    // Nor does it make a time-out of what has ended in time: its output is listened to for a second more.
    let short = Duration::from_millis(900);
    assert_eq!(hooks.run(HookPoint::PreInstall, short).await, HooksEnd::default());
    let left: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(left).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn untrusted_hooks_are_named_and_nothing_runs() {
    let trace = tempfile::tempdir().unwrap();
    let ran = trace.path().join("ran");
    let cases: [(&str, u32, &str); 4] = [
        ("hook", 0o757, "10-hook is writable by others (mode 0757); chmod go-w it; nothing was run"),
        ("hook", 0o775, "10-hook is writable by others (mode 0775); chmod go-w it; nothing was run"),
        ("hook", 0o644, "10-hook is not executable; chmod +x it or remove it; nothing was run"),
        ("folder", 0o777, "pre-install is writable by others (mode 0777); chmod go-w it; nothing was run"),
    ];
    for (what, bits, message) in cases {
        let hooks = Hooks::new();
        let first = hooks.add(HookPoint::PreInstall, "00-good", &format!("touch {}", ran.display()));
        let hook = hooks.add(HookPoint::PreInstall, "10-hook", "true");
        mode(if what == "hook" { &hook } else { first.parent().unwrap() }, bits);
        let error = hooks.run(HookPoint::PreInstall, PATIENT).await.error.unwrap();
        assert!(error.ends_with(message), "{error}");
        assert!(!ran.exists(), "all hooks are inspected before the first one runs");
    }
    let hooks = Hooks::new();
    let hook = hooks.add(HookPoint::PreInstall, "00-good", "true");
    std::os::unix::fs::symlink("/bin/true", hook.with_file_name("10-link")).unwrap();
    let error = hooks.run(HookPoint::PreInstall, PATIENT).await.error.unwrap();
    assert!(error.contains("10-link is not a regular file"), "{error}");
}

#[tokio::test]
async fn a_hook_of_another_user_is_refused() {
    let hooks = Hooks::new();
    let hook = hooks.add(HookPoint::PreInstall, "10-hook", "true");
    if std::os::unix::fs::chown(&hook, Some(12_345), None).is_err() {
        return eprintln!("skipped: giving a file away needs root");
    }
    let error = hooks.run(HookPoint::PreInstall, PATIENT).await.error.unwrap();
    assert!(error.contains("10-hook belongs to user 12345, not to root or user"), "{error}");
}
