//! `patchmesh demo`: a repository, a fleet of private roots, a daemon for each, a coordinator, and one rolling wave.

pub mod fleet;
pub mod repository;
pub mod roots;
pub mod supervisor;
pub mod verify;
mod wave;

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use patchmesh_common::rollout::limit::Limit;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    fleet::{Board, Fleet},
    repository::{Repository, create},
    roots::{HostFiles, Template},
    supervisor::Supervisor,
};
use crate::{
    api::document::RolloutDocument,
    cli::Output,
    command::{block_on, watch},
    fault::{Exit, Fault},
    output,
};

/// Ordinary users' PATH lacks the sbin folders, and dpkg refuses to work without them.
const TOOL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest tail of a tool's output in an error, in characters.
const MAX_OUTPUT: usize = 400;

/// What the demo cannot do without.
const TOOLS: [&str; 4] = ["apt-get", "dpkg", "dpkg-deb", "dpkg-query"];
/// Most hosts: each is a process of its own.
const MAX_HOSTS: u32 = 500;
/// Longest sleep of one host's maintainer scripts.
const MAX_INSTALL: f64 = 3600.0;
/// Longest path of a unix socket, in bytes.
const MAX_SOCKET: usize = 107;

/// Flags of `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// How many hosts
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_HOSTS)))]
    hosts: u32,
    /// How many at once: a count or a share
    #[arg(long, default_value = "3", value_parser = concurrency)]
    max_concurrency: Limit,
    /// How many may fail: a count or a share
    #[arg(long, default_value = "1")]
    max_errors: Limit,
    /// The new package fails to configure on the first N hosts
    #[arg(long = "break", value_name = "N", default_value_t = 0)]
    broken: u32,
    /// How long the maintainer scripts of one host sleep in all
    #[arg(long, value_name = "S", default_value = "1", value_parser = install_seconds)]
    install_seconds: Duration,
    /// Do not start processes again that die
    #[arg(long)]
    no_supervise: bool,
    /// Keep the folder
    #[arg(long)]
    keep: bool,
    /// Work in this folder, which must be empty or not exist; default: a new one under the temporary folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    output: Output,
}

fn concurrency(text: &str) -> Result<Limit, String> {
    text.parse::<Limit>().and_then(Limit::for_concurrency).map_err(|error| error.to_string())
}

fn install_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.0..=MAX_INSTALL).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("{text:?} is not between 0 and {MAX_INSTALL} seconds"))
}

/// Runs the verb.
///
/// # Errors
/// What keeps the demo from being set up or from reaching its end; a recap that dpkg contradicts.
pub fn run(args: &DemoArgs) -> Result<Exit, Fault> {
    args.output.format.among("demo", &watch::FORMATS)?;
    if args.broken > args.hosts {
        let message = format!("--break {} is more than --hosts {}", args.broken, args.hosts);
        return Err(Fault::new("usage", message, "nothing was done", "break at most every host").exit(Exit::Usage));
    }
    for name in TOOLS {
        if tool(name).arg("--version").output().is_err() {
            return Err(Fault::new(
                "tool-missing",
                format!("this machine has no {name}"),
                "nothing was changed",
                format!("run the demo on Debian or Ubuntu, in a container if need be: it needs {}", TOOLS.join(", ")),
            ));
        }
    }
    let folder = folder(args.dir.as_deref()).map_err(not_set_up)?;
    block_on(in_folder(args, &folder))
}

/// How the wave ended, before anything was stopped.
enum Ended {
    /// By itself; with every difference that dpkg shows.
    Recap(Box<RolloutDocument>, Vec<String>),
    /// By Ctrl-C.
    Interrupted,
}

async fn in_folder(args: &DemoArgs, folder: &Path) -> Result<Exit, Fault> {
    let mut signals = Signals::new().map_err(|error| not_set_up(DemoError::File("signals".into(), error)))?;
    output::talk(&format!("building a repository and {} private roots in {}\n", args.hosts, folder.display()));
    let fleet = set_up(args, folder).map_err(|error| {
        // Nothing runs yet, and half a fleet is of no use.
        let _ = fs::remove_dir_all(folder);
        not_set_up(error)
    })?;
    let fleet = Arc::new(fleet);
    let board = Arc::new(Board::new(&fleet));
    let mut supervisor = Supervisor::start(&fleet, &board, !args.no_supervise);
    let ended = tokio::select! {
        biased;
        () = signals.next() => Ok(Ended::Interrupted),
        recap = wave::ride(args, &fleet, &board) => recap.and_then(|recap| {
            let hosts: Vec<_> = fleet.hosts.iter().map(|(host, ..)| host).collect();
            let differences = verify::differences(&recap, &hosts).map_err(not_set_up)?;
            Ok(Ended::Recap(Box::new(recap), differences))
        }),
    };
    if matches!(ended, Ok(Ended::Interrupted)) {
        output::talk("stopping; Ctrl-C again leaves the folder as it is\n");
    }
    let left = tokio::select! {
        biased;
        () = signals.next() => true,
        () = supervisor.stop(|busy| output::talk(&format!("waiting for {}\n", busy.join(", ")))) => false,
    };
    if left {
        supervisor.stop_processes().await;
    }
    finish(args, folder, ended, left)
}

fn finish(args: &DemoArgs, folder: &Path, ended: Result<Ended, Fault>, left: bool) -> Result<Exit, Fault> {
    // The logs of a demo that went wrong are worth more than a clean temporary folder.
    let wrong = match &ended {
        Err(_) => true,
        Ok(Ended::Recap(_, differences)) => !differences.is_empty(),
        Ok(Ended::Interrupted) => false,
    };
    if left || wrong || args.keep {
        output::talk(&format!("the folder is {}\n", folder.display()));
    } else if let Err(error) = fs::remove_dir_all(folder) {
        output::talk(&format!("the folder {} cannot be removed: {error}\n", folder.display()));
    }
    match ended? {
        Ended::Interrupted => Ok(Exit::Detached),
        Ended::Recap(recap, differences) => {
            if differences.is_empty() {
                output::talk(&format!("dpkg-query agrees in {} roots\n", recap.results.len()));
            }
            watch::print_recap(&recap, args.output.format)?;
            match (differences.is_empty(), left) {
                (false, _) => Err(Fault::new(
                    "recap-differs",
                    format!("dpkg-query contradicts the recap: {}", differences.join("; ")),
                    "the folder was kept",
                    "compare the logs in it, and report this as a defect",
                )),
                (true, true) => Ok(Exit::Detached),
                (true, false) => Ok(recap.state.exit().unwrap_or(Exit::Error)),
            }
        }
    }
}

fn set_up(args: &DemoArgs, folder: &Path) -> Result<Fleet, DemoError> {
    let architecture = run_tool({
        let mut dpkg = tool("dpkg");
        dpkg.arg("--print-architecture");
        dpkg
    })?;
    let repository = Repository::build(folder.join("repository"), architecture.trim(), args.install_seconds)?;
    let template = Template::build(folder.join("template"), &repository)?;
    let hosts: Vec<_> = (1..=args.hosts).map(|n| HostFiles::new(&folder.join("hosts"), n, args.hosts)).collect();
    for (number, host) in (1..).zip(&hosts) {
        template.instantiate(host, number <= args.broken)?;
    }
    template.remove()?;
    let program = std::env::current_exe().map_err(DemoError::file(Path::new("/proc/self/exe")))?;
    Fleet::write(folder, &program, hosts)
}

/// The demo's folder: `given`, created or empty, or a new one; absolute and without links.
fn folder(given: Option<&Path>) -> Result<PathBuf, DemoError> {
    let folder = match given {
        Some(given) => {
            create(given)?;
            let mut entries = fs::read_dir(given).map_err(DemoError::file(given))?;
            if entries.next().is_some() {
                return Err(DemoError::Folder(given.to_owned(), "it is not empty"));
            }
            given.to_owned()
        }
        None => fresh()?,
    };
    let folder = folder.canonicalize().map_err(DemoError::file(&folder))?;
    if folder.to_str().is_none() {
        return Err(DemoError::Folder(folder, "its name is not UTF-8"));
    }
    if folder.join("coordinator/api.sock").as_os_str().len() > MAX_SOCKET {
        return Err(DemoError::Folder(folder, "its name is too long for the API socket in it (at most 107 bytes)"));
    }
    Ok(folder)
}

fn fresh() -> Result<PathBuf, DemoError> {
    let base = std::env::temp_dir();
    for number in 0..100 {
        let folder = base.join(format!("patchmesh-demo-{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DemoError::File(folder, error)),
        }
    }
    Err(DemoError::Folder(base, "it holds a hundred demos of this process id"))
}

fn not_set_up(error: DemoError) -> Fault {
    Fault::new(
        "demo-failed",
        "the demo cannot be set up",
        "this machine was not changed outside the demo's folder",
        "choose an empty folder with --dir on a file system with room, without noexec",
    )
    .because(error)
}

/// What ends the demo from outside.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Why the demo could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A file or folder.
    #[error("{}", .0.display())]
    File(PathBuf, #[source] io::Error),
    /// The demo's own folder.
    #[error("the folder {} cannot be used: {}", .0.display(), .1)]
    Folder(PathBuf, &'static str),
    /// A tool that is not there.
    #[error("{0} cannot be run")]
    Missing(String, #[source] io::Error),
    /// A tool that failed.
    #[error("{0} failed: {1}")]
    Tool(String, String),
    /// A key or a membership.
    #[error("{0} cannot be enrolled")]
    Member(String, #[source] Box<dyn Error + Send + Sync>),
}

impl DemoError {
    fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File(path, error)
    }

    fn member<E: Error + Send + Sync + 'static>(name: &str) -> impl FnOnce(E) -> Self {
        let name = name.to_owned();
        move |error| Self::Member(name, Box::new(error))
    }
}

/// A tool with a fixed environment, so that a user's settings change nothing.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", TOOL_PATH).env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    command.stdin(Stdio::null());
    command
}

/// Runs a short-lived tool to its end; its standard output.
fn run_tool(mut command: Command) -> Result<String, DemoError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| DemoError::Missing(name.clone(), error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let tail = said.char_indices().rev().nth(MAX_OUTPUT).map_or(said, |(start, _)| &said[start..]);
    Err(DemoError::Tool(name, format!("{}: {tail}", output.status)))
}
