//! Executables that whoever owns a machine put there to be run: hooks and gates. Each is trusted as far as its file is, is run
//! without a shell, with nothing but what it is told in its environment, and is killed with its children after its time.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    fmt, io,
    os::unix::{fs::MetadataExt as _, process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use patchmesh_common::{id::RolloutId, run::message::MAX_TEXT};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
};

use super::{adopt::printable, runner::DEFAULT_PATH};
use crate::store::trust::distrust;

/// How much of its output is kept from the beginning, and as much from the end. The rest is read and dropped.
const KEPT: usize = 32 << 10;
/// How long output is awaited after it has ended: what it left running may keep the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often one that somebody has open for writing is tried again: replacing a file takes milliseconds.
const BUSY_TRIES: u32 = 20;
/// How long between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// What every refusal ends with.
pub(super) const NOTHING: &str = "nothing was run";

/// The inspected folder `name` of `parent`, which is inspected too; `None` if it is not there.
pub(super) fn folder(parent: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let folder = parent.join(name);
    for path in [parent, &folder] {
        match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!("the folder {} cannot be read: {error}; {NOTHING}", path.display()));
            }
            Ok(found) if !found.is_dir() => return Err(format!("{} is not a folder; {NOTHING}", path.display())),
            Ok(found) => trusted(path, &found)?,
        }
    }
    Ok(Some(folder))
}

/// Whether the executable at `place` may be run.
pub(super) fn inspect(place: &Path, about: &std::fs::Metadata) -> Result<(), String> {
    let path = place.display();
    if !about.is_file() {
        return Err(format!("{path} is not a regular file; put the executable itself there; {NOTHING}"));
    }
    trusted(place, about)?;
    if about.mode() & 0o111 == 0 {
        return Err(format!("{path} is not executable; chmod +x it or remove it; {NOTHING}"));
    }
    Ok(())
}

fn trusted(path: &Path, about: &std::fs::Metadata) -> Result<(), String> {
    match distrust(about) {
        Some(why) => Err(format!("{} {why}; {NOTHING}", path.display())),
        None => Ok(()),
    }
}

/// What one executable is told in its environment.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) phase: &'a str,
    /// In which rollout, and at which attempt; `None` of a service's probe.
    pub(super) run: Option<(RolloutId, u32)>,
    /// Variables of its kind.
    pub(super) more: &'a [(&'static str, &'a OsStr)],
}

/// How an executable failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// In words, of which the executable is the subject.
    pub(super) how: String,
    /// Whether it was killed because its time was over.
    pub(super) timed_out: bool,
}

impl From<String> for Failure {
    fn from(how: String) -> Self {
        Self { how, timed_out: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.how)
    }
}

/// What the executable printed, and how it failed.
pub(super) async fn run_one(
    file: &Path,
    arguments: &[String],
    told: Told<'_>,
    timeout: Duration,
) -> (String, Option<Failure>) {
    let mut child = match spawn(file, arguments, told).await {
        Ok(child) => child,
        Err(error) => return (String::new(), Some(format!("cannot be run: {error}").into())),
    };
    let mut group = Group(child.id());
    let mut kept = Kept::default();
    let failure = match watch(&mut child, &mut kept, timeout).await {
        Ok(Some(status)) => {
            // What it left running on purpose, such as a service, stays.
            group.0 = None;
            failure(status).map(Failure::from)
        }
        Err(error) => Some(format!("cannot be awaited: {error}").into()),
        Ok(None) => {
            drop(group);
            let seconds = timeout.as_secs_f64();
            let reaped = child.wait().await.map(|_| ()).map_err(|error| format!(" and cannot be awaited: {error}"));
            let how = format!("ran longer than {seconds} s and was killed{}", reaped.err().unwrap_or_default());
            Some(Failure { how, timed_out: true })
        }
    };
    (kept.text(), failure)
}

/// Starts an executable; one that is being replaced at this moment is tried again.
async fn spawn(file: &Path, arguments: &[String], told: Told<'_>) -> io::Result<Child> {
    let mut command = Command::new(file);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .env("PATCHMESH_PHASE", told.phase)
        .envs(told.more.iter().copied())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some((rollout, attempt)) = told.run {
        command.env("PATCHMESH_ROLLOUT", rollout.to_string()).env("PATCHMESH_ATTEMPT", attempt.to_string());
    }
    for _ in 0..BUSY_TRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => tokio::time::sleep(BUSY_PAUSE).await,
            other => return other,
        }
    }
    command.spawn()
}

/// Drains the output until it ends, and a little longer; `None` if `timeout` is over before that. What it left running may hold
/// its output open past that time: it has ended all the same.
async fn watch(child: &mut Child, kept: &mut Kept, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let mut status = None;
    let last_words = tokio::time::sleep(Duration::MAX);
    tokio::pin!(last_words);
    let time_out = tokio::time::sleep(timeout);
    tokio::pin!(time_out);
    loop {
        let (mut from_out, mut from_err) = ([0; 8192], [0; 8192]);
        tokio::select! {
            size = read(&mut out, &mut from_out), if out.is_some() => {
                if size == 0 { out = None } else { kept.push(&from_out[..size]) }
            }
            size = read(&mut err, &mut from_err), if err.is_some() => {
                if size == 0 { err = None } else { kept.push(&from_err[..size]) }
            }
            ended = child.wait(), if status.is_none() => {
                status = Some(ended?);
                last_words.as_mut().reset(tokio::time::Instant::now() + LAST_WORDS);
            }
            () = &mut last_words, if status.is_some() => (out, err) = (None, None),
            () = &mut time_out, if status.is_none() => return Ok(None),
        }
        if let (Some(status), None, None) = (status, &out, &err) {
            return Ok(Some(status));
        }
    }
}

/// How much came; 0 at the end and after an error, both of which mean that no more will come.
async fn read(pipe: &mut Option<impl AsyncRead + Unpin>, buffer: &mut [u8]) -> usize {
    match pipe {
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

/// An executable with its children, killed when this is dropped: after its time, and when the daemon ends before it, because
/// the next start runs it again and two of one hook at once undo each other.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(group) = group
            && let Err(error) = kill_process_group(group, Signal::KILL)
        {
            tracing::warn!(%error, "an executable could not be killed");
        }
    }
}

fn failure(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exited with {code}")),
        (None, Some(signal)) => Some(format!("was ended by signal {signal}")),
        (None, None) => Some(format!("ended unusually: {status}")),
    }
}

/// The beginning and the end of a stream of any length.
#[derive(Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    dropped: u64,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
    }

    /// At most [`MAX_TEXT`] bytes, half of them from the beginning if something had to go.
    fn text(&self) -> String {
        let (front, back) = self.tail.as_slices();
        let tail = [front, back].concat();
        if self.dropped == 0 && self.head.len() + tail.len() <= MAX_TEXT {
            return printable(&[&self.head[..], &tail].concat()).trim_end().to_owned();
        }
        let half = MAX_TEXT / 2 - 128;
        let all = [&self.head[..], &tail].concat();
        let (first, last) = (&all[..half], &all[all.len() - half..]);
        let left_out = self.dropped + (all.len() - 2 * half) as u64;
        format!("{}\n[… {left_out} bytes left out …]\n{}", printable(first), printable(last).trim_end())
    }
}
