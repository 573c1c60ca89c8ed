//! The demo's repository and roots under the real apt and dpkg.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use patchmesh_coordinator::demo::{
    fleet::{Board, Fleet, Process},
    repository::{NEW, OLD, PACKAGES, Repository},
    roots::{HOOK_POINTS, HostFiles, Template},
    supervisor::Supervisor,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::{fake::patchmesh, schemas::fleet_misfits};

struct World {
    _folder: tempfile::TempDir,
    base: PathBuf,
    repository: Repository,
    template: Template,
}

/// A repository and a template, or `None` (said aloud) without apt.
fn world(install: Duration) -> Option<World> {
    if tool("apt-get").arg("--version").output().is_err() || tool("dpkg").arg("--version").output().is_err() {
        eprintln!("skipped: apt-get and dpkg are not there");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    // apt and dpkg meet a path that needs care.
    let base = folder.path().join("it's [a] demo");
    let architecture = String::from_utf8(tool("dpkg").arg("--print-architecture").output().unwrap().stdout).unwrap();
    let repository = Repository::build(base.join("repository"), architecture.trim(), install).unwrap();
    let template = Template::build(base.join("template"), &repository).unwrap();
    Some(World { _folder: folder, base, repository, template })
}

impl World {
    fn host(&self, number: u32, broken: bool) -> HostFiles {
        let host = HostFiles::new(&self.base.join("hosts"), number, 12);
        self.template.instantiate(&host, broken).unwrap();
        host
    }
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

fn apt(root: &Path, arguments: &[&str]) -> Output {
    let config = root.with_file_name("apt.conf");
    let shown = root.display();
    let text = format!(
        "Dir \"{shown}\";\nDir::Bin::methods \"/usr/lib/apt/methods\";\nDir::Bin::solvers:: \"/usr/lib/apt/solvers\";\n\
         Dir::Bin::planners:: \"/usr/lib/apt/planners\";\nDir::State::status \"{shown}/var/lib/dpkg/status\";\n\
         APT::Sandbox::User \"\";\nDPkg::Options {{ \"--root={shown}\"; \"--force-not-root\"; \
         \"--force-script-chrootless\"; \"--log={shown}/var/log/dpkg.log\"; }};\n"
    );
    fs::write(&config, text).unwrap();
    let output =
        tool("apt-get").env("APT_CONFIG", &config).env("DEBIAN_FRONTEND", "noninteractive").args(arguments).output();
    let output = output.unwrap();
    eprintln!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn installed(root: &Path) -> Vec<String> {
    let mut query = tool("dpkg-query");
    query.arg("--admindir").arg(root.join("var/lib/dpkg")).args([
        "-W",
        "-f",
        "${Package} ${Version} ${db:Status-Abbrev}\\n",
    ]);
    let output = query.output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim().to_owned()).collect()
}

fn all(version: &str) -> Vec<String> {
    let sorted: BTreeSet<_> = PACKAGES.into();
    sorted.into_iter().map(|package| format!("{package} {version} ii")).collect()
}

#[test]
fn apt_upgrades_a_made_root_from_both_suites_and_asks_for_a_reboot() {
    let Some(world) = world(Duration::from_millis(300)) else { return };
    let host = world.host(1, false);
    assert_eq!(installed(&host.root), all(OLD));
    assert_eq!(fs::read_to_string(&host.dpkg_log).unwrap(), "");

    assert!(apt(&host.root, &["update"]).status.success());
    let simulated = String::from_utf8(apt(&host.root, &["-s", "-y", "dist-upgrade"]).stdout).unwrap();
    let lines: BTreeSet<_> = simulated.lines().filter(|line| line.starts_with("Inst ")).collect();
    let security = |name| format!("Inst {name} [1.0] (1.1 Debian-Security:demo-security [all])");
    let expected: BTreeSet<String> = [
        "Inst pm-demo-lib [1.0] (1.1 Patchmesh-Demo:demo [all])".to_owned(),
        security("pm-demo-service"),
        security("pm-demo-kernel"),
    ]
    .into();
    assert_eq!(lines, expected.iter().map(String::as_str).collect());

    let upgraded = apt(&host.root, &["-y", "dist-upgrade"]);
    assert!(upgraded.status.success());
    let said = String::from_utf8(upgraded.stdout).unwrap();
    for package in PACKAGES {
        assert!(said.contains(&format!("{package} 1.1: step 1 of 1")), "{package} prints while it sleeps");
    }
    assert_eq!(installed(&host.root), all(NEW));
    assert!(host.root.join("run/reboot-required").exists() && host.root.join("var/run/reboot-required").exists());
    assert_eq!(fs::read_to_string(host.root.join("run/reboot-required.pkgs")).unwrap(), "pm-demo-kernel\n");
    let log = fs::read_to_string(&host.dpkg_log).unwrap();
    assert_eq!(log.matches(" configure pm-demo-service:all 1.1 ").count(), 1);
}

#[test]
fn a_broken_host_fails_in_postinst_and_others_do_not_notice() {
    let Some(world) = world(Duration::ZERO) else { return };
    let (broken, sound) = (world.host(1, true), world.host(2, false));
    for host in [&broken, &sound] {
        assert!(apt(&host.root, &["update"]).status.success());
    }
    let failed = apt(&broken.root, &["-y", "dist-upgrade"]);
    assert!(!failed.status.success());
    assert!(installed(&broken.root).contains(&"pm-demo-service 1.1 iF".to_owned()));
    assert!(apt(&sound.root, &["-y", "dist-upgrade"]).status.success());
    assert_eq!(installed(&sound.root), all(NEW));
}

#[test]
fn hooks_append_one_line_and_may_be_run_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let Some(world) = world(Duration::ZERO) else { return };
    let host = world.host(3, false);
    for point in HOOK_POINTS {
        let folder = host.hooks.join(point.as_str());
        let hook = folder.join("10-log");
        for path in [&folder, &hook] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o755);
        }
        // By its interpreter: while another test begins a process, that one may still have the new file open for writing, and
        // then the system does not run it.
        let mut command = Command::new("/bin/sh");
        command.arg(&hook).env_clear().env("PATCHMESH_PHASE", point.as_str()).env("PATCHMESH_ATTEMPT", "1");
        assert!(command.status().unwrap().success());
    }
    let log = fs::read_to_string(&host.hooks_log).unwrap();
    let words: Vec<Vec<_>> = log.lines().map(|line| line.split(' ').collect()).collect();
    let phases: Vec<_> = words.iter().map(|words| words[1]).collect();
    assert_eq!(phases, ["pre-install", "post-install", "post-reboot", "on-exit"]);
    for words in words {
        assert!(words[0].parse::<u64>().unwrap() > 1_600_000_000_000_000_000);
        assert_eq!(words[2..], ["demo-03", "1"]);
    }
}

#[test]
fn the_same_arguments_give_the_same_archives() {
    let Some(world) = world(Duration::from_secs(1)) else { return };
    let again = Repository::build(world.base.join("again"), "amd64", Duration::from_secs(1)).unwrap();
    for version in [OLD, NEW] {
        for (one, other) in world.repository.archives(version).iter().zip(again.archives(version)) {
            assert_eq!(fs::read(one).unwrap(), fs::read(other).unwrap(), "{}", one.display());
        }
    }
}

fn pid(number: u64) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Nothing here takes a tenth of this, unless it never comes.
const PATIENCE: Duration = Duration::from_secs(240);

/// Polls `ready` until it gives something, or fails with `what`.
pub(super) async fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A fleet of two hosts whose processes only sleep, and what `fleet.json` says of it.
fn sleepers(folder: &Path) -> Fleet {
    let process = |name: &str| Process {
        argv: ["/bin/sleep".into(), "1000".into()].into(),
        log: folder.join(format!("{name}.log")),
    };
    let hosts = (1..=2).map(|number| {
        let files = HostFiles::new(folder, number, 2);
        (files, patchmesh_common::id::NodeId([number as u8; 32]), process(&number.to_string()))
    });
    Fleet {
        folder: folder.to_owned(),
        coordinator: process("coordinator"),
        socket: folder.join("api.sock"),
        hosts: hosts.collect(),
    }
}

fn pids(folder: &Path) -> Option<Vec<Option<u64>>> {
    let text = fs::read_to_string(folder.join("fleet.json")).ok()?;
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fleet_misfits(&document), [""; 0]);
    let hosts = document["hosts"].as_array().unwrap().iter().map(|host| host["pid"].as_u64());
    Some(std::iter::once(document["coordinator"]["pid"].as_u64()).chain(hosts).collect())
}

async fn all_pids(folder: &Path) -> Vec<u64> {
    wait_for("every process runs", || pids(folder)?.into_iter().collect()).await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn what_dies_is_started_again_within_a_second_and_everything_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let fleet = Arc::new(sleepers(folder.path()));
        let board = Arc::new(Board::new(&fleet));
        let mut supervisor = Supervisor::start(&fleet, &board, true);
        assert_eq!(pids(folder.path()), None, "not before it is published");
        board.publish(&fleet).unwrap();
        let (mut after, mut quickest) = (all_pids(folder.path()).await, Duration::MAX);
        // A machine may be busy for a moment, and not each time.
        for _ in 0..20 {
            let (before, killed) = (after, Instant::now());
            kill_process(pid(before[1]), Signal::KILL).unwrap();
            let again = wait_for("it is started again", || {
                let now: Vec<u64> = pids(folder.path())?.into_iter().collect::<Option<_>>()?;
                (now != before).then_some(now)
            });
            after = again.await;
            assert_eq!((before[0], before[2]), (after[0], after[2]));
            quickest = quickest.min(killed.elapsed());
            if quickest < Duration::from_secs(1) {
                break;
            }
        }
        assert!(quickest < Duration::from_secs(1), "{quickest:?}");
        supervisor.stop(|busy| panic!("nothing is at work, but {busy:?}")).await;
        for number in after {
            assert!(test_kill_process(pid(number)).is_err(), "{number} is gone");
        }
        assert_eq!(pids(folder.path()).unwrap(), [None; 3]);
    });
}

#[test]
fn unsupervised_processes_stay_dead() {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let fleet = Arc::new(sleepers(folder.path()));
        let board = Arc::new(Board::new(&fleet));
        let mut supervisor = Supervisor::start(&fleet, &board, false);
        board.publish(&fleet).unwrap();
        let before = all_pids(folder.path()).await;
        kill_process(pid(before[0]), Signal::KILL).unwrap();
        wait_for("its end is written down", || pids(folder.path())?[0].is_none().then_some(())).await;
        supervisor.stop(|_| {}).await;
        assert_eq!(fs::read_to_string(folder.path().join("coordinator.log")).unwrap(), "");
    });
}

#[test]
fn what_works_on_a_root_is_waited_for_and_not_killed() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().canonicalize().unwrap();
    let hook = base.join("hosts/demo-01/hooks/pre-install/10-slow");
    fs::create_dir_all(hook.parent().unwrap()).unwrap();
    fs::write(&hook, "read line\necho \"$line\" > \"$0.done\"\n").unwrap();
    let mut working = Command::new("/bin/sh").arg(&hook).stdin(Stdio::piped()).spawn().unwrap();
    block_on(async {
        let fleet = Arc::new(sleepers(&base));
        let board = Arc::new(Board::new(&fleet));
        let mut supervisor = Supervisor::start(&fleet, &board, true);
        let mut release = working.stdin.take();
        supervisor
            .stop(|busy| {
                assert_eq!(busy, [format!("hook (pid {})", working.id())]);
                // Only now may it end.
                std::io::Write::write_all(&mut release.take().unwrap(), b"whole\n").unwrap();
                assert!(working.wait().unwrap().success());
            })
            .await;
    });
    assert_eq!(fs::read_to_string(hook.with_extension("done")).unwrap_or_default(), "whole\n");
}

#[test]
fn ctrl_c_stops_every_daemon_and_removes_the_folder() {
    if world(Duration::ZERO).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().canonicalize().unwrap().join("demo");
    let mut demo = patchmesh(folder.path())
        .args(["demo", "--hosts", "2", "--install-seconds", "0", "--dir"])
        .arg(&dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    block_on(wait_for("both daemons are started", || {
        (1..=2).all(|n| dir.join(format!("hosts/demo-0{n}/daemon.log")).exists()).then_some(())
    }));
    kill_process(pid(demo.id().into()), Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert!(!dir.exists());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        assert!(!line.contains(dir.to_str().unwrap()), "{line}");
    }
}
