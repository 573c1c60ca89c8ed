//! `get`, `describe` and `why`: questions to the coordinator, and to folders of manifests.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::{baselines, block_on, refused};
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

/// Name and flags of `describe` and `why`.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What `get` lists.
#[derive(Debug, Subcommand)]
pub enum GetKind {
    /// Every host that the coordinator knows
    #[command(visible_alias = "host", after_help = "Example:\n  patchmesh get hosts -o csv")]
    Hosts(ListArgs),
    /// Every rollout of the ledger
    #[command(visible_alias = "rollout", after_help = "Example:\n  patchmesh get rollouts -o json")]
    Rollouts(ListArgs),
    /// The predefined baselines, and those of a folder; needs no coordinator
    #[command(visible_alias = "baseline", after_help = "Example:\n  patchmesh get baselines --dir baselines")]
    Baselines(baselines::ListArgs),
    /// Another kind.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

/// What `describe` shows.
#[derive(Debug, Subcommand)]
pub enum DescribeKind {
    /// One host
    #[command(after_help = "Example:\n  patchmesh describe host web-1")]
    Host(NameArgs),
    /// One baseline; needs no coordinator
    #[command(
        after_help = "Examples:\n  patchmesh describe baseline AWS-UbuntuDefaultPatchBaseline\n  patchmesh describe baseline web --dir baselines -o yaml"
    )]
    Baseline(baselines::ShowArgs),
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
            let format = args.output.format.among("get hosts", &LIST)?;
            let document = block_on(args.socket.client().hosts())?;
            output::print_rows(&document, &render::hosts(&document, format != Format::Table), format)?;
        }
        GetKind::Rollouts(args) => {
            let format = args.output.format.among("get rollouts", &LIST)?;
            let document = block_on(args.socket.client().rollouts())?;
            output::print_rows(&document, &render::rollouts(&document), format)?;
        }
        GetKind::Baselines(args) => baselines::list(args)?,
        GetKind::Other(words) => {
            let instead = "use get hosts, get rollouts or get baselines";
            let to_come = ["policies", "windows", "calendars", "services", "patches", "snapshots", "leases"];
            return Err(refused::kind("get", words, "hosts|rollouts|baselines", &to_come.map(|kind| (kind, instead))));
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
        DescribeKind::Host(args) => {
            let format = args.output.format.among("describe host", &ONE)?;
            let document = block_on(args.socket.client().host(&args.name))?;
            match format {
                Format::Table => output::print(&render::host(&document))?,
                _ => output::print_document(&document, format)?,
            }
        }
        DescribeKind::Baseline(args) => baselines::show(args)?,
        DescribeKind::Other(words) => {
            let to_come = [
                ("rollout", "use patchmesh rollout status ID"),
                ("patch", "use patchmesh scan --local -o json on the host"),
            ];
            return Err(refused::kind("describe", words, "host NAME or baseline NAME", &to_come));
        }
    }
    Ok(Exit::Done)
}

/// Runs `why`.
///
/// # Errors
/// As [`get`].
pub fn why(kind: &WhyKind) -> Result<Exit, Fault> {
    match kind {
        WhyKind::Host(args) => {
            let format = args.output.format.among("why host", &ONE)?;
            let document = block_on(args.socket.client().why_host(&args.name))?;
            match format {
                Format::Table => output::print(&render::why(&document))?,
                _ => output::print_document(&document, format)?,
            }
        }
        WhyKind::Other(words) => {
            let to_come = [
                ("rollout", "use patchmesh rollout status ID, which carries its reason"),
                ("patch", "use patchmesh scan --local -o json on the host"),
                ("cve", "use patchmesh scan --local -o json on the host"),
            ];
            return Err(refused::kind("why", words, "host NAME", &to_come));
        }
    }
    Ok(Exit::Done)
}
