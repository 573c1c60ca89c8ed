//! `audit verify|export` and `state`: what is read of the ledger file itself, without a coordinator.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use patchmesh_common::time::WallTime;

use super::process::DEFAULT_DIR;
use crate::{
    api::document::RolloutsDocument,
    audit,
    cli::Output,
    fault::{Exit, Fault},
    output::{self, Format},
    render,
};

/// Where the ledger is.
#[derive(Debug, Args)]
struct Folder {
    /// Folder of the coordinator, or of a copy of its ledger.log; default /var/lib/patchmesh/coordinator
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Folder {
    fn path(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| DEFAULT_DIR.into())
    }
}

/// Which ledger, and flags.
#[derive(Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    output: Output,
}

/// Which ledger, when, and flags.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The instant, RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: WallTime,
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    output: Output,
}

/// What to do with a ledger.
#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Check the chain, every seal and every promise; exit 1 names the first entry that does not hold. Changes nothing, and
    /// works while a coordinator writes it
    #[command(after_help = "Examples:\n  patchmesh audit verify\n  patchmesh audit verify --dir ./copy -o json")]
    Verify(AuditArgs),
    /// Print every entry, oldest first, with who and when
    #[command(after_help = "Example:\n  patchmesh audit export -o jsonl > ledger.jsonl")]
    Export(AuditArgs),
}

fn time(text: &str) -> Result<WallTime, String> {
    WallTime::parse(text).ok_or_else(|| "write a time such as 2026-12-01T02:00:00Z (RFC 3339)".to_owned())
}

/// Runs the verb.
///
/// # Errors
/// A ledger that cannot be read, or does not hold; what printing says.
pub fn run(verb: &AuditVerb) -> Result<Exit, Fault> {
    match verb {
        AuditVerb::Verify(args) => {
            let format = args.output.format.among("audit verify", &[Format::Table, Format::Json, Format::Yaml])?;
            let document = audit::verify(&args.folder.path())?;
            match format {
                Format::Table => output::print(&render::audit(&document))?,
                _ => output::print_document(&document, format)?,
            }
            audit::verdict(&document)?;
        }
        AuditVerb::Export(args) => {
            let format = args.output.format.among("audit export", &[Format::Table, Format::Jsonl])?;
            if format == Format::Table {
                output::print(&render::entry_header())?;
            }
            audit::export(&args.folder.path(), |entry| match format {
                Format::Table => output::print(&render::entry(&entry)),
                _ => output::print_document(&entry, format),
            })?;
        }
    }
    Ok(Exit::Done)
}

/// Runs `state`.
///
/// # Errors
/// A ledger that cannot be read, or does not hold up to then; what printing says.
pub fn state(args: &StateArgs) -> Result<Exit, Fault> {
    let format = args.output.format.among("state", &[Format::Table, Format::Json, Format::Yaml])?;
    let document = audit::state(&args.folder.path(), args.at)?;
    match format {
        Format::Table => {
            let rollouts = render::rollouts(&RolloutsDocument::new(document.rollouts.clone())).table();
            let last = document.last_entry.map(|last| format!(", the last at {last}")).unwrap_or_default();
            let head = format!("entries {}{last}\n", document.entries);
            output::print(&format!("{head}\n{rollouts}\n{}", render::held_slots(&document).table()))?;
        }
        _ => output::print_document(&document, format)?,
    }
    Ok(Exit::Done)
}
