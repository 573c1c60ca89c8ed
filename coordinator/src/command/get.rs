//! `get`, `describe` and `why`: questions to the coordinator, and to folders of manifests.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use patchmesh_common::{patch::evaluation::State, selector::Selector};

use super::{baselines, block_on, compliance, groups, policies, refused, services, windows};
use crate::{
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

pub(super) const LIST: [Format; 6] =
    [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv, Format::Name];
pub(super) const ONE: [Format; 3] = [Format::Table, Format::Json, Format::Yaml];

/// Flags of what lists things.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) socket: Socket,
}

/// Flags of `get hosts`.
#[derive(Debug, Args)]
pub struct HostsArgs {
    /// Only hosts with these tags: KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY, !KEY; several terms with commas
    /// between them must all hold
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = Selector::parse)]
    selector: Option<Selector>,
    #[command(flatten)]
    list: ListArgs,
}

/// Name and flags of `describe host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Its name
    name: String,
    /// Every patch of its last report with the reason for its state: the host is asked over the mesh
    #[arg(long)]
    patches: bool,
    /// Only patches in these states, e.g. Missing,Failed
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = compliance::state, requires = "patches")]
    state: Vec<State>,
    /// Its last reports in short, the newest first: the host is asked over the mesh
    #[arg(long, conflicts_with = "patches")]
    history: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Id and flags of `describe snapshot`.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    /// Its id, or the first digits of it: six or more
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Name and flags of `why`, and of what is described by its name alone.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Its name
    pub(super) name: String,
    #[command(flatten)]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) socket: Socket,
}

/// What `get` lists.
#[derive(Debug, Subcommand)]
pub enum GetKind {
    /// Every host that the coordinator knows, or those with some tags
    #[command(
        visible_alias = "host",
        after_help = "Examples:\n  patchmesh get hosts -o csv\n  patchmesh get hosts -l 'app=web,zone in (a,b),!canary'\n  patchmesh get hosts -l 'Patch Group=prod' -o wide"
    )]
    Hosts(HostsArgs),
    /// Every rollout of the ledger
    #[command(visible_alias = "rollout", after_help = "Example:\n  patchmesh get rollouts -o json")]
    Rollouts(ListArgs),
    /// Every baseline of the coordinator, or of a folder, and the predefined ones
    #[command(
        visible_alias = "baseline",
        after_help = "Examples:\n  patchmesh get baselines -o wide\n  patchmesh get baselines --dir baselines"
    )]
    Baselines(baselines::ListArgs),
    /// Every patch group that has a baseline; -o json also shows the default of every operating system
    #[command(visible_alias = "group", after_help = "Example:\n  patchmesh get groups -o json")]
    Groups(ListArgs),
    /// Every snapshot: what was approved for rollouts, frozen. The newest first
    #[command(
        visible_alias = "snapshot",
        after_help = "Examples:\n  patchmesh get snapshots\n  patchmesh get snapshots -o json"
    )]
    Snapshots(ListArgs),
    /// Every maintenance window of the coordinator, with its next opening and what became of its tasks
    #[command(
        visible_alias = "window",
        after_help = "Examples:\n  patchmesh get windows\n  patchmesh get windows -o wide"
    )]
    Windows(ListArgs),
    /// Every service, with how many of its members are up
    #[command(
        visible_alias = "service",
        after_help = "Examples:\n  patchmesh get services\n  patchmesh get services -o wide"
    )]
    Services(ListArgs),
    /// Every patch policy, operation by operation, with its next run and what became of the last one
    #[command(
        visible_alias = "policy",
        after_help = "Examples:\n  patchmesh get policies\n  patchmesh get policies -o json"
    )]
    Policies(ListArgs),
    /// Another kind.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// What `describe` shows.
#[derive(Debug, Subcommand)]
pub enum DescribeKind {
    /// One host, its patches, or its earlier reports
    #[command(
        after_help = "Examples:\n  patchmesh describe host web-1\n  patchmesh describe host web-1 --patches --state Missing,Failed\n  patchmesh describe host web-1 --history -o json"
    )]
    Host(HostArgs),
    /// One baseline of the coordinator, of a folder, or a predefined one
    #[command(
        after_help = "Examples:\n  patchmesh describe baseline web\n  patchmesh describe baseline AWS-UbuntuDefaultPatchBaseline\n  patchmesh describe baseline web --dir baselines -o yaml"
    )]
    Baseline(baselines::ShowArgs),
    /// One snapshot, with the versions that it froze
    #[command(
        after_help = "Examples:\n  patchmesh describe snapshot 3fa9c01b22d0\n  patchmesh describe snapshot 3fa9c01b22d0 -o csv"
    )]
    Snapshot(SnapshotArgs),
    /// One maintenance window of the coordinator, with its next openings, and its tasks with what became of them
    #[command(
        after_help = "Examples:\n  patchmesh describe window patch-tuesday\n  patchmesh describe window patch-tuesday -o yaml"
    )]
    Window(NameArgs),
    /// One service, with its members and why those that are down are
    #[command(after_help = "Examples:\n  patchmesh describe service pg\n  patchmesh describe service pg -o json")]
    Service(NameArgs),
    /// One patch policy of the coordinator, with its next runs and what became of the last ones
    #[command(
        after_help = "Examples:\n  patchmesh describe policy nightly\n  patchmesh describe policy nightly -o json"
    )]
    Policy(NameArgs),
    /// Another kind.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// What `why` explains.
#[derive(Debug, Subcommand)]
pub enum WhyKind {
    /// One host
    #[command(after_help = "Example:\n  patchmesh why host web-1 -o json")]
    Host(NameArgs),
    /// One rollout, by its id or its name (the newest of that name)
    #[command(after_help = "Example:\n  patchmesh why rollout weekly")]
    Rollout(NameArgs),
    /// One package: where it was planned to be installed and is not
    #[command(after_help = "Example:\n  patchmesh why patch openssl")]
    Patch(NameArgs),
    /// Another kind.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// Runs `get`.
///
/// # Errors
/// What the coordinator or printing says; exit 64 for kinds that are not built.
pub fn get(kind: &GetKind) -> Result<Exit, Fault> {
    match kind {
        GetKind::Hosts(args) => {
            let format = args.list.output.format.among("get hosts", &LIST)?;
            let mut document = block_on(args.list.socket.client().hosts())?;
            if let Some(selector) = &args.selector {
                document.hosts.retain(|row| selector.admits(&row.tags));
            }
            output::print_rows(&document, &render::hosts(&document, format != Format::Table), format)?;
        }
        GetKind::Rollouts(args) => {
            let format = args.output.format.among("get rollouts", &LIST)?;
            let document = block_on(args.socket.client().rollouts())?;
            output::print_rows(&document, &render::rollouts(&document), format)?;
        }
        GetKind::Baselines(args) => baselines::list(args)?,
        GetKind::Groups(args) => groups::list(args)?,
        GetKind::Snapshots(args) => {
            let format = args.output.format.among("get snapshots", &LIST)?;
            let document = block_on(args.socket.client().snapshots())?;
            output::print_rows(&document, &render::snapshots(&document, format != Format::Table), format)?;
            if document.left_out > 0 {
                let older = render::counted(document.left_out as usize, "older snapshot");
                output::talk(&format!("{older} not listed: describe snapshot ID still finds them\n"));
            }
        }
        GetKind::Windows(args) => windows::list(args)?,
        GetKind::Services(args) => services::list(args)?,
        GetKind::Policies(args) => policies::list(args)?,
        GetKind::Other(words) => {
            let instead = "use get hosts, get rollouts, get baselines, get groups, get snapshots, get services, get windows \
                           or get policies";
            let to_come = ["calendars", "patches", "leases"];
            return Err(refused::kind(
                "get",
                words,
                "hosts|rollouts|baselines|groups|snapshots|services|windows|policies",
                &to_come.map(|kind| (kind, instead)),
            ));
        }
    }
    Ok(Exit::Done)
}

/// Runs `describe`.
///
/// # Errors
/// As [`get`].
pub fn describe(kind: &DescribeKind) -> Result<Exit, Fault> {
    match kind {
        DescribeKind::Host(args) if args.patches => {
            compliance::patches(&args.socket.client(), &args.name, &args.state, args.output.format)?;
        }
        DescribeKind::Host(args) if args.history => {
            compliance::history(&args.socket.client(), &args.name, args.output.format)?;
        }
        DescribeKind::Host(args) => {
            let format = args.output.format.among("describe host", &ONE)?;
            let document = block_on(args.socket.client().host(&args.name))?;
            match format {
                Format::Table => output::print(&render::host(&document))?,
                _ => output::print_document(&document, format)?,
            }
        }
        DescribeKind::Baseline(args) => baselines::show(args)?,
        DescribeKind::Snapshot(args) => {
            let formats = [Format::Table, Format::Json, Format::Yaml, Format::Csv];
            let format = args.output.format.among("describe snapshot", &formats)?;
            let document = block_on(args.socket.client().snapshot(&args.id))?;
            match format {
                Format::Table => output::print(&render::snapshot(&document))?,
                _ => output::print_rows(&document, &render::snapshot_rows(&document), format)?,
            }
        }
        DescribeKind::Window(args) => windows::show(args)?,
        DescribeKind::Service(args) => services::show(args)?,
        DescribeKind::Policy(args) => policies::show(args)?,
        DescribeKind::Other(words) => {
            let to_come = [
                ("rollout", "use patchmesh rollout status ID"),
                ("patch", "use patchmesh scan --local -o json on the host"),
            ];
            return Err(refused::kind(
                "describe",
                words,
                "host NAME, baseline NAME, service NAME, snapshot ID, window NAME or policy NAME",
                &to_come,
            ));
        }
    }
    Ok(Exit::Done)
}

/// Runs `why`.
///
/// # Errors
/// As [`get`].
pub fn why(kind: &WhyKind) -> Result<Exit, Fault> {
    let (args, verb) = match kind {
        WhyKind::Host(args) => (args, "why host"),
        WhyKind::Rollout(args) => (args, "why rollout"),
        WhyKind::Patch(args) => (args, "why patch"),
        WhyKind::Other(words) => {
            let to_come = [("cve", "use patchmesh why patch NAME with the name of the package")];
            return Err(refused::kind("why", words, "host NAME, rollout ID or patch NAME", &to_come));
        }
    };
    let format = args.output.format.among(verb, &ONE)?;
    let client = args.socket.client();
    let document = block_on(async {
        match kind {
            WhyKind::Rollout(_) => client.why_rollout(&args.name).await,
            WhyKind::Patch(_) => client.why_patch(&args.name).await,
            _ => client.why_host(&args.name).await,
        }
    })?;
    match format {
        Format::Table => output::print(&render::why(&document))?,
        _ => output::print_document(&document, format)?,
    }
    Ok(Exit::Done)
}
