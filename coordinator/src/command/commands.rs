//! `commands ls|show` and `cancel`: rollouts in the words of AWS Run Command.

use clap::{Args, Subcommand};

use super::{block_on, get::ListArgs};
use crate::{
    cli::{Output, Socket},
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// Which command, and flags.
#[derive(Debug, Args)]
pub struct CommandArgs {
    /// The rollout's id, or its name (the newest of that name)
    id: String,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    socket: Socket,
}

/// What to do with commands.
#[derive(Debug, Subcommand)]
pub enum CommandsVerb {
    /// List every rollout with its status in the words of Run Command
    #[command(after_help = "Example:\n  patchmesh commands ls -o json")]
    Ls(ListArgs),
    /// Show every host of one, and every step with its status, code, start, end and output
    #[command(after_help = "Examples:\n  patchmesh commands show weekly\n  patchmesh commands show weekly -o json")]
    Show(CommandArgs),
}

/// Runs the verb.
///
/// # Errors
/// What the coordinator or printing says.
pub fn run(verb: &CommandsVerb) -> Result<Exit, Fault> {
    match verb {
        CommandsVerb::Ls(args) => {
            let formats = [Format::Table, Format::Wide, Format::Json, Format::Yaml, Format::Csv, Format::Name];
            let format = args.output.format.among("commands ls", &formats)?;
            let document = block_on(args.socket.client().commands())?;
            output::print_rows(&document, &render::commands(&document, format != Format::Table), format)?;
        }
        CommandsVerb::Show(args) => {
            let format = args
                .output
                .format
                .among("commands show", &[Format::Table, Format::Wide, Format::Json, Format::Yaml])?;
            let document = block_on(args.socket.client().command(&args.id))?;
            match format {
                Format::Table | Format::Wide => output::print(&render::command(&document, format == Format::Wide))?,
                _ => output::print_document(&document, format)?,
            }
        }
    }
    Ok(Exit::Done)
}

/// Runs `cancel`: a stop of the rollout. One that has ended is shown as it ended.
///
/// # Errors
/// What the coordinator or printing says.
pub fn cancel(args: &CommandArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("cancel", &[Format::Table, Format::Json, Format::Yaml])?;
    let client = args.socket.client();
    let document = block_on(async {
        // By its id from here on: another rollout may take its name meanwhile.
        let id = client.command(&args.id).await?.row.id;
        match client.act(&id, "stop").await {
            Err(fault) if fault.document().code != "rollout-ended" => Err(fault),
            _ => client.command(&id).await,
        }
    })?;
    match format {
        Format::Table => {
            let row = &document.row;
            output::print(&format!("{} ({}) is {:?}\n", row.name, row.id, row.status_details))?;
        }
        _ => output::print_document(&document, format)?,
    }
    Ok(Exit::Done)
}
