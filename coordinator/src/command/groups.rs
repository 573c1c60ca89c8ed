//! `register`, `deregister`, `default`, `delete` and `get groups`: which baseline judges which hosts.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use patchmesh_common::patch::baseline::OperatingSystem;

use super::{
    block_on,
    get::{ListArgs, NameArgs},
    refused,
};
use crate::{
    api::document::{Change, ChangedDocument, KeptDocument, RegisterRequest},
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format, Rows},
};

/// Flags of `register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// Name of the baseline
    baseline: String,
    /// The patch group: the value of its hosts' tag "Patch Group" or PatchGroup
    #[arg(long, value_name = "NAME")]
    group: String,
    /// The operating system that the baseline is expected to be for
    #[arg(long, value_name = "OS", value_parser = system)]
    os: Option<OperatingSystem>,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Flags of `deregister`.
#[derive(Debug, Args)]
pub struct DeregisterArgs {
    /// Name of the baseline
    baseline: String,
    /// The patch group
    #[arg(long, value_name = "NAME")]
    group: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// Flags of `default` and `delete baseline`.
#[derive(Debug, Args)]
pub struct DefaultArgs {
    /// Name of the baseline
    baseline: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What `delete` deletes.
#[derive(Debug, Subcommand)]
pub enum DeleteKind {
    /// One baseline that no patch group has and that is no default
    #[command(after_help = "Example:\n  patchmesh delete baseline web -o json")]
    Baseline(DefaultArgs),
    /// One maintenance window; plans that were made by it keep their openings
    #[command(after_help = "Example:\n  patchmesh delete window patch-tuesday")]
    Window(NameArgs),
    /// One patch policy; its runs go on
    #[command(after_help = "Example:\n  patchmesh delete policy nightly")]
    Policy(NameArgs),
    /// Another kind.
    #[command(external_subcommand)]
    Other(Vec<OsString>),
}

fn system(word: &str) -> Result<OperatingSystem, String> {
    OperatingSystem::parse(word).ok_or_else(|| {
        let known: Vec<_> = OperatingSystem::ALL.iter().map(|os| os.as_str()).collect();
        format!("write {}", known.join(", "))
    })
}

/// Runs `register`.
///
/// # Errors
/// What the coordinator says: a group that has another baseline for the operating system, one group too many, a baseline that
/// is not there or for something else.
pub fn register(args: &RegisterArgs) -> Result<Exit, Fault> {
    let format = format("register", &args.output)?;
    let asked =
        RegisterRequest { baseline: args.baseline.clone(), operating_system: args.os.map(|os| os.as_str().to_owned()) };
    print_change(&block_on(args.socket.client().register(&args.group, &asked))?, format)
}

/// Runs `deregister`.
///
/// # Errors
/// What the coordinator says.
pub fn deregister(args: &DeregisterArgs) -> Result<Exit, Fault> {
    let format = format("deregister", &args.output)?;
    let asked = RegisterRequest { baseline: args.baseline.clone(), operating_system: None };
    print_change(&block_on(args.socket.client().deregister(&args.group, &asked))?, format)
}

/// Runs `default`.
///
/// # Errors
/// What the coordinator says.
pub fn default(args: &DefaultArgs) -> Result<Exit, Fault> {
    let format = format("default", &args.output)?;
    print_change(&block_on(args.socket.client().set_default(&args.baseline))?, format)
}

/// Runs `delete`.
///
/// # Errors
/// What the coordinator says: a baseline in use is refused.
pub fn delete(kind: &DeleteKind) -> Result<Exit, Fault> {
    match kind {
        DeleteKind::Baseline(args) => {
            let format = format("delete baseline", &args.output)?;
            print_change(&block_on(args.socket.client().delete_baseline(&args.baseline))?, format)
        }
        DeleteKind::Window(args) => {
            let format = format("delete window", &args.output)?;
            print_kept(&block_on(args.socket.client().delete_window(&args.name))?, format)
        }
        DeleteKind::Policy(args) => {
            let format = format("delete policy", &args.output)?;
            print_kept(&block_on(args.socket.client().delete_policy(&args.name))?, format)
        }
        DeleteKind::Other(words) => {
            Err(refused::kind("delete", words, "baseline NAME, window NAME or policy NAME", &[]))
        }
    }
}

/// Runs `get groups`.
///
/// # Errors
/// What the coordinator says, or a format that makes no sense.
pub fn list(args: &ListArgs) -> Result<(), Fault> {
    let format = args.output.format.among("get groups", &super::get::LIST)?;
    let document = block_on(args.socket.client().groups())?;
    let mut rows = Rows::new(&["group", "operating system", "baseline"]);
    for one in &document.groups {
        rows.push(vec![one.group.clone(), one.operating_system.clone(), one.baseline.clone()]);
    }
    output::print_rows(&document, &rows, format)
}

fn format(verb: &str, output: &Output) -> Result<Format, Fault> {
    output.format.among(verb, &[Format::Table, Format::Json, Format::Yaml])
}

/// Prints what was done to a baseline.
///
/// # Errors
/// As [`output::print`].
pub(super) fn print_change(document: &ChangedDocument, format: Format) -> Result<Exit, Fault> {
    match format {
        Format::Table => output::print(&text(document))?,
        _ => output::print_document(document, format)?,
    }
    Ok(Exit::Done)
}

/// Prints what became of a manifest that the coordinator keeps.
///
/// # Errors
/// As [`output::print`].
pub(super) fn print_kept(document: &KeptDocument, format: Format) -> Result<Exit, Fault> {
    let (kind, name) = (&document.kind, &document.name);
    match (format, document.change) {
        (Format::Table, Change::Created) => output::print(&format!("{kind} {name} was created\n"))?,
        (Format::Table, Change::Replaced) => output::print(&format!("{kind} {name} was replaced\n"))?,
        (Format::Table, Change::Deleted) => output::print(&format!("{kind} {name} was deleted\n"))?,
        (Format::Table, _) => output::print(&format!("nothing changed: {kind} {name} was so already\n"))?,
        _ => output::print_document(document, format)?,
    }
    Ok(Exit::Done)
}

fn text(document: &ChangedDocument) -> String {
    let name = &document.baseline;
    let os = document.operating_system.as_deref().map(|os| format!(" for {os}")).unwrap_or_default();
    let group = document.group.as_deref().unwrap_or_default();
    match document.change {
        Change::Created => format!("baseline {name} was created\n"),
        Change::Replaced => format!("baseline {name} was replaced\n"),
        Change::Deleted => format!("baseline {name} was deleted\n"),
        Change::Registered => format!("patch group {group:?} has baseline {name}{os} now\n"),
        Change::Deregistered => format!("patch group {group:?} has baseline {name}{os} no more\n"),
        Change::MadeDefault => format!("baseline {name} is the default{os} now\n"),
        Change::Unchanged if !group.is_empty() => {
            format!("nothing changed: patch group {group:?} has baseline {name}{os}\n")
        }
        Change::Unchanged => format!("nothing changed: baseline {name} was so already\n"),
    }
}
