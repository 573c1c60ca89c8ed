//! Gates: what a host must show after a run, and a ring after its bake; and probes, which a member of a service must pass to
//! count as up. They change nothing, and may be asked again.
//!
//! A command is an executable in `HOOKS/gate/`, of a probe in `HOOKS/probe/`, trusted as far as hooks are: a coordinator names it,
//! and the host's owner put it there. After a ring the coordinator asks, on its own machine: then it is one in `gates/` of the
//! coordinator's folder.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::Empty;
use hyper::{Request, Uri, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use patchmesh_common::{
    id::{MeshId, RolloutId},
    run::{
        act::HooksEnd,
        gate::{Ask, Gate},
        message::{Refusal, RefusalCode},
    },
};
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout_at},
};

use super::{
    adopt::printable,
    executable::{self, Told},
};
use crate::store::durable;

/// The folder of a host's commands, among those of the hooks, and the `PATCHMESH_PHASE` of every command.
const PHASE: &str = "gate";
/// The same of probes.
const PROBE: &str = "probe";
/// The folder of a coordinator's commands, in its own.
const RING_FOLDER: &str = "gates";
/// Where systemd says that it has booted the machine.
const BOOTED: &str = "/run/systemd/system";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// Between two askings of what a service may need a while for.
const AGAIN: Duration = Duration::from_millis(500);
/// Time-out of noting the failed units.
const NOTE_WITHIN: Duration = Duration::from_secs(30);
const UNITS_BEFORE: &str = "failed-units.json";

/// Asks the gates of one host, or those of a coordinator's rings.
pub struct Gates {
    /// What the folder of the commands is in.
    home: PathBuf,
    /// The name of that folder.
    folder: &'static str,
    /// `systemctl`, or why systemd cannot be asked.
    systemctl: Result<PathBuf, String>,
}

/// Of which run.
pub struct GateContext<'a> {
    /// For commands.
    pub rollout: RolloutId,
    /// For commands, and for the name of the file that keeps what was seen.
    pub attempt: u32,
    /// For commands.
    pub root: &'a Path,
    /// The run's own.
    pub folder: PathBuf,
}

/// After which ring.
pub struct RingContext<'a> {
    /// For commands: `PATCHMESH_ROLLOUT`.
    pub rollout: RolloutId,
    /// For commands: `PATCHMESH_ATTEMPT`.
    pub attempt: u32,
    /// For commands: `PATCHMESH_RING`, its name.
    pub ring: &'a str,
    /// For commands: `PATCHMESH_MESH`.
    pub mesh: MeshId,
}

/// A gate of a ring that was not passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPassed {
    /// Which of those that were asked, from 0.
    pub gate: usize,
    /// Why, in one line, and below it what it printed.
    pub text: String,
}

/// What one asking is about.
struct Asking<'a> {
    phase: &'static str,
    /// In which rollout, and at which attempt; `None` of a probe, which is asked once: it is asked again anyway.
    run: Option<(RolloutId, u32)>,
    /// Variables of its kind.
    more: &'a [(&'static str, &'a OsStr)],
    /// Where it is noted what was so before; `None` after a ring.
    notes: Option<&'a Path>,
}

impl Gates {
    /// The gates of the host whose hooks are in `hooks` and whose packages are in `root`.
    pub fn new(hooks: &Path, root: &Path) -> Self {
        Self { home: hooks.to_owned(), folder: PHASE, systemctl: systemctl(root) }
    }

    /// The probes of the same host.
    pub fn of_probes(hooks: &Path, root: &Path) -> Self {
        Self { home: hooks.to_owned(), folder: PROBE, systemctl: systemctl(root) }
    }

    /// The gates of rings, asked by the coordinator whose folder is `home`.
    pub fn of_rings(home: &Path) -> Self {
        let systemctl = Err("a coordinator sees no host's services".to_owned());
        Self { home: home.to_owned(), folder: RING_FOLDER, systemctl }
    }

    /// Why one of `gates` could never be passed here; `None` if each may be. Nothing is asked.
    pub fn hindrance(&self, gates: &[Gate]) -> Option<Refusal> {
        let (gate, why) = gates.iter().find_map(|gate| Some((gate, self.applies(gate).err()?)))?;
        Some(Refusal {
            code: RefusalCode::GateNotApplicable,
            text: format!("the gate {} cannot be asked: {why}", gate.name()),
            remedy: "mend that, or give this host another rollout without the gate".into(),
        })
    }

    fn applies(&self, gate: &Gate) -> Result<(), String> {
        gate.check().map_err(|error| error.to_string())?;
        match &gate.ask {
            Ask::Command(argv) => self.command(argv).map(|_| ()),
            Ask::SystemdUnit(_) | Ask::NoNewFailedUnits => self.systemctl.clone().map(|_| ()),
            Ask::Http { .. } => Ok(()),
        }
    }

    /// Asks up to the first gate that is not passed, and keeps what was seen in the run's folder.
    pub async fn ask(&self, gates: &[Gate], context: &GateContext<'_>) -> HooksEnd {
        let asking = Asking {
            phase: PHASE,
            run: Some((context.rollout, context.attempt)),
            more: &[("PATCHMESH_ROOT", context.root.as_os_str())],
            notes: Some(&context.folder),
        };
        let (end, _) = self.ask_all(gates, &asking).await;
        let path = context.folder.join(format!("gates-{}.txt", context.attempt));
        if let Err(error) =
            durable::make_folder(&context.folder).and_then(|()| durable::write(&path, end.output.as_bytes()))
        {
            tracing::warn!(path = %path.display(), %error, "what gates showed cannot be kept");
        }
        end
    }

    /// Asks up to the first gate that is not passed.
    ///
    /// # Errors
    /// Which one that is.
    pub async fn ask_ring(&self, gates: &[Gate], context: &RingContext<'_>) -> Result<(), NotPassed> {
        let mesh = context.mesh.to_string();
        let more = [("PATCHMESH_RING", OsStr::new(context.ring)), ("PATCHMESH_MESH", OsStr::new(&mesh))];
        let run = Some((context.rollout, context.attempt));
        let asking = Asking { phase: PHASE, run, more: &more, notes: None };
        let (end, failed) = self.ask_all(gates, &asking).await;
        tracing::info!(rollout = %context.rollout, ring = context.ring, attempt = context.attempt, output = end.output, "the gates of a ring were asked");
        failed.map_or(Ok(()), Err)
    }

    /// Asks a probe.
    ///
    /// # Errors
    /// In one line, why it is not passed, with the first line of what it printed.
    pub async fn probe(&self, probe: &Gate, root: &Path) -> Result<(), String> {
        probe.check_probe().map_err(|error| error.to_string())?;
        let asking = Asking { phase: PROBE, run: None, more: &[("PATCHMESH_ROOT", root.as_os_str())], notes: None };
        let why = |why: String| printable(why.lines().take(2).collect::<Vec<_>>().join(": ").as_bytes());
        self.ask_one(probe, &asking).await.map(|_| ()).map_err(why)
    }

    async fn ask_all(&self, gates: &[Gate], asking: &Asking<'_>) -> (HooksEnd, Option<NotPassed>) {
        let (mut end, mut failed) = (HooksEnd::default(), None);
        for (at, gate) in gates.iter().enumerate() {
            let asked = match gate.check() {
                Ok(()) => self.ask_one(gate, asking).await,
                Err(error) => Err(error.to_string()),
            };
            let name = gate.name();
            match asked {
                Ok(seen) => end.output.push_str(&format!("{name}: passed{}\n", said(&seen))),
                Err(why) => {
                    end.output.push_str(&format!("{name}: {why}\n"));
                    end.error =
                        Some(format!("the gate {name} was not passed: {}", why.lines().next().unwrap_or_default()));
                    failed = Some(NotPassed { gate: at, text: printable(why.as_bytes()) });
                }
            }
            end.output = printable(end.output.as_bytes());
            if end.error.is_some() {
                break;
            }
        }
        (end, failed)
    }

    /// What was seen, or why the gate was not passed: a line, and below it what was printed.
    async fn ask_one(&self, gate: &Gate, asking: &Asking<'_>) -> Result<String, String> {
        let timeout = Duration::from_secs(gate.timeout_seconds.into());
        match &gate.ask {
            Ask::Command(argv) => {
                let file = self.command(argv)?;
                let arguments = argv.get(1..).unwrap_or_default();
                let told = Told { phase: asking.phase, run: asking.run, more: asking.more };
                match executable::run_one(&file, arguments, told, timeout).await {
                    (output, None) => Ok(output),
                    (output, Some(failure)) => Err(format!("it {failure}{}", said(&output))),
                }
            }
            Ask::SystemdUnit(unit) => {
                let arguments = ["is-active", "--", unit].map(str::to_owned);
                let patience = asking.patience(timeout);
                self.until(patience, || self.systemctl(&arguments, timeout)).await.map_err(|(state, failure)| {
                    if state.is_empty() { failure } else { format!("the unit is {state}, not active") }
                })
            }
            Ask::NoNewFailedUnits => {
                let path = asking.notes.ok_or("nobody noted which units had failed before")?.join(UNITS_BEFORE);
                let noted =
                    std::fs::read(&path).and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::other));
                let before: BTreeSet<String> = noted.map_err(|error| {
                    format!("which units had failed before is not known: {}: {error}", path.display())
                })?;
                let after = self.failed_units(timeout).await?;
                let new: Vec<&str> = after.difference(&before).map(String::as_str).collect();
                match new.as_slice() {
                    [] => Ok(format!("{} failed, none of them new", after.len())),
                    new => Err(format!("these have failed since the transaction began: {}", new.join(", "))),
                }
            }
            Ask::Http { url, status } => {
                let end = Instant::now() + timeout;
                self.until(asking.patience(timeout), || get(url, *status, end)).await.map_err(|(_, failure)| failure)
            }
        }
    }

    /// The inspected executable of a command.
    fn command(&self, argv: &[String]) -> Result<PathBuf, String> {
        let file = argv.first().map(String::as_str).unwrap_or_default();
        let missing = || format!("there is no {}", self.home.join(self.folder).join(file).display());
        let path = executable::folder(&self.home, self.folder)?.ok_or_else(missing)?.join(file);
        let about = std::fs::symlink_metadata(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(),
            _ => format!("{} cannot be read: {error}", path.display()),
        })?;
        executable::inspect(&path, &about)?;
        Ok(path)
    }

    /// Asks again until it is shown or the time is over; the last answer then: what was printed, and the failure.
    async fn until<F: Future<Output = (String, Option<String>)>>(
        &self,
        timeout: Duration,
        ask: impl Fn() -> F,
    ) -> Result<String, (String, String)> {
        let end = Instant::now() + timeout;
        loop {
            match ask().await {
                (seen, None) => return Ok(seen),
                (seen, Some(failure)) if Instant::now() + AGAIN >= end => return Err((seen, failure)),
                _ => sleep(AGAIN).await,
            }
        }
    }

    async fn systemctl(&self, arguments: &[String], timeout: Duration) -> (String, Option<String>) {
        let told = Told { phase: PHASE, run: None, more: &[] };
        match &self.systemctl {
            Ok(program) => {
                let (seen, failure) = executable::run_one(program, arguments, told, timeout).await;
                (seen, failure.map(|failure| failure.how))
            }
            Err(why) => (String::new(), Some(why.clone())),
        }
    }

    async fn failed_units(&self, timeout: Duration) -> Result<BTreeSet<String>, String> {
        let arguments = ["list-units", "--state=failed", "--all", "--plain", "--no-legend", "--no-pager"];
        match self.systemctl(&arguments.map(str::to_owned), timeout).await {
            (listed, None) => {
                Ok(listed.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
            }
            (listed, Some(failure)) => Err(format!("systemctl {failure}{}", said(&listed))),
        }
    }

    /// Notes in the run's `folder` which units have failed now, if that is not noted there yet.
    ///
    /// # Errors
    /// In words: systemd cannot be asked, or the note cannot be written.
    pub async fn note_units(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join(UNITS_BEFORE);
        if path.exists() {
            return Ok(());
        }
        let failed = self.failed_units(NOTE_WITHIN).await?;
        let write = || durable::write(&path, &serde_json::to_vec(&failed).map_err(io::Error::other)?);
        durable::make_folder(folder).and_then(|()| write()).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl Asking<'_> {
    /// For how long what is not shown yet is asked again.
    fn patience(&self, timeout: Duration) -> Duration {
        self.run.map_or(Duration::ZERO, |_| timeout)
    }
}

/// `systemctl`, or why systemd cannot be asked about the services of `root`.
fn systemctl(root: &Path) -> Result<PathBuf, String> {
    if root != Path::new("/") {
        Err(format!("the packages are in {}, of whose services no systemd knows", root.display()))
    } else if !Path::new(BOOTED).exists() || !Path::new(SYSTEMCTL).exists() {
        Err("this host was not booted by systemd".to_owned())
    } else {
        Ok(PathBuf::from(SYSTEMCTL))
    }
}

fn said(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!("\n{output}") }
}

/// One GET; the answer's body is not read.
async fn get(url: &str, wanted: u16, end: Instant) -> (String, Option<String>) {
    match timeout_at(end, status(url)).await {
        Ok(Ok(status)) if status == wanted => (format!("status {status}"), None),
        Ok(Ok(status)) => (String::new(), Some(format!("it answered with status {status}, not {wanted}"))),
        Ok(Err(why)) => (String::new(), Some(why)),
        Err(_) => (String::new(), Some("it did not answer in time".to_owned())),
    }
}

async fn status(url: &str) -> Result<u16, String> {
    let words = |error: &dyn std::fmt::Display| format!("it cannot be asked: {error}");
    let uri: Uri = url.parse().map_err(|error| words(&error))?;
    let authority = uri.authority().ok_or_else(|| words(&"the URL names no host"))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await.map_err(|error| words(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| words(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, authority.as_str())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| words(&error))?;
    let answer = sender.send_request(request);
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // It is driven by this; when it has ended, there is an answer or there never will be.
        _ = connection => answer.await,
    };
    answer.map(|answer| answer.status().as_u16()).map_err(|error| words(&error))
}

#[cfg(test)]
mod tests;
