//! Starts the demo's processes, starts them again when they die, and stops every one of them. Package managers at work
//! are waited for, never killed.

use std::{fs, io::Write, path::Path, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::fleet::{Board, Fleet, Process};

/// Between a death and the next start: within the second that is promised, and slow enough not to spin.
const RESTART: Duration = Duration::from_millis(300);
/// How long a daemon may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks at what is still running.
const LOOK: Duration = Duration::from_millis(100);

/// Everything that the demo started and still has to stop.
#[derive(Debug)]
pub struct Supervisor {
    fleet: Arc<Fleet>,
    stop_coordinator: watch::Sender<bool>,
    stop_hosts: watch::Sender<bool>,
    coordinator: Option<JoinHandle<()>>,
    hosts: Vec<JoinHandle<()>>,
}

impl Supervisor {
    /// Starts every process of `fleet`; with `again`, also after it died.
    pub fn start(fleet: &Arc<Fleet>, board: &Arc<Board>, again: bool) -> Self {
        let (stop_coordinator, coordinator_stopped) = watch::channel(false);
        let (stop_hosts, hosts_stopped) = watch::channel(false);
        let spawn = |index: usize, stopped: watch::Receiver<bool>| {
            tokio::spawn(keep(fleet.clone(), board.clone(), index, again, stopped))
        };
        let coordinator = Some(spawn(0, coordinator_stopped));
        let hosts = (1..=fleet.hosts.len()).map(|index| spawn(index, hosts_stopped.clone())).collect();
        Self { fleet: fleet.clone(), stop_coordinator, stop_hosts, coordinator, hosts }
    }

    /// Stops everything: the coordinator first, so that nothing new is granted; then the daemons; then waits for package
    /// managers and hooks that are still at work. `waiting` is told of them once.
    ///
    /// Dropping the future leaves what is not stopped yet; calling it again continues.
    pub async fn stop(&mut self, waiting: impl FnOnce(&[String])) {
        self.stop_processes().await;
        let mut busy = at_work(&self.fleet.folder);
        if !busy.is_empty() {
            waiting(&busy);
        }
        while !busy.is_empty() {
            sleep(LOOK).await;
            busy = at_work(&self.fleet.folder);
        }
    }

    /// Stops the coordinator and the daemons, and waits for nothing else.
    pub async fn stop_processes(&mut self) {
        let _ = self.stop_coordinator.send(true);
        if let Some(task) = &mut self.coordinator {
            let _ = task.await;
            self.coordinator = None;
        }
        let _ = self.stop_hosts.send(true);
        while let Some(task) = self.hosts.last_mut() {
            let _ = task.await;
            self.hosts.pop();
        }
    }
}

async fn keep(fleet: Arc<Fleet>, board: Arc<Board>, index: usize, again: bool, mut stopped: watch::Receiver<bool>) {
    let process = match index {
        0 => &fleet.coordinator,
        _ => &fleet.hosts[index - 1].2,
    };
    let note = |pid| {
        if let Err(error) = board.set_pid(&fleet, index, pid) {
            complain(process, &format!("fleet.json cannot be written: {error}"));
        }
    };
    loop {
        match spawn(process) {
            Ok(mut child) => {
                note(child.id());
                tokio::select! {
                    () = told(&mut stopped) => {
                        terminate(&mut child).await;
                        note(None);
                        return;
                    }
                    _ = child.wait() => note(None),
                }
            }
            Err(error) => complain(process, &format!("cannot be started: {error}")),
        }
        tokio::select! {
            () = told(&mut stopped) => return,
            () = sleep(RESTART), if again => {}
        }
    }
}

/// Waits until it is told to stop, or nobody is left to tell.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

fn spawn(process: &Process) -> std::io::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(&process.log)?;
    let Some((program, arguments)) = process.argv.split_first() else {
        return Err(std::io::Error::other("the command line is empty"));
    };
    Command::new(program)
        .args(arguments)
        // The user's own coordinator is none of the demo's business.
        .env_remove("PATCHMESH_SOCKET")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in a terminal reaches the whole group of the demo; daemons are stopped by the demo, in order.
        .process_group(0)
        .spawn()
}

async fn terminate(child: &mut Child) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // Fails only if it is gone already.
        let _ = kill_process(pid, Signal::TERM);
    }
    if timeout(GRACE, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}

/// Into the process's own log: the demo's stderr may be a moving view.
fn complain(process: &Process, text: &str) {
    let log = fs::OpenOptions::new().create(true).append(true).open(&process.log);
    if let Ok(mut log) = log {
        let _ = writeln!(log, "demo: {text}");
    }
}

/// Runners, package managers and hooks that work below `folder`, as `name (pid N)`.
fn at_work(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let environment = || fs::read(entry.path().join("environ")).unwrap_or_default();
        if let Some(name) = work(&words, environment, folder) {
            found.push(format!("{name} (pid {pid})"));
        }
    }
    found
}

/// What a process with this command line does below `folder`, if it is work that must not be cut short.
fn work<W: AsRef<str>>(words: &[W], environment: impl FnOnce() -> Vec<u8>, folder: &Path) -> Option<String> {
    let folder = folder.to_str()?;
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    let name = words.first()?.rsplit('/').next()?;
    let below = |word: &&str| word.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let is_runner = words.get(1) == Some(&"runner") && words.iter().any(below);
    let is_hook = words.iter().take(2).any(|word| below(word) && word.contains("/hooks/"));
    let is_dpkg =
        name == "dpkg" && words.iter().any(|word| word.strip_prefix("--root=").is_some_and(|root| below(&root)));
    // Its command line names no root: the configuration in its environment does.
    let is_apt = || {
        name == "apt-get"
            && environment().split(|byte| *byte == 0).any(|variable| {
                let variable = String::from_utf8_lossy(variable);
                variable.strip_prefix("APT_CONFIG=").is_some_and(|file| below(&file))
            })
    };
    match (is_runner, is_hook) {
        (true, _) => Some("runner".to_owned()),
        (_, true) => Some("hook".to_owned()),
        _ if is_dpkg || is_apt() => Some(name.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_work(line: &str, environment: &'static str) -> bool {
        let words: Vec<_> = line.split(' ').collect();
        work(&words, || environment.replace(' ', "\0").into_bytes(), Path::new("/tmp/d")).is_some()
    }

    #[test]
    fn only_work_below_the_folder_is_waited_for() {
        for (line, environment) in [
            ("/usr/bin/patchmesh runner --spec /tmp/d/hosts/demo-01/state/run/1/spec", ""),
            ("/usr/bin/dpkg --root=/tmp/d/hosts/demo-01/root --configure -a", ""),
            ("/bin/sh /tmp/d/hosts/demo-01/hooks/pre-install/10-log", ""),
            ("apt-get -y install x=1", "PATH=/bin APT_CONFIG=/tmp/d/hosts/demo-01/state/apt.conf"),
        ] {
            assert!(is_work(line, environment), "{line}");
        }
        for (line, environment) in [
            ("/usr/bin/patchmesh demo --dir /tmp/d", ""),
            ("/usr/bin/patchmesh daemon --config /tmp/d/hosts/demo-01/patchmesh.toml", ""),
            ("tail -f /tmp/d/hosts/demo-01/hooks.log", ""),
            ("/usr/bin/dpkg --root=/tmp/d2/root --configure -a", ""),
            ("apt-get -y upgrade", "PATH=/bin"),
            ("", ""),
        ] {
            assert!(!is_work(line, environment), "{line}");
        }
    }
}
