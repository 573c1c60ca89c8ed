//! `slots ls|release`: who holds a slot, and freeing one by name.

use clap::{Args, Subcommand};

use super::{block_on, get::ListArgs};
use crate::{
    api::{document::ReleaseRequest, who},
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// Which host, why, and flags.
#[derive(Debug, Args)]
pub struct ReleaseArgs {
    /// Name of the host, or its key
    host: String,
    /// Why; kept in the ledger together with who says so
    #[arg(long, value_name = "TEXT")]
    because: String,
    /// Release it although the host answers: the step that runs goes on beside the next host. For a package manager that
    /// hangs, which is never killed
    #[arg(long)]
    even_if_heard: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What to do with slots.
#[derive(Debug, Subcommand)]
pub enum SlotsVerb {
    /// List every held slot, and the command that would release it
    #[command(after_help = "Example:\n  patchmesh slots ls -o json")]
    Ls(ListArgs),
    /// Free the slot of a host that does not come back. Its lease is fenced: should the host return, it reports and begins
    /// nothing disruptive under it
    #[command(after_help = "Example:\n  patchmesh slots release web-1 --because \"board is dead, ticket 4711\"")]
    Release(ReleaseArgs),
}

/// Runs the verb.
///
/// # Errors
/// What the coordinator or printing says.
pub fn run(verb: &SlotsVerb) -> Result<Exit, Fault> {
    match verb {
        SlotsVerb::Ls(args) => {
            let formats = [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv, Format::Name];
            let format = args.output.format.among("slots ls", &formats)?;
            let document = block_on(args.socket.client().slots())?;
            output::print_rows(&document, &render::slots(&document, format != Format::Table), format)?;
        }
        SlotsVerb::Release(args) => {
            let format = args.output.format.among("slots release", &[Format::Table, Format::Json, Format::Yaml])?;
            let asked = ReleaseRequest {
                by: who::own_name(),
                because: args.because.clone(),
                even_if_heard: args.even_if_heard,
            };
            let document = block_on(args.socket.client().release(&args.host, &asked))?;
            match format {
                Format::Table => output::print(&render::release(&document))?,
                _ => output::print_document(&document, format)?,
            }
        }
    }
    Ok(Exit::Done)
}
