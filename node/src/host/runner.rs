//! The runner: a package manager in a process of its own session, that outlives the daemon.
//!
//! A package manager that writes into a pipe dies with the reader and leaves the database half-configured. So its output
//! goes to a file, and its result is a file. The daemon may be killed and comes back to find the runner by (pid, start time,
//! boot id). Nobody ever kills a runner.
//!
//! `claim.json` decides whether a runner runs: the runner creates it with its own identity before anything else, or the
//! daemon creates it first as revoked. Whoever comes second does nothing.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use patchmesh_common::run::{
    act::{Guard, Verdict},
    journal::{Journal, JournalEntry},
};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::{boot, process};
use crate::{
    clock,
    store::{durable, log},
};

pub use super::adopt::{Adopted, Running, adopt};

pub(super) const SPEC: &str = "spec.json";
pub(super) const CLAIM: &str = "claim.json";
pub(super) const RESULT: &str = "result.json";
pub(super) const OUTPUT: &str = "output.log";
/// By absolute name: the daemon's own PATH may lack it.
const SYSTEMD_RUN: &str = "/usr/bin/systemd-run";
/// What Debian's root has. Maintainer scripts need the sbin folders, which ordinary users lack.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One command of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Program and arguments; never a shell string.
    pub argv: Vec<String>,
    /// The whole environment, apart from `PATH` and `LC_ALL`, which have defaults.
    pub env: Vec<(String, String)>,
}

/// What a runner is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// In order; the first that fails ends the run.
    pub steps: Vec<Step>,
    /// Checked as the last act before the first step. `None` for a repair, which is never held back.
    pub guard: Option<Guard>,
    /// The host's run journal, read for STOPs and releases.
    pub journal: PathBuf,
}

/// Who runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// Its process and session.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`: with the boot id it tells the process from a later one of the same pid.
    pub start_time: u64,
    /// The kernel's, also on a private root.
    pub boot_id: String,
    /// BLAKE3 of its command line.
    pub argv_hash: String,
}

/// The content of the claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Claim {
    /// A runner runs, or ran.
    Runner(Identity),
    /// No runner ever runs here.
    Revoked,
}

/// How one step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepExit {
    /// The program.
    pub program: String,
    /// Exit code; `None` if a signal ended it or it could not be run.
    pub code: Option<i32>,
    /// How it ended, for people.
    pub text: String,
}

/// How a runner ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunnerResult {
    /// For the machine.
    pub verdict: Verdict,
    /// Every step that was begun.
    pub exits: Vec<StepExit>,
    /// By the wall clock.
    pub started_at: String,
    /// By the wall clock.
    pub ended_at: String,
    /// The kernel's.
    pub boot_id: String,
}

/// Writes the spec into `folder`, which is created, and starts `program --spec FILE` there, as the transient service `unit` if
/// there is one. The runner outlives this process if need be; await the child's end to reap it, then [`adopt`].
///
/// # Errors
/// What could not be written or spawned. Nothing runs; the folder may have been created.
pub fn launch(folder: &Path, program: &[String], unit: Option<&str>, spec: &Spec) -> io::Result<tokio::process::Child> {
    std::fs::create_dir_all(folder)?;
    let file = folder.join(SPEC);
    durable::write(&file, &serde_json::to_vec(spec)?)?;
    let output = File::options().create(true).append(true).open(folder.join(OUTPUT))?;
    let file = file.into_os_string().into_string().map_err(|_| io::Error::other("its folder's name is not UTF-8"))?;
    let mut argv = [program, &["--spec".to_owned(), file]].concat();
    if let Some(unit) = unit {
        argv = as_service(folder, unit, &argv);
    }
    let (name, arguments) = argv.split_first().ok_or_else(|| io::Error::other("the runner's command is empty"))?;
    tokio::process::Command::new(name)
        .args(arguments)
        .current_dir("/")
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
}

/// What the runner of `folder` was told to do.
///
/// # Errors
/// Its spec cannot be read, or is none.
pub fn spec(folder: &Path) -> io::Result<Spec> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join(SPEC))?)?)
}

/// `command` as a transient service named `unit`, in a control group of its own, so that what stops the daemon's own service
/// never touches it. The client waits for the service's end; should it be killed, the service goes on.
fn as_service(folder: &Path, unit: &str, command: &[String]) -> Vec<String> {
    let output = folder.join(OUTPUT).display().to_string();
    let client = ["--quiet", "--collect", "--wait", "--service-type=exec"].map(String::from);
    let properties = [
        "StandardInput=null".to_owned(),
        format!("StandardOutput=append:{output}"),
        format!("StandardError=append:{output}"),
        // The runner ignores SIGTERM and ends in its own time; its package manager gets none.
        "KillMode=process".to_owned(),
        "SendSIGKILL=no".to_owned(),
        "TimeoutStopSec=1h".to_owned(),
    ];
    let properties = properties.map(|property| format!("--property={property}"));
    // systemd would put variables of its own in the place of a dollar sign.
    let command = command.iter().map(|word| word.replace('$', "$$"));
    let named = [format!("--unit={unit}"), "--".to_owned()];
    [SYSTEMD_RUN.to_owned()].into_iter().chain(client).chain(properties).chain(named).chain(command).collect()
}

/// Whether this process may start services of the host's own systemd. Elsewhere a session of its own has to do.
pub fn has_services() -> bool {
    let booted = Path::new("/run/systemd/system").exists() && Path::new(SYSTEMD_RUN).exists();
    booted && rustix::process::geteuid().is_root()
}

/// The runner process itself: what `runner --spec FILE` calls first and returns. Its output is the file that it inherited.
pub fn main(spec: &Path) -> ExitCode {
    match run(spec) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(2),
        Err(error) => {
            complain(&format!("runner: {}: {error}", spec.display()));
            ExitCode::FAILURE
        }
    }
}

fn run(file: &Path) -> io::Result<bool> {
    // From `/proc`, because the leader of an inherited session may be outside of this PID namespace: its number is then 0.
    if process::stat(std::process::id())?.session != std::process::id() {
        rustix::process::setsid()?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _deaf = {
        let _inside = runtime.enter();
        // Handlers, not SIG_IGN: what the runner starts gets the default dispositions back.
        let ignored = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
        ignored.into_iter().collect::<io::Result<Vec<_>>>()?
    };
    // Maintainer scripts rely on it, and the daemon's own may be narrower.
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o022));
    let folder = file.parent().unwrap_or(Path::new("/"));
    let spec: Spec = serde_json::from_slice(&std::fs::read(file)?)?;
    let boot_id = boot::kernel_boot_id()?.to_string();
    let identity = Identity {
        pid: std::process::id(),
        start_time: process::stat(std::process::id())?.start_time,
        boot_id: boot_id.clone(),
        argv_hash: blake3::hash(&std::fs::read("/proc/self/cmdline")?).to_hex().to_string(),
    };
    if !durable::create_once(&folder.join(CLAIM), &serde_json::to_vec(&Claim::Runner(identity))?)? {
        return Err(io::Error::other("the run was revoked; nothing was run"));
    }
    let started_at = wall();
    let mut exits = Vec::new();
    let verdict = match spec.guard.and_then(|guard| refusal(&guard, &spec.journal)) {
        Some((code, text)) => Verdict::Declined { code: code.into(), text },
        None => perform(&spec.steps, &mut exits),
    };
    let ok = verdict == Verdict::Ok;
    let result = RunnerResult { verdict, exits, started_at, ended_at: wall(), boot_id };
    durable::write(&folder.join(RESULT), &serde_json::to_vec(&result)?)?;
    Ok(ok)
}

fn wall() -> String {
    clock::now().wall.rfc3339()
}

/// Why a disruptive step must not begin now, by the clocks and by the run journal.
pub(crate) fn refusal(guard: &Guard, journal: &Path) -> Option<(&'static str, String)> {
    let saved = log::read(journal).map_err(|error| error.to_string()).and_then(|frames| {
        let entries: Result<Vec<_>, _> = frames.iter().map(|frame| JournalEntry::decode(frame)).collect();
        Ok(Journal::fold(&entries.map_err(|error| error.to_string())?))
    });
    match saved {
        Err(error) => Some(("journal-unreadable", format!("{} cannot be read for STOPs: {error}", journal.display()))),
        Ok(saved) => guard.refuses(&saved, clock::now()),
    }
}

fn perform(steps: &[Step], exits: &mut Vec<StepExit>) -> Verdict {
    for step in steps {
        let program = step.argv.first().cloned().unwrap_or_default();
        let ended = Command::new(&program)
            .args(step.argv.iter().skip(1))
            .env_clear()
            .env("PATH", DEFAULT_PATH)
            .env("LC_ALL", "C.UTF-8")
            .envs(step.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .status();
        let (code, text) = match ended {
            Ok(status) => (status.code(), status.to_string()),
            Err(error) => (None, format!("cannot be run: {error}")),
        };
        let failed = (code != Some(0)).then(|| format!("{program} failed: {text}"));
        exits.push(StepExit { program, code, text });
        if let Some(text) = failed {
            return Verdict::Failed(text);
        }
    }
    Verdict::Ok
}

/// The runner's stderr is its log file; there is no subscriber in this process.
#[expect(clippy::print_stderr, reason = "stderr is the runner's log file")]
fn complain(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_wraps_the_same_command() {
        let command = ["/usr/bin/patchmeshd", "runner", "--spec", "/state/a$HOME/run/7/1/spec.json"].map(String::from);
        let argv = as_service(Path::new("/state/run/7/1"), "patchmesh-run-7-1", &command);
        assert_eq!(argv[0], "/usr/bin/systemd-run");
        assert!(argv.contains(&"--unit=patchmesh-run-7-1".into()));
        assert!(argv.contains(&"--property=StandardOutput=append:/state/run/7/1/output.log".into()));
        let words = ["--", "/usr/bin/patchmeshd", "runner", "--spec", "/state/a$$HOME/run/7/1/spec.json"];
        assert_eq!(argv[argv.len() - 5..], words);
    }
}
