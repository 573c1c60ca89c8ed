//! The lab: booted hosts with real package managers, driven by a program of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Mutex, MutexGuard},
};

use crate::fleet::wait_for;

/// Names the lab's program; without it nothing here runs.
const PROGRAM: &str = "PATCHMESH_LAB";
/// The lab has one network and one repository.
static ONE: Mutex<()> = Mutex::new(());

/// Hosts that run; they are removed with it.
pub(crate) struct Lab {
    program: PathBuf,
    pub(crate) hosts: Vec<String>,
    _one: MutexGuard<'static, ()>,
}

impl Lab {
    /// Boots hosts, e.g. `["debian=4", "trixie=2"]`, that lack the updates of `scenarios`. `None` says why, and skips.
    pub(crate) fn up(flavours: &[&str], scenarios: &[&str]) -> Option<Self> {
        let Some(program) = std::env::var_os(PROGRAM).map(PathBuf::from) else {
            eprintln!("skipped: {PROGRAM} does not name a lab's program");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: booting hosts needs root");
            return None;
        }
        let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut lab = Self { program, hosts: Vec::new(), _one: one };
        lab.run(&["down"]);
        lab.run(&[&["up"], flavours].concat());
        if !scenarios.is_empty() {
            lab.run(&[&["scenario"], scenarios].concat());
        }
        for flavour in flavours {
            let (name, count) = flavour.split_once('=').expect("FLAVOUR=COUNT");
            let count: usize = count.parse().expect("a count");
            lab.hosts.extend((1..=count).map(|number| format!("{name}-{number}")));
        }
        Some(lab)
    }

    /// The lab's own output, whatever came of it.
    pub(crate) fn try_run(&self, words: &[&str]) -> Output {
        // A file, not a pipe: what the lab leaves running in the background would keep a pipe open.
        let (out, err) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let status = Command::new(&self.program)
            .args(words)
            .stdin(Stdio::null())
            .stdout(out.reopen().unwrap())
            .stderr(err.reopen().unwrap())
            .status()
            .expect("the lab's program starts");
        Output { status, stdout: fs::read(out.path()).unwrap(), stderr: fs::read(err.path()).unwrap() }
    }

    /// What the lab printed; it must succeed.
    pub(crate) fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        assert!(output.status.success(), "lab {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs a line of shell inside `host`; it must succeed.
    pub(crate) fn exec(&self, host: &str, line: &str) -> String {
        self.run(&["exec", host, line])
    }

    /// What a line of shell prints inside `host`, if that is up and the line succeeds.
    pub(crate) fn ask(&self, host: &str, line: &str) -> Option<String> {
        let output = self.try_run(&["exec", host, line]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub(crate) fn write(&self, hosts: &str, path: &str, mode: u32, text: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        self.push(hosts, file.path(), path);
    }

    pub(crate) fn push(&self, hosts: &str, file: &Path, path: &str) {
        self.run(&["push", hosts, file.to_str().expect("UTF-8"), path]);
    }

    pub(crate) fn boot_id(&self, host: &str) -> String {
        self.exec(host, "cat /proc/sys/kernel/random/boot_id").trim().to_owned()
    }

    /// Offers a package of one's own in the suite `lab`.
    pub(crate) fn offer(&self, package: &Path) {
        let dir = std::env::var_os("LAB_DIR").map_or_else(|| PathBuf::from("/var/tmp/patch-lab"), PathBuf::from);
        let pool = dir.join("repo/apt/pool/main");
        let name = package.file_name().unwrap().to_str().unwrap();
        fs::copy(package, pool.join(name)).unwrap();
        let control = Command::new("dpkg-deb").arg("-f").arg(package).output().unwrap();
        fs::write(pool.join(name).with_extension("control"), control.stdout).unwrap();
        self.run(&["index"]);
    }

    /// Cuts the power of `host`; `start` turns it on again.
    pub(crate) fn crash(&self, host: &str) {
        self.run(&["crash", host]);
        // What is left of its control groups goes, too: after `cgroup.kill`, Linux 6.18 takes what is cloned from an old group
        // into a new one for late, and kills it at birth. The systemd of Debian 13 starts all its services so.
        let name = std::env::var("LAB_NAME").unwrap_or_else(|_| "lab".into());
        for tree in fs::read_dir("/sys/fs/cgroup").expect("control groups").flatten().map(|entry| entry.path()) {
            remove_groups(&tree.join(&name).join(host));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(&name).join(host));
    }

    /// Waits until `host` answers again.
    pub(crate) fn wait_up(&self, host: &str) {
        wait_for(&format!("{host} to be up"), || self.ask(host, "true"));
    }
}

/// Removes a control group that has no processes, with those below it; one that is not there, or is in use, is left.
fn remove_groups(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.try_run(&["down"]);
    }
}
